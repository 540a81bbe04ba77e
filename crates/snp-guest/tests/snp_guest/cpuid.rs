// SPDX-License-Identifier: Apache-2.0

//! CPUID pages: what an honest host gives, and each way to lie.

use proptest::prelude::*;
use snp_guest::cpuid::{Answer, CpuidError, ENTRIES, Entry, Table};

fn entry(function: u32, index: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> Entry {
    Entry { function, index, answer: Answer { eax, ebx, ecx, edx }, ..Entry::default() }
}

/// As a Milan says it, shortened.
fn honest() -> Vec<Entry> {
    vec![
        entry(0, 0, [0x10, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
        entry(1, 0, [0x00a0_0f11, 0x0001_0800, 1 << 30 | 1 << 28, 0x178b_fbff]),
        entry(7, 0, [0, 1 << 18 | 1 << 5, 0, 0]),
        entry(0xd, 0, [7, 832, 832, 0]),
        entry(0xd, 1, [0xf, 832, 0, 0]),
        entry(0xd, 2, [256, 576, 0, 0]),
        entry(0x8000_0000, 0, [0x8000_0021, 0, 0, 0]),
        entry(0x8000_0008, 0, [0x3030, 0, 0, 0]),
        entry(0x8000_001f, 0, [0x1a, 51 | 1 << 6, 0, 0]),
    ]
}

const C_BIT: u64 = 1 << 51;

fn page(entries: &[Entry]) -> [u8; 4096] {
    let mut page = [0xff; 4096];
    Table::write(entries, &mut page).unwrap();
    page
}

fn check(entries: &[Entry]) -> Result<(), CpuidError> {
    Table::new(&page(entries)).unwrap().check(C_BIT)
}

/// The same with another answer to one question.
fn with(function: u32, index: u32, answer: [u32; 4]) -> Vec<Entry> {
    let mut entries = honest();
    entries.retain(|entry| (entry.function, entry.index) != (function, index));
    entries.push(entry(function, index, answer));
    entries
}

#[test]
fn an_honest_page_is_believed() {
    let page = page(&honest());
    // Count, then the first entry's function, index, states, answer.
    assert_eq!(page[..16], [9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(page[0x28..0x38], *b"\x10\0\0\0AuthcAMDenti");
    let table = Table::new(&page).unwrap();
    assert_eq!(table.check(C_BIT), Ok(()));
    assert_eq!(table.entries().collect::<Vec<_>>(), honest());
    assert_eq!(table.get(1, 5), None);
}

#[test]
fn what_depends_on_the_processor_is_the_processors() {
    let mut entries = with(1, 0, [0x00a0_0f11, 0xaa01_0800, 1 << 26, 0]);
    // What the firmware says of the state that was on when the page was made, and of others.
    entries.retain(|entry| entry.function != 0xd || entry.index > 1);
    entries.push(entry(0xd, 0, [7, 576, 832, 0]));
    entries.push(entry(0xd, 1, [0xf, 576, 0, 0]));
    entries.push(entry(0xd, 9, [8, 832, 2, 0]));
    entries.push(entry(0xb, 1, [4, 8, 0x201, 0xff]));
    entries.push(entry(0x8000_001e, 0, [0xff, 0x100, 0, 0]));
    let told = |entries: &[Entry], function, index| {
        let page = page(entries);
        let mut entries = Table::new(&page).unwrap().entries();
        entries.find(|entry| (entry.function, entry.index) == (function, index)).unwrap().told()
    };
    assert_eq!(told(&entries, 1, 0), [0x00a0_0f11, 0x0001_0800, 0b11 << 26, 0]);
    assert_eq!(told(&entries, 0xb, 1), [4, 8, 0x201, 0]);
    assert_eq!(told(&entries, 0xd, 0), [7, 832, 832, 0]);
    assert_eq!(told(&entries, 0xd, 1), [0xf, 832, 0, 0]);
    assert_eq!(told(&entries, 0xd, 9), [8, 832, 2, 0]);
    assert_eq!(told(&entries, 0x8000_001e, 0), [0, 0x100, 0, 0]);
    assert_eq!(told(&entries, 7, 0), [0, 1 << 18 | 1 << 5, 0, 0]);
    // Without XSAVE there is no OSXSAVE.
    assert_eq!(told(&with(1, 0, [0, 0, 1 << 27, 0]), 1, 0), [0; 4]);
}

#[test]
fn a_page_of_another_form_is_refused() {
    let good = page(&honest());
    let with_byte = |at: usize, value: u8| {
        let mut page = good;
        page[at] = value;
        Table::new(&page).map(|_| ())
    };
    assert_eq!(with_byte(0, 0), Err(CpuidError::Count(0)));
    assert_eq!(with_byte(0, 65), Err(CpuidError::Count(65)));
    assert_eq!(with_byte(3, 1), Err(CpuidError::Count(9 | 1 << 24)));
    assert_eq!(with_byte(4, 1), Err(CpuidError::Reserved));
    assert_eq!(with_byte(15, 1), Err(CpuidError::Reserved));
    assert_eq!(with_byte(0x10 + 0x30 + 0x28, 1), Err(CpuidError::Reserved));
    // The third becomes a second answer to function 1.
    assert_eq!(with_byte(0x10 + 2 * 0x30, 1), Err(CpuidError::Twice(1, 0)));
    let many = vec![Entry::default(); ENTRIES + 1];
    assert_eq!(Table::write(&many, &mut [0; 4096]).err(), Some(CpuidError::Count(65)));
}

#[test]
fn each_lie_is_refused() {
    let random = "RDRAND";
    for (entries, error) in [
        (with(0x4000_0000, 0, [1, 2, 3, 4]), CpuidError::Hypervisor(0x4000_0000)),
        (with(0, 0, [0x10, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]), CpuidError::Vendor),
        (with(0x8000_001f, 0, [0x0a, 51, 0, 0]), CpuidError::NotSnp(0x0a)),
        (with(0x8000_001f, 0, [0x1a, 47, 0, 0]), CpuidError::CBit(47)),
        (with(0x8000_0008, 0, [60, 0, 0, 0]), CpuidError::AddressBits(60)),
        (with(0x8000_0008, 0, [0, 0, 0, 0]), CpuidError::AddressBits(0)),
        (with(1, 0, [0x00a0_0f11, 0, 1 << 28, 0]), CpuidError::Lacks(random)),
        (with(7, 0, [0, 1 << 5, 0, 0]), CpuidError::Lacks("RDSEED")),
        (with(0xd, 0, [3, 832, 832, 0]), CpuidError::State(2)),
        (with(0xd, 2, [0, 0, 0, 0]), CpuidError::State(2)),
        // Too small for what is saved there, or elsewhere: the state would overwrite its neighbours.
        (with(0xd, 0, [7, 832, 576, 0]), CpuidError::State(0)),
        (with(0xd, 0, [7, 832, u32::MAX, 0]), CpuidError::State(0)),
        (with(0xd, 2, [128, 576, 0, 0]), CpuidError::State(2)),
        (with(0xd, 2, [256, 0, 0, 0]), CpuidError::State(2)),
    ] {
        assert_eq!(check(&entries), Err(error));
    }
    for function in [0, 1, 7, 0xd, 0x8000_0008, 0x8000_001f] {
        let entries: Vec<Entry> =
            honest().into_iter().filter(|entry| entry.function != function).collect();
        assert_eq!(check(&entries), Err(CpuidError::Missing(function)));
    }
    // State that the Keep does not switch on may be anywhere.
    let mut entries = with(0xd, 0, [0xe7, 832, 2432, 0]);
    entries.push(entry(0xd, 7, [u32::MAX, u32::MAX, 0, 0]));
    assert_eq!(check(&entries), Ok(()));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        entries in prop::collection::btree_map(
            (any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>()),
            any::<[u32; 4]>(),
            1..ENTRIES,
        ),
    ) {
        let entries: Vec<Entry> = entries
            .into_iter()
            .map(|((function, index, xcr0, xss), answer)| {
                Entry { xcr0, xss, ..entry(function, index, answer) }
            })
            .collect();
        let page = page(&entries);
        let table = Table::new(&page).unwrap();
        prop_assert_eq!(table.entries().collect::<Vec<_>>(), entries);
        let _ = table.check(C_BIT);
    }

    #[test]
    fn any_page_is_read_without_a_panic(
        count in 0_u8..70,
        bytes in prop::collection::vec(any::<u8>(), 4092),
        functions in prop::collection::vec(prop::sample::select(vec![0, 1, 7, 0xd, 0x8000_0008, 0x8000_001f_u32]), 8),
    ) {
        let mut page = [0; 4096];
        page[0] = count;
        page[16..].copy_from_slice(&bytes[12..]);
        for (number, function) in functions.iter().enumerate() {
            let at = 0x10 + number * 0x30;
            page[at..at + 4].copy_from_slice(&function.to_le_bytes());
            page[at + 4] = number as u8;
        }
        for number in 0..84 {
            page[0x10 + number * 0x30 + 0x28..][..8].fill(0);
        }
        if let Ok(table) = Table::new(&page) {
            let _ = table.check(C_BIT);
        }
    }
}

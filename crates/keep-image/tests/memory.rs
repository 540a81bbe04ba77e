// SPDX-License-Identifier: Apache-2.0

//! Looks at an image as the processor would: through its page tables and descriptors.

mod common;

use std::collections::BTreeMap;

use common::handmade::{kernel, kernel_header, program, program_segments};
use keep_image::{Image, PageKind, Sink, Start};
use keep_layout::processor::{STRIDE, STUB_STACK_SIZE};
use keep_layout::*;

/// Memory after a launch, by pages.
#[derive(Default)]
struct Ram {
    pages: BTreeMap<u64, (PageKind, Vec<u8>)>,
    start: Option<Start>,
}

impl Sink for Ram {
    type Error = String;

    fn pages(&mut self, phys: u64, kind: PageKind, bytes: &[u8]) -> Result<(), String> {
        assert!(self.start.is_none(), "the processor's state comes last");
        for (address, page) in (phys..).step_by(4096).zip(bytes.chunks(4096)) {
            assert!(self.pages.range(address..).next().is_none(), "ascending");
            self.pages.insert(address, (kind, page.to_vec()));
        }
        Ok(())
    }

    fn start(&mut self, start: &Start) -> Result<(), String> {
        self.start = Some(*start);
        Ok(())
    }
}

/// One leaf of the page tables.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Leaf {
    virt: u64,
    phys: u64,
    size: u64,
    write: bool,
    execute: bool,
    user: bool,
}

impl Ram {
    fn of(image: &Image<'_>) -> Self {
        let mut ram = Self::default();
        image.load(&mut ram).unwrap();
        ram
    }

    fn byte(&self, phys: u64) -> u8 {
        self.pages.get(&(phys & !4095)).map_or(0, |(_, page)| page[(phys % 4096) as usize])
    }

    fn word(&self, phys: u64) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|i| self.byte(phys + i as u64)))
    }

    /// All leaves, by ascending address.
    fn leaves(&self) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        let root = self.start.unwrap().cr3;
        self.walk(
            root,
            39,
            Leaf { virt: 0, phys: 0, size: 0, write: true, execute: true, user: true },
            &mut leaves,
        );
        leaves
    }

    fn walk(&self, table: u64, shift: u32, above: Leaf, leaves: &mut Vec<Leaf>) {
        assert_eq!(self.pages[&table].0, PageKind::Tables, "{table:#x} is a table");
        for index in 0..512 {
            let entry = self.word(table + index * 8);
            if entry & 1 == 0 {
                assert_eq!(entry, 0);
                continue;
            }
            assert_ne!(entry & 1 << 5, 0, "accessed already");
            let leaf = Leaf {
                virt: above.virt | index << shift,
                phys: entry & 0x000f_ffff_ffff_f000,
                size: 1 << shift,
                write: above.write && entry & 2 != 0,
                execute: above.execute && entry >> 63 == 0,
                user: above.user && entry & 4 != 0,
            };
            if shift == 12 || entry & 1 << 7 != 0 {
                assert!(shift <= 21);
                assert_eq!(leaf.phys % leaf.size, 0);
                assert_eq!(leaf.write, entry & 1 << 6 != 0, "dirty already if it can be");
                leaves.push(leaf);
            } else {
                self.walk(leaf.phys, shift - 9, leaf, leaves);
            }
        }
    }

    fn find(&self, leaves: &[Leaf], virt: u64) -> Option<(Leaf, u64)> {
        let leaf = leaves.iter().find(|leaf| (leaf.virt..leaf.virt + leaf.size).contains(&virt))?;
        Some((*leaf, leaf.phys + (virt - leaf.virt)))
    }

    /// Checks that these bytes are seen at these addresses, with these rights.
    fn check(&self, leaves: &[Leaf], virt: u64, write: bool, bytes: &[u8]) {
        for (address, byte) in (virt..).zip(bytes).step_by(61) {
            let (leaf, phys) = self.find(leaves, address).unwrap();
            assert_eq!((leaf.write, leaf.execute, leaf.user), (write, !write, true));
            assert_eq!(self.byte(phys), *byte, "at {address:#x}");
        }
    }
}

fn image() -> Image<'static> {
    Image::build(&kernel(&kernel_header()), &program()).unwrap()
}

#[test]
fn everything_is_where_the_map_says() {
    let image = image();
    let ram = Ram::of(&image);
    let leaves = ram.leaves();
    let info = image.info();

    let text = &kernel(&kernel_header())[64 + 2 * 56..][..0x1800];
    ram.check(&leaves, KERNEL_TEXT, false, text);
    ram.check(&leaves, KERNEL_DATA, true, &[0x4d; 0x1100]);
    ram.check(&leaves, KERNEL_DATA + 0x1100, true, &[0; 0x1f00]);
    for (index, segment) in program_segments().iter().enumerate() {
        let headers = if index == 0 { 64 + 3 * 56 } else { 0 };
        let start = info.program_base + segment.0 + headers;
        ram.check(&leaves, start, segment.2 & 2 != 0, &segment.3);
        let end = start + segment.3.len() as u64;
        let zeros = vec![0; (segment.1 - headers) as usize - segment.3.len()];
        ram.check(&leaves, end, segment.2 & 2 != 0, &zeros);
    }
    // The headers are those of the file.
    let file = program();
    ram.check(&leaves, info.program_base, false, &file[..40]);
    ram.check(&leaves, info.program_phdr, false, &file[64..64 + 3 * 56]);
    assert_eq!((info.program_phnum, info.program_phent), (3, 56));
    assert_eq!(info.program_entry, info.program_base + 0x2010);

    assert!(info.program_base >= PROGRAM_START && info.trampolines_end <= KERNEL_TEXT);
    assert_eq!(info.brk_start, image.start().rdi + PAGE);
    assert!(info.program_base + 0xb0_4560 >= KERNEL_DATA + 0x3000);
    assert!(image.start().rdi >= info.program_base + 0xb0_4560 + 0x30_0000);
    assert!(info.brk_start <= info.data_end && info.data_end < info.brk_start + CHUNK);
    // The kernel sees in memory what the builder says.
    let (_, at) = ram.find(&leaves, image.start().rdi).unwrap();
    let words = std::array::from_fn(|i| ram.word(at + 8 * i as u64));
    assert_eq!(StartInfo::from_words(&words), *info);
    // No page is in the image that nobody wrote to.
    let pages = ram.pages.keys().filter(|phys| **phys >= IMAGE_PHYS).count();
    assert_eq!(pages, 2 + 2 + 2 + 0x902 + 6 + 1);
}

#[test]
fn the_map_has_what_it_needs_and_no_more() {
    let image = image();
    let ram = Ram::of(&image);
    let info = image.info();
    let mut want = Vec::new();
    let mut map = |virt, phys, len: u64, size: u64, write| {
        for at in (0..len).step_by(size as usize) {
            let (virt, phys) = (virt + at, phys + at);
            want.push(Leaf { virt, phys, size, write, execute: !write, user: true });
        }
    };
    let data_len = info.data_end - info.data_start;
    map(info.text_start, info.text_phys, KERNEL_DATA - info.text_start, CHUNK, false);
    map(KERNEL_DATA, info.data_phys, data_len, CHUNK, true);
    map(TABLES_VIRT, TABLES_PHYS, TABLES_SIZE, PAGE, true);
    map(SHARED_VIRT, SHARED_PHYS, SHARED_SIZE, CHUNK, true);
    map(DIRECT_VIRT + info.data_phys, info.data_phys, data_len, CHUNK, true);
    assert_eq!(ram.leaves(), want);

    assert_eq!(info.text_phys, IMAGE_PHYS);
    assert_eq!(info.data_phys, info.text_phys + KERNEL_DATA - info.text_start);
    assert_eq!(info.image_end, info.data_phys + data_len);
    assert_eq!(info.tables_root, image.start().cr3);
    let tables = ram.pages.iter().filter(|(_, page)| page.0 == PageKind::Tables);
    assert_eq!(tables.map(|(phys, _)| *phys + PAGE).max(), Some(info.tables_next));
    assert!(ram.pages.range(info.tables_next..IMAGE_PHYS).next().is_none());
    assert!(ram.pages.range(info.image_end..).next().is_none());
}

#[test]
fn nothing_is_both_written_and_executed() {
    let ram = Ram::of(&image());
    let leaves = ram.leaves();
    let (execute, write): (Vec<Leaf>, Vec<Leaf>) =
        leaves.iter().copied().partition(|leaf: &Leaf| leaf.execute);
    assert!(!execute.is_empty() && !write.is_empty());
    for leaf in &execute {
        assert!(!leaf.write);
        for alias in &write {
            assert!(
                leaf.phys + leaf.size <= alias.phys || alias.phys + alias.size <= leaf.phys,
                "{leaf:?} can be written at {alias:?}"
            );
        }
    }
    // Text pages are behind executable leaves alone, data and tables behind writable ones.
    for (phys, (kind, _)) in &ram.pages {
        let seen = |leaf: &&Leaf| (leaf.phys..leaf.phys + leaf.size).contains(phys);
        assert_eq!(execute.iter().filter(seen).count(), usize::from(*kind == PageKind::Text));
        let aliases = if *kind == PageKind::Data { 2 } else { 1 };
        let expected = if *kind == PageKind::Text { 0 } else { aliases };
        assert_eq!(write.iter().filter(seen).count(), expected, "{phys:#x}");
    }
}

#[test]
fn the_processor_starts_in_ring_3() {
    let image = image();
    let ram = Ram::of(&image);
    let leaves = ram.leaves();
    let (start, header) = (*image.start(), kernel_header());
    let word = |virt| ram.word(ram.find(&leaves, virt).unwrap().1);

    assert_eq!((start.rip, start.rsp, start.lstar), (header.entry, 0, header.lstar));
    assert_eq!(start.rflags >> 9 & 1, 1, "interrupts");
    assert_eq!((start.cs & 3, start.ss & 3), (3, 3));
    assert_eq!(start.cr0 >> 16 & 1, 1, "write protection");
    assert_eq!(start.cr4 >> 20 & 3, 0, "the stub runs from user pages");
    assert_eq!((start.star >> 32) as u16, STUB_CODE);
    assert_eq!(((start.star >> 48) as u16 + 16) | 3, USER_CODE);
    assert_eq!(((start.star >> 48) as u16 + 8) | 3, USER_DATA);

    // Present, code or data, 64 bit for code, privilege level.
    let descriptor = |selector: u16| word(start.gdt_base + u64::from(selector & !7));
    for (selector, kind, level) in
        [(STUB_CODE, 0xb, 0), (STUB_DATA, 3, 0), (USER_DATA, 3, 3), (USER_CODE, 0xb, 3)]
    {
        let access = descriptor(selector) >> 40 & 0xff;
        assert_eq!(access, 0x90 | level << 5 | kind, "{selector:#x}");
        assert_eq!(descriptor(selector) >> 53 & 1, u64::from(kind == 0xb));
        assert!(u64::from(selector) < start.gdt_limit);
    }
    let (low, high) = (descriptor(TASK_STATE), descriptor(TASK_STATE + 8));
    let base = low >> 16 & 0xff_ffff | (low >> 56) << 24 | high << 32;
    assert_eq!((base, low & 0xffff, low >> 40 & 0xff), (start.tr_base, start.tr_limit, 0x8b));
    assert_eq!(u64::from(TASK_STATE) + 15, start.gdt_limit);
    for number in 0..PROCESSORS {
        let of = start.of(number);
        let stack = header.stub_stack_top + number * STUB_STACK_SIZE;
        assert_eq!(word(of.tr_base + 4), stack);
        // Room for each of them.
        let others = [word(of.tr_base + 36), word(of.tr_base + 44)];
        let room =
            [stack - others[0], others[0] - others[1], others[1] - (stack - STUB_STACK_SIZE)];
        assert!(room.iter().all(|room| *room >= 128), "{room:?}");
        assert_eq!(of.rip, if number == 0 { header.entry } else { header.entry_next });
        assert_eq!(of.gs_base, header.blocks + number * STRIDE);
        assert_eq!((of.idt_base, of.cr3), (start.idt_base, start.cr3));
    }
    // Ring 3 reaches the Keep's ports: by its privilege level all, by the bitmap no others.
    let level = start.rflags >> 12 & 3;
    let bitmap = word(start.tr_base + 96) >> 48;
    let open: Vec<u16> = (0..=u16::MAX)
        .filter(|port| {
            // The processor reads two bytes, also where the port's bit is in the first.
            let at = bitmap + u64::from(port / 8);
            let byte = ram.byte(ram.find(&leaves, start.tr_base + at).unwrap().1);
            level == 3 || at < start.tr_limit && byte >> (port % 8) & 1 == 0
        })
        .collect();
    let ports: Vec<u16> = PORTS.collect();
    assert!(if level == 3 { ports.iter().all(|port| open.contains(port)) } else { open == ports });

    assert_eq!(start.idt_limit, 33 * 16 - 1);
    for vector in 0..33 {
        let (low, high) =
            (word(start.idt_base + vector * 16), word(start.idt_base + vector * 16 + 8));
        let handler = low & 0xffff | (low >> 48) << 16 | high << 32;
        if vector == 2 || vector == u64::from(VECTOR_FLUSH) {
            let stack = if vector == 2 { 2 } else { 1 };
            assert_eq!((handler, low >> 40 & 0xff, low >> 32 & 7), (header.flush, 0x8e, stack));
            continue;
        }
        assert_eq!(handler, header.vectors[vector as usize]);
        if handler != 0 {
            let level = if vector == 3 { 3 } else { 0 };
            assert_eq!(low >> 16 & 0xffff, u64::from(STUB_CODE));
            assert_eq!(low >> 40 & 0xff, 0x8e | level << 5);
            assert_eq!(low >> 32 & 7, 0, "no other stack");
        }
    }
    // What the processor reads by itself lies within the page.
    let tables = [
        (start.rdi, StartInfo::WORDS as u64 * 8 - 1),
        (start.gdt_base, start.gdt_limit),
        (start.idt_base, start.idt_limit),
    ];
    let mut tables = [
        &tables[..],
        &(0..PROCESSORS)
            .map(|number| (start.of(number).tr_base, start.tr_limit))
            .collect::<Vec<_>>(),
    ]
    .concat();
    tables.sort_unstable();
    assert!(tables.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0));
    assert!(tables.iter().all(|(base, limit)| base + limit < start.rdi + PAGE));
}

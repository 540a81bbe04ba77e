// SPDX-License-Identifier: Apache-2.0

//! Which answers of `cpuid` the firmware is asked to vouch for.
//!
//! They are what KVM supports, without its own range of functions. Three answers KVM leaves to its user. What
//! encrypts memory (`0x8000_001f`) is taken from the processor, with the C-bit where the page tables have it.
//! The sizes in `0xd` depend on `XCR0`, and the firmware checks them for the value that is written beside, so
//! they are those of a processor whose x87 state alone is on; a Keep computes them itself. And the number of
//! the processor is 0, for a Keep puts in its own.

use std::collections::BTreeSet;

use kvm_bindings::{KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};
use snp_guest::cpuid::{Answer, Entry, Table};
use snp_launch::{CpuidPageError, PAGE};

/// Functions and flags of `CPUID` that say what encrypts memory (APM volume 3, appendix E.4.17).
pub(crate) mod encryption {
    /// The function.
    pub(crate) const LEAF: u32 = 0x8000_001f;
    /// SEV, in EAX.
    pub(crate) const SEV: u32 = 1 << 1;
    /// The page flush register.
    pub(crate) const PAGE_FLUSH: u32 = 1 << 2;
    /// SEV-ES.
    pub(crate) const SEV_ES: u32 = 1 << 3;
    /// SEV-SNP.
    pub(crate) const SEV_SNP: u32 = 1 << 4;
}

/// Bytes of the saved state of x87 and SSE with its header, which is there in any case.
const LEGACY_STATE: u32 = 576;

/// The answers, in the form of the page. `own` is what this processor says of [`encryption::LEAF`].
pub(crate) fn entries(supported: &[kvm_cpuid_entry2], own: Answer) -> Vec<Entry> {
    let mut seen = BTreeSet::new();
    let mut all: Vec<Entry> = supported
        .iter()
        .filter(|entry| entry.function != encryption::LEAF)
        .map(|entry| {
            let has_index = entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
            let index = if has_index { entry.index } else { 0 };
            let &kvm_cpuid_entry2 { function, eax, ebx, ecx, edx, .. } = entry;
            let mut entry =
                Entry { function, index, answer: Answer { eax, ebx, ecx, edx }, xcr0: 0, xss: 0 };
            settle(&mut entry);
            entry
        })
        // Twice the same question has no answer that could be believed; KVM asks it once.
        .filter(|entry| seen.insert((entry.function, entry.index)))
        .collect();
    all.push(Entry { function: encryption::LEAF, answer: encrypted(own), ..Entry::default() });
    all
}

/// What the guest is told of its encryption: that it is on, and where the C-bit is.
fn encrypted(own: Answer) -> Answer {
    let on = encryption::SEV | encryption::SEV_ES | encryption::SEV_SNP;
    // EBX: C-bit in bits 0 to 5, bits by which addresses are shorter in 6 to 11. There is one level of
    // privilege, and the guest has no guests.
    Answer { eax: own.eax & on, ebx: own.ebx & 0xfff, ecx: 0, edx: 0 }
}

/// Takes out what depends on a processor and its registers.
fn settle(entry: &mut Entry) {
    let answer = &mut entry.answer;
    match (entry.function, entry.index) {
        (1, _) => {
            answer.ebx &= 0x00ff_ffff;
            // OSXSAVE is a register's.
            answer.ecx &= !(1 << 27);
        }
        (0xb, _) => answer.edx = 0,
        (0xd, 0 | 1) => {
            (entry.xcr0, entry.xss) = (1, 0);
            answer.ebx = LEGACY_STATE;
        }
        (0x8000_001e, _) => answer.eax = 0,
        _ => {}
    }
}

/// The page.
pub(crate) fn page(
    supported: &[kvm_cpuid_entry2],
    own: Answer,
) -> Result<Box<[u8; PAGE]>, CpuidPageError> {
    snp_launch::cpuid_page(entries(supported, own))
}

/// Says what the firmware would have otherwise.
pub(crate) fn log_differences(asked: &[u8; PAGE], proposed: &[u8; PAGE]) {
    let (Ok(asked), Ok(proposed)) = (Table::new(asked), Table::new(proposed)) else {
        tracing::warn!("the firmware refuses the answers of cpuid, and proposes nothing readable");
        return;
    };
    for entry in asked.entries() {
        let other = proposed.get(entry.function, entry.index);
        if other != Some(entry.answer) {
            tracing::info!(
                function = format_args!("{:#x}", entry.function),
                index = entry.index,
                asked = ?entry.answer,
                proposed = ?other,
                "the firmware corrects an answer of cpuid"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supported(function: u32, index: u32, answer: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = answer;
        let flags =
            if matches!(function, 7 | 0xb | 0xd) { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 };
        kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, ..Default::default() }
    }

    const OWN: Answer = Answer { eax: 0x0101_fd3f, ebx: 0x0000_4173, ecx: 0x1fd, edx: 0x80 };

    #[test]
    fn what_depends_on_a_processor_is_left_to_the_keep() {
        let all = [
            supported(0, 0, [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
            supported(1, 0, [0xa0_0f11, 0x0501_0800, 0x7efa_320b | 1 << 27, 0x178b_fbff]),
            supported(0xd, 0, [0x207, 0x988, 0x988, 0]),
            supported(0xd, 1, [0xf, 0x348, 0x1800, 0]),
            supported(0xd, 2, [0x100, 0x240, 0, 0]),
            supported(0x4000_0000, 0, [0x4000_0001, 1, 2, 3]),
            // KVM's own idea is not taken.
            supported(encryption::LEAF, 0, [0, 0, 0, 0]),
            // A function without subleaves, whatever the index.
            supported(0x8000_0008, 7, [0x3030, 0, 0, 0]),
        ];
        let page = page(&all, OWN).unwrap();
        let table = Table::new(&page).unwrap();
        let of = |function, index| table.get(function, index).unwrap();
        assert_eq!(of(1, 0).ebx, 0x0001_0800);
        assert_eq!(of(1, 0).ecx & 1 << 27, 0);
        assert_eq!((of(0xd, 0).ebx, of(0xd, 1).ebx, of(0xd, 2).ebx), (576, 576, 576));
        assert_eq!(of(encryption::LEAF, 0), Answer { eax: 0x1a, ebx: 0x173, ecx: 0, edx: 0 });
        assert_eq!(of(0x8000_0008, 0).eax, 0x3030);
        assert_eq!(table.get(0x4000_0000, 0), None);
        let state = table.entries().find(|entry| entry.function == 0xd).unwrap();
        assert_eq!((state.xcr0, state.xss), (1, 0));
    }

    #[test]
    fn a_keep_believes_the_page() {
        let all = [
            supported(0, 0, [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
            supported(1, 0, [0xa0_0f11, 0x0800, 0x7efa_320b, 0x178b_fbff]),
            supported(7, 0, [0, 0x219c_97a9, 0x0040_0684, 0]),
            supported(0xd, 0, [7, 0x340, 0x340, 0]),
            supported(0xd, 2, [0x100, 0x240, 0, 0]),
            supported(0x8000_0008, 0, [0x3030, 0, 0, 0]),
        ];
        let page = page(&all, OWN).unwrap();
        Table::new(&page).unwrap().check(1 << 51).unwrap();
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Which features of the processor a Keep is shown.
//!
//! In general that is what KVM supports. But some hypervisors run ring 3 of their guests on the
//! processor just as it is, and yet say nothing of its vector registers, because ring 0 of a guest
//! could not manage them. A Keep runs in ring 3 alone, so there it is shown what this very process
//! may use: vectors, and the instructions on them, which have no part in ring 0.
//!
//! A claim that is wrong does no harm: the Keep's kernel looks for itself, by reading which registers
//! are switched on (`xgetbv`), before it lets a program believe any of this. On a hypervisor that
//! keeps the registers from ring 3, that instruction fails, and the claim is withdrawn there.

use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// CPUID 1, ECX: `xsave`, and that the operating system has switched it on.
const XSAVE: u32 = 1 << 26;
const OSXSAVE: u32 = 1 << 27;

/// x87, SSE, AVX and the three parts of AVX-512 (Intel SDM volume 1, §13.1). Tiles are left out: a
/// process has to ask for them.
const STATES: u64 = 0xe7;
/// Those without which there is no use for the others.
const AVX_STATES: u64 = 0b111;

/// Features that are shown if this process has them: leaf, subleaf, and masks of EAX, EBX, ECX, EDX
/// (Intel SDM volume 2, CPUID).
const FEATURES: [(u32, u32, [u32; 4]); 4] = [
    // FMA, AES, XSAVE, OSXSAVE, AVX, F16C, PCLMULQDQ.
    (1, 0, [0, 0, 1 << 12 | 1 << 25 | XSAVE | OSXSAVE | 1 << 28 | 1 << 29 | 1 << 1, 0]),
    // EBX: BMI1, AVX2, BMI2, AVX512F, DQ, ADX, IFMA, CD, SHA, BW, VL.
    // ECX: VBMI, VBMI2, GFNI, VAES, VPCLMULQDQ, VNNI, BITALG, VPOPCNTDQ.
    (7, 0, [0, 0xf02b_0128, 0x5f42, 0]),
    // AVX-VNNI, BF16, AVX-IFMA.
    (7, 1, [1 << 4 | 1 << 5 | 1 << 23, 0, 0, 0]),
    // LZCNT.
    (0x8000_0001, 0, [0, 0, 1 << 5, 0]),
];

/// What is supported, and vectors; `None` if there is nothing to add.
pub(crate) fn with_vectors(supported: &CpuId) -> Option<CpuId> {
    let entries = supported.as_slice();
    let hides = entries.iter().any(|entry| entry.function == 1 && entry.ecx & XSAVE == 0);
    if !hides || __cpuid(1).ecx & OSXSAVE == 0 {
        return None;
    }
    // SAFETY: the processor has just said that the instruction may be used.
    let states = unsafe { xcr0() } & STATES;
    if states & AVX_STATES != AVX_STATES {
        return None;
    }
    let mut entries = entries.to_vec();
    for (leaf, subleaf, mask) in FEATURES {
        let own = __cpuid_count(leaf, subleaf);
        // Subleaf 1 exists only if subleaf 0 says so, which this process sees as well.
        if leaf == 7 && subleaf > __cpuid_count(7, 0).eax {
            continue;
        }
        let entry = place(&mut entries, leaf, subleaf);
        entry.eax |= own.eax & mask[0];
        entry.ebx |= own.ebx & mask[1];
        entry.ecx |= own.ecx & mask[2];
        entry.edx |= own.edx & mask[3];
        if (leaf, subleaf) == (7, 1) {
            place(&mut entries, 7, 0).eax |= 1;
        }
    }
    // How the states are saved: sizes and places are the processor's.
    entries.retain(|entry| entry.function != 0xd);
    let own = __cpuid_count(0xd, 0);
    let size = (2..8)
        .filter(|state| states & 1 << state != 0)
        .map(|state| __cpuid_count(0xd, state))
        .fold(576, |size, part| size.max(part.ebx.saturating_add(part.eax)));
    let entry = place(&mut entries, 0xd, 0);
    (entry.eax, entry.ebx, entry.ecx) = (own.eax & states as u32, size, size);
    // XSAVEOPT and XSAVEC, but not what takes ring 0.
    place(&mut entries, 0xd, 1).eax = __cpuid_count(0xd, 1).eax & 0b11;
    for state in (2..8).filter(|state| states & 1 << state != 0) {
        let own = __cpuid_count(0xd, state);
        let entry = place(&mut entries, 0xd, state);
        (entry.eax, entry.ebx, entry.ecx) = (own.eax, own.ebx, own.ecx & !1);
    }
    // Programs ask for no leaf above the highest.
    let highest = place(&mut entries, 0, 0);
    highest.eax = highest.eax.max(0xd);
    CpuId::from_entries(&entries).ok()
}

/// Which states are switched on.
///
/// # Safety
///
/// The processor has `xgetbv`, and it is switched on.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: as the caller says.
    unsafe { _xgetbv(0) }
}

/// The entry of a leaf, made if there is none.
fn place(entries: &mut Vec<kvm_cpuid_entry2>, leaf: u32, subleaf: u32) -> &mut kvm_cpuid_entry2 {
    let found = entries.iter().position(|e| e.function == leaf && e.index == subleaf);
    let at = found.unwrap_or_else(|| {
        // Leaves 7 and 13 look at the subleaf.
        let flags = if matches!(leaf, 7 | 0xd) { KVM_CPUID_FLAG_SIGNIFCANT_INDEX } else { 0 };
        entries.push(kvm_cpuid_entry2 {
            function: leaf,
            index: subleaf,
            flags,
            ..Default::default()
        });
        entries.len() - 1
    });
    &mut entries[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpuid(entries: &[kvm_cpuid_entry2]) -> CpuId {
        CpuId::from_entries(entries).unwrap()
    }

    fn entry(function: u32, ecx: u32) -> kvm_cpuid_entry2 {
        kvm_cpuid_entry2 { function, ecx, ..Default::default() }
    }

    #[test]
    fn what_kvm_manages_itself_is_left_alone() {
        assert!(with_vectors(&cpuid(&[entry(0, 0), entry(1, XSAVE)])).is_none());
    }

    #[test]
    fn nothing_is_shown_that_this_process_does_not_have() {
        let Some(shown) = with_vectors(&cpuid(&[entry(0, 0), entry(1, 0), entry(7, 0)])) else {
            println!("skipped: this process has no vectors");
            return;
        };
        for entry in shown.as_slice() {
            if entry.function == 0 || entry.function == 0xd {
                continue;
            }
            let own = __cpuid_count(entry.function, entry.index);
            assert_eq!(entry.ecx & !own.ecx, 0, "{entry:x?}");
            assert_eq!(entry.ebx & !own.ebx, 0, "{entry:x?}");
            assert_eq!(entry.edx, 0, "no tiles: {entry:x?}");
        }
        let states = shown.as_slice().iter().find(|e| e.function == 0xd && e.index == 0).unwrap();
        assert_eq!(u64::from(states.eax) & !STATES, 0);
    }
}

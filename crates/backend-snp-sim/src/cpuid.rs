// SPDX-License-Identifier: Apache-2.0

//! The page of answers to `cpuid` that the launch hands to the firmware.
//!
//! It says what this processor has, under AMD's vendor name and with the functions that AMD's
//! processors have: a Keep believes it to be on one.

use std::arch::x86_64::{__cpuid, __cpuid_count};

use kvm_bindings::{CpuId, kvm_cpuid_entry2};
use snp_guest::cpuid::{Answer, Entry};
use snp_launch::{CpuidPageError, Options, cpuid_page};

/// Family, model and stepping of a processor with SEV-SNP (`CPUID` 1, `EAX`): Milan.
pub(crate) const SIGNATURE: u32 = 0x00a0_0f11;
/// Bits of a physical address: the C-bit is one of them.
const ADDRESS_BITS: u32 = Options::C_BIT as u32 + 1;

/// What ring 3 has if this process has it, whatever KVM says (Intel SDM volume 2, CPUID): of 1, `ECX`:
/// SSE3, PCLMULQDQ, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, AES, RDRAND; of 7, `EBX`:
/// FSGSBASE, BMI1, BMI2, ERMS, RDSEED, ADX; of 8000_0001, `ECX`: LAHF, LZCNT.
const OWN_1: u32 = 0x42d8_2203;
const OWN_7: u32 = 0x000c_0309;
const OWN_8000_0001: u32 = 0x21;

/// Functions that are taken as they are. Others are the vendor's own.
const TAKEN: [u32; 13] = [
    0,
    1,
    7,
    0xb,
    0xd,
    0x8000_0000,
    0x8000_0001,
    0x8000_0002,
    0x8000_0003,
    0x8000_0004,
    0x8000_0007,
    0x8000_0008,
    0x8000_001d,
];

/// What the virtual CPU is told of itself: addresses that reach to the C-bit.
pub(crate) fn of_cpu(shown: &CpuId) -> Option<CpuId> {
    let mut entries = shown.as_slice().to_vec();
    for entry in &mut entries {
        if entry.function == 0x8000_0008 {
            entry.eax = entry.eax & !0xff | ADDRESS_BITS;
        }
    }
    CpuId::from_entries(&entries).ok()
}

/// The answers of the page.
pub(crate) fn entries(shown: &CpuId) -> Vec<Entry> {
    let mut entries: Vec<Entry> = shown.as_slice().iter().filter_map(taken).collect();
    // Caches: AMD's function answers in the form of Intel's function 4.
    let caches = shown.as_slice().iter().filter(|entry| entry.function == 4);
    entries.extend(caches.filter_map(|entry| {
        taken(&kvm_cpuid_entry2 { function: 0x8000_001d, eax: entry.eax & 0x3fff, ..*entry })
    }));
    // Encrypted memory, registers and nested pages; the C-bit.
    entries.push(Entry {
        function: 0x8000_001f,
        answer: Answer { eax: 0b1_1011, ebx: u32::from(Options::C_BIT), ecx: 509, edx: 100 },
        ..Entry::default()
    });
    entries
}

fn taken(entry: &kvm_cpuid_entry2) -> Option<Entry> {
    let kvm_cpuid_entry2 { function, index, mut eax, mut ebx, mut ecx, mut edx, .. } = *entry;
    if !TAKEN.contains(&function) {
        return None;
    }
    match function {
        0 | 0x8000_0000 => {
            eax = if function == 0 { 0xd } else { 0x8000_001f };
            [ebx, edx, ecx] = [*b"Auth", *b"enti", *b"cAMD"].map(u32::from_le_bytes);
        }
        1 => {
            eax = SIGNATURE;
            ecx |= __cpuid(1).ecx & OWN_1;
        }
        7 if index == 0 => ebx |= __cpuid_count(7, 0).ebx & OWN_7,
        0x8000_0001 => {
            eax = SIGNATURE;
            ecx |= __cpuid(0x8000_0001).ecx & OWN_8000_0001;
        }
        0x8000_0008 => eax = eax & !0xff | ADDRESS_BITS,
        _ => {}
    }
    let answer = Answer { eax, ebx, ecx, edx };
    Some(Entry { function, index, answer, ..Entry::default() })
}

/// The page.
pub(crate) fn page(entries: Vec<Entry>) -> Result<Box<[u8; snp_guest::PAGE]>, CpuidPageError> {
    cpuid_page(entries)
}

// SPDX-License-Identifier: Apache-2.0

//! What a processor offers (SDM, volume 2, `CPUID`, leaves 7 and 12h), from the registers that it answers with.
//!
//! Somebody else runs the instruction: the host on hardware, nobody in a stand-in.

use sgx_guest::attributes::Attributes;

/// EAX, EBX, ECX, EDX.
pub type Registers = [u32; 4];

/// What a processor offers of SGX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Enclaves at all.
    pub sgx1: bool,
    /// Pages of running enclaves can be added, changed and removed. A Keep needs it.
    pub sgx2: bool,
    /// `EDECCSSA`: a handler can finish without leaving the enclave.
    pub edeccssa: bool,
    /// Anybody may sign enclaves that this host launches (flexible launch control). Linux needs it.
    pub launch_control: bool,
    /// Bits of `MISCSELECT` that may be set.
    pub misc_select: u32,
    /// Bits of `ATTRIBUTES` that may be set.
    pub attributes: Attributes,
    /// The largest 64-bit enclave, as a power of two of bytes.
    pub max_size: u8,
}

impl Capabilities {
    /// From leaf 7 (subleaf 0) and leaf 12h (subleaves 0 and 1); none if the processor has no SGX, or the
    /// firmware left it off.
    #[must_use]
    pub fn from_leaves(seven: Registers, first: Registers, second: Registers) -> Option<Self> {
        let [_, features, more, _] = seven;
        let [functions, misc_select, _, sizes] = first;
        if features & 1 << 2 == 0 || functions & 1 == 0 {
            return None;
        }
        let [flags_low, flags_high, xfrm_low, xfrm_high] = second.map(u64::from);
        let [_, max_size, ..] = sizes.to_le_bytes();
        Some(Self {
            sgx1: true,
            sgx2: functions & 1 << 1 != 0,
            edeccssa: functions & 1 << 11 != 0,
            launch_control: more & 1 << 30 != 0,
            misc_select,
            attributes: Attributes {
                flags: flags_low | flags_high << 32,
                xfrm: xfrm_low | xfrm_high << 32,
            },
            max_size,
        })
    }
}

/// A section of the enclave page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Physical address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

impl Section {
    /// From a subleaf of leaf 12h, 2 or higher; none behind the last one.
    #[must_use]
    pub const fn from_leaf(leaf: Registers) -> Option<Self> {
        const LOW: u64 = 0xffff_f000;
        let [eax, ebx, ecx, edx] = leaf;
        if eax & 0xf != 1 {
            return None;
        }
        Some(Self {
            base: eax as u64 & LOW | (ebx as u64 & 0xf_ffff) << 32,
            size: ecx as u64 & LOW | (edx as u64 & 0xf_ffff) << 32,
        })
    }
}

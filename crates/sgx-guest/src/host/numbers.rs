// SPDX-License-Identifier: Apache-2.0

//! Numbers that the structures have and a Keep has no use for. Each list goes on where the Keep's of the same
//! name ends, and is found there.

/// Bits of `ATTRIBUTES.FLAGS` that a Keep never has.
pub(crate) mod flag {
    /// The enclave may have the provisioning keys, which name the platform.
    pub const PROVISION_KEY: u64 = 1 << 4;
    /// The enclave may have the launch key.
    pub const EINITTOKEN_KEY: u64 = 1 << 5;
    /// Control-flow enforcement in the enclave.
    pub const CET: u64 = 1 << 6;
    /// Threads may ask to be told of asynchronous exits.
    pub const AEX_NOTIFY: u64 = 1 << 10;
}

/// Bits of `ATTRIBUTES.XFRM` that a Keep never has.
pub(crate) mod xfrm {
    /// The three components of AVX-512.
    pub const AVX_512: u64 = 0b111 << 5;
    /// Protection keys of user pages.
    pub const PKRU: u64 = 1 << 9;
    /// The two components of AMX.
    pub const AMX: u64 = 0b11 << 17;
}

/// Where registers lie that a Keep leaves alone.
pub(crate) mod offset {
    /// RCX.
    pub const RCX: usize = 8;
    /// RDX.
    pub const RDX: usize = 16;
    /// RBX.
    pub const RBX: usize = 24;
    /// RBP.
    pub const RBP: usize = 40;
    /// RSI.
    pub const RSI: usize = 48;
    /// RDI.
    pub const RDI: usize = 56;
    /// R8; R9 to R15 follow.
    pub const R8: usize = 64;
    /// RSP outside of the enclave.
    pub const URSP: usize = 144;
    /// RBP outside of the enclave.
    pub const URBP: usize = 152;
    /// AEXNOTIFY, 1 byte.
    pub const AEX_NOTIFY: usize = 167;
    /// Base of FS.
    pub const FS_BASE: usize = 168;
    /// Base of GS.
    pub const GS_BASE: usize = 176;
}

/// Bits of a page fault's error code that a Keep does not look at.
pub(crate) mod fault {
    /// The page was there.
    pub const PRESENT: u32 = 1 << 0;
    /// From ring 3; always set here.
    pub const USER: u32 = 1 << 2;
    /// A protection key forbids it.
    pub const KEY: u32 = 1 << 5;
    /// The enclave page cache map forbids it: rights, type, not accepted, not this enclave's.
    pub const SGX: u32 = 1 << 15;
}

/// Exceptions that are signals in a Keep as on every platform.
pub(crate) mod vector {
    /// Division.
    pub const DE: u8 = 0;
    /// Debug.
    pub const DB: u8 = 1;
    /// Bound.
    pub const BR: u8 = 5;
    /// x87.
    pub const MF: u8 = 16;
    /// Alignment.
    pub const AC: u8 = 17;
    /// SSE and AVX.
    pub const XM: u8 = 19;
    /// Control protection; with `CPINFO` only.
    pub const CP: u8 = 21;
}

// SPDX-License-Identifier: Apache-2.0

//! Bits of `POLICY` and `PLATFORM_INFO`, with their names.

/// `POLICY`, the guest policy (AMD 56860, section 4.3). Bits 0 to 7 and 8 to 15 are minor and
/// major version of the lowest ABI that is allowed.
pub mod policy_bits {
    /// Simultaneous multithreading is allowed.
    pub const SMT: u64 = 1 << 16;
    /// Reserved, always 1.
    pub const RESERVED_ONE: u64 = 1 << 17;
    /// A migration agent may be associated with the guest.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// The host may debug the guest: read and write its memory.
    pub const DEBUG: u64 = 1 << 19;
    /// The guest runs on one socket only.
    pub const SINGLE_SOCKET: u64 = 1 << 20;
    /// CXL may hold the guest's memory or devices.
    pub const CXL_ALLOW: u64 = 1 << 21;
    /// Memory is encrypted with AES-256 in XTS mode.
    pub const MEM_AES_256_XTS: u64 = 1 << 22;
    /// Running average power limit is off.
    pub const RAPL_DIS: u64 = 1 << 23;
    /// Ciphertext hiding is on.
    pub const CIPHERTEXT_HIDING: u64 = 1 << 24;
    /// Pages of the guest are not swapped; from report version 5.
    pub const PAGE_SWAP_DISABLE: u64 = 1 << 25;

    /// Each flag with its name.
    pub const NAMES: &[(u64, &str)] = &[
        (SMT, "SMT"),
        (MIGRATE_MA, "MIGRATE_MA"),
        (DEBUG, "DEBUG"),
        (SINGLE_SOCKET, "SINGLE_SOCKET"),
        (CXL_ALLOW, "CXL_ALLOW"),
        (MEM_AES_256_XTS, "MEM_AES_256_XTS"),
        (RAPL_DIS, "RAPL_DIS"),
        (CIPHERTEXT_HIDING, "CIPHERTEXT_HIDING"),
        (PAGE_SWAP_DISABLE, "PAGE_SWAP_DISABLE"),
    ];
}

/// `PLATFORM_INFO` (AMD 56860, section 7.3). Bits without a name are let through: firmware of
/// later versions sets more of them, and each says more about the platform, not less.
pub mod platform_bits {
    /// Simultaneous multithreading is on.
    pub const SMT_EN: u64 = 1 << 0;
    /// Transparent SME is on.
    pub const TSME_EN: u64 = 1 << 1;
    /// Memory has error correction.
    pub const ECC_EN: u64 = 1 << 2;
    /// Running average power limit is off.
    pub const RAPL_DIS: u64 = 1 << 3;
    /// Ciphertext hiding is on.
    pub const CIPHERTEXT_HIDING_DRAM_EN: u64 = 1 << 4;
    /// The check for aliased addresses has found none.
    pub const ALIAS_CHECK_COMPLETE: u64 = 1 << 5;
    /// SEV-TIO is on.
    pub const TIO_EN: u64 = 1 << 7;

    /// Each flag with its name.
    pub const NAMES: &[(u64, &str)] = &[
        (SMT_EN, "SMT_EN"),
        (TSME_EN, "TSME_EN"),
        (ECC_EN, "ECC_EN"),
        (RAPL_DIS, "RAPL_DIS"),
        (CIPHERTEXT_HIDING_DRAM_EN, "CIPHERTEXT_HIDING_DRAM_EN"),
        (ALIAS_CHECK_COMPLETE, "ALIAS_CHECK_COMPLETE"),
        (TIO_EN, "TIO_EN"),
    ];
}

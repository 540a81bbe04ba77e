// SPDX-License-Identifier: Apache-2.0

//! Flags by name: what a policy calls the bits that processors set.

/// A name and its bits.
pub(crate) type Flag = (&'static str, u64);

/// `DEBUG` in SGX `ATTRIBUTES.FLAGS`.
pub(crate) const SGX_DEBUG: u64 = 1 << 1;

/// SGX `ATTRIBUTES.FLAGS` (Intel SDM volume 3D, 36.7.1) that `features` names.
pub(crate) const SGX_FEATURES: &[Flag] = &[
    ("CET", 1 << 6),
    ("Debug", SGX_DEBUG),
    ("EInitKey", 1 << 5),
    ("KSS", 1 << 7),
    ("ProvisioningKey", 1 << 4),
    ("AEXNotify", 1 << 10),
];
/// `INIT` and `MODE64BIT`: every enclave of ours has them.
pub(crate) const SGX_ALWAYS: u64 = 1 | 1 << 2;

/// SGX `MISCSELECT` (Intel SDM volume 3D, 36.7.2).
pub(crate) const SGX_MISC: &[Flag] = &[("EXINFO", 1), ("CPINFO", 1 << 1)];

/// `MIGRATE_MA` in an SNP guest's `POLICY` (AMD 56860, section 4.3).
pub(crate) const SNP_MIGRATE_MA: u64 = 1 << 18;
/// `DEBUG` in the same place.
pub(crate) const SNP_DEBUG: u64 = 1 << 19;

/// Bits of an SNP guest's `POLICY` that permit something to the host.
pub(crate) const SNP_MAY: &[Flag] =
    &[("SMT", 1 << 16), ("MigrateMA", SNP_MIGRATE_MA), ("Debug", SNP_DEBUG), ("CXL", 1 << 21)];

/// Bits of an SNP guest's `POLICY` that demand something of the host.
pub(crate) const SNP_MUST: &[Flag] = &[
    ("SingleSocket", 1 << 20),
    ("AES256XTS", 1 << 22),
    ("RAPLDisabled", 1 << 23),
    ("CiphertextHiding", 1 << 24),
    ("PageSwapDisabled", 1 << 25),
];

/// SNP `PLATFORM_INFO` (AMD 56860, section 7.3).
pub(crate) const SNP_PLATFORM: &[Flag] = &[
    ("SMT", 1),
    ("TSME", 1 << 1),
    ("ECC", 1 << 2),
    ("RAPLDisabled", 1 << 3),
    ("CiphertextHiding", 1 << 4),
    ("AliasCheckComplete", 1 << 5),
    ("SevTio", 1 << 7),
];

/// The group `TUD` of `TD_ATTRIBUTES` (Intel TDX module ABI): the TD is under debug in some way.
pub(crate) const TD_UNDER_DEBUG: u64 = 0xff;
/// The host cannot provoke exceptions by way of the secure EPT.
pub(crate) const TD_SEPT_VE_DISABLE: u64 = 1 << 28;
/// The TD may move to another host by way of a service TD.
pub(crate) const TD_MIGRATABLE: u64 = 1 << 29;
/// Supervisor protection keys.
pub(crate) const TD_PKS: u64 = 1 << 30;
/// Key locker.
pub(crate) const TD_KEY_LOCKER: u64 = 1 << 31;

/// The names of the bits that are set, with one number for all that have no name.
pub(crate) fn names(bits: u64, flags: &[Flag]) -> String {
    let mut rest = bits;
    let mut out = Vec::new();
    for (name, bit) in flags {
        if bits & bit != 0 {
            out.push((*name).to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 {
        out.push(format!("{rest:#x}"));
    }
    if out.is_empty() { "none".to_owned() } else { out.join(", ") }
}

// SPDX-License-Identifier: Apache-2.0

//! The attestation report, as bytes.
//!
//! A report has one size in each of its versions, so it is a view of that many bytes and each field is an
//! offset. Nothing is decoded before it is asked for, and reading cannot fail: whether a field may have
//! the value that it has is a question for the checks.

use evidence_claims::{Firmware, SnpProduct, TcbVersion};

/// Offsets of `ATTESTATION_REPORT` (AMD 56860, section 7.3), in bytes.
pub mod offset {
    #![allow(missing_docs, reason = "the names are those of the specification")]
    pub const VERSION: usize = 0x000;
    pub const GUEST_SVN: usize = 0x004;
    pub const POLICY: usize = 0x008;
    pub const FAMILY_ID: usize = 0x010;
    pub const IMAGE_ID: usize = 0x020;
    pub const VMPL: usize = 0x030;
    pub const SIGNATURE_ALGO: usize = 0x034;
    pub const CURRENT_TCB: usize = 0x038;
    pub const PLATFORM_INFO: usize = 0x040;
    pub const KEY_INFO: usize = 0x048;
    pub const RESERVED_AFTER_KEY_INFO: usize = 0x04c;
    pub const REPORT_DATA: usize = 0x050;
    pub const MEASUREMENT: usize = 0x090;
    pub const HOST_DATA: usize = 0x0c0;
    pub const ID_KEY_DIGEST: usize = 0x0e0;
    pub const AUTHOR_KEY_DIGEST: usize = 0x110;
    pub const REPORT_ID: usize = 0x140;
    pub const REPORT_ID_MA: usize = 0x160;
    pub const REPORTED_TCB: usize = 0x180;
    pub const CPUID_FAM_ID: usize = 0x188;
    pub const CPUID_MOD_ID: usize = 0x189;
    pub const CPUID_STEP: usize = 0x18a;
    pub const RESERVED_AFTER_CPUID: usize = 0x18b;
    pub const CHIP_ID: usize = 0x1a0;
    pub const COMMITTED_TCB: usize = 0x1e0;
    pub const CURRENT_BUILD: usize = 0x1e8;
    pub const RESERVED_AFTER_CURRENT: usize = 0x1eb;
    pub const COMMITTED_BUILD: usize = 0x1ec;
    pub const RESERVED_AFTER_COMMITTED: usize = 0x1ef;
    pub const LAUNCH_TCB: usize = 0x1f0;
    pub const LAUNCH_MIT_VECTOR: usize = 0x1f8;
    pub const CURRENT_MIT_VECTOR: usize = 0x200;
    pub const RESERVED_BEFORE_SIGNATURE: usize = 0x208;
    pub const SIGNATURE: usize = 0x2a0;
    pub const SIGNATURE_S: usize = 0x2e8;
    pub const SIGNATURE_END: usize = 0x330;
}

/// The size of a report in bytes, in all versions.
pub const REPORT_SIZE: usize = 1184;

/// A report, read but not believed.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a>(&'a [u8; REPORT_SIZE]);

impl<'a> Report<'a> {
    /// A view of `bytes`, if they are exactly as many as a report has.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// `length` bytes from `at`; none at all if there are not that many.
    #[must_use]
    pub fn slice(&self, at: usize, length: usize) -> &'a [u8] {
        self.0.get(at..).and_then(|rest| rest.get(..length)).unwrap_or_default()
    }

    /// `N` bytes from `at`; zeros if there are not that many.
    #[must_use]
    pub fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.slice(at, N).try_into().unwrap_or([0; N])
    }

    fn byte(&self, at: usize) -> u8 {
        let [byte] = self.array(at);
        byte
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// `VERSION`.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.u32(offset::VERSION)
    }

    /// `GUEST_SVN`.
    #[must_use]
    pub fn guest_svn(&self) -> u32 {
        self.u32(offset::GUEST_SVN)
    }

    /// `POLICY`, see [`crate::policy_bits`].
    #[must_use]
    pub fn policy(&self) -> u64 {
        self.u64(offset::POLICY)
    }

    /// `FAMILY_ID`.
    #[must_use]
    pub fn family_id(&self) -> [u8; 16] {
        self.array(offset::FAMILY_ID)
    }

    /// `IMAGE_ID`.
    #[must_use]
    pub fn image_id(&self) -> [u8; 16] {
        self.array(offset::IMAGE_ID)
    }

    /// `VMPL`: 0 to 3, or 0xffffffff if the host asked for the report.
    #[must_use]
    pub fn vmpl(&self) -> u32 {
        self.u32(offset::VMPL)
    }

    /// `SIGNATURE_ALGO`: 1 is ECDSA over P-384 with SHA-384.
    #[must_use]
    pub fn signature_algorithm(&self) -> u32 {
        self.u32(offset::SIGNATURE_ALGO)
    }

    /// `PLATFORM_INFO`, see [`crate::platform_bits`].
    #[must_use]
    pub fn platform_info(&self) -> u64 {
        self.u64(offset::PLATFORM_INFO)
    }

    /// `KEY_INFO`: `AUTHOR_KEY_EN` in bit 0, `MASK_CHIP_KEY` in bit 1, `SIGNING_KEY` in bits 2 to 4.
    #[must_use]
    pub fn key_info(&self) -> u32 {
        self.u32(offset::KEY_INFO)
    }

    /// `KEY_INFO.AUTHOR_KEY_EN`: whether the ID key was signed by an author key.
    #[must_use]
    pub fn author_key_enabled(&self) -> bool {
        self.key_info() & 1 != 0
    }

    /// `KEY_INFO.MASK_CHIP_KEY`: whether the platform hides the chip's identity.
    #[must_use]
    pub fn chip_key_masked(&self) -> bool {
        self.key_info() & 2 != 0
    }

    /// `KEY_INFO.SIGNING_KEY`: 0 VCEK, 1 VLEK, 7 none.
    #[must_use]
    pub fn signing_key(&self) -> u32 {
        (self.key_info() >> 2) & 7
    }

    /// `REPORT_DATA`.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        self.array(offset::REPORT_DATA)
    }

    /// `MEASUREMENT`.
    #[must_use]
    pub fn measurement(&self) -> [u8; 48] {
        self.array(offset::MEASUREMENT)
    }

    /// `HOST_DATA`.
    #[must_use]
    pub fn host_data(&self) -> [u8; 32] {
        self.array(offset::HOST_DATA)
    }

    /// `ID_KEY_DIGEST`.
    #[must_use]
    pub fn id_key_digest(&self) -> [u8; 48] {
        self.array(offset::ID_KEY_DIGEST)
    }

    /// `AUTHOR_KEY_DIGEST`.
    #[must_use]
    pub fn author_key_digest(&self) -> [u8; 48] {
        self.array(offset::AUTHOR_KEY_DIGEST)
    }

    /// `CPUID_FAM_ID`, `CPUID_MOD_ID` and `CPUID_STEP`, family and model with their extended parts.
    /// `None` before version 3, which does not have them.
    #[must_use]
    pub fn cpuid(&self) -> Option<(u8, u8, u8)> {
        (self.version() >= 3).then(|| {
            let [family, model, stepping] = self.array(offset::CPUID_FAM_ID);
            (family, model, stepping)
        })
    }

    /// `CHIP_ID`.
    #[must_use]
    pub fn chip_id(&self) -> [u8; 64] {
        self.array(offset::CHIP_ID)
    }

    /// The `TCB_VERSION` at one of the four offsets, as it is.
    #[must_use]
    pub fn tcb(&self, at: usize) -> [u8; 8] {
        self.array(at)
    }

    /// The firmware that runs.
    #[must_use]
    pub fn current_firmware(&self) -> Firmware {
        self.firmware(offset::CURRENT_BUILD)
    }

    /// The firmware below which the platform cannot go back.
    #[must_use]
    pub fn committed_firmware(&self) -> Firmware {
        self.firmware(offset::COMMITTED_BUILD)
    }

    fn firmware(&self, at: usize) -> Firmware {
        let [build, minor, major] = self.array(at);
        Firmware { major, minor, build }
    }

    /// `LAUNCH_MIT_VECTOR`, from version 5.
    #[must_use]
    pub fn launch_mitigations(&self) -> Option<u64> {
        (self.version() >= 5).then(|| self.u64(offset::LAUNCH_MIT_VECTOR))
    }

    /// `CURRENT_MIT_VECTOR`, from version 5.
    #[must_use]
    pub fn current_mitigations(&self) -> Option<u64> {
        (self.version() >= 5).then(|| self.u64(offset::CURRENT_MIT_VECTOR))
    }

    /// What the signature covers: everything before it.
    #[must_use]
    pub fn signed(&self) -> &'a [u8] {
        self.slice(0, offset::SIGNATURE)
    }

    /// The signature as `r ‖ s`, 48 bytes each, big-endian. In the report each is little-endian in 72
    /// bytes, and 368 bytes follow; all that is not `r` or `s` is zero, else there would be many
    /// encodings of one signature, and this returns `None`.
    #[must_use]
    pub fn signature(&self) -> Option<[u8; 96]> {
        let (r, r_rest) = self.slice(offset::SIGNATURE, 72).split_at_checked(48)?;
        let (s, s_rest) = self.slice(offset::SIGNATURE_S, 72).split_at_checked(48)?;
        let after = self.0.get(offset::SIGNATURE_END..)?;
        if !is_zero(r_rest) || !is_zero(s_rest) || !is_zero(after) {
            return None;
        }
        let mut out = [0; 96];
        for (to, from) in out.iter_mut().zip(r.iter().rev().chain(s.iter().rev())) {
            *to = *from;
        }
        Some(out)
    }

    /// The lowest version of the firmware's ABI that the guest's owner allows: major, minor.
    #[must_use]
    pub fn minimum_abi(&self) -> (u8, u8) {
        (self.byte(offset::POLICY + 1), self.byte(offset::POLICY))
    }
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, byte| any | byte) == 0
}

/// How a `TCB_VERSION` is laid out (AMD 56860, section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcbLayout {
    /// Milan and Genoa: boot loader, TEE, four unused, SNP, microcode.
    Milan,
    /// Turin: FMC, boot loader, TEE, SNP, three unused, microcode.
    Turin,
}

impl TcbLayout {
    /// The layout that a product has.
    #[must_use]
    pub fn of(product: SnpProduct) -> Self {
        match product {
            SnpProduct::Turin => Self::Turin,
            _ => Self::Milan,
        }
    }

    /// Takes a `TCB_VERSION` apart; `None` if one of its unused bytes is not zero.
    #[must_use]
    pub fn decode(self, raw: [u8; 8]) -> Option<TcbVersion> {
        let (tcb, unused) = self.split(raw);
        is_zero(&unused).then_some(tcb)
    }

    /// The parts and the unused bytes of a `TCB_VERSION`.
    pub(crate) fn split(self, raw: [u8; 8]) -> (TcbVersion, [u8; 4]) {
        match (self, raw) {
            (Self::Milan, [bootloader, tee, a, b, c, d, snp, microcode]) => {
                (TcbVersion { fmc: None, bootloader, tee, snp, microcode }, [a, b, c, d])
            }
            (Self::Turin, [fmc, bootloader, tee, snp, a, b, c, microcode]) => {
                (TcbVersion { fmc: Some(fmc), bootloader, tee, snp, microcode }, [a, b, c, 0])
            }
        }
    }
}

/// The product whose authority signs for processors of that CPUID (AMD 57230, products; AMD 56860,
/// section 7.3). `None` for processors of which no root is built in.
#[must_use]
pub fn product_of_cpuid(family: u8, model: u8) -> Option<SnpProduct> {
    match (family, model) {
        (0x19, 0x00..=0x0f) => Some(SnpProduct::Milan),
        // Genoa itself, then Bergamo and Siena, whose keys are signed under Genoa's authority.
        (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(SnpProduct::Genoa),
        (0x1a, 0x00..=0x11) => Some(SnpProduct::Turin),
        _ => None,
    }
}

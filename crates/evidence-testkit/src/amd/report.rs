// SPDX-License-Identifier: Apache-2.0

//! Reports of SEV-SNP (AMD 56860, `ATTESTATION_REPORT`).

use super::Product;
use crate::keys::Key;

/// Offsets of fields in a report, in bytes.
pub mod offset {
    /// `VERSION`, 4 bytes.
    pub const VERSION: usize = 0x000;
    /// `GUEST_SVN`, 4 bytes.
    pub const GUEST_SVN: usize = 0x004;
    /// `POLICY`, 8 bytes.
    pub const POLICY: usize = 0x008;
    /// `FAMILY_ID`, 16 bytes.
    pub const FAMILY_ID: usize = 0x010;
    /// `IMAGE_ID`, 16 bytes.
    pub const IMAGE_ID: usize = 0x020;
    /// `VMPL`, 4 bytes.
    pub const VMPL: usize = 0x030;
    /// `SIGNATURE_ALGO`, 4 bytes.
    pub const SIGNATURE_ALGO: usize = 0x034;
    /// `CURRENT_TCB`, 8 bytes.
    pub const CURRENT_TCB: usize = 0x038;
    /// `PLATFORM_INFO`, 8 bytes.
    pub const PLATFORM_INFO: usize = 0x040;
    /// `KEY_INFO`, 4 bytes: `AUTHOR_KEY_EN`, `MASK_CHIP_KEY`, `SIGNING_KEY`.
    pub const KEY_INFO: usize = 0x048;
    /// `REPORT_DATA`, 64 bytes.
    pub const REPORT_DATA: usize = 0x050;
    /// `MEASUREMENT`, 48 bytes.
    pub const MEASUREMENT: usize = 0x090;
    /// `HOST_DATA`, 32 bytes.
    pub const HOST_DATA: usize = 0x0c0;
    /// `ID_KEY_DIGEST`, 48 bytes.
    pub const ID_KEY_DIGEST: usize = 0x0e0;
    /// `AUTHOR_KEY_DIGEST`, 48 bytes.
    pub const AUTHOR_KEY_DIGEST: usize = 0x110;
    /// `REPORT_ID`, 32 bytes.
    pub const REPORT_ID: usize = 0x140;
    /// `REPORT_ID_MA`, 32 bytes.
    pub const REPORT_ID_MA: usize = 0x160;
    /// `REPORTED_TCB`, 8 bytes.
    pub const REPORTED_TCB: usize = 0x180;
    /// `CPUID_FAM_ID`, `CPUID_MOD_ID`, `CPUID_STEP`, from version 3 on.
    pub const CPUID: usize = 0x188;
    /// `CHIP_ID`, 64 bytes.
    pub const CHIP_ID: usize = 0x1a0;
    /// `COMMITTED_TCB`, 8 bytes.
    pub const COMMITTED_TCB: usize = 0x1e0;
    /// `CURRENT_BUILD`, `CURRENT_MINOR`, `CURRENT_MAJOR`.
    pub const CURRENT_VERSION: usize = 0x1e8;
    /// `COMMITTED_BUILD`, `COMMITTED_MINOR`, `COMMITTED_MAJOR`.
    pub const COMMITTED_VERSION: usize = 0x1ec;
    /// `LAUNCH_TCB`, 8 bytes.
    pub const LAUNCH_TCB: usize = 0x1f0;
    /// `LAUNCH_MIT_VECTOR`, 8 bytes, from version 5 on.
    pub const LAUNCH_MIT_VECTOR: usize = 0x1f8;
    /// `CURRENT_MIT_VECTOR`, 8 bytes, from version 5 on.
    pub const CURRENT_MIT_VECTOR: usize = 0x200;
    /// `SIGNATURE`, 512 bytes; what is before it is signed.
    pub const SIGNATURE: usize = 0x2a0;
    /// `S` of the signature, 72 bytes.
    pub const SIGNATURE_S: usize = 0x2e8;
}

/// Security patch levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tcb {
    /// Of the FMC; Turin only.
    pub fmc: u8,
    /// Of the boot loader.
    pub bootloader: u8,
    /// Of the operating system of the secure processor.
    pub tee: u8,
    /// Of the SNP firmware.
    pub snp: u8,
    /// Of the microcode.
    pub microcode: u8,
}

impl Tcb {
    /// What reports and VEKs of that product have by default.
    #[must_use]
    pub fn of(product: Product) -> Self {
        match product {
            // Above 127, so that its DER takes a byte more.
            Product::Milan => Self { fmc: 0, bootloader: 4, tee: 0, snp: 24, microcode: 0xdb },
            Product::Genoa => Self { fmc: 0, bootloader: 10, tee: 0, snp: 27, microcode: 27 },
            Product::Turin => Self { fmc: 1, bootloader: 2, tee: 3, snp: 4, microcode: 0x51 },
        }
    }

    /// `TCB_VERSION`, which Turin has in another order.
    #[must_use]
    pub fn to_bytes(self, product: Product) -> [u8; 8] {
        let Self { fmc, bootloader, tee, snp, microcode } = self;
        match product {
            Product::Turin => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
            _ => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
        }
    }
}

/// The chip that reports are from by default.
pub(super) fn chip_id(product: Product) -> [u8; 64] {
    let mut id = [0; 64];
    for (position, byte) in id[..product.chip_id_length()].iter_mut().enumerate() {
        *byte = 0xc0 ^ position as u8;
    }
    id
}

/// A report in the making. Setters replace; nothing is checked.
#[derive(Debug, Clone)]
pub struct ReportBuilder {
    product: Product,
    bytes: Vec<u8>,
    after: Vec<(usize, Vec<u8>)>,
}

impl ReportBuilder {
    /// Length of a report, in bytes.
    pub const SIZE: usize = 1184;

    /// The data of [`offset::MEASUREMENT`] by default.
    pub const MEASUREMENT: [u8; 48] = [0x4d; 48];

    /// The data of [`offset::REPORT_DATA`] by default.
    pub const REPORT_DATA: [u8; 64] = [0x52; 64];

    /// A report of that version (2 to 5) at VMPL 0 under a VCEK: policy 0x30000, firmware 1.55.29, all TCBs
    /// equal to [`Tcb::of`].
    #[must_use]
    pub fn new(product: Product, version: u32) -> Self {
        let report = Self { product, bytes: vec![0; Self::SIZE], after: Vec::new() }
            .version(version)
            .policy(0x3_0000)
            .vmpl(0)
            .signature_algo(1)
            .platform_info(if version == 2 { 0x01 } else { 0x25 })
            .key_info(0)
            .report_data(&Self::REPORT_DATA)
            .measurement(&Self::MEASUREMENT)
            .patch(offset::REPORT_ID, &[0x1d; 32])
            .patch(offset::REPORT_ID_MA, &[0xff; 32])
            .tcb(Tcb::of(product))
            .chip_id(&chip_id(product))
            .firmware([1, 55, 29]);
        let report = if version >= 3 { report.cpuid(product.cpuid()) } else { report };
        if version >= 5 { report.mitigations(0x0b) } else { report }
    }

    /// `VERSION`.
    #[must_use]
    pub fn version(self, version: u32) -> Self {
        self.patch(offset::VERSION, &version.to_le_bytes())
    }

    /// `GUEST_SVN`.
    #[must_use]
    pub fn guest_svn(self, svn: u32) -> Self {
        self.patch(offset::GUEST_SVN, &svn.to_le_bytes())
    }

    /// `POLICY`; 17 is the bit that is always set, 18 is migration, 19 is debug.
    #[must_use]
    pub fn policy(self, policy: u64) -> Self {
        self.patch(offset::POLICY, &policy.to_le_bytes())
    }

    /// `FAMILY_ID`.
    #[must_use]
    pub fn family_id(self, id: &[u8; 16]) -> Self {
        self.patch(offset::FAMILY_ID, id)
    }

    /// `IMAGE_ID`.
    #[must_use]
    pub fn image_id(self, id: &[u8; 16]) -> Self {
        self.patch(offset::IMAGE_ID, id)
    }

    /// `VMPL`.
    #[must_use]
    pub fn vmpl(self, vmpl: u32) -> Self {
        self.patch(offset::VMPL, &vmpl.to_le_bytes())
    }

    /// `SIGNATURE_ALGO`; 1 is ECDSA on P-384 with SHA-384.
    #[must_use]
    pub fn signature_algo(self, algorithm: u32) -> Self {
        self.patch(offset::SIGNATURE_ALGO, &algorithm.to_le_bytes())
    }

    /// `PLATFORM_INFO`.
    #[must_use]
    pub fn platform_info(self, info: u64) -> Self {
        self.patch(offset::PLATFORM_INFO, &info.to_le_bytes())
    }

    /// `KEY_INFO`: bit 0 `AUTHOR_KEY_EN`, bit 1 `MASK_CHIP_KEY`, bits 2 to 4 `SIGNING_KEY`.
    #[must_use]
    pub fn key_info(self, info: u32) -> Self {
        self.patch(offset::KEY_INFO, &info.to_le_bytes())
    }

    /// Signed by a VLEK: says so, and names no chip.
    #[must_use]
    pub fn vlek(self) -> Self {
        self.key_info(1 << 2).chip_id(&[0; 64])
    }

    /// `REPORT_DATA`.
    #[must_use]
    pub fn report_data(self, data: &[u8; 64]) -> Self {
        self.patch(offset::REPORT_DATA, data)
    }

    /// `MEASUREMENT`.
    #[must_use]
    pub fn measurement(self, measurement: &[u8; 48]) -> Self {
        self.patch(offset::MEASUREMENT, measurement)
    }

    /// `HOST_DATA`.
    #[must_use]
    pub fn host_data(self, data: &[u8; 32]) -> Self {
        self.patch(offset::HOST_DATA, data)
    }

    /// `ID_KEY_DIGEST`.
    #[must_use]
    pub fn id_key_digest(self, digest: &[u8; 48]) -> Self {
        self.patch(offset::ID_KEY_DIGEST, digest)
    }

    /// `AUTHOR_KEY_DIGEST`; bit 0 of [`ReportBuilder::key_info`] belongs to it.
    #[must_use]
    pub fn author_key_digest(self, digest: &[u8; 48]) -> Self {
        self.patch(offset::AUTHOR_KEY_DIGEST, digest)
    }

    /// Current, reported, committed and launch TCB at once.
    #[must_use]
    pub fn tcb(self, tcb: Tcb) -> Self {
        self.current_tcb(tcb).reported_tcb(tcb).committed_tcb(tcb).launch_tcb(tcb)
    }

    /// `CURRENT_TCB`.
    #[must_use]
    pub fn current_tcb(self, tcb: Tcb) -> Self {
        let bytes = tcb.to_bytes(self.product);
        self.patch(offset::CURRENT_TCB, &bytes)
    }

    /// `REPORTED_TCB`.
    #[must_use]
    pub fn reported_tcb(self, tcb: Tcb) -> Self {
        let bytes = tcb.to_bytes(self.product);
        self.patch(offset::REPORTED_TCB, &bytes)
    }

    /// `COMMITTED_TCB`.
    #[must_use]
    pub fn committed_tcb(self, tcb: Tcb) -> Self {
        let bytes = tcb.to_bytes(self.product);
        self.patch(offset::COMMITTED_TCB, &bytes)
    }

    /// `LAUNCH_TCB`.
    #[must_use]
    pub fn launch_tcb(self, tcb: Tcb) -> Self {
        let bytes = tcb.to_bytes(self.product);
        self.patch(offset::LAUNCH_TCB, &bytes)
    }

    /// Family, model and stepping.
    #[must_use]
    pub fn cpuid(self, cpuid: [u8; 3]) -> Self {
        self.patch(offset::CPUID, &cpuid)
    }

    /// `CHIP_ID`.
    #[must_use]
    pub fn chip_id(self, id: &[u8; 64]) -> Self {
        self.patch(offset::CHIP_ID, id)
    }

    /// Current and committed version of the firmware: major, minor, build.
    #[must_use]
    pub fn firmware(self, [major, minor, build]: [u8; 3]) -> Self {
        self.patch(offset::CURRENT_VERSION, &[build, minor, major])
            .patch(offset::COMMITTED_VERSION, &[build, minor, major])
    }

    /// `LAUNCH_MIT_VECTOR` and `CURRENT_MIT_VECTOR`.
    #[must_use]
    pub fn mitigations(self, vector: u64) -> Self {
        self.patch(offset::LAUNCH_MIT_VECTOR, &vector.to_le_bytes())
            .patch(offset::CURRENT_MIT_VECTOR, &vector.to_le_bytes())
    }

    /// Any bytes, before the report is signed.
    ///
    /// # Panics
    ///
    /// If they reach beyond the report.
    #[must_use]
    pub fn patch(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Any bytes, after the report was signed.
    #[must_use]
    pub fn patch_after(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.after.push((offset, bytes.into()));
        self
    }

    /// The report, signed by that key: `r` and `s` little-endian, 72 bytes each. A key on P-256 signs too,
    /// with numbers that are shorter.
    #[must_use]
    pub fn sign(&self, key: &Key) -> Vec<u8> {
        let mut report = self.bytes.clone();
        let signature = key.sign_fixed(&report[..offset::SIGNATURE]);
        let (r, s) = signature.split_at(signature.len() / 2);
        for (at, number) in [(offset::SIGNATURE, r), (offset::SIGNATURE_S, s)] {
            for (to, from) in report[at..].iter_mut().zip(number.iter().rev()) {
                *to = *from;
            }
        }
        for (offset, bytes) in &self.after {
            report[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        report
    }
}

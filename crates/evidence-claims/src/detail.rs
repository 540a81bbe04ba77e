// SPDX-License-Identifier: Apache-2.0

//! What only one format of evidence says. Plain data: offsets and checks are in the format's crate.

use evidence_pki::Time;

use crate::TcbStatus;

/// What only this format says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Detail {
    /// AMD SEV-SNP, and development evidence in the same format.
    Snp(Box<SnpDetail>),
    /// Intel SGX, and development evidence in the same format.
    Sgx(Box<SgxDetail>),
    /// Intel TDX.
    Tdx(Box<TdxDetail>),
}

/// An SNP attestation report (AMD 56860, section 7.3, `ATTESTATION_REPORT`).
#[derive(Debug, Clone)]
pub struct SnpDetail {
    /// `VERSION`: 2 to 5.
    pub report_version: u32,
    /// `GUEST_SVN`.
    pub guest_svn: u32,
    /// `POLICY`, as the guest's owner set it.
    pub policy: u64,
    /// `VMPL` that asked for the report.
    pub vmpl: u32,
    /// `PLATFORM_INFO`.
    pub platform_info: u64,
    /// `FAMILY_ID`.
    pub family_id: [u8; 16],
    /// `IMAGE_ID`.
    pub image_id: [u8; 16],
    /// `HOST_DATA`.
    pub host_data: [u8; 32],
    /// `ID_KEY_DIGEST`.
    pub id_key_digest: [u8; 48],
    /// `AUTHOR_KEY_DIGEST`; says something only with `author_key_enabled`.
    pub author_key_digest: [u8; 48],
    /// `KEY_INFO.AUTHOR_KEY_EN`.
    pub author_key_enabled: bool,
    /// `CHIP_ID`; zero under a VLEK or if masked.
    pub chip_id: [u8; 64],
    /// Which kind of key signed the report.
    pub signing_key: SigningKey,
    /// The processor's product line; `None` for development evidence.
    pub product: Option<SnpProduct>,
    /// `CPUID_FAM_ID`, `CPUID_MOD_ID`, `CPUID_STEP`, from report version 3.
    pub cpuid: Option<(u8, u8, u8)>,
    /// `CURRENT_TCB`.
    pub current_tcb: TcbVersion,
    /// `REPORTED_TCB`, which the VEK is derived from.
    pub reported_tcb: TcbVersion,
    /// `COMMITTED_TCB`.
    pub committed_tcb: TcbVersion,
    /// `LAUNCH_TCB`.
    pub launch_tcb: TcbVersion,
    /// Version of the firmware that runs.
    pub current_firmware: Firmware,
    /// Version below which the firmware cannot go back.
    pub committed_firmware: Firmware,
    /// `LAUNCH_MIT_VECTOR`, from report version 5.
    pub launch_mitigations: Option<u64>,
    /// `CURRENT_MIT_VECTOR`, from report version 5.
    pub current_mitigations: Option<u64>,
    /// The cloud provider that a VLEK was made for.
    pub csp_id: Option<String>,
}

/// Which key signed an SNP report (`KEY_INFO.SIGNING_KEY`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKey {
    /// The chip's own key.
    Vcek,
    /// A key that AMD made for a cloud provider.
    Vlek,
}

/// A product line of AMD processors, by its certificate authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SnpProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, with Bergamo and Siena (97x4, 8004).
    Genoa,
    /// EPYC 9005.
    Turin,
}

impl SnpProduct {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// AMD's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

/// A `TCB_VERSION` (AMD 56860, section 2.2), whatever its layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcbVersion {
    /// Firmware measured by the microcontroller; Turin and later.
    pub fmc: Option<u8>,
    /// Boot loader of the secure processor.
    pub bootloader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode of all cores.
    pub microcode: u8,
}

impl TcbVersion {
    /// Whether each part is at least that of `minimum`.
    #[must_use]
    pub fn is_at_least(&self, minimum: &Self) -> bool {
        self.fmc.unwrap_or(0) >= minimum.fmc.unwrap_or(0)
            && self.bootloader >= minimum.bootloader
            && self.tee >= minimum.tee
            && self.snp >= minimum.snp
            && self.microcode >= minimum.microcode
    }
}

/// A version of the SNP firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Firmware {
    /// API major version.
    pub major: u8,
    /// API minor version.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// What quotes of SGX and TDX say alike about the platform.
#[derive(Debug, Clone)]
pub struct QuotePlatform {
    /// Version of the quote: 3, 4 or 5.
    pub quote_version: u16,
    /// Family, model, stepping, platform type and custom SKU, from the PCK certificate.
    pub fmspc: [u8; 6],
    /// Identity of the provisioning certification enclave.
    pub pce_id: [u8; 2],
    /// `PCESVN` of the PCK certificate.
    pub pce_svn: u16,
    /// The 16 component SVNs of the PCK certificate.
    pub pck_svns: [u8; 16],
    /// Which authority issued the PCK certificate.
    pub pck_authority: PckAuthority,
    /// Whether the platform may grow by further packages, if the PCK certificate says so.
    pub dynamic_platform: Option<bool>,
    /// Whether platform keys are cached by Intel, if the PCK certificate says so.
    pub cached_keys: Option<bool>,
    /// Whether simultaneous multithreading is on, if the PCK certificate says so.
    pub smt_enabled: Option<bool>,
    /// Status of the matching TCB level, before the quoting enclave's and the module's counted in.
    pub platform_status: TcbStatus,
    /// `tcbDate` of that level: the platform has every fix known at that time.
    pub tcb_date: Time,
    /// Status of the quoting enclave; `None` if there was no QE identity to hold it against.
    pub qe_status: Option<TcbStatus>,
    /// `ISVSVN` of the quoting enclave.
    pub qe_svn: u16,
}

/// An authority for PCK certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PckAuthority {
    /// Single-package platforms.
    Processor,
    /// Multi-package platforms.
    Platform,
}

/// An SGX enclave's report (Intel SDM volume 3D, `REPORT`).
#[derive(Debug, Clone)]
pub struct SgxDetail {
    /// What the quote says of the platform.
    pub platform: QuotePlatform,
    /// `CPUSVN`.
    pub cpu_svn: [u8; 16],
    /// `MISCSELECT`.
    pub misc_select: u32,
    /// `ATTRIBUTES.FLAGS`.
    pub attributes: u64,
    /// `ATTRIBUTES.XFRM`.
    pub xfrm: u64,
    /// `MRENCLAVE`.
    pub mr_enclave: [u8; 32],
    /// `MRSIGNER`.
    pub mr_signer: [u8; 32],
    /// `CONFIGID`, with key separation and sharing.
    pub config_id: [u8; 64],
    /// `CONFIGSVN`.
    pub config_svn: u16,
    /// `ISVPRODID`.
    pub isv_prod_id: u16,
    /// `ISVSVN`.
    pub isv_svn: u16,
    /// `ISVEXTPRODID`.
    pub isv_ext_prod_id: [u8; 16],
    /// `ISVFAMILYID`.
    pub isv_family_id: [u8; 16],
}

/// A TD's report (Intel TDX module ABI, `TDREPORT_STRUCT`, as in a quote's body).
#[derive(Debug, Clone)]
pub struct TdxDetail {
    /// What the quote says of the platform.
    pub platform: QuotePlatform,
    /// `TEE_TCB_SVN`.
    pub tee_tcb_svn: [u8; 16],
    /// `MRSEAM`: the TDX module.
    pub mr_seam: [u8; 48],
    /// `MRSIGNERSEAM`: zero for Intel.
    pub mr_signer_seam: [u8; 48],
    /// `SEAMATTRIBUTES`.
    pub seam_attributes: u64,
    /// `TDATTRIBUTES`.
    pub td_attributes: u64,
    /// `XFAM`.
    pub xfam: u64,
    /// `MRTD`.
    pub mr_td: [u8; 48],
    /// `MRCONFIGID`.
    pub mr_config_id: [u8; 48],
    /// `MROWNER`.
    pub mr_owner: [u8; 48],
    /// `MROWNERCONFIG`.
    pub mr_owner_config: [u8; 48],
    /// `RTMR0` to `RTMR3`.
    pub rtmrs: [[u8; 48]; 4],
    /// `TEE_TCB_SVN_2`, TDX 1.5 bodies.
    pub tee_tcb_svn_2: Option<[u8; 16]>,
    /// `MRSERVICETD`, TDX 1.5 bodies.
    pub mr_service_td: Option<[u8; 48]>,
    /// Status of the TDX module by its identity; `None` if the module is of the first generation,
    /// which the platform's level covers.
    pub module_status: Option<TcbStatus>,
}

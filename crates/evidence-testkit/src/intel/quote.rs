// SPDX-License-Identifier: Apache-2.0

//! Quotes ("Intel SGX ECDSA QuoteLibReference", A.4, and "Intel TDX DCAP Quote Generation Library", A.3):
//! version 3 of SGX, versions 4 and 5 of SGX and TDX.

use super::{Authority, PckBuilder};
use crate::keys::{Key, sha256};

/// Offsets in the body of an SGX quote and in the report of a quoting enclave (384 bytes).
pub mod sgx_offset {
    /// `CPUSVN`, 16 bytes.
    pub const CPU_SVN: usize = 0;
    /// `MISCSELECT`, 4 bytes.
    pub const MISC_SELECT: usize = 16;
    /// `ISVEXTPRODID`, 16 bytes.
    pub const EXTENDED_PRODUCT_ID: usize = 32;
    /// `ATTRIBUTES`, 16 bytes; bit 1 of the first is debug.
    pub const ATTRIBUTES: usize = 48;
    /// `MRENCLAVE`, 32 bytes.
    pub const MRENCLAVE: usize = 64;
    /// `MRSIGNER`, 32 bytes.
    pub const MRSIGNER: usize = 128;
    /// `CONFIGID`, 64 bytes.
    pub const CONFIG_ID: usize = 192;
    /// `ISVPRODID`, 2 bytes.
    pub const PRODUCT_ID: usize = 256;
    /// `ISVSVN`, 2 bytes.
    pub const SVN: usize = 258;
    /// `CONFIGSVN`, 2 bytes.
    pub const CONFIG_SVN: usize = 260;
    /// `ISVFAMILYID`, 16 bytes.
    pub const FAMILY_ID: usize = 304;
    /// `REPORTDATA`, 64 bytes.
    pub const REPORT_DATA: usize = 320;
}

/// Offsets in the report of a quoting enclave; the same as [`sgx_offset`].
pub use sgx_offset as qe_offset;

/// Offsets in the body of a TDX quote (584 bytes; 648 for TD 1.5).
pub mod td_offset {
    /// `TEE_TCB_SVN`, 16 bytes.
    pub const TEE_TCB_SVN: usize = 0;
    /// `MRSEAM`, 48 bytes.
    pub const MRSEAM: usize = 16;
    /// `MRSIGNERSEAM`, 48 bytes.
    pub const MRSIGNER_SEAM: usize = 64;
    /// `SEAMATTRIBUTES`, 8 bytes.
    pub const SEAM_ATTRIBUTES: usize = 112;
    /// `TDATTRIBUTES`, 8 bytes; bit 0 is debug, bit 28 `SEPT_VE_DISABLE`.
    pub const TD_ATTRIBUTES: usize = 120;
    /// `XFAM`, 8 bytes.
    pub const XFAM: usize = 128;
    /// `MRTD`, 48 bytes.
    pub const MRTD: usize = 136;
    /// `MRCONFIGID`, 48 bytes.
    pub const MRCONFIGID: usize = 184;
    /// `MROWNER`, 48 bytes.
    pub const MROWNER: usize = 232;
    /// `MROWNERCONFIG`, 48 bytes.
    pub const MROWNERCONFIG: usize = 280;
    /// `RTMR0` to `RTMR3`, 48 bytes each.
    pub const RTMR: usize = 328;
    /// `REPORTDATA`, 64 bytes.
    pub const REPORT_DATA: usize = 520;
    /// `TEE_TCB_SVN_2`, 16 bytes; TD 1.5.
    pub const TEE_TCB_SVN_2: usize = 584;
    /// `MRSERVICETD`, 48 bytes; TD 1.5.
    pub const MRSERVICETD: usize = 600;
}

/// A form of quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuoteKind {
    /// SGX, version 3.
    SgxV3,
    /// SGX, version 4.
    SgxV4,
    /// SGX, version 5.
    SgxV5,
    /// TD 1.0, version 4.
    TdxV4,
    /// TD 1.0, version 5.
    Tdx10V5,
    /// TD 1.5, version 5.
    Tdx15V5,
}

impl QuoteKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::SgxV3, Self::SgxV4, Self::SgxV5, Self::TdxV4, Self::Tdx10V5, Self::Tdx15V5];

    /// Whether it is of a trust domain.
    #[must_use]
    pub fn is_tdx(self) -> bool {
        matches!(self, Self::TdxV4 | Self::Tdx10V5 | Self::Tdx15V5)
    }

    /// The version of the quote.
    #[must_use]
    pub fn version(self) -> u16 {
        match self {
            Self::SgxV3 => 3,
            Self::SgxV4 | Self::TdxV4 => 4,
            Self::SgxV5 | Self::Tdx10V5 | Self::Tdx15V5 => 5,
        }
    }

    /// Where the body begins, in bytes from the beginning of the quote.
    #[must_use]
    pub fn body_offset(self) -> usize {
        if self.version() == 5 { 54 } else { 48 }
    }

    /// Length of the body, in bytes.
    #[must_use]
    pub fn body_length(self) -> usize {
        match self {
            Self::SgxV3 | Self::SgxV4 | Self::SgxV5 => 384,
            Self::TdxV4 | Self::Tdx10V5 => 584,
            Self::Tdx15V5 => 648,
        }
    }

    /// The type of the body in version 5.
    #[must_use]
    pub fn body_type(self) -> u16 {
        match self {
            Self::SgxV3 | Self::SgxV4 | Self::SgxV5 => 1,
            Self::TdxV4 | Self::Tdx10V5 => 2,
            Self::Tdx15V5 => 3,
        }
    }

    /// Who issued the PCK certificate by default: the Processor CA for version 3, else the Platform CA.
    #[must_use]
    pub fn authority(self) -> Authority {
        if self == Self::SgxV3 { Authority::Processor } else { Authority::Platform }
    }
}

/// A quote in the making. Setters replace; nothing is checked.
#[derive(Debug, Clone)]
pub struct QuoteBuilder {
    kind: QuoteKind,
    header: [u8; 48],
    body_header: Option<(u16, u32)>,
    body: Vec<u8>,
    qe_report: Vec<u8>,
    qe_patches: Vec<(usize, Vec<u8>)>,
    auth_data: Vec<u8>,
    certification: (u16, Vec<u8>),
    outer_type: u16,
    outer_length: Option<u32>,
    signature_length: Option<u32>,
    trailing: Vec<u8>,
    after: Vec<(usize, Vec<u8>)>,
}

impl QuoteBuilder {
    /// `REPORTDATA` by default.
    pub const REPORT_DATA: [u8; 64] = [0x52; 64];

    /// `MRENCLAVE` by default.
    pub const MRENCLAVE: [u8; 32] = [0x4d; 32];

    /// `MRSIGNER` by default.
    pub const MRSIGNER: [u8; 32] = [0x5a; 32];

    /// `MRTD` by default.
    pub const MRTD: [u8; 48] = [0x4d; 48];

    /// Who made the quoting enclave: Intel.
    pub const VENDOR: [u8; 16] =
        *b"\x93\x9a\x72\x33\xf7\x9c\x4c\xa9\x94\x0a\x0d\xb3\x95\x7f\x06\x07";

    /// `TEE_TCB_SVN` by default: the TDX module 1.5 with SVN 5.
    pub const TEE_TCB_SVN: [u8; 16] = [5, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// A quote of that kind with that PEM chain of PCK certificates. No debugging; the quoting enclave has
    /// ISVSVN 8.
    #[must_use]
    pub fn new(kind: QuoteKind, pck_chain: &str) -> Self {
        let mut quote = Self {
            kind,
            header: [0; 48],
            body_header: (kind.version() == 5)
                .then(|| (kind.body_type(), kind.body_length() as u32)),
            body: vec![0; kind.body_length()],
            qe_report: vec![0; 384],
            qe_patches: Vec::new(),
            auth_data: (0..32).collect(),
            certification: (5, [pck_chain.as_bytes(), &[0]].concat()),
            outer_type: 6,
            outer_length: None,
            signature_length: None,
            trailing: Vec::new(),
            after: Vec::new(),
        };
        let tee_type: u32 = if kind.is_tdx() { 0x81 } else { 0 };
        quote = quote
            .patch_header(0, &kind.version().to_le_bytes())
            .patch_header(2, &2u16.to_le_bytes())
            .patch_header(4, &tee_type.to_le_bytes())
            .patch_header(12, &Self::VENDOR);
        if kind.version() == 3 {
            quote = quote
                .patch_header(8, &8u16.to_le_bytes())
                .patch_header(10, &PckBuilder::PCE_SVN.to_le_bytes());
        }
        quote.fill_qe_report(kind.is_tdx());
        if kind.is_tdx() { quote.td_defaults() } else { quote.sgx_defaults() }
    }

    fn fill_qe_report(&mut self, is_tdx: bool) {
        let signer: [u8; 32] = if is_tdx {
            *b"\xdc\x9e\x2a\x7c\x6f\x94\x8f\x17\x47\x4e\x34\xa7\xfc\x43\xed\x03\
               \x0f\x7c\x15\x63\xf1\xba\xbd\xdf\x63\x40\xc8\x2e\x0e\x54\xa8\xc5"
        } else {
            *b"\x8c\x4f\x57\x75\xd7\x96\x50\x3e\x96\x13\x7f\x77\xc6\x8a\x82\x9a\
               \x00\x56\xac\x8d\xed\x70\x14\x0b\x08\x1b\x09\x44\x90\xc5\x7b\xff"
        };
        let mut put = |at: usize, bytes: &[u8]| {
            self.qe_report[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(qe_offset::CPU_SVN, &PckBuilder::COMPONENTS);
        put(qe_offset::ATTRIBUTES, &[0x15, 0, 0, 0, 0, 0, 0, 0, 0xe7]);
        put(qe_offset::MRENCLAVE, &[0x9e; 32]);
        put(qe_offset::MRSIGNER, &signer);
        put(qe_offset::PRODUCT_ID, &[if is_tdx { 2 } else { 1 }]);
        put(qe_offset::SVN, &[8]);
    }

    fn sgx_defaults(self) -> Self {
        self.patch_body(sgx_offset::CPU_SVN, &PckBuilder::COMPONENTS)
            .patch_body(sgx_offset::ATTRIBUTES, &[0x05, 0, 0, 0, 0, 0, 0, 0, 0xe7])
            .patch_body(sgx_offset::MRENCLAVE, &Self::MRENCLAVE)
            .patch_body(sgx_offset::MRSIGNER, &Self::MRSIGNER)
            .patch_body(sgx_offset::REPORT_DATA, &Self::REPORT_DATA)
    }

    fn td_defaults(self) -> Self {
        let mut quote = self
            .patch_body(td_offset::TEE_TCB_SVN, &Self::TEE_TCB_SVN)
            .patch_body(td_offset::MRSEAM, &[0x5e; 48])
            .patch_body(td_offset::TD_ATTRIBUTES, &[0, 0, 0, 0x10])
            .patch_body(td_offset::XFAM, &[0xe7, 0x02, 0x06])
            .patch_body(td_offset::MRTD, &Self::MRTD)
            .patch_body(td_offset::REPORT_DATA, &Self::REPORT_DATA);
        for register in 0..4u8 {
            let at = td_offset::RTMR + 48 * usize::from(register);
            quote = quote.patch_body(at, &[0xa0 + register; 48]);
        }
        if quote.kind == QuoteKind::Tdx15V5 {
            quote = quote.patch_body(td_offset::TEE_TCB_SVN_2, &Self::TEE_TCB_SVN);
        }
        quote
    }

    /// Any bytes of the header (48 bytes), before the quote is signed.
    #[must_use]
    pub fn patch_header(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.header[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Any bytes of the body, before the quote is signed; see [`sgx_offset`] and [`td_offset`].
    #[must_use]
    pub fn patch_body(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.body[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Any bytes of the report of the quoting enclave, before it is signed; see [`qe_offset`].
    #[must_use]
    pub fn patch_qe_report(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.qe_patches.push((offset, bytes.into()));
        self
    }

    /// Any bytes of the whole quote, after it was signed.
    #[must_use]
    pub fn patch_after(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.after.push((offset, bytes.into()));
        self
    }

    /// `REPORTDATA` of the enclave or trust domain.
    #[must_use]
    pub fn report_data(self, data: &[u8; 64]) -> Self {
        let at = if self.kind.is_tdx() { td_offset::REPORT_DATA } else { sgx_offset::REPORT_DATA };
        self.patch_body(at, data)
    }

    /// Type and length of the body, as version 5 states them; `None` states none.
    #[must_use]
    pub fn body_header(mut self, header: Option<(u16, u32)>) -> Self {
        self.body_header = header;
        self
    }

    /// Another body, of whatever length.
    #[must_use]
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.into();
        self
    }

    /// The quoting enclave's own data, 32 bytes by default.
    #[must_use]
    pub fn auth_data(mut self, data: &[u8]) -> Self {
        self.auth_data = data.into();
        self
    }

    /// The PEM chain of PCK certificates.
    #[must_use]
    pub fn pck_chain(self, chain: &str) -> Self {
        self.certification_data(5, chain.as_bytes())
    }

    /// Type and value of the certification data; 5 is a PEM chain.
    #[must_use]
    pub fn certification_data(mut self, kind: u16, data: &[u8]) -> Self {
        self.certification = (kind, data.into());
        self
    }

    /// The type of the certification data around the report of the quoting enclave, from version 4 on.
    #[must_use]
    pub fn outer_type(mut self, kind: u16) -> Self {
        self.outer_type = kind;
        self
    }

    /// The stated length of the certification data around the report of the quoting enclave.
    #[must_use]
    pub fn outer_length(mut self, length: u32) -> Self {
        self.outer_length = Some(length);
        self
    }

    /// The stated length of the signature data.
    #[must_use]
    pub fn signature_length(mut self, length: u32) -> Self {
        self.signature_length = Some(length);
        self
    }

    /// Bytes after the quote, as clouds pad it.
    #[must_use]
    pub fn trailing(mut self, bytes: &[u8]) -> Self {
        self.trailing = bytes.into();
        self
    }

    /// Length of what the attestation key signs, in bytes: after it comes the length of the signature data.
    #[must_use]
    pub fn signed_length(&self) -> usize {
        48 + self.body_header.map_or(0, |_| 6) + self.body.len()
    }

    /// The quote, signed by the quoting enclave's key, whose report the PCK signs.
    #[must_use]
    pub fn sign(&self, attestation: &Key, pck: &Key) -> Vec<u8> {
        let mut quote = self.header.to_vec();
        if let Some((kind, length)) = self.body_header {
            quote.extend_from_slice(&kind.to_le_bytes());
            quote.extend_from_slice(&length.to_le_bytes());
        }
        quote.extend_from_slice(&self.body);

        // A point is given without the byte that says that it is not compressed.
        let point = &attestation.public()[1..];
        let mut qe_report = self.qe_report.clone();
        let hash = sha256(&[point, &self.auth_data].concat());
        qe_report[qe_offset::REPORT_DATA..][..32].copy_from_slice(&hash);
        for (offset, bytes) in &self.qe_patches {
            qe_report[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        let mut inner = qe_report.clone();
        inner.extend_from_slice(&pck.sign_fixed(&qe_report));
        inner.extend_from_slice(&(self.auth_data.len() as u16).to_le_bytes());
        inner.extend_from_slice(&self.auth_data);
        inner.extend_from_slice(&self.certification.0.to_le_bytes());
        inner.extend_from_slice(&(self.certification.1.len() as u32).to_le_bytes());
        inner.extend_from_slice(&self.certification.1);

        let mut signature = attestation.sign_fixed(&quote);
        signature.extend_from_slice(point);
        if self.kind.version() >= 4 {
            let length = self.outer_length.unwrap_or(inner.len() as u32);
            signature.extend_from_slice(&self.outer_type.to_le_bytes());
            signature.extend_from_slice(&length.to_le_bytes());
        }
        signature.extend_from_slice(&inner);
        let length = self.signature_length.unwrap_or(signature.len() as u32);
        quote.extend_from_slice(&length.to_le_bytes());
        quote.extend_from_slice(&signature);
        quote.extend_from_slice(&self.trailing);
        for (offset, bytes) in &self.after {
            quote[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        quote
    }
}

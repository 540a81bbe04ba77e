// SPDX-License-Identifier: Apache-2.0

//! By what a vendor's certificates and quoting enclaves are known: Intel's, and those of stand-ins, which have
//! the same shapes and must never pass for Intel's.

/// A vendor.
#[derive(Debug)]
pub(crate) struct Vendor {
    /// `qe_vendor_id` in quotes.
    pub(crate) id: [u8; 16],
    /// Common name of the authority of platforms with several packages.
    pub(crate) platform_authority: &'static str,
    /// Common name of the authority of platforms with one package.
    pub(crate) processor_authority: &'static str,
    /// Common name of PCK certificates.
    pub(crate) pck: &'static str,
    /// Common name of who signs TCB info and QE identities.
    pub(crate) signer: &'static str,
    /// What stands in for a QE identity if there is none: who signed the quoting enclaves, of SGX and of
    /// TDX.
    pub(crate) qe_signers: [[u8; 32]; 2],
}

/// Intel (Intel PCS API v4, `qe/identity`, all published versions; Intel SGX PCK Certificate and CRL Profile
/// Specification, 1.3).
pub(crate) const INTEL: Vendor = Vendor {
    id: crate::INTEL_VENDOR,
    platform_authority: "Intel SGX PCK Platform CA",
    processor_authority: "Intel SGX PCK Processor CA",
    pck: "Intel SGX PCK Certificate",
    signer: "Intel SGX TCB Signing",
    qe_signers: [
        [
            0x8c, 0x4f, 0x57, 0x75, 0xd7, 0x96, 0x50, 0x3e, 0x96, 0x13, 0x7f, 0x77, 0xc6, 0x8a,
            0x82, 0x9a, 0x00, 0x56, 0xac, 0x8d, 0xed, 0x70, 0x14, 0x0b, 0x08, 0x1b, 0x09, 0x44,
            0x90, 0xc5, 0x7b, 0xff,
        ],
        [
            0xdc, 0x9e, 0x2a, 0x7c, 0x6f, 0x94, 0x8f, 0x17, 0x47, 0x4e, 0x34, 0xa7, 0xfc, 0x43,
            0xed, 0x03, 0x0f, 0x7c, 0x15, 0x63, 0xf1, 0xba, 0xbd, 0xdf, 0x63, 0x40, 0xc8, 0x2e,
            0x0e, 0x54, 0xa8, 0xc5,
        ],
    ],
};

/// Stand-ins, under a development root. There is none of TDX.
pub(crate) const DEVELOPMENT: Vendor = Vendor {
    id: *b"Enarx-standin-QE",
    platform_authority: "Enarx development PCK Platform CA",
    processor_authority: "Enarx development PCK Processor CA",
    pck: "Enarx development PCK Certificate",
    signer: "Enarx development TCB Signing",
    qe_signers: [*b"Enarx development quoting signer"; 2],
};

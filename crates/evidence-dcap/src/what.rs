// SPDX-License-Identifier: Apache-2.0

//! The checks as statements, in the order in which an account lists them.

pub(crate) const QUOTE: &str = "the quote is well-formed";
pub(crate) const KIND: &str = "the quote is of the kind asked for, by an ECDSA P-256 key";
pub(crate) const VENDOR: &str = "the quoting enclave is from Intel";
pub(crate) const PCK_CHAIN: &str = "the PCK certificate chain is complete up to Intel's root";
pub(crate) const PCK_EXTENSION: &str = "the PCK certificate names its platform";
pub(crate) const CRLS: &str = "the revocation lists are well-formed";
pub(crate) const ROOT_CRL: &str = "the root's revocation list is genuine and current";
pub(crate) const AUTHORITY: &str =
    "the PCK authority is issued by Intel's root, valid, not revoked";
pub(crate) const PCK_CRL: &str = "the PCK authority's revocation list is genuine and current";
pub(crate) const TCB_SIGNER: &str =
    "the TCB info's signer is issued by Intel's root, valid, not revoked";
pub(crate) const TCB_INFO_SIGNATURE: &str = "the TCB info is signed by its signer";
pub(crate) const TCB_INFO: &str = "the TCB info is well-formed and current";
pub(crate) const QE_SIGNER: &str =
    "the QE identity's signer is issued by Intel's root, valid, not revoked";
pub(crate) const QE_IDENTITY_SIGNATURE: &str = "the QE identity is signed by its signer";
pub(crate) const QE_IDENTITY: &str = "the QE identity is well-formed and current";
pub(crate) const PCK: &str = "the PCK certificate is issued by its authority and valid";
pub(crate) const PCK_NOT_REVOKED: &str = "the PCK certificate is not revoked";
pub(crate) const PLATFORM: &str = "the TCB info is for this platform (FMSPC, PCE-ID)";
pub(crate) const QE_REPORT_SIGNATURE: &str = "the quoting enclave's report is signed by the PCK";
pub(crate) const QE_REPORT_DATA: &str = "the quoting enclave's report names the attestation key";
pub(crate) const QUOTE_SIGNATURE: &str = "the quote is signed by the attestation key";
pub(crate) const RESERVED: &str = "reserved fields are zero";
pub(crate) const QE_DEBUG: &str = "the quoting enclave does not run in debug mode";
pub(crate) const QE: &str = "the quoting enclave is the one that Intel published";
pub(crate) const QE_LEVEL: &str = "the quoting enclave has a published level";
pub(crate) const LEVEL: &str = "the platform has a published TCB level";
pub(crate) const MODULE: &str = "the TDX module is from Intel";
pub(crate) const MODULE_LEVEL: &str = "the TDX module has a published level";
pub(crate) const MODULE_NOW: &str = "the TDX module that runs now has a published identity";
pub(crate) const NOT_REVOKED: &str = "the platform's TCB is not revoked";
pub(crate) const TD_ATTRIBUTES: &str = "TDATTRIBUTES have no reserved bits set";

pub(crate) const DEVELOPMENT_ROOT: &str =
    "the chain's root is issued by a development root that is accepted, and valid";

/// What is checked of every quote, and then what is named.
macro_rules! checks {
    ($($more:ident),+ $(,)?) => {
        &[
            QUOTE,
            KIND,
            VENDOR,
            PCK_CHAIN,
            PCK_EXTENSION,
            CRLS,
            ROOT_CRL,
            AUTHORITY,
            PCK_CRL,
            TCB_SIGNER,
            TCB_INFO_SIGNATURE,
            TCB_INFO,
            QE_SIGNER,
            QE_IDENTITY_SIGNATURE,
            QE_IDENTITY,
            PCK,
            PCK_NOT_REVOKED,
            PLATFORM,
            QE_REPORT_SIGNATURE,
            QE_REPORT_DATA,
            QUOTE_SIGNATURE,
            RESERVED,
            $($more),+
        ]
    };
}

/// Of an SGX quote.
pub(crate) const SGX: &[&str] = checks![QE_DEBUG, QE, QE_LEVEL, LEVEL, NOT_REVOKED];

/// Of a TDX quote.
pub(crate) const TDX: &[&str] = checks![
    TD_ATTRIBUTES,
    QE_DEBUG,
    QE,
    QE_LEVEL,
    MODULE,
    MODULE_LEVEL,
    LEVEL,
    MODULE_NOW,
    NOT_REVOKED
];

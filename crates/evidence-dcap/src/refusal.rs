// SPDX-License-Identifier: Apache-2.0

//! Why a quote is refused.
//!
//! One enum for both formats, because all but the last step is the same for both. Codes begin with
//! `dcap.`; those that only one of them can yield begin with `sgx.` or `tdx.`.

use core::fmt;

use evidence_claims::{Reason, TcbStatus, Time};
use evidence_pki::PkiError;

/// A certificate of Intel's, by its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Intel's root.
    Root,
    /// The authority that issued the PCK certificate.
    PckAuthority,
    /// The PCK certificate: the key of the platform's provisioning certification enclave.
    Pck,
    /// The certificate that the TCB info is signed with.
    TcbSigner,
    /// The certificate that the QE identity is signed with.
    QeIdentitySigner,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root certificate",
            Self::PckAuthority => "PCK authority's certificate",
            Self::Pck => "PCK certificate",
            Self::TcbSigner => "TCB info's signing certificate",
            Self::QeIdentitySigner => "QE identity's signing certificate",
        })
    }
}

/// A revocation list of Intel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// The root's: of PCK authorities and signing certificates.
    Root,
    /// A PCK authority's: of PCK certificates.
    Pck,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Root => "root's revocation list",
            Self::Pck => "PCK authority's revocation list",
        })
    }
}

/// A signed JSON text of Intel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Document {
    /// TCB info of a kind of platform.
    TcbInfo,
    /// The identity of the quoting enclave.
    QeIdentity,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcbInfo => "TCB info",
            Self::QeIdentity => "QE identity",
        })
    }
}

/// Why a quote is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DcapRefusal {
    /// The quote is cut short, too large, or lengths in it do not fit together.
    #[error("the quote is malformed: {0}")]
    Quote(&'static str),
    /// Neither 3, 4 nor 5.
    #[error("the quote has version {0}")]
    QuoteVersion(u16),
    /// After the quote comes something other than zeros.
    #[error("after the quote come {0} bytes that are not all zero")]
    TrailingBytes(usize),
    /// The quote speaks of another kind of environment than the one asked for.
    #[error("the quote is of TEE type {found:#x}, not {expected:#x}")]
    TeeType {
        /// What the header says.
        found: u32,
        /// What was asked for: 0 for SGX, 0x81 for TDX.
        expected: u32,
    },
    /// A body that does not belong to the kind of environment, or that nobody here knows.
    #[error("the quote's body has type {0}")]
    BodyType(u16),
    /// The body of TDX module 1.5 extensions (type 4).
    #[error("the quote's body has type 4, which is not supported")]
    ExtendedBody,
    /// The attestation key is no ECDSA P-256 key.
    #[error("the quote's attestation key has type {0}")]
    KeyType(u16),
    /// The quoting enclave is not from Intel.
    #[error("the quote's quoting enclave is from an unknown vendor")]
    QeVendor,
    /// A field that has to be zero is not.
    #[error("a reserved field is not zero: {0}")]
    Reserved(&'static str),
    /// How the quote's key is certified is not supported.
    #[error("the quote has certification data of type {0}")]
    CertificationData(u16),
    /// The quote does not contain the PCK certificate chain, and no endorsement does.
    #[error("there is no PCK certificate chain")]
    PckChainMissing,

    /// A certificate cannot be read.
    #[error("{0} is unreadable: {1}")]
    Certificate(Part, PkiError),
    /// A chain has too few or too many certificates.
    #[error("the chain of the {0} has {1} certificates")]
    ChainLength(Part, usize),
    /// A chain ends at another root.
    #[error("the chain of the {0} ends at another root than Intel's")]
    Root(Part),
    /// No development root that is accepted issued what the chain of a stand-in ends at.
    #[error("the quote's root was issued by no development root that is accepted")]
    DevelopmentRoot,
    /// A certificate may not do what it does here.
    #[error("the {0} has the wrong role: {1}")]
    CertificateRole(Part, &'static str),
    /// A certificate has not the name that its role has.
    #[error("the {0} is not named as one")]
    CertificateName(Part),
    /// A certificate was not issued by the one above it.
    #[error("the {0} was issued by another authority")]
    CertificateIssuer(Part),
    /// A certificate's signature does not verify.
    #[error("the signature of the {0} does not verify")]
    CertificateSignature(Part),
    /// A certificate is not valid any more.
    #[error("the {0} expired at {1}")]
    CertificateExpired(Part, Time),
    /// A certificate is not valid yet.
    #[error("the {0} is not valid before {1}")]
    CertificateNotYetValid(Part, Time),
    /// A certificate is on a revocation list.
    #[error("the {0} is revoked")]
    CertificateRevoked(Part),
    /// What the PCK certificate says of the platform cannot be read.
    #[error("the PCK certificate's SGX extension is malformed: {0}")]
    PckExtension(&'static str),

    /// A revocation list is not there.
    #[error("the {0} is missing")]
    CrlMissing(List),
    /// A revocation list cannot be read.
    #[error("a revocation list is unreadable: {0}")]
    Crl(PkiError),
    /// A list is not the one that it is given as.
    #[error("what is given as the {0} was issued by another authority")]
    CrlIssuer(List),
    /// A revocation list's signature does not verify.
    #[error("the signature of the {0} does not verify")]
    CrlSignature(List),
    /// A newer revocation list is due.
    #[error("the {0} expired at {1}")]
    CrlExpired(List, Time),
    /// A revocation list is from the future.
    #[error("the {0} is not valid before {1}")]
    CrlNotYetValid(List, Time),

    /// A file with collateral cannot be read.
    #[error("the collateral is malformed: {0}")]
    CollateralFile(String),
    /// There is no TCB info.
    #[error("the TCB info is missing")]
    TcbInfoMissing,
    /// It is not said who signed the TCB info.
    #[error("the certificate chain of the TCB info is missing")]
    TcbInfoChainMissing,
    /// A document cannot be read.
    #[error("the {0} is malformed: {1}")]
    Malformed(Document, String),
    /// A document's signature does not verify.
    #[error("the signature of the {0} does not verify")]
    Signature(Document),
    /// A document is of a version that is not supported.
    #[error("the {0} has version {1}")]
    Version(Document, u32),
    /// A document is not for this kind of environment.
    #[error("the {0} is for another kind of environment: {1}")]
    Id(Document, String),
    /// A newer document is due.
    #[error("the {0} expired at {1}")]
    Expired(Document, Time),
    /// A document is from the future.
    #[error("the {0} is not valid before {1}")]
    NotYetValid(Document, Time),
    /// The TCB info is that of another kind of platform.
    #[error("the TCB info is for another FMSPC than the platform's")]
    Fmspc,
    /// The TCB info is that of another provisioning certification enclave.
    #[error("the TCB info is for another PCE-ID than the platform's")]
    PceId,

    /// The quoting enclave's report is not signed by the platform's key.
    #[error("the signature of the quoting enclave's report does not verify")]
    QeReportSignature,
    /// The quoting enclave does not vouch for the attestation key.
    #[error("the quoting enclave's report does not name the attestation key")]
    QeReportData,
    /// The quote is not signed by the attestation key.
    #[error("the signature of the quote does not verify")]
    QuoteSignature,
    /// The quoting enclave's `MISCSELECT` is not the published one.
    #[error("MISCSELECT of the quoting enclave is not the published one")]
    QeMiscSelect,
    /// The quoting enclave's `ATTRIBUTES` are not the published ones.
    #[error("ATTRIBUTES of the quoting enclave are not the published ones")]
    QeAttributes,
    /// Somebody else than Intel signed the quoting enclave.
    #[error("MRSIGNER of the quoting enclave is not the published one")]
    QeSigner,
    /// The enclave that made the quote is another one of Intel's.
    #[error("ISVPRODID of the quoting enclave is {0}")]
    QeProduct(u16),
    /// The quoting enclave can be looked into.
    #[error("the quoting enclave runs in debug mode")]
    QeDebug,
    /// The quoting enclave is older than every published level.
    #[error("ISVSVN {0} of the quoting enclave is below every published level")]
    QeLevel(u16),
    /// The platform is older than every published level.
    #[error("the platform is below every published TCB level")]
    TcbLevel,
    /// Intel has revoked the trust in the platform, its quoting enclave or its TDX module.
    #[error("the TCB status is {0}")]
    TcbRevoked(TcbStatus),
    /// Intel has published nothing about this generation of TDX modules.
    #[error("the TCB info has no identity for version {0} of the TDX module")]
    ModuleIdentity(u8),
    /// Somebody else than Intel signed the TDX module.
    #[error("MRSIGNERSEAM is not the published one")]
    ModuleSigner,
    /// The TDX module's attributes are not the published ones.
    #[error("SEAMATTRIBUTES are not the published ones")]
    ModuleAttributes,
    /// The TDX module is older than every published level.
    #[error("SVN {0} of the TDX module is below every published level")]
    ModuleLevel(u8),
    /// Bits of `TDATTRIBUTES` that mean nothing are set.
    #[error("TDATTRIBUTES have reserved bits set: {0:#018x}")]
    TdAttributes(u64),
}

const QUOTE: &str = "Intel SGX ECDSA Quote Library API, appendix A.4 (version 3); Intel TDX DCAP \
                     Quoting Library API, appendix A.3 (versions 4 and 5)";
const CERTIFICATES: &str = "Intel SGX PCK Certificate and CRL Profile Specification, section 1.3";
const CRLS: &str =
    "Intel SGX PCK Certificate and CRL Profile Specification, section 1.2.2; RFC 5280, section 6.3";
const PCS_TCB: &str = "Intel PCS API v4, Get TCB Info";
const PCS_QE: &str = "Intel PCS API v4, Get Quoting Enclave Identity";
const TDX_TCB: &str = "Intel PCS API v4, Get TCB Info, evaluation of the TDX module";

const NEW_QUOTE: &str = "Send the quote exactly as the quoting library returned it.";
const NEW_CHAIN: &str =
    "Send the PCK certificate chain as Intel's PCS serves it, up to Intel's root.";
const NEW_SIGNER: &str = "Send the issuer chain that Intel's PCS serves along with the document.";
const NEW_COLLATERAL: &str =
    "Fetch the collateral again from Intel's PCS or a PCCS, for this platform.";
const CLOCK: &str = "Check the clock, here and where the collateral was fetched.";
const UPDATE: &str =
    "Update the platform's firmware, then get a new PCK certificate and a new quote.";

impl DcapRefusal {
    /// Every code, once.
    pub const ALL_CODES: &[&str] = &[
        "dcap.quote",
        "dcap.quote-version",
        "dcap.trailing-bytes",
        "dcap.tee-type",
        "dcap.body-type",
        "tdx.extended-body",
        "dcap.key-type",
        "dcap.qe-vendor",
        "dcap.reserved",
        "dcap.certification-data",
        "dcap.pck-chain-missing",
        "dcap.certificate",
        "dcap.chain-length",
        "dcap.root",
        "dcap.development-root",
        "dcap.certificate-role",
        "dcap.certificate-name",
        "dcap.certificate-issuer",
        "dcap.certificate-signature",
        "dcap.certificate-expired",
        "dcap.certificate-not-yet-valid",
        "dcap.certificate-revoked",
        "dcap.pck-extension",
        "dcap.root-crl-missing",
        "dcap.pck-crl-missing",
        "dcap.crl",
        "dcap.crl-issuer",
        "dcap.crl-signature",
        "dcap.crl-expired",
        "dcap.crl-not-yet-valid",
        "dcap.collateral-file",
        "dcap.tcb-info-missing",
        "dcap.tcb-info-chain-missing",
        "dcap.tcb-info",
        "dcap.tcb-info-signature",
        "dcap.tcb-info-version",
        "dcap.tcb-info-id",
        "dcap.tcb-info-expired",
        "dcap.tcb-info-not-yet-valid",
        "dcap.fmspc",
        "dcap.pce-id",
        "dcap.qe-identity",
        "dcap.qe-identity-signature",
        "dcap.qe-identity-version",
        "dcap.qe-identity-id",
        "dcap.qe-identity-expired",
        "dcap.qe-identity-not-yet-valid",
        "dcap.qe-report-signature",
        "dcap.qe-report-data",
        "dcap.quote-signature",
        "dcap.qe-misc-select",
        "dcap.qe-attributes",
        "dcap.qe-signer",
        "dcap.qe-product",
        "dcap.qe-debug",
        "dcap.qe-level",
        "dcap.tcb-level",
        "dcap.tcb-revoked",
        "tdx.module-identity",
        "tdx.module-signer",
        "tdx.module-attributes",
        "tdx.module-level",
        "tdx.td-attributes",
    ];

    /// Code, reference and remedy of each refusal: one table, so that none of them is forgotten.
    fn facts(&self) -> (&'static str, &'static str, &'static str) {
        use Document::{QeIdentity, TcbInfo};
        match self {
            Self::Quote(_) => ("dcap.quote", QUOTE, NEW_QUOTE),
            Self::QuoteVersion(_) => (
                "dcap.quote-version",
                QUOTE,
                "Use a quoting library that makes quotes of version 3, 4 or 5.",
            ),
            Self::TrailingBytes(_) => {
                ("dcap.trailing-bytes", QUOTE, "Send the quote alone; only zeros may follow it.")
            }
            Self::TeeType { .. } => (
                "dcap.tee-type",
                QUOTE,
                "Send SGX quotes as SGX evidence, and TDX quotes as TDX evidence.",
            ),
            Self::BodyType(_) => ("dcap.body-type", QUOTE, NEW_QUOTE),
            Self::ExtendedBody => (
                "tdx.extended-body",
                QUOTE,
                "Have the quoting library make a quote of version 4, or of version 5 with body type 2 or 3.",
            ),
            Self::KeyType(_) => {
                ("dcap.key-type", QUOTE, "Use a quoting enclave that signs with ECDSA P-256.")
            }
            Self::QeVendor => ("dcap.qe-vendor", QUOTE, "Use Intel's quoting enclave."),
            Self::Reserved(_) => ("dcap.reserved", QUOTE, NEW_QUOTE),
            Self::CertificationData(_) => (
                "dcap.certification-data",
                QUOTE,
                "Have the platform's PCK certificate in place, so that the quote contains its chain (type 5).",
            ),
            Self::PckChainMissing => (
                "dcap.pck-chain-missing",
                QUOTE,
                "Send the PCK certificate chain as an endorsement, or a quote that contains it.",
            ),
            Self::Certificate(..) => ("dcap.certificate", CERTIFICATES, NEW_CHAIN),
            Self::ChainLength(..) => ("dcap.chain-length", CERTIFICATES, NEW_CHAIN),
            Self::Root(_) => ("dcap.root", CERTIFICATES, NEW_CHAIN),
            Self::DevelopmentRoot => (
                "dcap.development-root",
                "Enarx, docs/binding.md, stand-ins",
                "Name the development root of that machine in the policy, section [development].",
            ),
            Self::CertificateRole(..) => ("dcap.certificate-role", CERTIFICATES, NEW_CHAIN),
            Self::CertificateName(_) => ("dcap.certificate-name", CERTIFICATES, NEW_CHAIN),
            Self::CertificateIssuer(_) => ("dcap.certificate-issuer", CERTIFICATES, NEW_CHAIN),
            Self::CertificateSignature(_) => {
                ("dcap.certificate-signature", CERTIFICATES, NEW_CHAIN)
            }
            Self::CertificateExpired(..) => {
                ("dcap.certificate-expired", CERTIFICATES, NEW_COLLATERAL)
            }
            Self::CertificateNotYetValid(..) => {
                ("dcap.certificate-not-yet-valid", CERTIFICATES, CLOCK)
            }
            Self::CertificateRevoked(_) => (
                "dcap.certificate-revoked",
                CRLS,
                "Do not trust this platform; for a signing certificate, fetch the collateral again.",
            ),
            Self::PckExtension(_) => (
                "dcap.pck-extension",
                "Intel SGX PCK Certificate and CRL Profile Specification, section 1.3.5",
                NEW_CHAIN,
            ),
            Self::CrlMissing(List::Root) => (
                "dcap.root-crl-missing",
                CRLS,
                "Add https://certificates.trustedservices.intel.com/IntelSGXRootCA.der to the endorsements.",
            ),
            Self::CrlMissing(List::Pck) => (
                "dcap.pck-crl-missing",
                CRLS,
                "Add the list that Intel's PCS serves under pckcrl for the PCK's authority.",
            ),
            Self::Crl(_) => {
                ("dcap.crl", CRLS, "Send revocation lists in DER, as Intel serves them.")
            }
            Self::CrlIssuer(_) => ("dcap.crl-issuer", CRLS, NEW_COLLATERAL),
            Self::CrlSignature(_) => ("dcap.crl-signature", CRLS, NEW_COLLATERAL),
            Self::CrlExpired(..) => ("dcap.crl-expired", CRLS, NEW_COLLATERAL),
            Self::CrlNotYetValid(..) => ("dcap.crl-not-yet-valid", CRLS, CLOCK),
            Self::CollateralFile(_) => (
                "dcap.collateral-file",
                "Intel DCAP quote collateral (sgx_ql_qve_collateral_t)",
                "Give a JSON object with the nine fields of DCAP collateral; lists and signatures in hexadecimal.",
            ),
            Self::TcbInfoMissing => ("dcap.tcb-info-missing", PCS_TCB, NEW_COLLATERAL),
            Self::TcbInfoChainMissing => ("dcap.tcb-info-chain-missing", PCS_TCB, NEW_SIGNER),
            Self::Malformed(TcbInfo, _) => ("dcap.tcb-info", PCS_TCB, NEW_COLLATERAL),
            Self::Malformed(QeIdentity, _) => ("dcap.qe-identity", PCS_QE, NEW_COLLATERAL),
            Self::Signature(TcbInfo) => (
                "dcap.tcb-info-signature",
                PCS_TCB,
                "Send the TCB info byte by byte as Intel's PCS served it.",
            ),
            Self::Signature(QeIdentity) => (
                "dcap.qe-identity-signature",
                PCS_QE,
                "Send the QE identity byte by byte as Intel's PCS served it.",
            ),
            Self::Version(TcbInfo, _) => (
                "dcap.tcb-info-version",
                PCS_TCB,
                "Fetch the TCB info from version 4 of the PCS API, which serves version 3 of it.",
            ),
            Self::Version(QeIdentity, _) => (
                "dcap.qe-identity-version",
                PCS_QE,
                "Fetch the QE identity from version 4 of the PCS API.",
            ),
            Self::Id(TcbInfo, _) => ("dcap.tcb-info-id", PCS_TCB, NEW_COLLATERAL),
            Self::Id(QeIdentity, _) => ("dcap.qe-identity-id", PCS_QE, NEW_COLLATERAL),
            Self::Expired(TcbInfo, _) => ("dcap.tcb-info-expired", PCS_TCB, NEW_COLLATERAL),
            Self::Expired(QeIdentity, _) => ("dcap.qe-identity-expired", PCS_QE, NEW_COLLATERAL),
            Self::NotYetValid(TcbInfo, _) => ("dcap.tcb-info-not-yet-valid", PCS_TCB, CLOCK),
            Self::NotYetValid(QeIdentity, _) => ("dcap.qe-identity-not-yet-valid", PCS_QE, CLOCK),
            Self::Fmspc => ("dcap.fmspc", PCS_TCB, NEW_COLLATERAL),
            Self::PceId => ("dcap.pce-id", PCS_TCB, NEW_COLLATERAL),
            Self::QeReportSignature => ("dcap.qe-report-signature", QUOTE, NEW_QUOTE),
            Self::QeReportData => ("dcap.qe-report-data", QUOTE, NEW_QUOTE),
            Self::QuoteSignature => ("dcap.quote-signature", QUOTE, NEW_QUOTE),
            Self::QeMiscSelect => ("dcap.qe-misc-select", PCS_QE, "Use Intel's quoting enclave."),
            Self::QeAttributes => ("dcap.qe-attributes", PCS_QE, "Use Intel's quoting enclave."),
            Self::QeSigner => ("dcap.qe-signer", PCS_QE, "Use Intel's quoting enclave."),
            Self::QeProduct(_) => {
                ("dcap.qe-product", PCS_QE, "Use the quoting enclave for this kind of environment.")
            }
            Self::QeDebug => (
                "dcap.qe-debug",
                PCS_QE,
                "Use Intel's quoting enclave as released, not a debug build.",
            ),
            Self::QeLevel(_) => {
                ("dcap.qe-level", PCS_QE, "Update the quoting enclave on the platform.")
            }
            Self::TcbLevel => ("dcap.tcb-level", PCS_TCB, UPDATE),
            Self::TcbRevoked(_) => (
                "dcap.tcb-revoked",
                PCS_TCB,
                "Do not use this platform before its firmware is updated and its key renewed.",
            ),
            Self::ModuleIdentity(_) => ("tdx.module-identity", TDX_TCB, NEW_COLLATERAL),
            Self::ModuleSigner => ("tdx.module-signer", TDX_TCB, "Use a TDX module from Intel."),
            Self::ModuleAttributes => {
                ("tdx.module-attributes", TDX_TCB, "Use a TDX module from Intel as released.")
            }
            Self::ModuleLevel(_) => ("tdx.module-level", TDX_TCB, "Update the TDX module."),
            Self::TdAttributes(_) => (
                "tdx.td-attributes",
                "Intel TDX Module Base Architecture Specification, TD attributes",
                "Start the TD without attributes that the TDX module does not define.",
            ),
        }
    }
}

impl Reason for DcapRefusal {
    fn code(&self) -> &'static str {
        self.facts().0
    }

    fn reference(&self) -> &'static str {
        self.facts().1
    }

    fn remedy(&self) -> &'static str {
        self.facts().2
    }
}

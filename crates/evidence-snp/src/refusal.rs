// SPDX-License-Identifier: Apache-2.0

//! Why a report is refused: each rule has its own reason, with a stable code.

use evidence_claims::{Reason, SnpProduct};
use evidence_pki::PkiError;

const ABI: &str = "AMD 56860 (SEV-SNP firmware ABI), section 7.3, ATTESTATION_REPORT";
const ABI_POLICY: &str = "AMD 56860 (SEV-SNP firmware ABI), section 4.3, guest policy";
const ABI_TCB: &str = "AMD 56860 (SEV-SNP firmware ABI), section 2.2, TCB_VERSION";
const ABI_SIGNATURE: &str =
    "AMD 56860 (SEV-SNP firmware ABI), digital signatures, ECDSA P-384 with SHA-384";
const KDS: &str = "AMD 57230 (VCEK certificate and KDS interface), certificates and extensions";
const KDS_CRL: &str =
    "AMD 57230 (VCEK certificate and KDS interface), revocation list; RFC 5280, section 5";
const PATH: &str = "RFC 5280, section 6.1, path validation";
const DEVELOPMENT: &str = "Enarx, evidence-snp, Development";

/// Why SNP or development evidence is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpRefusal {
    /// The report has not the one length that reports have; says the length.
    #[error("the report has {0} bytes and not 1184")]
    Length(usize),
    /// A version of the report that is not known.
    #[error("the report has version {0}; known are 2 to 5")]
    Version(u32),
    /// Not ECDSA over P-384 with SHA-384.
    #[error("SIGNATURE_ALGO is {0} and not 1")]
    SignatureAlgorithm(u32),
    /// Signed by neither VCEK nor VLEK; for development evidence, not by the former.
    #[error("KEY_INFO.SIGNING_KEY is {0}, which is no key that is accepted here")]
    SigningKey(u32),
    /// A processor without a known root.
    #[error("family {0:#x}, model {1:#x} is no processor whose root is known")]
    Product(u8, u8),
    /// A product for which this verifier was given no root.
    #[error("there is no root for {}", .0.as_str())]
    NoRoot(SnpProduct),
    /// Processor and certificate are of different products.
    #[error("the report is of {}, but the VEK of {}", report.as_str(), vek.as_str())]
    ProductMismatch {
        /// Product by the report's CPUID.
        report: SnpProduct,
        /// Product by the VEK's issuer.
        vek: SnpProduct,
    },
    /// No VEK came with the report.
    #[error("there is no VEK among the endorsements")]
    VekMissing,
    /// More than one VEK came with the report.
    #[error("there are several VEKs among the endorsements")]
    VekAmbiguous,
    /// The names in the VEK are not those of the kind of key that signed the report.
    #[error("the names in the VEK are not those of a {0}")]
    VekName(&'static str),
    /// The VEK's key is not on P-384.
    #[error("the key in the VEK is not on P-384")]
    VekKey,
    /// An extension of the VEK is missing or not as it should be; names it.
    #[error("the VEK's extension {0} is missing or not as it should be")]
    VekExtension(&'static str),
    /// `structVersion` is not that of the product.
    #[error("the VEK's structVersion is {0}, which is not that of its product")]
    VekStructVersion(u8),
    /// `productName` is of another product than the issuer.
    #[error("the VEK's productName is of another product than its issuer")]
    VekProductName,
    /// The VEK is on a list of its issuer.
    #[error("the VEK is revoked")]
    VekRevoked,
    /// The key of an authority is not RSA with 4096 bits, or for a development root not on P-384.
    #[error("the key of the {0} is of another kind than such keys are")]
    AuthorityKey(Part),
    /// A certificate is not good; says which and why.
    #[error("the {0}: {1}")]
    Certificate(Part, PkiError),
    /// The intermediate authority is on its root's list.
    #[error("the VEK's issuer (ASK or ASVK) is revoked")]
    AskRevoked,
    /// No list of the product's root came with the report.
    #[error("there is no revocation list of the root among the endorsements")]
    CrlMissing,
    /// A list is not good; says who should have issued it, and why.
    #[error("the revocation list of the {0}: {1}")]
    Crl(Part, PkiError),
    /// `REPORTED_TCB` is not the one that the VEK is made for.
    #[error("REPORTED_TCB is not the TCB that the VEK is made for")]
    Tcb,
    /// `CHIP_ID` is not the chip that the VEK is made for.
    #[error("CHIP_ID is not the chip that the VEK is made for")]
    ChipId,
    /// The signature is encoded in another way than the one.
    #[error("the signature has bytes that are not zero outside of r and s")]
    SignatureEncoding,
    /// The report's signature does not verify.
    #[error("the report is not signed by the VEK")]
    Signature,
    /// Something reserved is not zero; names the field.
    #[error("reserved bits are not zero: {0}")]
    Reserved(&'static str),
    /// A bit of `POLICY` has a value that it cannot have.
    #[error("POLICY {0:#x} has reserved bits with wrong values")]
    Policy(u64),
    /// The firmware is older than the guest's owner allows.
    #[error("the firmware's ABI {current:?} is below {minimum:?}, which POLICY demands")]
    Abi {
        /// Major and minor version of the firmware that runs.
        current: (u8, u8),
        /// Major and minor version that `POLICY` demands.
        minimum: (u8, u8),
    },
    /// Development evidence without anything in it.
    #[error("the development evidence is empty")]
    DevelopmentEmpty,
    /// No accepted development root issued the key that signed the evidence.
    #[error("no accepted development root issued the key of the evidence")]
    RootNotAccepted,
}

/// A certificate of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The key that signed the report: VCEK or VLEK.
    Vek,
    /// The intermediate authority: ASK or ASVK.
    Ask,
    /// The root.
    Ark,
}

impl core::fmt::Display for Part {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Vek => "VEK",
            Self::Ask => "VEK's issuer",
            Self::Ark => "root",
        })
    }
}

impl SnpRefusal {
    /// Every code that there is, sorted.
    pub const ALL_CODES: &[&str] = &[
        "development.empty",
        "development.root-not-accepted",
        "snp.abi",
        "snp.ark-expired",
        "snp.ark-not-yet-valid",
        "snp.ark-unusable",
        "snp.ask-expired",
        "snp.ask-issuer",
        "snp.ask-malformed",
        "snp.ask-not-an-authority",
        "snp.ask-not-yet-valid",
        "snp.ask-revoked",
        "snp.ask-signature",
        "snp.chip-id",
        "snp.crl-expired",
        "snp.crl-malformed",
        "snp.crl-missing",
        "snp.crl-not-yet-valid",
        "snp.crl-signature",
        "snp.length",
        "snp.no-root",
        "snp.policy",
        "snp.product",
        "snp.product-mismatch",
        "snp.reserved",
        "snp.signature",
        "snp.signature-algorithm",
        "snp.signature-encoding",
        "snp.signing-key",
        "snp.tcb",
        "snp.vek-ambiguous",
        "snp.vek-crl-expired",
        "snp.vek-crl-not-yet-valid",
        "snp.vek-crl-signature",
        "snp.vek-expired",
        "snp.vek-extension",
        "snp.vek-issuer",
        "snp.vek-key",
        "snp.vek-malformed",
        "snp.vek-missing",
        "snp.vek-name",
        "snp.vek-not-yet-valid",
        "snp.vek-product-name",
        "snp.vek-revoked",
        "snp.vek-signature",
        "snp.vek-struct-version",
        "snp.version",
    ];

    pub(crate) fn vek(error: PkiError) -> Self {
        Self::Certificate(Part::Vek, error)
    }

    /// Code, reference and remedy, side by side.
    fn facts(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Length(_) => {
                ("snp.length", ABI, "send the report as the firmware made it: exactly 1184 bytes")
            }
            Self::Version(_) => (
                "snp.version",
                ABI,
                "update the verifier, or use firmware that makes reports of version 2 to 5",
            ),
            Self::SignatureAlgorithm(_) => (
                "snp.signature-algorithm",
                ABI_SIGNATURE,
                "send the report as the firmware made it",
            ),
            Self::SigningKey(_) => (
                "snp.signing-key",
                ABI,
                "let the platform sign reports with its VCEK or VLEK: do not mask the chip's key",
            ),
            Self::Product(..) => (
                "snp.product",
                KDS,
                "run on Milan, Genoa (with Bergamo and Siena) or Turin, or update the verifier",
            ),
            Self::NoRoot(_) => ("snp.no-root", KDS, "give the verifier the root of that product"),
            Self::ProductMismatch { .. } => {
                ("snp.product-mismatch", KDS, "send the VEK of the processor that made the report")
            }
            Self::VekMissing => (
                "snp.vek-missing",
                KDS,
                "send the VCEK from AMD's KDS, or the VLEK from the cloud provider, with the report",
            ),
            Self::VekAmbiguous => {
                ("snp.vek-ambiguous", KDS, "send exactly one VEK with the report")
            }
            Self::VekName(_) => (
                "snp.vek-name",
                KDS,
                "send the VCEK for a report signed by a VCEK, and the VLEK for one signed by a VLEK",
            ),
            Self::VekKey => ("snp.vek-key", KDS, "send the VEK as AMD issued it"),
            Self::VekExtension(_) => ("snp.vek-extension", KDS, "send the VEK as AMD issued it"),
            Self::VekStructVersion(_) => (
                "snp.vek-struct-version",
                KDS,
                "send the VEK of the processor that made the report",
            ),
            Self::VekProductName => ("snp.vek-product-name", KDS, "send the VEK as AMD issued it"),
            Self::VekRevoked => (
                "snp.vek-revoked",
                KDS_CRL,
                "do not trust this platform until AMD has issued it another key",
            ),
            Self::AuthorityKey(Part::Ark) => {
                ("snp.ark-unusable", KDS, "give the verifier AMD's root as AMD published it")
            }
            Self::AuthorityKey(_) => (
                "snp.ask-not-an-authority",
                KDS,
                "send the ASK as AMD issued it, or none, so that the built-in one is used",
            ),
            Self::Certificate(part, error) => Self::certificate(*part, error),
            Self::AskRevoked => {
                ("snp.ask-revoked", KDS_CRL, "fetch the present ASK and a new VEK from AMD's KDS")
            }
            Self::CrlMissing => (
                "snp.crl-missing",
                KDS_CRL,
                "send the product's revocation list from AMD's KDS with the report",
            ),
            Self::Crl(part, error) => Self::list(*part, error),
            Self::Tcb => (
                "snp.tcb",
                ABI_TCB,
                "fetch the VEK for the TCB that the report states; it changes with each update of the firmware",
            ),
            Self::ChipId => ("snp.chip-id", ABI, "send the VEK of the chip that made the report"),
            Self::SignatureEncoding => {
                ("snp.signature-encoding", ABI_SIGNATURE, "send the report as the firmware made it")
            }
            Self::Signature => (
                "snp.signature",
                ABI_SIGNATURE,
                "send the report as the firmware made it, and the VEK of the chip that made it",
            ),
            Self::Reserved(_) => (
                "snp.reserved",
                ABI,
                "update the verifier: the report says something that it does not know",
            ),
            Self::Policy(_) => (
                "snp.policy",
                ABI_POLICY,
                "launch the guest with a policy that the verifier knows: bit 17 set, reserved bits clear",
            ),
            Self::Abi { .. } => ("snp.abi", ABI_POLICY, "update the platform's SEV firmware"),
            Self::DevelopmentEmpty => (
                "development.empty",
                DEVELOPMENT,
                "make development evidence under a local development root; the empty form proves nothing",
            ),
            Self::RootNotAccepted => (
                "development.root-not-accepted",
                DEVELOPMENT,
                "name this development root in the policy, if its evidence is to be accepted",
            ),
        }
    }

    fn certificate(part: Part, error: &PkiError) -> (&'static str, &'static str, &'static str) {
        const VEK: &str = "send the VEK as AMD issued it";
        const FETCH_VEK: &str = "fetch a new VEK, and mind the clock";
        const ASK: &str =
            "send the ASK as AMD issued it, or none, so that the built-in one is used";
        const ARK: &str = "update the verifier for the present root, and mind the clock";
        match (part, error) {
            (Part::Vek, PkiError::NotYetValid(_)) => ("snp.vek-not-yet-valid", PATH, FETCH_VEK),
            (Part::Vek, PkiError::Expired(_)) => ("snp.vek-expired", PATH, FETCH_VEK),
            (Part::Vek, PkiError::WrongIssuer) => ("snp.vek-issuer", PATH, VEK),
            (Part::Vek, PkiError::BadSignature | PkiError::UnsupportedAlgorithm(_)) => {
                ("snp.vek-signature", PATH, VEK)
            }
            (Part::Vek, _) => ("snp.vek-malformed", KDS, VEK),
            (Part::Ask, PkiError::NotYetValid(_)) => ("snp.ask-not-yet-valid", PATH, ASK),
            (Part::Ask, PkiError::Expired(_)) => ("snp.ask-expired", PATH, ASK),
            (Part::Ask, PkiError::WrongIssuer) => ("snp.ask-issuer", PATH, ASK),
            (Part::Ask, PkiError::BadSignature | PkiError::UnsupportedAlgorithm(_)) => {
                ("snp.ask-signature", PATH, ASK)
            }
            (Part::Ask, PkiError::NotAnAuthority) => ("snp.ask-not-an-authority", PATH, ASK),
            (Part::Ask, _) => ("snp.ask-malformed", KDS, ASK),
            (Part::Ark, PkiError::NotYetValid(_)) => ("snp.ark-not-yet-valid", PATH, ARK),
            (Part::Ark, PkiError::Expired(_)) => ("snp.ark-expired", PATH, ARK),
            (Part::Ark, _) => {
                ("snp.ark-unusable", KDS, "give the verifier the root as it was published")
            }
        }
    }

    fn list(part: Part, error: &PkiError) -> (&'static str, &'static str, &'static str) {
        const FETCH: &str = "fetch the present revocation list from AMD's KDS, and mind the clock";
        const LEAVE: &str = "leave this list out, or fetch the present one from AMD's KDS";
        let ark = part == Part::Ark;
        match error {
            PkiError::NotYetValid(_) if ark => ("snp.crl-not-yet-valid", KDS_CRL, FETCH),
            PkiError::NotYetValid(_) => ("snp.vek-crl-not-yet-valid", KDS_CRL, LEAVE),
            PkiError::Expired(_) if ark => ("snp.crl-expired", KDS_CRL, FETCH),
            PkiError::Expired(_) => ("snp.vek-crl-expired", KDS_CRL, LEAVE),
            PkiError::Malformed(_) | PkiError::TooLarge(_) | PkiError::UnknownCritical(_) => {
                ("snp.crl-malformed", KDS_CRL, FETCH)
            }
            _ if ark => ("snp.crl-signature", KDS_CRL, FETCH),
            _ => ("snp.vek-crl-signature", KDS_CRL, LEAVE),
        }
    }
}

impl Reason for SnpRefusal {
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

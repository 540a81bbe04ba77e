// SPDX-License-Identifier: Apache-2.0

//! A synthetic Intel: the chains of PCK certificates and of TCB signing, revocation lists, TCB info and QE
//! identity in the form of the Provisioning Certification Service (API version 4), and quotes of SGX and
//! TDX.

mod collateral;
mod pck;
mod quote;

use std::sync::LazyLock;

use evidence_pki::Time;

pub use collateral::{Collateral, Document, Level, signed_json};
pub use pck::{Authority, PckBuilder, pck_oid};
pub use quote::{QuoteBuilder, QuoteKind, qe_offset, sgx_offset, td_offset};

use crate::certificate::{CertificateBuilder, CrlBuilder, name, usage};
use crate::der_writer::pem_chain;
use crate::keys::Key;
use crate::{DAY, NOW};

/// DER `Name` with that common name, otherwise as in Intel's certificates.
#[must_use]
pub fn intel_name(common_name: &str) -> Vec<u8> {
    name(&[
        ("2.5.4.3", common_name, false),
        ("2.5.4.10", "Intel Corporation", false),
        ("2.5.4.7", "Santa Clara", false),
        ("2.5.4.8", "CA", false),
        ("2.5.4.6", "US", true),
    ])
}

/// Common name of the root.
pub const ROOT_NAME: &str = "Intel SGX Root CA";

/// Common name of who signs TCB info and QE identity.
pub const TCB_SIGNING_NAME: &str = "Intel SGX TCB Signing";

const ROOT_CRL_URL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// The vendor.
#[derive(Debug)]
pub struct Intel {
    root: Key,
    platform: Key,
    processor: Key,
    tcb: Key,
    pck: Key,
    attestation: Key,
    /// Root, Platform CA, Processor CA, TCB signing, signed once: the root is pinned byte by byte, and each
    /// signature is another one.
    issued: [Vec<u8>; 4],
}

/// A quote and all that belongs to it, valid at [`NOW`].
#[derive(Debug, Clone)]
pub struct DcapSample {
    /// Which quote it is.
    pub kind: QuoteKind,
    /// The quote, with the chain of its PCK certificate.
    pub quote: Vec<u8>,
    /// What the Provisioning Certification Service says about the platform.
    pub collateral: Collateral,
    /// DER of the root.
    pub root: Vec<u8>,
}

impl Intel {
    /// The vendor of this process.
    #[must_use]
    pub fn get() -> &'static Self {
        static INTEL: LazyLock<Intel> = LazyLock::new(Intel::new);
        &INTEL
    }

    /// An impostor: the same names, other keys.
    #[must_use]
    pub fn impostor() -> &'static Self {
        static IMPOSTOR: LazyLock<Intel> = LazyLock::new(Intel::new);
        &IMPOSTOR
    }

    fn new() -> Self {
        let mut intel = Self {
            root: Key::p256(),
            platform: Key::p256(),
            processor: Key::p256(),
            tcb: Key::p256(),
            pck: Key::p256(),
            attestation: Key::p256(),
            issued: Default::default(),
        };
        intel.issued = [
            intel.root().sign(&intel.root),
            intel.pck_ca(Authority::Platform).sign(&intel.root),
            intel.pck_ca(Authority::Processor).sign(&intel.root),
            intel.tcb_signing().sign(&intel.root),
        ];
        intel
    }

    /// The key of the root.
    #[must_use]
    pub fn root_key(&self) -> &Key {
        &self.root
    }

    /// The key of an issuer of PCK certificates.
    #[must_use]
    pub fn pck_ca_key(&self, authority: Authority) -> &Key {
        match authority {
            Authority::Platform => &self.platform,
            Authority::Processor => &self.processor,
        }
    }

    /// The key that signs TCB info and QE identity.
    #[must_use]
    pub fn tcb_key(&self) -> &Key {
        &self.tcb
    }

    /// The key of the platform's PCK certificate, which signs the report of the quoting enclave.
    #[must_use]
    pub fn pck_key(&self) -> &Key {
        &self.pck
    }

    /// The key of the quoting enclave, which signs quotes.
    #[must_use]
    pub fn attestation_key(&self) -> &Key {
        &self.attestation
    }

    fn certificate(&self, subject: &str, key: &Key) -> CertificateBuilder {
        CertificateBuilder::new(&intel_name(ROOT_NAME), &intel_name(subject), key.spki())
            .serial(&key.identifier())
            .validity(NOW.minus(2 * 365 * DAY), NOW.plus(5 * 365 * DAY))
            .authority_key_id(&self.root.identifier())
            .crl_at(ROOT_CRL_URL)
            .subject_key_id(&key.identifier())
    }

    /// The root, self-signed, to be changed. Sign it with [`Intel::root_key`].
    #[must_use]
    pub fn root(&self) -> CertificateBuilder {
        self.certificate(ROOT_NAME, &self.root)
            .validity(NOW.minus(8 * 365 * DAY), NOW.plus(22 * 365 * DAY))
            .key_usage(usage::CERTIFICATES_AND_CRLS)
            .basic_constraints(true, Some(1))
    }

    /// An issuer of PCK certificates, to be changed. Sign it with [`Intel::root_key`].
    #[must_use]
    pub fn pck_ca(&self, authority: Authority) -> CertificateBuilder {
        self.certificate(authority.common_name(), self.pck_ca_key(authority))
            .key_usage(usage::CERTIFICATES_AND_CRLS)
            .basic_constraints(true, Some(0))
    }

    /// Who signs TCB info and QE identity, to be changed. Sign it with [`Intel::root_key`].
    #[must_use]
    pub fn tcb_signing(&self) -> CertificateBuilder {
        self.certificate(TCB_SIGNING_NAME, &self.tcb)
            .key_usage(usage::SIGN)
            .basic_constraints(false, None)
    }

    /// DER of the root.
    #[must_use]
    pub fn root_der(&self) -> Vec<u8> {
        self.issued[0].clone()
    }

    /// DER of an issuer of PCK certificates.
    #[must_use]
    pub fn pck_ca_der(&self, authority: Authority) -> Vec<u8> {
        self.issued[1 + authority as usize].clone()
    }

    /// DER of who signs TCB info and QE identity.
    #[must_use]
    pub fn tcb_signing_der(&self) -> Vec<u8> {
        self.issued[3].clone()
    }

    /// PEM of the issuer of PCK certificates and of the root.
    #[must_use]
    pub fn pck_ca_chain(&self, authority: Authority) -> String {
        pem_chain(&[&self.pck_ca_der(authority), &self.root_der()])
    }

    /// PEM of who signs TCB info and QE identity, and of the root.
    #[must_use]
    pub fn tcb_signing_chain(&self) -> String {
        pem_chain(&[&self.tcb_signing_der(), &self.root_der()])
    }

    /// The root's revocation list, to be changed. Sign it with [`Intel::root_key`].
    #[must_use]
    pub fn root_crl(&self, this_update: Time, next_update: Time) -> CrlBuilder {
        CrlBuilder::new(&intel_name(ROOT_NAME), this_update, next_update)
            .authority_key_id(&self.root.identifier())
    }

    /// DER of the root's revocation list: empty, and current at [`NOW`].
    #[must_use]
    pub fn root_crl_der(&self) -> Vec<u8> {
        self.root_crl(NOW.minus(60 * DAY), NOW.plus(300 * DAY)).sign(&self.root)
    }

    /// The list of revoked PCK certificates, to be changed. Sign it with [`Intel::pck_ca_key`].
    #[must_use]
    pub fn pck_crl(
        &self,
        authority: Authority,
        this_update: Time,
        next_update: Time,
    ) -> CrlBuilder {
        let issuer = intel_name(authority.common_name());
        CrlBuilder::new(&issuer, this_update, next_update)
            .authority_key_id(&self.pck_ca_key(authority).identifier())
    }

    /// DER of the list of revoked PCK certificates: one that is of no other platform, and current at [`NOW`].
    #[must_use]
    pub fn pck_crl_der(&self, authority: Authority) -> Vec<u8> {
        self.pck_crl(authority, NOW.minus(5 * DAY), NOW.plus(25 * DAY))
            .revoke(&[0x6f; 20])
            .sign(self.pck_ca_key(authority))
    }

    /// A PCK certificate, to be changed. Sign it with [`Intel::pck_ca_key`].
    #[must_use]
    pub fn pck(&self, authority: Authority) -> PckBuilder {
        PckBuilder::new(authority, &self.pck, &self.pck_ca_key(authority).identifier())
    }

    /// PEM of a PCK certificate, of its issuer and of the root, as quotes hold it.
    #[must_use]
    pub fn pck_chain(&self, authority: Authority, pck: &PckBuilder) -> String {
        pem_chain(&[
            &pck.sign(self.pck_ca_key(authority)),
            &self.pck_ca_der(authority),
            &self.root_der(),
        ])
    }

    /// A quote of that kind, to be changed, under the default PCK certificate. Sign it with
    /// [`QuoteBuilder::sign`].
    #[must_use]
    pub fn quote(&self, kind: QuoteKind) -> QuoteBuilder {
        let authority = kind.authority();
        let chain = self.pck_chain(authority, &self.pck(authority));
        QuoteBuilder::new(kind, &chain)
    }

    /// The signed quote of a builder, with the keys of this vendor.
    #[must_use]
    pub fn sign_quote(&self, quote: &QuoteBuilder) -> Vec<u8> {
        quote.sign(&self.attestation, &self.pck)
    }

    /// Collateral for quotes of that kind, valid at [`NOW`], by which the default platform is up to date.
    #[must_use]
    pub fn collateral(&self, kind: QuoteKind) -> Collateral {
        Collateral::new(self, kind)
    }

    /// A quote of that kind and all that belongs to it.
    #[must_use]
    pub fn sample(&self, kind: QuoteKind) -> DcapSample {
        DcapSample {
            kind,
            quote: self.sign_quote(&self.quote(kind)),
            collateral: self.collateral(kind),
            root: self.root_der(),
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Which certificates of a peer count.
//!
//! There are two ways. A certificate that states a Steward's claims is one of a Keep and is judged
//! as such, whichever root it leads to: so `allow_development = false` cannot be got around by
//! naming the Steward's root in a file. Every other one is judged as browsers do (RFC 5280 as
//! `webpki` reads it), and does not count at all where a certain Keep is demanded.

use core::fmt;
use std::sync::Arc;

use evidence_pki::Certificate;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use steward_relying_party::{CertificateClaims, KeepVerifier};

/// What a certificate of a Keep states. For one that was verified: nothing is checked here.
pub(crate) fn claims(leaf: &[u8]) -> Option<CertificateClaims> {
    let leaf = Certificate::parse(leaf).ok()?;
    CertificateClaims::from_der(leaf.extension(steward_claims::OID)?.value).ok()
}

/// Whether a certificate says that it is one of a Keep, rightly or not.
fn is_keep(leaf: &[u8]) -> bool {
    Certificate::parse(leaf).is_ok_and(|leaf| leaf.extension(steward_claims::OID).is_some())
}

/// The rules for one kind of connection.
pub(crate) struct PeerVerifier {
    /// For Keeps.
    pub(crate) keep: Option<KeepVerifier>,
    /// For other servers.
    pub(crate) server: Option<Arc<WebPkiServerVerifier>>,
    /// For other clients.
    pub(crate) client: Option<Arc<dyn ClientCertVerifier>>,
    /// Names of roots, which a client is shown.
    pub(crate) hints: Vec<DistinguishedName>,
    /// Whether a client has to have a certificate.
    pub(crate) mandatory: bool,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier")
            .field("keep", &self.keep)
            .field("mandatory", &self.mandatory)
            .finish_non_exhaustive()
    }
}

const UNKNOWN: Error = Error::InvalidCertificate(CertificateError::UnknownIssuer);

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if is_keep(leaf) {
            let keep = self.keep.as_ref().ok_or(UNKNOWN)?;
            keep.verify_server_cert(leaf, chain, name, ocsp, now)
        } else {
            let server = self.server.as_ref().ok_or(UNKNOWN)?;
            server.verify_server_cert(leaf, chain, name, ocsp, now)
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if is_keep(leaf) {
            self.keep.as_ref().ok_or(UNKNOWN)?.verify_client_cert(leaf, chain, now)
        } else {
            self.client.as_ref().ok_or(UNKNOWN)?.verify_client_cert(leaf, chain, now)
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

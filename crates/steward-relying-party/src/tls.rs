// SPDX-License-Identifier: Apache-2.0

//! Demands within a TLS handshake, by rustls.
//!
//! The chain is checked by this crate and not by `webpki`: the rules are the same on both sides, and a Keep
//! whose certificate has no DNS name at all is one of the usual cases.

use core::fmt;
use std::sync::Arc;

use evidence_claims::Reason;
use evidence_crypto::Crypto;
use evidence_pki::{Certificate, PkiError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use crate::{CertificateClaims, Demands, MAX_CHAIN, PartyRefusal, Time, check};

/// Whether a server's certificate has to have the name by which it was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// It has to.
    #[default]
    Required,
    /// The name is not looked at: any Keep that meets the demands is as good as any other. They should
    /// then name a measurement or a workload.
    Ignored,
}

/// What the two traits of verifiers ask alike: how the signatures of the handshake itself are verified, which
/// the provider does.
macro_rules! signatures_of_the_handshake {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls12_signature(message, cert, dss, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            verify_tls13_signature(message, cert, dss, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

/// Accepts peers that lead to a trusted root of a Steward and meet the demands, as servers and as clients.
#[derive(Clone)]
pub struct KeepVerifier {
    roots: Vec<Vec<u8>>,
    hints: Vec<DistinguishedName>,
    demands: Demands,
    names: Names,
    crypto: Arc<dyn Crypto>,
    provider: Arc<CryptoProvider>,
}

impl KeepVerifier {
    /// Trusts these roots, each in DER, and no others. `crypto` verifies the signatures of the chain,
    /// `provider` those of the handshake: a Keep and a host take different ones.
    ///
    /// # Errors
    ///
    /// If a root is no certificate.
    pub fn new<T: Into<Vec<u8>>>(
        roots: impl IntoIterator<Item = T>,
        demands: Demands,
        crypto: Arc<dyn Crypto>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, PkiError> {
        let roots: Vec<Vec<u8>> = roots.into_iter().map(Into::into).collect();
        let mut hints = Vec::new();
        for root in &roots {
            let subject = Certificate::parse(root)?.subject.to_vec();
            hints.push(DistinguishedName::from(subject));
        }
        Ok(Self { roots, hints, demands, names: Names::default(), crypto, provider })
    }

    /// What to do with the names of servers. Names of clients are never looked at.
    #[must_use]
    pub fn names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// What a peer's certificates say, leaf first, if they meet the demands: for after the handshake, with
    /// what `peer_certificates()` of a connection returns.
    ///
    /// # Errors
    ///
    /// [`PartyRefusal`].
    pub fn claims(
        &self,
        certificates: &[CertificateDer<'_>],
        now: Time,
    ) -> Result<CertificateClaims, PartyRefusal> {
        let Some((leaf, chain)) = certificates.split_first() else {
            return Err(PartyRefusal::Malformed {
                which: "certificate of the Keep",
                error: PkiError::Malformed("certificate"),
            });
        };
        let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
        let roots: Vec<&[u8]> = self.roots.iter().map(Vec::as_slice).collect();
        check(leaf, &chain, &self.demands, now, &*self.crypto, &roots)
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificates: Vec<CertificateDer<'_>> =
            core::iter::once(leaf).chain(chain).map(|one| CertificateDer::from(&one[..])).collect();
        match self.claims(&certificates, Time::from_unix(now.as_secs())) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Error::InvalidCertificate(alert(refusal))),
        }
    }
}

/// The refusal in a form that makes rustls send the fitting alert; whatever has no form of its own goes
/// along whole, and can be downcast.
fn alert(refusal: PartyRefusal) -> CertificateError {
    match refusal.code() {
        "party.malformed" => CertificateError::BadEncoding,
        "party.untrusted-root" => CertificateError::UnknownIssuer,
        "party.signature" => CertificateError::BadSignature,
        _ => CertificateError::Other(OtherError(Arc::new(refusal))),
    }
}

impl ServerCertVerifier for KeepVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, now)?;
        if self.names == Names::Required {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    signatures_of_the_handshake!();
}

impl ClientCertVerifier for KeepVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures_of_the_handshake!();
}

impl fmt::Debug for KeepVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepVerifier")
            .field("roots", &self.roots.len())
            .field("demands", &self.demands)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Demands of clients that offer a certificate proof that they have its key, and nothing else: for a server
/// whose demands depend on what is asked for, and which holds what `peer_certificates()` returns against
/// them by [`check`] with each request.
#[derive(Debug)]
pub struct Possession {
    provider: Arc<CryptoProvider>,
}

impl Possession {
    /// `provider` verifies the signatures of the handshake.
    #[must_use]
    pub fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider }
    }
}

impl ClientCertVerifier for Possession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if intermediates.len() > MAX_CHAIN {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        Ok(ClientCertVerified::assertion())
    }

    signatures_of_the_handshake!();
}

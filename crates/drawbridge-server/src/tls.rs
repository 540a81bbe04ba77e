// SPDX-License-Identifier: Apache-2.0

//! The server's own TLS, by rustls with aws-lc-rs.
//!
//! Whoever offers a certificate has to prove here that it has the key to it, and that is all: whether the
//! chain leads to the Steward that the owner of a repository named, and whether it says what the owner
//! demands, is decided with each request, since each repository has a Steward and a policy of its own.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};
use steward_relying_party::MAX_CHAIN;

use crate::{StartError, Tls};

pub(crate) fn config(tls: &Tls) -> Result<Arc<ServerConfig>, StartError> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| StartError::Tls(format!("{what}: {error}"));
    let certificates = CertificateDer::pem_slice_iter(&tls.certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed("the certificates cannot be read", &error))?;
    let key = PrivateKeyDer::from_pem_slice(&tls.key)
        .map_err(|error| failed("the key cannot be read", &error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let possession = Possession { provider: Arc::clone(&provider) };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("there is no common version", &error))?
        .with_client_cert_verifier(Arc::new(possession))
        .with_single_cert(certificates, key)
        .map_err(|error| failed("certificate and key do not fit together", &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Demands proof of possession of any certificate that is offered, and nothing else.
#[derive(Debug)]
struct Possession {
    provider: Arc<CryptoProvider>,
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
}

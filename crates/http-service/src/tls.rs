// SPDX-License-Identifier: Apache-2.0

//! A service's own TLS, by rustls with aws-lc-rs: TLS 1.3 and 1.2, HTTP/1.1.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoClientAuth;
use rustls::server::danger::ClientCertVerifier;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The chain is no PEM with certificates.
    #[error("cannot read the TLS certificates")]
    Chain(#[source] rustls::pki_types::pem::Error),
    /// The key is no PEM with a private key.
    #[error("cannot read the TLS key")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// They do not fit together, or TLS cannot use them.
    #[error("the TLS certificates and the TLS key do not fit together")]
    Unfit(#[from] rustls::Error),
}

/// The configuration for that chain and key, both PEM. Clients are asked for certificates only if there is
/// something that looks at them.
///
/// # Errors
///
/// [`TlsError`].
pub fn server_config(
    chain: &[u8],
    key: &[u8],
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TlsError::Chain)?;
    let private = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients.unwrap_or_else(|| Arc::new(NoClientAuth)))
        .with_single_cert(certificates, private)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

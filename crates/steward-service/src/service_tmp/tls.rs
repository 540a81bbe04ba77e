// SPDX-License-Identifier: Apache-2.0

//! The service's own TLS, by rustls with aws-lc-rs: TLS 1.3 and 1.2, HTTP/1.1.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::exit::{Code, Failure, OrExit};
use crate::files;

/// The configuration for that chain and key, both PEM.
pub(crate) fn server_config(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, Failure> {
    let certificates = CertificateDer::pem_slice_iter(&files::read(chain)?)
        .collect::<Result<Vec<_>, _>>()
        .or_exit(Code::Input, || format!("cannot read certificates in {}", chain.display()))?;
    let private = PrivateKeyDer::from_pem_slice(&files::read_secret(key)?)
        .or_exit(Code::Input, || format!("cannot read a private key in {}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .or_exit(Code::Unsound, || {
            format!("{} and {} do not fit together", chain.display(), key.display())
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

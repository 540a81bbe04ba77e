// SPDX-License-Identifier: Apache-2.0

//! Which certificate the Keep shows: the one that is current when a handshake needs it.
//!
//! Renewal replaces it; handshakes that come later use the new one, and connections go on with what
//! they have.

use std::sync::{Arc, PoisonError, RwLock};

use keep_identity::Identity;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, SignatureScheme};

use crate::{NetError, provider};

/// The Keep's current certificate; clones share it.
#[derive(Debug, Clone, Default)]
pub struct IdentityHandle(Arc<RwLock<Option<Arc<Current>>>>);

/// The certificate in the form that TLS needs.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) key: Arc<CertifiedKey>,
    /// Whether no Steward had a part in it.
    pub(crate) self_signed: bool,
}

impl IdentityHandle {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on, this is who the Keep is.
    ///
    /// # Errors
    ///
    /// [`NetError::Cpu`] and [`NetError::Identity`]; the one before stays.
    pub fn install(&self, identity: &Identity) -> Result<(), NetError> {
        let provider = provider::provider()?;
        let key = provider
            .key_provider
            .load_private_key(identity.tls_key())
            .map_err(NetError::Identity)?;
        let key = CertifiedKey::new(identity.tls_chain(), key);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(NetError::Identity(error)),
        }
        if key.cert.is_empty() {
            return Err(NetError::Identity(CertificateError::BadEncoding.into()));
        }
        let current = Current { key: Arc::new(key), self_signed: identity.is_self_signed() };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(current));
        Ok(())
    }

    /// The certificate that is current now.
    pub(crate) fn current(&self) -> Option<Arc<Current>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether there is a certificate.
    #[must_use]
    pub fn is_installed(&self) -> bool {
        self.current().is_some()
    }
}

impl ResolvesServerCert for IdentityHandle {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().map(|current| Arc::clone(&current.key))
    }
}

impl ResolvesClientCert for IdentityHandle {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // The hints are not looked at: there is one certificate, and who does not like it says so.
        let current = self.current()?;
        current.key.key.choose_scheme(schemes)?;
        Some(Arc::clone(&current.key))
    }

    fn has_certs(&self) -> bool {
        self.is_installed()
    }
}

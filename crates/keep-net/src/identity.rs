// SPDX-License-Identifier: Apache-2.0

//! Which certificate the Keep shows: the one that is current when a handshake needs it.
//!
//! Renewal replaces it; handshakes that come later use the new one, and connections go on with what
//! they have.

use std::sync::{Arc, PoisonError, RwLock};

use keep_identity::Identity;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};

use crate::NetError;
use crate::provider::provider;

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
        self.install_chain(identity.tls_chain(), identity.tls_key(), identity.is_self_signed())
    }

    /// As [`IdentityHandle::install`], in parts: the chain, leaf first, its key, and whether no
    /// Steward had a part in it.
    ///
    /// # Errors
    ///
    /// See there.
    pub fn install_chain(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        self_signed: bool,
    ) -> Result<(), NetError> {
        let key = provider()?.key_provider.load_private_key(key).map_err(NetError::Identity)?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(NetError::Identity(error)),
        }
        let current = Current { key: Arc::new(key), self_signed };
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

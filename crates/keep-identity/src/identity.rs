// SPDX-License-Identifier: Apache-2.0

//! A key with the certificates that vouch for it.

use core::fmt;
use std::sync::Arc;

use evidence_crypto::{Crypto as _, Graviola};
use evidence_pki::Time;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use steward_claims::CertificateClaims;

use crate::Key;

/// Who a Keep is to its peers.
#[derive(Clone)]
pub struct Identity {
    chain: Vec<Vec<u8>>,
    key: Arc<Key>,
    not_before: Time,
    not_after: Time,
    claims: Option<CertificateClaims>,
}

impl Identity {
    pub(crate) fn new(
        chain: Vec<Vec<u8>>,
        key: Arc<Key>,
        not_before: Time,
        not_after: Time,
        claims: Option<CertificateClaims>,
    ) -> Self {
        Self { chain, key, not_before, not_after, claims }
    }

    /// The certificates, DER, the leaf first, without the root.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// First second in which the leaf is valid.
    #[must_use]
    pub fn not_before(&self) -> Time {
        self.not_before
    }

    /// Last second in which the leaf is valid.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// What the Steward verified; nothing in a certificate that a Keep signed by itself.
    #[must_use]
    pub fn claims(&self) -> Option<&CertificateClaims> {
        self.claims.as_ref()
    }

    /// Whether the Keep signed for itself.
    #[must_use]
    pub fn is_self_signed(&self) -> bool {
        self.claims.is_none()
    }

    /// The chain as rustls takes it.
    #[must_use]
    pub fn tls_chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.iter().map(|one| CertificateDer::from(one.clone())).collect()
    }

    /// The private key as rustls takes it: PKCS#8.
    #[must_use]
    pub fn tls_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.to_pkcs8().to_vec()))
    }

    /// When to ask for the next one: at two thirds of the leaf's lifetime, or up to a twentieth of it
    /// earlier, so that Keeps that were started together do not come back together.
    #[must_use]
    pub fn renew_at(&self) -> Time {
        let lifetime = self.not_after.unix().saturating_sub(self.not_before.unix());
        let two_thirds = lifetime / 3 * 2;
        // The certificate itself is as good as a random number here, and no secret is spent.
        let hash = Graviola.sha256(&[self.chain.first().map_or(&[], Vec::as_slice)]);
        let random = u64::from(u16::from_be_bytes([hash[0], hash[1]]));
        let earlier = lifetime / 20 * random / u64::from(u16::MAX);
        self.not_before.plus(two_thirds.saturating_sub(earlier))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}

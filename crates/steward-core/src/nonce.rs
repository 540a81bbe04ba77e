// SPDX-License-Identifier: Apache-2.0

//! Nonces that nobody has to remember.
//!
//! A nonce shows that a report was made after the Steward was asked. It says itself until when it is good,
//! and carries a tag that only Stewards with the same key can make. So any of several Stewards behind one
//! address can check the nonce of another, and none keeps a table that a stranger could fill. That a nonce
//! can be used more than once within its five minutes does no harm: a request is bound to one key, and
//! repeating it gives its sender nothing new.

use evidence_claims::Time;
use evidence_crypto::Crypto;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::RequestRefusal;

/// How long a nonce is good, in seconds.
pub const NONCE_LIFETIME: u64 = 300;
/// How many bytes a nonce has: 16 random ones, 8 of the time, 32 of the tag.
pub const NONCE_SIZE: usize = 56;

/// What the tag is over begins with this, so that the key is of no use for something else.
const DOMAIN: &[u8] = b"enarx-nonce-v1\0";

/// A nonce, for one report: `random (16) ‖ u64be expiry ‖ HMAC-SHA-256 (32)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce {
    bytes: [u8; NONCE_SIZE],
    expires: Time,
}

impl Nonce {
    /// The nonce itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; NONCE_SIZE] {
        &self.bytes
    }

    /// The last second in which it is good.
    #[must_use]
    pub fn expires(&self) -> Time {
        self.expires
    }
}

/// The key that makes and checks nonces.
pub(crate) struct NonceKey(pub(crate) Zeroizing<[u8; 32]>);

impl NonceKey {
    pub(crate) fn make(&self, crypto: &dyn Crypto, now: Time, random: [u8; 16]) -> Nonce {
        let expires = now.plus(NONCE_LIFETIME);
        let expiry = expires.unix().to_be_bytes();
        let tag = self.tag(crypto, &random, &expiry);
        let mut bytes = [0; NONCE_SIZE];
        let parts = random.iter().chain(&expiry).chain(&tag);
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        Nonce { bytes, expires }
    }

    pub(crate) fn check(
        &self,
        crypto: &dyn Crypto,
        nonce: &[u8],
        now: Time,
    ) -> Result<(), RequestRefusal> {
        let parts = nonce
            .split_first_chunk::<16>()
            .and_then(|(random, rest)| Some((random, rest.split_first_chunk::<8>()?)));
        let Some((random, (expiry, tag))) = parts else {
            return Err(RequestRefusal::NonceUnknown);
        };
        // Slices of different lengths are not equal.
        if !bool::from(self.tag(crypto, random, expiry).as_slice().ct_eq(tag)) {
            return Err(RequestRefusal::NonceUnknown);
        }
        let expires = Time::from_unix(u64::from_be_bytes(*expiry));
        if now > expires {
            return Err(RequestRefusal::NonceExpired(expires));
        }
        Ok(())
    }

    fn tag(&self, crypto: &dyn Crypto, random: &[u8; 16], expiry: &[u8; 8]) -> [u8; 32] {
        crypto.hmac_sha256(self.0.as_slice(), &[DOMAIN, random, expiry])
    }
}

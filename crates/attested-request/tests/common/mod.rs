// SPDX-License-Identifier: Apache-2.0

//! A key for tests that signs requests.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use core::fmt;

use evidence_pki::{PublicKey, SignError, Signer, SigningAlgorithm};
use evidence_testkit::keys::Key;

/// A digest and a slug of a workload.
pub const WORKLOAD: &str =
    "sha256:4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15";
pub const SLUG: &str = "enarx/fibonacci-rust:0.1.0";

/// A key in memory.
pub struct TestKey {
    key: Key,
    spki: Vec<u8>,
}

impl TestKey {
    pub fn new(key: Key) -> Self {
        Self { spki: key.spki(), key }
    }

    /// One on each curve.
    pub fn all() -> [Self; 2] {
        [Self::new(Key::p256()), Self::new(Key::p384())]
    }
}

impl Signer for TestKey {
    fn public_key(&self) -> &[u8] {
        &self.spki
    }

    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::of(&PublicKey::from_spki(&self.spki).unwrap()).unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(self.key.sign(message))
    }
}

impl fmt::Debug for TestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestKey(..)")
    }
}

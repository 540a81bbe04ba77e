// SPDX-License-Identifier: Apache-2.0

//! SGX: an RSA key of 3072 bits with the exponent 3, which signs the [`Enclave`]s of a SIGSTRUCT.

use std::convert::Infallible;

use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPrivateKey as _};
use rsa::pkcs8::LineEnding;
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, Pkcs1v15Sign, RsaPrivateKey};
use zeroize::Zeroizing;

use crate::KeyError;
use crate::sigstruct::{BITS, Enclave, SHA256_INFO, little_endian, quotients, sha256};

/// A key that signs enclaves.
pub struct SgxKey(RsaPrivateKey);

impl std::fmt::Debug for SgxKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SgxKey").finish_non_exhaustive()
    }
}

impl SgxKey {
    /// Makes a new key; takes seconds.
    ///
    /// # Errors
    ///
    /// [`KeyError::Generating`].
    pub fn generate() -> Result<Self, KeyError> {
        let three = BoxedUint::from(3_u8);
        RsaPrivateKey::new_with_exp(&mut Random, BITS as usize, three)
            .map(Self)
            .map_err(|_| KeyError::Generating)
    }

    /// Reads PEM `RSA PRIVATE KEY` (PKCS#1).
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`], also if it has not 3072 bits or not the exponent 3.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key = RsaPrivateKey::from_pkcs1_pem(pem.trim())
            .map_err(|_| KeyError::Malformed("no RSA key in PKCS#1"))?;
        if key.n().bits() != BITS || key.e() != &BoxedUint::from(3_u8) {
            return Err(KeyError::Malformed("SGX takes 3072 bits and the exponent 3"));
        }
        Ok(Self(key))
    }

    /// PEM `RSA PRIVATE KEY` (PKCS#1).
    ///
    /// # Errors
    ///
    /// [`KeyError::Generating`] if it cannot be written.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.0.to_pkcs1_pem(LineEnding::LF).map_err(|_| KeyError::Generating)
    }

    /// MRSIGNER: SHA-256 of the modulus, little-endian.
    #[must_use]
    pub fn mrsigner(&self) -> [u8; 32] {
        sha256(&little_endian(self.0.n()))
    }

    /// Signs an enclave: its SIGSTRUCT.
    ///
    /// # Errors
    ///
    /// [`KeyError::Signing`].
    pub fn sign(&self, enclave: &Enclave) -> Result<Vec<u8>, KeyError> {
        let (head, body) = (enclave.head(), enclave.body());
        let padding =
            Pkcs1v15Sign { hash_len: Some(32), prefix: SHA256_INFO.to_vec().into_boxed_slice() };
        let hash = sha256(&[&head[..], &body].concat());
        let signature =
            self.0.sign_with_rng(&mut Random, padding, &hash).map_err(|_| KeyError::Signing)?;
        let (q1, q2) = quotients(&signature, self.0.n())?;
        let signature: Vec<u8> = signature.into_iter().rev().collect();
        Ok([
            &head[..],
            &little_endian(self.0.n()),
            &3_u32.to_le_bytes(),
            &signature,
            &body,
            &[0; 12],
            &q1,
            &q2,
        ]
        .concat())
    }
}

/// The library's random numbers, in the form that the RSA crate takes.
struct Random;

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    #[allow(
        clippy::panic,
        reason = "a key without randomness must not be made, and there is no other way out"
    )]
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        match aws_lc_rs::rand::fill(bytes) {
            Ok(()) => Ok(()),
            Err(_) => panic!("the system gives no random numbers"),
        }
    }
}

impl TryCryptoRng for Random {}

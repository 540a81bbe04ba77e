// SPDX-License-Identifier: Apache-2.0

//! SGX: an RSA key of 3072 bits with the exponent 3, and the SIGSTRUCT that it signs (Intel SDM, volume 3D,
//! 38.13).

use std::convert::Infallible;

use aws_lc_rs::digest::{SHA256, digest};
use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPrivateKey as _};
use rsa::pkcs8::LineEnding;
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, Pkcs1v15Sign, RsaPrivateKey};
use zeroize::Zeroizing;

use crate::KeyError;

/// Bits of the modulus.
const BITS: u32 = 3072;
/// Bytes of the modulus.
const BYTES: usize = BITS as usize / 8;
/// Bytes of a SIGSTRUCT.
pub const SIGSTRUCT: usize = 1808;
/// `DigestInfo` of SHA-256 without the digest (RFC 8017, 9.2, note 1).
const SHA256_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// A key that signs enclaves.
pub struct SgxKey(RsaPrivateKey);

impl std::fmt::Debug for SgxKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SgxKey").finish_non_exhaustive()
    }
}

/// What is signed of an enclave, as in SIGSTRUCT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enclave {
    /// `ENCLAVEHASH`: MRENCLAVE.
    pub measurement: [u8; 32],
    /// `DATE` as `0xyyyymmdd` in binary-coded decimals.
    pub date: u32,
    /// `MISCSELECT` and `MISCMASK`.
    pub misc: (u32, u32),
    /// `ATTRIBUTES` and `ATTRIBUTEMASK`: flags and XFRM, little-endian each.
    pub attributes: ([u8; 16], [u8; 16]),
    /// `ISVPRODID`.
    pub product: u16,
    /// `ISVSVN`.
    pub version: u16,
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
        let hash = digest(&SHA256, &little_endian(self.0.n()));
        let mut out = [0; 32];
        out.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        out
    }

    /// Signs an enclave: its SIGSTRUCT.
    ///
    /// # Errors
    ///
    /// [`KeyError::Signing`].
    pub fn sign(&self, enclave: &Enclave) -> Result<Vec<u8>, KeyError> {
        let head = [
            &[6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0][..],
            // VENDOR: not Intel.
            &[0; 4],
            &enclave.date.to_le_bytes(),
            &[1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0],
            // SWDEFINED, RESERVED.
            &[0; 4 + 84],
        ]
        .concat();
        let body = [
            &enclave.misc.0.to_le_bytes()[..],
            &enclave.misc.1.to_le_bytes(),
            // CET_ATTRIBUTES and its mask, RESERVED, ISVFAMILYID.
            &[0; 4 + 16],
            &enclave.attributes.0,
            &enclave.attributes.1,
            &enclave.measurement,
            // RESERVED, ISVEXTPRODID.
            &[0; 16 + 16],
            &enclave.product.to_le_bytes(),
            &enclave.version.to_le_bytes(),
        ]
        .concat();
        let padding =
            Pkcs1v15Sign { hash_len: Some(32), prefix: SHA256_INFO.to_vec().into_boxed_slice() };
        let hash = digest(&SHA256, &[&head[..], &body].concat());
        let signature = self
            .0
            .sign_with_rng(&mut Random, padding, hash.as_ref())
            .map_err(|_| KeyError::Signing)?;
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

/// Q1 and Q2, with which the processor verifies without dividing: `s² / m`, and `s · (s² mod m) / m`.
fn quotients(signature: &[u8], modulus: &BoxedUint) -> Result<(Vec<u8>, Vec<u8>), KeyError> {
    let wide =
        |bytes: &[u8]| BoxedUint::from_be_slice(bytes, 2 * BITS).map_err(|_| KeyError::Signing);
    let s = wide(signature)?;
    let m = wide(&modulus.to_be_bytes())?;
    let m = m.to_nz().into_option().ok_or(KeyError::Signing)?;
    let (q1, rest) = s.wrapping_mul(&s).div_rem_vartime(&m);
    let (q2, _) = s.wrapping_mul(&rest).div_rem_vartime(&m);
    Ok((little_endian(&q1), little_endian(&q2)))
}

/// 384 bytes, little-endian.
fn little_endian(number: &BoxedUint) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().into_vec();
    bytes.resize(BYTES, 0);
    bytes
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

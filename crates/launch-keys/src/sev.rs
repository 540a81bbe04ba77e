// SPDX-License-Identifier: Apache-2.0

//! SEV-SNP: P-384 keys, and the ID block with its authentication (AMD 56860, "ID_BLOCK" and "ID_AUTH_INFO" of
//! SNP_LAUNCH_FINISH; keys and signatures as in its chapter "Digital signatures").

use aws_lc_rs::digest::{SHA384, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use evidence_pki::{pem_blocks, to_pem};
use zeroize::Zeroizing;

use crate::KeyError;

/// Bytes of a number of P-384.
const NUMBER: usize = 48;
/// Bytes that a number takes in AMD's structures.
const FIELD: usize = 72;
/// Bytes of a public key in AMD's structures.
const KEY: usize = 1028;
/// Bytes of a signature in AMD's structures.
const SIGNATURE: usize = 512;
/// Bytes of an author's signature over an ID key, with the author's key behind it.
pub const ID_KEY_SIGNATURE: usize = SIGNATURE + KEY;
/// Bytes of an ID block.
const ID_BLOCK: usize = 96;
/// Bytes of its authentication.
const ID_AUTH: usize = 4096;

/// A key that signs ID blocks, or other such keys.
pub struct SevKey(EcdsaKeyPair);

impl std::fmt::Debug for SevKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SevKey").finish_non_exhaustive()
    }
}

/// What is signed of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdBlock {
    /// The launch digest.
    pub measurement: [u8; 48],
    /// `FAMILY_ID`.
    pub family: [u8; 16],
    /// `IMAGE_ID`.
    pub image: [u8; 16],
    /// `GUEST_SVN`.
    pub svn: u32,
    /// `POLICY`.
    pub policy: u64,
}

impl IdBlock {
    /// The 96 bytes that are signed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let version = 1_u32;
        let bytes = [
            &self.measurement[..],
            &self.family,
            &self.image,
            &version.to_le_bytes(),
            &self.svn.to_le_bytes(),
            &self.policy.to_le_bytes(),
        ]
        .concat();
        debug_assert_eq!(bytes.len(), ID_BLOCK);
        bytes
    }
}

impl IdBlock {
    /// Reads the 96 bytes.
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`] if they are not as many, or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        const WHAT: KeyError = KeyError::Malformed("no ID block");
        let bytes: &[u8; ID_BLOCK] = bytes.try_into().map_err(|_| WHAT)?;
        let (measurement, rest) = bytes.split_first_chunk().ok_or(WHAT)?;
        let (family, rest) = rest.split_first_chunk().ok_or(WHAT)?;
        let (image, rest) = rest.split_first_chunk().ok_or(WHAT)?;
        let (version, rest) = rest.split_first_chunk().ok_or(WHAT)?;
        let (svn, rest) = rest.split_first_chunk().ok_or(WHAT)?;
        let (policy, _) = rest.split_first_chunk().ok_or(WHAT)?;
        if u32::from_le_bytes(*version) != 1 {
            return Err(WHAT);
        }
        Ok(Self {
            measurement: *measurement,
            family: *family,
            image: *image,
            svn: u32::from_le_bytes(*svn),
            policy: u64::from_le_bytes(*policy),
        })
    }
}

impl SevKey {
    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// [`KeyError::Generating`].
    pub fn generate() -> Result<Self, KeyError> {
        EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)
            .map(Self)
            .map_err(|_| KeyError::Generating)
    }

    /// Reads PEM `PRIVATE KEY` (PKCS#8).
    ///
    /// # Errors
    ///
    /// [`KeyError::Malformed`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        const WHAT: KeyError = KeyError::Malformed("no P-384 key in PKCS#8");
        let blocks = pem_blocks(pem.as_bytes(), "PRIVATE KEY").map_err(|_| WHAT)?;
        let blocks: Vec<_> = blocks.into_iter().map(Zeroizing::new).collect();
        let [der] = blocks.as_slice() else { return Err(WHAT) };
        EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map(Self).map_err(|_| WHAT)
    }

    /// PEM `PRIVATE KEY` (PKCS#8).
    ///
    /// # Errors
    ///
    /// [`KeyError::Generating`] if it cannot be written.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let der = self.0.to_pkcs8v1().map_err(|_| KeyError::Generating)?;
        Ok(Zeroizing::new(to_pem("PRIVATE KEY", der.as_ref())))
    }

    /// The public key in AMD's structure: curve 2, then both coordinates, little-endian.
    #[must_use]
    pub fn public(&self) -> Vec<u8> {
        let point = self.0.public_key().as_ref();
        // An uncompressed point: 4, x, y.
        let (x, y) = point.get(1..).unwrap_or_default().split_at(NUMBER);
        let mut out = 2_u32.to_le_bytes().to_vec();
        out.extend(field(x));
        out.extend(field(y));
        out.resize(KEY, 0);
        out
    }

    /// As reports name the key: SHA-384 of [`SevKey::public`].
    #[must_use]
    pub fn digest(&self) -> [u8; 48] {
        key_digest(&self.public())
    }

    /// Signs in AMD's structure: both numbers, little-endian.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature =
            self.0.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Signing)?;
        let (r, s) = signature.as_ref().split_at_checked(NUMBER).ok_or(KeyError::Signing)?;
        let mut out: Vec<u8> = field(r).chain(field(s)).collect();
        out.resize(SIGNATURE, 0);
        Ok(out)
    }
}

/// 72 bytes, little-endian, of 48, big-endian.
fn field(number: &[u8]) -> impl Iterator<Item = u8> {
    number.iter().rev().copied().chain(std::iter::repeat(0)).take(FIELD)
}

/// An author's signature over an ID key, and the author's public key behind it: 1540 bytes.
///
/// # Errors
///
/// [`KeyError::Signing`].
pub fn sign_id_key(author: &SevKey, id: &SevKey) -> Result<Vec<u8>, KeyError> {
    Ok([author.sign(&id.public())?, author.public()].concat())
}

/// Whether a signature of [`sign_id_key`] is over that ID key; the author's digest.
///
/// # Errors
///
/// [`KeyError::Malformed`], [`KeyError::BadSignature`].
pub fn check_id_key_signature(blob: &[u8], id: &SevKey) -> Result<[u8; 48], KeyError> {
    let (signature, author) = blob.split_at_checked(SIGNATURE).ok_or(NO_SIGNATURE)?;
    verify(author, signature, &id.public())?;
    Ok(key_digest(author))
}

const NO_SIGNATURE: KeyError = KeyError::Malformed("no signature over an ID key");

/// Checks a signature over a message; key and signature in AMD's structures.
fn verify(key: &[u8], signature: &[u8], message: &[u8]) -> Result<(), KeyError> {
    const WHAT: KeyError = NO_SIGNATURE;
    if signature.len() != SIGNATURE || key.len() != KEY || key.get(..4) != Some(&[2, 0, 0, 0]) {
        return Err(WHAT);
    }
    // A key's digest is over all of the structure, so there must be one only for each key.
    let behind = signature.iter().skip(2 * FIELD).chain(key.iter().skip(4 + 2 * FIELD));
    if behind.into_iter().any(|byte| *byte != 0) {
        return Err(WHAT);
    }
    let number = |bytes: &[u8], at: usize| -> Result<Vec<u8>, KeyError> {
        let field = bytes.get(at..at + FIELD).ok_or(WHAT)?;
        let (number, rest) = field.split_at_checked(NUMBER).ok_or(WHAT)?;
        if rest.iter().any(|byte| *byte != 0) {
            return Err(WHAT);
        }
        Ok(number.iter().rev().copied().collect())
    };
    let fixed = [number(signature, 0)?, number(signature, FIELD)?].concat();
    let point = [vec![4], number(key, 4)?, number(key, 4 + FIELD)?].concat();
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &point)
        .verify(message, &fixed)
        .map_err(|_| KeyError::BadSignature)
}

/// SHA-384 of a key in AMD's structure.
fn key_digest(key: &[u8]) -> [u8; 48] {
    let mut out = [0; 48];
    let hash = digest(&SHA384, key);
    out.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// The authentication of an ID block: 4096 bytes.
///
/// # Errors
///
/// [`KeyError`] of signing, and of [`check_id_key_signature`].
pub fn id_auth(block: &IdBlock, id: &SevKey, id_signature: &[u8]) -> Result<Vec<u8>, KeyError> {
    check_id_key_signature(id_signature, id)?;
    let (signature, author) = id_signature.split_at(SIGNATURE);
    // Both algorithms: ECDSA over P-384 with SHA-384.
    let algorithm = 1_u32.to_le_bytes();
    let mut out = [&algorithm[..], &algorithm, &[0; 56]].concat();
    out.extend(id.sign(&block.to_bytes())?);
    out.extend(id.public());
    out.resize(0x680, 0);
    out.extend(signature);
    out.extend(author);
    out.resize(ID_AUTH, 0);
    Ok(out)
}

/// Who signed an ID block, as reports name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdSigners {
    /// `ID_KEY_DIGEST`.
    pub id_key: [u8; 48],
    /// `AUTHOR_KEY_DIGEST`, if an author signed the ID key.
    pub author_key: Option<[u8; 48]>,
}

/// Checks the authentication of an ID block as the firmware does at a launch, and that there is
/// nothing in it that nobody signed.
///
/// Without an author, all of the author's part is zero.
///
/// # Errors
///
/// [`KeyError::Malformed`], [`KeyError::BadSignature`].
pub fn check_id_auth(block: &IdBlock, auth: &[u8]) -> Result<IdSigners, KeyError> {
    const WHAT: KeyError = KeyError::Malformed("no authentication of an ID block");
    let part = |at: usize, length: usize| auth.get(at..).and_then(|rest| rest.get(..length));
    let zero = |at: usize, end: usize| part(at, end - at).is_some_and(is_zero);
    if auth.len() != ID_AUTH || part(0, 4) != Some(&[1, 0, 0, 0]) {
        return Err(WHAT);
    }
    if !zero(8, 0x40) || !zero(0x40 + SIGNATURE + KEY, 0x680) || !zero(AUTHOR_END, ID_AUTH) {
        return Err(WHAT);
    }
    let signature = part(0x40, SIGNATURE).ok_or(WHAT)?;
    let key = part(0x40 + SIGNATURE, KEY).ok_or(WHAT)?;
    verify(key, signature, &block.to_bytes())?;
    let author_key = if zero(0x680, AUTHOR_END) && matches!(part(4, 4), Some([0 | 1, 0, 0, 0])) {
        None
    } else {
        if part(4, 4) != Some(&[1, 0, 0, 0]) {
            return Err(WHAT);
        }
        let author = part(0x680 + SIGNATURE, KEY).ok_or(WHAT)?;
        verify(author, part(0x680, SIGNATURE).ok_or(WHAT)?, key)?;
        Some(key_digest(author))
    };
    Ok(IdSigners { id_key: key_digest(key), author_key })
}

/// Where the author's part of an ID block's authentication ends; it begins at 0x680.
const AUTHOR_END: usize = 0x680 + SIGNATURE + KEY;

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

// SPDX-License-Identifier: Apache-2.0

//! The authenticated native artifact: format, signing and checking.
//!
//! The compiler Keep and the runtime Keep never meet: between them lies a file that the untrusted
//! host stores, copies and may replace. Native code runs with all the rights of the runtime, so
//! nothing of that file is believed before a signature of an accepted compiler key covers it. What
//! is signed says all that the code was made from and for: the module, the engine configuration,
//! the processor. A sound artifact in the wrong place is as useless to an attacker as a forged one.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 4 | format version, 1 |
//! | 12 | 2 | kind: 1 module, 2 component |
//! | 14 | 2 | instruction set: 1 x86-64, 2 AArch64 |
//! | 16 | 8 | processor features the code may use, one bit each |
//! | 24 | 8 | length of the code in bytes |
//! | 32 | 32 | SHA-256 of the module as the user gave it |
//! | 64 | 32 | identity of the engine configuration |
//! | 96 | 32 | SHA-256 of the code |
//! | 128 | 32 | Ed25519 public key of the compiler |
//! | 160 | 64 | Ed25519 signature over a domain name and bytes 0 to 159 |
//! | 224 | 3872 | zero |
//! | 4096 | | the code, to the end of the file |
//!
//! Integers are little-endian. The code begins at a page boundary, so a program maps the file once,
//! checks it there and runs it there: no copy, and no memory that was ever writable becomes
//! executable.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// The first bytes of each artifact. The first one is no text and no start of a Wasm file.
pub const MAGIC: [u8; 8] = *b"\xeenx-art\n";
/// Length of the header: the code begins here, at a page boundary of the file.
pub const HEADER_LEN: usize = 4096;

const VERSION: u32 = 1;
const SIGNED_LEN: usize = 160;
const SIGNATURE_END: usize = SIGNED_LEN + 64;
/// Keeps a signature over a header from being a signature over anything else the key may sign.
const DOMAIN: &[u8] = b"enarx keep artifact v1\0";

/// What the code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// The instruction set that the code is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// x86-64.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Isa {
    /// The one that this program itself is compiled for, if artifacts know it.
    pub const fn current() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else {
            None
        }
    }
}

/// What an artifact was made from and for; all of it is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// What the code is.
    pub kind: Kind,
    /// SHA-256 of the module as the user gave it.
    pub module: [u8; 32],
    /// Identity of the engine configuration.
    pub engine: [u8; 32],
    /// Instruction set of the code.
    pub isa: Isa,
    /// Processor features that the code may use, one bit each.
    pub cpu: u64,
}

/// What a verifier demands of an artifact.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// Compiler keys that are accepted.
    pub keys: &'a [[u8; 32]],
    /// SHA-256 of the module that is to run.
    pub module: [u8; 32],
    /// Identity of this program's engine configuration.
    pub engine: [u8; 32],
    /// Instruction set of this processor.
    pub isa: Isa,
    /// Features of this processor; the code may use any subset of them.
    pub cpu: u64,
}

/// An artifact whose every byte is covered by the signature of an accepted key and which was made
/// for this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified<'a> {
    /// What the code is.
    pub kind: Kind,
    /// The code.
    pub code: &'a [u8],
    /// The key that signed.
    pub signer: [u8; 32],
}

/// Why bytes are not an artifact that may run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArtifactError {
    /// Shorter than its header says, or than any header.
    Truncated,
    /// Longer than its header says.
    TooLong,
    /// The first bytes are not those of an artifact.
    NotAnArtifact,
    /// An artifact of another version of the format.
    Version(u32),
    /// Signed by a key that is not accepted here.
    ForeignKey([u8; 32]),
    /// Some bit is not the one that was signed.
    Changed,
    /// Sound, but made from another module.
    WrongModule,
    /// Sound, but made for another engine configuration.
    WrongEngine,
    /// Sound, but made for another instruction set.
    WrongIsa,
    /// Sound, but uses these features that this processor lacks.
    WrongCpu {
        /// The missing features, one bit each.
        missing: u64,
    },
}

impl ArtifactError {
    /// Whether the artifact is sound and merely made for something else.
    pub const fn is_mismatch(&self) -> bool {
        matches!(
            self,
            Self::WrongModule | Self::WrongEngine | Self::WrongIsa | Self::WrongCpu { .. }
        )
    }
}

impl core::fmt::Display for ArtifactError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the artifact is truncated"),
            Self::TooLong => f.write_str("the artifact is longer than its header says"),
            Self::NotAnArtifact => f.write_str("these bytes are not an artifact"),
            Self::Version(version) => {
                write!(f, "the artifact has version {version} of its format, not {VERSION}")
            }
            Self::ForeignKey(key) => {
                f.write_str("the artifact is signed by a key that is not accepted: ")?;
                key.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Changed => f.write_str("the artifact was changed after it was signed"),
            Self::WrongModule => f.write_str("the artifact was made from another module"),
            Self::WrongEngine => {
                f.write_str("the artifact was made for another engine configuration")
            }
            Self::WrongIsa => f.write_str("the artifact was made for another instruction set"),
            Self::WrongCpu { missing } => write!(
                f,
                "the artifact uses features that this processor lacks (bits {missing:#x})"
            ),
        }
    }
}

impl core::error::Error for ArtifactError {}

/// SHA-256, as used for modules and code.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The public key of a seed (RFC 8032 §5.1.5), as a verifier accepts it.
pub fn public_key(seed: &[u8; 32]) -> [u8; 32] {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// The key that an artifact says it is signed by, for who has another reason to accept it. Nothing is
/// checked; none if this is shorter than a header.
pub fn signer(artifact: &[u8]) -> Option<[u8; 32]> {
    artifact.first_chunk::<HEADER_LEN>().map(|header| field(header, 128))
}

/// Makes the header that authenticates `code`; an artifact is this header, then the code.
pub fn sign(seed: &[u8; 32], claims: &Claims, code: &[u8]) -> [u8; HEADER_LEN] {
    let key = SigningKey::from_bytes(seed);
    let kind: u16 = match claims.kind {
        Kind::Module => 1,
        Kind::Component => 2,
    };
    let isa: u16 = match claims.isa {
        Isa::X86_64 => 1,
        Isa::Aarch64 => 2,
    };
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..14].copy_from_slice(&kind.to_le_bytes());
    header[14..16].copy_from_slice(&isa.to_le_bytes());
    header[16..24].copy_from_slice(&claims.cpu.to_le_bytes());
    header[24..32].copy_from_slice(&(code.len() as u64).to_le_bytes());
    header[32..64].copy_from_slice(&claims.module);
    header[64..96].copy_from_slice(&claims.engine);
    header[96..128].copy_from_slice(&digest(code));
    header[128..160].copy_from_slice(key.verifying_key().as_bytes());
    let signature = key.sign(&message(&header[..SIGNED_LEN]));
    header[SIGNED_LEN..SIGNATURE_END].copy_from_slice(&signature.to_bytes());
    header
}

/// Checks a whole artifact. The header is checked first, so that a mismatch costs no hashing.
///
/// # Errors
///
/// See [`ArtifactError`]. Only what passed the signature is reported as a mismatch.
pub fn verify<'a>(
    artifact: &'a [u8],
    expected: &Expected<'_>,
) -> Result<Verified<'a>, ArtifactError> {
    let Some((header, code)) = artifact.split_first_chunk::<HEADER_LEN>() else {
        // A short file that is nothing like an artifact is better called that.
        let start = &artifact[..artifact.len().min(MAGIC.len())];
        return Err(if MAGIC.starts_with(start) {
            ArtifactError::Truncated
        } else {
            ArtifactError::NotAnArtifact
        });
    };
    if header[..8] != MAGIC {
        return Err(ArtifactError::NotAnArtifact);
    }
    let version = u32::from_le_bytes(field(header, 8));
    if version != VERSION {
        return Err(ArtifactError::Version(version));
    }

    let signer: [u8; 32] = field(header, 128);
    if !expected.keys.contains(&signer) {
        return Err(ArtifactError::ForeignKey(signer));
    }
    let key = VerifyingKey::from_bytes(&signer).map_err(|_| ArtifactError::ForeignKey(signer))?;
    let signature = Signature::from_bytes(&field(header, SIGNED_LEN));
    key.verify_strict(&message(&header[..SIGNED_LEN]), &signature)
        .map_err(|_| ArtifactError::Changed)?;
    if header[SIGNATURE_END..].iter().any(|byte| *byte != 0) {
        return Err(ArtifactError::Changed);
    }

    // From here on the header is what an accepted compiler wrote.
    let len = u64::from_le_bytes(field(header, 24));
    match (code.len() as u64).cmp(&len) {
        core::cmp::Ordering::Less => return Err(ArtifactError::Truncated),
        core::cmp::Ordering::Greater => return Err(ArtifactError::TooLong),
        core::cmp::Ordering::Equal => {}
    }
    let kind = match u16::from_le_bytes(field(header, 12)) {
        1 => Kind::Module,
        2 => Kind::Component,
        _ => return Err(ArtifactError::Changed),
    };
    if field::<32>(header, 32) != expected.module {
        return Err(ArtifactError::WrongModule);
    }
    if field::<32>(header, 64) != expected.engine {
        return Err(ArtifactError::WrongEngine);
    }
    let isa = match u16::from_le_bytes(field(header, 14)) {
        1 => Isa::X86_64,
        2 => Isa::Aarch64,
        _ => return Err(ArtifactError::WrongIsa),
    };
    if isa != expected.isa {
        return Err(ArtifactError::WrongIsa);
    }
    let missing = u64::from_le_bytes(field(header, 16)) & !expected.cpu;
    if missing != 0 {
        return Err(ArtifactError::WrongCpu { missing });
    }
    if digest(code) != field::<32>(header, 96) {
        return Err(ArtifactError::Changed);
    }
    Ok(Verified { kind, code, signer })
}

fn message(signed: &[u8]) -> Vec<u8> {
    [DOMAIN, signed].concat()
}

/// A field at a fixed place. Each caller names a place inside the header; a place outside would
/// give zeros, never a panic.
fn field<const N: usize>(header: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(bytes) = header.get(at..at + N) {
        out.copy_from_slice(bytes);
    }
    out
}

#[cfg(test)]
mod tests;

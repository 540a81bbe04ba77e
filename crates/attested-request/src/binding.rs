// SPDX-License-Identifier: Apache-2.0

//! What evidence has in its report data, so that it speaks for one key: `docs/binding.md`.

use evidence_claims::statement;
use evidence_crypto::Crypto;
use evidence_pki::{ObjectIdentifier, PublicKey};
use steward_claims::{Workload, WorkloadError};

use crate::RequestRefusal;

/// What the hash of binding form 2 begins with, the final zero included.
pub const FORM_2_DOMAIN: &[u8; 17] = b"enarx-binding-v2\0";

/// What binding form 2 binds besides the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Binding<'a> {
    /// The name under which the workload was asked for.
    pub slug: Option<&'a str>,
    /// The digest of the workload: `sha256:`, `sha384:` or `sha512:` and lower-case hexadecimal digits.
    pub workload: Option<&'a str>,
    /// A nonce of the Steward.
    pub nonce: Option<&'a [u8]>,
}

impl Binding<'_> {
    /// The workload, if there is one.
    ///
    /// # Errors
    ///
    /// [`RequestRefusal::Slug`], [`RequestRefusal::Digest`], [`RequestRefusal::SlugAlone`].
    pub fn workload(&self) -> Result<Option<Workload>, RequestRefusal> {
        let Some(digest) = self.workload else {
            return if self.slug.is_some() { Err(RequestRefusal::SlugAlone) } else { Ok(None) };
        };
        Workload::new(self.slug, digest).map(Some).map_err(|error| match error {
            WorkloadError::Digest => RequestRefusal::Digest,
            WorkloadError::Slug => RequestRefusal::Slug,
        })
    }
}

/// Binding form 1, the published one: the hash of the key (DER `SubjectPublicKeyInfo`), then zeros. Which
/// hash, and which curve the key has to be on, depends on the type of the evidence.
///
/// # Errors
///
/// [`RequestRefusal::KeyType`], [`RequestRefusal::StatementType`] if the type is none of the published.
pub fn form_1(
    crypto: &dyn Crypto,
    platform: ObjectIdentifier,
    key: &PublicKey<'_>,
    spki: &[u8],
) -> Result<[u8; 64], RequestRefusal> {
    match platform {
        statement::SNP | statement::DEVELOPMENT => match key {
            PublicKey::P384(_) => Ok(form_1_of_report(crypto, spki)),
            _ => Err(RequestRefusal::KeyType("P-384")),
        },
        statement::SGX | statement::TDX => match key {
            PublicKey::P256(_) => Ok(padded(&crypto.sha256(&[spki]))),
            _ => Err(RequestRefusal::KeyType("P-256")),
        },
        other => Err(RequestRefusal::StatementType(other)),
    }
}

/// Binding form 1 in a report of SEV-SNP, or one in its format, whatever key it is: its SHA-384, then zeros.
#[must_use]
pub fn form_1_of_report(crypto: &dyn Crypto, spki: &[u8]) -> [u8; 64] {
    padded(&crypto.sha384(&[spki]))
}

/// Binding form 2: SHA-512 over a domain, the key (DER `SubjectPublicKeyInfo`), slug, digest and nonce, each
/// with its length before it. What is absent has the length 0.
#[must_use]
pub fn form_2(crypto: &dyn Crypto, spki: &[u8], binding: &Binding<'_>) -> [u8; 64] {
    let slug = binding.slug.unwrap_or_default().as_bytes();
    let workload = binding.workload.unwrap_or_default().as_bytes();
    let nonce = binding.nonce.unwrap_or_default();
    crypto.sha512(&[
        FORM_2_DOMAIN,
        &length(spki),
        spki,
        &length(slug),
        slug,
        &length(workload),
        workload,
        &length(nonce),
        nonce,
    ])
}

/// Nothing here has 4 GiB: requests are bounded long before.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// A hash of at most 64 bytes, then zeros.
fn padded(hash: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    data.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    data
}

// SPDX-License-Identifier: Apache-2.0

//! What report data hold, so that evidence speaks for one key.

use aws_lc_rs::digest;
use evidence_pki::tag;

use crate::attester::put;
use crate::encode;

/// What a hash of binding form 2 begins with.
const DOMAIN: &[u8] = b"enarx-binding-v2\0";

/// What evidence binds besides the key.
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
    /// Binding form 2 for a key (DER `SubjectPublicKeyInfo`): SHA-512 over a domain, key, slug, digest and
    /// nonce, each with its length before it, 4 bytes, big-endian. What is absent has the length 0.
    #[must_use]
    pub fn report_data(&self, spki: &[u8]) -> [u8; 64] {
        let mut hash = digest::Context::new(&digest::SHA512);
        hash.update(DOMAIN);
        for part in [
            spki,
            self.slug.unwrap_or_default().as_bytes(),
            self.workload.unwrap_or_default().as_bytes(),
            self.nonce.unwrap_or_default(),
        ] {
            hash.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(part);
        }
        let mut data = [0; 64];
        put(&mut data, 0, hash.finish().as_ref());
        data
    }

    /// `SEQUENCE { slug [0] UTF8String, workload [1] UTF8String, nonce [2] OCTET STRING }`, all of them
    /// implicit and optional.
    pub(crate) fn to_der(self) -> Vec<u8> {
        let parts = [self.slug.map(str::as_bytes), self.workload.map(str::as_bytes), self.nonce];
        let parts: Vec<Vec<u8>> = (0..)
            .zip(parts)
            .filter_map(|(number, part)| Some(encode::element(tag::context(number), &[part?])))
            .collect();
        encode::sequence(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }
}

/// Binding form 1, as published for SEV-SNP, for a key (DER `SubjectPublicKeyInfo`): its SHA-384, then zeros.
#[must_use]
pub fn published_report_data(spki: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    put(&mut data, 0, digest::digest(&digest::SHA384, spki).as_ref());
    data
}

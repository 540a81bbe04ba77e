// SPDX-License-Identifier: Apache-2.0

//! What report data hold, so that evidence speaks for one key: [`attested_request::binding`], with the library
//! that this crate uses for all else.

use attested_request::binding::{form_1_of_report, form_2};
use evidence_crypto::AwsLc;

/// What evidence binds besides the key: as [`attested_request::Binding`], which also reads it.
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
    /// Binding form 2 for a key (DER `SubjectPublicKeyInfo`), see [`form_2`].
    #[must_use]
    pub fn report_data(&self, spki: &[u8]) -> [u8; 64] {
        form_2(&AwsLc, spki, &(*self).into())
    }
}

impl<'a> From<Binding<'a>> for attested_request::Binding<'a> {
    fn from(binding: Binding<'a>) -> Self {
        let Binding { slug, workload, nonce } = binding;
        Self { slug, workload, nonce }
    }
}

/// Binding form 1, as published for SEV-SNP, for a key (DER `SubjectPublicKeyInfo`): its SHA-384, then zeros.
#[must_use]
pub fn published_report_data(spki: &[u8]) -> [u8; 64] {
    form_1_of_report(&AwsLc, spki)
}

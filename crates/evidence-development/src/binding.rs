// SPDX-License-Identifier: Apache-2.0

//! What report data hold, so that evidence speaks for one key: [`attested_request::binding`], with the library
//! that this crate uses for all else.

use attested_request::Binding;
use attested_request::binding::{form_1_of_report, form_2};
use evidence_crypto::AwsLc;

/// Binding form 2 for a key (DER `SubjectPublicKeyInfo`), see [`form_2`].
#[must_use]
pub fn report_data(binding: &Binding<'_>, spki: &[u8]) -> [u8; 64] {
    form_2(&AwsLc, spki, binding)
}

/// Binding form 1, as published for SEV-SNP, for a key (DER `SubjectPublicKeyInfo`): its SHA-384, then zeros.
#[must_use]
pub fn published_report_data(spki: &[u8]) -> [u8; 64] {
    form_1_of_report(&AwsLc, spki)
}

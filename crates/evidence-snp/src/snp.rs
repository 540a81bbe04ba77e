// SPDX-License-Identifier: Apache-2.0

//! SEV-SNP reports under AMD's roots.

use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use evidence_claims::{
    Check, Claims, Endorsements, Field, Format, Refusal, SnpProduct, Time, statement,
};
use evidence_crypto::Crypto;

use crate::SnpRefusal;

/// The certificates of one product's authorities, in DER.
#[derive(Debug, Clone)]
pub struct ProductRoots {
    /// Whose they are.
    pub product: SnpProduct,
    /// The root. It is trusted as it is given.
    pub ark: Vec<u8>,
    /// Issues VCEKs.
    pub ask: Vec<u8>,
    /// Issues VLEKs.
    pub asvk: Vec<u8>,
}

/// Verifies SEV-SNP reports under the roots of AMD.
#[derive(Debug)]
pub struct Snp {
    crypto: Arc<dyn Crypto>,
    roots: Vec<ProductRoots>,
}

impl Snp {
    /// With AMD's roots, which are built in.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>) -> Self {
        Self::with_roots(crypto, Vec::new())
    }

    /// With other roots in place of AMD's: for tests.
    #[must_use]
    pub fn with_roots(crypto: Arc<dyn Crypto>, roots: Vec<ProductRoots>) -> Self {
        Self { crypto, roots }
    }

    /// Without the memory of VEKs already seen.
    #[must_use]
    pub fn forgetful(self) -> Self {
        self
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

impl Format for Snp {
    fn statement_type(&self) -> ObjectIdentifier {
        statement::SNP
    }

    fn name(&self) -> &'static str {
        "AMD SEV-SNP report"
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

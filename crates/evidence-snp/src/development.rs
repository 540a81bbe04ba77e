// SPDX-License-Identifier: Apache-2.0

//! Development evidence: the format of SEV-SNP, and nothing behind it.
//!
//! Who has no such processor still wants to see evidence, policy and certificate work together. So there
//! is a root that anybody can make, which says nothing of any hardware. What keeps it apart from AMD's:
//! its keys are on P-384 and not RSA, its VEKs are made for the product `Development` or
//! `Development-SNP`, there is no intermediate, and a root is only ever accepted because a policy names it.

use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use evidence_claims::{
    Check, Claims, Endorsements, Field, Format, Refusal, SigningKey, Time, statement,
};
use evidence_crypto::Crypto;
use evidence_pki::Certificate;

use crate::authority::Authority;
use crate::chain::{self, Chain, Window};
use crate::report::{Report, TcbLayout};
use crate::vek::VekExtensions;
use crate::{Part, SnpRefusal, claims, examine, fields, rules};

/// `productName` in VEKs of development evidence, and what claims call the product: of what the host agent
/// signs for a Keep whose platform says nothing, and of what a stand-in's firmware signs.
const PRODUCTS: [(&str, &str); 2] =
    [("Development", "development"), ("Development-SNP", "snp-sim")];

/// What claims call the product of that VEK.
pub(crate) fn product(extensions: &VekExtensions) -> &'static str {
    let found = PRODUCTS.iter().find(|(name, _)| *name == extensions.product_name);
    found.map_or("development", |(_, product)| product)
}

/// Verifies development evidence under given roots; without any, all of it is refused.
///
/// The evidence is a report of 1,184 bytes in the layout of Milan (`TCB_VERSION` without FMC, `CHIP_ID`
/// of 64 bytes), signed by a "VCEK" ([`SigningKey::Vcek`]). The one endorsement is that key's certificate
/// ([`evidence_claims::kind::VEK`]): P-384, with AMD's extensions, `structVersion` 0 and `productName`
/// `Development` or, if a stand-in of SEV-SNP has the key, `Development-SNP`, issued directly by a root.
/// There is no revocation: a root is revoked by taking it out of the policy.
#[derive(Debug)]
pub struct Development {
    crypto: Arc<dyn Crypto>,
    roots: Vec<Authority>,
}

impl Development {
    /// Under these roots, each a self-signed certificate in DER. A root that [`Development::check_root`]
    /// does not find good is left out.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>, roots: Vec<Vec<u8>>) -> Self {
        let roots = roots.iter().filter_map(|root| read_root(crypto.as_ref(), root).ok()).collect();
        Self { crypto, roots }
    }

    /// Whether a certificate can be a development root: version 3, P-384, self-signed by ECDSA with
    /// SHA-384, an authority that may sign certificates. Its time is looked at when evidence is verified.
    ///
    /// # Errors
    ///
    /// [`SnpRefusal`] with the code `snp.ark-unusable`.
    pub fn check_root(crypto: &dyn Crypto, root: &[u8]) -> Result<(), SnpRefusal> {
        read_root(crypto, root).map(|_| ())
    }

    /// Verifies development evidence at the time `now`.
    ///
    /// # Errors
    ///
    /// [`SnpRefusal`], with a code that begins with `development.` or `snp.`.
    pub fn verify_report(
        &self,
        report: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Claims, SnpRefusal> {
        let report = length(report)?;
        rules::version(&report)?;
        rules::signature_algorithm(&report)?;
        signing_key(&report)?;
        let chain = self.chain(endorsements, now)?;
        rules::tcb(&report, &chain)?;
        rules::chip_id(&report, &chain)?;
        rules::signature(self.crypto(), &report, &chain)?;
        rules::reserved(&report, chain.layout())?;
        rules::policy(&report)?;
        rules::abi(&report)?;
        Ok(claims::of(&report, &chain, now))
    }

    pub(crate) fn crypto(&self) -> &dyn Crypto {
        self.crypto.as_ref()
    }

    fn chain(&self, endorsements: &Endorsements<'_>, now: Time) -> Result<Chain, SnpRefusal> {
        let vek = chain::read_vek(chain::find_vek(endorsements)?)?;
        let root = self.issuer(&vek)?;
        let key = chain::key(&vek)?;
        let extensions = extensions(&vek)?;
        vek.check_time(now).map_err(SnpRefusal::vek)?;
        root.check_time(now).map_err(|error| SnpRefusal::Certificate(Part::Ark, error))?;
        let mut window = Window::ALL;
        window.narrow(vek.not_before, vek.not_after);
        window.narrow(root.not_before, root.not_after);
        let valid_until = window.to;
        Ok(Chain { kind: SigningKey::Vcek, product: None, extensions, key, window, valid_until })
    }

    /// The root that issued a VEK. Several roots may have the same name.
    pub(crate) fn issuer(&self, vek: &Certificate<'_>) -> Result<&Authority, SnpRefusal> {
        self.roots
            .iter()
            .find(|root| chain::issued(self.crypto(), root, vek).is_ok())
            .ok_or(SnpRefusal::RootNotAccepted)
    }
}

/// Reads a root and checks what does not depend on the time.
fn read_root(crypto: &dyn Crypto, root: &[u8]) -> Result<Authority, SnpRefusal> {
    let wrong = |error| SnpRefusal::Certificate(Part::Ark, error);
    let root = Certificate::parse(root).map_err(wrong)?;
    let authority = Authority::development(&root)?;
    authority.check_issued(crypto, root.issuer, &root.signature).map_err(wrong)?;
    Ok(authority)
}

/// As for every report; but nothing at all, as published for KVM, has a refusal of its own.
pub(crate) fn length(evidence: &[u8]) -> Result<Report<'_>, SnpRefusal> {
    if evidence.is_empty() { Err(SnpRefusal::DevelopmentEmpty) } else { rules::length(evidence) }
}

/// There are no cloud providers here.
pub(crate) fn signing_key(report: &Report<'_>) -> Result<(), SnpRefusal> {
    match report.signing_key() {
        0 => Ok(()),
        other => Err(SnpRefusal::SigningKey(other)),
    }
}

/// The extensions of a development VEK.
pub(crate) fn extensions(vek: &Certificate<'_>) -> Result<VekExtensions, SnpRefusal> {
    let extensions = VekExtensions::read(vek)?;
    if extensions.struct_version != 0 {
        return Err(SnpRefusal::VekStructVersion(extensions.struct_version));
    }
    if !PRODUCTS.iter().any(|(name, _)| *name == extensions.product_name) {
        return Err(SnpRefusal::VekProductName);
    }
    if extensions.tcb.fmc.is_some() {
        return Err(SnpRefusal::VekExtension("fmcSPL"));
    }
    if extensions.hw_id.as_ref().map(Vec::len) != Some(64) {
        return Err(SnpRefusal::VekExtension("hwID"));
    }
    if extensions.csp_id.is_some() {
        return Err(SnpRefusal::VekExtension("cspID"));
    }
    Ok(extensions)
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

    fn examine(&self, evidence: &[u8], endorsements: &Endorsements<'_>, now: Time) -> Vec<Check> {
        examine::development(self, evidence, endorsements, now)
    }

    fn fields(&self, evidence: &[u8]) -> Result<Vec<Field>, Refusal> {
        Ok(fields::of(&length(evidence)?, Some(TcbLayout::Milan)))
    }
}

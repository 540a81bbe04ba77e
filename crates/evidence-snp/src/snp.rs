// SPDX-License-Identifier: Apache-2.0

//! SEV-SNP reports under AMD's roots.

use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use evidence_claims::{
    Check, Claims, Endorsements, Field, Format, Refusal, SigningKey, SnpProduct, Time, kind,
    statement,
};
use evidence_crypto::Crypto;
use evidence_pki::Certificate;

use crate::authority::{Authority, Roots};
use crate::chain::{self, Chain, Window};
use crate::memory::{Key, Memory};
use crate::{Part, SnpRefusal, claims, examine, fields, roots, rules};

/// The certificates of one product's authorities, in DER.
#[derive(Debug, Clone)]
pub struct ProductRoots {
    /// Whose they are.
    pub product: SnpProduct,
    /// The root (ARK). It is trusted as it is given.
    pub ark: Vec<u8>,
    /// Issues VCEKs. It has to be issued by the root.
    pub ask: Vec<u8>,
    /// Issues VLEKs. It has to be issued by the root.
    pub asvk: Vec<u8>,
}

/// Verifies SEV-SNP reports under the roots of AMD.
///
/// The endorsements are the VEK ([`kind::VEK`], exactly one), the root's revocation list ([`kind::CRL`],
/// one or more; whose a list is, its issuer says) and, where it is not the built-in one, the VEK's issuer
/// ([`kind::ASK`]).
///
/// # What is remembered
///
/// Two results that do not depend on who asks are kept, for speed:
///
/// - That a built-in intermediate authority was issued by its root is found out once. Whether it is valid
///   and not revoked is found out each time.
/// - Up to 1,024 chains that were verified, under the SHA-256 of VEK, intermediates and lists, all bytes
///   of them, together with the span of time in which verifying them again could not come to another
///   result. Outside of that span, and with any other list, everything is verified anew. See
///   [`Snp::forgetful`].
///
/// Nothing that concerns a report is remembered.
#[derive(Debug)]
pub struct Snp {
    crypto: Arc<dyn Crypto>,
    roots: Vec<Roots>,
    memory: Option<Memory>,
}

impl Snp {
    /// With AMD's roots, which are built in.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>) -> Self {
        Self::with_roots(crypto, roots::amd())
    }

    /// With other roots in place of AMD's: for tests, with evidence of a synthetic AMD. Roots that are
    /// no certificates of authorities refuse all evidence of their product.
    #[must_use]
    pub fn with_roots(crypto: Arc<dyn Crypto>, roots: Vec<ProductRoots>) -> Self {
        let roots = roots.into_iter().map(Roots::new).collect();
        Self { crypto, roots, memory: Some(Memory::default()) }
    }

    /// Without the memory of VEKs already seen: each report has its whole chain verified.
    #[must_use]
    pub fn forgetful(self) -> Self {
        Self { memory: None, ..self }
    }

    /// Verifies a report at the time `now`.
    ///
    /// The rules are applied in this order: length, version, signature algorithm and signing key of the
    /// report, product, VEK (names, key, extensions), its issuer, the signatures and times of the chain,
    /// revocation, TCB, chip, signature of the report, reserved fields, reserved bits of the policy,
    /// lowest ABI. The first that does not hold is the refusal.
    ///
    /// # Errors
    ///
    /// [`SnpRefusal`], with a code that begins with `snp.`.
    pub fn verify_report(
        &self,
        report: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Claims, SnpRefusal> {
        let report = rules::length(report)?;
        rules::version(&report)?;
        rules::signature_algorithm(&report)?;
        let kind = rules::signing_key(&report)?;
        let product = rules::product(&report)?;
        let chain = self.chain(kind, product, endorsements, now)?;
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

    /// The roots of a product.
    pub(crate) fn roots(&self, product: SnpProduct) -> Result<&Roots, SnpRefusal> {
        self.roots.iter().find(|one| one.product == product).ok_or(SnpRefusal::NoRoot(product))
    }

    /// The verified chain of the VEK, anew or from memory.
    fn chain(
        &self,
        kind: SigningKey,
        product: Option<SnpProduct>,
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Arc<Chain>, SnpRefusal> {
        let vek = chain::find_vek(endorsements)?;
        let Some(memory) = &self.memory else {
            return self.verify_chain(kind, product, vek, endorsements, now).map(Arc::new);
        };
        let key = self.digest(endorsements);
        if let Some(chain) = memory.get(&key, now) {
            // What the report says of its key is not in the digest.
            if chain.kind != kind {
                return Err(chain::wrong_name(kind));
            }
            return chain
                .product
                .map_or(Ok(()), |vek| rules::same_product(product, vek))
                .map(|()| chain);
        }
        let chain = Arc::new(self.verify_chain(kind, product, vek, endorsements, now)?);
        memory.put(key, Arc::clone(&chain));
        Ok(chain)
    }

    /// SHA-256 of every endorsement that can have a part in a chain, each after its kind and length.
    fn digest(&self, endorsements: &Endorsements<'_>) -> Key {
        let lengths: Vec<[u8; 9]> = endorsements
            .iter()
            .map(|one| {
                let [a, b, c, d, e, f, g, h] = (one.bytes.len() as u64).to_be_bytes();
                let tag = match one.kind.as_ref() {
                    kind::VEK => 1,
                    kind::ASK => 2,
                    kind::CRL => 3,
                    _ => 0,
                };
                [tag, a, b, c, d, e, f, g, h]
            })
            .collect();
        let parts: Vec<&[u8]> = endorsements
            .iter()
            .zip(&lengths)
            .filter(|(_, [tag, ..])| *tag != 0)
            .flat_map(|(one, length)| [length.as_slice(), one.bytes.as_ref()])
            .collect();
        self.crypto.sha256(&parts)
    }

    /// Verifies the chain of a VEK.
    fn verify_chain(
        &self,
        kind: SigningKey,
        product: Option<SnpProduct>,
        vek: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Chain, SnpRefusal> {
        let crypto = self.crypto();
        let vek = chain::read_vek(vek)?;
        let vek_product = chain::product(&vek, kind)?;
        rules::same_product(product, vek_product)?;
        let key = chain::key(&vek)?;
        let extensions = chain::extensions(&vek, vek_product, kind)?;
        let roots = self.roots(vek_product)?;
        let issuer = chain::issuer(crypto, roots, kind, &vek, endorsements)?;
        chain::issued(crypto, &issuer, &vek)?;
        let ark = roots.ark()?;
        let mut window = Window::ALL;
        check_times(&vek, &issuer, ark, now, &mut window)?;
        let mut valid_until = window.to;
        let (lists, unreadable) = chain::lists(endorsements);
        let list = chain::root_list(crypto, ark, (&lists, unreadable), now, &mut window)?;
        valid_until = valid_until.min(list.next_update);
        chain::issuer_not_revoked(list, &issuer)?;
        if let Some(end) = chain::vek_not_revoked(crypto, &issuer, &lists, &vek, now, &mut window)?
        {
            valid_until = valid_until.min(end);
        }
        Ok(Chain { kind, product: Some(vek_product), extensions, key, window, valid_until })
    }
}

/// VEK, issuer and root are valid at `now`.
pub(crate) fn check_times(
    vek: &Certificate<'_>,
    issuer: &Authority,
    ark: &Authority,
    now: Time,
    window: &mut Window,
) -> Result<(), SnpRefusal> {
    vek.check_time(now).map_err(SnpRefusal::vek)?;
    issuer.check_time(now).map_err(|error| SnpRefusal::Certificate(Part::Ask, error))?;
    ark.check_time(now).map_err(|error| SnpRefusal::Certificate(Part::Ark, error))?;
    window.narrow(vek.not_before, vek.not_after);
    window.narrow(issuer.not_before, issuer.not_after);
    window.narrow(ark.not_before, ark.not_after);
    Ok(())
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

    fn examine(&self, evidence: &[u8], endorsements: &Endorsements<'_>, now: Time) -> Vec<Check> {
        examine::snp(self, evidence, endorsements, now)
    }

    fn fields(&self, evidence: &[u8]) -> Result<Vec<Field>, Refusal> {
        Ok(fields::of(&rules::length(evidence)?, None))
    }
}

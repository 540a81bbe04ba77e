// SPDX-License-Identifier: Apache-2.0

//! Quotes of a stand-in: all of SGX's evidence, and no processor behind it.
//!
//! Everything below the chain's root has Intel's shapes and is verified by the code for Intel's, with other
//! names. The root itself is one of many, so it is not pinned: it is taken from the chain in the quote, and
//! believed only if one of the development roots that a policy names issued it. What keeps the two
//! apart: names, vendor and signer of the quoting enclave, and that Intel's root is pinned by its bytes.

use std::borrow::Cow;
use std::sync::Arc;

use der::asn1::ObjectIdentifier;
use evidence_claims::{Check, Claims, Endorsements, Field, Format, Platform, Refusal, statement};
use evidence_crypto::Crypto;
use evidence_pki::{Certificate, PublicKey, certificates};

use crate::collateral::Collateral;
use crate::quote::Certification;
use crate::refusal::Part;
use crate::trace::{Account, Trace, Verdict};
use crate::verify::Verifier;
use crate::{DcapRefusal, Quote, Tee, Time, chain, fields, vendor, what};

/// Common name of the root that is below a development root.
const ROOT_NAME: &str = "Enarx development SGX Root CA";
/// What claims call such a platform.
const PRODUCT: &str = "sgx-sim";

/// Verifies quotes of stand-ins of SGX under given development roots; without any, all of them are refused.
///
/// The chain of the PCK certificate has to be in the quote, with the root at its end. Nothing is remembered
/// from one quote to the next.
#[derive(Debug)]
pub struct SgxDevelopment {
    crypto: Arc<dyn Crypto>,
    roots: Vec<Vec<u8>>,
}

/// A root below a development root.
struct Root {
    der: Vec<u8>,
    /// The end of the development root above it.
    not_after: Time,
}

impl SgxDevelopment {
    /// Under these roots, each a self-signed certificate in DER, with a key on P-384. What is none issues
    /// nothing here.
    #[must_use]
    pub fn new(crypto: Arc<dyn Crypto>, roots: Vec<Vec<u8>>) -> Self {
        Self { crypto, roots }
    }

    /// Verifies a quote of version 3, 4 or 5 at the time `now`.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn verify_quote(
        &self,
        quote: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Claims, DcapRefusal> {
        self.run(quote, endorsements, now, &mut Verdict)
    }

    fn run(
        &self,
        quote: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
        trace: &mut impl Trace,
    ) -> Result<Claims, DcapRefusal> {
        let root = trace.value(what::DEVELOPMENT_ROOT, || self.root(quote, now))?;
        let crypto = Arc::clone(&self.crypto);
        let verifier = Verifier::with_vendor(crypto, Tee::Sgx, &root.der, &vendor::DEVELOPMENT)?;
        let collateral = Collateral::new(endorsements);
        let mut claims = verifier.run(quote, &collateral, now, None, trace)?;
        claims.platform = Platform::Development;
        claims.product = PRODUCT.to_owned();
        claims.valid_until = claims.valid_until.min(root.not_after);
        Ok(claims)
    }

    /// What the quote's chain ends at, if a development root vouches for it.
    fn root(&self, quote: &[u8], now: Time) -> Result<Root, DcapRefusal> {
        let quote = Quote::parse(quote)?;
        let Certification::Chain(pem) = quote.certification else {
            return Err(DcapRefusal::PckChainMissing);
        };
        let list =
            certificates(pem).map_err(|problem| DcapRefusal::Certificate(Part::Pck, problem))?;
        let [_, _, der] = list.as_slice() else {
            return Err(DcapRefusal::ChainLength(Part::Pck, list.len()));
        };
        let root = chain::parse(der, Part::Root)?;
        if root.common_name() != Some(ROOT_NAME) {
            return Err(DcapRefusal::CertificateName(Part::Root));
        }
        let not_after = self.issuer(&root, now).ok_or(DcapRefusal::DevelopmentRoot)?;
        chain::check_time(&root, Part::Root, now)?;
        Ok(Root { der: Cow::clone(der).into_owned(), not_after })
    }

    /// The end of the development root that issued a root. Several may have the same name.
    fn issuer(&self, root: &Certificate<'_>, now: Time) -> Option<Time> {
        self.roots.iter().find_map(|der| {
            let above = Certificate::parse(der).ok()?;
            let is_good = matches!(above.key, PublicKey::P384(_))
                && above.subject == above.issuer
                && above.check_time(now).is_ok()
                && root.check_issued_by(self.crypto.as_ref(), &above).is_ok();
            is_good.then_some(above.not_after)
        })
    }
}

impl Format for SgxDevelopment {
    fn statement_type(&self) -> ObjectIdentifier {
        statement::DEVELOPMENT_SGX
    }

    fn name(&self) -> &'static str {
        "development evidence in the format of Intel SGX"
    }

    fn verify(
        &self,
        evidence: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Claims, Refusal> {
        Ok(self.verify_quote(evidence, endorsements, now)?)
    }

    fn examine(&self, evidence: &[u8], endorsements: &Endorsements<'_>, now: Time) -> Vec<Check> {
        let mut account = Account::default();
        // Whether it is genuine is for `verify` to say; here the account is what is wanted.
        drop(self.run(evidence, endorsements, now, &mut account));
        account.finish(&[&[what::DEVELOPMENT_ROOT], what::SGX].concat())
    }

    fn fields(&self, evidence: &[u8]) -> Result<Vec<Field>, Refusal> {
        Ok(fields::of(&Quote::parse(evidence)?))
    }
}

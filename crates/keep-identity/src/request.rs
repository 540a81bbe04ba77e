// SPDX-License-Identifier: Apache-2.0

//! What a Keep asks of a Steward, and which answer it takes.

use std::borrow::Cow;
use std::sync::Arc;

use attested_request::attester::{self, Place};
use attested_request::{Binding, binding};
use evidence_claims::statement;
use evidence_crypto::Graviola;
use evidence_pki::{Certificate, ObjectIdentifier, Time};
use keep_launch::{Evidence, Platform};
use steward_relying_party::{Demands, MAX_CHAIN};

use crate::{Identity, IdentityError, Key};

/// The media type of [`Request::csr`].
pub const CONTENT_TYPE: &str = "application/pkcs10";
/// Longest accepted answer in bytes.
pub const MAX_ANSWER: usize = 128 << 10;
/// A certificate that ends in fewer seconds is of no use: what is done with it takes as long.
pub const MIN_REST: u64 = 10;

/// A request in the making: first [`Request::report_data`] for the platform, then [`Request::csr`] with
/// what it says, then [`Request::check`] of the Steward's answer.
#[derive(Debug, Clone)]
pub struct Request {
    key: Arc<Key>,
    slug: Option<String>,
    workload: Option<String>,
    nonce: Option<Vec<u8>>,
}

impl Request {
    /// For that key, bound to that workload and nonce: binding form 2 of `docs/binding.md`.
    ///
    /// # Errors
    ///
    /// [`IdentityError::Binding`].
    pub fn new(key: Arc<Key>, binding: &Binding<'_>) -> Result<Self, IdentityError> {
        binding.workload().map_err(IdentityError::Binding)?;
        Ok(Self {
            key,
            slug: binding.slug.map(str::to_owned),
            workload: binding.workload.map(str::to_owned),
            nonce: binding.nonce.map(<[u8]>::to_vec),
        })
    }

    /// What the platform has to put into its evidence.
    #[must_use]
    pub fn report_data(&self) -> [u8; 64] {
        binding::form_2(&Graviola, self.key.spki(), &self.binding())
    }

    /// The request with that evidence, PKCS#10 in DER.
    ///
    /// Whether the evidence is good is not looked at: the Steward says so, and can be believed more.
    ///
    /// # Errors
    ///
    /// [`IdentityError::NoEvidence`], [`IdentityError::Sign`].
    pub fn csr(&self, evidence: &Evidence) -> Result<Vec<u8>, IdentityError> {
        let (platform, evidence, endorsements) = match evidence {
            Evidence::Made { platform, evidence, endorsements } => {
                (*platform, evidence, endorsements)
            }
            Evidence::Refused { message } => {
                return Err(IdentityError::NoEvidence(message.clone()));
            }
        };
        let endorsements: Vec<(&str, &[u8])> =
            endorsements.iter().map(|(kind, value)| (kind.as_str(), value.as_slice())).collect();
        let kind = statement_of(platform);
        let statement = attester::bound_statement(kind, evidence, &endorsements, &self.binding());
        attester::request(self.key.as_ref(), &statement, Place::Attribute)
            .map_err(|_| IdentityError::Sign)
    }

    /// Whether the Steward's answer is to be believed, and the identity that it makes.
    ///
    /// `answer` is a `PkiPath` as this Steward writes it or any other list of certificates, PEM or DER, the
    /// leaf first or last. The leaf has to be of this request's key and lead to one of `roots` (DER), be valid
    /// at `now`, and state `platform` and just the workload that was asked for.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn check(
        &self,
        answer: &[u8],
        platform: Platform,
        roots: &[&[u8]],
        now: Time,
    ) -> Result<Identity, IdentityError> {
        if answer.len() > MAX_ANSWER {
            return Err(IdentityError::TooLong);
        }
        let list = evidence_pki::certificates(answer).map_err(IdentityError::Malformed)?;
        let chain = self.ordered(list)?;
        let Some((leaf, rest)) = chain.split_first() else { return Err(IdentityError::OtherKey) };

        let mut demands = Demands::new().platforms([name_of(platform)]);
        if platform.is_development() {
            demands = demands.allow_development();
        }
        let rest: Vec<&[u8]> = rest.iter().take(MAX_CHAIN).map(Vec::as_slice).collect();
        let claims = steward_relying_party::check(leaf, &rest, &demands, now, &Graviola, roots)
            .map_err(IdentityError::Chain)?;
        let stated = claims.workload.as_ref();
        if stated.and_then(|one| one.slug()) != self.slug.as_deref()
            || stated.map(|one| one.digest()) != self.workload.as_deref()
        {
            let stated = stated.map_or_else(|| "(none)".to_owned(), ToString::to_string);
            return Err(IdentityError::Workload(stated));
        }
        if self.nonce.is_some() && !claims.fresh {
            return Err(IdentityError::NotFresh);
        }

        let leaf = Certificate::parse(leaf).map_err(IdentityError::Malformed)?;
        let (not_before, not_after) = (leaf.not_before, leaf.not_after);
        if now.plus(MIN_REST) > not_after {
            return Err(IdentityError::EndsAtOnce(not_after));
        }
        let without_root = without_roots(chain);
        Ok(Identity::new(without_root, Arc::clone(&self.key), not_before, not_after, Some(claims)))
    }

    /// The list with the leaf first. A `PkiPath` (RFC 6066, 10.1) has it last, PEM has it first.
    fn ordered(&self, list: Vec<Cow<'_, [u8]>>) -> Result<Vec<Vec<u8>>, IdentityError> {
        let mut list: Vec<Vec<u8>> = list.into_iter().map(Cow::into_owned).collect();
        let is_ours = |one: Option<&Vec<u8>>| -> Result<bool, IdentityError> {
            let Some(one) = one else { return Ok(false) };
            let certificate = Certificate::parse(one).map_err(IdentityError::Malformed)?;
            Ok(certificate.spki == self.key.spki())
        };
        if is_ours(list.first())? {
            return Ok(list);
        }
        if is_ours(list.last())? {
            list.reverse();
            return Ok(list);
        }
        Err(IdentityError::OtherKey)
    }

    fn binding(&self) -> Binding<'_> {
        Binding {
            slug: self.slug.as_deref(),
            workload: self.workload.as_deref(),
            nonce: self.nonce.as_deref(),
        }
    }
}

/// What a peer is sent: it has the root already, or would not believe it.
fn without_roots(chain: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let is_root = |one: &[u8]| Certificate::parse(one).is_ok_and(|it| it.subject == it.issuer);
    chain
        .into_iter()
        .enumerate()
        .filter(|(at, one)| *at == 0 || !is_root(one))
        .map(|(_, one)| one)
        .collect()
}

fn statement_of(platform: Platform) -> ObjectIdentifier {
    match platform {
        Platform::Development => statement::DEVELOPMENT,
        Platform::Snp => statement::SNP,
        Platform::Sgx => statement::SGX,
        Platform::Tdx => statement::TDX,
        Platform::DevelopmentSgx => statement::DEVELOPMENT_SGX,
    }
}

/// As the claims of certificates name it.
fn name_of(platform: Platform) -> &'static str {
    match platform {
        Platform::Development | Platform::DevelopmentSgx => "development",
        Platform::Snp => "snp",
        Platform::Sgx => "sgx",
        Platform::Tdx => "tdx",
    }
}

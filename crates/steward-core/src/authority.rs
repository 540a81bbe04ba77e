// SPDX-License-Identifier: Apache-2.0

//! The certificate authority: requests in, certificates out.

use core::fmt;
use std::borrow::Cow;
use std::sync::Arc;

use attested_request::split_bundle;
use evidence_claims::{Claims, Endorsements, Time, kind};
use evidence_crypto::Crypto;
use evidence_pki::{Certificate, PkiError, PublicKey, Signature, SignatureAlgorithm};
use evidence_verifier::Verifier;
use steward_claims::{CertificateClaims, Workload};
use steward_policy::{Policy, appraise};
use zeroize::Zeroizing;

use crate::certificate::{self, Issuer, Profile, Template};
use crate::issued::Chain;
use crate::nonce::NonceKey;
use crate::{
    AttestedRequest, AuthorityRefusal, Bundle, Form, IssueRefusal, Issued, MIN_LIFETIME, Nonce,
    RequestRefusal, SignError, Signer, SigningAlgorithm,
};

/// No URL of a policy may have more bytes.
pub const MAX_POLICY_URL: usize = 512;

/// What an authority is made of.
pub struct Setup {
    /// The cryptographic operations.
    pub crypto: Arc<dyn Crypto>,
    /// The formats of evidence that are accepted.
    pub verifier: Verifier,
    /// DER certificates, the issuing one first, each issued by the next; up to the root or not.
    pub chain: Vec<Vec<u8>>,
    /// The key of the issuing certificate.
    pub signer: Box<dyn Signer>,
    /// Which Keeps get certificates.
    pub policy: Policy,
    /// Where the text of the policy can be had, for the claims in certificates.
    pub policy_url: Option<String>,
    /// The key of nonces, the same for all Stewards of one address; none are given out without it.
    pub nonce_key: Option<Zeroizing<[u8; 32]>>,
    /// Endorsements for requests that lack them.
    pub endorsements: Endorsements<'static>,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("signer", &self.signer).finish_non_exhaustive()
    }
}

/// Why there cannot be such an authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// No certificate at all.
    #[error("there is no certificate for the authority")]
    NoCertificate,
    /// A certificate that cannot be read; by its place in the chain, counted from 1.
    #[error("certificate {0} of the chain: {1}")]
    Certificate(usize, PkiError),
    /// A certificate that the next one did not issue.
    #[error("certificate {0} of the chain is not issued by the next one: {1}")]
    Chain(usize, PkiError),
    /// A certificate that may not sign certificates.
    #[error(
        "certificate {0} of the chain is none of an authority: it needs basicConstraints with CA:TRUE, and \
         keyUsage with keyCertSign"
    )]
    NotAnAuthority(usize),
    /// A certificate below which there may not be as many authorities as there are.
    #[error("certificate {0} of the chain allows fewer authorities below it than there are")]
    PathLength(usize),
    /// A key on another curve.
    #[error("the key of the authority is on neither P-256 nor P-384")]
    Key,
    /// The certificate is of another key.
    #[error("the first certificate of the chain is not that of the key")]
    OtherKey,
    /// The key does not sign.
    #[error("the key of the authority does not sign: {0}")]
    Sign(SignError),
    /// What the key signs does not verify.
    #[error("what the key of the authority signs does not verify under its public key")]
    BadSignature,
    /// No URL, or too long for the claims extension.
    #[error("the URL of the policy is not 1 to {MAX_POLICY_URL} visible ASCII characters")]
    PolicyUrl,
}

/// Verifies evidence in certificate requests and issues certificates.
///
/// It holds nothing that changes: any number of threads can use it at once, and any number of authorities
/// with the same setup are the same.
pub struct Authority {
    crypto: Arc<dyn Crypto>,
    verifier: Verifier,
    chain: Arc<Chain>,
    issuer: Issuer,
    not_before: Time,
    not_after: Time,
    signer: Box<dyn Signer>,
    policy: Policy,
    policy_digest: [u8; 32],
    policy_url: Option<String>,
    nonce_key: Option<NonceKey>,
    endorsements: Endorsements<'static>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("issuer", &self.issuer)
            .field("signer", &self.signer)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Checks that the parts fit together. Times are not looked at: that is for [`Authority::issue`].
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn new(setup: Setup) -> Result<Self, SetupError> {
        let crypto = setup.crypto;
        let url_is_bad = |url: &String| {
            !(1..=MAX_POLICY_URL).contains(&url.len()) || !url.bytes().all(|b| b.is_ascii_graphic())
        };
        if setup.policy_url.as_ref().is_some_and(url_is_bad) {
            return Err(SetupError::PolicyUrl);
        }
        let mut certificates = Vec::with_capacity(setup.chain.len());
        for (index, der) in setup.chain.iter().enumerate() {
            let certificate = Certificate::parse(der)
                .map_err(|error| SetupError::Certificate(index + 1, error))?;
            check_authority(&certificate, index)?;
            certificates.push(certificate);
        }
        let above = certificates.iter().skip(1);
        for (index, (below, above)) in certificates.iter().zip(above).enumerate() {
            below
                .check_issued_by(crypto.as_ref(), above)
                .map_err(|error| SetupError::Chain(index + 1, error))?;
        }
        let first = certificates.first().ok_or(SetupError::NoCertificate)?;
        check_key(crypto.as_ref(), first, setup.signer.as_ref())?;
        let issuer = Issuer::of(crypto.as_ref(), first)
            .map_err(|error| SetupError::Certificate(1, error))?;
        let not_before = certificates.iter().map(|one| one.not_before).max();
        let not_after = certificates.iter().map(|one| one.not_after).min();
        let is_root = |one: &Certificate<'_>| one.issuer == one.subject;
        let needed = certificates.iter().filter(|one| !is_root(one)).count().max(1);
        Ok(Self {
            issuer,
            not_before: not_before.unwrap_or(Time::MAX),
            not_after: not_after.unwrap_or_default(),
            policy_digest: setup.policy.digest(crypto.as_ref()),
            crypto,
            verifier: setup.verifier,
            chain: Arc::new(Chain { needed, all: setup.chain }),
            signer: setup.signer,
            policy: setup.policy,
            policy_url: setup.policy_url,
            nonce_key: setup.nonce_key.map(NonceKey),
            endorsements: setup.endorsements,
        })
    }

    /// Issues a certificate for a PKCS#10 request in DER, at the time `now`. The serial number is made of
    /// `random`, which must be different for each certificate and not to be foreseen.
    ///
    /// # Errors
    ///
    /// [`IssueRefusal`].
    pub fn issue(&self, csr: &[u8], now: Time, random: [u8; 16]) -> Result<Issued, IssueRefusal> {
        self.check_time(now)?;
        let crypto = self.crypto.as_ref();
        let attested = AttestedRequest::parse(csr)?;
        attested.check_signature(crypto)?;
        let report_data = attested.report_data(crypto)?;
        let fresh = self.check_nonce(&attested, now)?;
        let endorsements = self.endorsements_for(&attested)?;
        let claims = self
            .verifier
            .verify(attested.platform, attested.evidence, &endorsements, now)
            .map_err(IssueRefusal::Evidence)?;
        if claims.report_data != report_data {
            return Err(RequestRefusal::Binding.into());
        }
        let workload = attested.workload.as_ref();
        let admitted =
            appraise(&claims, workload, fresh, &self.policy).map_err(IssueRefusal::Policy)?;
        let soon = now.plus(MIN_LIFETIME);
        if claims.valid_until < soon {
            return Err(RequestRefusal::EndsSoon(claims.valid_until).into());
        }
        if self.not_after < soon {
            return Err(AuthorityRefusal::EndsSoon(self.not_after).into());
        }
        let not_before = now.minus(admitted.backdate).max(self.not_before);
        let not_after = now.plus(admitted.lifetime).min(claims.valid_until).min(self.not_after);
        let subject = subject(&claims);
        let certificate_claims = self.claims(claims, attested.workload.clone(), fresh);
        let extension = certificate_claims.to_der().map_err(AuthorityRefusal::Claims)?;
        let template = Template {
            random,
            subject: &certificate::name(None, &subject),
            public_key: attested.request.spki,
            not_before,
            not_after,
            profile: Profile::Keep {
                dns_names: &admitted.dns_names,
                uris: &uris(workload),
                claims: &extension,
            },
        };
        let leaf = template
            .sign(crypto, &self.issuer, self.signer.as_ref())
            .map_err(AuthorityRefusal::Sign)?;
        Ok(Issued {
            leaf,
            chain: Arc::clone(&self.chain),
            claims: certificate_claims,
            serial: certificate::serial(random),
            subject,
            not_before,
            not_after,
        })
    }

    /// Issues certificates for a bundle, a DER `SEQUENCE OF` requests: for all of them or for none.
    ///
    /// # Errors
    ///
    /// [`IssueRefusal`] of the first request that is refused.
    pub fn issue_bundle(
        &self,
        bundle: &[u8],
        now: Time,
        random: &mut dyn FnMut() -> [u8; 16],
    ) -> Result<Bundle, IssueRefusal> {
        let issued = split_bundle(bundle)?
            .into_iter()
            .map(|csr| self.issue(csr, now, random()))
            .collect::<Result<_, _>>()?;
        Ok(Bundle { chain: Arc::clone(&self.chain), issued })
    }

    /// A nonce that is good for [`crate::NONCE_LIFETIME`] seconds from `now`; none without a key for it.
    #[must_use]
    pub fn nonce(&self, now: Time, random: [u8; 16]) -> Option<Nonce> {
        Some(self.nonce_key.as_ref()?.make(self.crypto.as_ref(), now, random))
    }

    /// The Steward's own certificates, DER, the issuing one first.
    #[must_use]
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain.all
    }

    /// The last second in which each certificate of the chain is valid.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// SHA-256 of the policy's text.
    #[must_use]
    pub fn policy_digest(&self) -> [u8; 32] {
        self.policy_digest
    }

    /// The verifier.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    fn check_time(&self, now: Time) -> Result<(), AuthorityRefusal> {
        if now < self.not_before {
            return Err(AuthorityRefusal::NotValid(PkiError::NotYetValid(self.not_before)));
        }
        if now > self.not_after {
            return Err(AuthorityRefusal::NotValid(PkiError::Expired(self.not_after)));
        }
        Ok(())
    }

    /// Whether there is a nonce; a bad one is refused, whether it is needed or not.
    fn check_nonce(
        &self,
        attested: &AttestedRequest<'_>,
        now: Time,
    ) -> Result<bool, RequestRefusal> {
        let Form::Bound(binding) = &attested.form else { return Ok(false) };
        let Some(nonce) = binding.nonce else { return Ok(false) };
        let key = self.nonce_key.as_ref().ok_or(RequestRefusal::NonceUnsupported)?;
        key.check(self.crypto.as_ref(), nonce, now)?;
        Ok(true)
    }

    /// Those of the request, and then the Steward's own of the kinds that are missing. Revocation lists come
    /// from several authorities, so the Steward's own always join, at the end.
    fn endorsements_for<'s>(
        &'s self,
        attested: &AttestedRequest<'s>,
    ) -> Result<Endorsements<'s>, RequestRefusal> {
        let mut all = attested.endorsements.clone();
        for own in self.endorsements.iter() {
            if own.kind == kind::CRL || attested.endorsements.first(&own.kind).is_none() {
                all.push(Cow::Borrowed(own.kind.as_ref()), Cow::Borrowed(own.bytes.as_ref()))?;
            }
        }
        Ok(all)
    }

    fn claims(&self, claims: Claims, workload: Option<Workload>, fresh: bool) -> CertificateClaims {
        CertificateClaims {
            platform: claims.platform.as_str().into(),
            product: claims.product,
            measurement: claims.measurement,
            signer: claims.signer,
            tcb_status: claims.tcb_status.map(|status| status.as_str().into()),
            advisories: claims.advisories,
            svns: claims.svns.iter().map(|svn| (svn.name.into(), svn.value)).collect(),
            debug: claims.debug,
            workload,
            policy: self.policy_digest,
            policy_url: self.policy_url.clone(),
            evaluation_number: claims.evaluation_number,
            verified_at: claims.verified_at,
            fresh,
        }
    }
}

/// The common name: kind of Keep and the beginning of its measurement, for people who look at a list of
/// certificates. What a program should look at is in the claims.
fn subject(claims: &Claims) -> String {
    let mut name = format!("{} Keep ", claims.platform);
    for byte in claims.measurement.iter().take(8) {
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

fn uris(workload: Option<&Workload>) -> Vec<String> {
    let Some(workload) = workload else { return Vec::new() };
    [workload.digest_uri()].into_iter().chain(workload.slug_uri()).collect()
}

fn check_authority(certificate: &Certificate<'_>, index: usize) -> Result<(), SetupError> {
    let place = |error| SetupError::Certificate(index + 1, error);
    let constraints = certificate.basic_constraints().map_err(place)?;
    let usage = certificate.key_usage().map_err(place)?;
    let may_sign = usage.is_some_and(|usage| usage.may_sign_certificates());
    if !constraints.is_some_and(|constraints| constraints.authority) || !may_sign {
        return Err(SetupError::NotAnAuthority(index + 1));
    }
    // As many authorities are below it as are before it in the chain (RFC 5280, 4.2.1.9).
    let below = u64::try_from(index).unwrap_or(u64::MAX);
    if constraints.and_then(|constraints| constraints.path_length).is_some_and(|most| most < below)
    {
        return Err(SetupError::PathLength(index + 1));
    }
    Ok(())
}

/// Whether the signer has the key of the certificate, which it shows by a signature: a device may well have
/// another one under the same name.
fn check_key(
    crypto: &dyn Crypto,
    certificate: &Certificate<'_>,
    signer: &dyn Signer,
) -> Result<(), SetupError> {
    let algorithm = match &certificate.key {
        PublicKey::P256(_) => (SigningAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaSha256),
        PublicKey::P384(_) => (SigningAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::EcdsaSha384),
        _ => return Err(SetupError::Key),
    };
    if certificate.spki != signer.public_key() || signer.algorithm() != algorithm.0 {
        return Err(SetupError::OtherKey);
    }
    let message = b"Enarx Steward: this key signs";
    let value = signer.sign(message).map_err(SetupError::Sign)?;
    let signature = Signature { message, algorithm: algorithm.1, value: &value };
    signature.verify(crypto, &certificate.key).map_err(|_| SetupError::BadSignature)
}

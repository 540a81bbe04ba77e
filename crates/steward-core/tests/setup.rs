// SPDX-License-Identifier: Apache-2.0

//! Authorities that cannot be set up, and such that can issue nothing.

mod common;

use std::collections::BTreeSet;

use common::{Library, P256, P384, POLICY, published, setup};
use evidence_claims::{Check, Claims, Field, Format, Refusal, statement};
use evidence_crypto::{AwsLc, Crypto};
use evidence_pki::{NotAPoint, ObjectIdentifier, PkiError, Time};
use evidence_snp::Snp;
use evidence_testkit::certificate::{CertificateBuilder, usage};
use evidence_testkit::keys::Key;
use evidence_testkit::{DAY, NOW};
use evidence_verifier::Endorsements;
use steward_core::certificate::{Issuer, Profile, Template, name};
use steward_core::key::{AwsLcKey, KeyError};
use steward_core::{
    Authority, AuthorityRefusal, Fault, Setup, SetupError, SignError, Signer, SigningAlgorithm,
};

/// What comes of a good setup after a change.
fn changed(change: impl FnOnce(&mut Setup)) -> Result<Authority, SetupError> {
    let mut setup = setup(Library::AwsLc, &P256, POLICY);
    change(&mut setup);
    Authority::new(setup)
}

/// A certificate of the Steward's key by the synthetic builder, self-signed by another key: only what is in
/// it counts here.
fn certificate(change: impl FnOnce(CertificateBuilder) -> CertificateBuilder) -> Vec<u8> {
    let spki = AwsLcKey::from_pem(P256.steward_pem.as_bytes()).unwrap().public_key().to_vec();
    let builder = CertificateBuilder::new(&name(None, "a"), &name(None, "b"), spki)
        .validity(NOW.minus(DAY), NOW.plus(DAY))
        .basic_constraints(true, None)
        .key_usage(usage::CERTIFICATES);
    change(builder).sign(&Key::p256())
}

#[test]
fn an_authority_whose_parts_do_not_fit_is_refused() {
    let chain = |chain: Vec<Vec<u8>>| changed(|setup| setup.chain = chain).err();
    let (steward, root) = (P256.steward.clone(), P256.root.clone());
    assert_eq!(chain(vec![]), Some(SetupError::NoCertificate));
    let cut = steward[..steward.len() - 1].to_vec();
    assert!(matches!(chain(vec![cut]), Some(SetupError::Certificate(1, PkiError::Malformed(_)))));
    let of_other_root = vec![steward.clone(), P384.root.clone()];
    assert!(matches!(chain(of_other_root), Some(SetupError::Chain(1, _))));
    assert_eq!(chain(vec![root, steward.clone()]), Some(SetupError::PathLength(2)));

    assert!(chain(vec![certificate(|good| good)]).is_none());
    for bad in [
        certificate(|good| good.basic_constraints(false, None)),
        certificate(|good| good.without("2.5.29.19")),
        certificate(|good| good.without("2.5.29.15")),
        certificate(|good| good.key_usage(0x80)),
    ] {
        assert_eq!(chain(vec![bad]), Some(SetupError::NotAnAuthority(1)));
    }
    let leaf_above = vec![steward, certificate(|good| good.key_usage(0x80))];
    assert_eq!(chain(leaf_above), Some(SetupError::NotAnAuthority(2)));
    let rsa = certificate(|good| good.spki(evidence_testkit::amd::Amd::get().ark_key().spki()));
    assert_eq!(chain(vec![rsa]), Some(SetupError::Key));

    let signer = |signer: Box<dyn Signer>| changed(|setup| setup.signer = signer).err();
    let other = Box::new(AwsLcKey::generate(SigningAlgorithm::EcdsaP256Sha256).unwrap());
    assert_eq!(signer(other), Some(SetupError::OtherKey));
    let broken = SignError("the device is gone".into());
    let refuses = Device { answer: Err(broken.clone()), good: 0.into() };
    assert_eq!(signer(Box::new(refuses)), Some(SetupError::Sign(broken)));
    // A device that has another key than it says.
    let lies = Device { answer: Ok(Key::p256().sign(b"something")), good: 0.into() };
    assert_eq!(signer(Box::new(lies)), Some(SetupError::BadSignature));

    for url in ["", "https://steward.example/a b", &"a".repeat(513)] {
        let refused = changed(|setup| setup.policy_url = Some(url.into())).err();
        assert_eq!(refused, Some(SetupError::PolicyUrl), "{url}");
    }
    assert!(changed(|setup| setup.policy_url = Some("a".repeat(512))).is_ok());
    assert!(changed(|setup| setup.policy_url = None).is_ok());
}

#[test]
fn an_authority_shows_what_it_was_set_up_with() {
    let authority = changed(|_| {}).unwrap();
    assert_eq!(authority.policy().text(), POLICY);
    assert_eq!(authority.policy_digest(), AwsLc.sha256(&[POLICY.as_bytes()]));
    let types = authority.verifier().formats().map(|format| format.statement_type());
    assert!(types.eq([statement::SNP, statement::SGX, statement::TDX]));
    assert_eq!(authority.chain(), [P256.steward.clone(), P256.root.clone()]);
}

#[test]
fn what_is_no_public_key_gets_no_certificate_of_its_own() {
    /// A device whose public key is none.
    #[derive(Debug)]
    struct Blank;
    impl Signer for Blank {
        fn public_key(&self) -> &[u8] {
            &[0x30, 0]
        }
        fn algorithm(&self) -> SigningAlgorithm {
            SigningAlgorithm::EcdsaP256Sha256
        }
        fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignError> {
            Ok(b"signature".to_vec())
        }
    }
    let template = Template {
        random: [1; 16],
        subject: &name(None, "a"),
        public_key: &[],
        not_before: NOW,
        not_after: NOW.plus(DAY),
        profile: Profile::Authority { path_length: 0 },
    };
    let refused = template.self_sign(&AwsLc, &Blank).unwrap_err();
    assert_eq!(refused, SignError("malformed public key".into()));
    assert_eq!(changed(|setup| setup.signer = Box::new(Blank)).err(), Some(SetupError::OtherKey));
    assert_eq!(
        KeyError::from(NotAPoint).to_string(),
        "the public key is not an uncompressed point of the curve"
    );
}

/// The Steward's key in a device that signs well so many times, and then gives that answer.
#[derive(Debug)]
struct Device {
    answer: Result<Vec<u8>, SignError>,
    good: std::sync::atomic::AtomicUsize,
}

impl Signer for Device {
    fn public_key(&self) -> &[u8] {
        static KEY: std::sync::LazyLock<AwsLcKey> =
            std::sync::LazyLock::new(|| AwsLcKey::from_pem(P256.steward_pem.as_bytes()).unwrap());
        KEY.public_key()
    }

    fn algorithm(&self) -> SigningAlgorithm {
        SigningAlgorithm::EcdsaP256Sha256
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.good.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
            return self.answer.clone();
        }
        AwsLcKey::from_pem(P256.steward_pem.as_bytes()).unwrap().sign(message)
    }
}

/// SNP with a product whose name no certificate can hold.
#[derive(Debug)]
struct LongName(Snp);

impl Format for LongName {
    fn statement_type(&self) -> ObjectIdentifier {
        self.0.statement_type()
    }

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn verify(
        &self,
        evidence: &[u8],
        endorsements: &Endorsements<'_>,
        now: Time,
    ) -> Result<Claims, Refusal> {
        let mut claims = self.0.verify(evidence, endorsements, now)?;
        claims.product = "x".repeat(65);
        Ok(claims)
    }

    fn examine(&self, evidence: &[u8], endorsements: &Endorsements<'_>, now: Time) -> Vec<Check> {
        self.0.examine(evidence, endorsements, now)
    }

    fn fields(&self, evidence: &[u8]) -> Result<Vec<Field>, Refusal> {
        self.0.fields(evidence)
    }
}

#[test]
fn each_refusal_of_an_authority_is_reached() {
    let csr = published(&Key::p384());
    let mut seen = BTreeSet::new();
    let mut refuse = |authority: &Authority, now: Time| {
        let refusal = authority.issue(&csr, now, [1; 16]).unwrap_err();
        assert_eq!((refusal.fault(), refusal.status()), (Fault::Server, 500), "{refusal}");
        assert!(!refusal.reference().is_empty() && !refusal.remedy().is_empty());
        seen.insert(refusal.code());
        refusal.code()
    };
    let good = changed(|_| {}).unwrap();
    assert_eq!(good.not_after(), NOW.plus(365 * DAY));
    assert_eq!(refuse(&good, NOW.minus(DAY + 1)), "authority.not-valid");
    assert_eq!(refuse(&good, NOW.plus(365 * DAY + 1)), "authority.not-valid");
    let until = |seconds| {
        changed(|setup| setup.chain = vec![P256.steward_until(NOW.plus(seconds))]).unwrap()
    };
    assert!(until(60).issue(&published(&Key::p384()), NOW, [1; 16]).is_ok());
    assert_eq!(refuse(&until(59), NOW), "authority.ends-soon");
    let device = Device { answer: Err(SignError("gone".into())), good: 1.into() };
    let forgets = changed(|setup| setup.signer = Box::new(device)).unwrap();
    assert_eq!(refuse(&forgets, NOW), "authority.sign");
    let long = changed(|setup| {
        let roots = common::snp_roots();
        let snp = Snp::with_roots(setup.crypto.clone(), roots);
        setup.verifier = evidence_verifier::Verifier::empty().with(Box::new(LongName(snp)));
    });
    assert_eq!(refuse(&long.unwrap(), NOW), "authority.claims");
    assert_eq!(seen, AuthorityRefusal::ALL_CODES.iter().copied().collect());
}

#[test]
fn authorities_have_the_documented_profile() {
    let issuer = evidence_pki::Certificate::parse(&P256.root).unwrap();
    let steward = evidence_pki::Certificate::parse(&P256.steward).unwrap();
    steward.check_issued_by(&AwsLc, &issuer).unwrap();
    issuer.check_issued_by(&AwsLc, &issuer).unwrap();
    for (certificate, path_length) in [(&issuer, 1), (&steward, 0)] {
        let constraints = certificate.basic_constraints().unwrap().unwrap();
        assert_eq!((constraints.authority, constraints.path_length), (true, Some(path_length)));
        let usage = certificate.key_usage().unwrap().unwrap();
        assert!(usage.may_sign_certificates() && usage.may_sign_crls() && !usage.may_sign());
        assert_eq!(certificate.extensions().filter(|one| one.critical).count(), 2);
        assert_eq!(certificate.extensions().count(), 4);
    }
    assert_eq!(issuer.serial.len(), 16);
}

#[test]
fn names_are_cut_to_what_x509_allows() {
    let key = AwsLcKey::generate(SigningAlgorithm::EcdsaP256Sha256).unwrap();
    let long = "ä".repeat(100);
    let template = Template {
        random: [0xff; 16],
        subject: &name(Some(&long), &long),
        public_key: &[],
        not_before: NOW,
        not_after: Time::MAX,
        profile: Profile::Authority { path_length: 0 },
    };
    let root = template.self_sign(&AwsLc, &key).unwrap();
    let root = evidence_pki::Certificate::parse(&root).unwrap();
    assert_eq!(root.common_name(), Some("ä".repeat(64).as_str()));
    assert_eq!(root.not_after, Time::MAX);
    assert_eq!(root.serial[0], 0x7f);
    // An issuer that states no identifier gets the computed one.
    let mut bare = certificate(|good| good.without("2.5.29.14"));
    let parsed = evidence_pki::Certificate::parse(&bare).unwrap();
    let computed = steward_core::certificate::key_id(&AwsLc, parsed.spki).unwrap();
    assert_eq!(Issuer::of(&AwsLc, &parsed).unwrap().key_id, computed);
    bare = certificate(|good| good.subject_key_id(b"id"));
    let parsed = evidence_pki::Certificate::parse(&bare).unwrap();
    assert_eq!(Issuer::of(&AwsLc, &parsed).unwrap().key_id, b"id");
    // A public key that is none cannot be certified.
    let refused = template.sign(&AwsLc, &Issuer::of(&AwsLc, &parsed).unwrap(), &key);
    assert!(refused.is_err());
}

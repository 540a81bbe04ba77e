// SPDX-License-Identifier: Apache-2.0

//! What is done with the fuzzer's input.
//!
//! A fuzzer does not find signatures. So here every signature is good ([`Gullible`]), and what lies behind
//! the signatures is reached. Nothing may panic, overflow or take long, whatever comes.

mod network;

use std::sync::{Arc, LazyLock};

use evidence_crypto::{BadSignature, Crypto, RustCrypto, Scheme};
use evidence_dcap::{Sgx, Tdx, collateral_json};
use evidence_pki::{Certificate, Crl, Request, Time, certificates};
use evidence_snp::{Development, Snp};
use evidence_verifier::{Endorsements, Format, Verifier, kind};
use steward_core::certificate::{Profile, Template, name};
use steward_core::key::RustCryptoKey;
use steward_core::{Authority, Setup, Signer};
use steward_policy::Policy;

pub use network::{dns, jws, poll, sigstore, token};

/// The time for which the seeds were made.
const NOW: Time = Time::from_unix(1_800_000_000);

/// Takes any code on any platform, in the test seed's way.
const POLICY: &str = "[snp]\nany_code = true\n[sgx]\nany_code = true\n[tdx]\nany_code = true\n";

/// Cryptography that believes every signature.
#[derive(Debug)]
struct Gullible;

impl Crypto for Gullible {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        RustCrypto.sha256(parts)
    }

    fn sha384(&self, parts: &[&[u8]]) -> [u8; 48] {
        RustCrypto.sha384(parts)
    }

    fn sha512(&self, parts: &[&[u8]]) -> [u8; 64] {
        RustCrypto.sha512(parts)
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        RustCrypto.hmac_sha256(key, parts)
    }

    fn verify(&self, _: Scheme, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), BadSignature> {
        Ok(())
    }
}

fn crypto() -> Arc<dyn Crypto> {
    Arc::new(Gullible)
}

static SNP: LazyLock<Snp> = LazyLock::new(|| Snp::new(crypto()).forgetful());
static DEVELOPMENT: LazyLock<Development> = LazyLock::new(|| {
    Development::new(crypto(), vec![include_bytes!("../seeds/root.der").to_vec()])
});
static SGX: LazyLock<Sgx> = LazyLock::new(|| {
    let root = include_bytes!("../seeds/root-intel.der");
    Sgx::with_root(crypto(), root).expect("a seed").forgetful()
});
static TDX: LazyLock<Tdx> = LazyLock::new(|| {
    let root = include_bytes!("../seeds/root-intel.der");
    Tdx::with_root(crypto(), root).expect("a seed").forgetful()
});

/// Evidence of one format, in all three ways.
fn ask(format: &dyn Format, evidence: &[u8], endorsements: &Endorsements<'_>) {
    let verified = format.verify(evidence, endorsements, NOW);
    let _ = format.examine(evidence, endorsements, NOW);
    let fields = format.fields(evidence);
    // What verifies can also be read.
    assert!(verified.is_err() || fields.is_ok());
}

/// A report, and the certificate of its chip behind it.
pub fn report(input: &[u8]) {
    let (report, vek) = input.split_at_checked(1184).unwrap_or((input, &[]));
    let mut endorsements = Endorsements::new();
    let crls: [&[u8]; 3] = [
        include_bytes!("../seeds/crl/milan"),
        include_bytes!("../seeds/crl/genoa"),
        include_bytes!("../seeds/crl/turin"),
    ];
    let _ = endorsements.push(kind::VEK, vek);
    for crl in crls {
        let _ = endorsements.push(kind::CRL, crl);
    }
    ask(&*SNP, report, &endorsements);
    ask(&*DEVELOPMENT, report, &endorsements);
}

/// A quote, with collateral that is as it should be.
pub fn quote(input: &[u8]) {
    static SETS: LazyLock<[Endorsements<'static>; 2]> = LazyLock::new(|| {
        [
            collateral_json(include_bytes!("../seeds/collateral/sgx")).expect("a seed"),
            collateral_json(include_bytes!("../seeds/collateral/tdx")).expect("a seed"),
        ]
    });
    ask(&*SGX, input, &SETS[0]);
    ask(&*TDX, input, &SETS[1]);
}

/// Collateral, for quotes that are as they should be.
pub fn collateral(input: &[u8]) {
    if let Ok(endorsements) = collateral_json(input) {
        ask(&*SGX, include_bytes!("../seeds/quote/sgx-v3"), &endorsements);
        ask(&*TDX, include_bytes!("../seeds/quote/tdx15-v5"), &endorsements);
    }
}

/// A revocation list, or a certificate, or several.
pub fn crl(input: &[u8]) {
    if let Ok(list) = Crl::parse(input) {
        let _ = (list.serials().count(), list.issuer_common_name(), list.check_time(NOW));
        assert!(!list.revokes(&[0; 40]));
    }
    for certificate in certificates(input).unwrap_or_default() {
        if let Ok(certificate) = Certificate::parse(&certificate) {
            let _ =
                (certificate.common_name(), certificate.key_usage(), certificate.check_time(NOW));
            let _ = (certificate.basic_constraints(), certificate.key.bits());
            let _ = certificate.check_issued_by(&Gullible, &certificate);
            if let Some(claims) = certificate.extension(steward_claims::OID) {
                let _ = steward_claims::CertificateClaims::from_der(claims.value);
            }
        }
    }
    if let Ok(claims) = steward_claims::CertificateClaims::from_der(input) {
        assert_eq!(claims.to_der().as_deref(), Ok(input));
    }
}

/// A certificate request before a Steward.
pub fn csr(input: &[u8]) {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(authority);
    if let Ok(issued) = AUTHORITY.issue(input, NOW, [7; 16]) {
        let request = Request::parse(input).expect("it was issued for");
        let leaf = Certificate::parse(issued.leaf()).expect("we made it");
        assert_eq!(leaf.spki, request.spki);
    }
    let _ = AUTHORITY.issue_bundle(input, NOW, &mut || [7; 16]);
}

/// A policy, before claims of each platform.
pub fn policy(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    match Policy::parse(text) {
        Ok(policy) => {
            assert_eq!(policy.text(), text);
            assert!(!policy.explain().is_empty());
        }
        Err(error) => assert!(!error.in_file("policy.toml").is_empty()),
    }
}

fn authority() -> Authority {
    let signer = RustCryptoKey::from_pem(include_bytes!("../seeds/key.pem")).expect("a seed");
    let template = Template {
        random: [1; 16],
        subject: &name(None, "Steward"),
        public_key: signer.public_key(),
        not_before: NOW.minus(86_400),
        not_after: NOW.plus(365 * 86_400),
        profile: Profile::Authority { path_length: 0 },
    };
    let certificate = template.self_sign(&RustCrypto, &signer).expect("it signs");
    let root = include_bytes!("../seeds/root-intel.der");
    let verifier = Verifier::new(crypto())
        .with(Box::new(Sgx::with_root(crypto(), root).expect("a seed")))
        .with(Box::new(Tdx::with_root(crypto(), root).expect("a seed")));
    Authority::new(Setup {
        crypto: crypto(),
        verifier,
        chain: vec![certificate],
        signer: Box::new(signer),
        policy: Policy::parse(POLICY).expect("a policy"),
        policy_url: None,
        nonce_key: None,
        endorsements: Endorsements::new(),
    })
    .expect("all fits together")
}

/// A host that starts a Keep, a Keep that reports: what decodes encodes to what decodes to the same.
pub fn launch(input: &[u8]) {
    use keep_launch::{Event, Evidence, Launch, Report};
    if let Ok(launch) = Launch::decode(input) {
        assert_eq!(Launch::decode(&launch.encode()), Ok(launch));
    }
    if let Ok(report) = Report::decode(input) {
        assert_eq!(Report::decode(&report.encode()), Ok(report));
    }
    if let Ok(event) = Event::decode(input) {
        assert_eq!(Event::decode(&event.encode()), Ok(event));
    }
    if let Ok(evidence) = Evidence::decode(input) {
        assert_eq!(Evidence::decode(&evidence.encode()), Ok(evidence));
    }
}

/// A Drawbridge or its client: what is read can be written, and is then the same.
pub fn drawbridge(input: &[u8]) {
    use drawbridge_types::{ContentDigest, Directory, Entry, Repository, Slug, Terms, TreePath};
    if let Ok(directory) = Directory::from_bytes(input) {
        assert_eq!(Directory::from_bytes(&directory.to_bytes()), Ok(directory));
    }
    let _ = serde_json::from_slice::<Entry>(input);
    let _ = serde_json::from_slice::<Terms>(input);
    let _ = serde_json::from_slice::<Repository>(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(digest) = text.parse::<ContentDigest>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    if let Ok(slug) = text.parse::<Slug>() {
        assert_eq!(slug.to_string().parse(), Ok(slug));
    }
    if let Ok(path) = text.parse::<TreePath>() {
        assert_eq!(path.to_string().parse(), Ok(path));
    }
    let _ = ContentDigest::from_workload(text);
}

/// Whoever writes a configuration: it is refused with places, or it has descriptors with names.
pub fn enarx_toml(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match enarx_config::Config::parse(text, "Enarx.toml") {
        Ok(config) => {
            let _ = config.stdio_environment();
            let _ = config.notes();
        }
        Err(error) => assert!(!error.diagnostics().is_empty()),
    }
}

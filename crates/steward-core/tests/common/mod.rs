// SPDX-License-Identifier: Apache-2.0

//! A Steward for tests, with a certificate chain of its own, which trusts the synthetic vendors.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::sync::{Arc, LazyLock};

use evidence_crypto::{AwsLc, Crypto, RustCrypto};
use evidence_dcap::{Sgx, Tdx};
use evidence_pki::Time;
use evidence_snp::{ProductRoots, Snp};
use evidence_testkit::amd::{Amd, Product};
use evidence_testkit::csr::RequestBuilder;
use evidence_testkit::intel::Intel;
use evidence_testkit::keys::Key;
use evidence_testkit::statement::{self, Binding, oid};
use evidence_testkit::{DAY, NOW};
use evidence_verifier::{Endorsements, Verifier};
use steward_core::certificate::{Issuer, Profile, Template, name};
use steward_core::key::{AwsLcKey, RustCryptoKey};
use steward_core::{Authority, Setup, Signer, SigningAlgorithm};
use steward_policy::Policy;
use zeroize::Zeroizing;

/// Lets in what the synthetic vendors make by default, whatever runs in it.
pub const POLICY: &str = "\
[snp]
hash = [\"4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d4d\"]

[certificate]
lifetime = \"7d\"
dns_names = [\"keep.example\"]
";

/// The key of nonces.
pub const NONCE_KEY: [u8; 32] = [0x33; 32];

/// A URL, which nothing here asks.
pub const POLICY_URL: &str = "https://steward.example/v1/policy/current";

/// A digest and a slug of a workload.
pub const WORKLOAD: &str =
    "sha256:4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15";
pub const SLUG: &str = "enarx/fibonacci-rust:0.1.0";

/// A root and a Steward under it.
pub struct Pki {
    pub algorithm: SigningAlgorithm,
    pub root: Vec<u8>,
    pub root_key: AwsLcKey,
    pub steward: Vec<u8>,
    pub steward_pem: Zeroizing<String>,
}

pub static P256: LazyLock<Pki> = LazyLock::new(|| Pki::new(SigningAlgorithm::EcdsaP256Sha256, NOW));
pub static P384: LazyLock<Pki> = LazyLock::new(|| Pki::new(SigningAlgorithm::EcdsaP384Sha384, NOW));

impl Pki {
    /// Made a day before that time.
    pub fn new(algorithm: SigningAlgorithm, now: Time) -> Self {
        let root_key = AwsLcKey::generate(algorithm).unwrap();
        let steward_key = AwsLcKey::generate(algorithm).unwrap();
        let template = Template {
            random: [0x11; 16],
            subject: &name(Some("Example"), "Example Root"),
            public_key: root_key.public_key(),
            not_before: now.minus(DAY),
            not_after: now.plus(3650 * DAY),
            profile: Profile::Authority { path_length: 1 },
        };
        let root = template.self_sign(&AwsLc, &root_key).unwrap();
        let steward =
            Self::issue(&root, &root_key, &steward_key, now.minus(DAY), now.plus(365 * DAY));
        let steward_pem = steward_key.to_pem().unwrap();
        Self { algorithm, root, root_key, steward, steward_pem }
    }

    fn issue(root: &[u8], root_key: &AwsLcKey, key: &AwsLcKey, from: Time, until: Time) -> Vec<u8> {
        let root = evidence_pki::Certificate::parse(root).unwrap();
        let template = Template {
            random: [0x22; 16],
            subject: &name(Some("Example"), "Example Steward"),
            public_key: key.public_key(),
            not_before: from,
            not_after: until,
            profile: Profile::Authority { path_length: 0 },
        };
        template.sign(&AwsLc, &Issuer::of(&AwsLc, &root).unwrap(), root_key).unwrap()
    }

    /// Another certificate for the same Steward.
    pub fn steward_until(&self, until: Time) -> Vec<u8> {
        self.steward_from(NOW.minus(DAY), until)
    }

    /// Another certificate for the same Steward.
    pub fn steward_from(&self, from: Time, until: Time) -> Vec<u8> {
        let key = AwsLcKey::from_pem(self.steward_pem.as_bytes()).unwrap();
        Self::issue(&self.root, &self.root_key, &key, from, until)
    }
}

/// Which library a Steward uses for all that it computes.
#[derive(Debug, Clone, Copy)]
pub enum Library {
    AwsLc,
    RustCrypto,
}

impl Library {
    pub const ALL: [Self; 2] = [Self::AwsLc, Self::RustCrypto];

    pub fn crypto(self) -> Arc<dyn Crypto> {
        match self {
            Self::AwsLc => Arc::new(AwsLc),
            Self::RustCrypto => Arc::new(RustCrypto),
        }
    }

    pub fn signer(self, pem: &str) -> Box<dyn Signer> {
        match self {
            Self::AwsLc => Box::new(AwsLcKey::from_pem(pem.as_bytes()).unwrap()),
            Self::RustCrypto => Box::new(RustCryptoKey::from_pem(pem.as_bytes()).unwrap()),
        }
    }
}

/// The synthetic AMD's roots.
pub fn snp_roots() -> Vec<ProductRoots> {
    let amd = Amd::get();
    [
        (Product::Milan, evidence_claims::SnpProduct::Milan),
        (Product::Genoa, evidence_claims::SnpProduct::Genoa),
        (Product::Turin, evidence_claims::SnpProduct::Turin),
    ]
    .map(|(product, named)| ProductRoots {
        product: named,
        ark: amd.ark_der(product),
        ask: amd.ask_der(product),
        asvk: amd.asvk_der(product),
    })
    .to_vec()
}

/// The formats under the synthetic vendors.
pub fn verifier(crypto: &Arc<dyn Crypto>) -> Verifier {
    let intel = Intel::get().root_der();
    Verifier::empty()
        .with(Box::new(Snp::with_roots(Arc::clone(crypto), snp_roots())))
        .with(Box::new(Sgx::with_root(Arc::clone(crypto), &intel).unwrap()))
        .with(Box::new(Tdx::with_root(Arc::clone(crypto), &intel).unwrap()))
}

/// A Steward, to be changed.
pub fn setup(library: Library, pki: &Pki, policy: &str) -> Setup {
    let crypto = library.crypto();
    Setup {
        verifier: verifier(&crypto),
        crypto,
        chain: vec![pki.steward.clone(), pki.root.clone()],
        signer: library.signer(&pki.steward_pem),
        policy: Policy::parse(policy).unwrap(),
        policy_url: Some(POLICY_URL.into()),
        nonce_key: Some(Zeroizing::new(NONCE_KEY)),
        endorsements: Endorsements::new(),
    }
}

/// A Steward.
pub fn authority(library: Library) -> Authority {
    Authority::new(setup(library, &P256, POLICY)).unwrap()
}

/// A published SNP statement for that key, of Milan.
pub fn snp_statement(key: &Key) -> Vec<u8> {
    snp_statement_of(&statement::snp_report_data(&key.spki()))
}

/// A published SNP statement with those report data, of Milan.
pub fn snp_statement_of(report_data: &[u8; 64]) -> Vec<u8> {
    let amd = Amd::get();
    let report = amd.report(Product::Milan, 3).report_data(report_data).sign(amd.vek_key());
    let vek = amd.vcek(Product::Milan).sign(amd.ask_key());
    let crl = amd.crl_der(Product::Milan);
    statement::snp(&vek, &[("https://kdsintf.amd.com/vcek/v1/Milan/crl", &crl)], &report)
}

/// A bound SNP statement for that key, of Genoa.
pub fn bound_statement(key: &Key, binding: Binding<'_>) -> Vec<u8> {
    let amd = Amd::get();
    let data = binding.report_data(&key.spki());
    let report = amd.report(Product::Genoa, 5).report_data(&data).sign(amd.vek_key());
    let vek = amd.vcek(Product::Genoa).sign(amd.ask_key());
    let crl = amd.crl_der(Product::Genoa);
    statement::bound(oid::SNP, &report, &[("vek", &vek), ("crl", &crl)], binding)
}

/// A good request in the published form.
pub fn published(key: &Key) -> Vec<u8> {
    RequestBuilder::new().extension(oid::SNP, false, &snp_statement(key)).sign(key)
}

/// A good request with a bound statement.
pub fn bound(key: &Key, binding: Binding<'_>) -> Vec<u8> {
    RequestBuilder::new().attestation(oid::BOUND, &bound_statement(key, binding)).sign(key)
}

/// The public key in a certificate, DER.
pub fn spki(certificate: &[u8]) -> Vec<u8> {
    evidence_pki::Certificate::parse(certificate).unwrap().spki.to_vec()
}

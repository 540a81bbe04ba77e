// SPDX-License-Identifier: Apache-2.0

//! What the tests here have in common.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::PathBuf;
use std::sync::Arc;

use evidence_claims::{Check, Endorsements, Outcome, Reason, SnpProduct, Time, kind};
use evidence_crypto::{AwsLc, Crypto, RustCrypto};
use evidence_snp::{ProductRoots, Snp, SnpRefusal};
use evidence_testkit::amd::{Amd, Product, SnpSample};

/// Both implementations of cryptography.
pub(crate) fn backends() -> [Arc<dyn Crypto>; 2] {
    [Arc::new(AwsLc), Arc::new(RustCrypto)]
}

/// The fast one.
pub(crate) fn aws() -> Arc<dyn Crypto> {
    Arc::new(AwsLc)
}

/// A file of the shared vectors, or nothing, and a word on it, if they are not there.
pub(crate) fn vector(path: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os("ENARX_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if !root.is_dir() {
        println!("skipped: there are no vectors in {}", root.display());
        return None;
    }
    let path = root.join(path);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The time that is written like `2026-09-01T00:00:00Z`.
pub(crate) fn at(text: &str) -> Time {
    text.parse().unwrap()
}

/// A bag of endorsements.
pub(crate) fn bag<'a>(list: &[(&'static str, &'a [u8])]) -> Endorsements<'a> {
    let mut bag = Endorsements::new();
    for (kind, bytes) in list {
        bag.push(*kind, *bytes).unwrap();
    }
    bag
}

/// What belongs to a synthetic sample, without the issuer, which is built in.
pub(crate) fn of(sample: &SnpSample) -> Endorsements<'_> {
    bag(&[(kind::VEK, &sample.vek), (kind::CRL, &sample.crl)])
}

/// A product in the words of the claims.
pub(crate) fn product(product: Product) -> SnpProduct {
    match product {
        Product::Milan => SnpProduct::Milan,
        Product::Genoa => SnpProduct::Genoa,
        Product::Turin => SnpProduct::Turin,
    }
}

/// The roots of the synthetic AMD.
pub(crate) fn roots_of(amd: &Amd) -> Vec<ProductRoots> {
    Product::ALL
        .into_iter()
        .map(|one| ProductRoots {
            product: product(one),
            ark: amd.ark_der(one),
            ask: amd.ask_der(one),
            asvk: amd.asvk_der(one),
        })
        .collect()
}

/// A verifier under the synthetic AMD.
pub(crate) fn synthetic(crypto: Arc<dyn Crypto>) -> Snp {
    Snp::with_roots(crypto, roots_of(Amd::get()))
}

/// The code of the first check that does not hold.
pub(crate) fn first_failure(checks: &[Check]) -> Option<&'static str> {
    checks.iter().find_map(|check| match &check.outcome {
        Outcome::Fail(refusal) => Some(refusal.code()),
        _ => None,
    })
}

/// The code of a refusal, with its text, reference and remedy looked at on the way.
pub(crate) fn code(refusal: &SnpRefusal) -> &'static str {
    assert!(!refusal.to_string().is_empty());
    assert!(!refusal.reference().is_empty());
    let remedy = refusal.remedy();
    assert!(remedy.len() > 10 && !remedy.ends_with('.'), "{remedy}");
    let code = refusal.code();
    assert!(SnpRefusal::ALL_CODES.contains(&code), "{code} is not in ALL_CODES");
    code
}

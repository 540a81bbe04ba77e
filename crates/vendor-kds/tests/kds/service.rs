// SPDX-License-Identifier: Apache-2.0

//! A service that answers, fails, and lies.

use std::sync::Arc;
use std::time::Duration;

use evidence_claims::{SigningKey, kind};
use evidence_crypto::AwsLc;
use evidence_pki::to_pem;
use evidence_testkit::NOW;
use evidence_testkit::amd::{Amd, Product};
use evidence_testkit::replay::{Fault, Replay, Reply};
use vendor_fetch::{Cache, FetchError};
use vendor_kds::{KdsError, Piece, Store};

use crate::{identity, kds, kds_within, product, store};

/// The synthetic AMD's service.
fn service() -> Replay {
    Replay::start(|asked| {
        let amd = Amd::get();
        let path = asked.target.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.split('/').collect();
        let [_, kind, "v1", name, what] = parts[..] else { return Reply::status(404) };
        let Some(of) = Product::ALL.into_iter().find(|one| one.name() == name) else {
            return Reply::status(404);
        };
        match (kind, what) {
            (_, "crl") => Reply::ok(amd.crl_der(of)),
            (_, "cert_chain") => {
                let authority = if kind == "vlek" { amd.asvk_der(of) } else { amd.ask_der(of) };
                let pem = |der: &[u8]| to_pem("CERTIFICATE", der);
                Reply::ok(pem(&authority) + &pem(&amd.ark_der(of)))
            }
            ("vcek", _) => Reply::ok(amd.vcek(of).sign(amd.ask_key())),
            _ => Reply::status(404),
        }
    })
}

#[tokio::test]
async fn everything_for_a_report_is_fetched_and_serves() {
    let server = service();
    let kds = kds(&server);
    for of in Product::ALL {
        let (_folder, store) = store();
        let identity = identity(of, SigningKey::Vcek);
        let chain = kds.chain(identity.product, identity.key).await.unwrap();
        let pieces = [
            Piece::Vek(identity.clone(), kds.vcek(&identity).await.unwrap()),
            store.check_chain(identity.product, chain).unwrap(),
            Piece::List(identity.product, kds.list(identity.product).await.unwrap()),
        ];
        let held = store.put(&pieces, NOW).unwrap();
        assert_eq!(held.len(), 3);
        for one in &held {
            assert!(one.problem.is_none() && one.valid_until > Some(NOW), "{one:?}");
            assert!(one.revocation_checked, "{one:?}");
        }
        // What was fetched is what a verdict needs, and all of it.
        let all = store.endorsements(&identity, NOW).unwrap();
        assert_eq!(all.iter().count(), 3);
        let roots = evidence_snp::ProductRoots {
            product: identity.product,
            ark: Amd::get().ark_der(of),
            ask: vec![],
            asvk: vec![],
        };
        let snp = evidence_snp::Snp::with_roots(Arc::new(AwsLc), vec![roots]);
        snp.verify_report(&Amd::get().sample(of, 3).report, &all, NOW).unwrap();
    }
    // The chip of Turin has a shorter id, and its TCB one level more.
    let turin = server
        .asked()
        .into_iter()
        .find(|one| one.target.contains("/Turin/") && one.target.contains('?'));
    let target = turin.unwrap().target;
    assert!(target.contains("?fmcSPL="), "{target}");
    assert_eq!(target.split(['/', '?']).nth(4).unwrap().len(), 16, "{target}");
}

#[tokio::test]
async fn a_service_that_limits_rates_is_asked_again_and_again() {
    let server = Replay::start(|asked| match asked.before {
        0 => Reply::status(429).header("Retry-After", "0"),
        1 => Reply::ok(Amd::get().crl_der(Product::Milan)).fault(Fault::HalfBody),
        _ => Reply::ok(Amd::get().crl_der(Product::Milan)),
    });
    let list = kds(&server).list(product(Product::Milan)).await.unwrap();
    assert_eq!(list, Amd::get().crl_der(Product::Milan));
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_service_that_never_answers_is_given_up() {
    let faults = [Fault::HalfBody, Fault::HangUp, Fault::Late(Duration::from_secs(60))];
    for fault in faults {
        let server = Replay::start(move |_| Reply::ok("0123456789").fault(fault));
        let kds = kds_within(&server, Duration::from_millis(200));
        let error = kds.list(product(Product::Milan)).await.unwrap_err();
        assert!(matches!(error, KdsError::Fetch(FetchError::Broken { .. })), "{fault:?}: {error}");
        assert!(error.is_transient());
    }
    let server = Replay::start(|_| Reply::status(429).header("Retry-After", "86400"));
    let error = kds(&server).list(product(Product::Milan)).await.unwrap_err();
    assert!(matches!(error, KdsError::Fetch(FetchError::Later { .. })), "{error}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn chains_have_two_certificates_and_the_right_root() {
    let amd = Amd::get();
    let pem = |der: &[u8]| to_pem("CERTIFICATE", der);
    let one = pem(&amd.ask_der(Product::Milan));
    for body in [String::new(), "garbage".into(), one.clone(), one.repeat(3)] {
        let server = Replay::start(move |_| Reply::ok(body.clone()));
        let chain = kds(&server).chain(product(Product::Milan), SigningKey::Vcek).await;
        assert!(matches!(chain, Err(KdsError::Chain(_))), "{chain:?}");
    }
    let (_folder, store) = store();
    let impostor = Amd::impostor();
    let chain = [impostor.ask_der(Product::Milan), impostor.ark_der(Product::Milan)];
    let error = store.check_chain(product(Product::Milan), chain).unwrap_err();
    assert!(matches!(error, KdsError::Root("Milan")), "{error}");
}

#[tokio::test]
async fn vleks_are_not_asked_for() {
    let server = service();
    let identity = identity(Product::Milan, SigningKey::Vlek);
    assert!(matches!(kds(&server).vcek(&identity).await, Err(KdsError::Vlek)));
    assert!(server.asked().is_empty());
}

#[test]
fn a_synthetic_vendor_is_nothing_to_the_roots_that_are_built_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(Cache::new(folder.path()), Arc::new(AwsLc));
    let milan = identity(Product::Milan, SigningKey::Vcek);
    let amd = Amd::get();
    for piece in [
        Piece::Vek(milan.clone(), amd.vcek(Product::Milan).sign(amd.ask_key())),
        Piece::Authority(milan.product, amd.ask_der(Product::Milan)),
        Piece::List(milan.product, amd.crl_der(Product::Milan)),
    ] {
        assert!(matches!(store.put(&[piece], NOW), Err(KdsError::Refused { .. })));
    }
    assert_eq!(store.held(NOW).unwrap(), []);
    assert!(store.endorsements(&milan, NOW).unwrap().first(kind::VEK).is_none());
}

// SPDX-License-Identifier: Apache-2.0

//! A service that answers, fails, and lies.

use std::sync::Arc;
use std::time::Duration;

use evidence_claims::TcbStatus;
use evidence_crypto::AwsLc;
use evidence_dcap::{PckCa, Sgx};
use evidence_testkit::NOW;
use evidence_testkit::intel::{Intel, PckBuilder};
use evidence_testkit::replay::{Fault, Replay, Reply};
use vendor_fetch::{Cache, FetchError, Fetcher, Url};
use vendor_pcs::{Pcs, PcsError, Store};

use crate::{KIND, PATIENCE, ca, pcs, pcs_within, pieces, platform, service, store};

async fn everything(pcs: &Pcs, store: &Store) {
    let mut pieces = vec![pcs.root_list().await.unwrap(), pcs.pck(&platform()).await.unwrap()];
    for ca in PckCa::ALL {
        pieces.push(pcs.pck_list(ca).await.unwrap());
    }
    pieces.push(pcs.tcb_info(PckBuilder::FMSPC).await.unwrap());
    pieces.push(pcs.qe_identity().await.unwrap());
    for held in store.put(&pieces, NOW).unwrap() {
        assert!(held.problem.is_none() && held.valid_until > Some(NOW), "{held:?}");
    }
}

#[tokio::test]
async fn everything_for_a_quote_is_fetched_and_serves() {
    let server = service(false);
    let (_folder, store) = store();
    everything(&pcs(&server), &store).await;
    let all = store.endorsements(NOW).unwrap();
    assert_eq!(all.iter().count(), 8);
    let sgx = Sgx::with_root(Arc::new(AwsLc), &Intel::get().root_der()).unwrap();
    let claims = sgx.verify_quote(&Intel::get().sample(KIND).quote, &all, NOW).unwrap();
    assert_eq!(claims.tcb_status, Some(TcbStatus::UpToDate));
    assert_eq!(store.status(NOW).unwrap(), Some((TcbStatus::UpToDate, vec![])));
    let pck = store.pck(NOW).unwrap().unwrap();
    assert_eq!((pck.issuer, pck.extensions.fmspc), (ca(KIND.authority()), PckBuilder::FMSPC));
    // What names the platform is asked for in Intel's spelling.
    let asked = server.asked();
    let target = &asked.iter().find(|one| one.target.contains("pckcert")).unwrap().target;
    assert!(
        target.ends_with(&format!(
            "&cpusvn={}&pcesvn=0d00&pceid=0000",
            "05050202030100050000000000000000"
        )),
        "{target}"
    );
}

#[tokio::test]
async fn a_caching_service_answers_in_its_own_way() {
    let server = service(true);
    let base = Url::parse(&server.url()).unwrap();
    let pcs = Pcs::caching(Fetcher::new(&base, &[], PATIENCE).unwrap(), base);
    let (_folder, store) = store();
    everything(&pcs, &store).await;
    assert_eq!(store.endorsements(NOW).unwrap().iter().count(), 8);
}

#[tokio::test]
async fn registration_sends_the_manifest() {
    let server = service(false);
    assert_eq!(pcs(&server).register(b"manifest").await.unwrap(), "0f".repeat(16));
    assert_eq!(server.asked()[0].body, b"manifest");
    let refused =
        Replay::start(|_| Reply::status(400).header("Error-Message", "InvalidPlatformManifest"));
    let error = pcs(&refused).register(b"manifest").await.unwrap_err();
    assert!(error.to_string().contains("InvalidPlatformManifest"), "{error}");
    let odd = Replay::start(|_| Reply::ok("<html>"));
    assert!(matches!(pcs(&odd).register(b"").await, Err(PcsError::Body { .. })));
}

#[tokio::test]
async fn headers_are_needed_and_read() {
    for value in [None, Some("%zz"), Some("garbage"), Some("")] {
        let server = Replay::start(move |_| match value {
            Some(value) => Reply::ok("{}").header("TCB-Info-Issuer-Chain", value),
            None => Reply::ok("{}"),
        });
        let got = pcs(&server).tcb_info([0; 6]).await;
        assert!(matches!(got, Err(PcsError::Header { .. })), "{value:?}: {got:?}");
    }
}

#[tokio::test]
async fn failures_are_put_up_with_or_told() {
    let server = Replay::start(|asked| match asked.before {
        0 => Reply::status(503).header("Retry-After", "0"),
        1 => Reply::ok(Intel::get().root_crl_der()).fault(Fault::HalfBody),
        _ => Reply::ok(Intel::get().root_crl_der()),
    });
    pcs(&server).root_list().await.unwrap();
    assert_eq!(server.asked().len(), 3);
    let silent = Replay::start(|_| Reply::ok("").fault(Fault::Late(Duration::from_secs(60))));
    let error = pcs_within(&silent, Duration::from_millis(200)).root_list().await.unwrap_err();
    assert!(matches!(error, PcsError::Fetch(FetchError::Broken { .. })), "{error}");
    let error = pcs(&service(false)).tcb_info([9; 6]).await.unwrap_err();
    assert!(error.to_string().contains("no cache data"), "{error}");
    for body in ["", "<html>", "30zz"] {
        let server = Replay::start(move |_| Reply::ok(body));
        assert!(matches!(pcs(&server).root_list().await, Err(PcsError::Body { .. })), "{body}");
    }
}

#[test]
fn a_synthetic_vendor_is_nothing_to_the_root_that_is_built_in() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(Cache::new(folder.path()), Arc::new(AwsLc));
    for piece in pieces() {
        assert!(matches!(store.put(&[piece], NOW), Err(PcsError::Refused { .. })));
    }
    assert_eq!(store.held(NOW).unwrap(), []);
}

// SPDX-License-Identifier: Apache-2.0

//! Steps 5 to 8, and a Steward that is down, slow or a liar. Whatever it does, the Drawbridge is not even
//! asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keep_identity::{CertificateClaims, IdentityError};
use keep_launch::Refusal;
use keep_net::NetError;

use steward_claims::Workload;

use crate::common;
use crate::common::{
    Act, Ca, DAY, Got, SLUG, Server, StandIn, TestHost, TestLoader, World, now, reply, steward,
};
use keep_deploy::{DeployError, deploy};

/// Deploys with that Steward and expects it to fail before step 9.
async fn refused(world: &World, steward: Server) -> DeployError {
    let drawbridge = world.drawbridge().await;
    let launch = world.launch(&steward, &drawbridge);
    let error = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap_err();
    assert_eq!(drawbridge.paths(), [""; 0], "the Drawbridge was asked");
    assert!(world.host.chains().is_empty(), "a certificate was believed");
    assert!(world.host.steps().iter().all(|step| *step < 8), "{:?}", world.host.steps());
    let message = error.message();
    let (_, help) = message.rsplit_once('\n').expect("several lines");
    assert!(help.starts_with("help: ") && help.len() > 6, "{message}");
    error
}

#[tokio::test]
async fn a_keep_becomes_somebody_and_gets_its_workload() {
    let world = World::new(common::Workload::usual());
    let (steward, drawbridge) = (world.steward().await, world.drawbridge().await);
    let launch = world.launch(&steward, &drawbridge);
    let deployed = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap();

    assert_eq!(world.host.steps(), [5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(deployed.config.args, ["--fast"]);
    assert_eq!(deployed.code, common::artifact(&common::module()));
    let claims = deployed.identity.claims().unwrap();
    let workload = claims.workload.as_ref().unwrap();
    assert_eq!((workload.slug(), workload.digest()), (Some(SLUG), &*launch.digest));
    assert!(claims.fresh);
    // The Drawbridge saw that very certificate on each of its requests.
    let got = drawbridge.got.lock().unwrap();
    assert_eq!(got.len(), 5);
    assert!(got.iter().all(|one| one.leaf.as_ref() == deployed.identity.chain().first()));
    assert_eq!(world.host.chains(), [deployed.identity.chain()]);
    assert!(world.host.warnings().is_empty(), "{:?}", world.host.warnings());
}

#[tokio::test]
async fn evidence_of_a_stand_in_makes_a_keep_somebody() {
    for product in ["snp-sim", "sgx-sim"] {
        let mut world = World::new(common::Workload::usual());
        let root = &world.development;
        let stand_in = match product {
            "snp-sim" => StandIn::Snp(root.snp_stand_in(now()).unwrap()),
            _ => StandIn::Sgx(root.sgx_stand_in(now()).unwrap()),
        };
        Arc::get_mut(&mut world.host).unwrap().stand_in = Some(stand_in);
        let (steward, drawbridge) = (world.steward().await, world.drawbridge().await);
        let launch = world.launch(&steward, &drawbridge);
        let deployed = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap();
        let claims = deployed.identity.claims().unwrap();
        assert_eq!((&*claims.platform, &*claims.product), ("development", product));
        assert!(claims.fresh);
    }
}

#[tokio::test]
async fn a_steward_that_is_down_is_named() {
    let world = World::new(common::Workload::usual());
    let mut steward = world.steward().await;
    // Nobody listens at port 1.
    steward.address.set_port(1);
    let error = refused(&world, steward).await;
    assert!(matches!(error, DeployError::StewardSilent { source: NetError::Connect { .. }, .. }));
    assert!(error.is_transient() && error.refusal() == Refusal::Steward);
    assert!(error.message().contains("https://localhost:1"), "{}", error.message());
}

#[tokio::test]
async fn a_steward_behind_another_tls_root_is_not_asked() {
    let world = World::new(common::Workload::usual());
    let (mut steward, other) = (world.steward().await, world.steward().await);
    steward.root = other.root;
    let error = refused(&world, steward).await;
    assert!(
        matches!(error, DeployError::StewardSilent { source: NetError::Handshake { .. }, .. }),
        "{error:?}"
    );
    assert_eq!(world.host.asked.load(Ordering::SeqCst), 0);
}

/// A Steward with another answer to the request for a certificate.
async fn answering(
    world: &World,
    answer: impl Fn(&Ca, &Got) -> Vec<Act> + Send + Sync + 'static,
) -> Server {
    let ca = Arc::clone(&world.ca);
    let answer = move |got: &Got| match got.method.as_str() {
        "POST" => answer(&ca, got),
        _ => vec![steward(&ca, got, now())],
    };
    Server::start(None, Box::new(answer)).await
}

fn path(body: &[u8]) -> Vec<Act> {
    vec![reply(200, "application/pkix-pkipath", body)]
}

#[tokio::test]
async fn a_refusal_is_passed_on_with_reason_and_remedy() {
    let world = World::new(common::Workload::usual());
    let server = answering(&world, |_, _| {
        let problem = br#"{"title":"t","detail":"the measurement 00 is not allowed","code":"policy.hash","remedy":"allow it"}"#;
        vec![reply(403, "application/problem+json", problem)]
    })
    .await;
    let error = refused(&world, server).await;
    let message = error.message();
    assert!(message.contains("the measurement 00 is not allowed"), "{message}");
    assert!(message.contains("policy.hash") && message.ends_with("help: allow it"), "{message}");
}

#[tokio::test]
async fn a_certificate_for_another_key_is_refused() {
    let world = World::new(common::Workload::usual());
    // It is genuine, of this Steward and for this workload, and yet somebody else's.
    let other = TestHost::new(&world.development);
    let digest = world.workload.digest();
    let csr = {
        use keep_deploy::Host as _;
        let key = Arc::new(keep_identity::Key::generate().unwrap());
        let nonce = world.ca.authority.nonce(now(), [9; 16]).unwrap();
        let binding = keep_identity::Binding {
            slug: Some(SLUG),
            workload: Some(&digest),
            nonce: Some(nonce.as_bytes()),
        };
        let request = keep_identity::Request::new(key, &binding).unwrap();
        request.csr(&other.evidence(&request.report_data()).unwrap()).unwrap()
    };
    let issued = world.ca.authority.issue(&csr, now(), [1; 16]).unwrap().pki_path();
    let error = refused(&world, answering(&world, move |_, _| path(&issued)).await).await;
    let DeployError::StewardAnswer { source, .. } = error else { panic!("{error:?}") };
    assert_eq!(source, IdentityError::OtherKey);
}

#[tokio::test]
async fn a_chain_to_another_root_is_refused() {
    let world = World::new(common::Workload::usual());
    let foreign = Ca::new(&world.development, "");
    // Its nonces are good here: both Stewards of the test have one key for them.
    let server = answering(&world, move |_, got| vec![steward(&foreign, got, now())]).await;
    let error = refused(&world, server).await;
    let DeployError::StewardAnswer { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("root") || matches!(source, IdentityError::Chain(_)));
    assert_eq!(source.code(), "identity.chain");
}

#[tokio::test]
async fn an_expired_certificate_and_one_of_the_future_are_refused() {
    for clock in [now().minus(40 * DAY), now().plus(DAY)] {
        let world = World::new(common::Workload::usual());
        let ca = Arc::clone(&world.ca);
        // All of the Steward is at another time, nonces and certificates.
        let answer = move |got: &Got| vec![steward(&ca, got, clock)];
        let server = Server::start(None, Box::new(answer)).await;
        let error = refused(&world, server).await;
        assert_eq!(error.refusal(), Refusal::Steward);
        let DeployError::StewardAnswer { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.code(), "identity.chain");
        assert!(source.remedy().contains("clock"), "{}", source.remedy());
    }
}

#[tokio::test]
async fn a_clock_that_jumps_is_what_a_certificate_is_held_against() {
    let world = World::new(common::Workload::usual());
    world.host.ahead.store(60 * DAY, Ordering::SeqCst);
    let server = world.steward().await;
    let error = refused(&world, server).await;
    let DeployError::StewardAnswer { source, .. } = error else { panic!("{error:?}") };
    assert!(source.remedy().contains("clock"), "{}", source.remedy());
}

#[tokio::test]
async fn a_certificate_with_other_claims_is_refused() {
    type Change = fn(&mut CertificateClaims);
    let changes: [(&str, Change); 5] = [
        ("identity.workload", |claims| {
            let other = format!("sha256:{}", "ab".repeat(32));
            claims.workload = Some(Workload::new(Some(SLUG), &other).unwrap());
        }),
        ("identity.workload", |claims| {
            let digest = claims.workload.as_ref().unwrap().digest().to_owned();
            claims.workload = Some(Workload::new(Some("other/repo:1.2.3"), &digest).unwrap());
        }),
        ("identity.workload", |claims| claims.workload = None),
        ("identity.not-fresh", |claims| claims.fresh = false),
        // This Keep has no such protection, whatever the Steward says.
        ("identity.chain", |claims| claims.platform = "snp".into()),
    ];
    for (code, change) in changes {
        let world = World::new(common::Workload::usual());
        let server = answering(&world, move |ca, got| path(&ca.forge(&got.body, change))).await;
        let error = refused(&world, server).await;
        let DeployError::StewardAnswer { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source.code(), code, "{source}");
    }
    // The forger is good enough: without a change it is believed.
    let world = World::new(common::Workload::usual());
    let server = answering(&world, |ca, got| path(&ca.forge(&got.body, |_| {}))).await;
    let drawbridge = world.drawbridge().await;
    let launch = world.launch(&server, &drawbridge);
    deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap();
}

#[tokio::test]
async fn a_keep_for_another_workload_gets_none() {
    let world = World::new(common::Workload::usual());
    let (steward, drawbridge) = (world.steward().await, world.drawbridge().await);
    let mut launch = world.launch(&steward, &drawbridge);
    launch.digest = format!("sha256:{}", "ab".repeat(32));
    let error = deploy(&launch, world.host.as_ref(), &TestLoader).await.unwrap_err();
    // That Keep is somebody, but not who may have this workload.
    let DeployError::DrawbridgeRefused { problem, .. } = &error else { panic!("{error:?}") };
    assert_eq!(problem.code, "release.workload");
    assert_eq!(world.host.steps(), [5, 6, 7, 8, 9]);
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let world = World::new(common::Workload::usual());
    let head = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"10000\r\n", &vec![b'x'; 0x10000][..], b"\r\n"].concat();
    let acts = vec![Act::Send(head), Act::Endless(chunk)];
    let server = answering(&world, move |_, _| acts.clone()).await;
    let error = refused(&world, server).await;
    assert!(
        matches!(error, DeployError::StewardSilent { source: NetError::TooLong { .. }, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn garbage_and_half_answers_are_errors() {
    for acts in [
        path(b"\x30\x03\x02\x01\x01"),
        path(b""),
        path(&[0x30; 1000]),
        vec![Act::Send(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nhalf".to_vec()), Act::Cut],
        vec![Act::Send(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec()), Act::Cut],
        vec![Act::Cut],
    ] {
        let world = World::new(common::Workload::usual());
        let server = answering(&world, move |_, _| acts.clone()).await;
        assert_eq!(refused(&world, server).await.refusal(), Refusal::Steward);
    }
}

#[tokio::test]
async fn a_nonce_that_is_none_is_an_error() {
    for body in ["", "{}", "{\"nonce\":\"\"}", "{\"nonce\":\"zz\"}", "{\"nonce\":\"abc\"}"] {
        let world = World::new(common::Workload::usual());
        let answer = move |_: &Got| vec![reply(200, "application/json", body.as_bytes())];
        let error = refused(&world, Server::start(None, Box::new(answer)).await).await;
        assert!(matches!(error, DeployError::StewardForm { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_steward_that_says_nothing_is_left() {
    for stalls in ["GET", "POST"] {
        let world = World::new(common::Workload::usual());
        let ca = Arc::clone(&world.ca);
        let server = Server::start(
            None,
            Box::new(move |got| {
                // Time passes at once from here on, as long as nothing else happens.
                if got.method == stalls {
                    tokio::time::pause();
                    return vec![Act::Stall];
                }
                vec![steward(&ca, got, now())]
            }),
        )
        .await;
        let error = refused(&world, server).await;
        assert!(error.is_transient(), "{error:?}");
        assert!(
            matches!(error, DeployError::StewardSlow { .. } | DeployError::StewardSilent { .. }),
            "{error:?}"
        );
        tokio::time::resume();
    }
}

#[tokio::test]
async fn without_evidence_nobody_is_asked() {
    let mut world = World::new(common::Workload::usual());
    let mut host = TestHost::new(&world.development);
    Arc::get_mut(&mut host).unwrap().attester = None;
    world.host = host;
    let steward = world.steward().await;
    let got = Arc::clone(&steward.got);
    let error = refused(&world, steward).await;
    assert_eq!(error.refusal(), Refusal::Evidence);
    assert!(error.message().contains("there is no such device"), "{}", error.message());
    assert!(got.lock().unwrap().iter().all(|one| one.method == "GET"));
}

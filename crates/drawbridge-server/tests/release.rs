// SPDX-License-Identifier: Apache-2.0

//! Workloads of attested repositories: to whom they are released, and to whom not.

mod common;

use common::{Authority, Caller, Package, World, claims, problem};
use serde_json::{Value, json};

const HOUR: u64 = 3600;

fn policy(steward: &Authority) -> Value {
    json!({
        "release": {
            "steward": "https://steward.test/",
            "roots": steward.root_pem(),
            "measurements": ["aa".repeat(48)],
        }
    })
}

async fn published(steward: &Authority, policy: &Value) -> (World, Package, Package) {
    let world = World::new().await;
    let alice = world.user("a");
    alice.register("a", "alice/shop", policy).await;
    let (one, two) = (Package::new(b"one"), Package::new(b"two"));
    alice.publish("alice/shop", "1.0.0", &one).await;
    alice.publish("alice/shop", "2.0.0", &two).await;
    let _ = steward;
    (world, one, two)
}

/// What a caller gets of a module.
async fn fetched(caller: &Caller, tag: &str) -> Result<Vec<u8>, (u16, String)> {
    let answer = caller.get(&format!("/alice/shop/_tag/{tag}/tree/main.wasm")).await;
    if answer.status == 200 { Ok(answer.body) } else { Err(answer.problem()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_gets_its_own_workload_and_no_other() {
    let steward = Authority::new();
    let (world, one, two) = published(&steward, &policy(&steward)).await;
    let keep = world.keep(&steward.keep(&claims(&one.workload()), 60, HOUR));
    assert_eq!(fetched(&keep, "1.0.0").await.unwrap(), b"one");
    assert_eq!(keep.get("/alice/shop/_tag/1.0.0").await.status, 200);
    assert_eq!(keep.get("/alice/shop/_tag/1.0.0/tree").await.body, one.directory());
    assert_eq!(keep.get("/alice/shop/_tag/1.0.0/tree/Enarx.toml").await.status, 200);
    assert_eq!(keep.get("/alice/shop/_tag/1.0.0/tree/other").await.status, 404);
    // The same repository, the same Keep, another tag.
    assert_eq!(fetched(&keep, "2.0.0").await.unwrap_err(), problem(403, "party.workload"));
    assert_eq!(keep.get("/alice/shop/_tag/2.0.0").await.code(), "party.workload");
    assert_eq!(keep.get("/alice/shop/_tag/2.0.0/tree").await.code(), "party.workload");
    let other = world.keep(&steward.keep(&claims(&two.workload()), 60, HOUR));
    assert_eq!(fetched(&other, "2.0.0").await.unwrap(), b"two");
    // A certificate opens nothing else.
    for path in ["/alice/shop/_tag", "/alice/shop", "/alice"] {
        assert_eq!(keep.get(path).await.problem(), problem(401, "token.missing"), "{path}");
    }
    let put = keep.put_tag("/alice/shop/_tag/3.0.0", &one.root()).await;
    assert_eq!(put.problem(), problem(401, "token.missing"));
    assert_eq!(keep.delete("/alice/shop/_tag/1.0.0").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_are_known_to_anybody_and_content_to_nobody() {
    let steward = Authority::new();
    let (world, _, two) = published(&steward, &policy(&steward)).await;
    let anybody = world.anybody();
    let terms = anybody.get("/alice/shop/_resolve/latest").await.json();
    assert_eq!(terms["tag"], "2.0.0");
    assert_eq!(terms["access"], "attested");
    assert_eq!(terms["steward"], "https://steward.test/");
    let terms: drawbridge_types::Terms = serde_json::from_value(terms).unwrap();
    assert_eq!(terms.meta.digest.workload().unwrap(), two.workload());
    let missing = problem(401, "release.certificate-missing");
    assert_eq!(fetched(&anybody, "1.0.0").await.unwrap_err(), missing);
    assert_eq!(fetched(&world.user("b"), "1.0.0").await.unwrap_err().0, 404);
    assert_eq!(fetched(&world.user("a"), "1.0.0").await.unwrap(), b"one");
    assert_eq!(fetched(&anybody, "9.0.0").await.unwrap_err(), problem(404, "access.not-found"));
    // It is not among what strangers find, either.
    assert_eq!(anybody.get("/_search?q=shop").await.json()["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_do_not_suffice() {
    let steward = Authority::new();
    let (world, one, _) = published(&steward, &policy(&steward)).await;
    let right = claims(&one.workload());
    let mut measurement = right.clone();
    measurement.measurement = vec![0xbb; 48];
    let mut development = right.clone();
    development.platform = "development".to_owned();
    let mut none = right.clone();
    none.workload = None;
    let foreign = Authority::new();
    for (what, identity, code) in [
        ("measurement", steward.keep(&measurement, 60, HOUR), "party.measurement"),
        ("development", steward.keep(&development, 60, HOUR), "party.development"),
        ("no workload", steward.keep(&none, 60, HOUR), "party.workload"),
        ("expired", steward.keep(&right, HOUR, 60), "party.time"),
        ("foreign authority", foreign.keep(&right, 60, HOUR), "party.untrusted-root"),
    ] {
        let found = fetched(&world.keep(&identity), "1.0.0").await;
        assert_eq!(found.unwrap_err(), problem(403, code), "{what}");
    }
    // A certificate of that authority which is no Keep's.
    let tls = steward.server();
    let identity = String::from_utf8([tls.certificates, tls.key].concat()).unwrap();
    let found = fetched(&world.keep(&identity), "1.0.0").await;
    assert_eq!(found.unwrap_err(), problem(403, "party.profile"));
    let metrics = world.anybody().get("!/metrics").await.text();
    let line = r#"drawbridge_releases_total{outcome="refused",code="party.measurement"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_demand_counts() {
    let steward = Authority::new();
    let mut demanding = policy(&steward);
    let release = &mut demanding["release"];
    release["platforms"] = json!(["development", "sgx"]);
    release["signers"] = json!(["51".repeat(32)]);
    release["tcb_statuses"] = json!(["UpToDate"]);
    release["max_age"] = json!(300);
    release["allow_development"] = json!(true);
    let (world, one, _) = published(&steward, &demanding).await;
    let mut good = claims(&one.workload());
    good.platform = "sgx".to_owned();
    good.signer = Some(vec![0x51; 32]);
    good.tcb_status = Some("UpToDate".to_owned());
    let change = |change: &dyn Fn(&mut steward_claims::CertificateClaims)| {
        let mut other = good.clone();
        change(&mut other);
        other
    };
    let found = fetched(&world.keep(&steward.keep(&good, 60, HOUR)), "1.0.0").await;
    assert_eq!(found.unwrap(), b"one");
    let development = change(&|claims| {
        claims.platform = "development".to_owned();
        claims.tcb_status = None;
    });
    let found = fetched(&world.keep(&steward.keep(&development, 60, HOUR)), "1.0.0").await;
    assert_eq!(found.unwrap(), b"one");
    for (other, code) in [
        (change(&|claims| claims.platform = "tdx".to_owned()), "party.platform"),
        (change(&|claims| claims.signer = Some(vec![0x52; 32])), "party.signer"),
        (change(&|claims| claims.signer = None), "party.signer"),
        (change(&|claims| claims.tcb_status = Some("OutOfDate".to_owned())), "party.tcb-status"),
        (change(&|claims| claims.verified_at = common::now().minus(600)), "party.age"),
    ] {
        let found = fetched(&world.keep(&steward.keep(&other, 60, HOUR)), "1.0.0").await;
        assert_eq!(found.unwrap_err(), problem(403, code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_repository_has_a_steward_of_its_own() {
    let (steward, other) = (Authority::new(), Authority::new());
    let (world, one, _) = published(&steward, &policy(&steward)).await;
    let bob = world.user("b");
    bob.register("b", "bob/shop", &policy(&other)).await;
    bob.publish("bob/shop", "1.0.0", &one).await;
    bob.register("b", "bob/own", &json!({})).await;
    bob.publish("bob/own", "1.0.0", &one).await;
    let keep = world.keep(&other.keep(&claims(&one.workload()), 60, HOUR));
    let found = fetched(&keep, "1.0.0").await;
    assert_eq!(found.unwrap_err(), problem(403, "party.untrusted-root"));
    assert_eq!(keep.get("/bob/shop/_tag/1.0.0/tree/main.wasm").await.body, b"one");
    let answer = keep.get("/bob/own/_tag/1.0.0/tree/main.wasm").await;
    assert_eq!(answer.problem(), problem(401, "token.missing"));
    // A policy that the owner changes counts from the next request on, on a connection that is open too.
    let found = bob.get("/bob/shop").await;
    let request = bob.request(reqwest::Method::PUT, "/bob/shop");
    let request = request.header("if-match", found.header("etag"));
    let changed = request.body(policy(&steward).to_string()).send().await.unwrap();
    assert_eq!(changed.status(), 204);
    let answer = keep.get("/bob/shop/_tag/1.0.0/tree/main.wasm").await;
    assert_eq!(answer.problem(), problem(403, "party.untrusted-root"));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_cannot_be_carried_out_are_refused() {
    let steward = Authority::new();
    let world = World::new().await;
    let alice = world.user("a");
    alice.put_json("/alice", &json!({"subject": "a"})).await;
    let good = policy(&steward);
    let with = |name: &str, value: Value| {
        let mut other = good.clone();
        other["release"][name] = value;
        other
    };
    for other in [
        with("steward", json!("http://steward.test/")),
        with("roots", json!("")),
        with("roots", json!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        with("platforms", json!(["sev"])),
        with("measurements", json!(["aa"])),
        with("measurements", json!(["zz".repeat(32)])),
        with("unknown", json!(1)),
        json!({"public": true, "release": good["release"]}),
        json!({"signers": ["no key"]}),
        json!({"pubic": true}),
        json!([]),
    ] {
        let answer = alice.put_json("/alice/shop", &other).await;
        assert_eq!(answer.status, 400, "{other}");
        assert_eq!(answer.problem(), problem(400, "repository.invalid"), "{other}");
    }
    assert_eq!(alice.put_json("/alice/shop", &good).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_signed_where_the_owner_says_so() {
    use drawbridge_signatures::{KeyKind, SigningKey, sign_jws};
    use drawbridge_types::media;
    let world = World::new().await;
    let alice = world.user("a");
    let [key, stranger] = [(); 2].map(|()| SigningKey::generate(KeyKind::Ed25519).unwrap());
    let signers = json!([key.public_key().to_pem()]);
    alice.register("a", "alice/shop", &json!({"public": true, "signers": signers})).await;
    let package = Package::new(b"signed");
    let tag = "/alice/shop/_tag/1.0.0";
    let unsigned = alice.put_tag(tag, &package.root()).await;
    assert_eq!(unsigned.problem(), problem(403, "signature.required"));
    let jws = sign_jws(&package.root(), &stranger).unwrap();
    let answer = alice.put(tag, media::JWS, &jws).await;
    assert_eq!(answer.problem(), problem(400, "signature.invalid"));
    let answer = alice.put(tag, media::JWS, b"{}").await;
    assert_eq!(answer.problem(), problem(400, "tag.invalid"));
    let jws = sign_jws(&package.root(), &key).unwrap();
    assert_eq!(alice.put(tag, media::JWS, &jws).await.status, 201);
    let tree = format!("{tag}/tree");
    alice.put(&tree, media::DIRECTORY, &package.directory()).await;
    for (name, kind, content) in &package.0 {
        assert_eq!(alice.put(&format!("{tree}/{name}"), kind, content).await.status, 201);
    }
    let found = world.anybody().get(tag).await;
    assert_eq!((found.header("content-type"), &found.body), (media::JWS, &jws));
    assert_eq!(world.anybody().get("/alice/shop/_resolve/latest").await.status, 200);
    let page = world.anybody().get("/alice/shop/_tag?limit=1").await.json();
    assert_eq!(page["items"][0]["signed"], true);
    // When the owner names another signer, it counts no more.
    let request = alice.request(reqwest::Method::PUT, "/alice/shop").header("if-match", "\"0\"");
    let other = json!({"public": true, "signers": [stranger.public_key().to_pem()]});
    assert_eq!(request.body(other.to_string()).send().await.unwrap().status(), 204);
    let answer = world.anybody().get("/alice/shop/_resolve/latest").await;
    assert_eq!(answer.problem(), problem(403, "signature.required"));
}

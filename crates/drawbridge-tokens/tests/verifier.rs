// SPDX-License-Identifier: Apache-2.0

//! A verifier and an issuer that talk to each other over a socket: every algorithm, every refusal, keys
//! that change, an issuer that is down, lies or talks without end.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use drawbridge_tokens::{Algorithm, Claims, DiscoveryError, Options, TokenError, Verifier};
use oidc_issuer::{Algorithm as Kind, Config, Handle, Issuer};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const AUDIENCE: &str = "https://store.example/";

const KINDS: [Kind; 5] = [Kind::Rs256, Kind::Ps256, Kind::Es256, Kind::Es384, Kind::EdDsa];

/// Fetches as often as it is asked to.
fn eager() -> Options {
    Options { min_refetch: Duration::ZERO, ..Options::default() }
}

async fn issuer(algorithms: &[Kind]) -> Handle {
    Issuer::start(Config { algorithms: algorithms.to_vec(), ..Config::default() }).await.unwrap()
}

async fn verifier(issuer: &Handle, options: Options) -> Verifier {
    Verifier::new(issuer.url(), AUDIENCE, options).await.unwrap()
}

async fn code(verifier: &Verifier, token: &str) -> &'static str {
    match verifier.verify(token).await {
        Ok(claims) => panic!("{claims:?}"),
        Err(error) => error.code(),
    }
}

/// A token with one claim set to something else, or removed.
fn with_claim(issuer: &Handle, name: &str, value: Value) -> String {
    let mut claims = issuer.claims("alice", AUDIENCE, &["a"]);
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims.as_object_mut().unwrap().insert(name.into(), value),
    };
    issuer.mint_with(None, json!({}), claims)
}

#[tokio::test]
async fn every_algorithm_is_taken() {
    let issuer = issuer(&KINDS).await;
    let verifier = verifier(&issuer, Options::default()).await;
    for kind in KINDS {
        let claims = issuer.claims("alice", AUDIENCE, &["openid", "manage:drawbridge_tags"]);
        let token = issuer.mint_with(Some(kind), json!({}), claims);
        let Claims { subject, scopes, .. } = verifier.verify(&token).await.unwrap();
        assert_eq!(subject, "alice");
        assert!(scopes.contains("manage:drawbridge_tags"), "{kind:?}");
    }
    assert_eq!(issuer.jwks_requests(), 1);
}

#[tokio::test]
async fn only_chosen_algorithms_are_taken() {
    let issuer = issuer(&[Kind::Es256, Kind::Rs256]).await;
    let options = Options { algorithms: vec![Algorithm::Es256], ..Options::default() };
    let verifier = verifier(&issuer, options).await;
    verifier.verify(&issuer.mint("alice", AUDIENCE, &[])).await.unwrap();
    let claims = issuer.claims("alice", AUDIENCE, &[]);
    let token = issuer.mint_with(Some(Kind::Rs256), json!({}), claims);
    assert_eq!(code(&verifier, &token).await, "algorithm-not-allowed");
}

#[tokio::test]
async fn claims_have_to_be_right() {
    let issuer = issuer(&[Kind::Es256]).await;
    let verifier = verifier(&issuer, Options::default()).await;
    let now = issuer.claims("a", AUDIENCE, &[])["iat"].as_u64().unwrap();
    for (name, value, expected) in [
        ("iss", json!("https://other.example/"), "wrong-issuer"),
        ("iss", json!(format!("{}/", issuer.url())), "wrong-issuer"),
        ("iss", Value::Null, "missing-claim"),
        ("aud", json!("https://other.example/"), "wrong-audience"),
        ("aud", Value::Null, "missing-claim"),
        ("exp", json!(now - 3600), "expired"),
        ("exp", Value::Null, "missing-claim"),
        ("exp", json!("tomorrow"), "malformed-token"),
        ("exp", json!(1e300), "malformed-token"),
        ("nbf", json!(now + 3600), "not-yet-valid"),
        ("iat", json!(now + 3600), "not-yet-valid"),
        ("sub", Value::Null, "missing-claim"),
        ("sub", json!(""), "malformed-token"),
    ] {
        let token = with_claim(&issuer, name, value.clone());
        assert_eq!(code(&verifier, &token).await, expected, "{name} {value}");
    }
    let several = with_claim(&issuer, "aud", json!([AUDIENCE, "other"]));
    verifier.verify(&several).await.unwrap();
}

#[tokio::test]
async fn a_changed_token_is_refused() {
    let issuer = issuer(&[Kind::Es256]).await;
    let verifier = verifier(&issuer, Options::default()).await;
    let token = issuer.mint("alice", AUDIENCE, &["a"]);
    let other = issuer.mint("mallory", AUDIENCE, &["a"]);
    let parts: Vec<_> = token.split('.').collect();
    let others: Vec<_> = other.split('.').collect();
    for changed in [
        [parts[0], others[1], parts[2]].join("."),
        [parts[0], parts[1], others[2]].join("."),
        [parts[0], parts[1], ""].join("."),
    ] {
        assert_eq!(code(&verifier, &changed).await, "wrong-signature");
    }
}

#[tokio::test]
async fn the_token_does_not_choose_the_algorithm() {
    let issuer = issuer(&[Kind::Rs256, Kind::Es256]).await;
    let verifier = verifier(&issuer, eager()).await;
    let claims = || issuer.claims("alice", AUDIENCE, &["a"]);
    for alg in ["none", "HS256", "HS384", "HS512"] {
        let token = issuer.mint_with(None, json!({ "alg": alg }), claims());
        assert_eq!(code(&verifier, &token).await, "algorithm-not-allowed", "{alg}");
    }
    // Signed by the right key, under the name of an algorithm that is not the key's.
    for alg in ["ES256", "PS256", "EdDSA", "ES384"] {
        let token = issuer.mint_with(Some(Kind::Rs256), json!({ "alg": alg }), claims());
        assert_eq!(code(&verifier, &token).await, "unknown-key", "{alg}");
    }
    // A key that the token brings along.
    let header = json!({ "jwk": issuer.jwks()["keys"][0], "kid": "mine" });
    let token = issuer.mint_with(None, header, claims());
    assert_eq!(code(&verifier, &token).await, "unknown-key");
}

#[tokio::test]
async fn the_public_key_is_no_shared_secret() {
    // The classic confusion of RS256 and HS256: the modulus, which everybody knows, as the secret.
    let issuer = issuer(&[Kind::Rs256]).await;
    let verifier = verifier(&issuer, Options::default()).await;
    let jwk = issuer.jwks()["keys"][0].clone();
    let claims = issuer.claims("mallory", AUDIENCE, &["a"]);
    let header = jsonwebtoken::Header {
        kid: jwk["kid"].as_str().map(str::to_owned),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256)
    };
    for secret in [jwk["n"].as_str().unwrap().as_bytes().to_vec(), jwk.to_string().into_bytes()] {
        let key = jsonwebtoken::EncodingKey::from_secret(&secret);
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        assert_eq!(code(&verifier, &token).await, "algorithm-not-allowed");
    }
}

#[tokio::test]
async fn tokens_of_another_issuer_are_refused() {
    let (ours, theirs) = (issuer(&[Kind::Es256]).await, issuer(&[Kind::Es256]).await);
    let verifier = verifier(&ours, eager()).await;
    assert_eq!(code(&verifier, &theirs.mint("alice", AUDIENCE, &[])).await, "unknown-key");
    // With the name of our issuer and the name of its key.
    let header = json!({ "kid": ours.jwks()["keys"][0]["kid"] });
    let claims = ours.claims("alice", AUDIENCE, &[]);
    let token = theirs.mint_with(None, header, claims);
    assert_eq!(code(&verifier, &token).await, "wrong-signature");
}

#[tokio::test]
async fn a_token_without_the_name_of_a_key_needs_a_clear_choice() {
    let issuer = issuer(&[Kind::Es256, Kind::EdDsa]).await;
    let verifier = verifier(&issuer, eager()).await;
    let claims = || issuer.claims("alice", AUDIENCE, &[]);
    let nameless = || issuer.mint_with(None, json!({ "kid": null }), claims());
    verifier.verify(&nameless()).await.unwrap();
    issuer.rotate(true).unwrap();
    // The new key is fetched by a token that names it; then there are two for the algorithm.
    verifier.verify(&issuer.mint("alice", AUDIENCE, &[])).await.unwrap();
    assert_eq!(code(&verifier, &nameless()).await, "unknown-key");
}

#[tokio::test]
async fn keys_rotate() {
    let issuer = issuer(&[Kind::Es256]).await;
    let verifier = verifier(&issuer, eager()).await;
    let old = issuer.mint("alice", AUDIENCE, &[]);
    issuer.rotate(true).unwrap();
    verifier.verify(&issuer.mint("alice", AUDIENCE, &[])).await.unwrap();
    verifier.verify(&old).await.unwrap();
    issuer.rotate(false).unwrap();
    verifier.verify(&issuer.mint("alice", AUDIENCE, &[])).await.unwrap();
    // A key that the issuer has withdrawn does not count.
    assert_eq!(code(&verifier, &old).await, "unknown-key");
}

#[tokio::test]
async fn withdrawn_keys_are_noticed_without_new_ones() {
    let issuer = issuer(&[Kind::Es256]).await;
    let options = Options { refresh: Duration::ZERO, ..eager() };
    let verifier = verifier(&issuer, options).await;
    let old = issuer.mint("alice", AUDIENCE, &[]);
    issuer.rotate(false).unwrap();
    // The refresh happens behind the back of requests, so some of them may still pass.
    for _ in 0..500 {
        if verifier.verify(&old).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the withdrawn key counts for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn unknown_keys_do_not_flood_the_issuer() {
    let issuer = issuer(&[Kind::Es256]).await;
    let options = Options { min_refetch: Duration::from_secs(3600), ..Options::default() };
    let verifier = verifier(&issuer, options).await;
    let claims = issuer.claims("alice", AUDIENCE, &[]);
    let token = issuer.mint_with(None, json!({ "kid": "unknown" }), claims);
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let (verifier, token) = (verifier.clone(), token.clone());
        tasks.push(tokio::spawn(async move { verifier.verify(&token).await }));
    }
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert!(matches!(error, TokenError::UnknownKey { .. }), "{error}");
    }
    assert_eq!(issuer.jwks_requests(), 1);
    // Those that are known go on to count.
    verifier.verify(&issuer.mint("alice", AUDIENCE, &[])).await.unwrap();
}

#[tokio::test]
async fn known_keys_survive_the_issuer() {
    let issuer = issuer(&[Kind::Es256]).await;
    let options = Options { refresh: Duration::ZERO, ..eager() };
    let verifier = verifier(&issuer, options).await;
    let token = issuer.mint("alice", AUDIENCE, &[]);
    issuer.shutdown().await;
    for _ in 0..3 {
        verifier.verify(&token).await.unwrap();
    }
}

#[tokio::test]
async fn keys_that_are_too_old_do_not_count() {
    let issuer = issuer(&[Kind::Es256]).await;
    let options = Options { max_stale: Duration::ZERO, ..eager() };
    let verifier = verifier(&issuer, options).await;
    let token = issuer.mint("alice", AUDIENCE, &[]);
    issuer.shutdown().await;
    assert_eq!(verifier.verify(&token).await, Err(TokenError::KeysUnavailable));
}

#[tokio::test]
async fn an_issuer_may_come_up_later() {
    let first = issuer(&[Kind::Es256]).await;
    let (url, bind) = (first.url().to_owned(), first.address());
    let token = first.mint("alice", AUDIENCE, &[]);
    first.shutdown().await;
    let verifier = Verifier::new(&url, AUDIENCE, eager()).await.unwrap();
    assert!(!verifier.is_ready());
    let error = verifier.verify(&token).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let second = Issuer::start(Config { bind, ..Config::default() }).await.unwrap();
    verifier.verify(&second.mint("alice", AUDIENCE, &[])).await.unwrap();
    assert!(verifier.is_ready());
    // The keys of the first died with it.
    assert_eq!(code(&verifier, &token).await, "unknown-key");
}

/// Answers requests one after the other with what `answer` makes of their path.
async fn serve(answer: impl Fn(&str, &str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let own = url.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let _ = stream.write_all(&answer(&own, &path)).await;
        }
    });
    url
}

fn ok(body: &str) -> Vec<u8> {
    let size = body.len();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n{body}").into()
}

fn discovery(own: &str) -> String {
    json!({ "issuer": own, "jwks_uri": format!("{own}/keys") }).to_string()
}

#[tokio::test]
async fn an_issuer_with_another_name_is_a_wrong_configuration() {
    let url =
        serve(|_, _| ok(r#"{"issuer":"https://other.example/","jwks_uri":"https://x/"}"#)).await;
    let error = Verifier::new(&url, AUDIENCE, eager()).await.unwrap_err();
    assert!(matches!(error, DiscoveryError::OtherIssuer { .. }), "{error}");
}

#[tokio::test]
async fn endless_and_empty_sets_of_keys_are_no_keys() {
    for keys in [
        format!(r#"{{"keys":[{}]}}"#, vec![r#"{"kty":"RSA"}"#; 100_000].join(",")),
        r#"{"keys":[]}"#.to_owned(),
        r#"{"keys":{}}"#.to_owned(),
        "[".repeat(100_000),
        "<html>".to_owned(),
    ] {
        let url = serve(move |own, path| match path {
            "/keys" => ok(&keys),
            _ => ok(&discovery(own)),
        })
        .await;
        let verifier = Verifier::new(&url, AUDIENCE, eager()).await.unwrap();
        assert!(!verifier.is_ready());
    }
}

#[tokio::test]
async fn an_issuer_that_sends_elsewhere_is_not_followed() {
    let target = issuer(&[Kind::Es256]).await;
    let location = format!("{}/.well-known/jwks.json", target.url());
    let url = serve(move |own, path| match path {
        "/keys" => format!(
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .into(),
        _ => ok(&discovery(own)),
    })
    .await;
    let verifier = Verifier::new(&url, AUDIENCE, eager()).await.unwrap();
    assert!(!verifier.is_ready());
    assert_eq!(target.jwks_requests(), 0);
}

#[tokio::test]
async fn what_is_no_issuer_is_refused_at_once() {
    for bad in ["http://auth.example.com/", "https://a:b@auth.example.com", "mailto:x"] {
        let error = Verifier::new(bad, AUDIENCE, eager()).await.unwrap_err();
        assert!(matches!(error, DiscoveryError::Url { .. }), "{bad}: {error}");
    }
}

/// A certificate for `localhost` that vouches for itself, and its key, both DER.
fn certificate() -> Option<(Vec<u8>, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = |end: &str| folder.join(format!("tokens-{}.{end}", std::process::id()));
    let (certificate, key) = (name("pem"), name("key"));
    let made = std::process::Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(' '))
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("skipped: openssl cannot make a certificate");
        return None;
    }
    let der = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let _ = std::fs::remove_file(path);
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        Base64::decode_vec(&lines.collect::<String>()).unwrap()
    };
    Some((der(&certificate), der(&key)))
}

#[tokio::test]
async fn an_issuer_proves_itself_by_a_certificate() {
    let Some((certificate, key)) = certificate() else { return };
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone().into()], PrivatePkcs8KeyDer::from(key).into())
        .unwrap();
    let tls = oidc_issuer::Tls { config: tls.into(), host: "localhost".into() };
    let issuer = Issuer::start(Config { tls: Some(tls), ..Config::default() }).await.unwrap();
    assert!(issuer.url().starts_with("https://localhost:"));
    let token = issuer.mint("alice", AUDIENCE, &[]);

    let options = Options { roots: vec![certificate], ..eager() };
    let verifier = verifier(&issuer, options).await;
    // A connection that says nothing holds up nobody.
    let _silent = tokio::net::TcpStream::connect(issuer.address()).await.unwrap();
    assert_eq!(verifier.verify(&token).await.unwrap().subject, "alice");

    let verifier = Verifier::new(issuer.url(), AUDIENCE, eager()).await;
    // Where a system has no certificates at all, this is an error of its own.
    if let Ok(verifier) = verifier {
        assert_eq!(verifier.verify(&token).await, Err(TokenError::KeysUnavailable));
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Logins at an issuer that is not ours: npm's `oidc-provider`, at whose pages a person in a real browser
//! logs in and approves.
//!
//! Node.js, npm and Chromium have to be there (`cargo xtask servers` installs them), else these tests say
//! so and do nothing. The packages are those of `provider/package-lock.json`.

#[path = "provider/mod.rs"]
mod other;

use std::path::Path;
use std::time::Duration;

use drawbridge_tokens::{Claims, Options as Rules, Verifier};
use oidc_login::{Credential, DeviceFlow, Login, LoginError, Options, Secret};
use other::{Provider, chromium, scripts};

/// The algorithms that this issuer has keys for and can sign access tokens with.
const ALGORITHMS: [&str; 5] = ["rs256", "ps256", "es256", "es384", "eddsa"];

/// Login and verifier of a service whose tokens are signed with that algorithm.
async fn sides(
    provider: &Provider,
    algorithm: &str,
    client: &str,
    secret: Option<&str>,
) -> (Login, Verifier) {
    let options = Options::for_store(&provider.issuer, client, &format!("{algorithm}.example"));
    let verifier = Verifier::new(&provider.issuer, &options.audience, eager()).await.unwrap();
    let options = Options { client_secret: secret.map(Secret::new), ..options };
    (Login::new(options).await.unwrap(), verifier)
}

fn eager() -> Rules {
    Rules { min_refetch: Duration::ZERO, ..Rules::default() }
}

async fn verify(verifier: &Verifier, credential: &Credential) -> Result<Claims, &'static str> {
    verifier.verify(credential.access.expose()).await.map_err(|error| error.code())
}

async fn browse(folder: &Path, chromium: &Path, flow: &DeviceFlow<'_>, decision: &str) -> String {
    let url = flow.verification_uri_complete().unwrap();
    other::browse(folder, chromium, url.as_str(), flow.user_code(), decision).await
}

#[tokio::test]
async fn a_person_in_a_browser_logs_a_device_in() {
    let (Some(folder), Some(chromium)) = (scripts().await, chromium()) else { return };
    let provider = Provider::start(folder).await;
    let provider = &provider;
    let log_in = async |algorithm: &str| {
        let (login, verifier) = sides(provider, algorithm, "enarx", None).await;
        let flow = login.device().await.unwrap();
        let pages = browse(folder, &chromium, &flow, "approve").await;
        assert!(pages.contains("Sign-in\n"), "nobody had to log in: {pages}");
        let credential = flow.wait().await.unwrap();
        let claims = verify(&verifier, &credential).await.unwrap();
        assert_eq!(claims.subject, "alice");
        assert!(claims.has_scope("manage:drawbridge_repositories"), "{claims:?}");
        assert_eq!(credential.subject().as_deref(), Some("alice"));
        (login, verifier, credential)
    };
    // One person after the other: a browser wants a processor for itself.
    let (login, verifier, credential) = log_in("rs256").await;
    log_in("es256").await;
    log_in("eddsa").await;

    // The login outlives its first token, until it is taken back.
    let refreshed = login.refresh(credential.refresh.as_ref().unwrap()).await.unwrap();
    assert_eq!(verify(&verifier, &refreshed).await.unwrap().subject, "alice");
    let refresh = refreshed.refresh.as_ref().unwrap();
    assert!(login.revoke(refresh).await.unwrap());
    assert!(login.refresh(refresh).await.unwrap_err().is_invalid_grant());
}

#[tokio::test]
async fn a_person_in_a_browser_refuses() {
    let (Some(folder), Some(chromium)) = (scripts().await, chromium()) else { return };
    let provider = Provider::start(folder).await;
    let (login, _) = sides(&provider, "rs256", "enarx", None).await;
    let flow = login.device().await.unwrap();
    browse(folder, &chromium, &flow, "abort").await;
    assert!(matches!(flow.wait().await, Err(LoginError::Denied)));
}

#[tokio::test]
async fn a_machine_logs_in_with_every_algorithm() {
    let Some(folder) = scripts().await else { return };
    let provider = Provider::start(folder).await;
    for algorithm in ALGORITHMS {
        let (login, verifier) =
            sides(&provider, algorithm, "ci", Some("a secret with : and %")).await;
        let credential = login.client_credentials().await.unwrap();
        let claims = verify(&verifier, &credential).await;
        let claims = claims.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(claims.subject, "ci");
        assert!(claims.has_scope("manage:drawbridge_tags"));
        // A token for one service is none for another.
        let other = Verifier::new(&provider.issuer, "https://other.example/", eager()).await;
        assert_eq!(verify(&other.unwrap(), &credential).await, Err("wrong-audience"));
    }
    let (login, _) = sides(&provider, "rs256", "ci", Some("a guess")).await;
    let error = login.client_credentials().await.unwrap_err();
    assert!(matches!(&error, LoginError::Refused { code, .. } if code == "invalid_client"));
}

#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let Some(folder) = scripts().await else { return };
    let provider = Provider::start(folder).await;
    // Without the scopes and the audience of a Drawbridge, this issuer's tokens are opaque.
    let (_, verifier) = sides(&provider, "rs256", "ci", None).await;
    let options = Options {
        client_secret: Some(Secret::new("a secret with : and %")),
        audience: "no URI".into(),
        scopes: Vec::new(),
        ..Options::for_store(&provider.issuer, "ci", "x")
    };
    let credential = oidc_login::client_credentials(options).await.unwrap();
    assert_eq!(verify(&verifier, &credential).await, Err("malformed-token"));
    assert_eq!(credential.subject(), None);
}

#[tokio::test]
async fn keys_rotate_at_another_issuer() {
    let Some(folder) = scripts().await else { return };
    let mut provider = Provider::start(folder).await;
    for algorithm in ["rs256", "es256", "eddsa"] {
        let secret = Some("a secret with : and %");
        let (login, verifier) = sides(&provider, algorithm, "ci", secret).await;
        let first = login.client_credentials().await.unwrap();
        verify(&verifier, &first).await.unwrap();
        provider.command("rotate").await;
        let second = login.client_credentials().await.unwrap();
        verify(&verifier, &second).await.unwrap();
        verify(&verifier, &first).await.unwrap();
        provider.command("withdraw").await;
        let third = login.client_credentials().await.unwrap();
        verify(&verifier, &third).await.unwrap();
        assert_eq!(verify(&verifier, &second).await, Err("unknown-key"), "{algorithm}");
    }
}

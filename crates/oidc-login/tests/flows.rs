// SPDX-License-Identifier: Apache-2.0

//! Logins at an issuer over a socket: both flows, what a person may do in between, and what an issuer may
//! answer that it should not.

use std::time::Duration;

use drawbridge_tokens::Verifier;
use oidc_issuer::{Client, Config, Handle, Issuer, User};
use oidc_login::{Credential, Login, LoginError, Options, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const HOST: &str = "store.example";
const AUDIENCE: &str = "https://store.example/";

/// An issuer that lets devices ask as often as they like.
fn config() -> Config {
    Config {
        users: vec![User::new("alice", "correct horse")],
        clients: vec![Client::public("enarx"), Client::confidential("ci", "s&cret: =%")],
        interval: Duration::ZERO,
        ..Config::default()
    }
}

async fn start(config: Config) -> Handle {
    Issuer::start(config).await.unwrap()
}

async fn login(issuer: &Handle) -> Login {
    Login::new(Options::for_store(issuer.url(), "enarx", HOST)).await.unwrap()
}

fn machine(issuer: &Handle, secret: Option<&str>) -> Options {
    let client_secret = secret.map(Secret::new);
    Options { client_secret, ..Options::for_store(issuer.url(), "ci", HOST) }
}

async fn subject(issuer: &Handle, credential: &Credential) -> String {
    let verifier = Verifier::new(issuer.url(), AUDIENCE, Default::default()).await.unwrap();
    verifier.verify(credential.access.expose()).await.unwrap().subject
}

#[tokio::test]
async fn a_person_approves_a_device() {
    let issuer = start(config()).await;
    let login = login(&issuer).await;
    let flow = login.device().await.unwrap();
    let complete = flow.verification_uri_complete().unwrap().as_str();
    assert!(complete.starts_with(flow.verification_uri().as_str()));
    assert!(complete.ends_with(flow.user_code()));
    let code = flow.user_code().to_owned();
    let (credential, approved) =
        tokio::join!(flow.wait(), async { issuer.approve(&code, "alice") });
    assert!(approved);
    let credential = credential.unwrap();
    assert_eq!(subject(&issuer, &credential).await, "alice");
    assert!(credential.is_fresh(Duration::from_secs(600)));
}

#[tokio::test]
async fn the_published_scopes_are_in_the_token() {
    let issuer = start(Config { auto_approve: Some("alice".into()), ..config() }).await;
    let login = login(&issuer).await;
    let credential = login.device().await.unwrap().wait().await.unwrap();
    let verifier = Verifier::new(issuer.url(), AUDIENCE, Default::default()).await.unwrap();
    let claims = verifier.verify(credential.access.expose()).await.unwrap();
    for scope in oidc_login::SCOPES {
        assert!(claims.has_scope(scope), "{scope}");
    }
}

#[tokio::test]
async fn the_published_paths_are_known() {
    // Discovery is there, but says nothing about devices.
    let config = Config { advertise_device: false, auto_approve: Some("alice".into()), ..config() };
    let issuer = start(config).await;
    let login = login(&issuer).await;
    login.device().await.unwrap().wait().await.unwrap();
}

#[tokio::test]
async fn a_person_can_refuse() {
    let issuer = start(config()).await;
    let login = login(&issuer).await;
    let flow = login.device().await.unwrap();
    assert!(issuer.deny(flow.user_code()));
    assert!(matches!(flow.wait().await, Err(LoginError::Denied)));
}

#[tokio::test]
async fn nobody_is_waited_for_for_ever() {
    let config = Config { device_lifetime: Duration::from_secs(1), ..config() };
    let issuer = start(config).await;
    let login = login(&issuer).await;
    let flow = login.device().await.unwrap();
    assert!(matches!(flow.wait().await, Err(LoginError::Expired)));
}

#[tokio::test]
async fn the_page_wants_the_right_password() {
    let issuer = start(config()).await;
    let login = login(&issuer).await;
    let flow = login.device().await.unwrap();
    let code = flow.user_code().to_owned();
    let page = format!("{}/activate", issuer.url());
    for (password, expected) in [("wrong", "400"), ("correct+horse", "200")] {
        let form = format!("user_code={code}&user=alice&password={password}&decision=approve");
        let status = post(&page, &form, "").await;
        assert!(status.starts_with(&format!("HTTP/1.1 {expected}")), "{status}");
    }
    assert_eq!(subject(&issuer, &flow.wait().await.unwrap()).await, "alice");
}

#[tokio::test]
async fn a_page_from_elsewhere_does_not_reach_the_issuer() {
    let issuer = start(config()).await;
    let page = format!("{}/activate", issuer.url());
    let status = post(&page, "", "evil.example").await;
    assert!(status.starts_with("HTTP/1.1 421"), "{status}");
}

/// Sends a form as plainly as can be, and returns the answer.
async fn post(url: &str, form: &str, host: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let host = if host.is_empty() { authority } else { host };
    let size = form.len();
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {size}\r\n\r\n{form}"
    );
    let mut stream = tokio::net::TcpStream::connect(authority).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_machine_logs_in_with_its_secret() {
    let issuer = start(config()).await;
    let options = machine(&issuer, Some("s&cret: =%"));
    let credential = oidc_login::client_credentials(options).await.unwrap();
    assert_eq!(subject(&issuer, &credential).await, "ci");
    assert!(credential.refresh.is_none());
    let error = oidc_login::client_credentials(machine(&issuer, None)).await.unwrap_err();
    assert!(matches!(error, LoginError::NoSecret));
    let error = oidc_login::client_credentials(machine(&issuer, Some("guess"))).await.unwrap_err();
    assert!(matches!(&error, LoginError::Refused { code, .. } if code == "invalid_client"));
    assert!(!format!("{error:?} {error}").contains("guess"));
}

#[tokio::test]
async fn a_login_is_refreshed() {
    let issuer = start(Config { auto_approve: Some("alice".into()), ..config() }).await;
    let login = login(&issuer).await;
    let first = login.device().await.unwrap().wait().await.unwrap();
    let refresh = first.refresh.as_ref().unwrap();
    let second = login.refresh(refresh).await.unwrap();
    assert_ne!(second.access, first.access);
    assert_eq!(subject(&issuer, &second).await, "alice");
    // This issuer's refresh tokens count once.
    let error = login.refresh(refresh).await.unwrap_err();
    assert!(error.is_invalid_grant(), "{error}");
    login.refresh(second.refresh.as_ref().unwrap()).await.unwrap();
}

#[tokio::test]
async fn without_offline_access_there_is_nothing_to_refresh() {
    let config = Config { refresh_tokens: false, auto_approve: Some("alice".into()), ..config() };
    let issuer = start(config).await;
    let login = login(&issuer).await;
    assert!(login.device().await.unwrap().wait().await.unwrap().refresh.is_none());
}

#[tokio::test]
async fn unknown_clients_and_audiences_are_refused() {
    let issuer = start(Config { audiences: vec![AUDIENCE.into()], ..config() }).await;
    for (client, host, expected) in
        [("other", HOST, "invalid_client"), ("enarx", "other.example", "invalid_target")]
    {
        let options = Options::for_store(issuer.url(), client, host);
        let error = Login::new(options).await.unwrap().device().await.unwrap_err();
        assert!(matches!(&error, LoginError::Refused { code, .. } if code == expected), "{error}");
    }
}

/// An issuer of which each answer is written down here: by path, in order.
async fn script(answers: Vec<(&'static str, u16, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let own = url.clone();
    tokio::spawn(async move {
        for (path, status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap();
            let line = String::from_utf8_lossy(&request[..read]).into_owned();
            assert_eq!(line.split(' ').nth(1), Some(path));
            let body = body.replace("OWN", &own);
            let size = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

const DISCOVERY: &str = "/.well-known/openid-configuration";
const DEVICE: &str = "/oauth/device/code";
const TOKEN: &str = "/oauth/token";

fn device_answer(code: &str, page: &str) -> String {
    format!(
        r#"{{"device_code":"d","user_code":"{code}","verification_uri":"{page}","expires_in":60,"interval":0}}"#
    )
}

#[tokio::test]
async fn an_issuer_without_discovery_is_asked_at_the_published_paths() {
    let url = script(vec![
        (DISCOVERY, 404, String::new()),
        (DEVICE, 200, device_answer("ABCD", "OWN/device")),
        (TOKEN, 400, r#"{"error":"authorization_pending"}"#.into()),
        (TOKEN, 503, "busy".into()),
        (TOKEN, 200, r#"{"access_token":"opaque","token_type":"bearer"}"#.into()),
    ])
    .await;
    let login = Login::new(Options::for_store(&url, "enarx", HOST)).await.unwrap();
    let credential = login.device().await.unwrap().wait().await.unwrap();
    assert_eq!(credential.access.expose(), "opaque");
}

#[tokio::test]
async fn a_lying_issuer_cannot_write_on_the_terminal() {
    for (code, page) in [
        ("\\u001b[2J", "OWN/device"),
        ("", "OWN/device"),
        ("ABCD", "http://evil.example/"),
        ("ABCD", "javascript:alert(1)"),
        ("ABCD", "file:///etc/passwd"),
    ] {
        let url =
            script(vec![(DISCOVERY, 404, String::new()), (DEVICE, 200, device_answer(code, page))])
                .await;
        let login = Login::new(Options::for_store(&url, "enarx", HOST)).await.unwrap();
        let error = login.device().await.unwrap_err();
        assert!(matches!(error, LoginError::Answer(_)), "{code} {page}: {error}");
    }
    let url = script(vec![
        (DISCOVERY, 404, String::new()),
        (DEVICE, 400, r#"{"error":"a\u001b[2J","error_description":"b\u001b]0;x\u0007c"}"#.into()),
    ])
    .await;
    let login = Login::new(Options::for_store(&url, "enarx", HOST)).await.unwrap();
    let error = login.device().await.unwrap_err().to_string();
    assert!(!error.contains(char::is_control), "{error:?}");
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    for answer in [
        r#"{"access_token":"","token_type":"bearer"}"#,
        r#"{"access_token":"a\r\nX-Header: b","token_type":"bearer"}"#,
        r#"{"access_token":"secret","token_type":"mac"}"#,
        r#"{"access_token":"secret""#,
        r#"{"token_type":"bearer"}"#,
    ] {
        let url = script(vec![(DISCOVERY, 404, String::new()), (TOKEN, 200, answer.into())]).await;
        let mut options = Options::for_store(&url, "enarx", HOST);
        options.client_secret = Some(Secret::new("x"));
        let error = oidc_login::client_credentials(options).await.unwrap_err();
        assert!(matches!(error, LoginError::Answer(_)), "{answer}: {error}");
        assert!(!format!("{error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn an_issuer_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Login::new(Options::for_store(&url, "enarx", HOST)).await.unwrap_err();
    assert!(matches!(error, LoginError::Discovery(ref error) if error.is_transient()), "{error}");
}

// SPDX-License-Identifier: Apache-2.0

//! The HTTP client against servers that behave and that do not, and our TLS with other programs'.

mod common;

use std::io::Write as _;
use std::process::Stdio;

use common::{Steward, claims, listen, peer};
use enarx_config::Listen;
use hyper::{Method, Request, StatusCode};
use keep_net::{Body, Net, NetError, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// Reads a request to the end of its head.
async fn head(stream: &mut Stream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Answers each request of one connection with one of these, then hangs up.
async fn server(
    net: &Net,
    answers: &'static [&'static str],
) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let settings = Listen { alpn: vec!["http/1.1".into()], ..listen() };
    let mut listener = net.listen(&settings).await.unwrap();
    let port = listener.local_addr().port();
    let task = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut heads = Vec::new();
        for answer in answers {
            heads.push(head(&mut stream).await);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        heads
    });
    (port, task)
}

fn get(path: &str) -> Request<Body> {
    Request::builder().method(Method::GET).uri(path).body(Body::default()).unwrap()
}

#[tokio::test]
async fn requests_share_a_connection() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    let (port, server) = server(
        &net,
        &[
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        ],
    )
    .await;
    let mut http = net.http(&peer(port)).await.unwrap();
    assert_eq!(http.peer().alpn.as_deref(), Some(&b"http/1.1"[..]));
    let response = http.send(get("/one?a=b")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.bytes(2).await.unwrap(), b"ok");
    let response = http.send(get("/two")).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.bytes(99).await.unwrap(), b"abcde");
    let heads = server.await.unwrap();
    assert!(heads[0].starts_with("GET /one?a=b HTTP/1.1\r\n"), "{heads:?}");
    let host = format!("host: localhost:{port}\r\n");
    assert!(heads[1].contains(&host) && heads[1].contains("user-agent: enarx/"), "{heads:?}");
}

#[tokio::test]
async fn answers_have_bounds() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    let (port, _server) =
        server(&net, &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"]).await;
    let mut http = net.http(&peer(port)).await.unwrap();
    let error = http.send(get("/")).await.unwrap().bytes(4).await.unwrap_err();
    assert!(matches!(error, NetError::TooLong { max: 4, .. }), "{error}");
}

#[tokio::test]
async fn answers_that_end_early_or_are_none() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    for answers in [
        &["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"],
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"],
        &["SSH-2.0-OpenSSH_9.9\r\n"],
        &["HTTP/1.1 200"],
    ] {
        let (port, _server) = server(&net, answers).await;
        let mut http = net.http(&peer(port)).await.unwrap();
        let result = async { http.send(get("/")).await?.bytes(99).await };
        let error = result.await.unwrap_err();
        assert!(matches!(error, NetError::Http { .. }), "{answers:?}: {error}");
        assert!(error.is_transient());
    }
}

/// Whether a program is there to talk to.
fn has(program: &str) -> bool {
    let found = std::process::Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        println!("skipped: there is no `{program}`");
    }
    found
}

#[tokio::test]
async fn curl_and_openssl_talk_to_a_keep() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    let mut root = tempfile::NamedTempFile::new().unwrap();
    let pem = evidence_testkit::der_writer::pem("CERTIFICATE", &steward.root);
    root.write_all(pem.as_bytes()).unwrap();
    if has("curl") {
        let (port, server) =
            server(&net, &["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi\n"]).await;
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--noproxy", "*", "--tlsv1.3", "--cacert"])
            .arg(root.path())
            .arg(format!("https://localhost:{port}/"))
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, b"hi\n");
        server.await.unwrap();
    }
    if has("openssl") {
        let (port, server) = server(&net, &["HTTP/1.0 200 OK\r\n\r\nbye\n"]).await;
        let mut client = Command::new("openssl")
            .args(["s_client", "-ign_eof", "-verify_return_error", "-alpn", "http/1.1"])
            .args(["-verify_hostname", "localhost", "-CAfile"])
            .arg(root.path())
            .args(["-connect", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        client.stdin.as_mut().unwrap().write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let output = client.wait_with_output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        for expected in ["TLSv1.3", "Verify return code: 0 (ok)", "ALPN protocol: http/1.1", "bye"]
        {
            assert!(said.contains(expected), "{expected}:\n{said}");
        }
        server.await.unwrap();
    }
}

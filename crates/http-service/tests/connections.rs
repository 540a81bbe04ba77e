// SPDX-License-Identifier: Apache-2.0

//! A service before real sockets: limits, counters, and the end.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use http_service::{HttpMetrics, Limits, Listening, Peer, Service, render};
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use rustls::server::ResolvesServerCertUsingSni;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A service that runs.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
    registry: Registry,
}

fn run(routes: Router, limits: Limits, tls: Option<Arc<ServerConfig>>) -> Running {
    let listening = Listening::new(Ipv4Addr::LOCALHOST.into(), 0).unwrap();
    let address = listening.address().unwrap();
    let metrics = HttpMetrics::new(&[60.0]);
    let mut registry = Registry::with_prefix("test");
    metrics.register(&mut registry);
    let counted = metrics.clone();
    let routes = routes.layer(from_fn(move |request: Request, next: Next| {
        let counted = counted.clone();
        async move { counted.observe("/", request, next).await }
    }));
    let (stop, stopped) = oneshot::channel();
    let service = Service { routes, tls, limits, metrics };
    let task = tokio::spawn(service.serve(listening, async move {
        let _ = stopped.await;
    }));
    Running { address, stop, task, registry }
}

fn hello() -> Router {
    Router::new().route(
        "/",
        get(async |Extension(peer): Extension<Peer>| match peer.0 {
            Some(_) => "known",
            None => "hello",
        }),
    )
}

/// Sends a request, and reads its answer.
async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(REQUEST).await.unwrap();
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\nhello") {
        let mut part = [0; 1024];
        match stream.read(&mut part).await.unwrap() {
            0 => break,
            length => answer += str::from_utf8(&part[..length]).unwrap(),
        }
    }
    answer
}

#[tokio::test]
async fn who_finds_no_place_waits_for_one() {
    let service = run(hello(), Limits { connections: 1, ..Limits::default() }, None);
    let mut first = TcpStream::connect(service.address).await.unwrap();
    assert!(ask(&mut first).await.starts_with("HTTP/1.1 200 OK"));
    let mut second = TcpStream::connect(service.address).await.unwrap();
    second.write_all(REQUEST).await.unwrap();
    // The first is served on, and the second only when it is gone.
    assert!(ask(&mut first).await.ends_with("hello"));
    let text = render(&service.registry).unwrap();
    for line in ["test_connections 1", r#"{route="/",method="GET",status="200"} 2"#] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    drop(first);
    let mut byte = [0];
    assert_eq!(second.read(&mut byte).await.unwrap(), 1);
}

#[tokio::test]
async fn one_address_has_its_share() {
    let limits = Limits { connections_per_address: 1, ..Limits::default() };
    let service = run(hello(), limits, None);
    let mut first = TcpStream::connect(service.address).await.unwrap();
    assert!(ask(&mut first).await.ends_with("hello"));
    let mut second = TcpStream::connect(service.address).await.unwrap();
    assert!(!matches!(second.read(&mut [0]).await, Ok(1..)));
    assert!(ask(&mut first).await.ends_with("hello"));
}

#[tokio::test]
async fn a_silent_handshake_keeps_nobody_waiting() {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    let service = run(hello(), Limits::default(), Some(Arc::new(tls)));
    let _silent = TcpStream::connect(service.address).await.unwrap();
    let mut second = TcpStream::connect(service.address).await.unwrap();
    second.write_all(REQUEST).await.unwrap();
    // What is no TLS gets an alert (RFC 8446, 5.1).
    let mut kind = [0];
    second.read_exact(&mut kind).await.unwrap();
    assert_eq!(kind, [21]);
}

#[tokio::test]
async fn a_request_that_has_begun_is_finished() {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, held) = (Arc::clone(&begun), Arc::clone(&go_on));
    let slow = get(async move || {
        told.notify_one();
        held.notified().await;
        "hello"
    });
    let service = run(Router::new().route("/", slow), Limits::default(), None);
    let mut client = TcpStream::connect(service.address).await.unwrap();
    let mut idle = TcpStream::connect(service.address).await.unwrap();
    let answer = tokio::spawn(async move { ask(&mut client).await });
    begun.notified().await;
    let text = render(&service.registry).unwrap();
    assert!(text.contains("test_requests_in_flight 1"), "{text}");
    service.stop.send(()).unwrap();
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    assert!(TcpStream::connect(service.address).await.is_err());
    go_on.notify_one();
    assert!(answer.await.unwrap().ends_with("hello"));
    service.task.await.unwrap().unwrap();
}

// SPDX-License-Identifier: Apache-2.0

//! Connections between Keeps, and with peers that are none, over real sockets.

mod common;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::{LOCAL, Steward, WORKLOAD, claims, development, listen, measured, peer};
use enarx_config::{ClientAuth, Listen, Peer, Prot, Root, Trust};
use keep_launch::Network;
use keep_net::{IdentityHandle, Net, NetError, Stream};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// One exchange: what the client got to read, and the server's view of the client.
async fn exchange(
    server: &Net,
    settings: &Listen,
    client: &Net,
    to: impl FnOnce(u16) -> Peer,
) -> Result<(Stream, Stream), String> {
    let mut listener = server.listen(settings).await.map_err(|error| error.to_string())?;
    let peer = to(listener.local_addr().port());
    let accept = tokio::spawn(async move {
        let mut stream = listener.accept().await.unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&word).await.unwrap();
        stream
    });
    let mut stream = client.connect(&peer).await.map_err(|error| error.to_string())?;
    let result = async {
        stream.write_all(b"hello").await?;
        let mut word = [0; 5];
        stream.read_exact(&mut word).await?;
        assert_eq!(&word, b"hello");
        io::Result::Ok(())
    };
    match result.await {
        Ok(()) => Ok((stream, accept.await.unwrap())),
        Err(error) => {
            accept.abort();
            Err(error.to_string())
        }
    }
}

fn mutual(trust: Trust) -> Listen {
    Listen { client_auth: ClientAuth::Required, trust, ..listen() }
}

#[tokio::test]
async fn two_keeps_demand_each_others_measurement() {
    let steward = Steward::new("Steward");
    let (one, two) = (steward.keep(&claims(0xaa)), steward.keep(&claims(0xbb)));
    let to = |port| Peer { trust: measured(0xaa), ..peer(port) };
    let (client, server) = exchange(&one, &mutual(measured(0xbb)), &two, to).await.unwrap();
    assert_eq!(client.peer().claims, Some(claims_of(&client)));
    assert_eq!(client.peer().claims.as_ref().unwrap().measurement, [0xaa; 48]);
    assert_eq!(server.peer().claims.as_ref().unwrap().measurement, [0xbb; 48]);
    assert!(client.is_secure() && server.is_secure());

    let to = |port| Peer { trust: measured(0xab), ..peer(port) };
    let error = exchange(&one, &mutual(measured(0xbb)), &two, to).await.unwrap_err();
    assert!(error.contains(&format!("the measurement is {}", "aa".repeat(48))), "{error}");

    // With TLS 1.3 a client learns of it when it reads.
    let to = |port| Peer { trust: measured(0xaa), ..peer(port) };
    let error = exchange(&one, &mutual(measured(0xbc)), &two, to).await.unwrap_err();
    assert!(error.contains("fatal alert"), "{error}");
}

fn claims_of(stream: &Stream) -> steward_relying_party::CertificateClaims {
    stream.peer().claims.clone().unwrap()
}

#[tokio::test]
async fn two_keeps_demand_each_others_workload() {
    let steward = Steward::new("Steward");
    let (one, two) = (steward.keep(&claims(0xaa)), steward.keep(&claims(0xbb)));
    let trust =
        |digest: &str| Trust { workloads: vec![digest.to_owned()], ..Trust::new([Root::Steward]) };
    let other = WORKLOAD.replace("40", "41");
    let to = |port| Peer { trust: trust(WORKLOAD), ..peer(port) };
    exchange(&one, &mutual(trust(WORKLOAD)), &two, to).await.unwrap();
    let error = exchange(&one, &mutual(trust(&other)), &two, to).await.unwrap_err();
    assert!(error.contains("fatal alert"), "{error}");
    let to = |port| Peer { trust: trust(&other), ..peer(port) };
    let error = exchange(&one, &mutual(trust(WORKLOAD)), &two, to).await.unwrap_err();
    assert!(error.contains(&format!("the workload is {WORKLOAD}")), "{error}");
}

#[tokio::test]
async fn keeps_without_protection_have_to_be_allowed() {
    let steward = Steward::new("Steward");
    let (one, two) = (steward.keep(&development()), steward.keep(&claims(0xbb)));
    let error = exchange(&one, &listen(), &two, peer).await.unwrap_err();
    assert!(error.contains("development Keep"), "{error}");
    // Not even if its root is given in a file, where it would be one of many.
    let pem = evidence_testkit::der_writer::pem("CERTIFICATE", &steward.root);
    let with_file = two.with_files(&[("root.pem".to_owned(), pem.into_bytes())]);
    let to = |port| Peer { trust: Trust::new([Root::File("root.pem".into())]), ..peer(port) };
    let error = exchange(&one, &listen(), &with_file, to).await.unwrap_err();
    assert!(error.contains("development Keep"), "{error}");

    let allowed = Trust { allow_development: true, ..Trust::new([Root::Steward]) };
    exchange(&one, &listen(), &two, |port| Peer { trust: allowed, ..peer(port) }).await.unwrap();
}

#[tokio::test]
async fn a_file_vouches_for_peers_that_are_no_keeps() {
    let steward = Steward::new("Steward");
    let authority = Steward::new("Authority");
    let server = IdentityHandle::new();
    let (chain, key) = authority.issue(None);
    server.install_chain(chain, key, true).unwrap();
    let server = Net::new(&Network::default(), server, &[]).unwrap();
    let client = steward.keep(&claims(0xaa));

    let error = exchange(&server, &listen(), &client, peer).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let file = |port| Peer { trust: Trust::new([Root::File("a.pem".into())]), ..peer(port) };
    let error = exchange(&server, &listen(), &client, file).await.unwrap_err();
    assert!(error.contains("no such file"), "{error}");
    let pem = evidence_testkit::der_writer::pem("CERTIFICATE", &authority.root);
    let client = client.with_files(&[("a.pem".to_owned(), pem.into_bytes())]);
    exchange(&server, &listen(), &client, file).await.unwrap();
    // Its name counts.
    let to = |port| Peer { server_name: Some("other.example.com".into()), ..file(port) };
    let error = exchange(&server, &listen(), &client, to).await.unwrap_err();
    assert!(error.contains("not valid for"), "{error}");
    // And it is not enough where a certain Keep is demanded.
    let trust = Trust { measurements: vec![vec![0xaa; 48]], ..file(1).trust };
    let to = |port| Peer { trust, ..peer(port) };
    let error = exchange(&server, &listen(), &client, to).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_steward_that_the_host_adds_does_not_count() {
    let (steward, hosts) = (Steward::new("Steward"), Steward::new("Another"));
    let identity = IdentityHandle::new();
    let (chain, key) = steward.issue(Some(&claims(0xaa)));
    identity.install_chain(chain, key, false).unwrap();
    let mut network = steward.network();
    network.steward_roots.push(hosts.root.clone());
    let client = Net::new(&network, identity, &[]).unwrap();

    let to = |port| Peer { trust: measured(0xbb), ..peer(port) };
    let genuine = steward.keep(&claims(0xbb));
    exchange(&genuine, &listen(), &client, to).await.unwrap();
    let forged = hosts.keep(&claims(0xbb));
    let error = exchange(&forged, &listen(), &client, to).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn clients_may_have_no_certificate_unless_they_must() {
    let steward = Steward::new("Steward");
    let server = steward.keep(&claims(0xaa));
    let nobody = Net::new(&steward.network(), IdentityHandle::new(), &[]).unwrap();
    for auth in [ClientAuth::None, ClientAuth::Optional] {
        let settings = Listen { client_auth: auth, ..listen() };
        let (_, stream) = exchange(&server, &settings, &nobody, peer).await.unwrap();
        assert!(stream.peer().certificates.is_empty() && stream.peer().claims.is_none());
    }
    let error = exchange(&server, &mutual(Trust::new([Root::Steward])), &nobody, peer).await;
    assert!(error.unwrap_err().contains("fatal alert"));
    // Without a certificate of its own a Keep does not listen.
    assert!(matches!(nobody.listen(&listen()).await, Err(NetError::NoIdentity)));
}

#[tokio::test]
async fn alpn_has_to_agree() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    let settings = Listen { alpn: vec!["h2".into(), "http/1.1".into()], ..listen() };
    let to = |port| Peer { alpn: vec!["http/1.1".into()], ..peer(port) };
    let (client, server) = exchange(&net, &settings, &net, to).await.unwrap();
    assert_eq!(client.peer().alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(server.peer().alpn.as_deref(), Some(&b"http/1.1"[..]));
    let to = |port| Peer { alpn: vec!["gopher".into()], ..peer(port) };
    assert!(exchange(&net, &settings, &net, to).await.unwrap_err().contains("fatal alert"));
}

#[tokio::test]
async fn bare_tcp_where_it_is_asked_for() {
    let steward = Steward::new("Steward");
    let net = Net::new(&steward.network(), IdentityHandle::new(), &[]).unwrap();
    let settings = Listen { prot: Prot::Tcp, ..listen() };
    let to = |port| Peer { prot: Prot::Tcp, ..peer(port) };
    let (client, server) = exchange(&net, &settings, &net, to).await.unwrap();
    assert!(!client.is_secure() && !server.is_secure());
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections() {
    let steward = Steward::new("Steward");
    let server = steward.keep(&claims(0xaa));
    let client = steward.keep(&claims(0xbb));
    let mut listener = server.listen(&listen()).await.unwrap();
    let to = peer(listener.local_addr().port());
    let connect = async |listener: &mut keep_net::Listener| {
        let (one, other) = tokio::join!(client.connect(&to), listener.accept());
        (one.unwrap(), other.unwrap())
    };
    let (mut old, mut old_server) = connect(&mut listener).await;
    let (chain, key) = steward.issue(Some(&claims(0xcc)));
    server.identity().install_chain(chain, key, false).unwrap();
    let (new, _new_server) = connect(&mut listener).await;
    assert_eq!(old.peer().claims.as_ref().unwrap().measurement, [0xaa; 48]);
    assert_eq!(new.peer().claims.as_ref().unwrap().measurement, [0xcc; 48]);
    old.write_all(b"still").await.unwrap();
    let mut word = [0; 5];
    old_server.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"still");
}

#[tokio::test]
async fn half_open_handshakes_keep_nobody_out() {
    let steward = Steward::new("Steward");
    let server = steward.keep(&claims(0xaa));
    let client = steward.keep(&claims(0xbb));
    let mut listener = server.listen(&listen()).await.unwrap();
    let address = listener.local_addr();
    // More than may shake hands at once: some say nothing, some a part.
    let mut silent = Vec::new();
    for n in 0..keep_net::MAX_HANDSHAKES + 50 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        }
        silent.push(stream);
    }
    let accept = tokio::spawn(async move {
        for _ in 0..20 {
            let mut stream = listener.accept().await.unwrap();
            stream.write_all(b"x").await.unwrap();
        }
        listener
    });
    for _ in 0..20 {
        let mut stream = client.connect(&peer(address.port())).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
    }
    drop((accept.await.unwrap(), silent));
}

#[tokio::test]
async fn a_handshake_takes_its_time_at_most() {
    let steward = Steward::new("Steward");
    let server = steward.keep(&claims(0xaa));
    let mut settings = listen();
    settings.timeouts.handshake = Duration::from_millis(50);
    let mut listener = server.listen(&settings).await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr()).await.unwrap();
    let accept = tokio::spawn(async move { listener.accept().await.unwrap() });
    // The server hangs up.
    assert_eq!(stream.read(&mut [0; 9]).await.unwrap_or_default(), 0);
    accept.abort();

    // And so does a client on a server that says nothing.
    let silent = tokio::net::TcpListener::bind((LOCAL, 0)).await.unwrap();
    let mut to = peer(silent.local_addr().unwrap().port());
    to.timeouts.handshake = Duration::from_millis(50);
    assert!(matches!(server.connect(&to).await, Err(NetError::Timeout { .. })));
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    let mut settings = listen();
    settings.timeouts.idle = Some(Duration::from_millis(80));
    let (client, mut server) = exchange(&net, &settings, &net, peer).await.unwrap();
    let error = server.read(&mut [0; 9]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(client);
}

#[tokio::test]
async fn ends_are_said_and_cuts_are_noticed() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    let (mut client, mut server) = exchange(&net, &listen(), &net, peer).await.unwrap();
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let mut all = Vec::new();
    server.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"last");
    // The other half goes on.
    server.write_all(b"reply").await.unwrap();
    server.shutdown().await.unwrap();
    all.clear();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"reply");
    assert_eq!(client.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);

    let (client, mut server) = exchange(&net, &listen(), &net, peer).await.unwrap();
    drop(client);
    let error = server.read_to_end(&mut all).await.unwrap_err();
    assert!(
        matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset),
        "{error}"
    );
}

#[tokio::test]
async fn much_data_both_ways() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    for prot in Prot::ALL {
        let settings = Listen { prot, ..listen() };
        let to = |port| Peer { prot, ..peer(port) };
        let (client, server) = exchange(&net, &settings, &net, to).await.unwrap();
        let data: Arc<Vec<u8>> = Arc::new(
            (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect(),
        );
        let mut tasks = Vec::new();
        for stream in [client, server] {
            let (mut reader, mut writer) = tokio::io::split(stream);
            let (sent, expected) = (Arc::clone(&data), Arc::clone(&data));
            tasks.push(tokio::spawn(async move {
                for piece in sent.chunks(70_001) {
                    writer.write_all(piece).await.unwrap();
                }
                writer.shutdown().await.unwrap();
            }));
            tasks.push(tokio::spawn(async move {
                let mut got = Vec::new();
                let mut buffer = vec![0; 30_011];
                loop {
                    let count = reader.read(&mut buffer).await.unwrap();
                    if count == 0 {
                        break;
                    }
                    got.extend_from_slice(&buffer[..count]);
                }
                assert!(got == *expected);
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    }
}

#[tokio::test]
async fn looking_takes_nothing() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    for prot in Prot::ALL {
        let settings = Listen { prot, ..listen() };
        let to = |port| Peer { prot, ..peer(port) };
        let (mut client, mut server) = exchange(&net, &settings, &net, to).await.unwrap();
        client.write_all(b"abc").await.unwrap();
        let count = std::future::poll_fn(|cx| server.poll_readable(cx)).await;
        assert!(count > 0);
        let mut seen = [0; 2];
        let count = std::future::poll_fn(|cx| server.poll_peek(cx, &mut seen)).await.unwrap();
        assert_eq!(&seen[..count], b"ab");
        let mut word = [0; 3];
        server.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"abc");
        let none = tokio::time::timeout(
            Duration::from_millis(30),
            std::future::poll_fn(|cx| server.poll_readable(cx)),
        );
        assert!(none.await.is_err(), "there is nothing to read");
    }
}

#[tokio::test]
async fn sessions_resume_only_where_no_client_proves_itself() {
    let steward = Steward::new("Steward");
    let server = steward.keep(&claims(0xaa));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(steward.root.clone().into()).unwrap();
    let (chain, key) = steward.issue(Some(&claims(0xbb)));
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_client_auth_cert(chain, key)
    .unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    for (auth, second) in
        [(ClientAuth::None, HandshakeKind::Resumed), (ClientAuth::Required, HandshakeKind::Full)]
    {
        let settings = Listen { client_auth: auth, ..listen() };
        let mut listener = server.listen(&settings).await.unwrap();
        let address = listener.local_addr();
        let accept = tokio::spawn(async move {
            for _ in 0..2 {
                let mut stream = listener.accept().await.unwrap();
                stream.write_all(b"x").await.unwrap();
                stream.shutdown().await.unwrap();
                let _ = stream.read(&mut [0; 1]).await;
            }
        });
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let io = TcpStream::connect(address).await.unwrap();
            let name = rustls::pki_types::ServerName::try_from("keep.example.com").unwrap();
            let mut stream = connector.connect(name, io).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
            kinds.push(stream.get_ref().1.handshake_kind());
            assert_eq!(
                stream.get_ref().1.protocol_version(),
                Some(rustls::ProtocolVersion::TLSv1_3)
            );
        }
        accept.await.unwrap();
        assert_eq!(kinds[1], Some(second), "{auth:?}");
    }
}

#[tokio::test]
async fn sockets_have_a_bound() {
    let steward = Steward::new("Steward");
    let network = Network { max_sockets: 3, ..steward.network() };
    let net = Net::new(&network, IdentityHandle::new(), &[]).unwrap();
    let settings = Listen { prot: Prot::Tcp, ..listen() };
    let mut listener = net.listen(&settings).await.unwrap();
    let to = Peer { prot: Prot::Tcp, ..peer(listener.local_addr().port()) };
    let one = net.connect(&to).await.unwrap();
    let _accepted = listener.accept().await.unwrap();
    assert!(matches!(net.connect(&to).await, Err(NetError::TooManySockets)));
    // A client waits in the host's queue until there is a place.
    let mut client = TcpStream::connect(listener.local_addr()).await.unwrap();
    let late = tokio::time::timeout(Duration::from_millis(50), listener.accept());
    assert!(late.await.is_err());
    drop(one);
    listener.accept().await.unwrap().write_all(b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn nobody_there() {
    let steward = Steward::new("Steward");
    let net = steward.keep(&claims(0xaa));
    let unused = std::net::TcpListener::bind((LOCAL, 0)).unwrap().local_addr().unwrap();
    let error = net.connect(&peer(unused.port())).await.unwrap_err();
    assert!(matches!(error, NetError::Connect { .. }), "{error}");
    // No roots at all are nobody to trust.
    let net = Net::new(&Network::default(), IdentityHandle::new(), &[]).unwrap();
    let error = net.connect(&peer(unused.port())).await.unwrap_err();
    assert!(matches!(error, NetError::Roots { .. }), "{error}");
}

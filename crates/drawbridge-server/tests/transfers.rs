// SPDX-License-Identifier: Apache-2.0

//! Uploads that go on later, several servers on one store, and clients that lie, break off or dawdle.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Answer, Caller, Package, World, problem};
use drawbridge_types::{ContentDigest, media};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TREE: &str = "/alice/shop/_tag/1.0.0/tree";
const UPLOADS: &str = "/alice/shop/_tag/1.0.0/_uploads";

/// So many bytes, none like its neighbours.
fn content(length: usize) -> Vec<u8> {
    (0..length.div_ceil(4) as u32)
        .flat_map(|one| one.wrapping_mul(0x9e37_79b9).to_le_bytes())
        .take(length)
        .collect()
}

/// A tag with its directory, and the module still missing.
async fn prepared(world: &World, module: &[u8]) -> Caller {
    let alice = world.user("a");
    alice.register("a", "alice/shop", &json!({"public": true})).await;
    let package = Package::new(module);
    alice.put_tag("/alice/shop/_tag/1.0.0", &package.root()).await;
    assert_eq!(alice.put(TREE, media::DIRECTORY, &package.directory()).await.status, 201);
    alice
}

async fn begin(caller: &Caller, module: &[u8]) -> Answer {
    let request = caller
        .request(Method::POST, &format!("{UPLOADS}?path=main.wasm"))
        .header("content-type", media::WASM)
        .header("content-digest", ContentDigest::of(module).to_string())
        .header("upload-length", module.len());
    Answer::of(request.send().await.unwrap()).await
}

async fn append(caller: &Caller, upload: &str, module: &[u8], from: usize, to: usize) -> Answer {
    let range = format!("bytes {from}-{}/{}", to - 1, module.len());
    let request = caller.request(Method::PATCH, upload).header("content-range", range);
    Answer::of(request.body(module[from..to].to_vec()).send().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_at_another_server() {
    let world = World::new().await;
    let module = content(20_000_000);
    let alice = prepared(&world, &module).await;
    let other = world.replica().await;
    let there = alice.at(&other);
    let begun = begin(&alice, &module).await;
    assert_eq!((begun.status, begun.header("upload-offset")), (201, "0"));
    let upload = begun.header("location").to_owned();
    let first = append(&alice, &upload, &module, 0, 9_000_000).await;
    assert_eq!((first.status, first.header("upload-offset")), (204, "9000000"));
    let so_far = there.send(Method::HEAD, &upload).await;
    assert_eq!((so_far.status, so_far.header("upload-offset")), (204, "9000000"));
    // Again, with a gap, and beyond the end.
    for (from, to) in [(0, 10), (9_000_001, 9_000_002)] {
        let wrong = append(&there, &upload, &module, from, to).await;
        assert_eq!(wrong.problem(), problem(409, "upload.offset"));
        assert_eq!(wrong.header("upload-offset"), "9000000");
    }
    assert_eq!(there.send(Method::PUT, &upload).await.problem(), problem(409, "upload.offset"));
    let request = there.request(Method::PATCH, &upload);
    let request = request.header("content-range", "bytes 9000000-30000000/*").body("x");
    let answer = Answer::of(request.send().await.unwrap()).await;
    assert_eq!(answer.problem(), problem(400, "length.mismatch"));
    let rest = append(&there, &upload, &module, 9_000_000, module.len()).await;
    assert_eq!(rest.status, 204, "{}", rest.text());
    // Nobody else may touch it, and it is not seen until it is finished.
    assert_eq!(world.user("b").send(Method::PUT, &upload).await.status, 404);
    assert_eq!(alice.get(&format!("{TREE}/main.wasm")).await.status, 404);
    assert_eq!(alice.send(Method::PUT, &upload).await.status, 201);
    assert!(there.get(&format!("{TREE}/main.wasm")).await.body == module);
    assert_eq!(world.files("uploads").len(), 0);
    assert_eq!(alice.send(Method::PUT, &upload).await.problem(), problem(404, "upload.unknown"));
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_its_digest_is_thrown_away() {
    let world = World::new().await;
    let module = content(100_000);
    let alice = prepared(&world, &module).await;
    let upload = begin(&alice, &module).await.header("location").to_owned();
    let mut other = module.clone();
    other[50_000] ^= 1;
    assert_eq!(append(&alice, &upload, &other, 0, 100_000).await.status, 204);
    let finished = alice.send(Method::PUT, &upload).await;
    assert_eq!(finished.problem(), problem(400, "digest.mismatch"));
    assert_eq!(world.files("uploads").len(), 0);
    assert_eq!(world.files("staging").len(), 0);
    // One that its owner gives up.
    let upload = begin(&alice, &module).await.header("location").to_owned();
    append(&alice, &upload, &module, 0, 10).await;
    assert_eq!(alice.delete(&upload).await.status, 204);
    assert_eq!(world.files("uploads").len(), 0);
    for path in ["/zz", "/../x", "/00000000000000000000000000000000"] {
        let answer = alice.get(&format!("{UPLOADS}{path}")).await;
        assert!(matches!(answer.status, 404 | 405), "{path} {}", answer.status);
    }
    assert_eq!(world.files("blobs").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_agree_who_was_first() {
    let world = World::new().await;
    let other = world.replica().await;
    let alice = world.user("a");
    let callers = [alice.clone(), alice.at(&other)];
    alice.register("a", "alice/shop", &json!({"public": true})).await;
    for round in 0..10 {
        // Each wants to give the version to another workload, and only one can.
        let packages: Vec<_> =
            (0..8).map(|one| Arc::new(Package::new(format!("{round} {one}").as_bytes()))).collect();
        let path = format!("/alice/shop/_tag/1.{round}.0");
        let mut tasks = tokio::task::JoinSet::new();
        for (index, package) in packages.iter().enumerate() {
            let (caller, package) = (callers[index % 2].clone(), Arc::clone(package));
            let path = path.clone();
            tasks.spawn(async move {
                let status = caller.put_tag(&path, &package.root()).await.status;
                (index, status)
            });
        }
        let results = tasks.join_all().await;
        let winners: Vec<_> = results.iter().filter(|(_, status)| *status == 201).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        assert!(results.iter().all(|(_, status)| matches!(status, 201 | 409)), "{results:?}");
        let entry = callers[1].get(&path).await.json();
        let wanted = serde_json::to_value(packages[winners[0].0].root()).unwrap();
        assert_eq!(entry, wanted);
        // The last two files come at the same time by different servers: then it is whole.
        let package = &packages[winners[0].0];
        let tree = format!("{path}/tree");
        callers[0].put(&tree, media::DIRECTORY, &package.directory()).await;
        let put = |index: usize| {
            let (caller, tree) = (callers[index].clone(), tree.clone());
            let (name, kind, content) = package.0[index].clone();
            async move { caller.put(&format!("{tree}/{name}"), kind, &content).await.status }
        };
        assert_eq!(tokio::join!(put(0), put(1)), (201, 201));
        let latest = callers[round % 2].get("/alice/shop/_resolve/latest").await.json();
        assert_eq!(latest["tag"], format!("1.{round}.0"));
    }
    other.stop().await;
}

/// The head of a request for the module, and a connection to send it on.
async fn raw(world: &World, alice: &Caller, length: &str, module: &[u8]) -> (String, Tls) {
    let head = format!(
        "PUT /api/v0.1.0{TREE}/main.wasm HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Type: {}\r\nContent-Digest: {}\r\n{length}\r\n\r\n",
        alice.token.as_ref().unwrap(),
        media::WASM,
        ContentDigest::of(module)
    );
    (head, connect(world).await)
}

type Tls = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(world: &World) -> Tls {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.tls.root.clone().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(world.bridge.address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
}

async fn status(stream: &mut Tls) -> u16 {
    let mut answer = vec![0; 4096];
    let count = stream.read(&mut answer).await.unwrap_or(0);
    let text = String::from_utf8_lossy(&answer[..count]).into_owned();
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_lie_or_break_off_leave_nothing() {
    let world = World::with(|config| config.limits.timeout = Duration::from_secs(1)).await;
    let module = content(3_000_000);
    let alice = prepared(&world, &module).await;
    // Breaks off in the middle.
    let length = format!("Content-Length: {}", module.len());
    let (head, mut stream) = raw(&world, &alice, &length, &module).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&module[..2_000_000]).await.unwrap();
    drop(stream);
    // Says the right length, and sends in chunks without an end.
    let length = "Transfer-Encoding: chunked";
    let (head, mut stream) = raw(&world, &alice, length, &module).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(status(&mut stream).await, 400);
    // Sends other content of that length.
    let length = format!("Content-Length: {}", module.len());
    let (head, mut stream) = raw(&world, &alice, &length, &module).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![7; module.len()]).await.unwrap();
    assert_eq!(status(&mut stream).await, 400);
    // Stops sending, but stays.
    let (head, mut stream) = raw(&world, &alice, &length, &module).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&module[..1_000_000]).await.unwrap();
    assert_eq!(status(&mut stream).await, 408);
    // Sends a byte now and then: too little for the time.
    let (head, mut stream) = raw(&world, &alice, &length, &module).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    for byte in &module {
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            break;
        }
        let mut answer = [0; 64];
        let wait = Duration::from_millis(200);
        if let Ok(read) = tokio::time::timeout(wait, stream.read(&mut answer)).await {
            let text = String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
            assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
            break;
        }
    }
    // A head that does not end, and a handshake that does not.
    let mut stream = connect(&world).await;
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert!(matches!(status(&mut stream).await, 0 | 408));
    let mut stream = TcpStream::connect(world.bridge.address).await.unwrap();
    stream.write_all(&[22, 3, 1]).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;

    for _ in 0..50 {
        if world.files("staging").is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.files("staging").len(), 0);
    assert_eq!(world.files("blobs").len(), 1);
    // And the next try works.
    let answer = alice.put(&format!("{TREE}/main.wasm"), media::WASM, &module).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_of_a_broken_part_is_kept() {
    let world = World::with(|config| config.limits.timeout = Duration::from_secs(1)).await;
    let module = content(30_000_000);
    let alice = prepared(&world, &module).await;
    let upload = begin(&alice, &module).await.header("location").to_owned();
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
         Content-Range: bytes 0-29999999/30000000\r\nContent-Length: 30000000\r\n\r\n",
        alice.token.as_ref().unwrap()
    );
    let mut stream = connect(&world).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&module[..20_000_000]).await.unwrap();
    stream.flush().await.unwrap();
    drop(stream);
    let mut offset = 0;
    for _ in 0..100 {
        let so_far = alice.get(&upload).await.header("upload-offset").parse::<usize>().unwrap();
        if so_far == offset && so_far > 8_000_000 {
            break;
        }
        offset = so_far;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!((8_000_000..=20_000_000).contains(&offset), "{offset}");
    let rest = append(&alice, &upload, &module, offset, module.len()).await;
    assert_eq!(rest.status, 204, "{}", rest.text());
    assert_eq!(alice.send(Method::PUT, &upload).await.status, 201);
    assert!(alice.get(&format!("{TREE}/main.wasm")).await.body == module);
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_have_a_limit_and_shutdown_waits_for_them() {
    let world = World::with(|config| {
        config.limits.transfers = 1;
        config.limits.grace = Duration::from_secs(10);
    })
    .await;
    let module = content(2_000_000);
    let alice = prepared(&world, &module).await;
    let length = format!("Content-Length: {}", module.len());
    let (head, mut stream) = raw(&world, &alice, &length, &module).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&module[..1_000_000]).await.unwrap();
    stream.flush().await.unwrap();
    while world.files("staging").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = alice.get(TREE).await;
    assert_eq!(answer.problem(), problem(503, "http.busy"));
    assert_eq!(answer.header("retry-after"), "1");
    // Asked to stop, the server finishes what has begun, and takes nothing new.
    let address = world.bridge.address;
    let World { bridge, folder, tls, issuer } = world;
    let stopping = tokio::spawn(bridge.stop());
    while TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stream.write_all(&module[1_000_000..]).await.unwrap();
    assert_eq!(status(&mut stream).await, 201);
    drop(stream);
    stopping.await.unwrap();
    assert_eq!(common::files(&folder.path().join("blobs")).len(), 2);
    drop((tls, issuer));
}

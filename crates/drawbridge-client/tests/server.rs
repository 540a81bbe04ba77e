// SPDX-License-Identifier: Apache-2.0

//! The client against the real server: over TLS, with connections that break, and with a server that lies.

#[path = "../../drawbridge-server/tests/common/mod.rs"]
mod common;

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::World;
use drawbridge_client::{Client, Error, Fetch, Package, PackageError, Progress, Publish};
use drawbridge_signatures::{KeyKind, SigningKey};
use drawbridge_types::{
    Access, ContentDigest, Directory, Entry, Meta, Repository, Slug, Terms, UserRecord, media,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A client of whatever listens there, in the name of that subject.
fn client_at(world: &World, port: u16, subject: Option<&str>) -> Client {
    let mut builder = Client::builder(format!("localhost:{port}"))
        .ca_bundle(world.tls.root_pem())
        .retries(4, Duration::from_millis(1));
    if let Some(subject) = subject {
        builder = builder.token(world.token(subject));
    }
    builder.build().unwrap()
}

fn client(world: &World, subject: Option<&str>) -> Client {
    client_at(world, world.bridge.address.port(), subject)
}

/// Alice, with a repository.
async fn alice(world: &World, repository: &Repository) -> Client {
    let alice = client(world, Some("a"));
    let user = "alice".parse().unwrap();
    alice.create_user(&user, &UserRecord { subject: "a".into() }).await.unwrap();
    alice.create_repository(&user, &"shop".parse().unwrap(), repository).await.unwrap();
    alice
}

fn public() -> Repository {
    Repository { public: true, ..Repository::default() }
}

fn slug(tag: &str) -> Slug {
    format!("alice/shop{tag}").parse().unwrap()
}

fn folder(parent: &Path, name: &str, artifact: usize) -> PathBuf {
    let folder = parent.join(name);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("main.wasm"), [b"\0asm\x01\0\0\0", name.as_bytes()].concat()).unwrap();
    fs::write(folder.join("Enarx.toml"), "args = []\n").unwrap();
    fs::write(folder.join("root.pem"), "").unwrap();
    if artifact > 0 {
        let bytes: Vec<u8> = (0..artifact).map(|at| (at * 7 + at / 251) as u8).collect();
        fs::write(folder.join("main.artifact"), bytes).unwrap();
    }
    folder
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn assert_same(one: &Path, other: &Path) {
    assert_eq!(names(one), names(other));
    for name in names(one) {
        let same = fs::read(one.join(&name)).unwrap() == fs::read(other.join(&name)).unwrap();
        assert!(same, "{name} differs");
    }
}

/// Remembers how far each file came.
#[derive(Default)]
struct Seen(Mutex<HashMap<String, (u64, u64, bool)>>);

impl Progress for Seen {
    fn begin(&self, name: &str, total: u64) {
        self.0.lock().unwrap().insert(name.to_owned(), (0, total, false));
    }

    fn at(&self, name: &str, position: u64) {
        self.0.lock().unwrap().get_mut(name).unwrap().0 = position;
    }

    fn end(&self, name: &str) {
        self.0.lock().unwrap().get_mut(name).unwrap().2 = true;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_goes_there_and_comes_back() {
    let world = World::new().await;
    let alice = alice(&world, &public()).await;
    let dir = tempfile::tempdir().unwrap();
    // Large enough to be sent in parts.
    let from = folder(dir.path(), "first", 20 << 20);
    let package = Package::from_path(&from).unwrap();
    let seen = Seen::default();
    let how = Publish::default();
    let done = alice.publish(&slug(":1.0.0"), &package, &how, &seen).await.unwrap();
    assert_eq!((done.digest.as_str(), done.existed), (package.digest().as_str(), false));
    let artifact = seen.0.lock().unwrap()["main.artifact"];
    assert_eq!(artifact, (20 << 20, 20 << 20, true));

    let anybody = client(&world, None);
    let terms = anybody.terms(&slug("")).await.unwrap();
    assert_eq!((&terms.meta, terms.access, terms.yanked), (package.root(), Access::Public, false));
    let to = dir.path().join("to");
    let pinned = slug(&format!(":^1@{}", package.digest()));
    let seen = Seen::default();
    let fetched = anybody.fetch(&pinned, &to, &Fetch::default(), &seen).await.unwrap();
    assert_eq!((fetched.tag.to_string(), fetched.digest), ("1.0.0".into(), package.digest()));
    assert_same(&from, &to);
    assert!(seen.0.lock().unwrap().values().all(|(at, total, done)| at == total && *done));
    assert_eq!(Package::from_path(&to).unwrap().digest(), package.digest());
    // Nothing is overwritten, and nothing is left beside it.
    let found = anybody.fetch(&pinned, &to, &Fetch::default(), &()).await;
    assert!(matches!(found, Err(Error::File { .. })), "{found:?}");
    assert_eq!(names(dir.path()), ["first", "to"]);

    // Again it is no error; another package with that name is one.
    let again = alice.publish(&slug(":1.0.0"), &package, &how, &()).await.unwrap();
    assert!(again.existed);
    let other = Package::from_path(&folder(dir.path(), "other", 0)).unwrap();
    let found = alice.publish(&slug(":1.0.0"), &other, &how, &()).await;
    assert!(matches!(found, Err(Error::Taken { .. })), "{found:?}");
    let wrong = slug(&format!(":2.0.0@{}", package.digest()));
    let found = alice.publish(&wrong, &other, &how, &()).await;
    assert!(matches!(found, Err(Error::Pinned { .. })), "{found:?}");
    for tag in ["", ":latest", ":^1"] {
        let found = alice.publish(&slug(tag), &other, &how, &()).await;
        assert!(matches!(found, Err(Error::NoVersion(_))), "{found:?}");
    }
    let found = client(&world, None).publish(&slug(":2.0.0"), &other, &how, &()).await;
    let problem = found.unwrap_err();
    assert_eq!(problem.problem().unwrap().status, 401);
    assert!(problem.help().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_listed_withdrawn_and_deleted() {
    let world = World::new().await;
    let alice = alice(&world, &public()).await;
    let (user, repo) = ("alice".parse().unwrap(), "shop".parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.wasm");
    fs::write(&file, b"\0asm\x01\0\0\0").unwrap();
    let package = Package::from_path(&file).unwrap();
    for tag in [":1.0.0", ":1.1.0"] {
        alice.publish(&slug(tag), &package, &Publish::default(), &()).await.unwrap();
    }
    let page = alice.tags(&user, &repo, None).await.unwrap();
    let tags: Vec<String> = page.items.iter().map(|one| one.tag.to_string()).collect();
    assert_eq!(tags, ["1.0.0", "1.1.0"]);
    let high = "1.1.0".parse().unwrap();
    alice.yank(&user, &repo, &high, true).await.unwrap();
    assert_eq!(alice.terms(&slug("")).await.unwrap().tag.to_string(), "1.0.0");
    assert!(alice.terms(&slug(":1.1.0")).await.unwrap().yanked);
    let to = dir.path().join("back.wasm");
    let fetched = alice.fetch(&slug(":1.1.0"), &to, &Fetch::default(), &()).await.unwrap();
    assert!(fetched.yanked && fetched.files.is_empty());
    assert_eq!(fs::read(&to).unwrap(), b"\0asm\x01\0\0\0");
    alice.yank(&user, &repo, &high, false).await.unwrap();
    assert_eq!(alice.terms(&slug("")).await.unwrap().tag.to_string(), "1.1.0");
    alice.delete_tag(&user, &repo, &high).await.unwrap();
    assert_eq!(alice.terms(&slug("")).await.unwrap().tag.to_string(), "1.0.0");
    let found = alice.publish(&slug(":1.1.0"), &package, &Publish::default(), &()).await;
    assert!(found.is_err(), "{found:?}");

    let found = client(&world, None).search("sho", None).await.unwrap();
    assert_eq!(found.items[0].repo, repo);
    assert_eq!(alice.repositories(&user, None).await.unwrap().items.len(), 1);
    let (record, etag) = alice.repository(&user, &repo).await.unwrap();
    assert_eq!(record, public());
    let private = Repository::default();
    alice.change_repository(&user, &repo, &private, &etag.unwrap()).await.unwrap();
    let found = client(&world, None).terms(&slug("")).await;
    assert!(matches!(found.unwrap_err().problem(), Some(problem) if problem.status == 401));
    let found = alice.change_repository(&user, &repo, &public(), "\"stale\"").await;
    assert!(found.is_err());
    alice.delete_repository(&user, &repo).await.unwrap();
    assert!(alice.terms(&slug("")).await.is_err());
    alice.delete_user(&user).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_are_made_and_demanded() {
    let world = World::new().await;
    let key = SigningKey::generate(KeyKind::Ed25519).unwrap();
    let other = SigningKey::generate(KeyKind::P256).unwrap();
    let signers = vec![key.public_key().to_pem()];
    let alice = alice(&world, &Repository { signers, ..public() }).await;
    let dir = tempfile::tempdir().unwrap();
    let package = Package::from_path(&folder(dir.path(), "signed", 0)).unwrap();
    let public_key = key.public_key().clone();
    let other_key = other.public_key().clone();
    for how in [Publish::default(), Publish { key: Some(other), bundle: None }] {
        let found = alice.publish(&slug(":1.0.0"), &package, &how, &()).await;
        let error = found.unwrap_err();
        assert!(error.problem().is_some(), "{error:?}");
    }
    let how = Publish { key: Some(key), bundle: None };
    alice.publish(&slug(":1.0.0"), &package, &how, &()).await.unwrap();
    let refused = Fetch { signers: vec![other_key] };
    let to = dir.path().join("to");
    let found = alice.fetch(&slug(":1.0.0"), &to, &refused, &()).await;
    assert!(matches!(found, Err(Error::Signature(_))), "{found:?}");
    assert!(!to.exists());
    let how = Fetch { signers: vec![public_key] };
    alice.fetch(&slug(":1.0.0"), &to, &how, &()).await.unwrap();
    assert_same(&to, package.path());
}

/// Carries bytes, and cuts each connection after as many as the list says; then all of them.
async fn proxy(target: SocketAddr, cuts: &[usize]) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let cuts = Arc::new(Mutex::new(VecDeque::from(cuts.to_vec())));
    tokio::spawn(async move {
        loop {
            let (here, _) = listener.accept().await.unwrap();
            let left = cuts.lock().unwrap().pop_front().unwrap_or(usize::MAX);
            tokio::spawn(carry(here, TcpStream::connect(target).await.unwrap(), left));
        }
    });
    address
}

async fn carry(mut here: TcpStream, mut there: TcpStream, mut left: usize) {
    let (mut one, mut two) = (vec![0; 16 << 10], vec![0; 16 << 10]);
    loop {
        let count = tokio::select! {
            got = here.read(&mut one) => {
                let Ok(count @ 1..) = got else { return };
                if there.write_all(&one[..count]).await.is_err() { return }
                count
            }
            got = there.read(&mut two) => {
                let Ok(count @ 1..) = got else { return };
                if here.write_all(&two[..count]).await.is_err() { return }
                count
            }
        };
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_cost_time_only() {
    let world = World::new().await;
    alice(&world, &public()).await;
    let dir = tempfile::tempdir().unwrap();
    let from = folder(dir.path(), "large", 30 << 20);
    let package = Package::from_path(&from).unwrap();
    // In the handshake, in the first request, in several parts of the upload.
    let cuts = [100, 5000, 3 << 20, 12 << 20, 1 << 20];
    let port = proxy(world.bridge.address, &cuts).await.port();
    let alice = client_at(&world, port, Some("a"));
    let done = alice.publish(&slug(":1.0.0"), &package, &Publish::default(), &()).await.unwrap();
    assert_eq!(done.digest, package.digest());
    let port = proxy(world.bridge.address, &[4000, 5 << 20, 1 << 20, 9 << 20]).await.port();
    let anybody = client_at(&world, port, None);
    let to = dir.path().join("to");
    anybody.fetch(&slug(":1.0.0"), &to, &Fetch::default(), &()).await.unwrap();
    assert_same(&from, &to);
    // One that always breaks ends with an error, and leaves nothing.
    let port = proxy(world.bridge.address, &[100; 100]).await.port();
    let broken = client_at(&world, port, None);
    let found = broken.fetch(&slug(":1.0.0"), &dir.path().join("x"), &Fetch::default(), &()).await;
    assert!(matches!(found, Err(Error::Transport { .. })), "{found:?}");
    assert_eq!(names(dir.path()), ["large", "to"]);
}

/// A server that answers each path with what it is told.
async fn liar(world: &World, answers: Vec<(String, &'static str, Vec<u8>)>) -> u16 {
    let tls = world.tls.server();
    let chain = CertificateDer::pem_slice_iter(&tls.certificates).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&tls.key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(chain, key)
    .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = Arc::new(answers);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, answers) = (acceptor.clone(), Arc::clone(&answers));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let head = String::from_utf8(head).unwrap();
                let path = head.split(' ').nth(1).unwrap();
                let known = answers.iter().find(|(known, ..)| path.ends_with(known));
                let (status, kind, body) = match known {
                    Some((_, kind, body)) => ("200 OK", *kind, body.as_slice()),
                    None => ("404 Not Found", "text/plain", &b"\x1b[31m"[..]),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lies_is_not_believed() {
    let world = World::new().await;
    let wasm = b"\0asm\x01\0\0\0".to_vec();
    let mut directory = Directory::default();
    directory.insert("main.wasm".parse().unwrap(), Entry::new(Meta::of(&wasm, media::WASM)));
    let bytes = directory.to_bytes();
    let root = Directory::meta(&bytes);
    let terms = |meta: &Meta, user: &str, tag: &str| {
        let terms = Terms {
            user: user.parse().unwrap(),
            repo: "shop".parse().unwrap(),
            tag: tag.parse().unwrap(),
            meta: meta.clone(),
            access: Access::Public,
            steward: None,
            yanked: false,
        };
        ("_resolve/1.0.0".to_owned(), media::TERMS, serde_json::to_vec(&terms).unwrap())
    };
    let tag = |meta: &Meta| {
        let entry = serde_json::to_vec(&Entry::new(meta.clone())).unwrap();
        ("_tag/1.0.0".to_owned(), media::ENTRY, entry)
    };
    let tree = |bytes: &[u8]| ("tree".to_owned(), media::DIRECTORY, bytes.to_vec());
    let file = |bytes: &[u8]| ("tree/main.wasm".to_owned(), media::WASM, bytes.to_vec());
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("to");
    let pinned = slug(&format!(":1.0.0@{}", root.digest.workload().unwrap()));
    let ask = async |slug: &Slug, answers| {
        let port = liar(&world, answers).await;
        let found = client_at(&world, port, None).fetch(slug, &to, &Fetch::default(), &()).await;
        if found.is_err() {
            assert!(names(dir.path()).is_empty(), "{found:?}");
        }
        found
    };
    let other = Meta::of(b"other", media::DIRECTORY);
    let good = || vec![terms(&root, "alice", "1.0.0"), tag(&root), file(&wasm), tree(&bytes)];
    let with = |at: usize, one| {
        let mut all = good();
        all[at] = one;
        all
    };
    // Another workload, by terms or by tag.
    let found = ask(&pinned, with(0, terms(&other, "alice", "1.0.0"))).await;
    assert!(matches!(found, Err(Error::Pinned { .. })), "{found:?}");
    let found = ask(&pinned, with(1, tag(&other))).await;
    assert!(matches!(found, Err(Error::Pinned { .. })), "{found:?}");
    let found = ask(&slug(":1.0.0"), with(1, tag(&other))).await;
    assert!(matches!(found, Err(Error::Answer { .. })), "{found:?}");
    for bad in [terms(&root, "bob", "1.0.0"), terms(&root, "alice", "1.0.1")] {
        let found = ask(&slug(":1.0.0"), with(0, bad)).await;
        assert!(matches!(found, Err(Error::Answer { .. })), "{found:?}");
    }
    // Other bytes: of the directory, of a file; shorter, longer.
    for bad in [&b"{}"[..], &[&bytes[..], b" "].concat(), &vec![b' '; 2 << 20]] {
        let found = ask(&pinned, with(3, tree(bad))).await;
        assert!(matches!(found, Err(Error::Content { .. } | Error::Answer { .. })), "{found:?}");
    }
    for bad in [&b"\0asm\x01\0\0\x01"[..], b"\0asm", &vec![0; 1 << 20]] {
        let found = ask(&pinned, with(2, file(bad))).await;
        assert!(matches!(found, Err(Error::Content { .. })), "{found:?}");
    }
    // Answers that are none.
    for bad in [b"".to_vec(), b"null".to_vec(), vec![b' '; 5 << 20]] {
        let (path, kind, _) = tag(&root);
        let found = ask(&pinned, with(1, (path, kind, bad))).await;
        assert!(matches!(found, Err(Error::Answer { .. })), "{found:?}");
    }
    let (path, _, body) = tag(&root);
    let found = ask(&pinned, with(1, (path, "text/html", body))).await;
    assert!(matches!(found, Err(Error::Answer { .. })), "{found:?}");
    // What a proxy might say is shown without its control characters.
    let error = ask(&pinned, vec![]).await.unwrap_err();
    assert_eq!(error.problem().unwrap().status, 404);
    assert!(!error.to_string().contains('\x1b'));
    // And the truth is believed.
    ask(&pinned, good()).await.unwrap();
    assert_eq!(fs::read(to.join("main.wasm")).unwrap(), wasm);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_trusted_certificate_gets_nothing() {
    let world = World::new().await;
    let other = common::Authority::new();
    let client = Client::builder(format!("localhost:{}", world.bridge.address.port()))
        .ca_bundle(other.root_pem())
        .token("secret")
        .retries(2, Duration::from_millis(1))
        .build()
        .unwrap();
    let error = client.terms(&slug(":1.0.0")).await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error:?}");
    assert!(error.help().unwrap().contains("--ca-bundle"));
    assert!(!format!("{client:?} {error:?}").contains("secret"));
    for host in ["", "a/b", "user@host", "ho st"] {
        assert!(matches!(Client::builder(host).build(), Err(Error::Setup { .. })), "{host}");
    }
    let found = Client::builder("localhost").ca_bundle("none").build();
    assert!(matches!(found, Err(Error::Setup { .. })));
    let found = Client::builder("localhost").token("a\nb").build();
    assert!(matches!(found, Err(Error::Setup { .. })));
}

#[test]
fn packages_are_what_they_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let good = folder(dir.path(), "good", 0);
    let package = Package::from_path(&good).unwrap();
    // The digest is that of the directory, which anybody can write down.
    let directory: serde_json::Value =
        serde_json::from_slice(package.directory().unwrap()).unwrap();
    assert_eq!(directory["main.wasm"]["type"], "application/wasm");
    assert_eq!(directory["Enarx.toml"]["type"], "application/toml");
    assert_eq!(directory["root.pem"]["type"], "application/pem-certificate-chain");
    let digest = ContentDigest::of(package.directory().unwrap()).workload().unwrap();
    assert_eq!(package.digest(), digest);
    let check = |change: &dyn Fn(&Path)| {
        let name = format!("x{}", names(dir.path()).len());
        let folder = folder(dir.path(), &name, 0);
        change(&folder);
        Package::from_path(&folder).unwrap_err()
    };
    let missing = |file: &'static str| check(&|folder| fs::remove_file(folder.join(file)).unwrap());
    for file in ["main.wasm", "Enarx.toml"] {
        assert!(
            matches!(missing(file), PackageError::Missing { file: found, .. } if found == file)
        );
    }
    for file in [".env", "notes.txt", "enarx.toml", ".pem"] {
        let error = check(&|folder| fs::write(folder.join(file), "").unwrap());
        assert!(matches!(error, PackageError::Unexpected(_)), "{file}: {error:?}");
    }
    let error = check(&|folder| fs::create_dir(folder.join("sub.pem")).unwrap());
    assert!(matches!(error, PackageError::Unexpected(_)), "{error:?}");
    let error = check(&|folder| fs::write(folder.join("a b.pem"), "").unwrap());
    assert!(matches!(error, PackageError::Name { .. }), "{error:?}");
    let error = check(&|folder| fs::write(folder.join("main.wasm"), "(module)").unwrap());
    assert!(matches!(error, PackageError::NotWasm(_)), "{error:?}");
    let error = check(&|folder| {
        let file = fs::File::create(folder.join("Enarx.toml")).unwrap();
        file.set_len(1_000_001).unwrap();
    });
    assert!(matches!(error, PackageError::TooLarge { .. }), "{error:?}");
    let error = check(&|folder| {
        for number in 0..62 {
            fs::write(folder.join(format!("{number}.pem")), "").unwrap();
        }
    });
    assert!(matches!(error, PackageError::TooMany(_)), "{error:?}");
    assert!(matches!(
        Package::from_path(&dir.path().join("nothing")),
        Err(PackageError::Io { .. })
    ));
}

// SPDX-License-Identifier: Apache-2.0

//! Servers on real sockets with real TLS, an OpenID Connect issuer, Stewards, and clients of all of them.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use drawbridge_server::{Config, Oidc, Server, Tls};
use drawbridge_types::{ContentDigest, Directory, Entry, Meta, media};
use evidence_claims::Time;
use evidence_crypto::AwsLc;
use evidence_pki::{Certificate, Signer, SigningAlgorithm, to_pem};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use steward_claims::{CertificateClaims, Workload};
use steward_core::PemKey;
use steward_core::certificate::{Issuer, Profile, Template, name};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const AUDIENCE: &str = "https://drawbridge.test/";
pub(crate) const ALL: [&str; 3] =
    ["manage:drawbridge_users", "manage:drawbridge_repositories", "manage:drawbridge_tags"];

pub(crate) fn now() -> Time {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Time::from_unix(now.as_secs())
}

/// Root and issuing authority.
pub(crate) struct Authority {
    pub(crate) root: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    key: PemKey,
}

fn generate() -> PemKey {
    PemKey::generate(SigningAlgorithm::EcdsaP256Sha256).unwrap()
}

fn random() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher};
    let next = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    let mut out = [0; 16];
    out[..8].copy_from_slice(&next().to_le_bytes());
    out[8..].copy_from_slice(&next().to_le_bytes());
    out
}

impl Authority {
    pub(crate) fn new() -> Self {
        let (root_key, key) = (generate(), generate());
        let template = |subject, key, path_length| Template {
            random: random(),
            subject,
            public_key: key,
            not_before: now().minus(3600),
            not_after: now().plus(3600),
            profile: Profile::Authority { path_length },
        };
        // No two are called the same, as it is with those of different people.
        let number = u64::from_le_bytes(random()[..8].try_into().unwrap());
        let [root_name, subject] =
            ["Root", "Steward"].map(|text| name(None, &format!("{text} {number}")));
        let root = template(&root_name, root_key.public_key(), 1);
        let root = root.self_sign(&AwsLc, &root_key).unwrap();
        let issuer = Issuer::of(&AwsLc, &Certificate::parse(&root).unwrap()).unwrap();
        let certificate = template(&subject, key.public_key(), 0);
        let certificate = certificate.sign(&AwsLc, &issuer, &root_key).unwrap();
        Self { root, certificate, key }
    }

    pub(crate) fn root_pem(&self) -> String {
        to_pem("CERTIFICATE", &self.root)
    }

    /// A certificate with its chain and key, PEM.
    fn issue(&self, not_before: Time, not_after: Time, profile: Profile<'_>) -> (String, String) {
        let key = generate();
        let subject = name(None, "leaf");
        let template = Template {
            random: random(),
            subject: &subject,
            public_key: key.public_key(),
            not_before,
            not_after,
            profile,
        };
        let parsed = Certificate::parse(&self.certificate).unwrap();
        let issuer = Issuer::of(&AwsLc, &parsed).unwrap();
        let leaf = template.sign(&AwsLc, &issuer, &self.key).unwrap();
        let chain = to_pem("CERTIFICATE", &leaf) + &to_pem("CERTIFICATE", &self.certificate);
        (chain, key.to_pem().unwrap().to_string())
    }

    pub(crate) fn server(&self) -> Tls {
        let profile = Profile::Server {
            dns_names: &["localhost".to_owned()],
            addresses: &[IpAddr::from(Ipv4Addr::LOCALHOST)],
        };
        let (chain, key) = self.issue(now().minus(60), now().plus(3600), profile);
        Tls { certificates: chain.into_bytes(), key: key.into_bytes() }
    }

    /// A Keep's certificate and key in one PEM.
    pub(crate) fn keep(&self, claims: &CertificateClaims, age: u64, lifetime: u64) -> String {
        let uris: Vec<String> = claims.workload.iter().map(Workload::digest_uri).collect();
        let profile =
            Profile::Keep { dns_names: &[], uris: &uris, claims: &claims.to_der().unwrap() };
        let start = now().minus(age);
        let (chain, key) = self.issue(start, start.plus(lifetime), profile);
        chain + &key
    }
}

/// What a Steward verified just now of a Keep with that workload.
pub(crate) fn claims(workload: &str) -> CertificateClaims {
    CertificateClaims {
        platform: "snp".to_owned(),
        product: "Milan".to_owned(),
        measurement: vec![0xaa; 48],
        signer: None,
        tcb_status: None,
        advisories: Vec::new(),
        svns: Vec::new(),
        debug: false,
        workload: Some(Workload::new(None, workload).unwrap()),
        policy: [0x55; 32],
        policy_url: None,
        evaluation_number: None,
        verified_at: now(),
        fresh: true,
    }
}

/// A running server.
pub(crate) struct Bridge {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Bridge {
    pub(crate) async fn start(config: Config) -> Self {
        let server = Server::new(config).await.unwrap();
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            server.serve(async { drop(stopped.await) }).await.unwrap();
        });
        Self { address, stop: Some(stop), task: Some(task) }
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.task.take().unwrap().await.unwrap();
    }
}

/// A server, its issuer and its store.
pub(crate) struct World {
    pub(crate) tls: Authority,
    pub(crate) issuer: oidc_issuer::Handle,
    pub(crate) bridge: Bridge,
    pub(crate) folder: TempDir,
}

pub(crate) fn local() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let issuer = oidc_issuer::Issuer::start(oidc_issuer::Config::default()).await.unwrap();
        let tls = Authority::new();
        let mut config = Self::config(folder.path().to_str().unwrap(), &issuer, &tls);
        change(&mut config);
        let bridge = Bridge::start(config).await;
        Self { tls, issuer, bridge, folder }
    }

    pub(crate) fn config(store: &str, issuer: &oidc_issuer::Handle, tls: &Authority) -> Config {
        let mut config = Config::new(store, local());
        config.tls = Some(tls.server());
        config.oidc = Some(Oidc {
            issuer: issuer.url().to_owned(),
            audience: AUDIENCE.to_owned(),
            roots: Vec::new(),
        });
        config.limits.grace = Duration::from_secs(2);
        config
    }

    /// Another server on the same store.
    pub(crate) async fn replica(&self) -> Bridge {
        let store = self.folder.path().to_str().unwrap();
        Bridge::start(Self::config(store, &self.issuer, &self.tls)).await
    }

    pub(crate) fn token(&self, subject: &str) -> String {
        self.issuer.mint(subject, AUDIENCE, &ALL)
    }

    /// A client with that person's token.
    pub(crate) fn user(&self, subject: &str) -> Caller {
        Caller { token: Some(self.token(subject)), ..self.anybody() }
    }

    pub(crate) fn anybody(&self) -> Caller {
        Caller {
            client: client(&self.tls.root, None),
            base: format!("https://localhost:{}", self.bridge.address.port()),
            token: None,
        }
    }

    /// A client with a Keep's certificate.
    pub(crate) fn keep(&self, identity: &str) -> Caller {
        Caller { client: client(&self.tls.root, Some(identity)), ..self.anybody() }
    }

    pub(crate) fn files(&self, folder: &str) -> Vec<std::path::PathBuf> {
        files(&self.folder.path().join(folder))
    }
}

pub(crate) fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            out.extend(files(&entry.path()));
        } else {
            out.push(entry.path());
        }
    }
    out
}

pub(crate) fn client(root: &[u8], identity: Option<&str>) -> Client {
    let root = reqwest::Certificate::from_der(root).unwrap();
    let mut builder = Client::builder().tls_certs_only([root]).no_proxy();
    if let Some(identity) = identity {
        builder = builder.identity(reqwest::Identity::from_pem(identity.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

/// Somebody who talks to a server.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) client: Client,
    pub(crate) base: String,
    pub(crate) token: Option<String>,
}

impl Caller {
    /// At another server.
    pub(crate) fn at(&self, bridge: &Bridge) -> Self {
        let base = format!("https://localhost:{}", bridge.address.port());
        Self { base, ..self.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let path = match path.strip_prefix('!') {
            Some(path) => path.to_owned(),
            None if path.starts_with("/api/") => path.to_owned(),
            None => format!("/api/v0.1.0{path}"),
        };
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn send(&self, method: Method, path: &str) -> Answer {
        Answer::of(self.request(method, path).send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path).await
    }

    pub(crate) async fn put_json(&self, path: &str, value: &Value) -> Answer {
        let request = self.request(Method::PUT, path).body(value.to_string());
        let request = request.header("content-type", "application/json");
        Answer::of(request.send().await.unwrap()).await
    }

    /// Content with the headers that go with it.
    pub(crate) async fn put(&self, path: &str, kind: &str, content: &[u8]) -> Answer {
        let request = self.request(Method::PUT, path).body(content.to_vec());
        let request = request.header("content-type", kind);
        let request = request.header("content-digest", ContentDigest::of(content).to_string());
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn put_tag(&self, tag: &str, entry: &Entry) -> Answer {
        self.put(tag, media::ENTRY, &serde_json::to_vec(entry).unwrap()).await
    }

    /// User, repository, and a tag with a tree.
    pub(crate) async fn publish(&self, repo: &str, tag: &str, package: &Package) {
        let path = format!("/{repo}/_tag/{tag}");
        assert_eq!(self.put_tag(&path, &package.root()).await.status, 201);
        let tree = format!("{path}/tree");
        assert_eq!(self.put(&tree, media::DIRECTORY, &package.directory()).await.status, 201);
        for (name, kind, content) in &package.0 {
            assert_eq!(self.put(&format!("{tree}/{name}"), kind, content).await.status, 201);
        }
    }

    /// A user of that name, and a repository.
    pub(crate) async fn register(&self, subject: &str, repo: &str, policy: &Value) {
        let user = repo.split('/').next().unwrap();
        let record = serde_json::json!({ "subject": subject });
        let status = self.put_json(&format!("/{user}"), &record).await.status;
        assert!(matches!(status, 201 | 409), "{status}");
        let answer = self.put_json(&format!("/{repo}"), policy).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// Files of a workload: name, type, content.
pub(crate) struct Package(pub(crate) Vec<(&'static str, &'static str, Vec<u8>)>);

impl Package {
    pub(crate) fn new(module: &[u8]) -> Self {
        Self(vec![
            ("main.wasm", media::WASM, module.to_vec()),
            ("Enarx.toml", media::TOML, b"[[files]]\nkind = \"stdout\"\n".to_vec()),
        ])
    }

    pub(crate) fn directory(&self) -> Vec<u8> {
        let mut directory = Directory::default();
        for (name, kind, content) in &self.0 {
            directory.insert(name.parse().unwrap(), Entry::new(Meta::of(content, kind)));
        }
        directory.to_bytes()
    }

    pub(crate) fn root(&self) -> Entry {
        Entry::new(Directory::meta(&self.directory()))
    }

    pub(crate) fn workload(&self) -> String {
        self.root().meta.digest.workload().unwrap()
    }
}

/// An answer with its whole body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Status and code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), media::PROBLEM, "{} {}", self.status, self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        for member in ["type", "title", "detail", "remedy"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}");
        }
        (self.status, self.code())
    }
}

pub(crate) fn problem(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

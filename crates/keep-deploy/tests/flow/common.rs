// SPDX-License-Identifier: Apache-2.0

//! A Steward and a Drawbridge on loopback, with real TLS, which lie on demand.
//!
//! The Steward decides and signs as the real one does. What both say about it over the connection is written
//! out here, byte by byte, so that it can be wrong.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drawbridge_types::{Directory, Entry, Meta, file, media};
use enarx_config::{ClientAuth, Listen, Root as TrustRoot, Trust};
use evidence_crypto::AwsLc;
use evidence_dcap::SgxDevelopment;
use evidence_development::{Attester, Guest, Root, SgxPlatform};
use evidence_pki::Signer as _;
use evidence_snp::Development;
use evidence_verifier::{Endorsements, Verifier};
use keep_deploy::{Host, Loader, NotLoaded};
use keep_identity::{CertificateClaims, Key, Time, self_signed};
use keep_launch::{Deploy, Event, Evidence, Network, Platform, Source};
use keep_net::{IdentityHandle, Net, Stream};
use steward_core::certificate::{Issuer, Profile, Template, name};
use steward_core::key::AwsLcKey;
use steward_core::{Authority, Setup, SigningAlgorithm};
use steward_policy::Policy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zeroize::Zeroizing;

pub const DAY: u64 = 24 * 60 * 60;
pub const SLUG: &str = "localhost:8443/user/repo:1.2.3";
/// The path of the tag at the test's Drawbridge.
pub const TAG: &str = "/api/v0.1.0/user/repo/_tag/1.2.3";

pub fn now() -> Time {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Time::from_unix(now.as_secs())
}

/// A Steward's keys and certificates, without a network.
pub struct Ca {
    pub root: Vec<u8>,
    pub authority: Authority,
    key: Zeroizing<String>,
}

impl Ca {
    /// Lets in development evidence under that root. `policy` is added to the policy.
    pub fn new(development: &Root, policy: &str) -> Self {
        let now = now();
        let algorithm = SigningAlgorithm::EcdsaP256Sha256;
        let (root_key, key) =
            (AwsLcKey::generate(algorithm).unwrap(), AwsLcKey::generate(algorithm).unwrap());
        let template = Template {
            random: [0x11; 16],
            subject: &name(Some("Example"), "Example Root"),
            public_key: root_key.public_key(),
            not_before: now.minus(100 * DAY),
            not_after: now.plus(3650 * DAY),
            profile: Profile::Authority { path_length: 1 },
        };
        let root = template.self_sign(&AwsLc, &root_key).unwrap();
        let certificate = evidence_pki::Certificate::parse(&root).unwrap();
        let issuer = Issuer::of(&AwsLc, &certificate).unwrap();
        let template = Template {
            random: [0x22; 16],
            subject: &name(Some("Example"), "Example Steward"),
            public_key: key.public_key(),
            not_before: now.minus(100 * DAY),
            not_after: now.plus(365 * DAY),
            profile: Profile::Authority { path_length: 0 },
        };
        let steward = template.sign(&AwsLc, &issuer, &root_key).unwrap();
        let key_pem = key.to_pem().unwrap();
        let pem = development.certificate_pem().unwrap();
        let policy =
            format!("{policy}\n[development]\nany_code = true\nroot = \"\"\"\n{pem}\"\"\"\n");
        let policy = Policy::parse(&policy).unwrap();
        let crypto = Arc::new(AwsLc);
        let roots = policy.development_roots().to_vec();
        let setup = Setup {
            verifier: Verifier::empty()
                .with(Box::new(SgxDevelopment::new(crypto.clone(), roots.clone())))
                .with(Box::new(Development::new(crypto.clone(), roots))),
            crypto,
            chain: vec![steward, root.clone()],
            signer: Box::new(key),
            policy,
            policy_url: None,
            nonce_key: Some(Zeroizing::new([0x33; 32])),
            endorsements: Endorsements::new(),
        };
        Self { root, authority: Authority::new(setup).unwrap(), key: key_pem }
    }

    /// What no Steward would issue: a certificate for the key of that request with other claims.
    pub fn forge(&self, csr: &[u8], change: impl FnOnce(&mut CertificateClaims)) -> Vec<u8> {
        let issued = self.authority.issue(csr, now(), random()).unwrap();
        let mut claims = issued.claims().clone();
        change(&mut claims);
        let steward = evidence_pki::Certificate::parse(&issued.chain()[0]).unwrap();
        let request = evidence_pki::Request::parse(csr).unwrap();
        let template = Template {
            random: random(),
            subject: &name(None, "Keep"),
            public_key: request.spki,
            not_before: now(),
            not_after: now().plus(DAY),
            profile: Profile::Keep { dns_names: &[], uris: &[], claims: &claims.to_der().unwrap() },
        };
        let key = AwsLcKey::from_pem(self.key.as_bytes()).unwrap();
        let leaf = template.sign(&AwsLc, &Issuer::of(&AwsLc, &steward).unwrap(), &key).unwrap();
        evidence_pki::encode::sequence(&[steward.raw, &leaf])
    }
}

/// What plays a processor that speaks for itself.
pub enum StandIn {
    Snp(Attester),
    Sgx(SgxPlatform),
}

/// The host of a Keep under test: evidence by a development root, and a record of events.
pub struct TestHost {
    pub attester: Option<Attester>,
    /// Goes before the host's own evidence.
    pub stand_in: Option<StandIn>,
    pub events: Mutex<Vec<Event>>,
    /// Seconds that are added to the time.
    pub ahead: AtomicU64,
    pub asked: AtomicUsize,
}

impl TestHost {
    pub fn new(root: &Root) -> Arc<Self> {
        Arc::new(Self {
            attester: Some(root.attester(now().minus(90 * DAY)).unwrap()),
            stand_in: None,
            events: Mutex::default(),
            ahead: AtomicU64::new(0),
            asked: AtomicUsize::new(0),
        })
    }

    pub fn steps(&self) -> Vec<u8> {
        let events = self.events.lock().unwrap();
        let number = |event: &Event| match event {
            Event::Step { number, .. } => Some(*number),
            _ => None,
        };
        events.iter().filter_map(number).collect()
    }

    pub fn warnings(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let message = |event: &Event| match event {
            Event::Warning { message } => Some(message.clone()),
            _ => None,
        };
        events.iter().filter_map(message).collect()
    }

    pub fn chains(&self) -> Vec<Vec<Vec<u8>>> {
        let events = self.events.lock().unwrap();
        let chain = |event: &Event| match event {
            Event::Certificate { chain, .. } => Some(chain.clone()),
            _ => None,
        };
        events.iter().filter_map(chain).collect()
    }

    pub fn listening(&self) -> Option<String> {
        let events = self.events.lock().unwrap();
        events.iter().find_map(|event| match event {
            Event::Listening { address, .. } => Some(address.clone()),
            _ => None,
        })
    }
}

/// A report as a stand-in's firmware composes it (AMD 56860, `ATTESTATION_REPORT`).
fn reported(attester: &Attester, report_data: &[u8; 64]) -> Evidence {
    let mut report = [0; 1184];
    report[0] = 3;
    // The policy's bit that is always set.
    report[0x00a] = 2;
    report[0x050..0x090].copy_from_slice(report_data);
    attester.sign_report(&mut report).unwrap();
    Evidence::Made {
        platform: Platform::Development,
        evidence: report.to_vec(),
        endorsements: vec![("vek".into(), attester.vek_der().to_vec())],
    }
}

/// A quote of what a stand-in's enclave reports (Intel SDM volume 3D, `REPORT`).
fn quoted(platform: &SgxPlatform, report_data: &[u8; 64]) -> Evidence {
    let mut report = [0; 384];
    // INIT, MODE64BIT.
    report[48] = 5;
    report[320..].copy_from_slice(report_data);
    let endorsements = platform.endorsements().iter();
    Evidence::Made {
        platform: Platform::DevelopmentSgx,
        evidence: platform.quote(&report).unwrap(),
        endorsements: endorsements.map(|(kind, value)| ((*kind).into(), value.clone())).collect(),
    }
}

impl Host for TestHost {
    fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match &self.stand_in {
            Some(StandIn::Snp(attester)) => return Ok(reported(attester, report_data)),
            Some(StandIn::Sgx(platform)) => return Ok(quoted(platform, report_data)),
            None => {}
        }
        let Some(attester) = &self.attester else {
            return Ok(Evidence::Refused { message: "there is no such device".into() });
        };
        let report = attester.report(&Guest::default(), report_data).unwrap();
        Ok(Evidence::Made {
            platform: Platform::Development,
            evidence: report,
            endorsements: vec![("vek".into(), attester.vek_der().to_vec())],
        })
    }

    fn event(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn now(&self) -> Time {
        now().plus(self.ahead.load(Ordering::SeqCst))
    }
}

/// Takes everything that begins with `fits`; what begins with `else` is for another machine.
pub struct TestLoader;

impl Loader for TestLoader {
    type Memory = Vec<u8>;
    type Loaded = Vec<u8>;

    fn memory(&self, len: u64) -> std::io::Result<Vec<u8>> {
        Ok(Vec::with_capacity(usize::try_from(len).unwrap()))
    }

    fn load(&self, memory: Vec<u8>, module: [u8; 32]) -> Result<Vec<u8>, NotLoaded> {
        let refused = |is_mismatch| NotLoaded { is_mismatch, message: "it does not fit".into() };
        match memory.get(..4) {
            Some(b"fits") if memory.get(4..36) == Some(&module[..]) => Ok(memory),
            Some(b"else") => Err(refused(true)),
            _ => Err(refused(false)),
        }
    }
}

/// An artifact that the loader takes for that module.
pub fn artifact(module: &[u8]) -> Vec<u8> {
    let digest = drawbridge_types::ContentDigest::of(module);
    let digest = digest.get(drawbridge_types::Algorithm::Sha256).unwrap();
    [b"fits", digest, &vec![7; 100_000]].concat()
}

/// What a server does with a connection, one after the other.
#[derive(Debug, Clone)]
pub enum Act {
    Send(Vec<u8>),
    /// The same again and again.
    Endless(Vec<u8>),
    /// Nothing, for ever.
    Stall,
    /// The end of the connection.
    Cut,
}

/// A request that a server got.
#[derive(Debug, Clone)]
pub struct Got {
    pub method: String,
    pub path: String,
    pub head: String,
    pub body: Vec<u8>,
    /// The digest in the client's certificate, if it showed one.
    pub workload: Option<String>,
    /// The client's certificate.
    pub leaf: Option<Vec<u8>>,
}

pub type Answer = Box<dyn Fn(&Got) -> Vec<Act> + Send + Sync>;

/// A TLS server.
pub struct Server {
    pub address: SocketAddr,
    /// Its certificate, which is its own root.
    pub root: Vec<u8>,
    pub got: Arc<Mutex<Vec<Got>>>,
}

impl Server {
    /// Without client certificates, or with those of the Steward with that root.
    pub async fn start(steward: Option<&[u8]>, answer: Answer) -> Self {
        let key = Arc::new(Key::generate().unwrap());
        let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
        let identity = self_signed(key, &["localhost".into()], &addresses, now()).unwrap();
        let root = identity.chain()[0].clone();
        let handle = IdentityHandle::new();
        handle.install(&identity).unwrap();
        let network = Network {
            steward_roots: steward.iter().map(|root| root.to_vec()).collect(),
            max_sockets: 100,
            ..Network::default()
        };
        let net = Net::new(&network, handle, &[]).unwrap();
        let mut listen = Listen::new("server", addresses[0], 0);
        if steward.is_some() {
            listen.client_auth = ClientAuth::Required;
            listen.trust = Trust::new([TrustRoot::Steward]);
            listen.trust.allow_development = true;
        }
        let mut listener = net.listen(&listen).await.unwrap();
        let address = listener.local_addr();
        let got = Arc::new(Mutex::new(Vec::new()));
        let (answer, record) = (Arc::new(answer), Arc::clone(&got));
        tokio::spawn(async move {
            while let Ok(stream) = listener.accept().await {
                let (answer, record) = (Arc::clone(&answer), Arc::clone(&record));
                tokio::spawn(async move {
                    let _ = converse(stream, &answer, &record).await;
                });
            }
        });
        Self { address, root, got }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub fn paths(&self) -> Vec<String> {
        self.got.lock().unwrap().iter().map(|one| one.path.clone()).collect()
    }
}

async fn converse(
    mut stream: Stream,
    answer: &Answer,
    record: &Mutex<Vec<Got>>,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8(head).unwrap();
        let mut words = head.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        let peer = stream.peer();
        let workload = peer.claims.as_ref().and_then(|claims| claims.workload.as_ref());
        let got = Got {
            method,
            path,
            head,
            body,
            workload: workload.map(|workload| workload.digest().to_owned()),
            leaf: peer.certificates.first().map(|leaf| leaf.to_vec()),
        };
        let acts = answer(&got);
        record.lock().unwrap().push(got);
        for act in acts {
            match act {
                Act::Send(bytes) => {
                    stream.write_all(&bytes).await?;
                    stream.flush().await?;
                }
                Act::Endless(bytes) => loop {
                    stream.write_all(&bytes).await?;
                },
                Act::Stall => std::future::pending().await,
                Act::Cut => return Ok(()),
            }
        }
    }
}

/// A whole answer.
pub fn reply(status: u16, kind: &str, body: &[u8]) -> Act {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Act::Send([head.as_bytes(), body].concat())
}

/// An honest Steward.
pub fn honest(ca: &Arc<Ca>) -> Answer {
    let ca = Arc::clone(ca);
    Box::new(move |got| vec![steward(&ca, got, now())])
}

/// What an honest Steward says at that time.
pub fn steward(ca: &Ca, got: &Got, now: Time) -> Act {
    match (got.method.as_str(), got.path.as_str()) {
        ("GET", "/v1/nonce") => {
            let nonce = ca.authority.nonce(now, [5; 16]).unwrap();
            let body = format!(
                "{{\"nonce\":\"{}\",\"expires\":\"{}\"}}",
                nonce.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
                now
            );
            reply(200, "application/json", body.as_bytes())
        }
        ("POST", "/v1/certificates") => match ca.authority.issue(&got.body, now, random()) {
            Ok(issued) => reply(200, "application/pkix-pkipath", &issued.pki_path()),
            Err(refusal) => reply(
                403,
                "application/problem+json",
                format!(
                    "{{\"title\":\"refused\",\"code\":\"{}\",\"detail\":\"{refusal}\"}}",
                    refusal.code()
                )
                .as_bytes(),
            ),
        },
        _ => reply(404, "text/plain", b""),
    }
}

fn random() -> [u8; 16] {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    u128::from(COUNT.fetch_add(1, Ordering::SeqCst)).to_be_bytes()
}

/// The files of a workload, as a Drawbridge has them.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Workload {
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec()));
        Self { files: files.collect() }
    }

    /// A module, a configuration and native code that fits.
    pub fn usual() -> Self {
        let module = module();
        let config =
            b"args = [\"--fast\"]\nfiles = [{ kind = \"stdin\" }, { kind = \"stdout\" }]\n";
        Self::new(&[
            (file::WASM, &module),
            (file::CONFIG, config),
            (file::ARTIFACT, &artifact(&module)),
        ])
    }

    pub fn directory(&self) -> Vec<u8> {
        let mut directory = Directory::default();
        for (name, content) in &self.files {
            let kind = match name.as_str() {
                file::WASM => media::WASM,
                file::CONFIG => media::TOML,
                file::ARTIFACT => media::ARTIFACT,
                _ => media::PEM,
            };
            directory.insert(name.parse().unwrap(), Entry::new(Meta::of(content, kind)));
        }
        directory.to_bytes()
    }

    pub fn root(&self) -> Meta {
        Directory::meta(&self.directory())
    }

    pub fn digest(&self) -> String {
        self.root().digest.workload().unwrap()
    }

    /// What an honest Drawbridge says.
    pub fn answer(&self, got: &Got) -> Act {
        if got.workload.as_deref() != Some(&self.digest()) {
            let problem = br#"{"title":"no","detail":"this Keep runs another workload","code":"release.workload","remedy":"ask the owner"}"#;
            return reply(403, media::PROBLEM, problem);
        }
        let entry = serde_json::to_vec(&Entry::new(self.root())).unwrap();
        match got.path.strip_prefix(TAG) {
            Some("") => reply(200, media::ENTRY, &entry),
            Some("/tree") => reply(200, media::DIRECTORY, &self.directory()),
            Some(path) => match path.strip_prefix("/tree/").and_then(|name| self.files.get(name)) {
                Some(content) => reply(200, media::OCTETS, content),
                None => reply(404, "text/plain", b""),
            },
            None => reply(404, "text/plain", b""),
        }
    }
}

/// Bytes that are not looked at.
pub fn module() -> Vec<u8> {
    [&b"\0asm\x01\0\0\0"[..], &vec![3; 300_000]].concat()
}

/// All that a deployment needs.
pub struct World {
    pub development: Root,
    pub ca: Arc<Ca>,
    pub host: Arc<TestHost>,
    pub workload: Workload,
}

impl World {
    pub fn new(workload: Workload) -> Self {
        let from = now().minus(100 * DAY);
        let development = Root::create(from, Duration::from_secs(3650 * DAY)).unwrap();
        let ca = Arc::new(Ca::new(&development, ""));
        let host = TestHost::new(&development);
        Self { development, ca, host, workload }
    }

    pub async fn steward(&self) -> Server {
        Server::start(None, honest(&self.ca)).await
    }

    pub async fn drawbridge(&self) -> Server {
        let workload = self.workload.clone();
        Server::start(Some(&self.ca.root), Box::new(move |got| vec![workload.answer(got)])).await
    }

    /// A Drawbridge that says this instead of the truth for a path below the tag.
    pub async fn lying(&self, path: &'static str, acts: Vec<Act>) -> Server {
        let workload = self.workload.clone();
        let answer = move |got: &Got| match got.path.strip_prefix(TAG) {
            Some(found) if found == path => acts.clone(),
            _ => vec![workload.answer(got)],
        };
        Server::start(Some(&self.ca.root), Box::new(answer)).await
    }

    pub fn network(&self, servers: &[&Server]) -> Network {
        Network {
            system_roots: false,
            roots: servers.iter().map(|server| server.root.clone()).collect(),
            steward_roots: vec![self.ca.root.clone()],
            resolvers: Vec::new(),
            hosts: vec![("localhost".into(), "127.0.0.1".into())],
            max_sockets: 100,
        }
    }

    pub fn launch(&self, steward: &Server, drawbridge: &Server) -> Deploy {
        Deploy {
            slug: Some(SLUG.into()),
            digest: self.workload.digest(),
            source: Source::Drawbridge { tag: format!("{}{TAG}", drawbridge.url()) },
            steward: Some(steward.url()),
            network: self.network(&[steward, drawbridge]),
            compiler: None,
            max_memory: 1 << 30,
            threads: 1,
        }
    }
}

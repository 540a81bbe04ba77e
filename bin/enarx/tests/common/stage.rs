// SPDX-License-Identifier: Apache-2.0

//! The whole flow with its parts in separate processes, and what stands between and beside them:
//! certificate authorities, servers that say anything, and a line that breaks.

#![allow(dead_code, reason = "each test program uses another part of this module")]
#![allow(unreachable_pub, reason = "a module of a program has nobody outside")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use drawbridge_client::Package;
use evidence_crypto::AwsLc;
use evidence_pki::{Certificate, to_pem};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use steward_core::certificate::{Issuer, Profile, Template, name};
use steward_core::{PemKey, Signer as _, SigningAlgorithm};
use steward_service::{clock, establish};

use crate::common::{Scratch, enarx_in, show, text, wait_until};
use crate::guests::group;

/// Longer than anything here takes on a machine that is busy with something else.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Where `enarx dev` has its things, below a home.
const DEVELOPMENT: &str = "data/enarx/development";

/// Steward, Drawbridge and issuer of `enarx dev up`, as long as the value lives.
pub struct Services {
    /// Of the one whose services they are.
    pub home: Scratch,
    state: Value,
}

impl Services {
    /// With a development root of their own.
    pub fn up() -> Self {
        Self::up_at(Scratch::new())
    }

    /// In a home that may have something in it already.
    pub fn up_at(home: Scratch) -> Self {
        let mut services = Self { home, state: Value::Null };
        services.start(&[]);
        services
    }

    fn start(&mut self, args: &[&str]) {
        let mut command = enarx_in(self.home.path());
        let out = command.args(["dev", "up", "--json"]).args(args).output().expect("enarx starts");
        assert!(out.status.success(), "{}", show(&out));
        self.state = serde_json::from_slice(&out.stdout).expect("JSON");
    }

    /// A member of what `dev up --json` says.
    pub fn text(&self, name: &str) -> &str {
        self.state[name].as_str().expect("a string")
    }

    fn port(&self, name: &str) -> String {
        self.text(name).rsplit(':').next().expect("a port").trim_matches('/').to_owned()
    }

    /// Ends all of them by a signal that nobody can catch.
    pub fn kill(&self) {
        let pid = self.state["pid"].as_i64().expect("a number").to_string();
        let killed = Command::new("kill").args(["-s", "KILL", &pid]).status().expect("kill starts");
        assert!(killed.success(), "kill failed");
        let port = self.port("steward").parse().expect("a number");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait_until(LIMIT, "the end of the services", || TcpStream::connect(address).is_err());
    }

    /// Starts them again where they were.
    pub fn restart(&mut self) {
        let ports = ["steward", "drawbridge", "issuer"].map(|name| self.port(name));
        let [steward, drawbridge, oidc] = &ports;
        self.start(&[
            "--steward-port",
            steward,
            "--drawbridge-port",
            drawbridge,
            "--oidc-port",
            oidc,
        ]);
    }

    /// The folder of the Drawbridge's store.
    pub fn store(&self) -> PathBuf {
        self.home.path().join(DEVELOPMENT).join("drawbridge")
    }

    /// As the user of these services.
    pub fn tenant(&self, args: &[&str]) -> Command {
        let mut command = enarx_in(self.home.path());
        command.env("ENARX_DRAWBRIDGE", self.text("drawbridge"));
        command.env("ENARX_CA_BUNDLE", self.text("ca_bundle"));
        command.env("ENARX_OIDC_DOMAIN", self.text("issuer"));
        command.args(args);
        command
    }

    /// The same, and it has to go well.
    pub fn ok(&self, args: &[&str]) -> String {
        let out = self.tenant(args).output().expect("enarx starts");
        assert!(out.status.success(), "{args:?}\n{}", show(&out));
        text(&out.stdout)
    }

    /// Logs in, makes the user `alice`, and her repository `shop` for Keeps with a certificate of that
    /// Steward.
    pub fn register(&self, steward: &Self) {
        self.ok(&["user", "login"]);
        self.ok(&["user", "register", "alice"]);
        self.ok(&[
            "repo",
            "register",
            "alice/shop",
            "--allow-development",
            "--steward",
            steward.text("steward"),
            "--steward-ca",
            steward.text("steward_ca"),
        ]);
    }

    /// A machine that Keeps run on, and nothing else: it has the development root of these services.
    pub fn host(&self) -> Scratch {
        let host = Scratch::new();
        let (from, to) = (self.home.path().join(DEVELOPMENT), host.path().join(DEVELOPMENT));
        fs::create_dir_all(&to).expect("a folder");
        for name in ["root.key", "root.crt"] {
            // Copies the mode too.
            fs::copy(from.join(name), to.join(name)).expect("a copy");
        }
        host
    }

    /// `enarx deploy` on that machine, which knows this Steward's root, and those of the TLS in a file.
    pub fn deploy(&self, host: &Path, backend: &str, bundle: &str, workload: &str) -> Command {
        let mut command = enarx_in(host);
        command.args(["deploy", "--verbose", "--backend", backend]);
        command.args(["--steward-ca", self.text("steward_ca"), "--ca-bundle", bundle, workload]);
        command
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let _ = enarx_in(self.home.path()).args(["dev", "down"]).output();
    }
}

/// PEM files in one.
pub fn bundle(folder: &Scratch, files: &[&str]) -> String {
    let parts = files.iter().map(|file| fs::read_to_string(file).expect("a file"));
    let path = folder.file("bundle.pem", parts.collect::<String>());
    path.to_str().expect("text").to_owned()
}

/// Runs a command to its end, after which nothing that it started may be left.
pub fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).spawn().expect("enarx starts");
    let leader = child.id();
    let out = child.wait_with_output().expect("enarx is waited for");
    wait_until(LIMIT, "the end of all that it started", || group(leader).is_empty());
    out
}

/// A folder with a workload.
pub struct Workload {
    pub folder: Scratch,
    pub digest: String,
}

impl Workload {
    /// With that module, in text form, and that configuration.
    pub fn new(wat: &str, config: &str) -> Self {
        let folder = Scratch::new();
        folder.file("main.wasm", wat::parse_str(wat).expect("a module"));
        folder.file("Enarx.toml", config);
        let digest = Package::from_path(folder.path()).expect("a package").digest();
        Self { folder, digest }
    }

    /// Writes [`SAID`], ends with 7, and is so long that it does not arrive in one piece.
    pub fn that_says_so() -> Self {
        let wat = format!(
            r#"(module
              (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
              (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
              (memory (export "memory") 20)
              (data (i32.const 16) "{SAID}\n")
              (data (i32.const 65536) "{}")
              (func (export "_start")
                (i32.store (i32.const 0) (i32.const 16))
                (i32.store (i32.const 4) (i32.const {}))
                (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                (call $proc_exit (i32.const 7))))"#,
            "keep".repeat(256 << 10),
            SAID.len() + 1,
        );
        let config = r#"files = [{ kind = "null" }, { kind = "stdout" }, { kind = "stderr" }]

[compiler]
allow_development = true
"#;
        Self::new(&wat, config)
    }

    pub fn path(&self) -> &str {
        self.folder.path().to_str().expect("text")
    }
}

/// What the workload says if it runs.
pub const SAID: &str = "it runs, although";

/// It ran, once.
pub fn assert_ran(out: &Output) {
    assert_eq!(out.status.code(), Some(7), "{}", show(out));
    assert_eq!(text(&out.stdout), format!("{SAID}\n"), "{}", show(out));
}

/// It did not run, for a reason with these words in it, and with a word on what to do.
pub fn assert_refused(out: &Output, code: i32, words: &[&str]) {
    assert_eq!(out.status.code(), Some(code), "{}", show(out));
    let said = text(&out.stderr);
    for word in words.iter().chain(&["Error: ", "help: "]) {
        assert!(said.contains(word), "{word} is not in\n{}", show(out));
    }
    assert_silent(out);
}

/// It did not run.
pub fn assert_silent(out: &Output) {
    assert_eq!(text(&out.stdout), "", "{}", show(out));
    let said = text(&out.stderr);
    assert!(!said.contains(SAID) && !said.contains("13  run"), "{}", show(out));
}

/// A certificate authority.
pub struct Ca {
    key: String,
    /// DER, the issuing certificate and the root.
    pub chain: Vec<Vec<u8>>,
}

impl Ca {
    pub fn new(called: &str) -> Self {
        let key = PemKey::generate(SigningAlgorithm::EcdsaP256Sha256).expect("a key");
        let made = establish(called, clock::now(), &key).expect("an authority");
        let key = key.to_pem().expect("a key").to_string();
        Self { key, chain: vec![made.intermediate, made.root] }
    }

    pub fn key_pem(&self) -> &str {
        &self.key
    }

    pub fn key(&self) -> PemKey {
        PemKey::from_pem(self.key.as_bytes()).expect("a key")
    }

    pub fn root_pem(&self) -> String {
        to_pem("CERTIFICATE", &self.chain[1])
    }

    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|der| to_pem("CERTIFICATE", der)).collect()
    }

    pub fn issuer(&self) -> Issuer {
        let certificate = Certificate::parse(&self.chain[0]).expect("a certificate");
        Issuer::of(&AwsLc, &certificate).expect("an issuer")
    }

    /// TLS for `localhost`, without ALPN.
    fn server(&self) -> Arc<ServerConfig> {
        let key = PemKey::generate(SigningAlgorithm::EcdsaP256Sha256).expect("a key");
        let leaf = Template {
            random: [7; 16],
            subject: &name(None, "Test"),
            public_key: key.public_key(),
            not_before: clock::now().minus(3600),
            not_after: clock::now().plus(3600),
            profile: Profile::Server {
                dns_names: &["localhost".to_owned()],
                addresses: &[Ipv4Addr::LOCALHOST.into()],
            },
        };
        let leaf = leaf.sign(&AwsLc, &self.issuer(), &self.key()).expect("a certificate");
        let chain = [leaf, self.chain[0].clone()].map(CertificateDer::from).to_vec();
        let pem = key.to_pem().expect("a key");
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider's versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate with its key");
        Arc::new(config)
    }
}

/// What was asked for.
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: Vec<u8>,
}

/// What is done about it, one after the other; after the last comes the next request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Send(Vec<u8>),
    /// A head without a length, and bytes without end.
    Endless,
    /// Nothing, for ever.
    Silence,
    /// The end of the connection, without a word.
    Cut,
}

/// A whole answer.
pub fn reply(status: u16, kind: &str, body: &[u8]) -> Act {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    Act::Send([head.as_bytes(), body].concat())
}

/// An HTTPS server that says anything; its port.
pub fn serve(ca: &Ca, answer: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static) -> u16 {
    let (config, answer) = (ca.server(), Arc::new(answer));
    listen(move |socket| {
        let Ok(connection) = ServerConnection::new(Arc::clone(&config)) else { return };
        let _ = converse(&mut StreamOwned::new(connection, socket), &*answer);
    })
}

fn converse(
    stream: &mut StreamOwned<ServerConnection, TcpStream>,
    answer: &dyn Fn(&Request) -> Vec<Act>,
) -> io::Result<()> {
    loop {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut words = head.split(' ').map(str::to_owned);
        let (method, path) = (words.next(), words.next());
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body)?;
        let (method, path) = (method.unwrap_or_default(), path.unwrap_or_default());
        for act in answer(&Request { method, path, body }) {
            match act {
                Act::Send(bytes) => {
                    stream.write_all(&bytes)?;
                    stream.flush()?;
                }
                Act::Endless => {
                    stream.write_all(b"HTTP/1.1 200 X\r\nConnection: close\r\n\r\n")?;
                    loop {
                        stream.write_all(&[0x55; 64 << 10])?;
                    }
                }
                Act::Silence => wait_for_the_end(&mut stream.sock),
                Act::Cut => return stream.sock.shutdown(Shutdown::Both),
            }
        }
    }
}

/// A server that takes connections and never says anything; its port.
pub fn silent() -> u16 {
    listen(|mut socket| wait_for_the_end(&mut socket))
}

fn wait_for_the_end(socket: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while matches!(socket.read(&mut bytes), Ok(1..)) {}
}

fn listen(work: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let work = Arc::new(work);
    // They end with the process.
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let work = Arc::clone(&work);
            thread::spawn(move || work(socket));
        }
    });
    port
}

/// What a line does to one piece of what it carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    Drop,
    Repeat,
    /// Its successor goes first.
    Reorder,
    /// One bit.
    Change,
    Delay,
}

/// A line to a server, on which answers get stuck or worse.
pub struct Line {
    pub port: u16,
    /// So many bytes of an answer pass on one connection.
    limit: Arc<AtomicU64>,
    stuck: Arc<AtomicUsize>,
    /// Behind so many bytes on each connection.
    fault: Arc<Mutex<(Fault, u64)>>,
}

impl Line {
    /// To the server at `address`, `localhost:PORT`; nothing gets stuck.
    pub fn to(address: &str) -> Self {
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("a port")));
        let (limit, stuck) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::default());
        let (passing, waiting) = (Arc::clone(&limit), Arc::<AtomicUsize>::clone(&stuck));
        let fault = Arc::new(Mutex::new((Fault::None, 0)));
        let faults = Arc::clone(&fault);
        let port = listen(move |client| {
            let Ok(server) = TcpStream::connect(server) else { return };
            let fault = *faults.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = carry(client, server, passing.load(Ordering::SeqCst), &waiting, fault);
        });
        Self { port, limit, stuck, fault }
    }

    /// From the next connection on, to the first piece behind so many bytes of each.
    pub fn spoil(&self, fault: Fault, behind: u64) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = (fault, behind);
    }

    /// From the next connection on.
    pub fn let_pass(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::SeqCst);
    }

    /// Waits until another answer is stuck; what is stuck ends when the server does.
    pub fn wait_until_stuck(&self, before: usize) {
        wait_until(LIMIT, "an answer that gets stuck", || self.stuck() > before);
    }

    /// How many answers got stuck so far.
    pub fn stuck(&self) -> usize {
        self.stuck.load(Ordering::SeqCst)
    }
}

fn carry(
    client: TcpStream,
    mut server: TcpStream,
    limit: u64,
    stuck: &AtomicUsize,
    (mut fault, behind): (Fault, u64),
) -> io::Result<()> {
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut client, mut bytes, mut passed) = (client, [0; 8192], 0_u64);
    let mut held = Vec::new();
    while let Ok(count @ 1..) = server.read(&mut bytes) {
        let before = passed;
        passed += count as u64;
        if passed <= limit {
            let mut piece = bytes[..count].to_vec();
            let is_next = !held.is_empty();
            piece.append(&mut held);
            if before >= behind && !is_next {
                match std::mem::replace(&mut fault, Fault::None) {
                    Fault::None => {}
                    Fault::Drop => piece.clear(),
                    Fault::Repeat => piece.extend_from_within(..),
                    Fault::Reorder => held = std::mem::take(&mut piece),
                    Fault::Change => piece[count / 2] ^= 1,
                    Fault::Delay => thread::sleep(Duration::from_secs(1)),
                }
            }
            if client.write_all(&piece).is_err() {
                break;
            }
        } else if before <= limit {
            stuck.fetch_add(1, Ordering::SeqCst);
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    server.shutdown(Shutdown::Both)
}

// SPDX-License-Identifier: Apache-2.0

//! The Steward as a WASI application, from outside: built by `cargo xtask guests`, run by a Wasmtime that
//! `cargo xtask programs wasmtime-36` fetches. Where either is missing the tests print so and pass.

mod common;

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Answer, Home, has, head, tool};

const PKCS10: &[(&str, &str)] = &[("content-type", "application/pkcs10")];

/// The module and the runtime, `None` if one of them is missing.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/target/out/steward.wasm");
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|c| !c.is_empty()).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let runtime = cache.or(home)?.join("enarx-dev/wasmtime-36");
    for (path, how) in [(&module, "guests"), (&runtime, "programs wasmtime-36")] {
        if !path.exists() {
            eprintln!("skipped: {} is missing; see `cargo xtask {how}`", path.display());
            return None;
        }
    }
    Some((module, runtime))
}

/// A Steward in Wasmtime, which is ended with the test.
struct Wasi {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Wasi {
    /// `None` if it cannot be had here. The policy is that of the development root, with more in its
    /// `[certificate]`.
    fn start(home: &Home, certificate: &str, more: &[&str]) -> Option<Self> {
        let mut wasi = Self::spawn(home, certificate, more)?;
        let start = Instant::now();
        while !wasi.log().contains("steward: ready") {
            let ended = wasi.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}\n{}", wasi.log());
            // Compiling the module takes its time where processors are busy.
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "it does not start: {}",
                wasi.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(wasi)
    }

    fn spawn(home: &Home, certificate: &str, more: &[&str]) -> Option<Self> {
        let (module, runtime) = programs()?;
        let folder = home.path("etc");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(home.path("ca/steward.key"), folder.join("key.pem")).unwrap();
        fs::copy(home.path("ca/steward.crt"), folder.join("chain.pem")).unwrap();
        fs::copy(home.policy(certificate, ""), folder.join("policy.toml")).unwrap();
        // Free at the moment, which is as good as it gets: Wasmtime does not tell the port that it took.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = home.path("wasi.log");
        let child = Command::new(runtime)
            .args(["run", "-S", "preview2=n", "-S", &format!("tcplisten={address}"), "--dir"])
            .arg(format!("{}::/etc", folder.display()))
            .arg(module)
            .arg("/etc")
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Some(Self { child, address, log })
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let head = head(method, path, headers, Some(body.len()));
        self.send(&[&head, body].concat())
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// Sends what may be no request.
    fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        Answer::read(&mut stream)
    }
}

impl Drop for Wasi {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The certificates of a PkiPath, the Keep's last.
fn certificates(path: &[u8]) -> Vec<Vec<u8>> {
    let mut inner =
        evidence_pki::Cursor::whole(path, evidence_pki::tag::SEQUENCE, "a path").unwrap();
    let mut out = Vec::new();
    while !inner.is_done() {
        out.push(inner.next().unwrap().raw.to_vec());
    }
    out
}

#[test]
fn certificates_are_issued_and_hold() {
    let home = Home::new();
    let Some(steward) = Wasi::start(&home, "", &[]) else { return };
    assert_eq!(steward.get("/healthz").json()["status"], "ok");
    let ca = steward.get("/v1/ca");
    assert_eq!(ca.header("content-type"), "application/pem-certificate-chain");
    assert_eq!(ca.text(), fs::read_to_string(home.path("ca/steward.crt")).unwrap());

    let csr = home.request("request", &[]);
    let answer = steward.ask("POST", "/", PKCS10, &csr);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/pkix-pkipath"));
    let path = certificates(&answer.body);
    assert!(path.len() >= 2, "{} certificates", path.len());

    let pem = steward.ask("POST", "/v1/certificates", PKCS10, &csr);
    assert_eq!(pem.header("content-type"), "application/pem-certificate-chain");
    fs::write(home.path("keep.pem"), &pem.body).unwrap();
    // The native program finds its claims, and that they hold.
    let shown = common::good(["verify", &home.text("keep.pem"), "--ca", &home.text("ca/root.crt")]);
    assert!(shown.contains("development"), "{shown}");
    if has("openssl") {
        fs::write(home.path("leaf.der"), path.last().unwrap()).unwrap();
        tool(
            "openssl",
            &["x509", "-inform", "DER", "-in", "leaf.der", "-out", "l.pem"],
            home.root(),
        );
        let args = ["verify", "-CAfile", "ca/root.crt", "-untrusted", "ca/steward.crt", "l.pem"];
        assert!(tool("openssl", &args, home.root()).contains("l.pem: OK"));
    }

    let nonce = steward.get("/v1/nonce").json()["nonce"].as_str().unwrap().to_owned();
    let fresh = home.request("fresh", &["--nonce", &nonce]);
    assert_eq!(steward.ask("POST", "/", PKCS10, &fresh).status, 200);

    // Not a test: how fast one client gets certificates here.
    let (start, count) = (Instant::now(), 50);
    for _ in 0..count {
        assert_eq!(steward.ask("POST", "/", PKCS10, &csr).status, 200);
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    eprintln!("{rate:.0} certificates a second in Wasmtime, one client");
}

#[test]
fn refusals_are_problems() {
    let home = Home::new();
    let Some(steward) = Wasi::start(&home, "require_nonce = true", &["3"]) else { return };
    let csr = home.request("request", &[]);
    let unfit = steward.ask("POST", "/", PKCS10, &csr);
    assert_eq!((unfit.status, unfit.problem().as_str()), (403, "policy.nonce"));
    assert_eq!(unfit.json()["violations"][0]["code"], "policy.nonce");
    let nonce = "00".repeat(28);
    let unknown = steward.ask("POST", "/", PKCS10, &home.request("r", &["--nonce", &nonce]));
    assert_eq!((unknown.status, unknown.problem().as_str()), (400, "csr.nonce-unknown"));

    let lines = [b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(65)].concat();
    let large = vec![b'x'; (1 << 20) + 1];
    let json = [("content-type", "application/json")];
    for (answer, status, code) in [
        (steward.ask("POST", "/", PKCS10, b"garbage"), 400, "csr.malformed"),
        (steward.ask("POST", "/", PKCS10, b""), 400, "csr.malformed"),
        (steward.ask("POST", "/", PKCS10, &large[1..]), 400, "csr.malformed"),
        (steward.ask("POST", "/", PKCS10, &large), 413, "http.body-too-large"),
        (steward.ask("POST", "/", &json, &csr), 415, "http.content-type"),
        (steward.ask("POST", "/", &[], &csr), 415, "http.content-type"),
        (steward.ask("POST", "/v1/nothing", PKCS10, &csr), 404, "http.not-found"),
        (steward.ask("PUT", "/", PKCS10, &csr), 405, "http.method"),
        (steward.send(b"\0\0\0\r\n\r\n"), 400, "http.malformed"),
        // Less than was promised.
        (steward.send(&head("POST", "/", PKCS10, Some(10))), 400, "http.malformed"),
        (steward.send(&lines), 431, "http.malformed"),
        (
            steward.send(&[b"GET / HTTP/1.1\r\na: ".as_slice(), &large].concat()),
            431,
            "http.malformed",
        ),
    ] {
        assert_eq!((answer.status, answer.problem().as_str()), (status, code));
    }
    // None of them was the end of it.
    assert_eq!(steward.get("/healthz").status, 200);
}

#[test]
fn what_is_no_socket_is_refused() {
    let home = Home::new();
    for (more, word) in [
        (&["4"][..], "descriptor 4 is no listening socket"),
        (&["x"], "usage: steward FOLDER [DESCRIPTOR]"),
        (&["3", "4"], "usage: steward FOLDER [DESCRIPTOR]"),
    ] {
        let Some(mut steward) = Wasi::spawn(&home, "", more) else { return };
        assert!(!steward.child.wait().unwrap().success());
        assert!(steward.log().contains(word), "{}", steward.log());
    }
}

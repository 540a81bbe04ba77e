// SPDX-License-Identifier: Apache-2.0

//! What the end-to-end tests share: the program, a running service, and a client for HTTP/1.1 of few
//! lines, which can also do what a decent client would not.

#![allow(dead_code, reason = "each test program uses another part of this module")]
#![allow(unreachable_pub, reason = "a module of a program has nobody outside")]

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test, without what the environment may have for it.
pub fn steward() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steward"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("STEWARD_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    steward().args(args).output().unwrap()
}

/// What it wrote to stdout; it must have succeeded.
pub fn good<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> String {
    let out = run(args);
    assert!(out.status.success(), "{}", show(&out));
    String::from_utf8(out.stdout).unwrap()
}

pub fn show(out: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}

/// Runs another program to its end, which must succeed.
pub fn tool(program: &str, args: &[&str], folder: &Path) -> String {
    let out = Command::new(program).args(args).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", show(&out));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Whether a program is there.
pub fn has(program: &str) -> bool {
    let out = Command::new(program).arg("--version").output();
    let there = out.is_ok();
    if !there {
        eprintln!("skipped: there is no `{program}`");
    }
    there
}

/// A folder with an authority (`ca/`) and a development root (`dev/`).
pub struct Home {
    folder: TempDir,
}

impl Home {
    pub fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        good(["init", "--dir", &home.text("ca"), "--name", "Test"]);
        good(["development", "root", "--dir", &home.text("dev")]);
        home
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A certificate request with development evidence, and its key beside it (`NAME.key`).
    pub fn request(&self, name: &str, args: &[&str]) -> Vec<u8> {
        let (out, key, root) =
            (self.text(name), self.text(&format!("{name}.key")), self.text("dev"));
        let mut all = vec!["development", "request", "--root", &root, "--out", &out];
        all.extend(["--key-out", &key]);
        all.extend(args);
        good(all);
        fs::read(out).unwrap()
    }

    /// A policy under the development root, with more at its end or in `[certificate]`.
    pub fn policy(&self, certificate: &str, more: &str) -> String {
        let text = fs::read_to_string(self.path("dev/policy.toml")).unwrap();
        let text = text.replace("[certificate]\n", &format!("[certificate]\n{certificate}\n"));
        let path = self.path("policy.toml");
        fs::write(&path, text + more).unwrap();
        path.display().to_string()
    }

    /// The arguments of a service with the authority's key.
    pub fn serve(&self, policy: &str) -> Vec<String> {
        let mut args: Vec<String> =
            ["--crt", &self.text("ca/steward.crt"), "--key"].into_iter().map(Into::into).collect();
        args.extend([self.text("ca/steward.key"), "--policy".into(), policy.into()]);
        args
    }

    /// A service that accepts development evidence.
    pub fn start(&self, more: &[&str]) -> Service {
        self.start_with(&self.text("dev/policy.toml"), more)
    }

    pub fn start_with(&self, policy: &str, more: &[&str]) -> Service {
        let mut args = self.serve(policy);
        args.push("--development".into());
        args.extend(more.iter().map(|arg| (*arg).into()));
        Service::start(self, &args, &[])
    }
}

/// A running service, which is ended with the test.
pub struct Service {
    child: Option<Child>,
    pub address: SocketAddr,
    log: PathBuf,
}

impl Service {
    pub fn start(home: &Home, args: &[String], environment: &[(&str, &str)]) -> Self {
        let file = home.path("address");
        let log = home.path("log");
        let _ = fs::remove_file(&file);
        let mut child = steward()
            .args(["serve", "--addr", "127.0.0.1", "--port", "0", "--log-format", "json"])
            .arg("--addr-file")
            .arg(&file)
            .args(args)
            .envs(environment.iter().copied())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let start = Instant::now();
        let address = loop {
            if let Ok(text) = fs::read_to_string(&file) {
                break text.trim().parse().unwrap();
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{status}\n{}", fs::read_to_string(&log).unwrap());
            }
            assert!(start.elapsed() < Duration::from_secs(20), "the service does not start");
            std::thread::sleep(Duration::from_millis(10));
        };
        Self { child: Some(child), address, log }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(&head(method, path, headers, Some(body.len()))).unwrap();
        // The service may answer, and hang up, before it has all of it.
        let _ = stream.write_all(body);
        Answer::read(&mut stream)
    }

    /// Asks for a certificate; `accept` may be empty.
    pub fn certify(&self, csr: &[u8], accept: &str) -> Answer {
        let mut headers = vec![("content-type", "application/pkcs10")];
        if !accept.is_empty() {
            headers.push(("accept", accept));
        }
        self.ask("POST", "/v1/certificates", &headers, csr)
    }

    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        tool("kill", &["-TERM", &self.id().to_string()], Path::new("."));
    }

    /// Waits for its end; the exit code and the log, line by line.
    pub fn wait(mut self) -> (Option<i32>, Vec<Value>) {
        let code = self.child.take().unwrap().wait().unwrap().code();
        let log = fs::read_to_string(&self.log).unwrap();
        (code, log.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    pub fn stop(self) -> Vec<Value> {
        self.terminate();
        let (code, log) = self.wait();
        assert_eq!(code, Some(0), "{log:?}");
        log
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The head of a request. The service closes the connection after the answer.
pub fn head(method: &str, path: &str, headers: &[(&str, &str)], length: Option<usize>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        text += &format!("content-length: {length}\r\n");
    }
    (text + "\r\n").into_bytes()
}

/// An answer.
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}\n{}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Answer {
    /// Reads to the end of the stream.
    pub fn read(stream: &mut impl Read) -> Self {
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        loop {
            match stream.read(&mut part) {
                Ok(0) => break,
                Ok(length) => bytes.extend_from_slice(&part[..length]),
                // An answer that came before the request was over may end so.
                Err(_) if !bytes.is_empty() => break,
                Err(error) => panic!("{error}"),
            }
        }
        let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("no answer: {:?}", String::from_utf8_lossy(&bytes));
        });
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: bytes[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a problem document, which must be complete.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["type"], format!("https://enarx.dev/problems/{code}"));
        for member in ["title", "detail", "remedy"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        code
    }
}

/// A file of the shared recorded evidence; `None`, with a word, if it is not there.
pub fn vector(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("skipped: there is no {}", path.display());
        return None;
    }
    Some(path)
}

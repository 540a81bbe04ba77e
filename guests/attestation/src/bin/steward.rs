// SPDX-License-Identifier: Apache-2.0

//! The Steward as a WASI application: the library that decides, behind a small HTTP/1.1 server on a
//! listening socket that it inherits.
//!
//! ```text
//! steward FOLDER [DESCRIPTOR]    # key.pem, chain.pem, policy.toml; the socket
//! ```
//!
//! Without a number, the socket is the first stream socket among the inherited descriptors: runtimes
//! disagree on whether sockets or folders come first.
//!
//! The decision is the same code as in the native service; what is around it is the least that serves
//! it: one connection at a time, no TLS (a Keep puts that on the socket), no metrics. A connection may
//! carry several requests, as a Keep sends them that asks for a nonce and then for a certificate. WASI
//! preview 1 has no timeouts on sockets, so they do not wait here, and this program does; a client that
//! is silent for long is left, since all others wait for it.

use std::ffi::CString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::FromRawFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use evidence_claims::Reason;
use evidence_crypto::{Crypto, RustCrypto};
use evidence_dcap::SgxDevelopment;
use evidence_pki::Time;
use evidence_snp::Development;
use evidence_verifier::{Endorsements, Verifier};
use serde_json::{Value, json};
use steward_core::key::RustCryptoKey;
use steward_core::{Authority, Fault, IssueRefusal, Setup};
use steward_policy::Policy;

/// No body of a request may have more bytes.
const MAX_BODY: usize = 1 << 20;
/// No head of a request may have more bytes.
const MAX_HEAD: usize = 16 << 10;
/// A client has so long to begin a request.
const IDLE: Duration = Duration::from_secs(2);
/// A client has so long to send a request, or to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at a socket on which nothing moved.
const PAUSE: Duration = Duration::from_millis(1);

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (folder, descriptor) = match args.as_slice() {
        [folder] => (folder, None),
        [folder, number] => match number.parse::<u32>() {
            Ok(number) => (folder, Some(number)),
            Err(_) => return usage(),
        },
        _ => return usage(),
    };
    match serve(Path::new(folder), descriptor) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("steward: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: steward FOLDER [DESCRIPTOR]");
    ExitCode::from(2)
}

fn serve(folder: &Path, descriptor: Option<u32>) -> Result<()> {
    let sockets = inherited();
    let descriptor = match descriptor {
        None => *sockets.first().ok_or("no listening socket was inherited")?,
        Some(number) if sockets.contains(&number) => number,
        Some(number) => return Err(format!("descriptor {number} is no listening socket").into()),
    };
    let authority = authority(folder)?;
    // SAFETY: it is open, and a socket that whoever started us handed over; nothing else in this program
    // uses it.
    let listener = unsafe { TcpListener::from_raw_fd(i32::try_from(descriptor)?) };
    eprintln!("steward: ready");
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // An inherited socket may be one that does not wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(5));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // What one client does is no reason to stop.
        if let Err(error) = stream.set_nonblocking(true).and_then(|()| converse(&authority, stream))
        {
            eprintln!("steward: {error}");
        }
    }
}

/// What WASI preview 1 says of a descriptor (`fdstat`).
#[repr(C)]
#[derive(Default)]
struct Status {
    kind: u8,
    flags: u16,
    rights: [u64; 2],
}

/// What it says of a folder (`prestat`): the length of its name. Its tag can only be that of a folder.
#[repr(C)]
#[derive(Default)]
struct Folder {
    tag: u8,
    name_length: usize,
}

const DIRECTORY: u8 = 3;
const SOCKET_STREAM: u8 = 6;

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn fd_fdstat_get(descriptor: u32, status: *mut Status) -> u16;
    fn fd_prestat_get(descriptor: u32, folder: *mut Folder) -> u16;
    fn fd_prestat_dir_name(descriptor: u32, name: *mut u8, length: usize) -> u16;
}

unsafe extern "C" {
    /// Of the C library: makes a folder known to all that open files by name. It copies the name.
    fn __wasilibc_register_preopened_fd(
        descriptor: core::ffi::c_int,
        name: *const core::ffi::c_char,
    ) -> core::ffi::c_int;
}

/// The stream sockets among the descriptors that were inherited.
///
/// The C library looks for folders from descriptor 3 on and stops at the first that is none, so it does
/// not see those behind a socket. They are made known to it here.
fn inherited() -> Vec<u32> {
    let mut sockets = Vec::new();
    for descriptor in 3.. {
        let mut status = Status::default();
        // SAFETY: `status` has the layout of the specification and lives until the call returns.
        if unsafe { fd_fdstat_get(descriptor, &mut status) } != 0 {
            break;
        }
        match status.kind {
            SOCKET_STREAM => sockets.push(descriptor),
            DIRECTORY if !sockets.is_empty() => register(descriptor),
            _ => {}
        }
    }
    sockets
}

fn register(descriptor: u32) {
    let mut folder = Folder::default();
    // SAFETY: as above.
    if unsafe { fd_prestat_get(descriptor, &mut folder) } != 0 {
        return;
    }
    let mut name = vec![0; folder.name_length];
    // SAFETY: the buffer has the length that is given.
    if unsafe { fd_prestat_dir_name(descriptor, name.as_mut_ptr(), name.len()) } != 0 {
        return;
    }
    let (Ok(name), Ok(number)) = (CString::new(name), i32::try_from(descriptor)) else { return };
    // SAFETY: the descriptor is an open folder, and the name a C string that is copied.
    if unsafe { __wasilibc_register_preopened_fd(number, name.as_ptr()) } != 0 {
        eprintln!("steward: the folder at descriptor {descriptor} cannot be used");
    }
}

fn authority(folder: &Path) -> Result<Authority> {
    let crypto: Arc<dyn Crypto> = Arc::new(RustCrypto);
    let policy = Policy::parse(&fs::read_to_string(folder.join("policy.toml"))?)
        .map_err(|error| error.in_file("policy.toml"))?;
    let mut verifier = Verifier::new(Arc::clone(&crypto));
    if !policy.development_roots().is_empty() {
        eprintln!("steward: WARNING: this policy takes development evidence, which proves nothing");
        let roots = policy.development_roots().to_vec();
        verifier = verifier
            .with(Box::new(Development::new(Arc::clone(&crypto), roots.clone())))
            .with(Box::new(SgxDevelopment::new(Arc::clone(&crypto), roots)));
    }
    let chain = fs::read(folder.join("chain.pem"))?;
    Ok(Authority::new(Setup {
        crypto,
        verifier,
        chain: evidence_pki::pem_blocks(&chain, "CERTIFICATE")?,
        signer: Box::new(RustCryptoKey::from_pem(&fs::read(folder.join("key.pem"))?)?),
        policy,
        policy_url: None,
        nonce_key: Some(zeroize::Zeroizing::new(random())),
        endorsements: Endorsements::new(),
    })?)
}

/// A request, as far as anything here looks at it.
struct Request {
    method: String,
    path: String,
    content_type: String,
    accept: String,
    /// Whether the client wants to send another one.
    keep: bool,
    body: Vec<u8>,
}

/// Answers all requests of a connection.
fn converse(authority: &Authority, mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Some(request) = read(&mut stream, &mut bytes)? {
        let (status, content_type, body) = match &request {
            Ok(request) => route(authority, request),
            Err(413) => problem(
                413,
                "http.body-too-large",
                "the body of the request has more than 1 MiB",
                "leave out endorsements that the evidence does not need",
            ),
            Err(status) => {
                problem(*status, "http.malformed", "this is no request", "send HTTP/1.1")
            }
        };
        let keep = request.as_ref().is_ok_and(|request| request.keep);
        let head = format!(
            "HTTP/1.1 {status} \r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\n{}\r\n",
            body.len(),
            if keep { "" } else { "Connection: close\r\n" },
        );
        write(&mut stream, &[head.as_bytes(), &body].concat())?;
        if request.is_err() {
            return drain(&mut stream);
        }
        if !keep {
            break;
        }
    }
    Ok(())
}

/// Tries again for some time what a socket cannot do at once.
fn in_time<T>(patience: Duration, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let start = Instant::now();
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if start.elapsed() > patience {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                std::thread::sleep(PAUSE);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    let start = Instant::now();
    while !bytes.is_empty() {
        let left = PATIENCE.saturating_sub(start.elapsed());
        match in_time(left, || stream.write(bytes))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = bytes.get(count..).unwrap_or_default(),
        }
    }
    Ok(())
}

/// Ends the answer, and takes some of what the client may still send: closed with bytes unread, the
/// connection would be reset, and the client might never see the answer.
fn drain(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    let mut chunk = [0; 8192];
    let mut left = 2 * MAX_BODY;
    let start = Instant::now();
    while left > 0 && start.elapsed() < PATIENCE {
        match in_time(IDLE, || stream.read(&mut chunk)) {
            Ok(0) => break,
            Ok(count) => left = left.saturating_sub(count),
            // The client has gone already, or says nothing.
            Err(_) => break,
        }
    }
    Ok(())
}

/// Reads one request; the inner error is the status of an answer. None: the client sends no more.
///
/// `bytes` is what arrived and was not looked at, before and after.
fn read(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
) -> io::Result<Option<std::result::Result<Request, u16>>> {
    let mut chunk = [0; 8192];
    let mut wanted = None;
    let start = Instant::now();
    loop {
        if wanted.is_none() {
            match head(bytes) {
                Ok(Some(found)) => wanted = Some(found),
                Ok(None) if bytes.len() > MAX_HEAD => return Ok(Some(Err(431))),
                Ok(None) => {}
                Err(status) => return Ok(Some(Err(status))),
            }
        }
        if let Some((start, size, request)) = &mut wanted {
            if let Some(body) = bytes.get(*start..*start + *size) {
                request.body = body.to_vec();
                bytes.drain(..*start + *size);
                return Ok(wanted.map(|(.., request)| Ok(request)));
            }
        }
        let patience =
            if bytes.is_empty() { IDLE } else { PATIENCE.saturating_sub(start.elapsed()) };
        match in_time(patience, || stream.read(&mut chunk)) {
            Ok(0) if bytes.is_empty() => return Ok(None),
            Ok(0) => return Ok(Some(Err(400))),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && bytes.is_empty() => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
}

/// The head of a request, if it is all there: its length, that of the body, and the request without it.
/// The error is the status of an answer.
fn head(bytes: &[u8]) -> std::result::Result<Option<(usize, usize, Request)>, u16> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(431),
        Err(_) => return Err(400),
    };
    let value = |name: &str| {
        let header = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name))?;
        core::str::from_utf8(header.value).ok().map(str::to_owned)
    };
    let body = match value("content-length").map(|text| text.parse::<usize>()) {
        None => 0,
        Some(Ok(size)) if size <= MAX_BODY => size,
        Some(Ok(_)) => return Err(413),
        Some(Err(_)) => return Err(400),
    };
    if value("transfer-encoding").is_some() {
        return Err(501);
    }
    let connection = value("connection").unwrap_or_default().to_ascii_lowercase();
    let request = Request {
        method: head.method.unwrap_or_default().to_owned(),
        path: head.path.unwrap_or_default().to_owned(),
        content_type: value("content-type").unwrap_or_default(),
        accept: value("accept").unwrap_or_default(),
        keep: head.version == Some(1) && !connection.contains("close"),
        body: Vec::new(),
    };
    Ok(Some((length, body, request)))
}

type Answer = (u16, &'static str, Vec<u8>);

/// The certificates in one piece, the Keep's last (RFC 6066, 10.1).
const PKI_PATH: &str = "application/pkix-pkipath";

fn route(authority: &Authority, request: &Request) -> Answer {
    let content_type = request.content_type.split(';').next().unwrap_or_default().trim();
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/") => (200, "text/plain", Vec::new()),
        ("GET", "/healthz") => (200, "application/json", br#"{"status":"ok"}"#.to_vec()),
        ("GET", "/v1/ca") => {
            let chain: String =
                authority.chain().iter().map(|der| steward_core::pem(der)).collect();
            (200, "application/pem-certificate-chain", chain.into_bytes())
        }
        ("GET", "/v1/nonce") => match authority.nonce(now(), random()) {
            Some(nonce) => {
                let hex: String =
                    nonce.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
                let body = json!({ "nonce": hex, "expires": nonce.expires().to_string() });
                (200, "application/json", body.to_string().into_bytes())
            }
            None => problem(500, "http.internal", "there are no nonces here", "do without one"),
        },
        ("POST", path @ ("/" | "/v1/certificates")) => match content_type {
            "application/pkcs10" => match authority.issue(&request.body, now(), random()) {
                Ok(issued) if path == "/" || request.accept.contains(PKI_PATH) => {
                    (200, PKI_PATH, issued.pki_path())
                }
                Ok(issued) => (200, "application/pem-certificate-chain", issued.pem().into_bytes()),
                Err(refusal) => refused(&refusal),
            },
            "application/vnd.steward.pkcs10-bundle.v1" => {
                match authority.issue_bundle(&request.body, now(), &mut random) {
                    Ok(bundle) => (200, "application/octet-stream", bundle.der()),
                    Err(refusal) => refused(&refusal),
                }
            }
            _ => problem(
                415,
                "http.content-type",
                "the body of the request is of a type that is not taken here",
                "send Content-Type: application/pkcs10",
            ),
        },
        (_, "/" | "/healthz" | "/v1/ca" | "/v1/nonce" | "/v1/certificates") => problem(
            405,
            "http.method",
            "this path does not know this method",
            "see the documentation of the Steward",
        ),
        _ => problem(404, "http.not-found", "there is nothing at this path", "POST to /"),
    }
}

fn refused(refusal: &IssueRefusal) -> Answer {
    eprintln!("steward: refused: {}: {refusal}", refusal.code());
    // What is wrong with the Steward itself is for its log.
    let detail = match refusal.fault() {
        Fault::Server => "the Steward cannot sign at the moment".to_owned(),
        _ => refusal.to_string(),
    };
    let mut body = members(refusal.status(), refusal.code(), &detail, refusal.remedy());
    body["reference"] = refusal.reference().into();
    if let IssueRefusal::Policy(_) = refusal {
        let violation = |reason: &dyn Reason| {
            json!({
                "code": reason.code(),
                "detail": reason.to_string(),
                "remedy": reason.remedy(),
                "reference": reason.reference(),
            })
        };
        body["violations"] = refusal.reasons().map(violation).collect();
    }
    (refusal.status(), "application/problem+json", body.to_string().into_bytes())
}

fn problem(status: u16, code: &str, detail: &str, remedy: &str) -> Answer {
    let body = members(status, code, detail, remedy);
    (status, "application/problem+json", body.to_string().into_bytes())
}

/// The members that every problem has.
fn members(status: u16, code: &str, detail: &str, remedy: &str) -> Value {
    json!({
        "type": format!("https://enarx.dev/problems/{code}"),
        "title": if status < 500 { "The request is refused" } else { "The Steward failed" },
        "status": status,
        "code": code,
        "detail": detail,
        "remedy": remedy,
    })
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::from_unix(since.as_secs())
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without random numbers nothing here is worth anything.
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

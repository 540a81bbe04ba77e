// SPDX-License-Identifier: Apache-2.0

//! Keeps with sockets, and the native programs at their other end.
//!
//! Clients and servers are rustls over plain threads: nothing here is shared with what runs in a
//! Keep.

#![allow(dead_code, reason = "each test program uses another part of this module")]
#![allow(unreachable_pub, reason = "a module of a program has nobody outside")]

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned,
};

/// Longer than anything here takes on a machine that is busy with something else.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A port that nobody listens at.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// A Keep that runs in the background, ended with this.
#[derive(Debug)]
pub struct Keep {
    child: Child,
    said: Arc<(Mutex<Said>, Condvar)>,
}

#[derive(Debug, Default)]
struct Said {
    stdout: String,
    stderr: String,
    /// Streams that have ended.
    ended: usize,
}

impl Keep {
    /// Starts a workload and waits until as many sockets listen as are wanted.
    pub fn start(command: &mut Command, listening: usize) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("enarx starts");
        let said = Arc::<(Mutex<Said>, Condvar)>::default();
        let out = child.stdout.take().expect("a pipe");
        let err = child.stderr.take().expect("a pipe");
        listen_to(out, &said, |said| &mut said.stdout);
        listen_to(err, &said, |said| &mut said.stderr);
        let keep = Self { child, said };
        keep.wait_for(|said| said.stderr.matches(" listens at ").count() >= listening);
        keep
    }

    /// Waits until it has said something on stderr.
    pub fn wait_until_said(&self, text: &str) {
        self.wait_for(|said| said.stderr.contains(text));
    }

    fn wait_for(&self, mut done: impl FnMut(&Said) -> bool) {
        let (mutex, changed) = &*self.said;
        let said = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, timeout) = changed
            .wait_timeout_while(said, LIMIT, |said| !done(said) && said.ended < 2)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!timeout.timed_out(), "the Keep did not get there: {said:?}");
        assert!(done(&said), "the Keep ended: {said:?}");
    }

    /// What it wrote so far on stderr.
    pub fn stderr(&self) -> String {
        self.said.0.lock().unwrap_or_else(PoisonError::into_inner).stderr.clone()
    }

    /// Waits for its end: how it ended, stdout and stderr.
    pub fn wait(mut self) -> (ExitStatus, String, String) {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("enarx is waited for") {
                break status;
            }
            assert!(start.elapsed() < LIMIT, "the Keep does not end: {:?}", self.said.0);
            thread::sleep(Duration::from_millis(5));
        };
        let (mutex, changed) = &*self.said;
        let said = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        let said =
            changed.wait_while(said, |said| said.ended < 2).unwrap_or_else(PoisonError::into_inner);
        (status, said.stdout.clone(), said.stderr.clone())
    }
}

impl Drop for Keep {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen_to(
    stream: impl Read + Send + 'static,
    said: &Arc<(Mutex<Said>, Condvar)>,
    field: fn(&mut Said) -> &mut String,
) {
    let said = Arc::clone(said);
    thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let count = lines.read_until(b'\n', &mut line).unwrap_or(0);
            let mut state = said.0.lock().unwrap_or_else(PoisonError::into_inner);
            if count == 0 {
                state.ended += 1;
                said.1.notify_all();
                return;
            }
            field(&mut state).push_str(&String::from_utf8_lossy(&line));
            said.1.notify_all();
        }
    });
}

/// `enarx run` of a workload with a configuration, verbose.
pub fn run(backend: &str, config: &Path, module: &Path) -> Command {
    let mut command = crate::common::enarx();
    command.args(["run", "--verbose", "--backend", backend, "--config"]).arg(config).arg(module);
    command
}

/// A TLS connection as a client has it.
pub type Client = StreamOwned<ClientConnection, TcpStream>;

/// Takes any certificate: a Keep without a Steward signs its own.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("a Keep speaks TLS 1.3".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The configuration of a client that takes any certificate.
pub fn client_config() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider's versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    Arc::new(config)
}

/// Connects over TCP alone.
pub fn tcp(port: u16) -> TcpStream {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, LIMIT).expect("the Keep accepts");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    stream.set_write_timeout(Some(LIMIT)).expect("a timeout");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// Connects over TLS and completes the handshake.
pub fn tls(config: &Arc<ClientConfig>, port: u16) -> io::Result<Client> {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut client = StreamOwned::new(connection, tcp(port));
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock)?;
    }
    Ok(client)
}

/// Sends a request for a path, whose answer stays to be read.
pub fn ask(to: &mut impl Write, method: &str, path: &str, body: &[u8]) -> io::Result<()> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    to.write_all(head.as_bytes())?;
    to.write_all(body)?;
    to.flush()
}

/// Reads one answer: its status and body.
pub fn answer(from: &mut impl Read) -> io::Result<(u16, Vec<u8>)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let line = |from: &mut dyn Read| -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            from.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        line.truncate(line.len() - 2);
        String::from_utf8(line).map_err(|_| bad("a line is not text"))
    };
    let first = line(from)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| bad(&first))?;
    let (mut length, mut chunked) = (None, false);
    loop {
        let field = line(from)?.to_ascii_lowercase();
        match field.split_once(':') {
            None => break,
            Some(("content-length", value)) => length = value.trim().parse::<usize>().ok(),
            Some(("transfer-encoding", value)) => chunked = value.trim() == "chunked",
            Some(_) => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let size = usize::from_str_radix(&line(from)?, 16).map_err(|_| bad("a chunk"))?;
            let start = body.len();
            body.resize(start + size, 0);
            from.read_exact(&mut body[start..])?;
            line(from)?;
            if size == 0 {
                break;
            }
        }
    } else {
        body.resize(length.ok_or_else(|| bad("no length"))?, 0);
        from.read_exact(&mut body)?;
    }
    Ok((status, body))
}

/// One request and its answer.
pub fn get<S: Read + Write>(stream: &mut S, path: &str) -> (u16, String) {
    ask(stream, "GET", path, b"").expect("the Keep takes a request");
    let (status, body) = answer(stream).expect("the Keep answers");
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// An authority and a certificate of it for `localhost`, made by `openssl`; none without that.
pub fn certificates(folder: &Path) -> bool {
    let openssl = |args: &str| {
        let out = Command::new("openssl").args(args.split(' ')).current_dir(folder).output();
        match out {
            Ok(out) => {
                assert!(out.status.success(), "openssl: {}", crate::common::show(&out));
                true
            }
            Err(error) => {
                eprintln!("skipped: openssl: {error}");
                false
            }
        }
    };
    std::fs::write(
        folder.join("leaf.cnf"),
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n",
    )
    .expect("a file");
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!("req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=root -days 2"))
        && openssl(&format!("req {new} -keyout leaf.key -out leaf.csr -subj /CN=localhost"))
        && openssl(
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days 2 \
             -extfile leaf.cnf",
        )
}

/// A server of this process on a port of its own.
#[derive(Debug)]
pub struct Server {
    /// Where it listens on the loopback interface.
    pub port: u16,
    /// Connections so far, and their first bytes on the wire.
    pub seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    /// Answers HTTP requests with the path that was asked for, over TLS with the certificate in a
    /// folder, or without.
    pub fn http(certificate: Option<&Path>) -> Self {
        Self::start(certificate, |stream| {
            let mut reader = BufReader::new(stream);
            loop {
                let mut path = None;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if line == "\r\n" {
                        break;
                    }
                    path.get_or_insert(line);
                }
                let path = path.unwrap_or_default();
                let path = path.split(' ').nth(1).unwrap_or_default();
                let length = path.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{path}");
                if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        })
    }

    /// Sends back what comes, until it ends.
    pub fn echo(certificate: Option<&Path>) -> Self {
        Self::start(certificate, |stream| {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                if stream.write_all(&bytes[..count]).is_err() {
                    return;
                }
            }
        })
    }

    fn start(certificate: Option<&Path>, serve: fn(&mut dyn Stream)) -> Self {
        let config = certificate.map(|folder| {
            let chain = CertificateDer::pem_file_iter(folder.join("leaf.pem"))
                .and_then(Iterator::collect)
                .expect("a certificate");
            let key = PrivateKeyDer::from_pem_file(folder.join("leaf.key")).expect("a key");
            let provider = Arc::new(aws_lc_rs::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("the provider's versions")
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .expect("a certificate with its key");
            Arc::new(config)
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let seen = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let all = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), config) = (stream, config.clone()) else { return };
                let seen = Arc::clone(&all);
                thread::spawn(move || {
                    let mut first = [0; 64];
                    let count = stream.peek(&mut first).unwrap_or(0);
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(first[..count].to_vec());
                    match config {
                        None => serve(&mut stream),
                        Some(config) => {
                            let Ok(connection) = ServerConnection::new(config) else { return };
                            let mut stream = StreamOwned::new(connection, stream);
                            serve(&mut stream);
                            stream.conn.send_close_notify();
                            let _ = stream.flush();
                        }
                    }
                });
            }
        });
        Self { port, seen }
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Both directions.
pub trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

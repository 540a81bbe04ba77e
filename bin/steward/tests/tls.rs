// SPDX-License-Identifier: Apache-2.0

//! What the certificates are for: programs that know nothing of evidence take them, on both ends of TLS.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use common::{Answer, Home, has, head, tool};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

const NAME: &str = "keep.example.com";

/// A Keep's certificate for [`NAME`] with its chain (`keep.pem`), its key (`keep.key`), and the root
/// (`ca/root.crt`).
fn issue() -> Home {
    let home = Home::new();
    let policy = home.policy(&format!("dns_names = [\"{NAME}\"]"), "");
    let service = home.start_with(&policy, &[]);
    let csr = home.request("keep", &[]);
    let pem = service.certify(&csr, "application/pem-certificate-chain");
    fs::write(home.path("keep.pem"), &pem.body).unwrap();
    service.stop();
    home
}

#[test]
fn openssl_accepts_the_chain() {
    if !has("openssl") {
        return;
    }
    let home = issue();
    for purpose in ["sslserver", "sslclient"] {
        let args = ["verify", "-x509_strict", "-purpose", purpose, "-verify_hostname", NAME];
        let files = ["-CAfile", "ca/root.crt", "-untrusted", "keep.pem", "keep.pem"];
        assert!(tool("openssl", &[&args[..], &files].concat(), home.root()).contains("OK"));
    }
    let other = ["verify", "-CAfile", "dev/root.crt", "-untrusted", "keep.pem", "keep.pem"];
    let out = std::process::Command::new("openssl")
        .args(other)
        .current_dir(home.root())
        .output()
        .unwrap();
    assert!(!out.status.success());
}

#[test]
fn python_completes_mutual_tls() {
    if !has("python3") {
        return;
    }
    let home = issue();
    let script = r#"
import socket, ssl, threading
def context(side):
    c = ssl.SSLContext(side)
    c.load_cert_chain("keep.pem", "keep.key")
    c.load_verify_locations("ca/root.crt")
    c.verify_mode = ssl.CERT_REQUIRED
    return c
listener = socket.create_server(("127.0.0.1", 0))
def serve():
    stream, _ = listener.accept()
    with context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(stream, server_side=True) as tls:
        assert tls.getpeercert()["subject"], "no client certificate"
        tls.sendall(tls.recv(100)[::-1])
thread = threading.Thread(target=serve); thread.start()
with socket.create_connection(listener.getsockname()) as stream:
    with context(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(stream, server_hostname="keep.example.com") as tls:
        tls.sendall(b"hello")
        print(tls.recv(100).decode(), tls.version())
thread.join()
"#;
    assert!(tool("python3", &["-c", script], home.root()).starts_with("olleh TLSv1.3"));
}

fn chain(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

fn roots(home: &Home) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(chain(&home.path("ca/root.crt")));
    roots
}

fn key(home: &Home) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_file(home.path("keep.key")).unwrap()
}

fn client(home: &Home, with_certificate: bool) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(home));
    Arc::new(match with_certificate {
        true => builder.with_client_auth_cert(chain(&home.path("keep.pem")), key(home)).unwrap(),
        false => builder.with_no_client_auth(),
    })
}

fn connect(
    config: Arc<ClientConfig>,
    stream: TcpStream,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(NAME).unwrap();
    StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream)
}

#[test]
fn rustls_completes_mutual_tls() {
    let home = issue();
    let provider = Arc::new(default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&home)), Arc::clone(&provider))
            .build()
            .unwrap();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(&home.path("keep.pem")), key(&home))
        .unwrap();
    let server = Arc::new(server);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut ends = Vec::new();
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            let connection = ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut tls = StreamOwned::new(connection, stream);
            let mut word = [0; 5];
            let end = tls.read_exact(&mut word).and_then(|()| {
                tls.write_all(&word)?;
                tls.flush()
            });
            ends.push((end.is_ok(), tls.conn.peer_certificates().map_or(0, <[_]>::len)));
        }
        ends
    });
    let mut tls = connect(client(&home, true), TcpStream::connect(address).unwrap());
    tls.write_all(b"hello").unwrap();
    let mut word = [0; 5];
    tls.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"hello");
    // Without a certificate there is no conversation.
    let mut tls = connect(client(&home, false), TcpStream::connect(address).unwrap());
    let _ = tls.write_all(b"hello");
    assert!(tls.read_exact(&mut word).is_err());
    assert_eq!(thread.join().unwrap(), [(true, 2), (false, 0)]);
}

#[test]
fn the_service_speaks_tls_itself() {
    let home = issue();
    let (pem, key_file) = (home.text("keep.pem"), home.text("keep.key"));
    let service = home.start(&["--tls-cert", &pem, "--tls-key", &key_file, "--timeout", "1"]);
    let csr = home.request("other", &[]);
    let mut tls = connect(client(&home, false), service.connect());
    let content = [("content-type", "application/pkcs10")];
    tls.write_all(&head("POST", "/v1/certificates", &content, Some(csr.len()))).unwrap();
    tls.write_all(&csr).unwrap();
    assert_eq!(Answer::read(&mut tls).status, 200);
    // Who does not speak TLS, or says nothing, is left.
    let mut plain = service.connect();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"));
    let mut silent = service.connect();
    let _ = silent.read_to_end(&mut rest);
    service.stop();
    // A key that does not belong to the certificate.
    let (crt, other, policy) =
        (home.text("keep.pem"), home.text("other.key"), home.text("ca/policy.toml"));
    let mut args = vec!["serve".to_owned()];
    args.extend(home.serve(&policy));
    args.extend(["--tls-cert".into(), crt, "--tls-key".into(), other]);
    assert_eq!(common::run(args).status.code(), Some(4));
}

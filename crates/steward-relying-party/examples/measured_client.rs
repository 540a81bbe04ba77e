// SPDX-License-Identifier: Apache-2.0

//! A client that talks to Keeps of given measurements and to nobody else.
//!
//! ```text
//! cargo run -p steward-relying-party --features rustls --example measured_client -- \
//!     keep.example.com:443 steward-root.pem ff717ae719840c93…
//! ```
//!
//! It demands hardware, one of the measurements, and, on Intel's platforms, that they are up to date; says
//! what the certificate states, sends `GET /` and prints the answer. The name in the certificate is not
//! looked at, since the measurement says more.

use std::error::Error;
use std::io::{Read, Write, stdout};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::SystemTime;

use evidence_crypto::AwsLc;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use steward_relying_party::{Demands, KeepVerifier, Names, Time};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, root, measurements @ ..] = arguments.as_slice() else {
        return Err("usage: measured_client HOST:PORT ROOT.pem MEASUREMENT…".into());
    };
    if measurements.is_empty() {
        return Err("name at least one measurement, in hexadecimal digits".into());
    }
    let measurements: Vec<Vec<u8>> =
        measurements.iter().map(|text| bytes(text)).collect::<Result<_, _>>()?;
    let demands = Demands::new().measurements(measurements).tcb_statuses(["UpToDate"]);

    let root = std::fs::read(root)?;
    let roots = evidence_pki::certificates(&root)?.into_iter().map(|root| root.into_owned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = KeepVerifier::new(roots, demands, Arc::new(AwsLc), Arc::clone(&provider))?
        .names(Names::Ignored);

    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier.clone()))
        .with_no_client_auth();

    let host = address.rsplit_once(':').ok_or("the address lacks a port")?.0.to_owned();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from(host.clone())?)?;
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address.as_str())?);
    // The handshake is done, or has failed, when something was written.
    write!(stream, "GET / HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    stream.flush()?;

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let certificates = stream.conn.peer_certificates().unwrap_or_default();
    for (name, value) in verifier.claims(certificates, Time::from_unix(now))?.fields() {
        eprintln!("{name}: {value}");
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        // Many servers close without a word; what came is authentic all the same.
        eprintln!("the connection ended early: {error}");
    }
    Ok(stdout().write_all(&answer)?)
}

fn bytes(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    if !text.is_ascii() || !matches!(text.len(), 64 | 96) {
        return Err(format!("`{text}` is not a measurement of 32 or 48 bytes").into());
    }
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(&text[at..at + 2], 16)?)).collect()
}

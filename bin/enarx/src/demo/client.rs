// SPDX-License-Identifier: Apache-2.0

//! A plain HTTPS client that knows one root and nothing of Keeps: what every browser could be.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

/// So long may each part take.
const PATIENCE: Duration = Duration::from_secs(20);
/// No answer of the demonstration is longer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// What came back.
pub(super) struct Answer {
    /// The server's chain, DER, leaf first.
    pub(super) chain: Vec<Vec<u8>>,
    /// Version, key exchange and cipher, as they are called.
    pub(super) tls: String,
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Connection and handshake.
    pub(super) handshake: Duration,
    /// Request and answer.
    pub(super) exchange: Duration,
}

/// `GET path` from `localhost` at that address, trusting these roots (DER) alone.
pub(super) fn get(address: SocketAddr, path: &str, roots: &[Vec<u8>]) -> Result<Answer> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.clone())).context("a root cannot be used")?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let start = Instant::now();
    let mut socket = TcpStream::connect_timeout(&address, PATIENCE)
        .with_context(|| format!("cannot connect to {address}"))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost").context("localhost is a name")?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).context("the TLS handshake failed")?;
    }
    let handshake = start.elapsed();
    let chain: Vec<Vec<u8>> = connection
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect();
    let tls = [
        connection.protocol_version().map(|version| format!("{version:?}")),
        connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
        connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())),
    ];
    let tls = tls.into_iter().flatten().collect::<Vec<_>>().join(", ");

    let start = Instant::now();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).context("cannot send the request")?;
    stream.flush()?;
    let (status, body) = read_answer(&mut stream)?;
    Ok(Answer { chain, tls, status, body, handshake, exchange: start.elapsed() })
}

/// Status and body of an answer with `Content-Length`, or one that ends with the connection.
fn read_answer(stream: &mut impl Read) -> Result<(u16, Vec<u8>)> {
    let mut got = Vec::new();
    let mut buffer = [0; 4096];
    let mut whole = None;
    loop {
        if let Some((head, body)) = split(&got) {
            if whole.is_none() {
                whole = Some(length(head)?.map(|length| got.len() - body.len() + length));
            }
            if let Some(Some(end)) = whole
                && got.len() >= end
            {
                break;
            }
        }
        if got.len() > MAX_ANSWER {
            bail!("the answer is too long");
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // A server that is done need not say good-bye.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error).context("the answer broke off"),
        }
    }
    let Some((head, body)) = split(&got) else { bail!("the answer has no end of its head") };
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .context("the answer has no status")?;
    Ok((status, body.to_vec()))
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((std::str::from_utf8(bytes.get(..at)?).ok()?, bytes.get(at + 4..)?))
}

fn length(head: &str) -> Result<Option<usize>> {
    for line in head.lines() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let length = value.trim().parse().context("the answer has a strange length")?;
            return if length > MAX_ANSWER {
                bail!("the answer is too long")
            } else {
                Ok(Some(length))
            };
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_to_their_end_and_no_further() {
        let mut bytes = &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcREST"[..];
        let (status, body) = read_answer(&mut bytes).unwrap();
        assert_eq!((status, &body[..3]), (200, &b"abc"[..]));
        let mut bytes = &b"HTTP/1.1 403 No\r\n\r\nall"[..];
        assert_eq!(read_answer(&mut bytes).unwrap(), (403, b"all".to_vec()));
        for bad in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"nonsense\r\n\r\n"] {
            assert!(read_answer(&mut &*bad).is_err());
        }
        let mut long = &b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"[..];
        assert!(read_answer(&mut long).is_err());
    }
}

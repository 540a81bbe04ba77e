// SPDX-License-Identifier: Apache-2.0

//! A small client for HTTP/1.1 (RFC 9112): one connection, one request at a time.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use enarx_config::Peer;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Version};
use tokio::time::timeout;

use crate::connect::{self, called};
use crate::io::HyperIo;
use crate::settings::Scope;
use crate::{Net, NetError, PeerInfo};

/// How long a server may be silent, within an answer and before it.
pub const SILENCE: Duration = Duration::from_secs(30);

/// Most bytes of the head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// Most fields of the head of an answer.
const MAX_FIELDS: usize = 100;

/// What a request carries.
pub type Body = http_body_util::Full<Bytes>;

/// A URL of `https`, in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// A DNS name or an IP address, IPv6 without brackets.
    pub host: String,
    /// The port; 443 if the URL has none.
    pub port: u16,
    /// Path and query; at least `/`.
    pub path: String,
}

impl Url {
    /// Takes a URL apart (RFC 3986 §3): `https://host[:port][/path][?query]`.
    ///
    /// # Errors
    ///
    /// [`NetError::Url`].
    pub fn parse(text: &str) -> Result<Self, NetError> {
        let refused = |why| NetError::Url { url: text.chars().take(256).collect(), why };
        let rest = match text.split_at_checked("https://".len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https://") => rest,
            _ => return Err(refused("it does not begin with `https://`")),
        };
        if !rest.bytes().all(|byte| matches!(byte, b'!'..=b'~')) {
            return Err(refused("it has characters that a URL does not have"));
        }
        if rest.contains('#') {
            return Err(refused("it has a `#` part"));
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if authority.contains('@') {
            return Err(refused("it has a user name"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) =
                    rest.split_once(']').ok_or_else(|| refused("a bracket is not closed"))?;
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(refused("the address in brackets is none of IPv6"));
                }
                (host, port)
            }
            None => {
                let colon = authority.find(':').unwrap_or(authority.len());
                authority.split_at_checked(colon).unwrap_or((authority, ""))
            }
        };
        let port = match port {
            "" | ":" => 443,
            port => port
                .strip_prefix(':')
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|digits| digits.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(|| refused("the port is not between 1 and 65535"))?,
        };
        if host.is_empty() {
            return Err(refused("it names no host"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { host: host.to_owned(), port, path })
    }
}

/// A connection to a server.
pub struct Http {
    peer: String,
    host: HeaderValue,
    info: std::sync::Arc<PeerInfo>,
    sender: SendRequest<Body>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Http {
    pub(crate) async fn new(net: &Net, peer: &Peer) -> Result<Self, NetError> {
        let mut peer = peer.clone();
        if peer.alpn.is_empty() {
            peer.alpn.push("http/1.1".to_owned());
        }
        let stream = connect::connect(net, &peer, None, Scope::Deployment).await?;
        let peer_name = called(&peer);
        let host = if peer.port == 443 {
            peer_name.strip_suffix(":443").unwrap_or(&peer_name)
        } else {
            &peer_name
        };
        let host = HeaderValue::from_str(host).map_err(|_| NetError::Http {
            peer: peer_name.clone(),
            why: "the host cannot be named in a request".into(),
        })?;
        let info = std::sync::Arc::clone(stream.peer());
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_FIELDS)
            .handshake(HyperIo::new(stream))
            .await
            .map_err(|error| failed(&peer_name, &error))?;
        // Ends with us and with the answer that is being read. What goes wrong is told to who waits
        // for that answer.
        tokio::spawn(async move { _ = connection.await });
        Ok(Self { peer: peer_name, host, info, sender })
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &PeerInfo {
        &self.info
    }

    /// Whether another request can be sent; otherwise a new connection is needed.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request and waits for the head of the answer, [`SILENCE`] at most. The URI of the
    /// request is its path; `Host` and `User-Agent` are added where they lack. The answer before has
    /// to be read to its end, or this waits for it.
    ///
    /// # Errors
    ///
    /// [`NetError::Http`], [`NetError::Timeout`].
    pub async fn send(&mut self, mut request: Request<Body>) -> Result<Response, NetError> {
        let fields = request.headers_mut();
        fields.entry(HOST).or_insert_with(|| self.host.clone());
        let agent = concat!("enarx/", env!("CARGO_PKG_VERSION"));
        fields.entry(USER_AGENT).or_insert_with(|| HeaderValue::from_static(agent));
        let late = || NetError::Timeout { peer: self.peer.clone(), what: "it does not answer" };
        let response = timeout(SILENCE, async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        })
        .await
        .map_err(|_| late())?
        .map_err(|error| failed(&self.peer, &error))?;
        let (head, body) = response.into_parts();
        if head.version != Version::HTTP_11 && head.version != Version::HTTP_10 {
            let why = "it speaks another version of HTTP".to_owned();
            return Err(NetError::Http { peer: self.peer.clone(), why });
        }
        let peer = self.peer.clone();
        Ok(Response { peer, status: head.status, headers: head.headers, body })
    }
}

/// An answer, whose body is still to come.
#[derive(Debug)]
pub struct Response {
    peer: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
}

impl Response {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The next piece of the body; none at its end.
    ///
    /// # Errors
    ///
    /// [`NetError::Timeout`] if the server is silent for [`SILENCE`]; [`NetError::Http`] if the
    /// connection ends before the body does.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, NetError> {
        loop {
            let frame = timeout(SILENCE, self.body.frame()).await.map_err(|_| {
                NetError::Timeout { peer: self.peer.clone(), what: "the answer stopped" }
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(failed(&self.peer, &error)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// The whole body, of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// [`NetError::TooLong`], and see [`Response::chunk`].
    pub async fn bytes(mut self, max: usize) -> Result<Vec<u8>, NetError> {
        let mut out = Vec::new();
        while let Some(piece) = self.chunk().await? {
            if piece.len() > max.saturating_sub(out.len()) {
                return Err(NetError::TooLong { peer: self.peer, max: max as u64 });
            }
            out.extend_from_slice(&piece);
        }
        Ok(out)
    }
}

/// An error of hyper with its cause, which it does not name itself.
fn failed(peer: &str, error: &hyper::Error) -> NetError {
    let mut why = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        why = format!("{why}: {cause}");
    }
    NetError::Http { peer: peer.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = |host: &str, port, path: &str| Url {
            host: host.to_owned(),
            port,
            path: path.to_owned(),
        };
        for (text, expected) in [
            ("https://a.example", url("a.example", 443, "/")),
            ("HTTPS://a:8443/b?c", url("a", 8443, "/b?c")),
            ("https://a?b", url("a", 443, "/?b")),
            ("https://[::1]:1/", url("::1", 1, "/")),
            ("https://127.0.0.1:/", url("127.0.0.1", 443, "/")),
        ] {
            assert_eq!(Url::parse(text).unwrap(), expected, "{text}");
        }
        for bad in [
            "",
            "http://a",
            "https:/a",
            "https://",
            "https:///a",
            "https://:1",
            "https://a:0",
            "https://a:65536",
            "https://a:+1",
            "https://a:1:2",
            "https://me@a",
            "https://a/#b",
            "https://a/ b",
            "https://a\n",
            "https://[::1",
            "https://[a]/",
            "https://[::1]x",
            "https://ä.example",
        ] {
            assert!(Url::parse(bad).is_err(), "{bad}");
        }
    }
}

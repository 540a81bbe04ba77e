// SPDX-License-Identifier: Apache-2.0

//! A small client for HTTP/1.1 (RFC 9112): one connection, one request at a time.

use bytes::Bytes;
use enarx_config::Peer;
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};

use crate::{Net, NetError};

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
    /// Takes a URL apart.
    ///
    /// # Errors
    ///
    /// [`NetError::Url`].
    pub fn parse(text: &str) -> Result<Self, NetError> {
        Err(NetError::Url { url: text.to_owned(), why: "it is not of `https`" })
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Http {
    peer: String,
}

impl Http {
    pub(crate) async fn new(_: &Net, _: &Peer) -> Result<Self, NetError> {
        Err(NetError::NoIdentity)
    }

    /// Sends a request and waits for the head of the answer. The URI of the request is its path;
    /// `Host` and `User-Agent` are added where they lack. The answer before has to be read to its
    /// end, or the connection cannot be used again.
    ///
    /// # Errors
    ///
    /// [`NetError`].
    pub async fn send(&mut self, _: Request<Body>) -> Result<Response, NetError> {
        Err(NetError::Http { peer: self.peer.clone(), why: "there is no client yet".into() })
    }
}

/// An answer, whose body is still to come.
#[derive(Debug)]
pub struct Response {
    status: StatusCode,
    headers: HeaderMap,
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

    /// The next piece of the body; none at its end. Fails if the server is silent too long.
    ///
    /// # Errors
    ///
    /// [`NetError`].
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, NetError> {
        Ok(None)
    }

    /// The whole body, of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// [`NetError::TooLong`] and others.
    pub async fn bytes(self, max: usize) -> Result<Vec<u8>, NetError> {
        let _ = max;
        Ok(Vec::new())
    }
}

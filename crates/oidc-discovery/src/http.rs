// SPDX-License-Identifier: Apache-2.0

//! Requests to an issuer, with a limit to their time and to the size of the answers.

use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Certificate, Client, RequestBuilder, StatusCode, redirect};
use serde::de::DeserializeOwned;
use url::Url;

use crate::is_loopback;

/// The longest that one request may take, from the connection to the last byte.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of an answer that are read: configurations and sets of keys have a few thousand.
pub const MAX_ANSWER: usize = 256 * 1024;

/// Why a request has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer at all.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// What was asked.
        url: String,
        /// The library's reason, with its causes.
        #[source]
        source: reqwest::Error,
    },
    /// An answer with another status than success.
    #[error("{url} answered {status}")]
    Status {
        /// What was asked.
        url: String,
        /// The status code.
        status: StatusCode,
    },
    /// An answer without an end, or nearly so.
    #[error("the answer of {url} has more than {MAX_ANSWER} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
    },
    /// An answer that is not the JSON that was expected.
    #[error("the answer of {url} cannot be read")]
    Json {
        /// What was asked.
        url: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The client itself cannot be made.
    #[error("cannot prepare HTTPS: {0}")]
    Client(#[source] reqwest::Error),
    /// One of the extra root certificates is none.
    #[error("root certificate {0} of those given cannot be used")]
    Root(usize),
}

impl FetchError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooLarge { .. } | Self::Json { .. } => true,
            Self::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Client(_) | Self::Root(_) => false,
        }
    }
}

/// A status and a body within bounds.
#[derive(Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// At most [`MAX_ANSWER`] bytes.
    pub body: Vec<u8>,
}

// A body may hold tokens.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, body } = self;
        f.debug_struct("Answer").field("status", status).field("bytes", &body.len()).finish()
    }
}

/// An HTTP client for one issuer.
#[derive(Debug, Clone)]
pub struct Http(Client);

impl Http {
    /// A client that trusts the system's certificates and, beside them, `roots` (DER).
    ///
    /// # Errors
    ///
    /// [`FetchError::Root`] if one of `roots` is no certificate, [`FetchError::Client`] if the system
    /// has no certificates although the issuer's URL is `https`.
    pub fn new(issuer: &Url, roots: &[Vec<u8>]) -> Result<Self, FetchError> {
        let mut certificates = Vec::with_capacity(roots.len());
        for (number, root) in roots.iter().enumerate() {
            certificates.push(Certificate::from_der(root).map_err(|_| FetchError::Root(number))?);
        }
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(TIMEOUT / 2)
            .timeout(TIMEOUT)
            .user_agent(concat!("enarx/", env!("CARGO_PKG_VERSION")));
        builder = match issuer.scheme() {
            // Without TLS no certificate counts, and a machine need not have any.
            "http" => builder.tls_certs_only(certificates),
            _ => builder.tls_certs_merge(certificates),
        };
        if is_loopback(issuer) {
            builder = builder.no_proxy();
        }
        builder.build().map(Self).map_err(FetchError::Client)
    }

    /// Fetches JSON.
    ///
    /// # Errors
    ///
    /// If there is no answer in [`TIMEOUT`], its status is not 200, it has more than [`MAX_ANSWER`]
    /// bytes or is not what `T` wants.
    pub async fn get_json<T: DeserializeOwned>(&self, url: &Url) -> Result<T, FetchError> {
        let request = self.0.get(url.clone()).header(ACCEPT, "application/json");
        let answer = self.send(url, request).await?;
        if answer.status != 200 {
            let status = StatusCode::from_u16(answer.status).unwrap_or_default();
            return Err(FetchError::Status { url: url.to_string(), status });
        }
        serde_json::from_slice(&answer.body)
            .map_err(|source| FetchError::Json { url: url.to_string(), source })
    }

    /// Sends a form; with `basic`, the client proves itself by HTTP Basic (RFC 6749, §2.3.1).
    ///
    /// # Errors
    ///
    /// If there is no answer in [`TIMEOUT`] or it has more than [`MAX_ANSWER`] bytes. The status is the
    /// caller's to judge.
    pub async fn post_form(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<Answer, FetchError> {
        let mut request = self.0.post(url.clone()).header(ACCEPT, "application/json").form(form);
        if let Some((user, password)) = basic {
            request = request.basic_auth(user, Some(password));
        }
        self.send(url, request).await
    }

    async fn send(&self, url: &Url, request: RequestBuilder) -> Result<Answer, FetchError> {
        let unreachable =
            |source: reqwest::Error| FetchError::Unreachable { url: url.to_string(), source };
        let mut response = request.send().await.map_err(unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(FetchError::TooLarge { url: url.to_string() });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status: response.status().as_u16(), body })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Serves one answer, as it is written here.
    async fn serve(answer: Vec<u8>) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await.unwrap();
            // The client hangs up in the middle of a long answer.
            let _ = stream.write_all(&answer).await;
        });
        Url::parse(&url).unwrap()
    }

    async fn get(answer: Vec<u8>) -> Result<serde_json::Value, FetchError> {
        let url = serve(answer).await;
        Http::new(&url, &[]).unwrap().get_json(&url).await
    }

    #[tokio::test]
    async fn answers_have_a_greatest_size() {
        let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\"".to_vec();
        answer.resize(answer.len() + MAX_ANSWER, b'x');
        answer.push(b'"');
        assert!(matches!(get(answer).await, Err(FetchError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let answer =
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        let error = get(answer.to_vec()).await.unwrap_err();
        assert!(matches!(error, FetchError::Status { status, .. } if status == 302), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_json_is_refused() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>";
        assert!(matches!(get(answer.to_vec()).await, Err(FetchError::Json { .. })));
    }

    #[test]
    fn a_root_that_is_none_is_named() {
        let url = Url::parse("https://auth.example.com/").unwrap();
        let error = Http::new(&url, &[b"no certificate".to_vec()]).unwrap_err();
        assert!(matches!(error, FetchError::Root(0) | FetchError::Client(_)), "{error}");
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Requests and answers: retried where that is safe, bounded, and with problems turned into errors.
//!
//! Everything here can be asked twice: tags and content never change, an upload says where it is, and one
//! that was begun twice is thrown away by the server. So every request is tried again when there was no
//! answer, or one that says "later".

use std::time::{Duration, SystemTime};

use drawbridge_types::{API_VERSION, Problem};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;
use url::Url;

use crate::Error;

/// Longest problem in bytes that is read.
const MAX_PROBLEM: usize = 64 << 10;
/// Longest record in bytes that is read: a page of a list.
pub(crate) const MAX_RECORD: usize = 4 << 20;
/// Longest time that a server can have us wait between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(10);

pub(crate) struct Transport {
    pub(crate) http: reqwest::Client,
    pub(crate) base: Url,
    pub(crate) host: String,
    pub(crate) token: Option<HeaderValue>,
    /// How often something is tried.
    pub(crate) attempts: u32,
    /// The pause after the first try; it doubles from there.
    pub(crate) pause: Duration,
    /// For an answer that is no content.
    pub(crate) timeout: Duration,
}

// Not derived: there is a token in it.
impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Transport {
    /// The URL of a path in the interface.
    pub(crate) fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only a URL that cannot be a base has no path, and ours begins with `https://`.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("api").push(&format!("v{API_VERSION}")).extend(parts);
        }
        url
    }

    pub(crate) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.clone()),
            None => request,
        }
    }

    /// Sends a request until there is an answer; one that is no success is an error.
    pub(crate) async fn send(
        &self,
        what: &str,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<Response, Error> {
        let mut tried = 0;
        loop {
            tried += 1;
            let (error, pause) = match make().send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => {
                    let pause = retry_after(&response);
                    let is_late = matches!(
                        response.status(),
                        StatusCode::TOO_MANY_REQUESTS
                            | StatusCode::BAD_GATEWAY
                            | StatusCode::SERVICE_UNAVAILABLE
                            | StatusCode::GATEWAY_TIMEOUT
                    );
                    let error = self.refusal(what, response).await;
                    if !is_late {
                        return Err(error);
                    }
                    (error, pause)
                }
                Err(error) => (self.broken(what, error), None),
            };
            if tried >= self.attempts {
                return Err(error);
            }
            tracing::debug!(what, tried, %error, "trying again");
            self.wait(tried, pause).await;
        }
    }

    /// As [`Transport::send`], and reads the answer, which must not be longer than `limit`.
    pub(crate) async fn read(
        &self,
        what: &str,
        limit: usize,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<(Response, Vec<u8>), Error> {
        let mut tried = 0;
        loop {
            tried += 1;
            let mut response = self.send(what, || make().timeout(self.timeout)).await?;
            match bounded(&mut response, limit).await {
                Ok(Some(body)) => return Ok((response, body)),
                Ok(None) => {
                    let why = format!("it has more than {limit} bytes");
                    return Err(self.answer(what, why));
                }
                Err(error) if tried >= self.attempts => return Err(self.broken(what, error)),
                Err(_) => self.wait(tried, None).await,
            }
        }
    }

    /// As [`Transport::read`], for JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        what: &str,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<(Response, T), Error> {
        let (response, body) = self.read(what, MAX_RECORD, make).await?;
        let value = serde_json::from_slice(&body).map_err(|error| self.answer(what, error))?;
        Ok((response, value))
    }

    /// Waits before the next try: twice as long each time, and never at the same moment as others.
    pub(crate) async fn wait(&self, tried: u32, asked: Option<Duration>) {
        let pause = self.pause.saturating_mul(1 << tried.saturating_sub(1).min(6));
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Between one half and the whole of it.
        let jitter = pause / 2 * (clock.subsec_nanos() % 1024) / 1024;
        let pause = (pause / 2 + jitter).max(asked.unwrap_or_default());
        tokio::time::sleep(pause.min(MAX_PAUSE)).await;
    }

    /// There was no answer, or its body broke off.
    pub(crate) fn broken(&self, what: &str, error: reqwest::Error) -> Error {
        Error::Transport {
            host: self.host.clone(),
            what: what.to_owned(),
            // The host and the path are said already.
            source: Box::new(error.without_url()),
        }
    }

    /// An answer that makes no sense.
    pub(crate) fn answer(&self, what: &str, why: impl std::fmt::Display) -> Error {
        Error::Answer { host: self.host.clone(), what: what.to_owned(), why: why.to_string() }
    }

    pub(crate) async fn refusal(&self, what: &str, mut response: Response) -> Error {
        let status = response.status();
        let is_problem = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with(drawbridge_types::media::PROBLEM));
        let problem = match bounded(&mut response, MAX_PROBLEM).await {
            Ok(Some(body)) if is_problem => serde_json::from_slice(&body).ok(),
            _ => None,
        };
        // Something in between, a proxy perhaps, has answered.
        let problem = problem.unwrap_or_else(|| Problem {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("unknown status").to_owned(),
            status: status.as_u16(),
            detail: format!("status {status}"),
            code: "http.status".into(),
            remedy: String::new(),
        });
        Error::Refused { what: what.to_owned(), problem: Box::new(printable(problem)) }
    }
}

/// A peer's words end up on a terminal.
fn printable(mut problem: Problem) -> Problem {
    for text in [&mut problem.title, &mut problem.detail, &mut problem.code, &mut problem.remedy] {
        text.retain(|one| !one.is_control());
    }
    problem
}

fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The body; none if it is longer than `limit`.
async fn bounded(response: &mut Response, limit: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body))
}

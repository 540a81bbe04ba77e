// SPDX-License-Identifier: Apache-2.0

//! Requests that end: in a bounded time, with an answer of a bounded size, or with a reason.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Certificate, Client, RequestBuilder, Response, StatusCode, redirect};
use url::{Host, Url};

use crate::pause::retry_after;

/// How often a server moves an answer about before it is one move too many.
const MAX_REDIRECTS: usize = 3;
/// Longest text of a refusal in bytes that is read, and shown.
const MAX_REASON: usize = 200;

/// How long to put up with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often something is asked, at least once.
    pub attempts: u32,
    /// The pause after the first try; it doubles from there.
    pub pause: Duration,
    /// Longest pause that a service can ask for (`Retry-After`). If it asks for more, it is not asked
    /// again.
    pub longest_pause: Duration,
    /// Longest time of one try, from the connection to the last byte.
    pub timeout: Duration,
}

impl Default for Patience {
    /// Five tries of 30 seconds, pauses of 1 to 8 seconds, of 2 minutes where a service asks for them:
    /// AMD's lets a chip be asked for every 10 seconds.
    fn default() -> Self {
        Self {
            attempts: 5,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(120),
            timeout: Duration::from_secs(30),
        }
    }
}

/// What happens on the way to an answer, for who shows progress.
#[derive(Debug)]
pub enum Event<'a> {
    /// Something is asked, for the time that is counted from 1.
    Asking {
        /// What.
        url: &'a Url,
        /// Which time.
        attempt: u32,
    },
    /// It did not work, and will be tried again.
    Waiting {
        /// What went wrong.
        why: &'a FetchError,
        /// For how long.
        pause: Duration,
    },
}

/// Hears of each [`Event`].
pub type Observer = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL may not be asked.
    #[error("{0} must be https (http is for addresses of this machine only)")]
    Url(String),
    /// No connection, or one that broke off or took too long.
    #[error("{url} did not give an answer that was whole and in time")]
    Broken {
        /// What was asked.
        url: String,
        /// The library's reason.
        #[source]
        source: reqwest::Error,
    },
    /// An answer with another status than success.
    #[error("{url} answered {status}{}", shown(.reason))]
    Status {
        /// What was asked.
        url: String,
        /// The status code.
        status: StatusCode,
        /// What it says about that, cut and without control characters.
        reason: String,
    },
    /// The service wants to be left alone for longer than we wait.
    #[error("{url} wants to be asked again in {} seconds", .after.as_secs())]
    Later {
        /// What was asked.
        url: String,
        /// When it may be asked again.
        after: Duration,
    },
    /// A move to another host, or one too many.
    #[error("{url} sends us on to {to:?}, which is not followed: only a path of the same host is")]
    Redirect {
        /// What was asked.
        url: String,
        /// Where the answer is said to be.
        to: String,
    },
    /// More bytes than there can be in such an answer.
    #[error("the answer of {url} has more than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The client itself cannot be made.
    #[error("cannot prepare HTTPS")]
    Client(#[source] reqwest::Error),
    /// One of the extra root certificates for TLS is none.
    #[error("root certificate {0} of those given cannot be used")]
    Root(usize),
}

impl FetchError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Later { .. } => true,
            Self::Status { status, .. } => is_late(*status),
            _ => false,
        }
    }

    /// The status of an answer that was a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(status.as_u16()),
            _ => None,
        }
    }
}

fn shown(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn is_late(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// An answer: the body as it came, and the headers.
pub struct Answer {
    /// What was asked.
    pub url: Url,
    /// At most as many bytes as were asked for.
    pub body: Vec<u8>,
    headers: HeaderMap,
}

impl Answer {
    /// A header that is there once and is printable ASCII.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, body, .. } = self;
        f.debug_struct("Answer")
            .field("url", &url.as_str())
            .field("bytes", &body.len())
            .finish_non_exhaustive()
    }
}

/// Asks one service.
#[derive(Clone)]
pub struct Fetcher {
    http: Client,
    patience: Patience,
    observer: Option<Observer>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A client for the service at `base`, which trusts the system's certificates and, beside them,
    /// `roots` (DER), for TLS alone.
    ///
    /// # Errors
    ///
    /// [`FetchError::Url`] if `base` is neither `https` nor `http` to this machine, [`FetchError::Root`],
    /// [`FetchError::Client`].
    pub fn new(base: &Url, roots: &[Vec<u8>], patience: Patience) -> Result<Self, FetchError> {
        check_url(base)?;
        let mut certificates = Vec::with_capacity(roots.len());
        for (number, root) in roots.iter().enumerate() {
            certificates.push(Certificate::from_der(root).map_err(|_| FetchError::Root(number))?);
        }
        let mut builder = Client::builder()
            .redirect(redirect::Policy::custom(follow))
            .connect_timeout(patience.timeout / 2)
            .timeout(patience.timeout)
            .user_agent(concat!("enarx/", env!("CARGO_PKG_VERSION")));
        builder = match base.scheme() {
            // Without TLS no certificate counts, and a machine need not have any.
            "http" => builder.tls_certs_only(certificates),
            _ => builder.tls_certs_merge(certificates),
        };
        if is_loopback(base) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(FetchError::Client)?;
        Ok(Self { http, patience, observer: None })
    }

    /// With somebody who hears of each step.
    #[must_use]
    pub fn observed(self, observer: Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Fetches, again and again as far as patience goes.
    ///
    /// # Errors
    ///
    /// What went wrong the last time.
    pub async fn get(&self, url: &Url, limit: usize) -> Result<Answer, FetchError> {
        self.send(url, limit, || self.http.get(url.clone())).await
    }

    /// Sends bytes, likewise: for requests that may arrive twice.
    ///
    /// # Errors
    ///
    /// What went wrong the last time.
    pub async fn post(&self, url: &Url, body: &[u8], limit: usize) -> Result<Answer, FetchError> {
        let make = || {
            let request = self.http.post(url.clone());
            request.header(CONTENT_TYPE, "application/octet-stream").body(body.to_vec())
        };
        self.send(url, limit, make).await
    }

    async fn send(
        &self,
        url: &Url,
        limit: usize,
        make: impl Fn() -> RequestBuilder,
    ) -> Result<Answer, FetchError> {
        check_url(url)?;
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.tell(Event::Asking { url, attempt });
            let (error, asked) = match self.once(url, limit, &make).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if !error.is_transient() || attempt >= self.patience.attempts {
                return Err(error);
            }
            if let Some(after) = asked.filter(|asked| *asked > self.patience.longest_pause) {
                return Err(FetchError::Later { url: url.to_string(), after });
            }
            let pause = self.pause(attempt).max(asked.unwrap_or_default());
            tracing::debug!(%url, attempt, %error, ?pause, "trying again");
            self.tell(Event::Waiting { why: &error, pause });
            tokio::time::sleep(pause).await;
        }
    }

    /// One try; what went wrong, and what pause the service asks for.
    async fn once(
        &self,
        url: &Url,
        limit: usize,
        make: &impl Fn() -> RequestBuilder,
    ) -> Result<Answer, (FetchError, Option<Duration>)> {
        let broken = |source: reqwest::Error| {
            // The URL is said already.
            let source = source.without_url();
            (FetchError::Broken { url: url.to_string(), source }, None)
        };
        let mut response = make().send().await.map_err(broken)?;
        let status = response.status();
        if status.is_redirection() {
            return Err((redirected(url, &response), None));
        }
        if !status.is_success() {
            let asked = header(&response, RETRY_AFTER.as_str())
                .and_then(|value| retry_after(value, SystemTime::now()));
            let reason = reason(&mut response).await;
            return Err((FetchError::Status { url: url.to_string(), status, reason }, asked));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if chunk.len() > limit.saturating_sub(body.len()) {
                return Err((FetchError::TooLarge { url: url.to_string(), limit }, None));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { url: url.clone(), body, headers: response.headers().clone() })
    }

    /// Twice as long each time, and between one half and the whole of it, so that many machines that
    /// failed together do not come back together.
    fn pause(&self, attempt: u32) -> Duration {
        let pause = self.patience.pause.saturating_mul(1 << attempt.saturating_sub(1).min(6));
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let pause = pause.min(self.patience.longest_pause);
        pause / 2 + pause / 2 * (clock.subsec_nanos() % 1024) / 1024
    }

    fn tell(&self, event: Event<'_>) {
        if let Some(observer) = &self.observer {
            observer(event);
        }
    }
}

/// Follows moves within one host; what is not followed comes back as it is.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let first = attempt.previous().first();
    let same = first.is_some_and(|first| first.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn redirected(url: &Url, response: &Response) -> FetchError {
    let to = header(response, LOCATION.as_str()).unwrap_or_default();
    FetchError::Redirect { url: url.to_string(), to: printable(to) }
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// What a refusal says about itself: Intel's services in headers, others in a text.
async fn reason(response: &mut Response) -> String {
    if let Some(message) = header(response, "error-message") {
        return printable(message);
    }
    let is_text = header(response, CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.starts_with("text/plain") || kind.starts_with("application/json"));
    if !is_text {
        return String::new();
    }
    match response.chunk().await {
        Ok(Some(chunk)) => {
            printable(&String::from_utf8_lossy(chunk.get(..4 * MAX_REASON).unwrap_or(&chunk)))
        }
        _ => String::new(),
    }
}

/// A peer's words end up on a terminal.
fn printable(text: &str) -> String {
    text.trim().chars().filter(|one| !one.is_control()).take(MAX_REASON).collect()
}

/// `https`, or `http` to this machine.
fn check_url(url: &Url) -> Result<(), FetchError> {
    let has_user = !url.username().is_empty() || url.password().is_some();
    match url.scheme() {
        "https" if url.host().is_some() && !has_user => Ok(()),
        "http" if is_loopback(url) && !has_user => Ok(()),
        _ => Err(FetchError::Url(printable(url.as_str()))),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Patience = Patience {
        attempts: 3,
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_secs(2),
        timeout: Duration::from_secs(2),
    };

    /// A server that gives these answers, one for each connection, and then hangs up.
    async fn serve(answers: Vec<Vec<u8>>) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/asked", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
            }
        });
        Url::parse(&url).unwrap()
    }

    fn answer(head: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        text.into_bytes()
    }

    async fn get(answers: Vec<Vec<u8>>) -> Result<Answer, FetchError> {
        let url = serve(answers).await;
        Fetcher::new(&url, &[], SOON).unwrap().get(&url, 100).await
    }

    #[tokio::test]
    async fn what_fails_for_now_is_asked_again() {
        for late in ["429 Slow down\r\nRetry-After: 0", "503 Busy", "500 Oops", "504 Late"] {
            let got = get(vec![answer(late, ""), answer("200 OK\r\nX: y", "body")]).await.unwrap();
            assert_eq!(got.body, b"body", "{late}");
            assert_eq!(got.header("x"), Some("y"));
        }
        // Half a body, no answer at all, a body cut in its chunks.
        let mut half = answer("200 OK", "0123456789");
        half.truncate(half.len() - 5);
        let chunked =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n9\r\n0".to_vec();
        for broken in [half, Vec::new(), b"garbage\r\n\r\n".to_vec(), chunked] {
            let got = get(vec![broken, answer("200 OK", "whole")]).await.unwrap();
            assert_eq!(got.body, b"whole");
        }
    }

    #[tokio::test]
    async fn patience_has_an_end() {
        let busy = || answer("503 Busy\r\nContent-Type: text/plain", "too\u{7} busy");
        let error = get(vec![busy(), busy(), busy(), answer("200 OK", "")]).await.unwrap_err();
        assert_eq!(error.status(), Some(503));
        assert!(error.to_string().ends_with(": too busy"), "{error}");
        let later = answer("429 Slow down\r\nRetry-After: 3600", "");
        let error = get(vec![later, answer("200 OK", "")]).await.unwrap_err();
        assert!(matches!(error, FetchError::Later { after, .. } if after.as_secs() == 3600));
    }

    #[tokio::test]
    async fn a_refusal_is_final() {
        let refused = answer("404 Not Found\r\nError-Message: no such platform", "");
        let error = get(vec![refused, answer("200 OK", "")]).await.unwrap_err();
        assert!(error.to_string().contains("no such platform"), "{error}");
    }

    #[tokio::test]
    async fn answers_have_a_greatest_size() {
        assert_eq!(get(vec![answer("200 OK", &"x".repeat(100))]).await.unwrap().body.len(), 100);
        let error = get(vec![answer("200 OK", &"x".repeat(101))]).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { limit: 100, .. }), "{error}");
        // Also without a length before it.
        let mut endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        endless.resize(endless.len() + 5000, b'x');
        assert!(matches!(get(vec![endless]).await, Err(FetchError::TooLarge { .. })));
    }

    #[tokio::test]
    async fn moves_stay_on_the_host() {
        let there = answer("302 Found\r\nLocation: /there", "");
        assert_eq!(get(vec![there, answer("200 OK", "moved")]).await.unwrap().body, b"moved");
        let away = answer("302 Found\r\nLocation: http://127.0.0.1:1/", "");
        let error = get(vec![away]).await.unwrap_err();
        assert!(matches!(error, FetchError::Redirect { .. }), "{error}");
        let there = || answer("302 Found\r\nLocation: /there", "");
        let error = get(vec![there(), there(), there(), there(), there()]).await.unwrap_err();
        assert!(matches!(error, FetchError::Redirect { .. }), "{error}");
    }

    #[tokio::test]
    async fn who_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let short = Patience { attempts: 2, timeout: Duration::from_millis(50), ..SOON };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let observer: Observer = Arc::new(move |event| {
            notes.lock().unwrap().push(matches!(event, Event::Asking { .. }));
        });
        let fetcher = Fetcher::new(&url, &[], short).unwrap().observed(observer);
        let error = fetcher.get(&url, 100).await.unwrap_err();
        assert!(matches!(error, FetchError::Broken { .. }), "{error}");
        assert_eq!(*seen.lock().unwrap(), [true, false, true]);
    }

    #[test]
    fn only_https_and_this_machine_are_asked() {
        for (text, good) in [
            ("https://kdsintf.amd.com/", true),
            ("http://127.0.0.1:8081/", true),
            ("http://[::1]/", true),
            ("http://localhost/", true),
            ("http://kdsintf.amd.com/", false),
            ("http://127.0.0.1.example.com/", false),
            ("https://user:secret@example.com/", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(check_url(&Url::parse(text).unwrap()).is_ok(), good, "{text}");
        }
    }
}

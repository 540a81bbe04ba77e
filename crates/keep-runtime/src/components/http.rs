// SPDX-License-Identifier: Apache-2.0

//! `wasi:http/outgoing-handler`: requests to servers that Enarx.toml names.
//!
//! `https` goes to entries with TLS, by their settings; `http` only where `prot = "tcp"` was written
//! out. Each request has a connection of its own, HTTP/1.1.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use enarx_config::Prot;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Request, Response, Uri};
use keep_net::NetError;
use tokio::time::{Instant, Sleep, timeout};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::{Outside, warn};

/// How long to wait for something, if the component does not say.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Bytes of the head of an answer.
const MAX_HEAD: usize = 128 << 10;

/// What happens once the head of an answer is there: the connection goes on.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Sent = Result<(Response<WasiBody>, Rest), Error>;

/// Where requests go.
#[derive(Debug)]
pub(crate) struct Hooks(Option<Arc<Outside>>);

impl Hooks {
    pub(super) fn new(net: Option<Arc<Outside>>) -> Self {
        Self(net)
    }
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let net = self.0.clone();
        Box::new(async move {
            let net = net.ok_or(Error::HttpRequestDenied)?;
            send(&net, request, options.unwrap_or_default()).await
        })
    }
}

async fn send(net: &Outside, mut request: Request<WasiBody>, options: RequestOptions) -> Sent {
    let (prot, default_port) = match request.uri().scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => (Prot::Tls, 443),
        Some(scheme) if *scheme == Scheme::HTTP => (Prot::Tcp, 80),
        _ => return Err(Error::HttpProtocolError),
    };
    let host = request.uri().host().ok_or(Error::HttpRequestUriInvalid)?;
    let port = request.uri().port_u16().unwrap_or(default_port);
    let Some(peer) = net.policy.peer_named(host, port, prot) else {
        let what = if prot == Prot::Tls { "" } else { ", with `prot = \"tcp\"`" };
        warn(&format!(
            "a request to {host:?}, port {port}, was refused: Enarx.toml does not name it. Add it \
             to `allow_connect` in `[network]`{what}"
        ));
        return Err(Error::HttpRequestDenied);
    };
    let mut peer = peer.clone();
    if peer.alpn.is_empty() && prot == Prot::Tls {
        peer.alpn.push("http/1.1".into());
    }
    if let Some(limit) = options.connect_timeout {
        peer.timeouts.connect = peer.timeouts.connect.min(limit);
    }
    let stream = net.net.connect(&peer).await.map_err(|error| {
        warn(&error.to_string());
        code(&error)
    })?;
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
    let worker = wasmtime_wasi::runtime::spawn(connection);
    // On the wire a request has its path alone; the server is named by `Host`.
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    let answer = sender.send_request(request);
    let answer = timeout(options.first_byte_timeout.unwrap_or(TIMEOUT), answer)
        .await
        .map_err(|_| Error::ConnectionReadTimeout)??;
    let between = options.between_bytes_timeout.unwrap_or(TIMEOUT);
    let answer = answer.map(|body| Timed::new(body, between).boxed_unsync());
    let rest = async move {
        // Without its sender a connection ends after this answer.
        drop(sender);
        worker.await.map_err(Error::from)
    };
    Ok((answer, Box::new(rest)))
}

fn code(error: &NetError) -> Error {
    match error {
        NetError::Resolve { .. } => Error::DnsError { rcode: None, info_code: None },
        NetError::Connect { .. } => Error::ConnectionRefused,
        NetError::Timeout { .. } => Error::ConnectionTimeout,
        NetError::TooManySockets => Error::ConnectionLimitReached,
        NetError::Handshake { .. } => Error::TlsProtocolError,
        NetError::Setting(_) | NetError::Roots { .. } => Error::ConfigurationError,
        _ => Error::InternalError(None),
    }
}

/// A body that may pause only so long.
#[derive(Debug)]
struct Timed {
    body: Incoming,
    between: Duration,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    fn new(body: Incoming, between: Duration) -> Self {
        Self { body, between, pause: None }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.pause = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        let pause = this.pause.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + this.between))
        });
        ready!(pause.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Serves a component of the world `wasi:http/proxy`.
//!
//! Like `wasmtime serve`: HTTP/1.1, and for each request a fresh instance, so that one request leaves
//! nothing behind for the next. Requests run side by side in one event loop: a handler that waits lets
//! the others go on, one that computes keeps its thread, which is the only one unless the Keep has more
//! processors.
//!
//! Whatever happens to one request, the server lives: a trap becomes an answer with status 500 and a
//! warning. The Keep ends when the host ends it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use enarx_config::Prot;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use keep_launch::{Event, Refusal};
use keep_net::Stream;
use keep_runtime::budget::Pool;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use wasmtime::Store;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView as _};

use super::timer::Clock;
use super::{Context, Outside, tell, warn};
use crate::Refused;
use crate::direct::Direct;
use crate::run::{Failed, World};
use crate::state::State;
use crate::wasi;

/// Connections that are open at a time; further ones wait.
const MAX_CONNECTIONS: usize = 1024;
/// Requests that are handled at a time; further ones wait.
pub(super) const MAX_REQUESTS: u32 = 128;
/// Bytes of a request's head.
const MAX_HEAD: usize = 64 << 10;
/// Fields of a request's head.
const MAX_FIELDS: usize = 128;
/// Bytes of a request's body.
const MAX_BODY: usize = 1 << 30;
/// How long a client may take for the head of a request, or stay without one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a handler may take for the head of its answer.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long to wait after the listening socket failed.
const PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
struct Server {
    proxy: ProxyPre<State>,
    world: World,
    outside: Arc<Outside>,
    memory: Pool,
    requests: Arc<Semaphore>,
    scheme: Prot,
}

/// Serves until the Keep ends.
pub(super) async fn serve(
    linker: &Linker<State>,
    component: &Component,
    world: &World,
) -> Result<(), Failed> {
    let refused = |reason, message: String| Failed::Refused(Refused::new(reason, message));
    let context = Context::new(world.network.as_ref());
    let (Some(network), Some(outside)) = (&world.network, context.net) else {
        let message = "a component that handles HTTP requests needs a `listen` entry in Enarx.toml";
        return Err(refused(Refusal::Config, message.into()));
    };
    let name = network.config.http.as_ref().map(|http| http.listen.as_str());
    let mut listen =
        outside.policy.listen_named(name).map_err(|why| refused(Refusal::Config, why))?.clone();
    if listen.alpn.is_empty() && listen.prot == Prot::Tls {
        listen.alpn.push("http/1.1".into());
    }
    let proxy = linker.instantiate_pre(component).and_then(ProxyPre::new).map_err(Failed::Start)?;
    let mut listener = outside
        .net
        .listen(&listen)
        .await
        .map_err(|error| refused(Refusal::Network, error.to_string()))?;
    tell(Event::Listening { name: listen.name, address: listener.local_addr().to_string() });

    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let server = Arc::new(Server {
        proxy,
        world: world.clone(),
        outside,
        memory: Pool::new(world.max_memory),
        requests: Arc::new(Semaphore::new(MAX_REQUESTS as usize)),
        scheme: listen.prot,
    });
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok(stream) => {
                let server = Arc::clone(&server);
                tokio::spawn(async move {
                    connection(server, stream).await;
                    drop(permit);
                });
            }
            Err(error) => {
                warn(&format!("cannot accept a connection: {error}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end. What a client does wrong ends it, and is nobody else's matter.
async fn connection(server: Arc<Server>, stream: Stream) {
    let service = service_fn(move |request| {
        let server = Arc::clone(&server);
        async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
    });
    let _ = http1::Builder::new()
        .timer(Clock)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Server {
    /// The answer to a request, whatever its handler does.
    async fn answer(&self, request: Request<Incoming>) -> Response<WasiBody> {
        match self.handle(request).await {
            Ok(response) => response,
            Err(Fault { status, message }) => {
                if let Some(message) = message {
                    warn(&message);
                }
                plain(status)
            }
        }
    }

    async fn handle(&self, request: Request<Incoming>) -> Result<Response<WasiBody>, Fault> {
        let Ok(permit) = Arc::clone(&self.requests).acquire_owned().await else {
            return Err(Fault::silent(StatusCode::SERVICE_UNAVAILABLE));
        };
        let mut store = self.store()?;
        let scheme = match self.scheme {
            Prot::Tls => Scheme::Https,
            Prot::Tcp => Scheme::Http,
        };
        let request = request.map(|body| Limited::new(body, MAX_BODY).map_err(body_error));
        let (sender, receiver) = oneshot::channel();
        let mut http = store.data_mut().http();
        let request = http
            .new_incoming_request(scheme, request)
            // A request that does not say which host it is for.
            .map_err(|_| Fault::silent(StatusCode::BAD_REQUEST))?;
        let answer = http.new_response_outparam(sender).map_err(|error| Fault::failed(&error))?;
        let proxy = self.proxy.clone();
        // A handler may go on when its answer has begun.
        let task = tokio::spawn(async move {
            let _permit = permit;
            let result = async {
                let proxy = proxy.instantiate_async(&mut store).await?;
                proxy.wasi_http_incoming_handler().call_handle(&mut store, request, answer).await
            };
            let result = result.await;
            // With the store goes the sender, if it is still there.
            drop(store);
            if let Err(error) = &result {
                warn(&format!("a request's handler failed: {error:?}"));
            }
            result.is_ok()
        });
        // Until then it is for the client, and ends with the connection.
        let mut end = EndOnDrop(Some(task.abort_handle()));
        match timeout(HANDLER_TIMEOUT, receiver).await {
            Ok(Ok(Ok(response))) => {
                end.0 = None;
                Ok(response)
            }
            Ok(Ok(Err(code))) => {
                Err(Fault::loud(format!("a request's handler answered with an error: {code:?}")))
            }
            Ok(Err(_)) => {
                if task.await.unwrap_or(false) {
                    return Err(Fault::loud("a request's handler ended without an answer".into()));
                }
                Err(Fault::silent(StatusCode::INTERNAL_SERVER_ERROR))
            }
            Err(_) => Err(Fault {
                status: StatusCode::GATEWAY_TIMEOUT,
                message: Some("a request's handler took too long and was ended".into()),
            }),
        }
    }

    /// A store for one request.
    fn store(&self) -> Result<Store<State>, Fault> {
        let wasi = wasi::context(&self.world).map_err(|refused| Fault::loud(refused.message))?;
        let state = State {
            wasi,
            budget: self.memory.budget(),
            direct: Direct::new(self.world.stdio),
            sockets: None,
            components: Context::with(Some(Arc::clone(&self.outside))),
        };
        let mut store = Store::new(self.proxy.engine(), state);
        store.limiter(|state| state);
        Ok(store)
    }
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    if error.is::<LengthLimitError>() {
        return Error::HttpRequestBodySize(None);
    }
    match error.downcast::<hyper::Error>() {
        Ok(error) => Error::Hyper(*error),
        Err(error) => Error::InternalError(Some(error.to_string())),
    }
}

/// Ends a handler whose answer nobody waits for.
struct EndOnDrop(Option<AbortHandle>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if let Some(handler) = &self.0 {
            handler.abort();
        }
    }
}

/// Why a request has no answer of its handler.
struct Fault {
    status: StatusCode,
    /// For a person beside the server.
    message: Option<String>,
}

impl Fault {
    fn silent(status: StatusCode) -> Self {
        Self { status, message: None }
    }

    fn loud(message: String) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: Some(message) }
    }

    fn failed(error: &wasmtime::Error) -> Self {
        Self::loud(format!("{error:?}"))
    }
}

/// An answer of the server's own. What went wrong is not the client's business.
fn plain(status: StatusCode) -> Response<WasiBody> {
    let text = status.canonical_reason().unwrap_or("error");
    let body = Full::new(Bytes::from(format!("{text}\n")));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

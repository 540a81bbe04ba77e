// SPDX-License-Identifier: Apache-2.0

//! A small OpenID Connect issuer for development and tests: device flow, client credentials, rotating keys.
//!
//! It is the issuer of `enarx demo` and `enarx dev`, and the one that the tests of the resource server and
//! of the login speak with. It holds everything in memory, listens on this machine alone and is nothing to
//! put in front of users; for those there are real issuers.
//!
//! ```no_run
//! # async fn example() -> Result<(), oidc_issuer::IssuerError> {
//! use oidc_issuer::{Config, Issuer, User};
//!
//! let mut config = Config::default();
//! config.users.push(User::new("alice", "a long password"));
//! let issuer = Issuer::start(config).await?;
//! let token = issuer.mint("alice", "https://store.example/", &["manage:drawbridge_tags"]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod device;
mod form;
mod keys;
mod page;
mod routes;
mod state;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_service::{HttpMetrics, Limits, Listening, Service};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use keys::Algorithm;
use state::State;

/// What an [`Issuer`] is and whom it knows.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens: a loopback address; port 0 takes a free one.
    pub bind: SocketAddr,
    /// With this it speaks HTTPS, else HTTP.
    pub tls: Option<Tls>,
    /// Audiences for which tokens are made, the first one if a client does not say. Without any, tokens
    /// are made for whatever a client asks for.
    pub audiences: Vec<String>,
    /// People who can log in at the page of the device flow.
    pub users: Vec<User>,
    /// Programs that may ask for tokens.
    pub clients: Vec<Client>,
    /// The kinds of its keys; new tokens are signed with the first.
    pub algorithms: Vec<Algorithm>,
    /// Approves every device flow at once in the name of this person, without asking anybody.
    pub auto_approve: Option<String>,
    /// How long access tokens count.
    pub token_lifetime: Duration,
    /// How long a device flow can be approved.
    pub device_lifetime: Duration,
    /// How often a device may ask, in whole seconds.
    pub interval: Duration,
    /// Whether the scope `offline_access` brings a refresh token.
    pub refresh_tokens: bool,
    /// Whether the discovery document names the endpoint of the device flow.
    pub advertise_device: bool,
}

impl Default for Config {
    /// A free port, the public client `enarx`, ES256, no users.
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            audiences: Vec::new(),
            users: Vec::new(),
            clients: vec![Client::public("enarx")],
            algorithms: vec![Algorithm::Es256],
            auto_approve: None,
            token_lifetime: Duration::from_secs(3600),
            device_lifetime: Duration::from_secs(600),
            interval: Duration::from_secs(3),
            refresh_tokens: true,
            advertise_device: true,
        }
    }
}

/// TLS for an issuer.
#[derive(Clone)]
pub struct Tls {
    /// Certificate and key.
    pub config: Arc<rustls::ServerConfig>,
    /// The name in the certificate, which becomes that of the issuer; has to lead to this machine.
    pub host: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("host", &self.host).finish_non_exhaustive()
    }
}

/// Somebody who can log in.
#[derive(Clone)]
pub struct User {
    name: String,
    password: String,
}

impl User {
    /// `name` becomes the subject of tokens.
    pub fn new(name: impl Into<String>, password: impl Into<String>) -> Self {
        Self { name: name.into(), password: password.into() }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A program that asks for tokens.
#[derive(Clone)]
pub struct Client {
    id: String,
    /// With it the client can act for itself, and has to prove itself always.
    secret: Option<String>,
}

impl Client {
    /// A program on people's machines, which can keep no secret: for the device flow.
    pub fn public(id: impl Into<String>) -> Self {
        Self { id: id.into(), secret: None }
    }

    /// A service with a secret of its own, which is also the subject of the tokens that it gets.
    pub fn confidential(id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { id: id.into(), secret: Some(secret.into()) }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let public = self.secret.is_none();
        f.debug_struct("Client").field("id", &self.id).field("public", &public).finish()
    }
}

/// Why an issuer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// It must not be reachable from elsewhere.
    #[error("{0} is not an address of this machine alone; the development issuer takes no other")]
    NotLoopback(SocketAddr),
    /// The socket cannot be had.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// There has to be a key.
    #[error("the issuer needs at least one algorithm")]
    NoAlgorithm,
    /// Key generation failed.
    #[error("cannot make a key")]
    Key,
}

/// An issuer, to be started.
#[derive(Debug)]
pub struct Issuer;

impl Issuer {
    /// Starts an issuer on the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the address is not a loopback address, is taken, or there is no algorithm.
    pub async fn start(config: Config) -> Result<Handle, IssuerError> {
        let bind = config.bind;
        if !bind.ip().is_loopback() {
            return Err(IssuerError::NotLoopback(bind));
        }
        let failed = |error| IssuerError::Listen(bind, error);
        let listening = Listening::new(bind.ip(), bind.port()).map_err(failed)?;
        let address = listening.address().map_err(failed)?;
        let (authority, url) = match &config.tls {
            Some(tls) => {
                let authority = format!("{}:{}", tls.host, address.port());
                let url = format!("https://{authority}");
                (authority, url)
            }
            None => (address.to_string(), format!("http://{address}")),
        };
        let tls = config.tls.as_ref().map(|tls| Arc::clone(&tls.config));
        let state = Arc::new(State::new(config, url, authority)?);
        let (stop, stopped) = oneshot::channel::<()>();
        let routes = routes::routes(Arc::clone(&state));
        let (limits, metrics) = (Limits::default(), HttpMetrics::new(&[]));
        let service = Service { routes, tls, limits, metrics };
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            if let Err(error) = service.serve(listening, stopped).await {
                tracing::warn!(%error, "the development issuer ended");
            }
        });
        Ok(Handle { state, address, stop: Some(stop), task: Some(task) })
    }
}

/// A running issuer; it stops when this is dropped.
pub struct Handle {
    state: Arc<State>,
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl Handle {
    /// The name of the issuer, as tokens have it; also where it is.
    pub fn url(&self) -> &str {
        &self.state.url
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A token for `subject`, signed with the first algorithm.
    pub fn mint(&self, subject: &str, audience: &str, scopes: &[&str]) -> String {
        let claims = self.claims(subject, audience, scopes);
        self.mint_with(None, Value::Object(Default::default()), claims)
    }

    /// The claims that [`Self::mint`] would sign.
    pub fn claims(&self, subject: &str, audience: &str, scopes: &[&str]) -> Value {
        self.state.claims(subject, audience, &scopes.join(" "), "mint")
    }

    /// A token with any claims, signed with the current key of an algorithm.
    ///
    /// The members of `header` are set over those of the usual header; null removes one.
    pub fn mint_with(&self, algorithm: Option<Algorithm>, header: Value, claims: Value) -> String {
        self.state.keys().sign(algorithm, &header, &claims)
    }

    /// The public keys, as they are published (RFC 7517, §5).
    pub fn jwks(&self) -> Value {
        self.state.keys().jwks()
    }

    /// Makes new keys; the former go on to be published with `keep_old`.
    ///
    /// # Errors
    ///
    /// [`IssuerError::Key`] if a key cannot be made.
    pub fn rotate(&self, keep_old: bool) -> Result<(), IssuerError> {
        self.state.keys().rotate(keep_old)
    }

    /// Approves a device flow by its user code, as `user` would do it at the page.
    ///
    /// Says whether there was a flow to approve.
    pub fn approve(&self, user_code: &str, user: &str) -> bool {
        self.state.devices().decide(user_code, Some(user))
    }

    /// Refuses a device flow by its user code.
    ///
    /// Says whether there was a flow to refuse.
    pub fn deny(&self, user_code: &str) -> bool {
        self.state.devices().decide(user_code, None)
    }

    /// How many times the keys were fetched.
    pub fn jwks_requests(&self) -> u64 {
        self.state.jwks_requests()
    }

    /// Stops, and waits until nobody is served any more.
    pub async fn shutdown(mut self) {
        self.stop.take();
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("url", &self.state.url).finish_non_exhaustive()
    }
}

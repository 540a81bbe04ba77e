// SPDX-License-Identifier: Apache-2.0

//! One issuer, one audience, and the keys that change under way.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use oidc_discovery::{Document, Http, Url, discover, issuer_url};
use tokio::sync::Mutex;

use crate::claims::Expected;
use crate::keys::{self, Keys};
use crate::token::Token;
use crate::{Algorithm, Claims, DiscoveryError, TokenError};

/// How a [`Verifier`] works; the defaults are right for a server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Certificates (DER) that may vouch for the issuer's `https` besides those of the system.
    pub roots: Vec<Vec<u8>>,
    /// The algorithms that are taken.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and server may be apart.
    pub leeway: Duration,
    /// The age at which keys are fetched again, in the background.
    pub refresh: Duration,
    /// The shortest time between two attempts to fetch keys.
    pub min_refetch: Duration,
    /// The age from which keys no longer count, if they cannot be fetched again.
    pub max_stale: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            algorithms: Algorithm::ALL.to_vec(),
            leeway: Duration::from_secs(60),
            refresh: Duration::from_secs(15 * 60),
            min_refetch: Duration::from_secs(10),
            max_stale: Duration::from_secs(24 * 3600),
        }
    }
}

/// Judges the access tokens of one issuer for one audience.
///
/// Clones share their keys.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    asked: Url,
    audience: String,
    options: Options,
    http: Http,
    /// What is known; replaced as a whole.
    known: RwLock<Option<Arc<Known>>>,
    /// When the last attempt to fetch began or ended. Whoever holds it fetches, and nobody else.
    attempt: Mutex<Option<Instant>>,
}

/// An issuer at one moment.
struct Known {
    /// As it writes itself.
    issuer: String,
    keys: Keys,
    since: Instant,
}

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum RefreshError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error("the issuer does not say where its keys are")]
    NoKeys,
    #[error("cannot read the keys of the issuer")]
    Fetch(#[from] oidc_discovery::FetchError),
    #[error("the issuer has no key that can be used")]
    Empty,
}

impl Verifier {
    /// Prepares a verifier, and fetches the keys of the issuer.
    ///
    /// If the issuer cannot be reached, that is logged, and tried again with the tokens to come: they are
    /// answered with [`TokenError::KeysUnavailable`] until it works.
    ///
    /// # Errors
    ///
    /// If `issuer` is no URL of an issuer (see [`oidc_discovery::issuer_url`]), a root certificate cannot
    /// be used, or the issuer answers but in a way that needs a change of the configuration.
    pub async fn new(
        issuer: &str,
        audience: &str,
        options: Options,
    ) -> Result<Self, DiscoveryError> {
        // Only one implementation of the algorithms is compiled in; where another crate adds a second
        // one, the choice must not be left open.
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let asked = issuer_url(issuer)?;
        let http = Http::new(&asked, &options.roots)
            .map_err(|source| DiscoveryError::Fetch { issuer: asked.to_string(), source })?;
        let inner = Inner {
            asked,
            audience: audience.to_owned(),
            options,
            http,
            known: RwLock::new(None),
            attempt: Mutex::new(Some(Instant::now())),
        };
        match inner.fetch().await {
            Ok(()) => {}
            Err(RefreshError::Discovery(error)) if !error.is_transient() => return Err(error),
            Err(error) => inner.warn(&error),
        }
        Ok(Self(Arc::new(inner)))
    }

    /// The issuer, as it was given.
    pub fn issuer(&self) -> &str {
        self.0.asked.as_str()
    }

    /// What tokens have to name in `aud`.
    pub fn audience(&self) -> &str {
        &self.0.audience
    }

    /// Whether there are keys to judge tokens with (for a readiness probe).
    pub fn is_ready(&self) -> bool {
        self.0.current().is_some()
    }

    /// Judges a token, as it stands behind `Bearer`.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]; nothing that the token says is told unless its signature is right.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let inner = &self.0;
        let token = Token::read(token)?;
        if !inner.options.algorithms.contains(&token.algorithm) {
            return Err(TokenError::Algorithm(token.algorithm.name().to_owned()));
        }
        let known = match inner.current() {
            Some(known) if known.has_key_for(&token) => known,
            known => inner.refetch(known.as_ref()).await.ok_or(TokenError::KeysUnavailable)?,
        };
        if known.since.elapsed() > inner.options.refresh {
            self.refresh_in_background();
        }
        known.judge(&token, inner)
    }

    /// Fetches the keys again without letting anybody wait for it.
    fn refresh_in_background(&self) {
        let inner = Arc::clone(&self.0);
        tokio::spawn(async move {
            let known = inner.current();
            inner.refetch(known.as_ref()).await;
        });
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.0.asked.as_str())
            .field("audience", &self.0.audience)
            .field("ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// What is known and not too old.
    fn current(&self) -> Option<Arc<Known>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.filter(|known| known.since.elapsed() < self.options.max_stale)
    }

    /// What is known after an attempt to fetch it anew, if it is time for one.
    ///
    /// `before` is what the caller has looked at: if somebody else replaced it meanwhile, that counts.
    async fn refetch(&self, before: Option<&Arc<Known>>) -> Option<Arc<Known>> {
        let mut attempt = self.attempt.lock().await;
        let now = self.current();
        let replaced = match (&now, before) {
            (Some(now), Some(before)) => !Arc::ptr_eq(now, before),
            (now, before) => now.is_some() != before.is_some(),
        };
        let due = attempt.is_none_or(|last| last.elapsed() >= self.options.min_refetch);
        if replaced || !due {
            return now;
        }
        *attempt = Some(Instant::now());
        if let Err(error) = self.fetch().await {
            self.warn(&error);
        }
        // Whoever waited meanwhile must not begin anew, however long a silent issuer was waited for.
        *attempt = Some(Instant::now());
        self.current()
    }

    async fn fetch(&self) -> Result<(), RefreshError> {
        let Document { issuer, jwks_uri, .. } = discover(&self.http, &self.asked).await?;
        let url = jwks_uri.ok_or(RefreshError::NoKeys)?;
        let document: keys::Document = self.http.get_json(&url).await?;
        let keys = Keys::read(&document);
        // An issuer that suddenly has no keys at all is broken rather than without keys.
        if keys.len() == 0 {
            return Err(RefreshError::Empty);
        }
        tracing::debug!(issuer, keys = keys.len(), "fetched the keys of the issuer");
        let known = Arc::new(Known { issuer, keys, since: Instant::now() });
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
        Ok(())
    }

    fn warn(&self, error: &RefreshError) {
        let mut message = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            message += &format!(": {error}");
            source = error.source();
        }
        tracing::warn!(issuer = self.asked.as_str(), error = message, "cannot fetch keys");
    }
}

impl Known {
    fn has_key_for(&self, token: &Token<'_>) -> bool {
        self.keys.find(token.kid.as_deref(), token.algorithm).is_some()
    }

    fn judge(&self, token: &Token<'_>, inner: &Inner) -> Result<Claims, TokenError> {
        let algorithm = token.algorithm;
        let key = self.keys.find(token.kid.as_deref(), algorithm).ok_or_else(|| {
            let kid = token.kid.as_deref().map(|kid| kid.chars().take(100).collect());
            TokenError::UnknownKey { kid, algorithm: algorithm.name() }
        })?;
        if !key.verifies(algorithm, token.message.as_bytes(), token.signature) {
            return Err(TokenError::Signature);
        }
        token.claims()?.check(&Expected {
            issuer: &self.issuer,
            audience: &inner.audience,
            now: SystemTime::now(),
            leeway: inner.options.leeway,
        })
    }
}

// SPDX-License-Identifier: Apache-2.0

//! What an issuer remembers, all of it in memory and none of it without a limit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use crate::device::Devices;
use crate::keys::Keys;
use crate::{Client, Config, IssuerError};

/// The most refresh tokens that count at one time.
const MAX_REFRESH: usize = 10_000;

/// What somebody allowed a client to do.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) subject: String,
    pub(crate) audience: String,
    pub(crate) scope: String,
    pub(crate) client: String,
}

/// Everything that requests share.
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) url: String,
    /// What requests have to name as their host.
    pub(crate) authority: String,
    keys: Mutex<Keys>,
    devices: Mutex<Devices>,
    refresh: Mutex<HashMap<String, Grant>>,
    jwks_requests: AtomicU64,
}

impl State {
    pub(crate) fn new(config: Config, url: String, authority: String) -> Result<Self, IssuerError> {
        let keys = Mutex::new(Keys::new(config.algorithms.clone())?);
        let devices = Mutex::new(Devices::new(config.device_lifetime, config.interval));
        let refresh = Mutex::default();
        let jwks_requests = AtomicU64::new(0);
        Ok(Self { config, url, authority, keys, devices, refresh, jwks_requests })
    }

    pub(crate) fn keys(&self) -> MutexGuard<'_, Keys> {
        lock(&self.keys)
    }

    pub(crate) fn devices(&self) -> MutexGuard<'_, Devices> {
        lock(&self.devices)
    }

    pub(crate) fn count_jwks_request(&self) {
        self.jwks_requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn jwks_requests(&self) -> u64 {
        self.jwks_requests.load(Ordering::Relaxed)
    }

    /// The client of this name, if it proves itself as far as it has to.
    pub(crate) fn client(&self, id: &str, secret: Option<&str>) -> Option<&Client> {
        let client = self.config.clients.iter().find(|client| client.id == id)?;
        match (&client.secret, secret) {
            (None, _) => Some(client),
            (Some(known), Some(given)) => same(known, given).then_some(client),
            (Some(_), None) => None,
        }
    }

    pub(crate) fn is_password(&self, name: &str, password: &str) -> bool {
        let mut users = self.config.users.iter();
        users.any(|user| user.name == name && same(&user.password, password))
    }

    /// The audience of a token to be made, or none if the one that is asked for is unknown.
    pub(crate) fn audience(&self, asked: Option<&str>) -> Option<String> {
        let known = &self.config.audiences;
        match asked {
            Some(asked) if known.is_empty() || known.iter().any(|known| known == asked) => {
                Some(asked.to_owned())
            }
            Some(_) => None,
            None => Some(known.first().unwrap_or(&self.url).clone()),
        }
    }

    pub(crate) fn claims(&self, subject: &str, audience: &str, scope: &str, client: &str) -> Value {
        let now = now();
        json!({
            "iss": self.url,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + self.config.token_lifetime.as_secs(),
            "jti": random(12),
            "client_id": client,
            "scope": scope,
        })
    }

    /// The answer of the token endpoint.
    pub(crate) fn tokens(&self, grant: Grant) -> Value {
        let Grant { subject, audience, scope, client } = &grant;
        let has = |name| scope.split(' ').any(|scope| scope == name);
        let claims = self.claims(subject, audience, scope, client);
        let mut answer = json!({
            "access_token": self.keys().sign(None, &Value::Null, &claims),
            "token_type": "Bearer",
            "expires_in": self.config.token_lifetime.as_secs(),
            "scope": scope,
        });
        if has("openid") {
            let claims = self.claims(subject, client, "", client);
            let header = json!({ "typ": "JWT" });
            answer["id_token"] = json!(self.keys().sign(None, &header, &claims));
        }
        if has("offline_access") && self.config.refresh_tokens {
            let token = random(32);
            let mut refresh = lock(&self.refresh);
            if refresh.len() < MAX_REFRESH {
                refresh.insert(token.clone(), grant);
                answer["refresh_token"] = json!(token);
            }
        }
        answer
    }

    /// What a refresh token stands for; it counts once, and for the client that it was given to.
    pub(crate) fn take_refresh(&self, token: &str, client: &str) -> Option<Grant> {
        let mut refresh = lock(&self.refresh);
        match refresh.get(token) {
            Some(grant) if grant.client == client => refresh.remove(token),
            _ => None,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn same(known: &str, given: &str) -> bool {
    verify_slices_are_equal(known.as_bytes(), given.as_bytes()).is_ok()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_secs()).unwrap_or_default()
}

/// That many random bytes as text.
pub(crate) fn random(size: usize) -> String {
    let mut bytes = vec![0; size];
    // The library's generator does not fail once the process runs; an empty text would be guessable.
    while aws_lc_rs::rand::fill(&mut bytes).is_err() {}
    Base64UrlUnpadded::encode_string(&bytes)
}

// SPDX-License-Identifier: Apache-2.0

//! An issuer, seen by a client that wants tokens of it.

use std::time::{Duration, SystemTime};

use oidc_discovery::{Answer, DiscoveryError, FetchError, Http, Url, discover, issuer_url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::credential::{expiry, token};
use crate::{Credential, DeviceFlow, LoginError, Secret};

/// What the command line has always asked a Drawbridge's issuer for.
pub const SCOPES: [&str; 5] = [
    "openid",
    "profile",
    "manage:drawbridge_repositories",
    "manage:drawbridge_tags",
    "manage:drawbridge_users",
];

/// Scopes that are about a person; a machine does not ask for them.
const PERSONAL: [&str; 3] = ["openid", "profile", "offline_access"];

/// Who logs in, where, and for what.
#[derive(Debug, Clone)]
pub struct Options {
    /// The issuer's URL, or its name alone, which means `https`.
    pub issuer: String,
    /// The client as the issuer knows it.
    pub client_id: String,
    /// The client's secret, if it has one.
    pub client_secret: Option<Secret>,
    /// The service that the tokens are for.
    pub audience: String,
    /// What the tokens are to be used for.
    pub scopes: Vec<String>,
    /// Certificates (DER) that may vouch for the issuer's `https` besides those of the system.
    pub roots: Vec<Vec<u8>>,
}

impl Options {
    /// The published scopes, for the Drawbridge at `host` (with a port, if it needs one).
    pub fn for_store(issuer: &str, client_id: &str, host: &str) -> Self {
        Self {
            issuer: issuer.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: None,
            audience: format!("https://{host}/"),
            scopes: SCOPES.map(str::to_owned).to_vec(),
            roots: Vec::new(),
        }
    }
}

/// An issuer whose endpoints are known.
#[derive(Debug, Clone)]
pub struct Login {
    pub(crate) options: Options,
    pub(crate) http: Http,
    pub(crate) issuer: Url,
    device: Url,
    token: Url,
    revocation: Option<Url>,
    /// Whether the secret goes into the form, because the issuer does not take it in the header.
    secret_in_form: bool,
}

/// An answer of the token endpoint (RFC 6749, §5.1).
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    token_type: String,
    expires_in: Option<f64>,
    refresh_token: Option<String>,
}

/// An error (RFC 6749, §5.2).
#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    error_description: Option<String>,
}

impl Login {
    /// Asks the issuer where its endpoints are.
    ///
    /// An issuer without discovery, or whose discovery does not name them, is asked at the paths that the
    /// published command line used: `oauth/device/code` and `oauth/token`.
    ///
    /// # Errors
    ///
    /// If `options.issuer` is no URL of an issuer, it cannot be reached, or a certificate cannot be used.
    pub async fn new(mut options: Options) -> Result<Self, LoginError> {
        let issuer = issuer_url(&options.issuer)?;
        let http = Http::new(&issuer, &options.roots)?;
        let document =
            match discover(&http, &issuer).await {
                Ok(document) => Some(document),
                Err(DiscoveryError::Fetch {
                    source: FetchError::Status { status, .. }, ..
                }) if status.as_u16() == 404 => None,
                Err(error) => return Err(error.into()),
            };
        let published = |path: &str| {
            let mut url = issuer.clone();
            url.set_path(&format!("{}/{path}", issuer.path().trim_end_matches('/')));
            url
        };
        let named = document.as_ref();
        let offline = "offline_access".to_owned();
        if named.is_some_and(|document| document.scopes_supported.contains(&offline))
            && !options.scopes.contains(&offline)
        {
            options.scopes.push(offline);
        }
        let methods =
            named.map(|document| document.token_endpoint_auth_methods_supported.as_slice());
        let has = |name: &str| methods.is_some_and(|list| list.iter().any(|method| method == name));
        Ok(Self {
            device: named
                .and_then(|document| document.device_authorization_endpoint.clone())
                .unwrap_or_else(|| published("oauth/device/code")),
            token: named
                .and_then(|document| document.token_endpoint.clone())
                .unwrap_or_else(|| published("oauth/token")),
            revocation: named.and_then(|document| document.revocation_endpoint.clone()),
            secret_in_form: has("client_secret_post") && !has("client_secret_basic"),
            options,
            http,
            issuer,
        })
    }

    /// The issuer's URL.
    pub fn issuer(&self) -> &Url {
        &self.issuer
    }

    /// Begins a login by a person, on any device with a browser.
    ///
    /// # Errors
    ///
    /// If the issuer cannot be asked, refuses, or answers with what must not be shown to people.
    pub async fn device(&self) -> Result<DeviceFlow<'_>, LoginError> {
        let scope = self.options.scopes.join(" ");
        let mut form = vec![("scope", scope.as_str())];
        self.add_audience(&mut form);
        let answer = self.post(&self.device, form).await?;
        DeviceFlow::new(self, parse(&answer)?)
    }

    /// Asks for a token in the name of the client itself.
    ///
    /// # Errors
    ///
    /// [`LoginError::NoSecret`] without a secret; else if the issuer cannot be asked or refuses.
    pub async fn client_credentials(&self) -> Result<Credential, LoginError> {
        if self.options.client_secret.is_none() {
            return Err(LoginError::NoSecret);
        }
        let scopes = self.options.scopes.iter().map(String::as_str);
        let scope: Vec<_> = scopes.filter(|scope| !PERSONAL.contains(scope)).collect();
        let scope = scope.join(" ");
        let mut form = vec![("grant_type", "client_credentials"), ("scope", scope.as_str())];
        self.add_audience(&mut form);
        self.tokens(form).await
    }

    /// Trades a refresh token for new tokens.
    ///
    /// # Errors
    ///
    /// If the issuer cannot be asked or refuses, [`LoginError::is_invalid_grant`] if for good.
    pub async fn refresh(&self, refresh: &Secret) -> Result<Credential, LoginError> {
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh.expose())];
        self.add_audience(&mut form);
        let mut credential = self.tokens(form).await?;
        // An issuer need not give a new one (RFC 6749, §6).
        credential.refresh.get_or_insert_with(|| refresh.clone());
        Ok(credential)
    }

    /// Makes a refresh token worthless, where the issuer offers that (RFC 7009); says whether it did.
    ///
    /// # Errors
    ///
    /// If the issuer cannot be asked or refuses.
    pub async fn revoke(&self, refresh: &Secret) -> Result<bool, LoginError> {
        let Some(url) = &self.revocation else { return Ok(false) };
        let form = vec![("token", refresh.expose()), ("token_type_hint", "refresh_token")];
        self.post(url, form).await.map(|_| true)
    }

    /// Asks the token endpoint.
    pub(crate) async fn tokens(&self, form: Vec<(&str, &str)>) -> Result<Credential, LoginError> {
        let asked = SystemTime::now();
        let answer: TokenAnswer = parse(&self.post(&self.token, form).await?)?;
        if !answer.token_type.eq_ignore_ascii_case("bearer") {
            return Err(LoginError::Answer("the token is of an unknown type"));
        }
        let access = token(answer.access_token)
            .ok_or(LoginError::Answer("the token is empty, too long or unprintable"))?;
        // A year is more than any access token lasts.
        let lasts =
            answer.expires_in.map(|s| Duration::from_secs(s.clamp(0.0, 31_536_000.0) as u64));
        let expires = match lasts {
            Some(lasts) => asked.checked_add(lasts),
            None => expiry(access.expose()),
        };
        Ok(Credential { access, expires, refresh: answer.refresh_token.and_then(token) })
    }

    /// Says whom tokens are for, in the two ways that issuers understand: `audience` is that of the
    /// published command line, `resource` that of RFC 8707, which wants a URI.
    pub(crate) fn add_audience<'a>(&'a self, form: &mut Vec<(&'a str, &'a str)>) {
        let audience = self.options.audience.as_str();
        form.push(("audience", audience));
        if Url::parse(audience).is_ok_and(|url| url.fragment().is_none()) {
            form.push(("resource", audience));
        }
    }

    /// Sends a form together with the client's name and proof, and returns the answer of a success.
    async fn post(&self, url: &Url, mut form: Vec<(&str, &str)>) -> Result<Answer, LoginError> {
        let id = self.options.client_id.as_str();
        let secret = self.options.client_secret.as_ref().map(Secret::expose);
        // In the header both are encoded like the fields of a form (RFC 6749, §2.3.1).
        let encode = |text: &str| -> String {
            url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
        };
        let encoded = secret.map(|secret| (encode(id), zeroize::Zeroizing::new(encode(secret))));
        let basic = match (&encoded, self.secret_in_form) {
            (Some((id, secret)), false) => Some((id.as_str(), secret.as_str())),
            _ => None,
        };
        if basic.is_none() {
            form.push(("client_id", id));
            form.extend(secret.map(|secret| ("client_secret", secret)));
        }
        let answer = self.http.post_form(url, &form, basic).await?;
        if answer.status == 200 {
            return Ok(answer);
        }
        match serde_json::from_slice::<ErrorAnswer>(&answer.body) {
            Ok(error) => Err(LoginError::Refused {
                code: printable(&error.error, 50),
                description: error.error_description.map(|text| printable(&text, 200)),
            }),
            Err(_) => {
                let status = answer.status.try_into().unwrap_or_default();
                Err(FetchError::Status { url: url.to_string(), status }.into())
            }
        }
    }
}

fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, LoginError> {
    // The parser's own message could quote what is secret.
    serde_json::from_slice(&answer.body)
        .map_err(|_| LoginError::Answer("it is not the JSON that the standard asks for"))
}

/// What an issuer says, fit for a terminal.
fn printable(text: &str, limit: usize) -> String {
    text.chars().filter(|character| !character.is_control()).take(limit).collect()
}

// SPDX-License-Identifier: Apache-2.0

//! The device flow (RFC 8628): a person approves in a browser, on this machine or any other, while the
//! program waits.

use std::time::Duration;

use oidc_discovery::{Url, is_allowed, is_loopback};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::{Credential, Login, LoginError, Secret};

/// The most time between two questions.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// The most time that anybody is waited for.
const MAX_LIFETIME: Duration = Duration::from_secs(1800);

/// The answer of the device authorization endpoint (§3.2).
#[derive(Deserialize)]
pub(crate) struct DeviceAnswer {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: f64,
    interval: Option<f64>,
}

/// A login that waits for a person.
#[derive(Debug)]
pub struct DeviceFlow<'a> {
    login: &'a Login,
    device_code: Secret,
    user_code: String,
    verification_uri: Url,
    verification_uri_complete: Option<Url>,
    interval: Duration,
    ends: Instant,
    lifetime: Duration,
}

impl<'a> DeviceFlow<'a> {
    pub(crate) fn new(login: &'a Login, answer: DeviceAnswer) -> Result<Self, LoginError> {
        // These are shown on a terminal and opened in a browser.
        let link = |text: &str| {
            let url = Url::parse(text).ok()?;
            (is_allowed(&url) && (!is_loopback(&url) || is_loopback(&login.issuer))).then_some(url)
        };
        let code = &answer.user_code;
        if code.is_empty()
            || code.len() > 64
            || !code.chars().all(|c| c == ' ' || c.is_ascii_graphic())
        {
            return Err(LoginError::Answer(
                "the code to be shown is empty, too long or unprintable",
            ));
        }
        let verification_uri = link(&answer.verification_uri)
            .ok_or(LoginError::Answer("the page for the approval is no https URL"))?;
        let verification_uri_complete = answer.verification_uri_complete.as_deref().and_then(link);
        let seconds = |number: f64| Duration::from_secs(number.clamp(0.0, 86_400.0) as u64);
        let lifetime = seconds(answer.expires_in).min(MAX_LIFETIME);
        // Five seconds if the issuer does not say (§3.2).
        let interval = seconds(answer.interval.unwrap_or(5.0));
        Ok(Self {
            login,
            device_code: Secret::new(answer.device_code),
            user_code: answer.user_code,
            verification_uri,
            verification_uri_complete,
            interval: interval.clamp(Duration::from_millis(200), MAX_INTERVAL),
            ends: Instant::now() + lifetime,
            lifetime,
        })
    }

    /// What the person types in; printable ASCII.
    pub fn user_code(&self) -> &str {
        &self.user_code
    }

    /// The page where the code is typed in.
    pub fn verification_uri(&self) -> &Url {
        &self.verification_uri
    }

    /// The same page with the code already filled in, if the issuer has that.
    pub fn verification_uri_complete(&self) -> Option<&Url> {
        self.verification_uri_complete.as_ref()
    }

    /// How long the person has.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Asks the issuer from time to time until the person has decided.
    ///
    /// # Errors
    ///
    /// [`LoginError::Denied`] and [`LoginError::Expired`], or what else the issuer refuses with. That it
    /// cannot be reached for a moment is no error as long as there is time.
    pub async fn wait(mut self) -> Result<Credential, LoginError> {
        loop {
            if Instant::now() + self.interval > self.ends {
                return Err(LoginError::Expired);
            }
            sleep(self.interval).await;
            let mut form = vec![
                ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
                ("device_code", self.device_code.expose()),
            ];
            self.login.add_audience(&mut form);
            let slower = match self.login.tokens(form).await {
                Ok(credential) => return Ok(credential),
                Err(LoginError::Refused { code, description }) => match code.as_str() {
                    "authorization_pending" => self.interval,
                    "slow_down" => self.interval + Duration::from_secs(5),
                    "access_denied" => return Err(LoginError::Denied),
                    "expired_token" => return Err(LoginError::Expired),
                    _ => return Err(LoginError::Refused { code, description }),
                },
                // Whoever cannot be reached is asked less often (§3.5).
                Err(LoginError::Fetch(error)) if error.is_transient() => {
                    tracing::debug!(error = %error, "the issuer cannot be asked; trying again");
                    self.interval * 2
                }
                Err(error) => return Err(error),
            };
            self.interval = slower.min(MAX_INTERVAL);
        }
    }
}

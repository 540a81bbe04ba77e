// SPDX-License-Identifier: Apache-2.0

//! The configuration document of an issuer, as far as anything here uses it.

use serde::Deserialize;
use url::Url;

use crate::{DiscoveryError, is_allowed, is_loopback};

/// An issuer's configuration (OpenID Connect Discovery 1.0, §3; RFC 8414, §2; RFC 8628, §4).
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    /// The issuer's name, which tokens repeat in `iss` letter by letter.
    pub issuer: String,
    /// Where its public keys are.
    pub jwks_uri: Option<Url>,
    /// Where tokens are had.
    pub token_endpoint: Option<Url>,
    /// Where a device flow begins.
    pub device_authorization_endpoint: Option<Url>,
    /// Where a refresh token can be made worthless (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// Scopes that it knows, if it says so.
    #[serde(default)]
    pub scopes_supported: Vec<String>,
    /// How a client can prove itself at the token endpoint.
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
}

impl Document {
    pub(crate) fn check(&self, asked: &Url) -> Result<(), DiscoveryError> {
        // Issuers are written with and without a slash at the end, by people and by issuers alike.
        // What counts later is the issuer's own way to write it.
        if self.issuer.trim_end_matches('/') != asked.as_str().trim_end_matches('/') {
            return Err(DiscoveryError::OtherIssuer {
                asked: asked.to_string(),
                named: self.issuer.chars().take(200).collect(),
            });
        }
        let endpoints = [
            ("jwks_uri", &self.jwks_uri),
            ("token_endpoint", &self.token_endpoint),
            ("device_authorization_endpoint", &self.device_authorization_endpoint),
            ("revocation_endpoint", &self.revocation_endpoint),
        ];
        for (endpoint, url) in endpoints {
            let Some(url) = url else { continue };
            // An issuer elsewhere must not make us ask services of this machine.
            if !is_allowed(url) || (is_loopback(url) && !is_loopback(asked)) {
                return Err(DiscoveryError::Endpoint {
                    issuer: self.issuer.chars().take(200).collect(),
                    endpoint,
                    url: url.as_str().chars().take(200).collect(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        serde_json::from_str(text).unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn the_issuer_has_to_be_the_one_that_was_asked() {
        let given = document(r#"{"issuer":"https://a.example/x"}"#);
        given.check(&url("https://a.example/x")).unwrap();
        given.check(&url("https://a.example/x/")).unwrap();
        for other in ["https://a.example/", "https://b.example/x", "https://a.example/x/y"] {
            let error = given.check(&url(other)).unwrap_err();
            assert!(matches!(error, DiscoveryError::OtherIssuer { .. }), "{other}");
        }
    }

    #[test]
    fn no_endpoint_in_the_clear_or_on_this_machine() {
        for bad in ["http://a.example/keys", "https://127.0.0.1/keys", "http://localhost/keys"] {
            let given =
                document(&format!(r#"{{"issuer":"https://a.example","jwks_uri":"{bad}"}}"#));
            let error = given.check(&url("https://a.example")).unwrap_err();
            assert!(matches!(error, DiscoveryError::Endpoint { .. }), "{bad}");
        }
        let local = r#"{"issuer":"http://127.0.0.1:1","jwks_uri":"http://127.0.0.1:1/keys"}"#;
        document(local).check(&url("http://127.0.0.1:1")).unwrap();
    }
}

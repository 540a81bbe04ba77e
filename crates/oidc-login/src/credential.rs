// SPDX-License-Identifier: Apache-2.0

//! What a login results in, and the text in which it is kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Secret;

/// The most bytes of a stored text.
pub(crate) const MAX_TEXT: usize = 64 * 1024;

/// What a login results in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// What a request bears.
    pub access: Secret,
    /// When `access` ends, as far as that is known.
    pub expires: Option<SystemTime>,
    /// What brings a new `access`, if the issuer gave it.
    pub refresh: Option<Secret>,
}

/// The stored form of a credential that can be refreshed.
#[derive(Serialize, Deserialize)]
struct Document {
    access_token: String,
    refresh_token: Option<String>,
    /// Seconds since 1970.
    expires_at: Option<u64>,
}

impl Credential {
    /// Whether `access` counts for that long still, as far as is known.
    pub fn is_fresh(&self, at_least: Duration) -> bool {
        self.expires.is_none_or(|end| {
            end.duration_since(SystemTime::now()).is_ok_and(|left| left > at_least)
        })
    }

    /// Whom the token says that it is about, if it is a JSON Web Token.
    ///
    /// Its signature is not checked: this is for messages and for requests that the server checks.
    pub fn subject(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Claims {
            sub: String,
        }
        let claims: Claims = claims(self.access.expose())?;
        let plain = claims.sub.len() <= 255 && !claims.sub.chars().any(char::is_control);
        plain.then_some(claims.sub)
    }

    /// The text to keep, in one line.
    ///
    /// Without a refresh token it is the access token and nothing else, as the published program kept it,
    /// so that helpers and other programs can go on using it.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        let Some(refresh) = &self.refresh else {
            return Zeroizing::new(self.access.expose().to_owned());
        };
        let expires = self.expires.and_then(|end| end.duration_since(UNIX_EPOCH).ok());
        let document = Document {
            access_token: self.access.expose().to_owned(),
            refresh_token: Some(refresh.expose().to_owned()),
            expires_at: expires.map(|end| end.as_secs()),
        };
        Zeroizing::new(serde_json::to_string(&document).unwrap_or_default())
    }

    /// Reads what was kept; nothing if it cannot be a token.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.starts_with('{') {
            let document: Document = serde_json::from_str(text).ok()?;
            return Some(Self {
                access: token(document.access_token)?,
                expires: document.expires_at.and_then(from_seconds),
                refresh: document.refresh_token.and_then(token),
            });
        }
        let access = token(text.to_owned())?;
        let expires = expiry(access.expose());
        Some(Self { access, expires, refresh: None })
    }

    /// A token from elsewhere, such as an option of the command line.
    ///
    /// Nothing if it cannot stand in a header.
    pub fn bare(access: &str) -> Option<Self> {
        Self::from_text(access).filter(|credential| credential.refresh.is_none())
    }
}

/// A text that can stand behind `Bearer` (RFC 6750, §2.1, but any visible ASCII).
pub(crate) fn token(text: String) -> Option<Secret> {
    let text = Zeroizing::new(text);
    let fits = !text.is_empty() && text.len() <= MAX_TEXT / 2;
    (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Secret::new(text.as_str()))
}

/// When a JSON Web Token says that it ends. Nobody relies on it: the server judges, this only saves a
/// request that would be refused.
pub(crate) fn expiry(token: &str) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let claims: Claims = claims(token)?;
    from_seconds(claims.exp.max(0.0) as u64)
}

fn claims<T: serde::de::DeserializeOwned>(token: &str) -> Option<T> {
    let claims = Base64UrlUnpadded::decode_vec(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn from_seconds(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_refresh_token_the_text_is_the_token() {
        let credential = Credential::bare("abc.def").unwrap();
        assert_eq!(credential.to_text().as_str(), "abc.def");
        assert_eq!(Credential::from_text("abc.def\n"), Some(credential));
    }

    #[test]
    fn a_refresh_token_is_kept_with_the_time() {
        let credential = Credential {
            access: Secret::new("a"),
            expires: from_seconds(1_900_000_000),
            refresh: Some(Secret::new("r")),
        };
        let text = credential.to_text();
        assert!(!text.contains('\n'));
        assert_eq!(Credential::from_text(&text), Some(credential));
    }

    #[test]
    fn a_token_tells_when_it_ends() {
        let claims = Base64UrlUnpadded::encode_string(br#"{"exp":1000,"sub":"alice"}"#);
        let credential = Credential::bare(&format!("e30.{claims}.x")).unwrap();
        assert_eq!(credential.subject().as_deref(), Some("alice"));
        assert_eq!(credential.expires, from_seconds(1000));
        assert!(!credential.is_fresh(Duration::ZERO));
        assert!(Credential::bare("opaque").unwrap().is_fresh(Duration::ZERO));
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_no_token() {
        for bad in ["", " ", "a b", "a\nb", "ä", "{}", "{\"access_token\":\"\"}"] {
            assert_eq!(Credential::from_text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let credential = Credential {
            refresh: Some(Secret::new("hidden")),
            ..Credential::bare("hidden").unwrap()
        };
        assert!(!format!("{credential:?}").contains("hidden"));
    }
}

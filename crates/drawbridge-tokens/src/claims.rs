// SPDX-License-Identifier: Apache-2.0

//! What a token says, once its signature is known to be right (RFC 7519, §4.1; RFC 9068, §2.2).

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::TokenError;

/// The most bytes of a subject: OpenID Connect Core 1.0, §2, allows 255 characters of ASCII.
const MAX_SUBJECT: usize = 255;

/// What a good token says about whoever bears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The issuer's name for the person or machine: not empty, at most 255 bytes, no control characters.
    pub subject: String,
    /// What the token may be used for.
    pub scopes: BTreeSet<String>,
    /// When it ends.
    pub expires: SystemTime,
}

impl Claims {
    /// Whether the token may be used for this.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }
}

/// The claims as they stand in the token.
#[derive(Deserialize)]
pub(crate) struct Raw {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<OneOrMany>,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    scope: Option<Scopes>,
    scp: Option<Scopes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Scopes as the standard writes them (words in one text), or as some issuers do (a list).
#[derive(Deserialize)]
#[serde(untagged)]
enum Scopes {
    Text(String),
    List(Vec<String>),
}

/// What the claims are compared with.
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    pub(crate) now: SystemTime,
    pub(crate) leeway: Duration,
}

impl Raw {
    pub(crate) fn check(self, expected: &Expected<'_>) -> Result<Claims, TokenError> {
        let issuer = self.iss.ok_or(TokenError::MissingClaim("iss"))?;
        if issuer != expected.issuer {
            return Err(TokenError::Issuer);
        }
        let ours = match self.aud.ok_or(TokenError::MissingClaim("aud"))? {
            OneOrMany::One(audience) => audience == expected.audience,
            OneOrMany::Many(list) => list.iter().any(|audience| audience == expected.audience),
        };
        if !ours {
            return Err(TokenError::Audience);
        }
        let leeway = expected.leeway;
        let expires = time(self.exp.ok_or(TokenError::MissingClaim("exp"))?)?;
        // The span is half open: a token that ends now has ended.
        if expires.checked_add(leeway).is_some_and(|end| end <= expected.now) {
            return Err(TokenError::Expired);
        }
        let latest = expected.now.checked_add(leeway).unwrap_or(expected.now);
        for start in [self.nbf, self.iat].into_iter().flatten() {
            if time(start)? > latest {
                return Err(TokenError::NotYetValid);
            }
        }
        let subject = self.sub.ok_or(TokenError::MissingClaim("sub"))?;
        if subject.is_empty()
            || subject.len() > MAX_SUBJECT
            || subject.chars().any(char::is_control)
        {
            return Err(TokenError::Malformed("the subject is empty, too long or unprintable"));
        }
        let words = |scopes| match scopes {
            Scopes::Text(text) => text.split(' ').map(str::to_owned).collect(),
            Scopes::List(list) => list,
        };
        let scopes = [self.scope, self.scp]
            .into_iter()
            .flatten()
            .flat_map(words)
            .filter(|scope| !scope.is_empty())
            .collect();
        Ok(Claims { subject, scopes, expires })
    }
}

/// A `NumericDate`: seconds since 1970, which may have a fraction.
fn time(seconds: f64) -> Result<SystemTime, TokenError> {
    // Beyond the year 9999 nothing is meant seriously, and the sums below could overflow.
    if !(0.0..=253_402_300_799.0).contains(&seconds) {
        return Err(TokenError::Malformed("a time is out of range"));
    }
    Ok(UNIX_EPOCH + Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn check(claims: Value) -> Result<Claims, TokenError> {
        let raw: Raw = serde_json::from_value(claims).unwrap();
        raw.check(&Expected {
            issuer: "https://issuer.example/",
            audience: "https://store.example/",
            now: UNIX_EPOCH + Duration::from_secs(NOW),
            leeway: Duration::from_secs(60),
        })
    }

    fn good() -> Value {
        json!({
            "iss": "https://issuer.example/", "aud": "https://store.example/", "sub": "alice",
            "iat": NOW - 10, "exp": NOW + 600, "scope": "openid manage:drawbridge_tags",
        })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = good();
        claims[name] = value;
        claims
    }

    #[test]
    fn a_good_token_says_who_and_what_for() {
        let claims = check(good()).unwrap();
        assert_eq!(claims.subject, "alice");
        assert!(claims.has_scope("manage:drawbridge_tags"));
        assert!(!claims.has_scope("manage:drawbridge"));
        assert_eq!(claims.expires, UNIX_EPOCH + Duration::from_secs(NOW + 600));
    }

    #[test]
    fn scopes_may_be_a_list() {
        let mut claims = with("scope", Value::Null);
        claims["scp"] = json!(["a", "b"]);
        assert_eq!(check(claims).unwrap().scopes, BTreeSet::from(["a".into(), "b".into()]));
        assert!(check(with("scope", json!("  "))).unwrap().scopes.is_empty());
    }

    #[test]
    fn every_claim_is_needed() {
        for name in ["iss", "aud", "exp", "sub"] {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(name);
            assert_eq!(check(claims), Err(TokenError::MissingClaim(name)));
        }
    }

    #[test]
    fn issuer_and_audience_are_compared_letter_by_letter() {
        assert_eq!(check(with("iss", json!("https://issuer.example"))), Err(TokenError::Issuer));
        for other in [json!("https://store.example"), json!(["a", "b"]), json!([])] {
            assert_eq!(check(with("aud", other)), Err(TokenError::Audience));
        }
        check(with("aud", json!(["client", "https://store.example/"]))).unwrap();
    }

    #[test]
    fn times_have_a_leeway_and_no_more() {
        check(with("exp", json!(NOW - 59))).unwrap();
        assert_eq!(check(with("exp", json!(NOW - 60))), Err(TokenError::Expired));
        for name in ["nbf", "iat"] {
            check(with(name, json!(NOW + 60))).unwrap();
            assert_eq!(check(with(name, json!(NOW + 61))), Err(TokenError::NotYetValid));
        }
        check(with("exp", json!(NOW as f64 + 0.5))).unwrap();
    }

    #[test]
    fn subjects_are_names() {
        for bad in [String::new(), "x".repeat(256), "a\nb".into()] {
            assert!(matches!(check(with("sub", json!(bad))), Err(TokenError::Malformed(_))));
        }
    }

    proptest! {
        #[test]
        fn no_number_makes_it_panic(exp: f64, nbf: f64, iat: i64) {
            let mut claims = good();
            claims["exp"] = json!(exp);
            claims["nbf"] = json!(nbf);
            claims["iat"] = json!(iat);
            let _ = check(claims);
        }
    }
}

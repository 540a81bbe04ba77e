// SPDX-License-Identifier: Apache-2.0

//! What a client and a resource server both need of an OpenID Connect issuer: where it serves what
//! (OpenID Connect Discovery 1.0, §4), fetched within bounds.
//!
//! Whoever controls these answers controls who may log in, so the rules are few and hard: `https`, or
//! `http` to an address of this very machine; no redirects; an answer has a greatest size, a request has
//! a time limit, and the issuer has to call itself by the name under which it was asked.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod document;
mod http;

pub use document::Document;
pub use http::{Answer, FetchError, Http, MAX_ANSWER, TIMEOUT};
pub use url::Url;

use url::Host;

/// Why an issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The text is no URL of an issuer.
    #[error("{url:?} is not the URL of an OpenID Connect issuer: {why}")]
    Url {
        /// What was given; user information is left out.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The issuer could not be asked, or its answer not be read.
    #[error("cannot read the OpenID Connect configuration of {issuer}")]
    Fetch {
        /// The issuer that was asked.
        issuer: String,
        /// What went wrong.
        #[source]
        source: FetchError,
    },
    /// The document speaks for another issuer.
    #[error("{asked} says that it is the issuer {named:?}; both have to be the same")]
    OtherIssuer {
        /// The issuer that was asked.
        asked: String,
        /// What it calls itself, cut to 200 characters.
        named: String,
    },
    /// An endpoint lies at a URL that must not be asked.
    #[error("{issuer} names {url:?} as its {endpoint}, which must be https")]
    Endpoint {
        /// The issuer.
        issuer: String,
        /// Which endpoint.
        endpoint: &'static str,
        /// The URL, cut to 200 characters.
        url: String,
    },
}

impl DiscoveryError {
    /// Whether the same request may succeed later, because the issuer could not be reached or failed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch { source, .. } if source.is_transient())
    }
}

/// Reads an issuer's URL.
///
/// A name without a scheme, as the published `--oidc-domain` allowed it, means `https`.
///
/// # Errors
///
/// [`DiscoveryError::Url`] if it is no URL, is neither `https` nor `http` to a loopback address, or has
/// a query, a fragment or user information (OpenID Connect Discovery 1.0, §3).
pub fn issuer_url(text: &str) -> Result<Url, DiscoveryError> {
    let refuse = |why| Err(DiscoveryError::Url { url: shown(text), why });
    let text = text.trim();
    let parsed = match text.contains("://") {
        true => Url::parse(text),
        false => Url::parse(&format!("https://{text}")),
    };
    let Ok(url) = parsed else { return refuse("it cannot be read") };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it must not hold a user name or a password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("it must not have a query or a fragment");
    }
    if !is_allowed(&url) {
        return refuse("it must be https (http is for addresses of this machine only)");
    }
    Ok(url)
}

/// Whether this is `https`, or `http` to a loopback address or `localhost`.
pub fn is_allowed(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether the host of a URL is this machine, as far as its name says so.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Asks an issuer for its configuration.
///
/// # Errors
///
/// If it cannot be reached, answers with anything but such a document, is not the issuer that was asked
/// for, or names endpoints that are neither `https` nor on this machine.
pub async fn discover(http: &Http, issuer: &Url) -> Result<Document, DiscoveryError> {
    let mut url = issuer.clone();
    // An issuer may have a path; the well-known part comes after it.
    let path = format!("{}/.well-known/openid-configuration", issuer.path().trim_end_matches('/'));
    url.set_path(&path);
    let fetched = http.get_json::<Document>(&url).await;
    let document =
        fetched.map_err(|source| DiscoveryError::Fetch { issuer: issuer.to_string(), source })?;
    document.check(issuer)?;
    Ok(document)
}

/// A URL for a message: without user information, and no longer than 200 characters.
fn shown(text: &str) -> String {
    let text = match text.split_once('@') {
        Some((before, after)) if !before.contains(['/', '?']) || before.contains("://") => after,
        _ => text,
    };
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_https_or_on_this_machine() {
        for good in [
            "https://auth.example.com/",
            "https://auth.example.com/realms/a",
            "http://127.0.0.1:3000",
            "http://[::1]:3000/",
            "http://localhost:3000",
        ] {
            assert!(issuer_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://auth.example.com/",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
            "ftp://auth.example.com/",
            "https://user:secret@auth.example.com/",
            "https://auth.example.com/?a=b",
            "https://auth.example.com/#a",
            "",
            "https://",
        ] {
            assert!(issuer_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bare_name_means_https() {
        assert_eq!(issuer_url("auth.example.com").unwrap().as_str(), "https://auth.example.com/");
    }

    #[test]
    fn messages_hold_no_password() {
        let error = issuer_url("https://user:secret@auth.example.com/").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

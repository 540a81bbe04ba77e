// SPDX-License-Identifier: Apache-2.0

//! What a request asks for, read once: version, names in the path, query, who is at the other end.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, header};
use drawbridge_store::{RepoId, TagId};
use drawbridge_types::{API_VERSION, RepoName, TreePath, UserName};
use http_service::Peer;
use semver::Version;

use crate::Service;
use crate::problem::{Code, Refusal};

/// Most items of a page, and how many there are if nobody says.
pub(crate) const PAGE: (usize, usize) = (1000, 100);

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Call {
    parameters: BTreeMap<String, String>,
    query: BTreeMap<String, String>,
    pub(crate) is_head: bool,
    pub(crate) headers: HeaderMap,
    pub(crate) peer: Peer,
}

impl FromRequestParts<Arc<Service>> for Call {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Service>) -> Result<Self, Refusal> {
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Refusal::new(Code::Name, "the path is not valid UTF-8"))?;
        let call = Self {
            parameters: parameters.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            query: query(parts.uri.query().unwrap_or_default())?,
            is_head: parts.method == Method::HEAD,
            headers: parts.headers.clone(),
            peer: parts.extensions.get::<Peer>().cloned().unwrap_or_default(),
        };
        call.check_version()?;
        Ok(call)
    }
}

impl Call {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    fn check_version(&self) -> Result<(), Refusal> {
        let text = self.parameter("version");
        let asked: Version = text
            .strip_prefix('v')
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Refusal::from(Code::VersionMalformed))?;
        let own = Version::parse(API_VERSION).map_err(|_| Refusal::from(Code::Internal))?;
        let is_newer =
            asked.major > own.major || (asked.major == own.major && asked.minor > own.minor);
        if is_newer { Err(Code::VersionUnsupported.into()) } else { Ok(()) }
    }

    pub(crate) fn user(&self) -> Result<UserName, Refusal> {
        name(self.parameter("user"))
    }

    pub(crate) fn repo(&self) -> Result<RepoId, Refusal> {
        let repo: RepoName = name(self.parameter("repo"))?;
        Ok(RepoId { user: self.user()?, repo })
    }

    pub(crate) fn tag(&self) -> Result<TagId, Refusal> {
        let text = self.parameter("tag");
        if text.len() > 128 {
            return Err(Refusal::new(Code::Name, "a tag has at most 128 bytes"));
        }
        let tag: Version = text
            .parse()
            .map_err(|_| Refusal::new(Code::Name, "a tag is a semantic version like `1.2.3`"))?;
        Ok(self.repo()?.tag(tag))
    }

    pub(crate) fn text(&self, parameter: &str) -> &str {
        self.parameter(parameter)
    }

    pub(crate) fn path(&self) -> Result<TreePath, Refusal> {
        name(self.parameter("path"))
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// How many items a page is to have.
    pub(crate) fn limit(&self) -> Result<usize, Refusal> {
        let Some(text) = self.query("limit") else { return Ok(PAGE.1) };
        match text.parse() {
            Ok(limit) if (1..=PAGE.0).contains(&limit) => Ok(limit),
            _ => Err(Refusal::new(Code::Query, format!("`limit` is from 1 to {}", PAGE.0))),
        }
    }

    /// A header that is a text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }

    /// A header that has to be there.
    pub(crate) fn demand(&self, name: &HeaderName) -> Result<&str, Refusal> {
        self.header(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Refusal::new(Code::Header, format!("the header {name} is missing")))
    }

    /// `Content-Length`, which has to be there.
    pub(crate) fn length(&self) -> Result<u64, Refusal> {
        let text = self.demand(&header::CONTENT_LENGTH)?;
        text.parse().map_err(|_| Refusal::new(Code::Header, "Content-Length is not a number"))
    }

    /// The media type of the body, without parameters.
    pub(crate) fn media_type(&self) -> Option<&str> {
        Some(self.header(&header::CONTENT_TYPE)?.split(';').next()?.trim())
    }
}

fn name<T: std::str::FromStr>(text: &str) -> Result<T, Refusal>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Refusal::new(Code::Name, error.to_string()))
}

/// `name=value&…`, percent-decoded; each name once.
fn query(text: &str) -> Result<BTreeMap<String, String>, Refusal> {
    let malformed = |what: &str| Refusal::new(Code::Query, what.to_owned());
    let mut out = BTreeMap::new();
    for part in text.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let decode = |text| decoded(text).ok_or_else(|| malformed("it is not valid UTF-8"));
        if out.insert(decode(name)?, decode(value)?).is_some() {
            return Err(malformed("a parameter is there twice"));
        }
        if out.len() > 16 {
            return Err(malformed("there are more than 16 parameters"));
        }
    }
    Ok(out)
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high << 4 | low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let found = query("q=a%2Fb+c&limit=5&x").unwrap();
        assert_eq!(found["q"], "a/b c");
        assert_eq!(found["limit"], "5");
        assert_eq!(found["x"], "");
        for bad in ["q=%", "q=%f", "q=%ff", "q=%+1", "a=1&a=2", &"&".repeat(3).replace('&', "a=1&")]
        {
            assert!(query(bad).is_err(), "{bad}");
        }
        let many: Vec<String> = (0..17).map(|one| format!("p{one}=1")).collect();
        assert!(query(&many.join("&")).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_query_makes_it_panic(text: String) {
            let _ = query(&text);
        }

        #[test]
        fn what_is_encoded_comes_back(value: String) {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            proptest::prop_assert_eq!(&query(&format!("v={encoded}")).unwrap()["v"], &value);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Slugs: the names by which workloads are asked for.

use std::fmt;
use std::str::FromStr;

use semver::{Version, VersionReq};

use crate::{ContentDigest, NameError, RepoName, UserName};

/// Longest slug in bytes.
const MAX_SLUG: usize = 512;

/// `[host[:port]/]user/repo[:tag][@sha256:…]`, read from the right as published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slug {
    /// The Drawbridge, with its port where one was given.
    pub host: Option<String>,
    /// Whose repository.
    pub user: UserName,
    /// Which repository.
    pub repo: RepoName,
    /// Which tag.
    pub tag: Option<TagRequest>,
    /// The digest that the workload has to have.
    pub digest: Option<ContentDigest>,
}

/// What was asked for behind the colon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagRequest {
    /// `latest`: the highest version that is neither a pre-release nor yanked.
    Latest,
    /// One version.
    Exact(Version),
    /// The highest version in a range, as Cargo writes them: `^1.2`, `~1.2`, `1`, `>=1,<3`.
    Range(VersionReq),
}

impl TagRequest {
    /// Whether a version is what was asked for.
    #[must_use]
    pub fn matches(&self, version: &Version) -> bool {
        match self {
            Self::Latest => version.pre.is_empty(),
            Self::Exact(exact) => exact == version,
            Self::Range(range) => range.matches(version),
        }
    }
}

impl FromStr for TagRequest {
    type Err = SlugError;

    fn from_str(text: &str) -> Result<Self, SlugError> {
        if text.len() > 128 {
            return Err(SlugError::Tag);
        }
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Ok(version) = text.parse() {
            return Ok(Self::Exact(version));
        }
        text.parse().map(Self::Range).map_err(|_| SlugError::Tag)
    }
}

impl fmt::Display for TagRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Exact(version) => version.fmt(f),
            Self::Range(range) => range.fmt(f),
        }
    }
}

/// Why a text is no slug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SlugError {
    /// It has not the form.
    #[error("a slug is `[host[:port]/]user/repo[:tag][@sha256:DIGEST]`, at most {MAX_SLUG} bytes")]
    Form,
    /// The tag is no version.
    #[error("a tag is a version like `1.2.3`, a range like `^1.2`, or `latest`")]
    Tag,
    /// The digest is none.
    #[error("what follows the `@` is no digest: {0}")]
    Digest(#[from] crate::DigestError),
    /// User or repository have characters that they may not have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The host is none.
    #[error("`{0}` is not a host: a DNS name or IPv4 address, with or without a port")]
    Host(String),
}

impl FromStr for Slug {
    type Err = SlugError;

    fn from_str(text: &str) -> Result<Self, SlugError> {
        if text.len() > MAX_SLUG {
            return Err(SlugError::Form);
        }
        let (text, digest) = match text.split_once('@') {
            Some((front, digest)) => (front, Some(ContentDigest::from_workload(digest)?)),
            None => (text, None),
        };
        let (front, last) = text.rsplit_once('/').ok_or(SlugError::Form)?;
        let (repo, tag) = match last.split_once(':') {
            Some((repo, tag)) => (repo, Some(tag.parse()?)),
            None => (last, None),
        };
        let (host, user) = match front.rsplit_once('/') {
            Some((host, user)) => (Some(host), user),
            None => (None, front),
        };
        if let Some(host) = host
            && !is_host(host)
        {
            return Err(SlugError::Host(host.chars().filter(|one| !one.is_control()).collect()));
        }
        let (user, repo) = (user.parse()?, repo.parse()?);
        Ok(Self { host: host.map(str::to_owned), user, repo, tag, digest })
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}/")?;
        }
        write!(f, "{}/{}", self.user, self.repo)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match self.digest.as_ref().and_then(ContentDigest::workload) {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|one| one.is_ascii_alphanumeric() || one == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_port = |port: &str| {
        port.bytes().all(|one| one.is_ascii_digit())
            && !port.starts_with('0')
            && port.parse::<u16>().is_ok()
    };
    name.len() <= 253 && name.split('.').all(is_label) && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found() {
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for text in [
            "alice/shop",
            "alice/shop:1.2.3",
            "alice/shop:latest",
            "localhost:8443/alice/shop:1.0.0-rc.1",
            &format!("store.example.com/alice/shop:1.2.3@{digest}"),
            &format!("alice/shop@{digest}"),
        ] {
            assert_eq!(text.parse::<Slug>().unwrap().to_string(), text);
        }
        let range: Slug = "alice/shop:^1.2".parse().unwrap();
        let Some(TagRequest::Range(range)) = range.tag else { panic!("{range:?}") };
        assert!(range.matches(&Version::new(1, 9, 0)) && !range.matches(&Version::new(2, 0, 0)));
    }

    #[test]
    fn what_is_no_slug_is_refused() {
        for text in [
            "",
            "shop",
            "alice/",
            "/shop",
            "al-ice/shop",
            "a/b/c/d",
            "-x/alice/shop",
            "host:0/alice/shop",
            "host:99999/alice/shop",
            "alice/shop:one",
            "alice/shop@sha256:00",
            "alice/shop@md5:00",
            &format!("alice/{}", "x".repeat(600)),
        ] {
            assert!(text.parse::<Slug>().is_err(), "{text}");
        }
    }
}

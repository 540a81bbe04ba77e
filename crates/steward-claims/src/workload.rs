// SPDX-License-Identifier: Apache-2.0

//! What a Keep runs: a digest, and perhaps the name under which it was published.

use core::fmt;

/// A workload: the digest of module and configuration, and the slug that it was deployed by.
///
/// The digest is what was bound to the evidence, so it is there whenever a workload is. The slug is bound
/// too, but who trusts a slug trusts the repository behind it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Workload {
    slug: Option<String>,
    digest: String,
}

impl Workload {
    /// No slug may be longer, in bytes.
    pub const MAX_SLUG: usize = 512;
    /// What precedes the slug in a URI of a certificate.
    pub const SLUG_URI: &str = "enarx:slug/";
    /// What precedes the digest in a URI of a certificate.
    pub const DIGEST_URI: &str = "enarx:digest/";

    /// Checks both parts.
    ///
    /// # Errors
    ///
    /// [`WorkloadError`].
    pub fn new(slug: Option<&str>, digest: &str) -> Result<Self, WorkloadError> {
        if !is_digest(digest) {
            return Err(WorkloadError::Digest);
        }
        if !slug.is_none_or(is_slug) {
            return Err(WorkloadError::Slug);
        }
        Ok(Self { slug: slug.map(str::to_owned), digest: digest.to_owned() })
    }

    /// `[host[:port]/]user/repo[:tag]`.
    #[must_use]
    pub fn slug(&self) -> Option<&str> {
        self.slug.as_deref()
    }

    /// `sha256:` and 64 hexadecimal digits in lower case, or `sha384:` and 96, or `sha512:` and 128.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The slug as a URI for the subject's alternative names: `enarx:slug/` and the slug. No character of a
    /// slug has to be escaped there (RFC 3986, 3.3).
    #[must_use]
    pub fn slug_uri(&self) -> Option<String> {
        self.slug.as_ref().map(|slug| format!("{}{slug}", Self::SLUG_URI))
    }

    /// The digest as a URI for the subject's alternative names: `enarx:digest/` and the digest.
    #[must_use]
    pub fn digest_uri(&self) -> String {
        format!("{}{}", Self::DIGEST_URI, self.digest)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.slug {
            Some(slug) => write!(f, "{slug} ({})", self.digest),
            None => f.write_str(&self.digest),
        }
    }
}

/// What is no workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// The digest's form is wrong.
    #[error(
        "the digest of a workload is `sha256:` and 64 hexadecimal digits in lower case, or `sha384:` and 96, \
         or `sha512:` and 128"
    )]
    Digest,
    /// The slug's form is wrong.
    #[error("a slug is `[host[:port]/]user/repo[:tag]`, at most {} bytes", Workload::MAX_SLUG)]
    Slug,
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The published grammar: it is read from the right, since a host may have a port.
fn is_slug(text: &str) -> bool {
    if text.len() > Workload::MAX_SLUG {
        return false;
    }
    let Some((front, last)) = text.rsplit_once('/') else { return false };
    let (host, user) = match front.rsplit_once('/') {
        Some((host, user)) => (Some(host), user),
        None => (None, front),
    };
    let (repo, tag) = match last.split_once(':') {
        Some((repo, tag)) => (repo, Some(tag)),
        None => (last, None),
    };
    made_of(user, b"")
        && made_of(repo, b"-")
        && tag.is_none_or(|tag| made_of(tag, b".+-"))
        && host.is_none_or(is_host)
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let is_port = |port: &str| {
        !port.starts_with('0')
            && port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok()
    };
    let is_label = |label: &str| {
        label.len() <= 63
            && made_of(label, b"-")
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Whether a text is not empty and has only ASCII letters, digits and the `others`.
fn made_of(text: &str, others: &[u8]) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15";

    #[test]
    fn digests_have_one_form() {
        let hex = "ab".repeat(64);
        for (name, digits) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            let digest = format!("{name}:{}", &hex[..digits]);
            assert_eq!(Workload::new(None, &digest).unwrap().digest(), digest);
        }
        for bad in [
            "",
            "sha256",
            "sha256:",
            &hex[..64],
            &format!("sha256:{}", &hex[..62]),
            &format!("sha256:{}", &hex[..66]),
            &format!("sha384:{}", &hex[..64]),
            &format!("sha1:{}", &hex[..40]),
            &format!("SHA256:{}", &hex[..64]),
            &format!("sha256:{}", hex[..64].to_uppercase()),
            &format!("sha256:{}g", &hex[..63]),
            &format!("sha256:{} ", &hex[..64]),
        ] {
            assert_eq!(Workload::new(None, bad), Err(WorkloadError::Digest), "{bad}");
        }
    }

    #[test]
    fn slugs_follow_the_published_grammar() {
        for good in [
            "enarx/fibonacci-rust",
            "enarx/fibonacci-rust:0.1.0",
            "store.profian.com/enarx/echo:1.0.0-rc.1+build.5",
            "localhost:8080/user/repo",
            "localhost:65535/user/repo:1.0.0",
            "192.0.2.1:8443/User1/Repo-2:1.0.0",
        ] {
            let workload = Workload::new(Some(good), DIGEST).unwrap();
            assert_eq!(workload.slug(), Some(good));
            assert_eq!(workload.slug_uri().unwrap(), format!("enarx:slug/{good}"));
        }
        let long_label = format!("{}.example/user/repo", "a".repeat(64));
        let long = format!("user/{}", "a".repeat(508));
        for bad in [
            "",
            "repo",
            "/repo",
            "user/",
            "user/repo:",
            "us-er/repo",
            "user/re_po",
            "user/repo:1.0.0:2",
            "/user/repo",
            "host:/user/repo",
            "host:0/user/repo",
            "host:080/user/repo",
            "host:65536/user/repo",
            "host:+80/user/repo",
            "-host/user/repo",
            "host..com/user/repo",
            "host/more/user/repo",
            "https://host/user/repo",
            "user/repo@sha256",
            "user/r\u{e9}po",
            "user/repo\n",
            &long_label,
            &long,
        ] {
            assert_eq!(Workload::new(Some(bad), DIGEST), Err(WorkloadError::Slug), "{bad}");
        }
    }

    #[test]
    fn a_workload_can_be_shown_and_named() {
        let workload = Workload::new(Some("user/repo:1.0.0"), DIGEST).unwrap();
        assert_eq!(workload.to_string(), format!("user/repo:1.0.0 ({DIGEST})"));
        assert_eq!(workload.digest_uri(), format!("enarx:digest/{DIGEST}"));
        let unnamed = Workload::new(None, DIGEST).unwrap();
        assert_eq!(unnamed.to_string(), DIGEST);
        assert_eq!(unnamed.slug_uri(), None);
    }
}

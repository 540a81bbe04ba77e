// SPDX-License-Identifier: Apache-2.0

//! What is deployed: a name in a Drawbridge, or files of this host.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use drawbridge_types::{ContentDigest, Slug};

use crate::exit::{Code, Failure};

/// Where the workload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// In a Drawbridge.
    Slug(Slug),
    /// A folder, or a file with a module.
    Path(PathBuf),
}

impl Target {
    /// Reads the argument, and the digest that is pinned by it or by `--digest`.
    ///
    /// A name with a host, tag or digest is never a path, a text that begins with `.` or `/` never a
    /// name. What is left, `user/repo`, is a path if there is one of that name.
    pub(crate) fn parse(
        text: &str,
        digest: Option<&str>,
    ) -> Result<(Self, Option<ContentDigest>), Failure> {
        let wanted = digest
            .map(|text| {
                ContentDigest::from_workload(text).map_err(|error| {
                    let error = anyhow!(error).context(format!("`{text}` is not a digest"));
                    Failure::new(Code::Usage, error)
                        .help("a digest is `sha256:` and 64 hexadecimal digits")
                })
            })
            .transpose()?;
        let path = Path::new(text);
        let is_path = text.starts_with(['.', '/']);
        let slug = match text.parse::<Slug>() {
            Ok(slug) if !is_path => slug,
            parsed => {
                if is_path || fs::symlink_metadata(path).is_ok() {
                    return Self::path(path, wanted);
                }
                let error = parsed.err().map_or_else(|| anyhow!("it is a path"), Into::into);
                let error = error.context(format!("`{text}` names no workload"));
                return Err(Failure::new(Code::Usage, error));
            }
        };
        let is_bare = slug.host.is_none() && slug.tag.is_none() && slug.digest.is_none();
        if is_bare && fs::symlink_metadata(path).is_ok() {
            return Self::path(path, wanted);
        }
        let pinned = match (&slug.digest, wanted) {
            (Some(one), Some(other)) if one.check(&other).is_err() => {
                return Err(Failure::msg(
                    Code::Usage,
                    "the digest behind the `@` and that of --digest are not the same",
                ));
            }
            (one, other) => one.clone().or(other),
        };
        Ok((Self::Slug(slug), pinned))
    }

    fn path(
        path: &Path,
        digest: Option<ContentDigest>,
    ) -> Result<(Self, Option<ContentDigest>), Failure> {
        if digest.is_none() {
            let failure = Failure::msg(
                Code::Usage,
                format!("`{}` is on this host, and nothing says what it has to be", path.display()),
            );
            return Err(failure.help(
                "give its digest with --digest sha256:…; `enarx package digest PATH` prints it",
            ));
        }
        Ok((Self::Path(path.to_owned()), digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const OTHER: &str = "sha256:aa7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn names_and_paths_are_told_apart() {
        for text in ["alice/shop:1.2.3", "localhost:8443/alice/shop:^1", "alice/shop"] {
            let (target, digest) = Target::parse(text, None).unwrap();
            assert!(matches!(target, Target::Slug(_)), "{text}");
            assert_eq!(digest, None);
        }
        for text in ["./x", "/x/y", "../alice/shop"] {
            let (target, _) = Target::parse(text, Some(DIGEST)).unwrap();
            assert_eq!(target, Target::Path(text.into()));
            assert!(Target::parse(text, None).is_err(), "{text}");
        }
        // The folder of this crate's sources.
        assert!(matches!(Target::parse("src/run", Some(DIGEST)).unwrap().0, Target::Path(_)));
        assert!(matches!(Target::parse("src/run:1.0.0", None).unwrap().0, Target::Slug(_)));
        assert!(Target::parse("no such thing", None).is_err());
    }

    #[test]
    fn two_digests_have_to_agree() {
        let slug = format!("alice/shop:1.2.3@{DIGEST}");
        let (_, pinned) = Target::parse(&slug, Some(DIGEST)).unwrap();
        assert_eq!(pinned.unwrap().workload().as_deref(), Some(DIGEST));
        assert_eq!(Target::parse(&slug, Some(OTHER)).unwrap_err().code, Code::Usage);
        assert_eq!(Target::parse("alice/shop", Some("sha256:00")).unwrap_err().code, Code::Usage);
        assert!(Target::parse("alice/shop:1.0.0", Some(OTHER)).unwrap().1.is_some());
    }
}

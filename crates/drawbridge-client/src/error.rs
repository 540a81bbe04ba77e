// SPDX-License-Identifier: Apache-2.0

//! Why something did not work, and what to do about it.

use std::path::PathBuf;

use drawbridge_signatures::SignatureError;
use drawbridge_types::{DirectoryError, Problem};

use crate::PackageError;

/// Why a Drawbridge did not do what it was asked, or was not believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client cannot be set up: no such host, or roots that are none.
    #[error("cannot talk to the Drawbridge `{host}`: {why}")]
    Setup {
        /// The host as it was given.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// No answer, after all tries.
    #[error("no answer from the Drawbridge at {host}, {what}")]
    Transport {
        /// Whom it was asked of.
        host: String,
        /// What was tried.
        what: String,
        /// Why it failed the last time.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The Drawbridge refused.
    #[error("the Drawbridge refused, {what}: {problem}")]
    Refused {
        /// What was tried.
        what: String,
        /// Its reason.
        problem: Box<Problem>,
    },
    /// The answer makes no sense.
    #[error("the Drawbridge at {host} gave an answer that cannot be used, {what}: {why}")]
    Answer {
        /// Who gave it.
        host: String,
        /// What was tried.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Content is not what its digest says.
    #[error(
        "what the Drawbridge sent as `{name}` is not what its digest says, and was thrown away: {why}"
    )]
    Content {
        /// Which file.
        name: String,
        /// What differs.
        why: String,
    },
    /// A directory cannot be read.
    #[error("what the Drawbridge sent as a directory is none")]
    Directory(#[from] DirectoryError),
    /// The workload is another one than was asked for.
    #[error("the tag has the digest {found}, not {wanted}")]
    Pinned {
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// There is a tag of that name with other content; tags never change.
    #[error("{slug} exists already with the digest {found}; tags never change")]
    Taken {
        /// The tag.
        slug: String,
        /// The digest of what is there.
        found: String,
    },
    /// A slug that names no single version where one is needed.
    #[error("`{0}` names no single version")]
    NoVersion(String),
    /// A signature does not count.
    #[error("the signature of the tag does not count")]
    Signature(#[from] SignatureError),
    /// Files are no package.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A file cannot be read or written.
    #[error("cannot {what} {}", .path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    /// The problem, if that is what it is.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// What to do about it, where there is something to say.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Refused { problem, .. } if !problem.remedy.is_empty() => {
                Some(problem.remedy.clone())
            }
            Self::Refused { problem, .. } if problem.status == 401 => {
                Some("log in with `enarx user login HOST`".into())
            }
            Self::Taken { .. } => Some("publish it as a new version".into()),
            Self::NoVersion(_) => Some("name the version, like `user/repo:1.2.3`".into()),
            Self::Transport { .. } => Some(
                "check the name and port of the Drawbridge; if its certificate is of an authority \
                 of your own, name that with --ca-bundle"
                    .into(),
            ),
            _ => None,
        }
    }

    pub(crate) fn file(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { what, path, source }
    }
}

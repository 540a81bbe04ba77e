// SPDX-License-Identifier: Apache-2.0

//! Names of objects in the store, and what can be read off them without opening any.
//!
//! | Name | What |
//! |---|---|
//! | `blobs/sha256/aa/…` | content, by its digest |
//! | `users/U/N`, `repositories/U/R/N` | revision `N` of a user, of a repository; the highest counts |
//! | `subjects/H/U` | a user of the subject whose hash is `H` |
//! | `tags/U/R/T/entry` | a tag; never changed |
//! | `tags/U/R/T/complete` | all nodes of its tree are there |
//! | `tags/U/R/T/state/N` | revision `N` of what its owner says of it |
//! | `nodes/U/R/T/P-L-D-K` | a node of its tree was put: hash of its path, length, digest, kind |
//! | `signatures/U/R/T` | a sidecar |
//! | `uploads/U/I/about`, `uploads/U/I/0000…` | an upload and its pieces, by their first byte |
//! | `trash/D` | content that is about to be removed |

use drawbridge_types::{Algorithm, Meta, RepoName, TreePath, UserName, media};
use object_store::path::Path;
use semver::Version;
use sha2::{Digest as _, Sha256};

use crate::StoreError;

/// A content by its SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

impl BlobId {
    /// Of what a meta names.
    ///
    /// # Errors
    ///
    /// [`StoreError::Content`] if there is no SHA-256 digest in it.
    pub fn of(meta: &Meta) -> Result<Self, StoreError> {
        let digest = meta.digest.get(Algorithm::Sha256).and_then(|digest| digest.try_into().ok());
        digest.map(Self).ok_or_else(|| {
            StoreError::Content("every content has to be named by its SHA-256 digest".into())
        })
    }

    /// Hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(out))
    }

    pub(crate) fn key(&self) -> Path {
        let hex = self.hex();
        let (front, _) = hex.split_at(2);
        Path::from(format!("blobs/sha256/{front}/{hex}"))
    }

    pub(crate) fn trash(&self) -> Path {
        Path::from(format!("trash/{}", self.hex()))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepoId {
    /// Whose.
    pub user: UserName,
    /// Its name.
    pub repo: RepoName,
}

/// A tag of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TagId {
    /// Where.
    pub repo: RepoId,
    /// Which.
    pub tag: Version,
}

pub(crate) fn user(user: &UserName) -> Path {
    Path::from(format!("users/{user}"))
}

pub(crate) fn repositories_of(user: &UserName) -> Path {
    Path::from(format!("repositories/{user}"))
}

pub(crate) fn subject(subject: &str) -> Path {
    Path::from(format!("subjects/{}", hex(&Sha256::digest(subject))))
}

impl RepoId {
    pub(crate) fn key(&self) -> Path {
        Path::from(format!("repositories/{}/{}", self.user, self.repo))
    }

    pub(crate) fn tags(&self) -> Path {
        Path::from(format!("tags/{}/{}", self.user, self.repo))
    }

    pub(crate) fn nodes(&self) -> Path {
        Path::from(format!("nodes/{}/{}", self.user, self.repo))
    }

    /// One of its tags.
    #[must_use]
    pub fn tag(&self, tag: Version) -> TagId {
        TagId { repo: self.clone(), tag }
    }
}

impl TagId {
    fn under(&self, root: &str) -> Path {
        Path::from(format!("{root}/{}/{}/{}", self.repo.user, self.repo.repo, self.tag))
    }

    pub(crate) fn key(&self) -> Path {
        self.under("tags")
    }

    pub(crate) fn nodes(&self) -> Path {
        self.under("nodes")
    }

    pub(crate) fn signature(&self) -> Path {
        self.under("signatures")
    }

    /// The name of a node; whoever knows the tree can reckon it, so that putting it twice is seen.
    pub(crate) fn node(&self, path: &TreePath, meta: &Meta) -> Result<Path, StoreError> {
        let at = hex(Sha256::digest(path.to_string()).get(..16).unwrap_or_default());
        let kind = if meta.kind == media::DIRECTORY { 'd' } else { 'f' };
        let name = format!("{at}-{}-{}-{kind}", meta.length, BlobId::of(meta)?.hex());
        Ok(self.nodes().join(name))
    }
}

/// What the name of a node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeName {
    pub(crate) length: u64,
    pub(crate) blob: BlobId,
    pub(crate) is_directory: bool,
}

impl NodeName {
    pub(crate) fn read(key: &Path) -> Option<Self> {
        let mut parts = key.filename()?.split('-');
        let (_, length, blob, kind) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            length: length.parse().ok()?,
            blob: BlobId::from_hex(blob)?,
            is_directory: kind == "d",
        })
    }
}

/// The parts of a name from the left, the first left out.
pub(crate) fn parts(key: &Path) -> Vec<String> {
    key.parts().skip(1).map(|part| part.as_ref().to_owned()).collect()
}

/// The repository that a name of several prefixes begins with, and what follows.
pub(crate) fn repo_of(key: &Path) -> Option<(RepoId, Vec<String>)> {
    let mut parts = parts(key).into_iter();
    let user = parts.next()?.parse().ok()?;
    let repo = parts.next()?.parse().ok()?;
    Some((RepoId { user, repo }, parts.collect()))
}

/// The tag that a name of several prefixes begins with, and what follows.
pub(crate) fn tag_of(key: &Path) -> Option<(TagId, Vec<String>)> {
    let (repo, rest) = repo_of(key)?;
    let mut rest = rest.into_iter();
    let tag = rest.next()?.parse().ok()?;
    Some((TagId { repo, tag }, rest.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag() -> TagId {
        let repo = RepoId { user: "alice".parse().unwrap(), repo: "shop".parse().unwrap() };
        repo.tag("1.0.0-rc.1+build.7".parse().unwrap())
    }

    #[test]
    fn names_can_be_read_back() {
        let meta = Meta::of(b"content", "text/plain");
        let path: TreePath = "assets/main.wasm".parse().unwrap();
        let key = tag().node(&path, &meta).unwrap();
        let name = NodeName::read(&key).unwrap();
        assert_eq!((name.length, name.is_directory), (7, false));
        assert_eq!(name.blob, BlobId::of(&meta).unwrap());
        assert_eq!(tag_of(&key).unwrap().0, tag());
        assert_eq!(tag_of(&tag().key()).unwrap(), (tag(), vec![]));
        assert_ne!(key, tag().node(&TreePath::default(), &meta).unwrap());
    }

    #[test]
    fn the_longest_names_fit_a_file_system() {
        let meta = Meta { length: u64::MAX, ..Meta::of(b"", media::DIRECTORY) };
        let long = vec!["x".repeat(128); 16].join("/");
        let key = tag().node(&long.parse().unwrap(), &meta).unwrap();
        assert!(key.filename().unwrap().len() < 255);
    }
}

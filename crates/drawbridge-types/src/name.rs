// SPDX-License-Identifier: Apache-2.0

//! Names, each with the characters that it may have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of a user, repository or entry in bytes.
const MAX_NAME: usize = 128;
/// Most parts of a path in a tree.
const MAX_DEPTH: usize = 16;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} has 1 to {MAX_NAME} of the characters {allowed}")]
pub struct NameError {
    what: &'static str,
    allowed: &'static str,
}

macro_rules! name {
    ($(#[$meta:meta])* $name:ident, $what:literal, $allowed:literal, $others:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let others: &[u8] = $others;
                let is_good = !text.is_empty()
                    && text.len() <= MAX_NAME
                    && text.bytes().all(|one| one.is_ascii_alphanumeric() || others.contains(&one))
                    && text != "."
                    && text != "..";
                if is_good {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { what: $what, allowed: $allowed })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Name of a user.
    UserName, "the name of a user", "`0-9`, `a-z`, `A-Z`", b""
);
name!(
    /// Name of a repository.
    RepoName, "the name of a repository", "`0-9`, `a-z`, `A-Z`, `-`", b"-"
);
name!(
    /// Name of an entry in a directory; neither `.` nor `..`.
    EntryName, "the name of a file", "`0-9`, `a-z`, `A-Z`, `-`, `_`, `.`, `:`", b"-_.:"
);

/// A path in a tree: names separated by `/`; the empty path is the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Vec<EntryName>);

impl TreePath {
    /// The names, from the root.
    #[must_use]
    pub fn names(&self) -> &[EntryName] {
        &self.0
    }

    /// The path of an entry in the directory that this path names.
    #[must_use]
    pub fn join(&self, name: EntryName) -> Self {
        let mut names = self.0.clone();
        names.push(name);
        Self(names)
    }

    /// The directory it is in, and its name there; none for the root.
    #[must_use]
    pub fn split(&self) -> Option<(Self, &EntryName)> {
        let (name, parent) = self.0.split_last()?;
        Some((Self(parent.to_vec()), name))
    }
}

impl FromStr for TreePath {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim_matches('/');
        if text.is_empty() {
            return Ok(Self::default());
        }
        let names: Vec<EntryName> = text.split('/').map(str::parse).collect::<Result<_, _>>()?;
        if names.len() > MAX_DEPTH {
            return Err(NameError {
                what: "a path of at most 16 names, each",
                allowed: "of a file",
            });
        }
        Ok(Self(names))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { "/" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_name_has_its_characters() {
        assert!("alice9".parse::<UserName>().is_ok());
        assert!("my-repo".parse::<RepoName>().is_ok());
        assert!("main_1.wasm".parse::<EntryName>().is_ok());
        for bad in ["", "a/b", "a b", "é", "a\0", &"x".repeat(129)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
            assert!(bad.parse::<RepoName>().is_err(), "{bad}");
            assert!(bad.parse::<EntryName>().is_err(), "{bad}");
        }
        assert!("a-b".parse::<UserName>().is_err());
        assert!("a_b".parse::<RepoName>().is_err());
    }

    #[test]
    fn no_name_leads_out_of_its_directory() {
        assert!("..".parse::<EntryName>().is_err());
        assert!(".".parse::<EntryName>().is_err());
        assert!("a/../b".parse::<TreePath>().is_err());
        assert!("a//b".parse::<TreePath>().is_err());
        assert_eq!("/a/b".parse::<TreePath>().unwrap().to_string(), "a/b");
        assert!(vec!["a"; 17].join("/").parse::<TreePath>().is_err());
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Trees: a file, or a directory of entries that are trees again, each named by the digest of its content.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ContentDigest, EntryName, media};

/// Longest directory in bytes of JSON.
pub const MAX_DIRECTORY: usize = 1_000_000;
/// Most entries of a directory.
pub const MAX_ENTRIES: usize = 4096;

/// What is inherent to a content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Its digests.
    pub digest: ContentDigest,
    /// Its length in bytes.
    pub length: u64,
    /// Its media type.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Meta {
    /// Of a content that is at hand.
    #[must_use]
    pub fn of(content: &[u8], kind: &str) -> Self {
        Self {
            digest: ContentDigest::of(content),
            length: content.len() as u64,
            kind: kind.to_owned(),
        }
    }
}

/// A content, and what its author says of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// See there.
    #[serde(flatten)]
    pub meta: Meta,
    /// Whatever else there is; kept, and without a meaning.
    #[serde(flatten)]
    pub custom: BTreeMap<String, Value>,
}

impl Entry {
    /// Without anything else.
    #[must_use]
    pub fn new(meta: Meta) -> Self {
        Self { meta, custom: BTreeMap::new() }
    }
}

/// A tag as it is stored and sent: an entry, or a signature around one.
#[derive(Debug, Clone, PartialEq)]
pub enum TagEntry {
    /// [`media::ENTRY`].
    Unsigned(Unsigned),
    /// [`media::JWS`]: the text as it was sent, which the crate `drawbridge-signatures` reads.
    Signed(Vec<u8>),
}

/// The root of a tag's tree.
pub type Unsigned = Entry;

/// A directory: names and what is behind them, in order. Its digest is that of its canonical JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Directory(BTreeMap<EntryName, Entry>);

impl Directory {
    /// The entries, by name.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<EntryName, Entry> {
        &self.0
    }

    /// The entry of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.0.get(&name.parse::<EntryName>().ok()?)
    }

    /// Adds an entry, or replaces it.
    pub fn insert(&mut self, name: EntryName, entry: Entry) {
        self.0.insert(name, entry);
    }

    /// The bytes that are stored and hashed: JSON without white space, keys in order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Maps of strings have no way to fail in serde_json.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what a peer sent. It need not be canonical: what counts is the digest of the bytes.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DirectoryError> {
        if bytes.len() > MAX_DIRECTORY {
            return Err(DirectoryError::TooLong);
        }
        let new: Self = serde_json::from_slice(bytes)
            .map_err(|error| DirectoryError::Malformed(error.to_string()))?;
        if new.0.len() > MAX_ENTRIES { Err(DirectoryError::TooMany) } else { Ok(new) }
    }

    /// The meta of these bytes as a directory.
    #[must_use]
    pub fn meta(bytes: &[u8]) -> Meta {
        Meta::of(bytes, media::DIRECTORY)
    }
}

/// Why bytes are no directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// More than [`MAX_DIRECTORY`] bytes.
    #[error("a directory has at most {MAX_DIRECTORY} bytes")]
    TooLong,
    /// More than [`MAX_ENTRIES`] entries.
    #[error("a directory has at most {MAX_ENTRIES} entries")]
    TooMany,
    /// Not JSON, or not of this form.
    #[error("the directory is malformed: {0}")]
    Malformed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_published_form() {
        let entry = Entry::new(Meta {
            digest: "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:".parse().unwrap(),
            length: 3,
            kind: "text/plain".into(),
        });
        let json = r#"{"digest":{"sha-256":"ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="},"length":3,"type":"text/plain"}"#;
        assert_eq!(serde_json::to_string(&entry).unwrap(), json);
        let custom = json.replace(",\"type\"", ",\"from\":\"x\",\"type\"");
        let read: Entry = serde_json::from_str(&custom).unwrap();
        assert_eq!(read.custom.get("from"), Some(&Value::from("x")));
    }

    #[test]
    fn a_directory_survives_the_trip_in_order() {
        let mut directory = Directory::default();
        for name in ["main.wasm", "Enarx.toml"] {
            directory.insert(name.parse().unwrap(), Entry::new(Meta::of(name.as_bytes(), "a/b")));
        }
        let bytes = directory.to_bytes();
        assert!(bytes.starts_with(b"{\"Enarx.toml\":{\"digest\""));
        assert_eq!(Directory::from_bytes(&bytes), Ok(directory));
        assert!(Directory::from_bytes(b"{\"..\":{}}").is_err());
        assert!(Directory::from_bytes(&vec![b' '; MAX_DIRECTORY + 1]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Directory::from_bytes(&bytes);
            let _ = serde_json::from_slice::<Entry>(&bytes);
            if let Ok(text) = std::str::from_utf8(&bytes) {
                let _ = text.parse::<ContentDigest>();
                let _ = text.parse::<crate::Slug>();
                let _ = ContentDigest::from_workload(text);
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! A file of tokens that nobody but its owner can read, for machines without a keyring.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::StoreError;

/// The most bytes of the file: a few hundred logins.
const MAX_FILE: u64 = 4 << 20;

/// Key and text, of every login.
#[derive(Default, Serialize, Deserialize)]
struct Document {
    tokens: BTreeMap<String, Zeroizing<String>>,
}

#[derive(Debug)]
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn show(&self, key: &str) -> Result<Option<Zeroizing<String>>, StoreError> {
        Ok(self.read()?.and_then(|mut document| document.tokens.remove(key)))
    }

    pub(crate) fn insert(&self, key: &str, text: &str) -> Result<(), StoreError> {
        self.change(|document| {
            document.tokens.insert(key.to_owned(), Zeroizing::new(text.to_owned()));
        })
    }

    pub(crate) fn erase(&self, key: &str) -> Result<(), StoreError> {
        match self.read()? {
            Some(document) if document.tokens.contains_key(key) => self.change(|document| {
                document.tokens.remove(key);
            }),
            _ => Ok(()),
        }
    }

    fn read(&self) -> Result<Option<Document>, StoreError> {
        let file = match fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(error)),
        };
        let metadata = file.metadata().map_err(|error| self.io(error))?;
        if !is_private(&metadata) {
            return Err(StoreError::Permissions(self.0.clone()));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| self.io(error))?;
        let document =
            serde_json::from_str(&text).map_err(|_| StoreError::NotOurs(self.0.clone()))?;
        Ok(Some(document))
    }

    /// Replaces the file as a whole, so that no reader ever sees half of it.
    fn change(&self, change: impl FnOnce(&mut Document)) -> Result<(), StoreError> {
        let folder = self.0.parent().unwrap_or(Path::new("."));
        create_folder(folder).map_err(|error| self.io(error))?;
        // Two programs that log in at the same time must not lose each other's token.
        let lock = self.0.with_extension("lock");
        let lock = create(&lock, false).map_err(|error| self.io(error))?;
        lock.lock().map_err(|error| self.io(error))?;
        let mut document = self.read()?.unwrap_or_default();
        change(&mut document);
        let text = Zeroizing::new(
            serde_json::to_string_pretty(&document).map_err(|error| self.io(error.into()))?,
        );
        let new = self.0.with_extension("new");
        let write = || {
            let mut file = create(&new, true)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &self.0)
        };
        write().map_err(|error| {
            // Half a file of tokens is of no use to anybody.
            let _ = fs::remove_file(&new);
            self.io(error)
        })
    }

    fn io(&self, source: io::Error) -> StoreError {
        StoreError::Io { path: self.0.clone(), source }
    }
}

/// A file that only its owner can read, whatever the umask is.
fn create(path: &Path, anew: bool) -> io::Result<fs::File> {
    if anew {
        // What an interrupted program left behind may have any permissions.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).create_new(anew);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn create_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(unix)]
fn is_private(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 == 0
}

/// Elsewhere, the user's own folders are private by their access lists.
#[cfg(not(unix))]
fn is_private(_: &fs::Metadata) -> bool {
    true
}

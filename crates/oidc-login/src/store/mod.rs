// SPDX-License-Identifier: Apache-2.0

//! Where tokens are kept between two commands.
//!
//! Three places, in this order: the credential helper that the user names, which then is the only one;
//! the keyring of the desktop; a file that only the user can read. The file is no good place, so whoever
//! stores there is told ([`Place::File`]).

mod file;
mod helper;
mod keyring;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use oidc_discovery::Url;

use crate::Credential;
use file::File;
use helper::Helper;
use keyring::Keyring;

/// What a token is found by: the issuer that made it and the store that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    domain: String,
    host: String,
}

impl Key {
    /// The key of a login at `issuer` for the store at `host`, both with a port if it is not that of HTTPS.
    pub fn new(issuer: &Url, host: &str) -> Self {
        let name = issuer.host_str().unwrap_or_default();
        let domain = match issuer.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        Self { domain, host: host.to_owned() }
    }

    /// What a token is stored under.
    pub fn full(&self) -> String {
        format!("{}-{}", self.domain, self.host)
    }

    /// What it is looked for next: what the documentation of the published program says.
    pub fn short(&self) -> &str {
        &self.domain
    }
}

/// Where a token was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// With a credential helper.
    Helper(PathBuf),
    /// In the keyring of the desktop.
    Keyring,
    /// In a file, where any program of the user can read it.
    File(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helper(path) => write!(f, "the credential helper {}", path.display()),
            Self::Keyring => f.write_str("the keyring"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

/// Why tokens cannot be kept or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The helper does not start, or ends with an error.
    #[error("the credential helper {} failed to {verb} a token: {why}", .path.display())]
    Helper {
        /// The program.
        path: PathBuf,
        /// What it was asked for.
        verb: &'static str,
        /// How it ended.
        why: String,
    },
    /// Other users can read the file.
    #[error("{} can be read by others than its owner; its tokens are not used", .0.display())]
    Permissions(PathBuf),
    /// The file was changed by something else.
    #[error("{} is not a file of tokens", .0.display())]
    NotOurs(PathBuf),
    /// The file cannot be read or written.
    #[error("cannot use {}", .path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The places where tokens are kept.
#[derive(Debug)]
pub struct TokenStore {
    helper: Option<Helper>,
    keyring: Option<Keyring>,
    file: File,
}

impl TokenStore {
    /// With a `helper` that one alone is used; else the keyring if there is one, else `file`.
    pub fn new(helper: Option<&Path>, file: &Path) -> Self {
        let helper = helper.map(Helper::new);
        let keyring = match helper {
            Some(_) => None,
            None => Keyring::find(),
        };
        Self { helper, keyring, file: File::new(file) }
    }

    /// A store of that file alone.
    pub fn only_file(file: &Path) -> Self {
        Self { helper: None, keyring: None, file: File::new(file) }
    }

    /// Finds a token.
    ///
    /// # Errors
    ///
    /// If the helper does not start, or the file is there but cannot be used.
    pub fn show(&self, key: &Key) -> Result<Option<Credential>, StoreError> {
        if let Some(helper) = &self.helper {
            let text = match helper.show(&key.full())? {
                Some(text) => Some(text),
                None => helper.show(key.short())?,
            };
            return Ok(text.and_then(|text| Credential::from_text(&text)));
        }
        if let Some(keyring) = &self.keyring
            && let Some(text) = keyring.show(&key.full())
            && let Some(credential) = Credential::from_text(&text)
        {
            return Ok(Some(credential));
        }
        Ok(self.file.show(&key.full())?.and_then(|text| Credential::from_text(&text)))
    }

    /// Keeps a token, and says where.
    ///
    /// # Errors
    ///
    /// If the helper fails, or neither the keyring nor the file takes it.
    pub fn insert(&self, key: &Key, credential: &Credential) -> Result<Place, StoreError> {
        let text = credential.to_text();
        if let Some(helper) = &self.helper {
            helper.insert(&key.full(), &text)?;
            return Ok(Place::Helper(helper.path().to_owned()));
        }
        if let Some(keyring) = &self.keyring
            && keyring.insert(&key.full(), &text)
        {
            // What an earlier login left in the file must not be found instead later.
            self.file.erase(&key.full())?;
            return Ok(Place::Keyring);
        }
        self.file.insert(&key.full(), &text)?;
        Ok(Place::File(self.file.path().to_owned()))
    }

    /// Forgets a token, and says whether it is gone from everywhere (a helper need not know how).
    ///
    /// # Errors
    ///
    /// If the helper does not start or the file cannot be written.
    pub fn erase(&self, key: &Key) -> Result<bool, StoreError> {
        if let Some(helper) = &self.helper {
            return helper.erase(&key.full());
        }
        let keyring = self.keyring.as_ref().is_none_or(|keyring| keyring.erase(&key.full()));
        self.file.erase(&key.full())?;
        Ok(keyring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_published_program() {
        let key = Key::new(&Url::parse("https://auth.example.com/").unwrap(), "store.example.com");
        assert_eq!(key.full(), "auth.example.com-store.example.com");
        assert_eq!(key.short(), "auth.example.com");
        let key = Key::new(&Url::parse("http://127.0.0.1:3000").unwrap(), "localhost:8080");
        assert_eq!(key.full(), "127.0.0.1:3000-localhost:8080");
    }
}

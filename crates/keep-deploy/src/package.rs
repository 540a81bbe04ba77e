// SPDX-License-Identifier: Apache-2.0

//! What a workload consists of, how long each part may be, and how a part is held against its digest.

use drawbridge_types::{Algorithm, ContentDigest, Hasher, Meta};
use enarx_config::{Config, File, Root};

use crate::{DeployError, Memory};

/// Longest module or component in bytes.
pub const MAX_WASM: u64 = 100_000_000;
/// Longest `Enarx.toml` in bytes.
pub const MAX_CONFIG: u64 = 1_000_000;
/// Longest artifact in bytes.
pub const MAX_ARTIFACT: u64 = 400_000_000;
/// Longest of the files that Enarx.toml names, and how long all of them may be together, in bytes.
pub const MAX_OTHER: u64 = 1_000_000;

/// A workload whose every byte was checked.
#[derive(Debug)]
pub(crate) struct Package<M> {
    /// Enarx.toml; the default for a module alone.
    pub(crate) config: Config,
    /// The module or component.
    pub(crate) module: Vec<u8>,
    /// Its SHA-256.
    pub(crate) module_digest: [u8; 32],
    /// The tenant's native code, if there is some and Enarx.toml takes it.
    pub(crate) artifact: Option<M>,
    /// The files that Enarx.toml names: name and content.
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

/// The digest that nothing gets around.
#[derive(Debug, Clone)]
pub(crate) struct Pin {
    pub(crate) text: String,
    pub(crate) digest: ContentDigest,
}

impl Pin {
    /// `sha256:` and 64 digits.
    pub(crate) fn parse(text: &str) -> Result<Self, DeployError> {
        let digest = ContentDigest::from_workload(text)
            .map_err(|error| DeployError::Launch(format!("the digest of the workload: {error}")))?;
        if digest.get(Algorithm::Sha256).is_none() {
            return Err(DeployError::Launch("the digest of a workload is a SHA-256".to_owned()));
        }
        Ok(Self { text: text.to_owned(), digest })
    }
}

/// Takes in a file while it passes, and knows at its end whether it is the one that was meant.
pub(crate) struct Checked<'a> {
    file: &'a str,
    wanted: &'a ContentDigest,
    length: Option<u64>,
    max: u64,
    hasher: Hasher,
    seen: u64,
}

impl<'a> Checked<'a> {
    /// By the entry of its directory.
    pub(crate) fn new(file: &'a str, meta: &'a Meta, max: u64) -> Result<Self, DeployError> {
        if meta.length > max {
            return Err(DeployError::TooLong { file: file.to_owned(), len: meta.length, max });
        }
        Ok(Self { length: Some(meta.length), ..Self::of(file, &meta.digest, max)? })
    }

    /// By a digest alone.
    pub(crate) fn of(
        file: &'a str,
        wanted: &'a ContentDigest,
        max: u64,
    ) -> Result<Self, DeployError> {
        // One strong digest names a content as well as four; the pinned one above all is a SHA-256. An entry
        // with SHA-224 alone is none of the published client's.
        let strong = [Algorithm::Sha256, Algorithm::Sha512, Algorithm::Sha384];
        let Some(algorithm) = strong.into_iter().find(|one| wanted.get(*one).is_some()) else {
            let why = "it has no digest by SHA-256, SHA-384 or SHA-512";
            return Err(DeployError::Changed { file: file.to_owned(), why });
        };
        let hasher = Hasher::new([Algorithm::Sha256, algorithm]);
        Ok(Self { file, wanted, length: None, max, hasher, seen: 0 })
    }

    /// How many bytes there may be yet.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// More of it. What is too long is refused at once, not at the end.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> Result<(), DeployError> {
        self.seen = self.seen.saturating_add(bytes.len() as u64);
        if self.length.is_some_and(|length| self.seen > length) {
            return Err(self.changed("it is longer"));
        }
        if self.seen > self.max {
            let file = self.file.to_owned();
            return Err(DeployError::TooLong { file, len: self.seen, max: self.max });
        }
        self.hasher.update(bytes);
        Ok(())
    }

    /// Its end; gives its SHA-256.
    pub(crate) fn finish(self) -> Result<[u8; 32], DeployError> {
        if self.length.is_some_and(|length| self.seen < length) {
            return Err(self.changed("it is shorter"));
        }
        let Self { file, wanted, hasher, .. } = self;
        let found = hasher.finish();
        let changed = |why| DeployError::Changed { file: file.to_owned(), why };
        let mut same = 0;
        for (algorithm, digest) in found.iter() {
            match wanted.get(algorithm) {
                Some(wanted) if wanted == digest => same += 1,
                Some(_) => return Err(changed("its content is another")),
                None => {}
            }
        }
        if same == 0 {
            return Err(changed("its content is another"));
        }
        found
            .get(Algorithm::Sha256)
            .and_then(|digest| digest.try_into().ok())
            .ok_or_else(|| changed("its content is another"))
    }

    fn changed(&self, why: &'static str) -> DeployError {
        DeployError::Changed { file: self.file.to_owned(), why }
    }
}

/// Reads Enarx.toml.
pub(crate) fn config(bytes: &[u8]) -> Result<Config, DeployError> {
    Config::parse_bytes(bytes, drawbridge_types::file::CONFIG)
        .map_err(|error| DeployError::Config(error.to_string()))
}

/// The files beside Enarx.toml that it names, each once.
pub(crate) fn named_files(config: &Config) -> Vec<&str> {
    let sockets = config.files.iter().filter_map(|file| match file {
        File::Listen(listen) => Some(&listen.trust),
        File::Connect(connect) => Some(&connect.peer.trust),
        _ => None,
    });
    let peers = config.network.allow_connect.iter().map(|peer| &peer.trust);
    let ports = config.network.allow_listen.iter().map(|listen| &listen.trust);
    let mut names: Vec<&str> = sockets
        .chain(peers)
        .chain(ports)
        .flat_map(|trust| &trust.roots)
        .filter_map(|root| match root {
            Root::File(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Memory in which a file ends, and what went wrong there.
pub(crate) fn write<M: Memory>(to: &mut M, file: &str, bytes: &[u8]) -> Result<(), DeployError> {
    to.write(bytes).map_err(|error| DeployError::File {
        file: file.to_owned(),
        why: format!("this Keep has no room for it ({error})"),
    })
}

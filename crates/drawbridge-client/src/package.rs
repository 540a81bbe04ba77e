// SPDX-License-Identifier: Apache-2.0

//! Packages: what of a folder is published, and its digest.
//!
//! A package is a WebAssembly file alone, or a folder with `main.wasm` and `Enarx.toml`. Beside them a folder
//! may hold `main.artifact` and certificates (`*.pem`) that `Enarx.toml` names. Anything else is refused and not
//! left out: who publishes a folder has to know what becomes public, and a file that was forgotten would
//! be missing in the Keep.
//!
//! The digest is that of the root of the tree, thus of the WebAssembly file or of the canonical JSON of the
//! directory. Media types and all four digests of each file are part of that JSON, so they are fixed here:
//! who reckons the digest of the same files gets the same, wherever they came from.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use drawbridge_types::{Directory, Entry, EntryName, Hasher, Meta, NameError, file, media};

/// Largest WebAssembly file in bytes, as published.
const MAX_WASM: u64 = 100_000_000;
/// Largest `Enarx.toml` and largest certificate file in bytes, as published.
const MAX_TEXT: u64 = 1_000_000;
/// Largest `main.artifact` in bytes: native code is several times as large as its module.
const MAX_ARTIFACT: u64 = 1 << 30;
/// Most files of a folder.
const MAX_FILES: usize = 64;

/// A package on disk, whose digests are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    path: PathBuf,
    root: Meta,
    directory: Option<Vec<u8>>,
    files: Vec<PackageFile>,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq)]
pub struct PackageFile {
    /// Its name in the directory; none if the file is the whole package.
    pub name: Option<EntryName>,
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub meta: Meta,
}

impl Package {
    /// Reads a WebAssembly file or a folder, all of it once.
    ///
    /// # Errors
    ///
    /// [`PackageError`].
    pub fn from_path(path: &Path) -> Result<Self, PackageError> {
        let metadata = fs::metadata(path).map_err(PackageError::io(path))?;
        if !metadata.is_dir() {
            let meta = read(path, media::WASM)?;
            let only = PackageFile { name: None, path: path.to_owned(), meta: meta.clone() };
            return Ok(Self {
                path: path.to_owned(),
                root: meta,
                directory: None,
                files: vec![only],
            });
        }
        let mut files = Vec::new();
        for entry in fs::read_dir(path).map_err(PackageError::io(path))? {
            let file = entry.map_err(PackageError::io(path))?.path();
            let found = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(kind) = kind(found) else {
                return Err(PackageError::Unexpected(file));
            };
            let name = found
                .parse()
                .map_err(|source| PackageError::Name { path: file.clone(), source })?;
            if !fs::metadata(&file).map_err(PackageError::io(&file))?.is_file() {
                return Err(PackageError::Unexpected(file));
            }
            if files.len() >= MAX_FILES {
                return Err(PackageError::TooMany(path.to_owned()));
            }
            let meta = read(&file, kind)?;
            files.push(PackageFile { name: Some(name), path: file, meta });
        }
        for needed in [file::WASM, file::CONFIG] {
            if !files.iter().any(|one| one.name.as_ref().is_some_and(|n| n.as_str() == needed)) {
                return Err(PackageError::Missing { folder: path.to_owned(), file: needed });
            }
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let mut directory = Directory::default();
        for one in &files {
            if let Some(name) = &one.name {
                directory.insert(name.clone(), Entry::new(one.meta.clone()));
            }
        }
        let bytes = directory.to_bytes();
        let root = Directory::meta(&bytes);
        Ok(Self { path: path.to_owned(), root, directory: Some(bytes), files })
    }

    /// Where it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The root of its tree.
    #[must_use]
    pub fn root(&self) -> &Meta {
        &self.root
    }

    /// The directory as it is hashed; none for a file alone.
    #[must_use]
    pub fn directory(&self) -> Option<&[u8]> {
        self.directory.as_deref()
    }

    /// Its files, in the order of their names.
    #[must_use]
    pub fn files(&self) -> &[PackageFile] {
        &self.files
    }

    /// The file of that name ([`file`]); of a file alone, that is `main.wasm`.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&PackageFile> {
        self.files.iter().find(|one| match &one.name {
            Some(found) => found.as_str() == name,
            None => name == file::WASM,
        })
    }

    /// The digest of the workload: `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> String {
        // `Hasher::all` made it, so SHA-256 is there.
        self.root.digest.workload().unwrap_or_default()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.files.iter().map(|one| one.meta.length).sum()
    }
}

/// The media type of a file of that name; none: it does not belong into a package.
pub(crate) fn kind(name: &str) -> Option<&'static str> {
    match name {
        file::WASM => Some(media::WASM),
        file::CONFIG => Some(media::TOML),
        file::ARTIFACT => Some(media::ARTIFACT),
        name if name.ends_with(".pem") && !name.starts_with('.') => Some(media::PEM),
        _ => None,
    }
}

/// Most bytes of a file with that media type.
pub(crate) fn limit(kind: &str) -> u64 {
    match kind {
        media::WASM => MAX_WASM,
        media::ARTIFACT => MAX_ARTIFACT,
        _ => MAX_TEXT,
    }
}

fn read(path: &Path, kind: &str) -> Result<Meta, PackageError> {
    let mut file = File::open(path).map_err(PackageError::io(path))?;
    let limit = limit(kind);
    let (mut hasher, mut length, mut head) = (Hasher::all(), 0, Vec::<u8>::new());
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(PackageError::io(path)(error)),
        };
        let part = buffer.get(..count).unwrap_or_default();
        head.extend(part.iter().take(4_usize.saturating_sub(head.len())));
        length += count as u64;
        if length > limit {
            return Err(PackageError::TooLarge { path: path.to_owned(), limit });
        }
        hasher.update(part);
    }
    if kind == media::WASM && head != *b"\0asm" {
        return Err(PackageError::NotWasm(path.to_owned()));
    }
    Ok(Meta { digest: hasher.finish(), length, kind: kind.to_owned() })
}

/// Why files are no package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A folder lacks a file.
    #[error("{} is no package: there is no {file} in it", .folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// What it lacks.
        file: &'static str,
    },
    /// A file that does not belong into a package.
    #[error(
        "{} does not belong into a package, which holds main.wasm, Enarx.toml, and if need be \
         main.artifact and *.pem",
        .0.display()
    )]
    Unexpected(PathBuf),
    /// A name that cannot be published.
    #[error("{} cannot be published under its name", .path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: NameError,
    },
    /// A file that is called a module but is none.
    #[error("{} is not a WebAssembly module or component in binary form", .0.display())]
    NotWasm(PathBuf),
    /// A file larger than a Keep takes.
    #[error("{} has more than {limit} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// More files than a package has.
    #[error("{} has more than {MAX_FILES} files in it", .0.display())]
    TooMany(PathBuf),
}

impl PackageError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

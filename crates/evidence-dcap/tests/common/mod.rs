// SPDX-License-Identifier: Apache-2.0

//! What the tests have in common: where recorded evidence is, and both cryptographic libraries.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evidence_crypto::{AwsLc, Crypto, RustCrypto};

/// Both libraries, with their names.
pub(crate) fn libraries() -> [(&'static str, Arc<dyn Crypto>); 2] {
    [("aws-lc-rs", Arc::new(AwsLc)), ("RustCrypto", Arc::new(RustCrypto))]
}

/// The directory with recorded evidence, if there is one.
pub(crate) fn vectors() -> Option<PathBuf> {
    let root = match std::env::var_os("ENARX_VECTORS") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
    };
    if root.is_dir() {
        return Some(root);
    }
    println!("skipped: there is no recorded evidence at {}", root.display());
    None
}

/// The directories in a directory, sorted.
pub(crate) fn directories(parent: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(parent)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    out.retain(|path| path.join("quote.bin").is_file());
    out.sort();
    out
}

/// A JSON file.
pub(crate) fn json(path: &Path) -> serde_json::Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

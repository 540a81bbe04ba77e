// SPDX-License-Identifier: Apache-2.0

//! Where this program keeps its files: the XDG base directories.
//!
//! A relative path in one of the variables is ignored, as their specification says; there is no
//! guess when there is no home.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, anyhow};

/// The folder of the cache.
pub(crate) fn cache() -> Result<PathBuf> {
    base("XDG_CACHE_HOME", ".cache")
}

/// The folder of what must not be lost.
pub(crate) fn data() -> Result<PathBuf> {
    base("XDG_DATA_HOME", ".local/share")
}

/// The folder of what is remembered between two runs, and can be done again.
pub(crate) fn state() -> Result<PathBuf> {
    base("XDG_STATE_HOME", ".local/state")
}

fn base(variable: &str, default: &str) -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute(variable)
        .or_else(|| absolute("HOME").map(|home| home.join(default)))
        .map(|base| base.join("enarx"))
        .ok_or_else(|| anyhow!("neither {variable} nor HOME names a folder"))
}

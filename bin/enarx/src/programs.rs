// SPDX-License-Identifier: Apache-2.0

//! The Keep programs that are part of this executable, and a name for exactly these.

use backend_nil::Image;
use keep_backend::Program;

/// A program for the nil backend; `id` as [`Files::id`].
pub(crate) fn image(program: Program, id: &str) -> Image {
    let elf = match program {
        Program::Compiler => keep_programs::COMPILER,
        Program::Runtime => keep_programs::RUNTIME,
    };
    Image { program, elf, id: id.into() }
}

/// Where programs can be kept as files, and under which name.
#[derive(Debug)]
pub(crate) struct Files {
    /// The folder.
    pub(crate) folder: std::path::PathBuf,
    /// The digest of both programs in hex.
    pub(crate) id: String,
}

/// The digest of both programs.
///
/// Hashing them takes longer than a whole warm start, so the cache remembers the result for as long
/// as this executable stays the file that it is.
#[cfg(target_os = "linux")]
pub(crate) fn digest(cache: &keep_cache::Cache) -> [u8; 32] {
    use sha2::{Digest, Sha256};

    let executable = std::env::current_exe()
        .and_then(std::fs::File::open)
        .and_then(|file| keep_cache::Identity::of(&file));
    if let Some(digest) = executable.as_ref().ok().and_then(|identity| cache.digest(identity)) {
        return digest;
    }
    let mut hash = Sha256::new();
    for program in [keep_programs::COMPILER, keep_programs::RUNTIME] {
        hash.update((program.len() as u64).to_le_bytes());
        hash.update(program);
    }
    let digest = hash.finalize().into();
    if let Ok(identity) = &executable {
        cache.remember(identity, digest);
    }
    digest
}

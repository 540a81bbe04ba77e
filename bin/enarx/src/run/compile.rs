// SPDX-License-Identifier: Apache-2.0

//! `enarx package compile`: native code that the tenant publishes with the workload.
//!
//! It becomes part of what the workload's digest pins, and a Keep that finds it there asks nobody else. So
//! it is always made anew: what lies in the cache is only checked by the Keep that runs it. The key
//! that signs it is made for it and then forgotten: the digest vouches for it, and the key of this machine
//! is nobody else's business.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use command_line::OrExit;
use drawbridge_types::file;

use super::artifact::{Artifacts, Compiler};
use super::key::MachineKey;
use super::module::Module;
use super::open_cache;
use crate::agent::Watch;
use crate::backends::{self, Choice};
use crate::exit::{Code, Failure};
use crate::programs::{self, Files};

/// Memory for a compiler Keep, if it does not need more, in bytes.
const MEMORY: u64 = 4 << 30;

/// Compiles `main.wasm` of a folder to `main.artifact` beside it, in a Keep of that kind, whose processor's
/// features it may then use; how long it is, in bytes, and the backend.
pub(crate) fn compile(
    folder: &Path,
    backend: Option<&str>,
) -> Result<(u64, &'static str), Failure> {
    let warn = |message: String| command_line::warn(message);
    let mut module = Module::open(&folder.join(file::WASM))?;
    let cache = open_cache(&warn)?;
    let files = cache.as_ref().map(|cache| Files {
        folder: cache.programs(),
        id: command_line::hex(&programs::digest(cache)),
    });
    let Choice { backend, .. } = backends::choose(backend, files.as_ref())?;
    let watch = Watch::start()?;
    let key = MachineKey::passing()?;
    let artifacts = Artifacts::new(None, Default::default(), backend.name(), module.digest(None)?);
    let compiler =
        Compiler { backend: &*backend, watch: &watch, key: &key, memory: MEMORY, warn: &warn };
    let mut artifact = compiler.compile(&module, &artifacts)?;

    let to = folder.join(file::ARTIFACT);
    let failed = || format!("cannot write `{}`", to.display());
    // Under its name it is whole. As a new file, it is for whom the user's mask says.
    let mut new = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .or_exit_with(Code::Failed, failed)?;
    let len = io::copy(&mut artifact, new.as_file_mut()).or_exit_with(Code::Failed, failed)?;
    new.persist(&to).or_exit_with(Code::Failed, failed)?;
    Ok((len, backend.name()))
}

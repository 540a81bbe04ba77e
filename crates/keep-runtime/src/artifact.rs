// SPDX-License-Identifier: Apache-2.0

//! From a descriptor to code that may run: map, check, load.
//!
//! An artifact that arrives over the network is first written to a file of its own in memory, a
//! [`Sheet`], and sealed against writing; from there on it is like any other.
//!
//! The file is mapped once, privately and read-only. The very bytes that were checked are the ones
//! that run: Wasmtime uses them in place, and the only change is that the text becomes executable,
//! by one `mprotect`. At no time is a page both writable and executable, or first one and then the
//! other. In a Keep the mapping is the Keep's own memory. Under the `nil` backend the host could
//! still change the file beneath it, as it could change everything else there.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;

use keep_artifact::{ArtifactError, Expected, HEADER_LEN, Isa, Kind};
use keep_deploy::Memory;
use keep_engine::{cpu, program};
use keep_launch::{MAX_INPUT, Refusal};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect};
use wasmtime::component::Component;
use wasmtime::{CustomCodeMemory, Engine, Module};

use crate::{Refused, components, run};

/// Code that was checked and loaded.
#[allow(missing_debug_implementations, reason = "Wasmtime's types have none to show")]
pub(crate) enum Loaded {
    Module(Module),
    Component(Component),
}

/// Which artifacts may be loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepted<'a> {
    /// Who may have signed it.
    pub(crate) keys: Keys<'a>,
    /// SHA-256 of the module that it has to be made from.
    pub(crate) module: [u8; 32],
}

/// Who may have signed an artifact.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keys<'a> {
    /// The host agent's compiler: one of these keys.
    These(&'a [[u8; 32]]),
    /// Anybody: something else vouches for every byte, a digest that was pinned or the TLS peer that
    /// sent it. The signature still has to be sound.
    Any,
}

/// Checks an artifact and loads it.
pub(crate) fn load(
    engine: &Engine,
    artifact: &'static [u8],
    accepted: &Accepted<'_>,
) -> Result<Loaded, Refused> {
    let expected = expected(engine, accepted.module)?;
    let keys;
    let expected = match accepted.keys {
        Keys::These(keys) => Expected { keys, ..expected },
        Keys::Any => {
            keys = keep_artifact::signer(artifact).map(|key| [key]);
            let keys = keys.as_ref().map_or(&[][..], |key| &key[..]);
            Expected { keys, ..expected }
        }
    };
    let verified = keep_artifact::verify(artifact, &expected).map_err(|error| refuse(&error))?;
    debug_assert_eq!(artifact.len(), HEADER_LEN + verified.code.len());

    let code = NonNull::from(verified.code);
    let failed = |error| Refused::caused(Refusal::Mismatch, "cannot load the artifact", &error);
    if verified.kind == Kind::Module {
        // SAFETY: the bytes are what a compiler that is accepted made with this very engine
        // configuration; the mapping is never given back, and nothing writes to it.
        return unsafe { Module::deserialize_raw(engine, code) }
            .map(Loaded::Module)
            .map_err(failed);
    }
    // SAFETY: as above.
    let component = unsafe { Component::deserialize_raw(engine, code) }.map_err(failed)?;
    let Some(instances) = components::instances(&component)? else {
        return Ok(Loaded::Component(component));
    };
    // Code is known to Wasmtime by its place, so only one component may have it at a time.
    drop(component);
    let engine = run::pooled_engine(instances)?;
    // SAFETY: as above; how instances are allocated is nothing that code depends on.
    unsafe { Component::deserialize_raw(&engine, code) }.map(Loaded::Component).map_err(failed)
}

/// What an artifact of a module has to be to run here; by no key yet.
pub(crate) fn expected(engine: &Engine, module: [u8; 32]) -> Result<Expected<'static>, Refused> {
    let Some(isa) = Isa::current() else {
        return Err(Refused::new(Refusal::Internal, "artifacts know no such instruction set"));
    };
    let engine = keep_engine::identity(engine);
    Ok(Expected { keys: &[], module, engine, isa, cpu: cpu::detect() })
}

/// Memory for an artifact that arrives in pieces: a file without a name, which is written once from
/// its beginning, sealed, and only then mapped.
#[derive(Debug)]
pub(crate) struct Sheet {
    file: OwnedFd,
    left: u64,
}

impl Sheet {
    /// For so many bytes.
    pub(crate) fn new(len: u64) -> io::Result<Self> {
        if len > MAX_INPUT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let file = memfd_create("artifact", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, len)?;
        Ok(Self { file, left: len })
    }

    /// From now on nobody can write to it.
    pub(crate) fn seal(self) -> Result<&'static [u8], Refused> {
        if self.left > 0 {
            return Err(Refused::new(Refusal::Artifact, "the artifact is shorter than announced"));
        }
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(&self.file, seals).map_err(|error| {
            Refused::new(Refusal::Internal, format!("cannot seal the artifact\n{error}"))
        })?;
        map(self.file.as_fd())
    }
}

impl Memory for Sheet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        program::write_all(self.file.as_fd(), bytes)
    }
}

/// Maps a whole file, read-only, for the life of the program.
pub(crate) fn map(file: BorrowedFd<'_>) -> Result<&'static [u8], Refused> {
    let refused = |error: rustix::io::Errno| {
        Refused::new(Refusal::Internal, format!("cannot map the artifact\n{error}"))
    };
    let size = fstat(file).map_err(refused)?.st_size;
    let len = match usize::try_from(size) {
        Ok(0) => return Ok(&[]),
        Ok(len) if len as u64 <= MAX_INPUT => len,
        _ => return Err(Refused::new(Refusal::Artifact, "the artifact is too long")),
    };
    // SAFETY: the kernel chooses the place, so nothing that exists is replaced. The mapping is
    // private and never given back. A file that shrinks beneath it under `nil` kills the program,
    // which is all that the host gains by that.
    unsafe {
        let start = mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, file, 0)
            .map_err(refused)?;
        Ok(slice::from_raw_parts(start.cast::<u8>(), len))
    }
}

fn refuse(error: &ArtifactError) -> Refused {
    let reason = if error.is_mismatch() { Refusal::Mismatch } else { Refusal::Artifact };
    let message = match error {
        ArtifactError::WrongCpu { missing } => {
            format!("the artifact uses what this processor lacks: {}", cpu::names(*missing))
        }
        error => error.to_string(),
    };
    Refused::new(reason, message)
}

/// How Wasmtime makes text executable.
#[derive(Debug)]
pub(crate) struct Text;

impl CustomCodeMemory for Text {
    fn required_alignment(&self) -> usize {
        4096
    }

    fn publish_executable(&self, text: *const u8, len: usize) -> wasmtime::Result<()> {
        let flags = MprotectFlags::READ | MprotectFlags::EXEC;
        // SAFETY: Wasmtime hands over the text of the artifact that `load` gave it, which lies in
        // the mapping made by `map`; it was never writable.
        unsafe { mprotect(text.cast::<c_void>().cast_mut(), len, flags) }?;
        Ok(())
    }

    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        // Asked for when the code is dropped, at the end of the program.
        Ok(())
    }
}

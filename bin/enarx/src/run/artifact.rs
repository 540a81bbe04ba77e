// SPDX-License-Identifier: Apache-2.0

//! Where a module's artifact comes from: the cache, or a compiler Keep.
//!
//! The cache never decides whether a workload runs. If it cannot be written, or is full, the
//! artifact lies in a file without a name and the only harm is that the next run compiles again.

use std::fs::File;

use anyhow::{Context, anyhow};
use keep_backend::{Backend, Program, Spec};
use keep_cache::{Cache, Key, Pending};
use keep_launch::{Compile, Launch, Refusal, Report};

use super::key::MachineKey;
use super::module::Module;
use crate::agent::{self, Watch};
use crate::exit::{Code, Failure};

/// The artifacts of one module.
pub(super) struct Artifacts {
    cache: Option<Cache>,
    programs: [u8; 32],
    backend: &'static str,
    key: Key,
}

impl Artifacts {
    pub(super) fn new(
        cache: Option<Cache>,
        programs: [u8; 32],
        backend: &'static str,
        module: [u8; 32],
    ) -> Self {
        // Another compiler, another processor and another kind of Keep, which may see another set
        // of the processor's features, make another artifact of the same module.
        let key = Key::new(&[&module, &programs, backend.as_bytes(), &processor()]);
        Self { cache, programs, backend, key }
    }

    /// The artifacts of another module in the same cache.
    pub(super) fn of(self, module: [u8; 32]) -> Self {
        Self::new(self.cache, self.programs, self.backend, module)
    }

    pub(super) fn lookup(&self) -> Option<File> {
        self.cache.as_ref()?.lookup(&self.key)
    }

    pub(super) fn remove(&self, refused: &File) {
        if let Some(cache) = &self.cache {
            cache.remove(&self.key, refused);
        }
    }
}

/// Turns modules into artifacts.
pub(super) struct Compiler<'a> {
    pub(super) backend: &'a dyn Backend,
    pub(super) watch: &'a Watch,
    pub(super) key: &'a MachineKey,
    /// The limit that the user set for the workload.
    pub(super) memory: u64,
    pub(super) warn: &'a dyn Fn(String),
}

impl Compiler<'_> {
    /// Compiles, stores the artifact in the cache if there is one, and opens it.
    pub(super) fn compile(&self, module: &Module, artifacts: &Artifacts) -> Result<File, Failure> {
        let pending = match &artifacts.cache {
            Some(cache) => cache.begin().or_else(|error| {
                (self.warn)(format!("cannot write the cache: {error}"));
                Pending::anonymous()
            }),
            None => Pending::anonymous(),
        };
        let mut pending = pending.context("cannot make a file for the artifact")?;
        if let Err(failed) = self.compile_into(module, &pending)? {
            // The one thing that the compiler cannot tell from its own faults is a full disk.
            if pending.is_anonymous() {
                return Err(failed);
            }
            tracing::info!(error = %failed.line(), "compiling once more without the cache");
            pending = Pending::anonymous().context("cannot make a file for the artifact")?;
            self.compile_into(module, &pending)??;
            (self.warn)("the cache cannot hold the artifact; is the disk full?".into());
        }
        match &artifacts.cache {
            Some(cache) if !pending.is_anonymous() => {
                let (file, unstored) = pending.commit(cache, &artifacts.key)?;
                if let Some(error) = unstored {
                    (self.warn)(format!("the artifact is not kept: {error}"));
                }
                Ok(file)
            }
            _ => Ok(pending.into_reader()?),
        }
    }

    /// The inner error is one that another file may help against.
    fn compile_into(
        &self,
        module: &Module,
        pending: &Pending,
    ) -> Result<Result<(), Failure>, Failure> {
        let output = pending.output()?;
        let launch = Launch::Compile(Compile {
            signing_key: self.key.seed(),
            threads: self.backend.threads(),
        });
        let spec = Spec {
            program: Program::Compiler,
            launch: launch.encode(),
            input: module.input()?,
            output: Some(output.try_clone()?),
            stdio: [None, None, None],
            seeds: Vec::new(),
            memory: self.memory.max(MEMORY),
            processors: self.backend.threads(),
            evidence: None,
            events: None,
            network: None,
            signatures: None,
        };
        match agent::serve(self.backend, spec, self.watch, None)? {
            Report::Compiled { len } if output.metadata()?.len() == len => Ok(Ok(())),
            Report::Compiled { len } => {
                let error = anyhow!("the artifact does not have the {len} bytes that it should");
                Ok(Err(Failure::new(Code::Keep, error)))
            }
            Report::Refused { reason: Refusal::Internal, message } => {
                Ok(Err(agent::refused(&module.name, Refusal::Internal, &message)))
            }
            Report::Refused { reason, message } => {
                Err(agent::refused(&module.name, reason, &message))
            }
            other => {
                let error = anyhow!("the compiler sent a report that makes no sense: {other:?}");
                Err(Failure::new(Code::Keep, error))
            }
        }
    }
}

/// Memory that a compiler Keep may take at least, whatever the limit of the workload is.
const MEMORY: u64 = 4 << 30;

/// What tells this kind of processor from others, as far as compiled code depends on it.
///
/// Only for the name in the cache: whether an artifact fits the processor is checked in the Keep.
/// Each of these instructions leaves a virtual machine, so there are only three.
#[cfg(target_arch = "x86_64")]
fn processor() -> [u8; 24] {
    use std::arch::x86_64::__cpuid_count;

    let (version, features) = (__cpuid_count(1, 0), __cpuid_count(7, 0));
    let more = __cpuid_count(0x8000_0001, 0);
    let words = [version.ecx, version.edx, features.ebx, features.ecx, features.edx, more.ecx];
    let mut bytes = [0; 24];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> [u8; 24] {
    [0; 24]
}

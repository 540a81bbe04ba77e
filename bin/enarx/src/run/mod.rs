// SPDX-License-Identifier: Apache-2.0

//! `enarx run`: a module becomes an artifact in one Keep and runs in another.
//!
//! The order is that of the costs: what can be refused without a Keep is refused first; a digest
//! decides whether the compiler Keep is needed at all; and an artifact that the runtime Keep does
//! not accept is compiled anew exactly once, because a second refusal has another reason.

mod artifact;
mod key;
mod module;
mod plan;
mod signals;

pub(crate) use signals::die_by;

use std::fs::File;

use anyhow::anyhow;
use keep_backend::{Backend, BackendError, Program, Spec};
use keep_cache::Cache;
use keep_launch::{Launch, Refusal, Report};

use crate::backends::{self, Choice};
use crate::cli::RunArgs;
use crate::exit::{self, Code, Failure, OrExit, Outcome};
use crate::programs::{self, Files};
use artifact::{Artifacts, Compiler};
use key::MachineKey;
use module::Module;
use plan::Plan;
use signals::{Interruption, Watch};

pub(crate) fn run(args: &RunArgs) -> Result<Outcome, Failure> {
    let warn = |message: String| {
        if !args.quiet {
            exit::warn(message);
        }
    };
    let plan = Plan::new(args)?;
    plan.notes.iter().for_each(|note| warn(note.clone()));
    let mut module = Module::open(&args.module)?;

    let cache = open_cache(&warn)?;
    let programs = cache.as_ref().map(programs::digest);
    let files = cache.as_ref().zip(programs).map(|(cache, digest)| Files {
        folder: cache.programs(),
        id: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
    });
    let Choice { backend, automatic } = backends::choose(args.backend.as_deref(), files.as_ref())?;
    if automatic && !args.quiet && !backend.is_confidential() {
        let name = backend.name();
        eprintln!("enarx: running on the {name} backend, which is not confidential");
    }

    let digest = module.digest(cache.as_ref())?;
    let key = MachineKey::load(&warn)?;
    // What is signed with a key that is gone tomorrow is of no use in the cache.
    let kept = cache.filter(|_| !args.no_cache && key.is_kept);
    let watch = Watch::start()?;
    let artifacts = Artifacts::new(kept, programs.unwrap_or_default(), backend.name(), digest);
    let compiler =
        Compiler { backend: &*backend, watch: &watch, key: &key, memory: args.memory, warn: &warn };
    let keep = Runtime { backend: &*backend, watch: &watch, key: &key, plan: &plan, digest, args };

    let (artifact, is_cached) = match artifacts.lookup() {
        Some(artifact) => (artifact, true),
        None => (compiler.compile(&module, &artifacts)?, false),
    };
    let refused = artifact.try_clone()?;
    let mut report = keep.run(artifact)?;
    if let Report::Refused { reason: Refusal::Artifact | Refusal::Mismatch, message } = &report {
        tracing::info!(%message, is_cached, "the artifact is compiled anew");
        artifacts.remove(&refused);
        // The module may have changed since it was hashed; what counts is what is compiled now.
        let digest = module.rehash()?;
        let artifacts = artifacts.of(digest);
        let artifact = compiler.compile(&module, &artifacts)?;
        report = Runtime { digest, ..keep }.run(artifact)?;
    }
    conclude(report, &module.name)
}

/// The user's cache, unless there is something wrong with it.
fn open_cache(warn: &dyn Fn(String)) -> Result<Option<Cache>, Failure> {
    match crate::cache::open() {
        Ok(cache) => Ok(Some(cache)),
        Err(failure) if failure.code == Code::Failed => {
            warn(format!("there is no cache: {}", failure.line()));
            Ok(None)
        }
        Err(failure) => Err(failure),
    }
}

/// The Keep that runs the workload.
struct Runtime<'a> {
    backend: &'a dyn Backend,
    watch: &'a Watch,
    key: &'a MachineKey,
    plan: &'a Plan,
    digest: [u8; 32],
    args: &'a RunArgs,
}

impl Runtime<'_> {
    fn run(&self, artifact: File) -> Result<Report, Failure> {
        let launch = Launch::Run(keep_launch::Run {
            module_digest: self.digest,
            compiler_keys: vec![self.key.public()],
            args: self.plan.args.clone(),
            env: self.plan.env.clone(),
            stdio: self.plan.stdio,
            preopens: self.plan.preopens.clone(),
            max_memory: self.args.memory,
            sockets: None,
        });
        let launch = launch.encode();
        if launch.len() > keep_launch::MAX_LAUNCH {
            let error = anyhow!("arguments and environment are larger than a Keep accepts");
            return Err(Failure::new(Code::Input, error));
        }
        let spec = Spec {
            program: Program::Runtime,
            launch,
            input: artifact,
            output: None,
            stdio: self.plan.streams()?,
            seeds: self.plan.seeds.clone(),
            memory: self.args.memory,
            evidence: None,
            events: None,
            network: None,
        };
        serve(self.backend, spec, self.watch, self.args.timeout)
    }
}

/// Launches a Keep and serves it, until it ends or has to.
fn serve(
    backend: &dyn Backend,
    spec: Spec,
    watch: &Watch,
    timeout: Option<std::time::Duration>,
) -> Result<Report, Failure> {
    let launched = backend.launch(spec).map_err(backend_failure)?;
    let guard = watch.guard(launched.killer, timeout)?;
    let result = launched.keep.serve();
    let interruption = guard.finish();
    match (result, interruption) {
        (Ok(report), _) => Ok(report),
        (Err(_), Some(Interruption::Signal(signal))) => Err(Failure::by_signal(signal)),
        (Err(_), Some(Interruption::Timeout)) => {
            let limit = timeout.unwrap_or_default();
            let error = anyhow!("the workload did not end within {limit:?} and was ended");
            Err(Failure::new(Code::Timeout, error))
        }
        (Err(error), None) => Err(backend_failure(error)),
    }
}

fn backend_failure(error: BackendError) -> Failure {
    let code = match &error {
        BackendError::Unavailable { .. } | BackendError::Unsupported(_) => Code::Backend,
        BackendError::Seed { .. } => Code::Input,
        BackendError::OutOfMemory { .. } | BackendError::Keep { .. } | BackendError::Killed => {
            Code::Keep
        }
        _ => Code::Failed,
    };
    Failure::new(code, error)
}

/// A refusal by one of the two programs.
fn refused(name: &str, reason: Refusal, message: &str) -> Failure {
    let (code, summary) = match reason {
        Refusal::Invalid => (Code::Refused, format!("`{name}` is not a valid module")),
        Refusal::Unsupported => (Code::Refused, format!("`{name}` cannot run in this world")),
        Refusal::Memory => (Code::Refused, format!("`{name}` needs more memory than it may have")),
        Refusal::Artifact | Refusal::Mismatch => {
            (Code::Keep, "the Keep refused an artifact that was made for it".into())
        }
        Refusal::Config => (Code::Input, format!("`{name}` is configured for what is not there")),
        Refusal::Workload => (Code::Refused, format!("`{name}` is not the workload that was asked for")),
        Refusal::Network | Refusal::Evidence | Refusal::Steward | Refusal::Drawbridge | Refusal::Compiler => (Code::Failed, format!("`{name}` was not started")),
        Refusal::Launch | Refusal::Internal => (Code::Keep, "the Keep failed".into()),
    };
    Failure::with_causes(code, summary, message)
}

fn conclude(report: Report, name: &str) -> Result<Outcome, Failure> {
    match report {
        Report::Exited { code } => Ok(Outcome::Workload(code)),
        Report::Trapped { message } => {
            // Already says whose trap it is, with the backtrace in the form that Wasmtime's users
            // know.
            Err(Failure::new(Code::Trap, anyhow::Error::msg(message.trim_end().to_owned())))
        }
        Report::Refused { reason, message } => Err(refused(name, reason, &message)),
        Report::Compiled { .. } => {
            Err(anyhow!("the runtime claims to have compiled something")).or_exit(Code::Keep)
        }
    }
}

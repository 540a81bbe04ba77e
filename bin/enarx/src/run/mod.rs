// SPDX-License-Identifier: Apache-2.0

//! `enarx run`: a module becomes an artifact in one Keep and runs in another.
//!
//! The order is that of the costs: what can be refused without a Keep is refused first; a digest
//! decides whether the compiler Keep is needed at all; and an artifact that the runtime Keep does
//! not accept is compiled anew exactly once, because a second refusal has another reason.

mod artifact;
mod compile;
mod key;
mod module;
mod plan;

use std::fs::File;
use std::sync::Arc;

use anyhow::anyhow;
use artifact::{Artifacts, Compiler};
pub(crate) use compile::compile;
use keep_backend::{Backend, EvidenceSource, NetworkLimits, Program, Spec};
use keep_cache::Cache;
use keep_launch::{Launch, Refusal, Report};
use key::MachineKey;
use module::Module;
use plan::Plan;

use crate::agent::{self, Progress, Show, Watch, serve};
use crate::backends::{self, Choice};
use crate::cli::RunArgs;
use crate::dirs;
use crate::exit::{Code, Failure, Outcome};
use crate::hardware;
use crate::programs::{self, Files};

pub(crate) fn run(args: &RunArgs) -> Result<Outcome, Failure> {
    let warn = |message: String| {
        if !args.quiet {
            command_line::warn(message);
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

    let signatures = hardware::launch_signatures(args.signatures.signatures.as_deref(), &*backend)?;

    let digest = module.digest(cache.as_ref())?;
    let key = MachineKey::load(&warn)?;
    // What is signed with a key that is gone tomorrow is of no use in the cache.
    let kept = cache.filter(|_| !args.no_cache && key.is_kept);
    let watch = Watch::start()?;
    let artifacts = Artifacts::new(kept, programs.unwrap_or_default(), backend.name(), digest);
    let compiler =
        Compiler { backend: &*backend, watch: &watch, key: &key, memory: args.memory, warn: &warn };
    let progress = &Progress::shown(match (args.quiet, args.verbose) {
        (true, _) => Show::Nothing,
        (_, true) => Show::Lines,
        _ => Show::Warnings,
    });
    let (backend, watch, key, plan) = (&backend, &watch, &key, &plan);
    let keep = Runtime { backend, watch, progress, key, plan, digest, args, signatures };

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
    agent::conclude(report, &module.name)
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
    backend: &'a Arc<dyn Backend>,
    watch: &'a Watch,
    progress: &'a Progress,
    key: &'a MachineKey,
    plan: &'a Plan,
    digest: [u8; 32],
    args: &'a RunArgs,
    signatures: Option<keep_backend::Signatures>,
}

impl Runtime<'_> {
    /// By this user's development root, if there is one.
    fn evidence(&self) -> Result<Option<Box<dyn EvidenceSource>>, Failure> {
        let root = agent::development_root(&dirs::data()?.join("development"))?.map(Arc::new);
        Ok(agent::source(self.backend, Program::Runtime, root.as_ref()))
    }

    fn run(&self, artifact: File) -> Result<Report, Failure> {
        let launch = Launch::Run(keep_launch::Run {
            module_digest: self.digest,
            compiler_keys: vec![self.key.public()],
            args: self.plan.args.clone(),
            env: self.plan.env.clone(),
            stdio: self.plan.stdio,
            preopens: self.plan.preopens.clone(),
            max_memory: self.args.memory,
            threads: self.args.processors,
            sockets: self.plan.sockets.clone(),
        });
        let launch = launch.encode();
        if launch.len() > keep_launch::MAX_LAUNCH {
            let error = anyhow!("arguments, environment and roots are larger than a Keep accepts");
            return Err(Failure::new(Code::Input, error));
        }
        let network = self.plan.sockets.as_ref();
        let spec = Spec {
            program: Program::Runtime,
            launch,
            input: artifact,
            output: None,
            stdio: self.plan.streams()?,
            seeds: self.plan.seeds.clone(),
            memory: self.args.memory,
            processors: self.args.processors,
            evidence: match network {
                Some(_) if self.plan.has_steward => self.evidence()?,
                _ => None,
            },
            events: network.map(|_| self.progress.events()),
            network: network.map(|_| NetworkLimits::all()),
            signatures: self.signatures.clone(),
        };
        serve(&**self.backend, spec, self.watch, self.args.timeout)
    }
}

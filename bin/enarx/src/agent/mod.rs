// SPDX-License-Identifier: Apache-2.0

//! What every command that starts a Keep needs: serving it until it ends or has to, evidence where
//! the platform makes none, whom to trust, and showing what happens.

mod demangle;
mod evidence;
mod hardware;
mod network;
mod progress;
mod signals;

use std::time::Duration;

use anyhow::anyhow;
use command_line::OrExit;
use keep_backend::{Backend, BackendError, Spec};
use keep_launch::{Refusal, Report};

use crate::exit::{Code, Failure, Outcome};

pub(crate) use evidence::{development_root, source};
pub(crate) use network::{certificates, network};
pub(crate) use progress::{Happening, Progress, Show, printable, step_name};
pub(crate) use signals::{Ender, Guard, Interruption, Watch, die_by};

/// Launches a Keep and serves it, until it ends or has to.
pub(crate) fn serve(
    backend: &dyn Backend,
    spec: Spec,
    watch: &Watch,
    timeout: Option<Duration>,
) -> Result<Report, Failure> {
    serve_with(backend, spec, watch, timeout, |_| {})
}

/// As [`serve`], and says when the Keep is made; the killer's guard lets others end it.
pub(crate) fn serve_with(
    backend: &dyn Backend,
    spec: Spec,
    watch: &Watch,
    timeout: Option<Duration>,
    launched: impl FnOnce(&Guard),
) -> Result<Report, Failure> {
    let keep = backend.launch(spec).map_err(backend_failure)?;
    let guard = watch.guard(keep.killer, timeout)?;
    launched(&guard);
    let result = keep.keep.serve();
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

pub(crate) fn backend_failure(error: BackendError) -> Failure {
    let code = match &error {
        BackendError::Unavailable { .. } | BackendError::Unsupported(_) => Code::Backend,
        BackendError::Seed { .. } | BackendError::Signature { .. } => Code::Input,
        BackendError::OutOfMemory { .. } | BackendError::Keep { .. } | BackendError::Killed => {
            Code::Keep
        }
        _ => Code::Failed,
    };
    let refused = matches!(error, BackendError::Signature { .. });
    let failure = Failure::new(code, error);
    match refused {
        true => failure.help(
            "`enarx measure --signatures` says who signed and what; signatures are for one program of \
             one build, and on SEV-SNP for one number of processors and one C-bit",
        ),
        false => failure,
    }
}

/// A refusal by one of the two programs.
pub(crate) fn refused(name: &str, reason: Refusal, message: &str) -> Failure {
    let (code, summary) = match reason {
        Refusal::Invalid => (Code::Refused, format!("`{name}` is not a valid module")),
        Refusal::Unsupported => (Code::Refused, format!("`{name}` cannot run in this world")),
        Refusal::Memory => (Code::Refused, format!("`{name}` needs more memory than it may have")),
        Refusal::Artifact | Refusal::Mismatch => {
            (Code::Keep, "the Keep refused an artifact that was made for it".into())
        }
        Refusal::Config => (Code::Input, format!("`{name}` is configured for what is not there")),
        Refusal::Workload => {
            (Code::Refused, format!("`{name}` is not the workload that was asked for"))
        }
        Refusal::Network => (Code::Failed, format!("`{name}` did not get the network it needs")),
        Refusal::Evidence => (Code::Failed, format!("there is no evidence for `{name}`")),
        Refusal::Steward => (Code::Failed, format!("`{name}` got no certificate")),
        Refusal::Drawbridge => (Code::Failed, format!("`{name}` was not released")),
        Refusal::Compiler => (Code::Failed, format!("`{name}` was not compiled")),
        Refusal::Launch | Refusal::Internal => (Code::Keep, "the Keep failed".into()),
    };
    // A Keep that knows what to do says so in its last line.
    let (causes, said) = match message.trim_end().rsplit_once("\nhelp: ") {
        Some((causes, help)) => (causes, Some(help)),
        None => (message, None),
    };
    let failure = Failure::with_causes(code, summary, &printable_lines(causes));
    match said.map(printable).or_else(|| help(reason).map(str::to_owned)) {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// Each line without what could move a cursor.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}

/// What to do about a refusal, where that is not said by its message.
fn help(reason: Refusal) -> Option<&'static str> {
    Some(match reason {
        Refusal::Evidence => {
            "`enarx dev init` makes a root for development evidence, which proves nothing; \
             evidence that proves something needs a hardware TEE"
        }
        Refusal::Steward => {
            "check that the Steward runs, that its certificates lead to --steward-ca, that \
             --ca-bundle has the root of its TLS certificate, and that its policy lets in what \
             `enarx measure` prints"
        }
        Refusal::Drawbridge => {
            "check that the Drawbridge runs, that --ca-bundle has the root of its TLS certificate, \
             and that the repository's release policy fits this Keep: `enarx repo info`"
        }
        Refusal::Workload => {
            "what the store holds was changed, or the digest is that of another version: \
             `enarx package info` shows the digest that was published"
        }
        Refusal::Compiler => {
            "let [compiler] of the workload's Enarx.toml accept this compiler Keep, or put \
             `main.artifact` into the package"
        }
        _ => return None,
    })
}

/// How the command ends after what the Keep reports.
pub(crate) fn conclude(report: Report, name: &str) -> Result<Outcome, Failure> {
    match report {
        Report::Exited { code } => Ok(Outcome::Workload(code)),
        Report::Trapped { message } => {
            // Already says whose trap it is, with the backtrace in the form that Wasmtime's users
            // know.
            Err(Failure::msg(Code::Trap, demangle::demangle(message.trim_end())))
        }
        Report::Refused { reason, message } => Err(refused(name, reason, &message)),
        Report::Compiled { .. } => {
            Err(anyhow!("the runtime claims to have compiled something")).or_exit(Code::Keep)
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! The runtime Keep program: checks an artifact, maps it and runs it under WASI.
//!
//! It contains no compiler, and after the artifact's text it never makes anything executable. One
//! thread does everything: what blocks the workload blocks the program, and waiting for several
//! things at once is left to one event loop.

#![no_main]

mod artifact;
mod components;
mod deploy;
mod direct;
mod host;
mod network;
mod run;
mod sealing;
mod sockets;
mod state;
mod stdio;
mod wasi;

use keep_engine::program;
use keep_launch::{Launch, Refusal, Report};

/// Why the workload never ran.
#[derive(Debug)]
struct Refused {
    reason: Refusal,
    message: String,
}

impl Refused {
    fn new(reason: Refusal, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A failure with its causes, one a line.
    fn caused(reason: Refusal, what: &str, error: &wasmtime::Error) -> Self {
        let mut message = what.to_owned();
        for cause in error.chain() {
            message.push('\n');
            message.push_str(&cause.to_string());
        }
        Self { reason, message }
    }
}

keep_engine::entry!(main);

fn main() -> ! {
    program::report_panics();
    program::ignore_broken_pipes();
    let report = match program::read_launch() {
        Ok(Launch::Run(launch)) => run::run(launch),
        Ok(Launch::Deploy(launch)) => deploy::deploy(launch),
        Ok(Launch::Compile(_) | Launch::CompileService(_)) => Err(Refused::new(
            Refusal::Launch,
            "this is the runtime, but the launch asks for a compilation",
        )),
        Err(message) => Err(Refused::new(Refusal::Launch, message)),
    };
    program::finish(
        report.unwrap_or_else(|Refused { reason, message }| Report::Refused { reason, message }),
    )
}

// SPDX-License-Identifier: Apache-2.0

//! `enarx measure`: the digests of the initial images, without a launch.

use anyhow::anyhow;
use command_line::print;
use keep_backend::{Backend, BackendError, Measurement, Program};
use serde::Serialize;

use crate::backends;
use crate::cli::MeasureArgs;
use crate::exit::{Code, Failure};

/// A measurement and whose it is.
#[derive(Debug, Serialize)]
struct Line {
    backend: &'static str,
    #[serde(flatten)]
    measurement: Measurement,
}

pub(crate) fn run(args: &MeasureArgs) -> Result<(), Failure> {
    let chosen = match args.backend.as_deref() {
        Some(name) => vec![backends::named(name, None).ok_or_else(|| {
            let error = anyhow!("the {name} backend is not part of enarx for this system");
            Failure::new(Code::Backend, error)
        })?],
        None => backends::all(),
    };
    let mut lines = Vec::new();
    for backend in &chosen {
        for program in Program::ALL {
            match backend.measure(program) {
                Ok(measurement) => lines.push(Line { backend: backend.name(), measurement }),
                // Not every backend has an image of every program.
                Err(BackendError::Unsupported(_)) if args.backend.is_none() => {}
                Err(error) => return Err(failed(&**backend, program, error)),
            }
        }
    }
    if args.json {
        let version = env!("CARGO_PKG_VERSION");
        let value = serde_json::json!({ "version": version, "measurements": lines });
        return print(&format!("{value:#}\n"));
    }
    let mut text = String::new();
    for Line { backend, measurement } in &lines {
        let Measurement { program, algorithm, digest, size } = measurement;
        text += &format!("{backend} {:<8} {size:>9} bytes  {algorithm}:{digest}\n", program.name());
    }
    print(&text)
}

fn failed(backend: &dyn Backend, program: Program, error: BackendError) -> Failure {
    let what = format!("cannot measure the {} of the {} backend", program.name(), backend.name());
    Failure::new(Code::Failed, anyhow!(error).context(what))
}

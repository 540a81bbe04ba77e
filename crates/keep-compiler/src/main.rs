// SPDX-License-Identifier: Apache-2.0

//! The compiler Keep program: turns a module into an authenticated artifact.
//!
//! It contains Wasmtime's compiler but not its runtime: nothing it makes can run here. It reads a
//! [`Launch::Compile`], takes the module from one descriptor, writes the artifact to another, and
//! reports; or a [`Launch::CompileService`], and does so for runtime Keeps that it meets over the
//! network. Everything it is given is untrusted; its only secret is a key.

#![no_main]

mod heap;
mod inspect;
mod service;

use std::borrow::Cow;
use std::io;
use std::mem;

use keep_artifact::{Claims, Isa, Kind};
use keep_engine::program;
use keep_engine::world::Unsupported;
use keep_launch::{Compile, FD_INPUT, FD_OUTPUT, Launch, MAX_INPUT, Refusal, Report};
use wasmtime::Engine;
use wasmtime_environ::WasmError;

/// Why there is no artifact.
#[derive(Debug)]
struct Refused {
    reason: Refusal,
    message: String,
}

impl Refused {
    fn new(reason: Refusal, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    fn io(what: &str, error: &io::Error) -> Self {
        Self::new(Refusal::Internal, format!("{what}\n{error}"))
    }
}

impl From<Unsupported> for Refused {
    fn from(error: Unsupported) -> Self {
        Self::new(Refusal::Unsupported, error.to_string())
    }
}

keep_engine::entry!(main);

fn main() -> ! {
    heap::tune();
    program::report_panics();
    program::ignore_broken_pipes();
    let report = match program::read_launch() {
        Ok(Launch::Compile(launch)) => run(&launch),
        Ok(Launch::CompileService(launch)) => service::serve(&launch),
        Ok(Launch::Run(_) | Launch::Deploy(_)) => Err(Refused::new(
            Refusal::Launch,
            "this is the compiler, but the launch asks for a run",
        )),
        Err(message) => Err(Refused::new(Refusal::Launch, message)),
    };
    program::finish(match report {
        Ok(len) => Report::Compiled { len },
        Err(Refused { reason, message }) => Report::Refused { reason, message },
    })
}

/// Compiles the one module on the input; gives the artifact's length.
fn run(launch: &Compile) -> Result<u64, Refused> {
    let given = program::read_to_end(program::descriptor(FD_INPUT), MAX_INPUT)
        .map_err(|error| Refused::io("cannot read the module", &error))?;
    let artifact = compile(&given, &launch.signing_key, launch.threads)?;
    for part in &artifact {
        program::write_all(program::descriptor(FD_OUTPUT), part)
            .map_err(|error| Refused::io("cannot write the artifact", &error))?;
    }
    let len = artifact.iter().map(|part| part.len() as u64).sum();
    // The process ends in a moment; giving its memory back piece by piece would be work for nothing.
    mem::forget(artifact);
    Ok(len)
}

/// The artifact of a module, header and code.
fn compile(given: &[u8], signing_key: &[u8; 32], threads: u32) -> Result<[Vec<u8>; 2], Refused> {
    let module = keep_artifact::digest(given);
    let wasm = binary(given)?;
    let kind = inspect::inspect(&wasm)?;

    let engine =
        engine(threads).map_err(|error| Refused::new(Refusal::Internal, format!("{error:?}")))?;
    let code = match kind {
        Kind::Module => engine.precompile_module(&wasm),
        Kind::Component => engine.precompile_component(&wasm),
    }
    .map_err(|error| refuse(&error))?;

    let Some(isa) = Isa::current() else {
        return Err(Refused::new(Refusal::Internal, "artifacts know no such instruction set"));
    };
    let claims = Claims {
        kind,
        module,
        engine: keep_engine::identity(&engine),
        isa,
        cpu: keep_engine::cpu::detect(),
    };
    let header = keep_artifact::sign(signing_key, &claims, &code);
    mem::forget(engine);
    Ok([header.to_vec(), code])
}

fn engine(threads: u32) -> wasmtime::Result<Engine> {
    let mut config = keep_engine::config();
    config.parallel_compilation(threads > 1 && pool(threads));
    Engine::new(&config)
}

/// Makes the threads that compile, of which the calling one is the first; whether there are any. In a
/// Keep each takes a processor.
fn pool(threads: u32) -> bool {
    static MADE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *MADE.get_or_init(|| {
        let threads = usize::try_from(threads).unwrap_or(usize::MAX).min(256);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
        pool.build_global().is_ok()
    })
}

/// The binary form of a module that may have been given as text.
fn binary(given: &[u8]) -> Result<Cow<'_, [u8]>, Refused> {
    if given.starts_with(b"\0asm") {
        return Ok(Cow::Borrowed(given));
    }
    let invalid = |message: &str| Err(Refused::new(Refusal::Invalid, message));
    if given.is_empty() {
        return invalid("the file is empty; it should hold a WebAssembly module or component");
    }
    let Ok(text) = std::str::from_utf8(given) else {
        return invalid(
            "the file is not WebAssembly: it neither begins with the bytes `\\0asm` nor is it text",
        );
    };
    wat::parse_str(text)
        .map(Cow::Owned)
        .map_err(|error| Refused::new(Refusal::Invalid, error.to_string()))
}

/// Says whether the module or this product is to blame.
fn refuse(error: &wasmtime::Error) -> Refused {
    // Which of the causes says so depends on whether a function or what is around it is at fault.
    let wasm = error.chain().find_map(|cause| cause.downcast_ref::<WasmError>());
    let reason = match wasm {
        Some(WasmError::InvalidWebAssembly { .. }) => Refusal::Invalid,
        Some(WasmError::Unsupported(_) | WasmError::ImplLimitExceeded) => Refusal::Unsupported,
        Some(WasmError::User(_)) => Refusal::Internal,
        None if error.chain().any(|cause| cause.is::<wasmparser::BinaryReaderError>()) => {
            Refusal::Invalid
        }
        None => Refusal::Internal,
    };
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    Refused::new(reason, causes.join("\n"))
}

// SPDX-License-Identifier: Apache-2.0

//! What a workload sees of the world: the WASI context, and the functions it is linked to.

use keep_engine::world::{PREVIEW0, PREVIEW1};
use keep_launch::{Refusal, Run, Stdio};
use wasmtime::{AsContextMut as _, Caller, Engine, Extern, Linker, Module};
use wasmtime_wasi::p1::wasi_snapshot_preview1;
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, p0};
use wiggle::GuestMemory;

use crate::Refused;
use crate::state::State;
use crate::stdio::{Batch, Input, Output};

/// Builds the context. There is no network: every address and every name look-up is refused.
pub(crate) fn context(launch: &Run, batch: &Batch) -> Result<WasiP1Ctx, Refused> {
    let mut builder = WasiCtxBuilder::new();
    // One thread does everything, so a file operation may as well block it.
    builder.allow_blocking_current_thread(true);
    builder.args(&launch.args).envs(&launch.env);
    let [stdin, stdout, stderr] = launch.stdio;
    match stdin {
        Stdio::Null => {}
        Stdio::Stdin => drop(builder.stdin(Input::new())),
        Stdio::Stdout | Stdio::Stderr => {
            return Err(Refused::new(
                Refusal::Launch,
                "the workload's stdin cannot be one of the program's outputs",
            ));
        }
    }
    let output = |stdio| match stdio {
        Stdio::Null => Ok(None),
        Stdio::Stdout => Ok(Some(Output::stdout(batch))),
        Stdio::Stderr => Ok(Some(Output::stderr(batch))),
        Stdio::Stdin => Err(Refused::new(
            Refusal::Launch,
            "the workload's outputs cannot be the program's stdin",
        )),
    };
    if let Some(stdout) = output(stdout)? {
        builder.stdout(stdout);
    }
    if let Some(stderr) = output(stderr)? {
        builder.stderr(stderr);
    }
    for preopen in &launch.preopens {
        builder.preopened_dir(&preopen.path, &preopen.guest, FsPerms::ReadWrite).map_err(
            |error| {
                let what = format!("cannot open the folder for `{}`", preopen.guest);
                Refused::caused(Refusal::Launch, &what, &error)
            },
        )?;
    }
    Ok(builder.build_p1())
}

/// Links the previews that a module imports from; to link what it does not would cost start-up time.
pub(crate) fn linker(engine: &Engine, module: &Module) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let imports = |name| module.imports().any(|import| import.module() == name);
    if imports(PREVIEW1) {
        p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
        linker.allow_shadowing(true);
        linker.func_wrap_async(PREVIEW1, "fd_write", |caller, arguments| {
            Box::new(fd_write(caller, arguments))
        })?;
    }
    if imports(PREVIEW0) {
        p0::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
    }
    Ok(linker)
}

/// Wasmtime's `fd_write`, but what one call writes to stdout or stderr leaves in one piece.
/// Wasmtime by itself cuts it into pieces of 4 KiB, each of which would cross the Keep's boundary.
async fn fd_write(
    mut caller: Caller<'_, State>,
    (fd, iovs, count, written): (i32, i32, i32, i32),
) -> wasmtime::Result<i32> {
    let memory = caller.get_export("memory");
    let fuel = caller.as_context_mut().hostcall_fuel();
    let (mut memory, state) = match &memory {
        Some(Extern::Memory(memory)) => {
            let (bytes, state) = memory.data_and_store_mut(&mut caller);
            (GuestMemory::Unshared(bytes), state)
        }
        Some(Extern::SharedMemory(memory)) => {
            (GuestMemory::Shared(memory.data()), caller.data_mut())
        }
        _ => wasmtime::bail!("missing required memory export"),
    };
    wasi_snapshot_preview1::WasiSnapshotPreview1::set_hostcall_fuel(&mut state.wasi, fuel);
    state.batch.begin();
    let result =
        wasi_snapshot_preview1::fd_write(&mut state.wasi, &mut memory, fd, iovs, count, written)
            .await;
    let flushed = state.batch.end();
    let errno = result?;
    match flushed {
        Err(error) if errno == 0 => {
            let error = p1::types::Error::from(error).downcast()?;
            Ok(error as i32)
        }
        _ => Ok(errno),
    }
}

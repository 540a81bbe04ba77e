// SPDX-License-Identifier: Apache-2.0

//! What a workload sees of the world: the WASI context, and the functions it is linked to.

use keep_engine::world::{PREVIEW0, PREVIEW1};
use keep_launch::{Refusal, Stdio};
use wasmtime::{Engine, Linker, Module};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{WasiCtxBuilder, p0};

use crate::run::World;
use crate::state::State;
use crate::stdio::{Input, Output};
use crate::{Refused, direct, sockets};

/// Builds the context. There is no network: every address and every name look-up is refused.
pub(crate) fn context(world: &World) -> Result<WasiP1Ctx, Refused> {
    context_after(world, 3)
}

/// As [`context`], with directories from the descriptor `first` on, or from 3 if that is less.
pub(crate) fn context_after(world: &World, first: usize) -> Result<WasiP1Ctx, Refused> {
    let mut builder = WasiCtxBuilder::new();
    // One thread does everything, so a file operation may as well block it.
    builder.allow_blocking_current_thread(true);
    builder.args(&world.args).envs(&world.env);
    let [stdin, stdout, stderr] = world.stdio;
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
        Stdio::Stdout => Ok(Some(Output::new(1))),
        Stdio::Stderr => Ok(Some(Output::new(2))),
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
    if let Some(preopen) = world.preopens.first() {
        // Wasmtime numbers directories from 3 on. Where sockets have these numbers, its calls never see
        // what is in their places; a directory that the workload has anyway holds them.
        for _ in 3..first {
            builder.preopened_dir(&preopen.path, "", world.perms).map_err(|error| {
                Refused::caused(Refusal::Launch, "cannot open a folder", &error)
            })?;
        }
    }
    for preopen in &world.preopens {
        builder.preopened_dir(&preopen.path, &preopen.guest, world.perms).map_err(|error| {
            let what = format!("cannot open the folder for `{}`", preopen.guest);
            Refused::caused(Refusal::Launch, &what, &error)
        })?;
    }
    Ok(builder.build_p1())
}

/// Links the previews that a module imports from; to link what it does not would cost start-up time.
pub(crate) fn linker(
    engine: &Engine,
    module: &Module,
    has_sockets: bool,
) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let imports = |name| module.imports().any(|import| import.module() == name);
    if imports(PREVIEW1) {
        p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
        // A module that uses both previews may close a descriptor behind our back.
        if !imports(PREVIEW0) {
            direct::shadow(&mut linker)?;
        }
    }
    if imports(PREVIEW0) {
        p0::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
    }
    if has_sockets && imports(PREVIEW1) && !imports(PREVIEW0) {
        sockets::link(&mut linker)?;
    }
    Ok(linker)
}

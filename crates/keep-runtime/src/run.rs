// SPDX-License-Identifier: Apache-2.0

//! From a launch to a report: instantiate, call, and tell how it ended.

use std::sync::Arc;

use keep_engine::program::descriptor;
use keep_engine::world::{self, Unsupported};
use keep_launch::{FD_INPUT, Refusal, Report, Run};
use keep_runtime::budget::Budget;
use wasmtime::component::{self, Component};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Error, Linker, Module, Store};
use wasmtime_wasi::{I32Exit, p2};

use crate::artifact::{self, Loaded, Text};
use crate::direct::Direct;
use crate::state::State;
use crate::{Refused, wasi};

/// Runs the workload to its end.
pub(crate) fn run(launch: Run) -> Result<Report, Refused> {
    let internal = |what: &str, error: Error| Refused::caused(Refusal::Internal, what, &error);

    let mut config = keep_engine::config();
    config.with_custom_code_memory(Some(Arc::new(Text)));
    let engine = Engine::new(&config).map_err(|e| internal("cannot set up the engine", e))?;
    let loaded = artifact::load(&engine, &launch, descriptor(FD_INPUT))?;

    let events = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| internal("cannot set up the event loop", e.into()))?;
    let name = launch.args.first().cloned().unwrap_or_default();
    let wasi = wasi::context(&launch)?;
    let budget = Budget::new(launch.max_memory);
    let state = State { wasi, budget, direct: Direct::new(launch.stdio) };
    let mut store = Store::new(&engine, state);
    store.limiter(|state| state);

    let (store, result) = match &loaded {
        Loaded::Module(module) => {
            let linker = link_module(&engine, module, &mut store)?;
            events.block_on(async {
                let result = run_module(&mut store, &linker, module).await;
                (store, result)
            })
        }
        Loaded::Component(component) => {
            let linker = link_component(&engine, component)?;
            events.block_on(async {
                let result = run_component(&mut store, &linker, component).await;
                (store, result)
            })
        }
    };
    let report = report(&store, &name, result);
    // The process ends in a moment; giving everything back piece by piece would be work for nothing.
    std::mem::forget((store, loaded, events, engine));
    report
}

/// How far a workload came before an error.
enum Failed {
    /// It was not instantiated.
    Start(Error),
    /// It was, and ran.
    Running(Error),
}

async fn run_module(
    store: &mut Store<State>,
    linker: &Linker<State>,
    module: &Module,
) -> Result<(), Failed> {
    let start = linker.instantiate_async(&mut *store, module).await.map_err(Failed::Start)?;
    let function = ["", "_start"]
        .iter()
        .find_map(|name| start.get_func(&mut *store, name))
        .and_then(|function| function.typed::<(), ()>(&mut *store).ok())
        .ok_or_else(|| Failed::Start(Error::msg("`_start` is not a function without arguments")))?;
    function
        .call_async(&mut *store, ())
        .await
        .context("failed to invoke command default")
        .map_err(Failed::Running)
}

async fn run_component(
    store: &mut Store<State>,
    linker: &component::Linker<State>,
    component: &Component,
) -> Result<(), Failed> {
    let command = p2::bindings::Command::instantiate_async(&mut *store, component, linker)
        .await
        .map_err(Failed::Start)?;
    command
        .wasi_cli_run()
        .call_run(&mut *store)
        .await
        .context("failed to invoke `run` function")
        .and_then(|result| result.map_err(|()| I32Exit(1).into()))
        .map_err(Failed::Running)
}

fn link_module(
    engine: &Engine,
    module: &Module,
    store: &mut Store<State>,
) -> Result<Linker<State>, Refused> {
    let imports = module.imports().map(|import| (import.module(), import.name()));
    world::check_module(imports, module.exports().map(|export| export.name()))
        .map_err(|error| Refused::new(Refusal::Unsupported, error.to_string()))?;
    let linker = wasi::linker(engine, module)
        .map_err(|error| Refused::caused(Refusal::Internal, "cannot link WASI", &error))?;
    // The names within a preview are known only now. All that are missing are named, not the first.
    let missing: Vec<_> = module
        .imports()
        .filter(|import| linker.get_by_import(&mut *store, import).is_none())
        .map(|import| format!("{}::{}", import.module(), import.name()))
        .collect();
    if missing.is_empty() {
        Ok(linker)
    } else {
        let error = Unsupported::Imports(missing);
        Err(Refused::new(Refusal::Unsupported, error.to_string()))
    }
}

fn link_component(
    engine: &Engine,
    component: &Component,
) -> Result<component::Linker<State>, Refused> {
    let ty = component.component_type();
    let imports = ty.imports(engine).map(|(name, _)| name);
    world::check_component(imports, ty.exports(engine).map(|(name, _)| name))
        .map_err(|error| Refused::new(Refusal::Unsupported, error.to_string()))?;
    let mut linker = component::Linker::new(engine);
    p2::add_to_linker_async(&mut linker)
        .map_err(|error| Refused::caused(Refusal::Internal, "cannot link WASI", &error))?;
    linker.instantiate_pre(component).map_err(|error| {
        Refused::caused(Refusal::Unsupported, "the component does not fit WASI 0.2", &error)
    })?;
    Ok(linker)
}

/// Tells how it ended, in the words of Wasmtime's command line.
fn report(store: &Store<State>, name: &str, result: Result<(), Failed>) -> Result<Report, Refused> {
    let error = match result {
        Ok(()) => return Ok(Report::Exited { code: 0 }),
        Err(Failed::Running(error)) => error,
        Err(Failed::Start(error)) => {
            // A start function is the workload's own code: it may exit or trap like any other.
            if !error.is::<I32Exit>() && !error.is::<wasmtime::Trap>() {
                return Err(refuse_start(store, &error));
            }
            error.context("failed to instantiate the module")
        }
    };
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return Ok(Report::Exited { code: *code });
    }
    let error = error.context(format!("failed to run main module `{name}`"));
    Ok(Report::Trapped { message: format!("{error:?}") })
}

fn refuse_start(store: &Store<State>, error: &Error) -> Refused {
    let budget = &store.data().budget;
    match budget.refused() {
        Some(wanted) => Refused::new(
            Refusal::Memory,
            format!(
                "the workload starts with {wanted} bytes of memory, but may have {} bytes",
                budget.max()
            ),
        ),
        None => Refused::caused(Refusal::Unsupported, "cannot instantiate the workload", error),
    }
}

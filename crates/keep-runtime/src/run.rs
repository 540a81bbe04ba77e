// SPDX-License-Identifier: Apache-2.0

//! From a launch to a report: instantiate, call, and tell how it ended.

use std::mem;
use std::sync::Arc;

use keep_engine::program::{self, descriptor};
use keep_engine::world::{self, Unsupported};
use keep_launch::{FD_INPUT, Preopen, Refusal, Report, Run, Stdio};
use keep_runtime::budget::Budget;
use tokio::runtime::{Builder, Runtime};
use wasmtime::error::Context as _;
use wasmtime::{
    Config, Engine, Error, InstanceAllocationStrategy, Linker, Module, PoolingAllocationConfig,
    Store,
};
use wasmtime_wasi::{FsPerms, I32Exit};

use crate::artifact::{self, Accepted, Keys, Loaded, Text};
use crate::direct::Direct;
use crate::network::Network;
use crate::state::State;
use crate::{Refused, components, deploy, sockets, wasi};

/// What a workload is started with, whoever says so.
#[derive(Debug, Clone)]
pub(crate) struct World {
    /// Arguments, the workload's name first.
    pub(crate) args: Vec<String>,
    /// Environment, in order.
    pub(crate) env: Vec<(String, String)>,
    /// Descriptors 0, 1 and 2.
    pub(crate) stdio: [Stdio; 3],
    /// Directories.
    pub(crate) preopens: Vec<Preopen>,
    /// What may be done in them.
    pub(crate) perms: FsPerms,
    /// Bytes of all linear memories together.
    pub(crate) max_memory: u64,
    /// For a workload that has one.
    pub(crate) network: Option<Network>,
}

/// Runs a workload that the host hands over.
pub(crate) fn run(launch: Run) -> Result<Report, Refused> {
    let engine = engine()?;
    let accepted =
        Accepted { keys: Keys::These(&launch.compiler_keys), module: launch.module_digest };
    let loaded = artifact::load(&engine, artifact::map(descriptor(FD_INPUT))?, &accepted)?;
    let events = event_loop(launch.threads)?;
    let Run { args, env, stdio, preopens, max_memory, sockets, .. } = launch;
    let network = match sockets {
        Some(sockets) => Some(events.block_on(deploy::network_for_run(sockets))?),
        None => None,
    };
    execute(
        &events,
        loaded,
        World { args, env, stdio, preopens, perms: FsPerms::ReadWrite, max_memory, network },
    )
}

/// The engine that artifacts are loaded into.
pub(crate) fn engine() -> Result<Engine, Refused> {
    Engine::new(&config()).map_err(|e| internal("cannot set up the engine", e))
}

/// The same engine with places for so many instances at a time, which stay mapped when an instance ends:
/// for a component of which there is an instance for each request. It loads the same artifacts.
pub(crate) fn pooled_engine(instances: u32) -> Result<Engine, Refused> {
    let mut pool = PoolingAllocationConfig::new();
    // A component is made of a few core instances, of which one or two have a memory.
    pool.total_component_instances(instances)
        .total_core_instances(8 * instances)
        .total_memories(2 * instances)
        .total_tables(4 * instances)
        .total_stacks(instances)
        .total_gc_heaps(1)
        .table_elements(32 << 10)
        .max_unused_warm_slots(2 * instances);
    // To write zeroes is cheaper than to have a mapping changed twice.
    pool.linear_memory_keep_resident(4 << 20).table_keep_resident(256 << 10).decommit_batch_size(1);
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).map_err(|e| internal("cannot set up the engine", e))
}

fn config() -> Config {
    let mut config = keep_engine::config();
    config.with_custom_code_memory(Some(Arc::new(Text)));
    config
}

/// The one event loop of the program. Of `threads` threads the first one accepts connections, and the
/// others serve them; of one, it does both.
pub(crate) fn event_loop(threads: u32) -> Result<Runtime, Refused> {
    let mut builder = match threads {
        0 | 1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let serving = usize::try_from(threads).unwrap_or(usize::MAX).saturating_sub(1).clamp(1, 256);
    builder
        .worker_threads(serving)
        // Whatever blocks, blocks the thread that it is on: there is no processor for others.
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .map_err(|e| internal("cannot set up the event loop", e.into()))
}

fn internal(what: &str, error: Error) -> Refused {
    Refused::caused(Refusal::Internal, what, &error)
}

/// Runs the workload to its end.
pub(crate) fn execute(events: &Runtime, loaded: Loaded, world: World) -> Result<Report, Refused> {
    program::lock_code();
    let engine = match &loaded {
        Loaded::Module(module) => module.engine(),
        Loaded::Component(component) => component.engine(),
    };
    let name = world.args.first().cloned().unwrap_or_default();
    // A module's descriptors are those of its configuration, and then the directories.
    let first = match (&loaded, &world.network) {
        (Loaded::Module(_), Some(network)) => network.config.files.len(),
        _ => 0,
    };
    let wasi = wasi::context_after(&world, first)?;
    let directories = !world.preopens.is_empty();
    let budget = Budget::new(world.max_memory);
    let network = world.network.as_ref();
    let components = components::Context::new(network);
    let state = State { wasi, budget, direct: Direct::new(world.stdio), sockets: None, components };
    let mut store = Store::new(engine, state);
    store.limiter(|state| state);

    let (store, result) = match &loaded {
        Loaded::Module(module) => {
            let linker = link_module(engine, module, &mut store, network.is_some())?;
            events.block_on(async {
                if let Some(network) = network {
                    store.data_mut().sockets = Some(sockets::open(network, directories).await?);
                }
                let result = run_module(&mut store, &linker, module).await;
                if let Some(sockets) = store.data_mut().sockets.take() {
                    sockets.finish().await;
                }
                Ok::<_, Refused>((store, result))
            })?
        }
        Loaded::Component(component) => {
            let linker = components::link(engine, component)?;
            events.block_on(async {
                let result = components::run(&mut store, &linker, component, &world).await;
                (store, result)
            })
        }
    };
    let report = report(&store, &name, result);
    // The process ends in a moment; giving everything back piece by piece would be work for nothing.
    mem::forget((store, loaded, world));
    report
}

/// How far a workload came before an error.
#[derive(Debug)]
pub(crate) enum Failed {
    /// It was not instantiated.
    Start(Error),
    /// It was, and ran.
    Running(Error),
    /// The reason lies outside of it.
    Refused(Refused),
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

fn link_module(
    engine: &Engine,
    module: &Module,
    store: &mut Store<State>,
    has_sockets: bool,
) -> Result<Linker<State>, Refused> {
    let imports = module.imports().map(|import| (import.module(), import.name()));
    world::check_module(imports, module.exports().map(|export| export.name()))
        .map_err(|error| Refused::new(Refusal::Unsupported, error.to_string()))?;
    let linker = wasi::linker(engine, module, has_sockets)
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

/// Tells how it ended, in the words of Wasmtime's command line.
fn report(store: &Store<State>, name: &str, result: Result<(), Failed>) -> Result<Report, Refused> {
    let error = match result {
        Ok(()) => return Ok(Report::Exited { code: 0 }),
        Err(Failed::Refused(refused)) => return Err(refused),
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

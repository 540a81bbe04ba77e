// SPDX-License-Identifier: Apache-2.0

//! Components: what they are linked to, and how they are called.

use keep_engine::world;
use keep_launch::Refusal;
use wasmtime::component::{Component, Linker};
use wasmtime::error::Context as _;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{I32Exit, p2};

use crate::Refused;
use crate::network::Network;
use crate::run::Failed;
use crate::state::State;

/// Links what a component imports, or says what is missing.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    _network: Option<&Network>,
) -> Result<Linker<State>, Refused> {
    let ty = component.component_type();
    let imports = ty.imports(engine).map(|(name, _)| name);
    world::check_component(imports, ty.exports(engine).map(|(name, _)| name))
        .map_err(|error| Refused::new(Refusal::Unsupported, error.to_string()))?;
    let mut linker = Linker::new(engine);
    p2::add_to_linker_async(&mut linker)
        .map_err(|error| Refused::caused(Refusal::Internal, "cannot link WASI", &error))?;
    linker.instantiate_pre(component).map_err(|error| {
        Refused::caused(Refusal::Unsupported, "the component does not fit WASI 0.2", &error)
    })?;
    Ok(linker)
}

/// Runs a component to its end.
pub(crate) async fn run(
    store: &mut Store<State>,
    linker: &Linker<State>,
    component: &Component,
    _network: Option<&Network>,
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

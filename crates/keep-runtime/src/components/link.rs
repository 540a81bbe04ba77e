// SPDX-License-Identifier: Apache-2.0

//! What components are linked to.

use std::future::poll_fn;
use std::pin::pin;

use keep_engine::world::{self, World as Kind};
use keep_launch::Refusal;
use wasmtime::component::{Component, HasData, Linker, Resource, ResourceTable};
use wasmtime::{Engine, StoreContextMut};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll::Host as _;
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, HostNetwork};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, io, random, sockets};
use wasmtime_wasi::p2::{Network, SocketError};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{WasiCtxView, WasiView as _};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::bindings::{ip_name_lookup, tcp, tcp_create_socket, udp, udp_create_socket};
use super::{HasSockets, SocketsView};
use crate::Refused;
use crate::state::State;

/// Calls of `poll` that found something at once before others get their turn.
const POLLS: u32 = 8;

/// Tells how a component is called, or what it has that is not offered.
pub(crate) fn kind(engine: &Engine, component: &Component) -> Result<Kind, Refused> {
    let ty = component.component_type();
    let imports = ty.imports(engine).map(|(name, _)| name);
    world::check_component(imports, ty.exports(engine).map(|(name, _)| name))
        .map_err(|error| Refused::new(Refusal::Unsupported, error.to_string()))
}

/// Links what a component imports, or says what is missing.
pub(crate) fn link(engine: &Engine, component: &Component) -> Result<Linker<State>, Refused> {
    kind(engine, component)?;
    let ty = component.component_type();
    let has_http = ty
        .imports(engine)
        .chain(ty.exports(engine))
        .any(|(name, _)| name.starts_with("wasi:http/"));
    let mut linker = Linker::new(engine);
    add(&mut linker, has_http)
        .map_err(|error| Refused::caused(Refusal::Internal, "cannot link WASI", &error))?;
    linker.instantiate_pre(component).map_err(|error| {
        Refused::caused(Refusal::Unsupported, "the component does not fit WASI 0.2", &error)
    })?;
    Ok(linker)
}

struct HasTable;

impl HasData for HasTable {
    type Data<'a> = &'a mut ResourceTable;
}

fn add(linker: &mut Linker<State>, has_http: bool) -> wasmtime::Result<()> {
    let l = linker;
    io::error::add_to_linker::<State, HasTable>(l, |state| state.ctx().table)?;
    io::streams::add_to_linker::<State, HasTable>(l, |state| state.ctx().table)?;
    io::poll::add_to_linker::<State, HasTable>(l, |state| state.ctx().table)?;
    fair_poll(l)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    random::random::add_to_linker::<State, WasiRandom>(l, State::random)?;
    random::insecure::add_to_linker::<State, WasiRandom>(l, State::random)?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, State::random)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    filesystem::types::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<State, WasiFilesystem>(l, State::filesystem)?;
    // What names a network or an error decides nothing, and is Wasmtime's.
    sockets::instance_network::add_to_linker::<State, WasiSockets>(l, State::sockets)?;
    sockets::network::add_to_linker::<State, WasiSockets>(l, &Default::default(), State::sockets)?;
    tcp::add_to_linker::<State, HasSockets>(l, view)?;
    tcp_create_socket::add_to_linker::<State, HasSockets>(l, view)?;
    udp::add_to_linker::<State, HasSockets>(l, view)?;
    udp_create_socket::add_to_linker::<State, HasSockets>(l, view)?;
    ip_name_lookup::add_to_linker::<State, HasSockets>(l, view)?;
    if has_http {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(l)?;
    }
    Ok(())
}

fn view(state: &mut State) -> SocketsView<'_> {
    let net = state.components.net.clone();
    SocketsView { table: state.wasi.ctx().table, net }
}

/// Replaces `wasi:io/poll.poll` by one that lets the event loop work now and then.
///
/// There is one thread. A program that polls with a timeout of nothing, again and again, would find
/// its timeout over each time before anybody has looked whether something arrived.
fn fair_poll(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:io/poll@0.2.12")?.func_wrap_async(
        "poll",
        |mut store: StoreContextMut<'_, State>, (pollables,): (Vec<Resource<DynPollable>>,)| {
            Box::new(async move {
                let state = store.data_mut();
                let mut waited = false;
                let ready = {
                    let mut polling = pin!(state.wasi.ctx().table.poll(pollables));
                    poll_fn(|cx| {
                        let result = polling.as_mut().poll(cx);
                        waited |= result.is_pending();
                        result
                    })
                    .await?
                };
                let polls = &mut state.components.polls;
                *polls = if waited { 0 } else { *polls + 1 };
                if *polls >= POLLS {
                    *polls = 0;
                    tokio::task::yield_now().await;
                }
                Ok((ready,))
            })
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl network::Host for SocketsView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(
        &mut self,
        _: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(None)
    }
}

impl HostNetwork for SocketsView<'_> {
    fn drop(&mut self, this: Resource<Network>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let WasiCtxView { table, .. } = self.wasi.ctx();
        WasiHttpCtxView { hooks: &mut self.components.hooks, table, ctx: &mut self.components.http }
    }
}

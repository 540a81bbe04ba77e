// SPDX-License-Identifier: Apache-2.0

//! Components: what they are linked to, and how they are called.
//!
//! WASI 0.2 is Wasmtime's but for what reaches out of the Keep. `wasi:sockets` is implemented here,
//! and so are the two ends of `wasi:http`: everything goes through the Keep's own network, and only
//! as far as Enarx.toml allows. Where there is no network, the same functions refuse.

mod http;
mod link;
mod names;
mod serve;
mod stream;
mod tcp;
mod timer;
mod udp;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keep_deploy::Host as _;
use keep_engine::world::World as Kind;
use keep_launch::Event;
use keep_net::Net;
use keep_runtime::policy::Policy;
use wasmtime::Store;
use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime::error::Context as _;
use wasmtime_wasi::{I32Exit, p2};
use wasmtime_wasi_http::WasiHttpCtx;

use crate::Refused;
use crate::host::Descriptors;
use crate::network::Network;
use crate::run::{Failed, World};
use crate::sockets;
use crate::state::State;

pub(crate) use link::link;

use http::Hooks;
use stream::Outgoing;

/// The traits behind the interfaces that are implemented here.
mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "enarx:keep/sockets",
        imports: {
            "wasi:sockets/tcp.[method]tcp-socket.start-listen": async | trappable,
            default: trappable,
        },
        trappable_error_type: {
            "wasi:sockets/network.error-code" => wasmtime_wasi::p2::SocketError,
        },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
            "wasi:sockets/tcp.tcp-socket": crate::components::tcp::TcpSocket,
            "wasi:sockets/udp.udp-socket": crate::components::udp::Datagrams,
            "wasi:sockets/udp.incoming-datagram-stream": crate::components::udp::Datagrams,
            "wasi:sockets/udp.outgoing-datagram-stream": crate::components::udp::Datagrams,
            "wasi:sockets/ip-name-lookup.resolve-address-stream":
                crate::components::names::Addressing,
        },
    });

    pub(crate) use self::wasi::sockets::{
        ip_name_lookup, tcp, tcp_create_socket, udp, udp_create_socket,
    };
}

/// The network as components use it.
#[derive(Debug)]
struct Outside {
    net: Net,
    policy: Policy,
    outgoing: Outgoing,
}

/// What belongs to one instance, besides what WASI has anyway.
#[allow(missing_debug_implementations, reason = "Wasmtime's types have none to show")]
pub(crate) struct Context {
    net: Option<Arc<Outside>>,
    http: WasiHttpCtx,
    /// Calls of `poll` in a row that did not wait.
    polls: u32,
    hooks: Hooks,
}

impl Context {
    /// For a workload with this network.
    pub(crate) fn new(network: Option<&Network>) -> Self {
        Self::with(network.map(|network| {
            Arc::new(Outside {
                net: network.net.clone(),
                policy: Policy::new(&network.config),
                outgoing: Outgoing::new(),
            })
        }))
    }

    fn with(net: Option<Arc<Outside>>) -> Self {
        Self { hooks: Hooks::new(net.clone()), net, http: WasiHttpCtx::new(), polls: 0 }
    }
}

/// What the functions of `wasi:sockets` work on.
#[derive(Debug)]
pub(crate) struct SocketsView<'a> {
    table: &'a mut ResourceTable,
    net: Option<Arc<Outside>>,
}

struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = SocketsView<'a>;
}

/// How many instances of a component there are at most, if there are many: one for each request.
pub(crate) fn instances(component: &Component) -> Result<Option<u32>, Refused> {
    let is_proxy = link::kind(component.engine(), component)? == Kind::Proxy;
    Ok(is_proxy.then_some(serve::MAX_REQUESTS))
}

/// Runs a component to its end; one that handles requests has none by itself.
pub(crate) async fn run(
    store: &mut Store<State>,
    linker: &Linker<State>,
    component: &Component,
    world: &World,
) -> Result<(), Failed> {
    if let Some(network) = &world.network {
        sockets::warn_of_plaintext(&network.config);
    }
    if link::kind(store.engine(), component).map_err(Failed::Refused)? == Kind::Proxy {
        return serve::serve(linker, component, world).await;
    }
    let result = run_command(store, linker, component).await;
    // What the workload has written leaves the Keep, though the workload is gone.
    if let Some(net) = &store.data().components.net {
        net.outgoing.settle().await;
    }
    result
}

async fn run_command(
    store: &mut Store<State>,
    linker: &Linker<State>,
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

/// Tells the host what it may show to a person.
fn tell(event: Event) {
    Descriptors.event(event);
}

/// Warnings of one [`PERIOD`]; a workload can cause any number.
const MAX_WARNINGS: u32 = 20;
const PERIOD: Duration = Duration::from_secs(10);
/// Bytes of a warning.
const MAX_WARNING: usize = 4 << 10;

/// Warns of what a workload does or suffers, but does not let that become a flood.
fn warn(message: &str) {
    thread_local! {
        static SAID: Cell<Option<(Instant, u32)>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    let (since, count) = match SAID.get() {
        Some((since, count)) if now.duration_since(since) < PERIOD => (since, count),
        _ => (now, 0),
    };
    SAID.set(Some((since, count.saturating_add(1))));
    let message = match count {
        0..MAX_WARNINGS => {
            let end = message.floor_char_boundary(MAX_WARNING);
            message.get(..end).unwrap_or_default().to_owned()
        }
        MAX_WARNINGS => format!("more warnings within {} seconds are not shown", PERIOD.as_secs()),
        _ => return,
    };
    tell(Event::Warning { message });
}

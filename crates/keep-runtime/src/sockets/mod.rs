// SPDX-License-Identifier: Apache-2.0

//! Sockets of modules: `listen` and `connect` of Enarx.toml as descriptors of WASI preview 1.

use keep_launch::Refusal;
use wasmtime::Linker;

use crate::Refused;
use crate::network::Network;
use crate::state::State;

/// The sockets of a workload, by descriptor.
#[derive(Debug)]
pub(crate) struct Sockets {}

/// Binds what listens and makes the connections, before the workload starts.
pub(crate) async fn open(network: &Network) -> Result<Sockets, Refused> {
    match network.config.networking().next() {
        None => Ok(Sockets {}),
        Some(_) => Err(Refused::new(Refusal::Network, "sockets are not there yet")),
    }
}

/// Puts the calls that know sockets in place of those that do not; after everything else is linked.
pub(crate) fn link(_linker: &mut Linker<State>) -> wasmtime::Result<()> {
    Ok(())
}

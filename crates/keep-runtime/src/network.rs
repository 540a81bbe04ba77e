// SPDX-License-Identifier: Apache-2.0

//! What a workload with a network has: what its configuration allows, and the way to its peers.

use std::sync::Arc;

use enarx_config::Config;
use keep_net::Net;

/// Everything that sockets of modules and of components are made from; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    /// Enarx.toml.
    pub(crate) config: Arc<Config>,
    /// The network, with this Keep's certificate in it and the files beside Enarx.toml.
    pub(crate) net: Net,
}

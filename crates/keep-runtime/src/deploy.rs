// SPDX-License-Identifier: Apache-2.0

//! A Keep that starts empty: from a launch to a workload that runs.

use keep_launch::{Deploy, Refusal, Report, Sockets};

use crate::Refused;
use crate::network::Network;

/// Fetches, checks and runs a workload.
pub(crate) fn deploy(_launch: Deploy) -> Result<Report, Refused> {
    Err(Refused::new(Refusal::Launch, "deployments are not there yet"))
}

/// The network of a workload that the host hands over.
pub(crate) async fn network_for_run(_sockets: Sockets) -> Result<Network, Refused> {
    Err(Refused::new(Refusal::Launch, "sockets are not there yet"))
}

// SPDX-License-Identifier: Apache-2.0

//! A Keep that starts empty: from a launch to a workload that runs. And the identity of one that does not.
//!
//! What the workload finds (arguments, environment, streams, sockets) is reckoned here from its own
//! configuration, not taken from the host.

use std::sync::Arc;

use enarx_config::{Config, File, Prot};
use keep_deploy::{DeployError, Host as _, NotLoaded, Who};
use keep_identity::{CodeOrigin, Identity};
use keep_launch::{Deploy, Event, Refusal, Report, Sockets, Stdio};
use keep_net::{IdentityHandle, Net};
use wasmtime::Engine;
use wasmtime_wasi::FsPerms;

use crate::artifact::{self, Accepted, Keys, Loaded, Sheet};
use crate::host::Descriptors;
use crate::network::Network;
use crate::run::{self, World};
use crate::{Refused, sealing};

/// The workload's name for itself.
const NAME: &str = "main.wasm";

impl From<DeployError> for Refused {
    fn from(error: DeployError) -> Self {
        Self::new(error.refusal(), error.message())
    }
}

/// Fetches, checks and runs a workload.
pub(crate) fn deploy(launch: Deploy) -> Result<Report, Refused> {
    let engine = run::engine()?;
    let events = run::event_loop(launch.threads)?;
    let loader = Loader { engine: &engine };
    let deployed = events.block_on(keep_deploy::deploy(&launch, &Descriptors, &loader))?;
    let mut folders = Vec::new();
    if let Some(sealing) = &deployed.config.sealing {
        let origin = if deployed.own_code {
            CodeOrigin::Workload
        } else {
            CodeOrigin::Compiler(&launch.network.steward_roots)
        };
        folders.push(sealing::folder(sealing, launch.workload(), origin)?);
    }
    let world = World {
        args: [NAME.to_owned()].into_iter().chain(deployed.config.args.iter().cloned()).collect(),
        env: environment(&deployed.config),
        stdio: stdio(&deployed.config)?,
        preopens: folders,
        perms: FsPerms::ReadOnly,
        max_memory: launch.max_memory,
        network: Some(Network { config: Arc::new(deployed.config), net: deployed.net.clone() }),
    };
    events.block_on(async { spawn_renewal(deployed.net, deployed.who, deployed.identity) });
    Descriptors.event(Event::Step { number: 13, detail: "the workload starts".to_owned() });
    run::execute(&events, deployed.code, world)
}

/// Loads artifacts into memory that can be executed once it cannot be written any more.
struct Loader<'e> {
    engine: &'e Engine,
}

impl keep_deploy::Loader for Loader<'_> {
    type Memory = Sheet;
    type Loaded = Loaded;

    fn memory(&self, len: u64) -> std::io::Result<Sheet> {
        Sheet::new(len)
    }

    fn load(&self, memory: Sheet, module: [u8; 32]) -> Result<Loaded, NotLoaded> {
        let accepted = Accepted { keys: Keys::Any, module };
        memory.seal().and_then(|artifact| artifact::load(self.engine, artifact, &accepted)).map_err(
            |refused| NotLoaded {
                is_mismatch: refused.reason == Refusal::Mismatch,
                message: refused.message,
            },
        )
    }
}

/// The variables of Enarx.toml, which may replace those that say what the descriptors are.
fn environment(config: &Config) -> Vec<(String, String)> {
    let mut env: Vec<_> = config.stdio_environment().into();
    for (name, value) in &config.env {
        match env.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => old.clone_from(value),
            None => env.push((name.clone(), value.clone())),
        }
    }
    env
}

/// The descriptors 0, 1 and 2. Sockets, and all that stands behind these three, are served elsewhere.
fn stdio(config: &Config) -> Result<[Stdio; 3], Refused> {
    let mut stdio = [Stdio::Null; 3];
    for ((index, place), file) in stdio.iter_mut().enumerate().zip(&config.files) {
        *place = match (index, file) {
            (_, File::Null { .. } | File::Listen(_) | File::Connect(_)) => Stdio::Null,
            (0, File::Stdin { .. }) => Stdio::Stdin,
            (1 | 2, File::Stdout { .. }) => Stdio::Stdout,
            (1 | 2, File::Stderr { .. }) => Stdio::Stderr,
            _ => {
                let name = file.name();
                let can = if index == 0 { "`stdin`" } else { "`stdout`, `stderr`" };
                let message = format!(
                    "files[{index}] (`{name}`) can be {can}, `null` or a socket; other streams stand behind \
                     the first three entries"
                );
                return Err(Refused::new(Refusal::Config, message));
            }
        };
    }
    Ok(stdio)
}

/// The network of a workload that the host hands over. The host's word about the module is no proof, so no
/// workload is in the certificate.
pub(crate) async fn network_for_run(sockets: Sockets) -> Result<Network, Refused> {
    let Sockets { config, files, network } = sockets;
    let config = Config::parse(&config, "Enarx.toml")
        .map_err(|error| Refused::new(Refusal::Config, error.to_string()))?;
    if config.sealing.is_some() {
        return Err(sealing::not_deployed());
    }
    let net = Net::new(&network, IdentityHandle::new(), &files)
        .map_err(|error| Refused::from(DeployError::Network(error)))?;
    if needs_identity(&config) {
        let (names, addresses) = keep_deploy::own_names(&config);
        let who = Who {
            steward: config.steward.as_ref().map(|url| url.as_str().to_owned()),
            slug: None,
            workload: None,
            roots: network.steward_roots,
            names,
            addresses,
        };
        let identity = keep_deploy::become_somebody(&net, &Descriptors, &who).await?;
        keep_deploy::announce(&Descriptors, &identity);
        spawn_renewal(net.clone(), who, identity);
    }
    Ok(Network { config: Arc::new(config), net })
}

fn spawn_renewal(net: Net, who: Who, identity: Identity) {
    tokio::spawn(async move { keep_deploy::renew(&net, &Descriptors, &who, identity).await });
}

/// Whether there is anybody to show a certificate to.
fn needs_identity(config: &Config) -> bool {
    let is_server = |file: &File| matches!(file, File::Listen(listen) if listen.prot == Prot::Tls);
    config.steward.is_some()
        || config.files.iter().any(is_server)
        || config.network.allow_listen.iter().any(|listen| listen.prot == Prot::Tls)
}

// SPDX-License-Identifier: Apache-2.0

//! All of it, in its order.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use enarx_config::{Config, File};
use keep_identity::Identity;
use keep_launch::{Deploy, Event, Source};
use keep_net::{IdentityHandle, Net};

use crate::package::{Package, Pin};
use crate::steward::{Who, announce, identify};
use crate::{DeployError, Host, Loader, compile, drawbridge, folder};

/// A workload that is ready to run.
#[derive(Debug)]
pub struct Deployed<C> {
    /// Its configuration.
    pub config: Config,
    /// Its code.
    pub code: C,
    /// Whether the code is part of the workload; else a compiler Keep made it.
    pub own_code: bool,
    /// The network, with the Keep's certificate in it.
    pub net: Net,
    /// The certificate that is installed, for [`renew`](crate::renew).
    pub identity: Identity,
    /// How it was got, for [`renew`](crate::renew).
    pub who: Who,
}

/// Becomes somebody, fetches the workload, checks it and gets code for it: steps 5 to 12.
///
/// # Errors
///
/// [`DeployError`]; then nothing of the workload has run, and nothing was kept.
pub async fn deploy<L: Loader>(
    launch: &Deploy,
    host: &dyn Host,
    loader: &L,
) -> Result<Deployed<L::Loaded>, DeployError> {
    let pin = Pin::parse(&launch.digest)?;
    let net =
        Net::new(&launch.network, IdentityHandle::new(), &[]).map_err(DeployError::Network)?;
    let mut who = Who {
        steward: launch.steward.clone(),
        slug: launch.slug.clone(),
        workload: Some(pin.text.clone()),
        roots: launch.network.steward_roots.clone(),
        names: vec!["localhost".to_owned()],
        addresses: Vec::new(),
    };
    let mut identity = become_somebody(&net, host, &who).await?;

    let package = match &launch.source {
        Source::Drawbridge { tag } => drawbridge::fetch(&net, host, tag, &pin, loader).await?,
        Source::Folder { path } => folder::read(host, Path::new(path), &pin, loader)?,
    };
    let Package { config, module, module_digest, artifact, files } = package;
    if let (Some(asked), Some(named)) = (&launch.steward, &config.steward)
        && named.as_str().trim_end_matches('/') != asked.trim_end_matches('/')
    {
        let message = format!(
            "Enarx.toml names the Steward {}, and the launch named {asked}, which gave the certificate",
            named.as_str()
        );
        host.event(Event::Warning { message });
    }
    let net = net.with_files(&files);
    if who.steward.is_none() {
        // Now that they are known.
        (who.names, who.addresses) = own_names(&config);
        identity = identify(&net, host, &who).await?;
        install(&net, &identity)?;
    }
    announce(host, &identity);

    let own = match artifact.map(|memory| loader.load(memory, module_digest)) {
        Some(Ok(code)) => Some(code),
        Some(Err(not)) if !not.is_mismatch => return Err(DeployError::Artifact(not.message)),
        Some(Err(not)) => {
            let message = format!("`main.artifact` does not fit here: {}", not.message);
            host.event(Event::Warning { message });
            None
        }
        None => None,
    };
    let own_code = own.is_some();
    let code = match own {
        Some(code) => code,
        None => {
            if !config.compiler.attested {
                return Err(DeployError::NoCompiler(
                    "Enarx.toml accepts the tenant's native code alone, and there is none that fits",
                ));
            }
            // Its code would be as good as nobody's: there is no root that its certificate could lead to.
            if launch.steward.is_none() {
                return Err(DeployError::UnprovenCompiler);
            }
            let Some(address) = &launch.compiler else {
                return Err(DeployError::NoCompiler("the launch names no compiler Keep"));
            };
            let made = compile::Wanted {
                address,
                workload: &pin.text,
                policy: &config.compiler,
                module: &module,
                digest: module_digest,
            };
            let memory = compile::ask(&net, &made, loader).await?;
            loader.load(memory, module_digest).map_err(|not| DeployError::Artifact(not.message))?
        }
    };
    Ok(Deployed { config, code, own_code, net, identity, who })
}

/// Gets an identity and installs it; says so if nobody vouches for it.
///
/// # Errors
///
/// [`DeployError`].
pub async fn become_somebody(
    net: &Net,
    host: &dyn Host,
    who: &Who,
) -> Result<Identity, DeployError> {
    let identity = identify(net, host, who).await?;
    install(net, &identity)?;
    if identity.is_self_signed() {
        let message = "no Steward is named, so this Keep signs its own certificate, which proves nothing \
                       to anybody";
        host.event(Event::Warning { message: message.to_owned() });
    }
    Ok(identity)
}

fn install(net: &Net, identity: &Identity) -> Result<(), DeployError> {
    net.identity().install(identity).map_err(DeployError::Network)
}

/// Names and addresses for a certificate that a Keep signs for itself: `localhost`, those of Enarx.toml, and
/// where it listens.
#[must_use]
pub fn own_names(config: &Config) -> (Vec<String>, Vec<IpAddr>) {
    let mut names = vec!["localhost".to_owned()];
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    for name in &config.network.names {
        match name.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(name.clone()),
        }
    }
    let listens = config.files.iter().filter_map(|file| match file {
        File::Listen(listen) => Some(listen),
        _ => None,
    });
    let listens = listens.chain(&config.network.allow_listen);
    addresses.extend(listens.map(|listen| listen.addr).filter(|addr| !addr.is_unspecified()));
    names.sort();
    names.dedup();
    addresses.sort();
    addresses.dedup();
    (names, addresses)
}

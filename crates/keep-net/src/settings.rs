// SPDX-License-Identifier: Apache-2.0

//! From what Enarx.toml demands to configurations of rustls.

use std::sync::{Arc, Mutex, PoisonError};

use enarx_config::{ClientAuth, Listen, Peer, Root, Trust};
use evidence_crypto::Graviola;
use evidence_pki::Certificate;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use steward_relying_party::{Demands, KeepVerifier, Names};

use crate::identity::Current;
use crate::provider::provider;
use crate::verify::PeerVerifier;
use crate::{NetError, Shared};

/// On whose behalf a connection is made: that decides what `system` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The workload's: the public authorities in this program. The host has no say.
    Workload,
    /// The deployment's, before there is a workload: what the launch says about servers.
    Deployment,
}

/// Configurations for clients that are kept, each with its sessions.
#[derive(Debug, Default)]
pub(crate) struct Clients(Mutex<Vec<Kept>>);

#[derive(Debug)]
struct Kept {
    peer: Peer,
    scope: Scope,
    identity: Option<Arc<Current>>,
    config: Arc<ClientConfig>,
}

/// How many are kept. A workload that talks to more peers than that makes them anew.
const MAX_KEPT: usize = 32;

impl Clients {
    /// The configuration for a peer and the identity that is current.
    pub(crate) fn get(
        &self,
        shared: &Shared,
        peer: &Peer,
        scope: Scope,
    ) -> Result<Arc<ClientConfig>, NetError> {
        let identity = shared.identity.current();
        let same = |one: &Option<Arc<Current>>| match (one, &identity) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What was made for an identity that is no more is of no use.
        kept.retain(|one| same(&one.identity));
        if let Some(one) = kept.iter().find(|one| one.scope == scope && one.peer == *peer) {
            return Ok(Arc::clone(&one.config));
        }
        let config = Arc::new(client(shared, peer, scope)?);
        if kept.len() >= MAX_KEPT {
            kept.remove(0);
        }
        kept.push(Kept { peer: peer.clone(), scope, identity, config: Arc::clone(&config) });
        Ok(config)
    }
}

/// The name that a server has to have.
pub(crate) fn server_name(peer: &Peer) -> Result<ServerName<'static>, NetError> {
    let name = peer.server_name.as_deref().unwrap_or(&peer.host);
    // A final dot is for DNS alone (RFC 6066 §3).
    let name = name.strip_suffix('.').unwrap_or(name);
    ServerName::try_from(name.to_owned())
        .map_err(|_| NetError::Setting(format!("`{name}` cannot be the name of a TLS server")))
}

fn client(shared: &Shared, peer: &Peer, scope: Scope) -> Result<ClientConfig, NetError> {
    let verifier = verifier(shared, &peer.trust, scope, Role::Server(peer))?;
    let demanding = verifier.keep.is_some();
    let mut config = ClientConfig::builder_with_provider(provider()?)
        .with_protocol_versions(&[&TLS13])
        .map_err(setting)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(shared.identity.clone()));
    config.alpn_protocols = alpn(&peer.alpn);
    if demanding {
        // A resumed session proves what its first handshake proved. For a Keep that has to be true
        // now, so it shows its certificate each time.
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

/// The configuration for a listening socket.
pub(crate) fn server(shared: &Shared, listen: &Listen) -> Result<ServerConfig, NetError> {
    if !shared.identity.is_installed() {
        return Err(NetError::NoIdentity);
    }
    let provider = provider()?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(setting)?;
    let resolver = Arc::new(shared.identity.clone());
    let mut config = if listen.client_auth == ClientAuth::None {
        builder.with_no_client_auth().with_cert_resolver(resolver)
    } else {
        let mandatory = listen.client_auth == ClientAuth::Required;
        let verifier =
            verifier(shared, &listen.trust, Scope::Workload, Role::Client { mandatory })?;
        builder.with_client_cert_verifier(Arc::new(verifier)).with_cert_resolver(resolver)
    };
    config.alpn_protocols = alpn(&listen.alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if listen.client_auth == ClientAuth::None {
        // Keys of this socket's own, made here and changed every few hours; nothing is kept about a
        // client. Without early data, which could be played again (RFC 8446 §8).
        config.ticketer = rustls_graviola::Ticketer::new().map_err(setting)?;
        config.send_tls13_tickets = 1;
    } else {
        // As for servers above: a client's certificate is looked at each time.
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

/// What the peer is.
#[derive(Debug, Clone, Copy)]
enum Role<'a> {
    Server(&'a Peer),
    Client { mandatory: bool },
}

fn verifier(
    shared: &Shared,
    trust: &Trust,
    scope: Scope,
    role: Role<'_>,
) -> Result<PeerVerifier, NetError> {
    let provider = provider()?;
    let mut keep_roots: Vec<Vec<u8>> = Vec::new();
    let mut web_roots = RootCertStore::empty();
    let mut missing = None;
    for root in &trust.roots {
        match root {
            Root::System if scope == Scope::Workload => {
                web_roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
            }
            Root::System => {
                if shared.network.system_roots {
                    web_roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                }
                for root in &shared.network.roots {
                    add(&mut web_roots, root, "system")?;
                }
            }
            Root::Steward => {
                let roots = steward_roots(shared);
                if roots.is_empty() {
                    missing = Some("steward".to_owned());
                }
                keep_roots.extend(roots);
            }
            Root::File(name) => {
                for root in file_roots(shared, name)? {
                    add(&mut web_roots, &root, name)?;
                    keep_roots.push(root);
                }
            }
        }
    }
    if trust.demands_keep() {
        web_roots = RootCertStore::empty();
    }
    if keep_roots.is_empty() && web_roots.is_empty() {
        let why = "the Keep knows none, so that nobody could be trusted".to_owned();
        return Err(NetError::Roots { which: missing.unwrap_or_else(|| "system".into()), why });
    }

    let hints = keep_roots
        .iter()
        .filter_map(|root| Certificate::parse(root).ok().map(|root| root.subject.to_vec().into()))
        .chain(web_roots.subjects())
        .collect();
    let keep = keep_verifier(keep_roots, trust, role)?;
    let (mut server, mut client) = (None, None);
    if !web_roots.is_empty() {
        let roots = Arc::new(web_roots);
        let refused = |error: rustls::server::VerifierBuilderError| {
            NetError::Setting(format!("the roots cannot be used: {error}"))
        };
        match role {
            Role::Server(_) => {
                let builder =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
                server = Some(builder.build().map_err(refused)?);
            }
            Role::Client { .. } => {
                let builder =
                    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
                client = Some(builder.build().map_err(refused)?);
            }
        }
    }
    let mandatory = matches!(role, Role::Client { mandatory: true });
    // The public authorities are too many to be shown to every client.
    let hints = if matches!(role, Role::Client { .. }) { hints } else { Vec::new() };
    Ok(PeerVerifier { keep, server, client, hints, mandatory, provider })
}

fn keep_verifier(
    roots: Vec<Vec<u8>>,
    trust: &Trust,
    role: Role<'_>,
) -> Result<Option<KeepVerifier>, NetError> {
    if roots.is_empty() {
        return Ok(None);
    }
    let mut demands = Demands::new();
    if !trust.measurements.is_empty() {
        demands = demands.measurements(trust.measurements.iter().cloned());
    }
    if !trust.workloads.is_empty() {
        demands = demands.workloads(trust.workloads.iter().cloned());
    }
    if trust.allow_development {
        demands = demands.allow_development();
    }
    // Who pins what a Keep is need not also know what it is called.
    let names = match role {
        Role::Server(peer) if trust.demands_keep() && peer.server_name.is_none() => Names::Ignored,
        _ => Names::Required,
    };
    KeepVerifier::new(roots, demands, Arc::new(Graviola), provider()?)
        .map(|verifier| Some(verifier.names(names)))
        .map_err(|error| NetError::Roots { which: "steward".into(), why: error.to_string() })
}

/// The roots of the Steward from which this Keep has its certificate.
///
/// The launch may name several, and the launch is the host's word. Only those to which our own
/// certificate leads count for peers: that certificate was shown to whoever released the workload,
/// and a host cannot add a Steward of its own beside the one that was believed there.
fn steward_roots(shared: &Shared) -> Vec<Vec<u8>> {
    let roots = &shared.network.steward_roots;
    let Some(current) = shared.identity.current().filter(|current| !current.self_signed) else {
        return roots.clone();
    };
    let ours: Vec<Certificate<'_>> =
        current.key.cert.iter().filter_map(|one| Certificate::parse(one).ok()).collect();
    let leads_to = |root: &&Vec<u8>| {
        Certificate::parse(root)
            .is_ok_and(|root| ours.iter().any(|one| one.check_issued_by(&Graviola, &root).is_ok()))
    };
    roots.iter().filter(leads_to).cloned().collect()
}

/// The certificates of a file beside Enarx.toml, DER.
fn file_roots(shared: &Shared, name: &str) -> Result<Vec<Vec<u8>>, NetError> {
    let refused = |why: String| NetError::Roots { which: name.to_owned(), why };
    let (_, content) = shared
        .files
        .iter()
        .find(|(other, _)| other == name)
        .ok_or_else(|| refused("there is no such file beside Enarx.toml".into()))?;
    let roots: Vec<Vec<u8>> = evidence_pki::certificates(content)
        .map_err(|error| refused(error.to_string()))?
        .into_iter()
        .map(|root| root.into_owned())
        .collect();
    if roots.is_empty() { Err(refused("the file has no certificate".into())) } else { Ok(roots) }
}

fn add(store: &mut RootCertStore, root: &[u8], which: &str) -> Result<(), NetError> {
    store
        .add(CertificateDer::from(root))
        .map_err(|error| NetError::Roots { which: which.to_owned(), why: error.to_string() })
}

fn alpn(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

fn setting(error: impl core::fmt::Display) -> NetError {
    NetError::Setting(format!("TLS cannot be set up: {error}"))
}

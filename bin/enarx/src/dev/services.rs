// SPDX-License-Identifier: Apache-2.0

//! Steward, Drawbridge and OpenID Connect issuer in this process, on the loopback interface.
//!
//! They are the real services with real TLS between them. What makes them fit for development only is
//! the Steward's policy, which takes evidence under the development root, and an issuer that asks
//! nobody for a password.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use command_line::OrExit;
use drawbridge_server::{Config, Oidc, Server, Tls};
use evidence_development::Root;
use keep_backend::{BackendError, Program};
use oidc_issuer::{Handle, Issuer};
use steward_policy::Policy;
use steward_service::{Limits, Listening, Service, Setup};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::backends;
use crate::dev::authority::Authority;
use crate::exit::{Code, Failure};

/// The name in all certificates, and in all URLs.
const HOST: &str = "localhost";
/// So long may what has begun take to finish.
const GRACE: Duration = Duration::from_secs(15);
/// What a token of the issuer may be used for.
pub(crate) const SCOPES: [&str; 9] = [
    "read:drawbridge_users",
    "write:drawbridge_users",
    "manage:drawbridge_users",
    "read:drawbridge_repositories",
    "write:drawbridge_repositories",
    "manage:drawbridge_repositories",
    "read:drawbridge_tags",
    "write:drawbridge_tags",
    "manage:drawbridge_tags",
];

/// What is to be started.
pub(crate) struct Options<'a> {
    /// Where everything is kept; closed to others.
    pub(crate) folder: &'a Path,
    /// The root under which evidence counts.
    pub(crate) root: &'a Root,
    /// The measurements of Keeps that get certificates.
    pub(crate) measurements: Vec<String>,
    /// Whose evidence counts: the section of the Steward's policy.
    pub(crate) section: Section,
    pub(crate) steward_port: u16,
    pub(crate) drawbridge_port: u16,
    pub(crate) oidc_port: u16,
    /// Who is logged in by the issuer.
    pub(crate) user: &'a str,
}

/// A section of the Steward's policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// Under the development root.
    Development,
    /// AMD's.
    Snp,
    /// Intel's. What Intel thinks of the platform is shown, and not decided upon, unless it is revoked.
    Sgx,
}

/// Services that run until [`Services::stop`].
pub(crate) struct Services {
    /// URL of the Steward.
    pub(crate) steward: String,
    /// The Drawbridge, `host:port`.
    pub(crate) drawbridge: String,
    /// What tokens for the Drawbridge have as their audience.
    pub(crate) audience: String,
    pub(crate) issuer: Handle,
    /// The Steward's root, PEM, and its file.
    pub(crate) steward_root: String,
    pub(crate) steward_ca: PathBuf,
    /// The root of the services' TLS, PEM, and its file.
    pub(crate) tls_root: String,
    pub(crate) ca_bundle: PathBuf,
    /// What the Drawbridge holds.
    pub(crate) store: PathBuf,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Result<(), String>>>,
}

impl Services {
    /// Starts all of them. Has to be called within a Tokio runtime.
    pub(crate) async fn start(options: Options<'_>) -> Result<Self, Failure> {
        let folder = options.folder;
        let tls = Authority::open(&folder.join("tls"), "Enarx development TLS")?;
        let steward = Authority::open(&folder.join("steward"), "Enarx development Steward")?;
        let (stop, stopped) = watch::channel(false);
        let ended = |mut stopped: watch::Receiver<bool>| async move {
            // An error says that nobody is left who could stop it.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let mut tasks: Vec<JoinHandle<Result<(), String>>> = Vec::new();

        let listening = Listening::new(Ipv4Addr::LOCALHOST.into(), options.steward_port)
            .or_exit_with(Code::Failed, || "cannot listen for the Steward")?;
        let port = listening.address().context("the Steward has no address")?.port();
        let steward_url = format!("https://{HOST}:{port}");
        let service = Service::new(steward_setup(&steward, &steward_url, &options)?)
            .or_exit_with(Code::Failed, || "cannot make the Steward")?;
        let (chain, key) = tls.server("Enarx development Steward")?;
        let config = steward_service::server_config(&chain, &key)
            .or_exit_with(Code::Failed, || "cannot make the Steward's TLS")?;
        let until = ended(stopped.clone());
        tasks.push(tokio::spawn(async move {
            steward_service::serve(service, listening, Some(config), until)
                .await
                .map_err(|error| format!("the Steward ended: {error}"))
        }));

        let (chain, key) = tls.server("Enarx development issuer")?;
        let config = steward_service::server_config(&chain, &key)
            .or_exit_with(Code::Failed, || "cannot make the issuer's TLS")?;
        let issuer = Issuer::start(oidc_issuer::Config {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, options.oidc_port)),
            tls: Some(oidc_issuer::Tls { config, host: HOST.into() }),
            auto_approve: Some(options.user.to_owned()),
            token_lifetime: Duration::from_secs(12 * 3600),
            ..oidc_issuer::Config::default()
        })
        .await
        .or_exit_with(Code::Failed, || "cannot start the OpenID Connect issuer")?;

        let store = folder.join("drawbridge");
        command_line::files::create_folder::<Code>(&store)?;
        let (chain, key) = tls.server("Enarx development Drawbridge")?;
        // Tokens name the Drawbridge by its URL, so its port has to be known before it listens.
        let port = match options.drawbridge_port {
            0 => free_port()?,
            port => port,
        };
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let audience = format!("https://{HOST}:{port}/");
        let mut config = Config::new(store.to_string_lossy(), listen);
        config.tls = Some(Tls { certificates: chain, key: key.to_vec() });
        config.oidc = Some(Oidc {
            issuer: issuer.url().to_owned(),
            audience: audience.clone(),
            roots: tls.root_pem().into_bytes(),
        });
        let server = Server::new(config)
            .await
            .or_exit_with(Code::Failed, || "cannot start the Drawbridge")?;
        let drawbridge = format!("{HOST}:{}", server.address().port());
        let until = ended(stopped);
        tasks.push(tokio::spawn(async move {
            server.serve(until).await.map_err(|error| format!("the Drawbridge ended: {error}"))
        }));
        Ok(Self {
            steward: steward_url,
            drawbridge,
            audience,
            issuer,
            steward_root: steward.root_pem(),
            steward_ca: folder.join("steward").join("root.crt"),
            tls_root: tls.root_pem(),
            ca_bundle: folder.join("tls").join("root.crt"),
            store,
            stop,
            tasks,
        })
    }

    /// A token that the Drawbridge takes for everything that is `user`'s.
    pub(crate) fn token(&self, user: &str) -> String {
        self.issuer.mint(user, &self.audience, &SCOPES)
    }

    /// Ends all of them, and waits until what has begun is finished.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let _ = self.stop.send(true);
        self.issuer.shutdown().await;
        for task in self.tasks {
            match timeout(GRACE, task).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(message))) => return Err(Failure::msg(Code::Failed, message)),
                Ok(Err(panic)) => return Err(anyhow!(panic).context("a service failed").into()),
                Err(_) => command_line::warn("a service did not end in time"),
            }
        }
        Ok(())
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, Failure> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port")?;
    Ok(socket.local_addr().context("there is no free port")?.port())
}

fn steward_setup(
    authority: &Authority,
    url: &str,
    options: &Options<'_>,
) -> Result<Setup, Failure> {
    let root = options.root.certificate_pem().context("cannot write the development root")?;
    let text = match options.section {
        Section::Development => policy(&root, &options.measurements),
        Section::Snp => on_hardware("snp", &options.measurements),
        Section::Sgx => on_hardware("sgx", &options.measurements) + SGX_STATUSES,
    };
    let policy = Policy::parse(&text)
        .map_err(|error| Failure::msg(Code::Failed, error.in_file("the development policy")))?;
    Ok(Setup {
        chain: authority.chain.clone(),
        signer: Box::new(authority.signer()?),
        nonce_key: steward_service::nonce_key(authority.secret()),
        policy,
        public_url: Some(url.to_owned()),
        endorsements: evidence_claims::Endorsements::new(),
        development: true,
        limits: Limits::default(),
    })
}

/// Keeps with one of these measurements, by evidence under that root, may call themselves `localhost`.
pub(crate) fn policy(root: &str, measurements: &[String]) -> String {
    let root = root.replace('\r', "");
    on_hardware("development", measurements) + &format!("root = \"\"\"\n{root}\"\"\"\n")
}

/// As [`policy`], by evidence that a vendor's root vouches for, or whatever the section still says.
fn on_hardware(section: &str, measurements: &[String]) -> String {
    let hashes: Vec<String> = measurements.iter().map(|digest| format!("{digest:?}")).collect();
    format!(
        "[certificate]\nlifetime = \"1h\"\ndns_names = [\"{HOST}\"]\n\n[{section}]\nhash = [{}]\n",
        hashes.join(", "),
    )
}

/// All but `Revoked`.
const SGX_STATUSES: &str = "accepted_tcb_statuses = [\"UpToDate\", \"SWHardeningNeeded\", \
    \"ConfigurationNeeded\", \"ConfigurationAndSWHardeningNeeded\", \"OutOfDate\", \
    \"OutOfDateConfigurationNeeded\"]\n";

/// The measurements of both programs' Keeps, of all backends of this build or of one.
pub(crate) fn measurements(backend: Option<&str>) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for one in backends::all() {
        // Hardware makes no evidence under a development root.
        if one.is_confidential() || backend.is_some_and(|name| name != one.name()) {
            continue;
        }
        for program in Program::ALL {
            match one.measure(program) {
                Ok(measurement) => found.push(measurement.digest),
                Err(BackendError::Unsupported(_)) => {}
                Err(error) => return Err(crate::agent::backend_failure(error)),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use steward_service::clock;

    use super::*;

    #[test]
    fn the_policy_names_root_and_measurements() {
        let root = Root::create(clock::now(), Duration::from_secs(60)).unwrap();
        let text = policy(&root.certificate_pem().unwrap(), &["ab".repeat(48), "cd".repeat(48)]);
        let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(policy.development_roots(), [root.certificate_der().to_vec()]);
        let explained = policy.explain().join("\n");
        assert!(explained.contains("one of 2 (abababababababab…"), "{explained}");
    }

    #[test]
    fn policies_for_hardware_are_understood() {
        for text in [
            on_hardware("snp", &["ab".repeat(48)]),
            on_hardware("sgx", &["ab".repeat(32)]) + SGX_STATUSES,
        ] {
            Policy::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        }
    }

    #[test]
    fn hardware_gets_no_development_certificates() {
        // The measurements are those of its stand-ins, so that it is the platform that tells them apart.
        for name in ["snp", "sgx"] {
            assert!(measurements(Some(name)).unwrap().is_empty());
        }
        assert!(!measurements(Some("kvm")).unwrap().is_empty());
    }
}

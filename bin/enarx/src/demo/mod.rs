// SPDX-License-Identifier: Apache-2.0

//! `enarx demo`: the whole flow on this machine, what it proves, and attacks that fail.
//!
//! Nothing is staged: services, Keeps and TLS are the ones of every other command, on the loopback
//! interface and in a temporary folder. An attack that succeeds is an error of this command.

mod client;
mod screen;
mod tamper;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use command_line::hex;
use drawbridge_client::{Client, Package};
use drawbridge_types::{API_VERSION, Release, Repository, Slug, UserRecord, file};
use evidence_crypto::{AwsLc, Crypto};
use evidence_development::Root;
use keep_backend::{Backend, Program};
use keep_launch::{Event, Refusal, Report};
use serde_json::json;
use steward_relying_party::Demands;
use steward_service::clock;
use tokio::runtime::Runtime;

use crate::agent::{self, Happening, Progress, Watch, step_name};
use crate::backends::{self, Choice};
use crate::cli::{DemoArgs, TrustArgs};
use crate::deploy::{Deployment, Workload};
use crate::dev;
use crate::dev::services::{Options, Section, Services, free_port};
use crate::exit::{Code, Failure};
use client::Answer;
use screen::Screen;
use tamper::{Changed, Flipped};

/// The sample workload, in text form, which needs no compiler to be here.
const MODULE: &str = include_str!("../../../../examples/web/web.wat");
const USER: &str = "demo";
const REPO: &str = "web";
const TAG: &str = "1.0.0";
/// Memory of the Keep.
const MEMORY: u64 = 1 << 30;
/// A deployment has so long until the workload runs.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let screen = Screen::new(args.json);
    let Choice { backend, .. } = backends::choose_for_development(args.backend.as_deref())?;
    if backend.is_confidential() {
        let message = "the demonstration makes its own root, under which hardware has no evidence";
        return Err(Failure::msg(Code::Usage, message)
            .help("name a backend that is none, or `enarx deploy` on this one"));
    }
    // Before any other thread, so that all of them leave signals to it.
    let watch = Watch::start()?;
    let folder = tempfile::Builder::new()
        .prefix("enarx-demo-")
        .tempdir()
        .context("cannot make a temporary folder")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let stage = Stage::set(&screen, &runtime, &watch, backend, folder.path())?;
    let result = stage.play(args);
    let stopped = runtime.block_on(stage.services.stop());
    match (result, watch.signal()) {
        (Err(_), Some(signal)) => Err(Failure::by_signal(signal)),
        (result, _) => result.and(stopped),
    }
}

/// Everything that stands before the workload comes.
struct Stage<'a> {
    screen: &'a Screen,
    watch: &'a Watch,
    backend: Arc<dyn Backend>,
    root: Arc<Root>,
    services: Services,
    /// Whom the Keep, and the host agent, trust.
    trust: TrustArgs,
    slug: Slug,
    /// The digest as the tenant reckoned it, before anybody else saw the workload.
    digest: String,
    /// The module in binary form.
    wasm: Vec<u8>,
    /// Where the workload is to listen.
    port: u16,
    measurement: String,
}

impl<'a> Stage<'a> {
    fn set(
        screen: &'a Screen,
        runtime: &'a Runtime,
        watch: &'a Watch,
        backend: Arc<dyn Backend>,
        folder: &Path,
    ) -> Result<Self, Failure> {
        let name = backend.name();
        screen.part("Setting up");
        screen.say(
            &format!("{name} is the backend; it {}", protection(&*backend)),
            &json!({
                "event": "backend", "backend": name, "confidential": backend.is_confidential(),
            }),
        );
        let start = Instant::now();
        let root = Arc::new(dev::create_root(folder)?);
        screen.done(
            "development root",
            "signs evidence for Keeps without protected hardware; it proves nothing",
            start.elapsed(),
        );

        let start = Instant::now();
        let measure = |program| {
            backend.measure(program).map(|one| one.digest).map_err(agent::backend_failure)
        };
        let (measurement, compiler) = (measure(Program::Runtime)?, measure(Program::Compiler)?);
        screen.done("measurement of the runtime Keep", &measurement, start.elapsed());

        let start = Instant::now();
        let services = runtime.block_on(Services::start(Options {
            folder,
            root: &root,
            measurements: vec![measurement.clone(), compiler.clone()],
            section: Section::Development,
            steward_port: 0,
            drawbridge_port: 0,
            oidc_port: 0,
            user: USER,
        }))?;
        let (steward, drawbridge) = (services.steward.clone(), services.drawbridge.clone());
        screen.done("Steward", &steward, start.elapsed());
        screen.done("Drawbridge", &format!("https://{drawbridge}"), start.elapsed());
        screen.done("OpenID Connect issuer", services.issuer.url(), start.elapsed());

        let start = Instant::now();
        let wasm = wat::parse_str(MODULE).context("the sample workload is not valid")?;
        let port = free_port()?;
        let workload = folder.join("workload");
        fs::create_dir(&workload)
            .and_then(|()| fs::write(workload.join(file::WASM), &wasm))
            .and_then(|()| fs::write(workload.join(file::CONFIG), config(port, &compiler)))
            .context("cannot write the sample workload")?;
        let package = Package::from_path(&workload)?;
        let digest = package.digest();
        let text = format!("{drawbridge}/{USER}/{REPO}:{TAG}");
        let slug: Slug = text.parse().context("the name of the sample workload")?;
        let stage = Self {
            trust: TrustArgs {
                steward_ca: Some(services.steward_ca.clone()),
                ca_bundle: Some(services.ca_bundle.clone()),
            },
            screen,
            watch,
            backend,
            root,
            services,
            slug,
            digest,
            wasm,
            port,
            measurement,
        };
        // Whatever fails from here on, services are ended by their runtime.
        runtime.block_on(stage.publish(&package))?;
        screen.done("workload published", &format!("{text}, {}", stage.digest), start.elapsed());
        Ok(stage)
    }

    /// Publishes as a tenant does: logged in, with a policy who gets it.
    async fn publish(&self, package: &Package) -> Result<(), Failure> {
        let services = &self.services;
        let client = Client::builder(services.drawbridge.clone())
            .ca_bundle(services.tls_root.clone())
            .token(services.token(USER))
            .build()?;
        let (user, repo) = (&self.slug.user, &self.slug.repo);
        client.create_user(user, &UserRecord { subject: USER.into() }).await?;
        let release = Release {
            steward: services.steward.clone(),
            roots: services.steward_root.clone(),
            platforms: Vec::new(),
            measurements: vec![self.measurement.clone()],
            signers: Vec::new(),
            tcb_statuses: Vec::new(),
            allow_development: true,
            max_age: Some(600),
        };
        let repository = Repository { release: Some(release), ..Repository::default() };
        client.create_repository(user, repo, &repository).await?;
        client.publish(&self.slug, package, &Default::default(), &()).await?;
        Ok(())
    }

    fn play(&self, args: &DemoArgs) -> Result<(), Failure> {
        self.screen.part("Deploying");
        let mut keep = self.deploy()?;
        let address = keep.wait(self.screen)?;

        self.screen.part("What a client with one root can know");
        let steward_roots = agent::certificates(&self.services.steward_ca)?;
        let answer = client::get(address, "/", &steward_roots)
            .context("the workload does not answer a plain HTTPS client")?;
        self.prove(&answer, &steward_roots)?;

        self.screen.part("Attacks");
        self.flipped_bit()?;
        self.other_kernel()?;
        self.no_certificate()?;

        if args.keep_running {
            self.screen.part("Still running, until Ctrl-C");
            let curl = format!(
                "curl --cacert {} https://localhost:{}/",
                self.services.steward_ca.display(),
                self.port
            );
            self.screen.say(&curl, &json!({ "event": "running", "curl": curl }));
            return keep.end_by_itself();
        }
        keep.end();
        self.screen.part("Everything that was to be refused was refused.");
        self.screen.say(
            "`enarx demo --keep-running` leaves it all up for curl.",
            &json!({ "event": "end" }),
        );
        Ok(())
    }

    /// Steps 1 to 3.
    fn workload(&self, progress: &Progress) -> Result<Workload, Failure> {
        progress.step(1, format!("asked for {}@{}", self.slug, self.digest));
        let roots = self.services.tls_root.clone().into_bytes();
        let pinned = drawbridge_types::ContentDigest::from_workload(&self.digest)?;
        let host = &self.services.drawbridge;
        Workload::in_drawbridge(&self.slug, host, Some(roots), Some(pinned), progress)
    }

    fn deployment(
        &self,
        backend: Arc<dyn Backend>,
        progress: Progress,
    ) -> Result<Deployment, Failure> {
        let evidence = agent::source(&backend, Program::Runtime, Some(&self.root));
        let workload = self.workload(&progress)?;
        Ok(Deployment {
            backend,
            evidence,
            root: Some(Arc::clone(&self.root)),
            slug: workload.slug,
            digest: workload.digest,
            source: workload.source,
            seeds: workload.seeds,
            steward: workload.steward,
            network: agent::network(&self.trust)?,
            memory: MEMORY,
            processors: 1,
            timeout: None,
            stdio: [None, None, None],
            progress,
            signatures: None,
        })
    }

    /// Starts the Keep that stays.
    fn deploy(&self) -> Result<Running, Failure> {
        let (telling, happenings) = mpsc::channel();
        let progress = Progress::new(move |at, happening| {
            let _ = telling.send((at, happening.clone()));
        });
        let deployment = self.deployment(Arc::clone(&self.backend), progress)?;
        let (watch, ending) = (self.watch.clone(), Arc::new(Mutex::new(None)));
        let end = Arc::clone(&ending);
        let keep = thread::Builder::new()
            .name("keep".into())
            .spawn(move || {
                let launched = |guard: &agent::Guard| {
                    let mut place = ending.lock().unwrap_or_else(PoisonError::into_inner);
                    *place = Some(guard.handle());
                };
                deployment.run(&watch, launched)
            })
            .context("cannot start a thread")?;
        Ok(Running { keep: Some(keep), happenings, end })
    }

    /// What was proven, and by what.
    fn prove(&self, answer: &Answer, roots: &[Vec<u8>]) -> Result<(), Failure> {
        let screen = self.screen;
        let leaf = answer.chain.first().context("the server showed no certificate")?;
        let others: Vec<&[u8]> = answer.chain.iter().skip(1).map(Vec::as_slice).collect();
        let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
        let fingerprint = roots.first().map(|root| hex(&AwsLc.sha256(&[root])));
        let measurement = command_line::unhex(&self.measurement).unwrap_or_default();
        // As a peer demands it that knows more than TLS: which code, which workload.
        let demands = Demands::new()
            .allow_development()
            .measurements([measurement])
            .workloads([self.digest.clone()])
            .fresh();
        let claims =
            steward_relying_party::check(leaf, &others, &demands, clock::now(), &AwsLc, &roots)
                .context("the certificate of the workload is not what it has to be")?;
        if answer.status != 200 {
            return Err(anyhow!("the workload answered with status {}", answer.status).into());
        }
        screen.done("TLS handshake", &answer.tls, answer.handshake);
        let size = format!("{} bytes of \"{}\"", answer.body.len(), title(&answer.body));
        screen.done("GET /", &size, answer.exchange);
        screen.proven(
            "the answer came from whoever has the key of this certificate",
            "the TLS handshake",
        );
        screen.proven(
            "the certificate was issued by the Steward",
            &format!(
                "its chain, to the root {}…",
                fingerprint.as_deref().and_then(|text| text.get(..16)).unwrap_or_default()
            ),
        );
        screen.proven(
            &format!("the key was made in a Keep that measures {}…", short(&self.measurement)),
            &format!("{} evidence over key and nonce, which the Steward verified", claims.platform),
        );
        screen.proven(
            &format!("that Keep runs {}…", short(&self.digest)),
            "the same evidence: the digest is bound to it, and the Keep runs nothing else",
        );
        screen.proven(
            "nobody but such a Keep got the workload",
            "the Drawbridge's release policy, held against that certificate",
        );
        if claims.platform == "development" {
            screen.say(
                "  (development evidence is signed by this program itself: on hardware, the \
                 processor signs it)",
                &json!({ "event": "note", "platform": claims.platform }),
            );
        }
        Ok(())
    }

    /// The Drawbridge's disk is somebody else's: one bit of the module is flipped.
    fn flipped_bit(&self) -> Result<(), Failure> {
        let _flipped = Flipped::new(&self.services.store, &self.wasm)?;
        let start = Instant::now();
        let (reason, message) = self.refused(Arc::clone(&self.backend))?;
        let by = match reason {
            Refusal::Workload => "the Keep, before a byte of it ran",
            Refusal::Drawbridge => "the Drawbridge, and the Keep ran nothing",
            _ => return Err(wrong("a workload with one flipped bit", &message)),
        };
        let what = "a workload with one flipped bit, in the Drawbridge's store";
        self.screen.attack("flipped-bit", what, by, &message, start.elapsed());
        Ok(())
    }

    /// The host starts a Keep with another kernel.
    fn other_kernel(&self) -> Result<(), Failure> {
        let changed = Changed::new(self.backend.name())?;
        let what = format!("a Keep with {} changed", changed.what());
        let start = Instant::now();
        let (reason, message) = self.refused(Arc::new(changed))?;
        match reason {
            Refusal::Steward => {}
            _ => return Err(wrong(&what, &message)),
        }
        let by = "the Steward, whose policy lists other measurements";
        self.screen.attack("other-kernel", &what, by, &message, start.elapsed());
        Ok(())
    }

    /// Somebody without a certificate asks the Drawbridge.
    fn no_certificate(&self) -> Result<(), Failure> {
        let port = self.services.drawbridge.rsplit(':').next().and_then(|port| port.parse().ok());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or_default()));
        let roots = agent::certificates(&self.services.ca_bundle)?;
        let path = format!("/api/v{API_VERSION}/{USER}/{REPO}/_tag/{TAG}/tree/{}", file::WASM);
        let start = Instant::now();
        let answer = client::get(address, &path, &roots)?;
        let what = "a client without certificate asks the Drawbridge for the workload";
        let leaked = answer.body.windows(16).any(|part| self.wasm.windows(16).any(|w| w == part));
        if !matches!(answer.status, 401 | 403 | 404) || leaked {
            let status = format!("it answered with status {}", answer.status);
            return Err(wrong(what, &status));
        }
        let problem: drawbridge_types::Problem =
            serde_json::from_slice(&answer.body).context("the Drawbridge gave no reason")?;
        let why = format!("{} (status {}, {})", problem.detail, answer.status, problem.code);
        self.screen.attack("no-certificate", what, "the Drawbridge", &why, start.elapsed());
        Ok(())
    }

    /// A deployment that has to be refused: why, for a program and for a person.
    fn refused(&self, backend: Arc<dyn Backend>) -> Result<(Refusal, String), Failure> {
        let quiet = Progress::new(|_, _| {});
        let mut deployment = self.deployment(backend, quiet)?;
        deployment.timeout = Some(PATIENCE);
        match deployment.run(self.watch, |_| {})? {
            Report::Refused { reason, message } => Ok((reason, message)),
            other => Err(wrong("an attack", &format!("{other:?}"))),
        }
    }
}

/// The Keep that stays.
struct Running {
    /// Until it is joined.
    keep: Option<JoinHandle<Result<Report, Failure>>>,
    happenings: Receiver<(Duration, Happening)>,
    end: Arc<Mutex<Option<agent::Ender>>>,
}

impl Running {
    /// Shows the steps until the workload runs and listens; where.
    fn wait(&mut self, screen: &Screen) -> Result<SocketAddr, Failure> {
        let (mut last, mut listens, mut runs) = (Duration::ZERO, None, false);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let (Some(address), true) = (listens, runs) {
                return Ok(address);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let (at, happening) = match self.happenings.recv_timeout(left) {
                Ok(happened) => happened,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(anyhow!("the workload did not run within {PATIENCE:?}").into());
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(self.why()),
            };
            match happening {
                Happening::Keep(Event::Step { number, detail }) => {
                    let detail = agent::printable(&detail);
                    let took = at.saturating_sub(last);
                    screen.step(number, step_name(number), &detail, at, took);
                    last = at;
                    runs |= number == 13;
                }
                Happening::Keep(Event::Listening { address, .. }) => {
                    listens = Some(address.parse().context("the workload listens at no address")?);
                }
                Happening::Keep(Event::Warning { message }) => {
                    let message = agent::printable(&message);
                    screen.say(
                        &format!("warning: {message}"),
                        &json!({ "event": "warning", "message": message }),
                    );
                }
                Happening::Compiler => {
                    screen.say(
                        "    a compiler Keep starts, to compile it for this one",
                        &json!({ "event": "compiler" }),
                    );
                }
                _ => {}
            }
        }
    }

    /// Why it ended, although it should not have.
    fn why(&mut self) -> Failure {
        match self.join() {
            Ok(report) => match agent::conclude(report, REPO) {
                Ok(_) => Failure::msg(Code::Keep, "the workload ended before it could be used"),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        }
    }

    fn join(&mut self) -> Result<Report, Failure> {
        match self.keep.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(anyhow!("the thread of the Keep failed").into()),
        }
    }

    /// Ends it.
    fn end(mut self) {
        if let Some(end) = &*self.end.lock().unwrap_or_else(PoisonError::into_inner) {
            end.end();
        }
        let _ = self.join();
    }

    /// Waits until it ends, which is when a signal comes.
    fn end_by_itself(mut self) -> Result<(), Failure> {
        agent::conclude(self.join()?, REPO).map(drop)
    }
}

/// An attack that was not refused, or not by whom it had to be.
fn wrong(what: &str, found: &str) -> Failure {
    Failure::with_causes(Code::Failed, format!("{what} was not refused as it has to be"), found)
}

fn protection(backend: &dyn Backend) -> &'static str {
    match backend.is_confidential() {
        true => "keeps the host out",
        false => "does not keep the host out of the Keep",
    }
}

/// Enough of a digest to tell it from others on a screen.
fn short(digest: &str) -> &str {
    digest.get(..24).unwrap_or(digest)
}

/// What is in the page's title.
fn title(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let title = text.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    title.map(|(title, _)| agent::printable(title)).unwrap_or_default()
}

/// The workload's configuration: where it listens, and who may compile it.
fn config(port: u16, compiler: &str) -> String {
    format!(
        "files = [\n  {{ kind = \"null\", name = \"in\" }},\n  {{ kind = \"null\", name = \"out\" }},\n  \
         {{ kind = \"null\", name = \"err\" }},\n  \
         {{ kind = \"listen\", name = \"web\", addr = \"127.0.0.1\", port = {port} }},\n]\n\n\
         [compiler]\nmeasurements = [\"{compiler}\"]\nallow_development = true\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_workload_is_valid() {
        assert!(wat::parse_str(MODULE).unwrap().starts_with(b"\0asm"));
        let config = enarx_config::Config::parse(&config(4433, &"ab".repeat(48)), "Enarx.toml");
        let config = config.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(config.networking().map(|(fd, _)| fd).collect::<Vec<_>>(), [3]);
        assert_eq!(config.compiler.measurements, [[0xab; 48]]);
    }

    #[test]
    fn titles_are_found() {
        assert_eq!(title(b"<html><title>A Keep</title>"), "A Keep");
        assert_eq!(title(b"nothing"), "");
    }
}

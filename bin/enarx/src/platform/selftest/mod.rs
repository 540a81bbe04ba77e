// SPDX-License-Identifier: Apache-2.0

//! `enarx platform selftest`: everything that can be said of this machine's backends by trying it.
//!
//! Some backends have never met their hardware in development. Who has it confirms with one command what the
//! documentation claims, and gets a report that can go into an issue. Each backend that works here deploys a
//! small workload with real services on the loopback interface: a Steward whose policy lists the very
//! measurements that are computed offline, so that a certificate is a proof that launch and offline measurement
//! agree, and that the evidence of the processor is verified down to the vendor's root.
//!
//! The report names the processor's model, and nothing of this machine beyond: no chip's id, no address, no
//! key, no path.

mod report;

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueHint};
use command_line::files::{self, Access};
use command_line::{hex, print};
use drawbridge_client::Package;
use drawbridge_types::file;
use evidence_crypto::AwsLc;
use evidence_development::Root;
use keep_backend::{Backend, BackendError, Program, Seed, Spec, seed_name};
use keep_launch::{Event, Launch, Refusal, Report as Ended, Source};
use steward_relying_party::{CertificateClaims, Demands};
use steward_service::clock;
use tokio::runtime::Runtime;

use crate::agent::{self, Happening, Progress, Watch, step_name};
use crate::backends;
use crate::cli::TrustArgs;
use crate::deploy::Deployment;
use crate::dev;
use crate::dev::services::{Options, Section, Services};
use crate::exit::{Code, Failure};
use crate::hardware;
use report::{Check, Report, Tested};

/// A workload that proves no more than that it ran: it ends with the code [`CODE`].
const MODULE: &str = "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32))) \
    (memory (export \"memory\") 1) (func (export \"_start\") (call $exit (i32.const 42))))";
const CODE: i32 = 42;
/// A workload that also tells its key for sealing apart from others.
const SEALING: &str = include_str!("sealing.wat");
/// Memory of each Keep.
const MEMORY: u64 = 1 << 30;
/// A deployment has so long.
const PATIENCE: Duration = Duration::from_secs(180);

/// Try each kind of Keep that works here, and write a report about it
///
/// A small workload is deployed with a Steward of its own, on the loopback interface and in a temporary folder.
/// What is confirmed: the launch, that the processor measures what `enarx measure` prints, that evidence is
/// verified down to the vendor's root, that the workload runs and has a key for sealing of its own, and, where launches can be signed, that a wrong
/// signature is refused. On hardware the vendor's certificates have to be in the cache (`enarx platform snp
/// update`, `enarx platform sgx cache-tcb`). The report holds no secrets and does not identify this machine.
#[derive(Debug, Args)]
pub(crate) struct SelftestArgs {
    /// Only this kind of Keep; may be given several times. One that was named has to work
    #[arg(long = "backend", value_name = "NAME")]
    #[arg(value_parser = PossibleValuesParser::new(backends::NAMES))]
    backends: Vec<String>,

    /// Also write the report into a new file: JSON if its name ends in .json, else Markdown
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,
}

pub(super) fn run(args: &SelftestArgs) -> Result<(), Failure> {
    if let Some(path) = &args.output {
        files::check_absent::<Code>(&[path])?;
    }
    // Before any other thread, so that all of them leave signals to it.
    let watch = Watch::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let is_named = |name: &str| args.backends.iter().any(|one| one == name);
    let mut report = Report::new(super::info::system());
    for name in backends::NAMES {
        let Some(backend) = backends::named(name, None) else { continue };
        if !args.backends.is_empty() && !is_named(name) {
            continue;
        }
        let tested = one(&runtime, &watch, Arc::from(backend), is_named(name));
        if let Some(signal) = watch.signal() {
            return Err(Failure::by_signal(signal));
        }
        if !args.json {
            print(&tested.text())?;
        }
        report.backends.push(tested);
    }
    if args.json {
        print(&format!("{:#}\n", report.json()))?;
    }
    if let Some(path) = &args.output {
        let as_json = path.extension().is_some_and(|end| end == "json");
        let text = if as_json { format!("{:#}\n", report.json()) } else { report.markdown() };
        files::create_all::<Code>(&[(path, text.as_bytes(), Access::Public)])?;
    }
    match report.pass() {
        true => Ok(()),
        false => Err(Failure::msg(Code::Failed, "not everything is as it has to be")
            .help("the report says what; with --output it goes into a file for an issue")),
    }
}

/// Tries one backend. `needed`: it was named, so that it has to work.
fn one(runtime: &Runtime, watch: &Watch, backend: Arc<dyn Backend>, needed: bool) -> Tested {
    let mut tested = Tested::new(&*backend, needed);
    if !tested.works() {
        return tested;
    }
    let mut trial = Trial { runtime, watch, backend, checks: Vec::new(), claims: None };
    // What failed is among the checks, and what depends on it is left out.
    let _ = trial.play();
    (tested.checks, tested.claims) = (trial.checks, trial.claims);
    tested
}

struct Trial<'a> {
    runtime: &'a Runtime,
    watch: &'a Watch,
    backend: Arc<dyn Backend>,
    checks: Vec<Check>,
    claims: Option<CertificateClaims>,
}

/// Services, the folder with their things, and the root of development evidence that they know.
#[derive(Clone, Copy)]
struct Place<'a> {
    services: &'a Services,
    folder: &'a Path,
    root: &'a Arc<Root>,
}

/// What is deployed.
struct Workload {
    module: &'static str,
    config: String,
    stdout: Option<File>,
}

impl Workload {
    fn new([compiler, _]: &[String; 2]) -> Self {
        Self { module: MODULE, config: config(compiler, "null"), stdout: None }
    }
}

/// What a deployment came to.
struct Deployed {
    claims: CertificateClaims,
    /// When steps were complete, from the first on.
    steps: Vec<(u8, Duration)>,
}

impl Trial<'_> {
    /// Does something that has to succeed, and notes it.
    fn check<T>(
        &mut self,
        name: &'static str,
        does: impl FnOnce(&Self) -> Result<(T, String), Failure>,
    ) -> Option<T> {
        let start = Instant::now();
        let (value, detail) = match does(self) {
            Ok((value, detail)) => (Some(value), detail),
            Err(failure) => (None, agent::printable(&failure.line())),
        };
        let (pass, took) = (value.is_some(), start.elapsed());
        self.checks.push(Check { name, pass, detail, took });
        value
    }

    fn play(&mut self) -> Option<()> {
        let digests = self.check("measurement", |trial| trial.measure())?;
        let deployed = self.check("deployment", |trial| {
            let deployed = trial.deploy(&digests, None)?;
            let steps = deployed.steps.iter().map(|(number, at)| {
                format!("{} {:.0} ms", step_name(*number), at.as_secs_f64() * 1000.0)
            });
            let detail = steps.collect::<Vec<_>>().join(", ");
            Ok((deployed, detail))
        });
        if let Some(deployed) = deployed {
            let claims = deployed.claims;
            self.check("evidence", |trial| trial.judge(&claims));
            self.claims = Some(claims);
        }
        self.check("sealing", |trial| trial.seal(&digests));
        if self.backend.takes_signatures() {
            let signed = self.check("signature", |trial| trial.sign())?;
            self.check("wrong signature", |trial| trial.refused(&signed));
            self.check("signed launch", |trial| {
                let deployed = trial.deploy(&digests, Some(signed.signatures.clone()))?;
                let found = deployed.claims.signer.as_deref().map(hex).unwrap_or_default();
                if found != signed.signer {
                    let message = format!("the evidence names the signer {found:?}");
                    return Err(Failure::msg(Code::Failed, message));
                }
                Ok(((), format!("signer {}", signed.signer)))
            });
        }
        Some(())
    }

    /// The digests of both programs; on hardware and its stand-ins by both ways to them.
    fn measure(&self) -> Result<([String; 2], String), Failure> {
        let mut digests = [String::new(), String::new()];
        for (to, program) in digests.iter_mut().zip(Program::ALL) {
            let measured = self.backend.measure(program).map_err(agent::backend_failure)?;
            if let Some(offline) = hardware::digest(self.backend.name(), program)?
                && offline != measured.digest
            {
                let message = format!(
                    "the {} measures {} for a launch here, and {offline} by `enarx measure`",
                    program.name(),
                    measured.digest
                );
                return Err(Failure::msg(Code::Failed, message));
            }
            *to = measured.digest;
        }
        let [compiler, runtime] = &digests;
        let detail = format!("runtime {runtime}, compiler {compiler}");
        Ok((digests, detail))
    }

    /// Deploys the workload, with a Steward whose policy lists these digests.
    fn deploy(
        &self,
        digests: &[String; 2],
        signatures: Option<keep_backend::Signatures>,
    ) -> Result<Deployed, Failure> {
        self.with_services(digests, |services| {
            self.deploy_with(services, &digests[1], Workload::new(digests), signatures)
        })
    }

    /// Does something with services of its own, which know these digests.
    fn with_services<T>(
        &self,
        digests: &[String; 2],
        does: impl FnOnce(&Place<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("enarx-selftest-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let root = Arc::new(dev::create_root(folder.path())?);
        let section = match self.backend.name() {
            "snp" => Section::Snp,
            "sgx" => Section::Sgx,
            _ => Section::Development,
        };
        let services = self.runtime.block_on(Services::start(Options {
            folder: folder.path(),
            root: &root,
            measurements: digests.to_vec(),
            section,
            steward_port: 0,
            drawbridge_port: 0,
            oidc_port: 0,
            user: "selftest",
        }))?;
        let result = does(&Place { services: &services, folder: folder.path(), root: &root });
        self.runtime.block_on(services.stop())?;
        result
    }

    /// Runs a workload to its end: how that was, what happened, and the workload's digest.
    fn play_out(
        &self,
        place: &Place<'_>,
        workload: Workload,
        signatures: Option<keep_backend::Signatures>,
    ) -> Result<(Ended, Vec<(Duration, Happening)>, String), Failure> {
        let Place { services, folder, root } = *place;
        let wasm = wat::parse_str(workload.module).context("the workload is not valid")?;
        let own = tempfile::Builder::new()
            .tempdir_in(folder)
            .context("cannot make a temporary folder")?;
        std::fs::write(own.path().join(file::WASM), &wasm)
            .and_then(|()| std::fs::write(own.path().join(file::CONFIG), &workload.config))
            .context("cannot write the workload")?;
        let digest = Package::from_path(own.path())?.digest();
        let trust = TrustArgs {
            steward_ca: Some(services.steward_ca.clone()),
            ca_bundle: Some(services.ca_bundle.clone()),
        };
        let happened = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&happened);
        let progress = Progress::new(move |at, happening| {
            let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.push((at, happening.clone()));
        });
        let deployment = Deployment {
            backend: Arc::clone(&self.backend),
            evidence: agent::source(&self.backend, Program::Runtime, Some(root)),
            root: Some(Arc::clone(root)),
            slug: None,
            digest: digest.clone(),
            source: Source::Folder { path: seed_name(0) },
            seeds: vec![Seed { host: own.path().to_owned(), index: 0 }],
            steward: Some(services.steward.clone()),
            network: agent::network(&trust)?,
            memory: MEMORY,
            processors: 1,
            timeout: Some(PATIENCE),
            stdio: [None, workload.stdout, None],
            progress,
            signatures,
        };
        let ended = deployment.run(self.watch, |_| {})?;
        let happened =
            std::mem::take(&mut *happened.lock().unwrap_or_else(PoisonError::into_inner));
        Ok((ended, happened, digest))
    }

    fn deploy_with(
        &self,
        place: &Place<'_>,
        runtime: &str,
        workload: Workload,
        signatures: Option<keep_backend::Signatures>,
    ) -> Result<Deployed, Failure> {
        let (ended, happened, digest) = self.play_out(place, workload, signatures)?;
        ran(ended)?;
        let services = place.services;
        let chain = happened.iter().find_map(|(_, happening)| match happening {
            Happening::Keep(Event::Certificate { chain, .. }) => Some(chain.clone()),
            _ => None,
        });
        let chain = chain.context("the Keep showed no certificate")?;
        let roots = agent::certificates(&services.steward_ca)?;
        let measured = command_line::unhex(runtime).unwrap_or_default();
        let demands =
            Demands::new().allow_development().measurements([measured]).workloads([digest]).fresh();
        let (leaf, others) = chain.split_first().context("the Keep's certificate is empty")?;
        let others: Vec<&[u8]> = others.iter().map(Vec::as_slice).collect();
        let roots: Vec<&[u8]> = roots.iter().map(Vec::as_slice).collect();
        let claims =
            steward_relying_party::check(leaf, &others, &demands, clock::now(), &AwsLc, &roots)
                .context("the Keep's certificate is not what it has to be")?;
        let steps = happened.iter().filter_map(|(at, happening)| match happening {
            Happening::Keep(Event::Step { number, .. }) => Some((*number, *at)),
            _ => None,
        });
        Ok(Deployed { claims, steps: steps.collect() })
    }

    /// A workload's key for sealing: the same at the next launch, and another workload's is another one.
    fn seal(&self, digests: &[String; 2]) -> Result<((), String), Failure> {
        self.with_services(digests, |place| {
            let first = self.sealing_key(place, digests, "one")?;
            let Some(first) = first else {
                return match self.backend.name() {
                    "kvm" | "nil" => Ok(((), "the platform has no key, and says so".to_owned())),
                    _ => Err(Failure::msg(Code::Failed, "the platform has no key for sealing")),
                };
            };
            let again = self.sealing_key(place, digests, "one")?;
            let other = self.sealing_key(place, digests, "two")?;
            let said = [Some(&first), again.as_ref(), other.as_ref()];
            let [_, again, other] = said.map(|key| key.map_or("none", String::as_str));
            if again != first || other == first || other == "none" {
                let message = format!(
                    "a workload has the key {first}, at the next launch {again}, and another workload {other}"
                );
                return Err(Failure::msg(Code::Failed, message));
            }
            let detail = "the same for a workload that is launched again, another for another workload";
            Ok(((), detail.to_owned()))
        })
    }

    /// What tells the key of a workload apart, which has this argument; none if there is no key.
    fn sealing_key(
        &self,
        place: &Place<'_>,
        [compiler, _]: &[String; 2],
        argument: &str,
    ) -> Result<Option<String>, Failure> {
        let mut said = tempfile::tempfile().context("cannot make a temporary file")?;
        let workload = Workload {
            module: SEALING,
            config: format!("args = [\"{argument}\"]\n{}\n[sealing]\n", config(compiler, "stdout")),
            stdout: Some(said.try_clone().context("cannot make a temporary file")?),
        };
        let (ended, ..) = self.play_out(place, workload, None)?;
        if matches!(ended, Ended::Refused { reason: Refusal::Config, .. }) {
            return Ok(None);
        }
        ran(ended)?;
        let mut text = String::new();
        said.rewind()
            .and_then(|()| said.read_to_string(&mut text))
            .context("cannot read what the workload wrote")?;
        match text.trim() {
            "" => Err(Failure::msg(Code::Failed, "the workload says nothing of its key")),
            key => Ok(Some(key.to_owned())),
        }
    }

    /// Whether it is the evidence of this platform.
    fn judge(&self, claims: &CertificateClaims) -> Result<((), String), Failure> {
        let hardware = ["snp", "sgx"].into_iter().find(|name| *name == self.backend.name());
        let is_development = claims.platform == "development";
        if hardware.is_some_and(|name| claims.platform != name) || claims.debug {
            let message =
                format!("the certificate says {}, debug {}", claims.platform, claims.debug);
            return Err(Failure::msg(Code::Failed, message));
        }
        if hardware.is_none() && !is_development {
            let message = format!("what is not hardware has a certificate for {}", claims.platform);
            return Err(Failure::msg(Code::Failed, message));
        }
        let status = claims.tcb_status.as_deref().unwrap_or("none");
        let detail = format!(
            "{} ({}), TCB status {status}, verified by a Steward, measurement and workload as demanded",
            claims.platform, claims.product
        );
        Ok(((), detail))
    }

    /// Signs the runtime with keys that are forgotten at once.
    fn sign(&self) -> Result<(hardware::Trial, String), Failure> {
        let signed = hardware::sign_for_trial(self.backend.name(), Program::Runtime)?;
        let detail = format!("made with a key of the moment, signer {}", signed.signer);
        Ok((signed, detail))
    }

    /// A signature with one bit changed, and one over another program.
    fn refused(&self, signed: &hardware::Trial) -> Result<((), String), Failure> {
        let mut changed = signed.signatures.clone();
        // Each form has a place that is covered by the signature: the family's id in the ID block, and ISVSVN.
        for (bytes, at) in [(&mut changed.id_block, 0x30), (&mut changed.sigstruct, 1026)] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
        }
        let first = self.refusal(Program::Runtime, changed)?;
        let second = self.refusal(Program::Compiler, signed.signatures.clone())?;
        Ok(((), format!("refused: {first}, {second}")))
    }

    fn refusal(
        &self,
        program: Program,
        signatures: keep_backend::Signatures,
    ) -> Result<&'static str, Failure> {
        let launch = Launch::Compile(keep_launch::Compile { signing_key: [0; 32], threads: 1 });
        let spec = Spec {
            program,
            launch: launch.encode(),
            input: std::fs::File::open("/dev/null").context("cannot open /dev/null")?,
            output: None,
            stdio: [None, None, None],
            seeds: Vec::new(),
            memory: MEMORY,
            processors: self.backend.threads(),
            evidence: None,
            events: None,
            network: None,
            signatures: Some(signatures),
        };
        match self.backend.launch(spec) {
            Err(BackendError::Signature { code, .. }) => Ok(code),
            Err(error) => Err(agent::backend_failure(error)),
            Ok(_) => Err(Failure::msg(Code::Failed, "it was launched with a wrong signature")),
        }
    }
}

/// That the workload ran to its end.
fn ran(ended: Ended) -> Result<(), Failure> {
    match ended {
        Ended::Exited { code: CODE } => Ok(()),
        Ended::Refused { reason, message } => Err(agent::refused("selftest", reason, &message)),
        other => Err(anyhow!("the workload ended otherwise: {other:?}").into()),
    }
}

/// The workload's configuration: no streams but the output, if that is one, and who may compile it.
fn config(compiler: &str, output: &str) -> String {
    let file = |kind, name| format!("{{ kind = \"{kind}\", name = \"{name}\" }}");
    let files = [file("null", "in"), file(output, "out"), file("null", "err")].join(", ");
    format!(
        "files = [{files}]\n\n[compiler]\nmeasurements = [\"{compiler}\"]\nallow_development = true\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workload_is_valid() {
        for module in [MODULE, SEALING] {
            assert!(wat::parse_str(module).unwrap().starts_with(b"\0asm"));
        }
        for digest in ["ab".repeat(48), "cd".repeat(32)] {
            let config = enarx_config::Config::parse(&config(&digest, "stdout"), "Enarx.toml");
            config.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

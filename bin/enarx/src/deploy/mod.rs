// SPDX-License-Identifier: Apache-2.0

//! `enarx deploy`: an empty Keep starts, and gets its workload itself.
//!
//! The host agent does the steps 1 to 4 of `docs/flow.md`: it finds out which digest is meant, pins
//! it, and starts a Keep that has nothing in it. The others are the Keep's own, and the host agent
//! only shows what the Keep tells of them. Nothing here has to be trusted: a host that says
//! something else to the Keep than the administrator said ends with a certificate that says so too.

mod compiler;
mod target;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use command_line::OrExit;
use drawbridge_types::{API_VERSION, Access, ContentDigest, Slug, TagRequest, Terms, file};
use evidence_development::Root;
use keep_backend::{Backend, EvidenceSource, NetworkLimits, Program, Seed, Spec, seed_name};
use keep_launch::{CompileService, Deploy, Event, Launch, Network, Report, Source};
use tempfile::TempDir;

use crate::agent::{self, Guard, Happening, Progress, Show, Watch};
use crate::backends::{self, Choice};
use crate::cli::DeployArgs;
use crate::dirs;
use crate::exit::{Code, Failure, Outcome};
use crate::hardware;
use crate::programs;
use compiler::Compiler;
use target::Target;

/// How long a Drawbridge has for the terms.
const TERMS: Duration = Duration::from_secs(20);

pub(crate) fn run(args: &DeployArgs) -> Result<Outcome, Failure> {
    let (target, pinned) = Target::parse(&args.workload, args.digest.as_deref())?;
    let backend = choose(args.backend.as_deref())?;
    let signatures = hardware::launch_signatures(args.signatures.signatures.as_deref(), &*backend)?;
    let watch = Watch::start()?;
    let progress = Progress::shown(match (args.verbose, args.json) {
        (true, _) => Show::Lines,
        (_, true) => Show::Json,
        _ => Show::Warnings,
    });
    progress.tell(&Happening::Backend {
        name: backend.name(),
        is_confidential: backend.is_confidential(),
    });
    let network = agent::network(&args.trust)?;
    let root = match dirs::data() {
        Ok(data) => agent::development_root(&data.join("development"))?.map(Arc::new),
        Err(_) => None,
    };
    // Measuring takes time, which passes while the Drawbridge is asked.
    let evidence = agent::source(&backend, Program::Runtime, root.as_ref());
    progress.step(1, format!("asked for {}", args.workload));
    let workload = match target {
        Target::Slug(slug) => {
            let roots = args.trust.ca_bundle.as_deref().map(read_bundle).transpose()?;
            let host = slug.host.clone().or_else(|| args.drawbridge.clone());
            let host = host.ok_or_else(|| {
                Failure::msg(Code::Usage, format!("`{slug}` names no Drawbridge"))
                    .help("name one with --drawbridge HOST, or in the name: HOST/user/repo:1.2.3")
            })?;
            Workload::in_drawbridge(&slug, &host, roots, pinned, &progress)?
        }
        Target::Path(path) => Workload::on_host(&path, pinned, &progress)?,
    };
    let steward = args.steward.clone().or(workload.steward);
    check_roots(steward.as_deref(), &network)?;
    let deployment = Deployment {
        backend,
        root,
        evidence,
        slug: workload.slug,
        digest: workload.digest,
        source: workload.source,
        seeds: workload.seeds,
        steward,
        network,
        memory: args.memory,
        processors: args.processors,
        timeout: args.timeout,
        stdio: streams()?,
        progress,
        signatures,
    };
    let report = deployment.run(&watch, |_| {})?;
    drop(workload.scratch);
    agent::conclude(report, &args.workload)
}

/// The backend: one that was named, or one that keeps the host out.
fn choose(name: Option<&str>) -> Result<Arc<dyn Backend>, Failure> {
    let cache = crate::cache::open().ok();
    let files = cache.as_ref().map(|cache| programs::Files {
        folder: cache.programs(),
        id: command_line::hex(&programs::digest(cache)),
    });
    if name.is_some() {
        let Choice { backend, .. } = backends::choose(name, files.as_ref())?;
        return Ok(backend);
    }
    let confidential = backends::all().into_iter().find(|backend| {
        backend.is_confidential() && backend.probe().iter().all(|datum| datum.pass)
    });
    if let Some(backend) = confidential {
        return Ok(backends::named(backend.name(), files.as_ref()).unwrap_or(backend).into());
    }
    let failure = Failure::msg(
        Code::Backend,
        "no backend of this machine keeps the host out of the workload",
    );
    Err(failure.help(format!(
        "use a machine with a hardware TEE; to deploy without its protection, name a backend: \
         --backend {}",
        backends::open_names().join(" or --backend ")
    )))
}

/// Without roots no answer of the Steward could be believed.
fn check_roots(steward: Option<&str>, network: &Network) -> Result<(), Failure> {
    match steward {
        Some(url) if network.steward_roots.is_empty() => {
            let failure = Failure::msg(
                Code::Usage,
                format!("the Steward is {url}, and nothing says whose certificates count"),
            );
            Err(failure.help("name the Steward's root with --steward-ca FILE"))
        }
        _ => Ok(()),
    }
}

/// What is deployed.
pub(crate) struct Workload {
    pub(crate) slug: Option<String>,
    pub(crate) digest: String,
    pub(crate) source: Source,
    pub(crate) seeds: Vec<Seed>,
    pub(crate) steward: Option<String>,
    /// What lies behind the seeds, for as long as it is needed.
    pub(crate) scratch: Option<TempDir>,
}

impl Workload {
    /// Steps 2 and 3 for a workload in a Drawbridge.
    pub(crate) fn in_drawbridge(
        slug: &Slug,
        host: &str,
        roots: Option<Vec<u8>>,
        pinned: Option<ContentDigest>,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        // With the digest in it the client itself refuses terms for another one.
        let asked = Slug { host: Some(host.to_owned()), digest: pinned.clone(), ..slug.clone() };
        let terms = terms(&asked, host, roots)?;
        let digest = digest_text(&terms.meta.digest)?;
        let exact =
            Slug { tag: Some(TagRequest::Exact(terms.tag.clone())), digest: None, ..asked.clone() };
        let access = match (terms.access, &terms.steward) {
            (Access::Attested, Some(steward)) => {
                format!("released to Keeps with a certificate of {steward}")
            }
            (Access::Public, _) => "released to everybody".to_owned(),
            _ => {
                let failure = Failure::msg(
                    Code::Refused,
                    format!("{exact} is for its owner alone, and no Keep can get it"),
                );
                return Err(failure
                    .help("give the repository a release policy: `enarx repo register --help`"));
            }
        };
        progress.step(2, format!("{exact}, {} bytes, {access}", terms.meta.length));
        if terms.yanked {
            let message = format!("the owner has withdrawn {exact}");
            progress.tell(&Happening::Keep(Event::Warning { message }));
        }
        let why = if pinned.is_some() { "as asked for" } else { "as the Drawbridge says" };
        progress.step(3, format!("{digest}, {why}"));
        let (user, repo, tag) = (&terms.user, &terms.repo, &terms.tag);
        Ok(Self {
            slug: Some(exact.to_string()),
            digest,
            source: Source::Drawbridge {
                tag: format!("https://{host}/api/v{API_VERSION}/{user}/{repo}/_tag/{tag}"),
            },
            seeds: Vec::new(),
            steward: terms.steward,
            scratch: None,
        })
    }

    /// Steps 2 and 3 for files of this host.
    fn on_host(
        path: &Path,
        pinned: Option<ContentDigest>,
        progress: &Progress,
    ) -> Result<Self, Failure> {
        let shown = path.display();
        let metadata = std::fs::metadata(path)
            .or_exit_with(Code::Input, || format!("cannot use `{shown}`"))?;
        let pinned =
            pinned.ok_or_else(|| Failure::msg(Code::Usage, "there is no digest to pin"))?;
        let digest = digest_text(&pinned)?;
        progress.step(2, format!("from {shown}, which no Drawbridge releases"));
        progress.step(3, format!("{digest}, as asked for"));
        let (folder, scratch) = match metadata.is_dir() {
            true => (path.to_owned(), None),
            // The Keep looks into a folder; a module alone is put into one of its own.
            false => {
                let failed = || format!("cannot copy `{}`", path.display());
                let scratch = tempfile::tempdir().or_exit_with(Code::Failed, failed)?;
                std::fs::copy(path, scratch.path().join(file::WASM))
                    .or_exit_with(Code::Input, failed)?;
                (scratch.path().to_owned(), Some(scratch))
            }
        };
        Ok(Self {
            slug: None,
            digest,
            source: Source::Folder { path: seed_name(0) },
            seeds: vec![Seed { host: folder, index: 0 }],
            steward: None,
            scratch,
        })
    }
}

fn digest_text(digest: &ContentDigest) -> Result<String, Failure> {
    digest.workload().ok_or_else(|| {
        Failure::msg(Code::Refused, "the workload has no SHA-256 digest, which is what is pinned")
    })
}

/// Asks the Drawbridge for the terms of release.
fn terms(slug: &Slug, host: &str, roots: Option<Vec<u8>>) -> Result<Terms, Failure> {
    let mut builder = drawbridge_client::Client::builder(host)
        .timeout(TERMS)
        .retries(2, Duration::from_millis(200));
    if let Some(roots) = roots {
        builder = builder.ca_bundle(roots);
    }
    let failed = || format!("there are no terms of release for {slug}");
    let client = builder.build().or_exit_with(Code::Failed, failed)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?
        .block_on(client.terms(slug))
        .map_err(|error| {
            let code = match &error {
                drawbridge_client::Error::Pinned { .. } => Code::Refused,
                _ => Code::Failed,
            };
            let help = error.help();
            let failure = Failure::new(code, anyhow!(error).context(failed()));
            match help {
                Some(help) => failure.help(help),
                None => failure,
            }
        })
}

/// PEM, whatever the file is in.
fn read_bundle(path: &Path) -> Result<Vec<u8>, Failure> {
    let certificates = agent::certificates(path)?;
    let pem = certificates.iter().map(|der| evidence_pki::to_pem("CERTIFICATE", der));
    Ok(pem.collect::<String>().into_bytes())
}

/// The streams of this program, for a workload whose configuration wants them.
fn streams() -> Result<[Option<File>; 3], Failure> {
    use std::os::fd::AsFd;

    let failed = "cannot hand over the standard streams";
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().context(failed)?;
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().context(failed)?;
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().context(failed)?;
    Ok([stdin, stdout, stderr].map(|fd| Some(File::from(fd))))
}

/// A Keep that is to get a workload.
pub(crate) struct Deployment {
    pub(crate) backend: Arc<dyn Backend>,
    /// Makes development evidence.
    pub(crate) root: Option<Arc<Root>>,
    pub(crate) slug: Option<String>,
    pub(crate) digest: String,
    pub(crate) source: Source,
    pub(crate) seeds: Vec<Seed>,
    pub(crate) steward: Option<String>,
    pub(crate) network: Network,
    pub(crate) memory: u64,
    pub(crate) processors: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) stdio: [Option<File>; 3],
    pub(crate) progress: Progress,
    /// What was signed of the runtime, for who demands that.
    pub(crate) signatures: Option<keep_backend::Signatures>,
    /// What was made ready before, see [`agent::source`].
    pub(crate) evidence: Option<Box<dyn EvidenceSource>>,
}

impl Deployment {
    /// Step 4, and all that the Keep does then, to its end.
    pub(crate) fn run(
        self,
        watch: &Watch,
        launched: impl FnOnce(&Guard),
    ) -> Result<Report, Failure> {
        let compiler = self.compiler(watch)?;
        let launch = Launch::Deploy(Deploy {
            slug: self.slug,
            digest: self.digest,
            source: self.source,
            steward: self.steward,
            network: self.network,
            compiler: compiler.as_ref().map(|compiler| compiler.address().to_string()),
            max_memory: self.memory,
            threads: self.processors,
        });
        let launch = launch.encode();
        if launch.len() > keep_launch::MAX_LAUNCH {
            return Err(Failure::msg(Code::Input, "there are more roots than a Keep accepts"));
        }
        let stop = compiler.as_ref().map(Compiler::stopper);
        let mut tell = self.progress.events();
        let spec = Spec {
            program: Program::Runtime,
            launch,
            input: File::open("/dev/null").context("cannot open /dev/null")?,
            output: None,
            stdio: self.stdio,
            seeds: self.seeds,
            memory: self.memory,
            processors: self.processors,
            evidence: self.evidence,
            events: Some(Box::new(move |event| {
                // Once the workload runs, nothing is compiled any more.
                if let (Event::Step { number: 13, .. }, Some(stop)) = (&event, &stop) {
                    stop();
                }
                tell(event);
            })),
            network: Some(NetworkLimits::all()),
            signatures: self.signatures,
        };
        let name = self.backend.name();
        agent::serve_with(&*self.backend, spec, watch, self.timeout, |guard| {
            self.progress.step(4, format!("an empty Keep of the {name} backend starts"));
            launched(guard);
        })
    }

    /// A place where a compiler Keep answers. Without a Steward there is none: nobody could vouch for what
    /// comes from there, and the runtime Keep says so if it needs one.
    fn compiler(&self, watch: &Watch) -> Result<Option<Compiler>, Failure> {
        if self.steward.is_none() {
            return Ok(None);
        }
        let setup = compiler::Setup {
            backend: Arc::clone(&self.backend),
            root: self.root.clone(),
            service: CompileService {
                slug: self.slug.clone(),
                digest: self.digest.clone(),
                steward: self.steward.clone(),
                network: self.network.clone(),
                listen: "127.0.0.1:0".into(),
                threads: self.backend.threads(),
            },
            memory: self.memory,
            watch: watch.clone(),
            progress: self.progress.clone(),
        };
        Compiler::listen(setup).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_lets_the_host_in_has_to_be_named() {
        let all = backends::all();
        let works = |backend: &dyn Backend| backend.probe().iter().all(|datum| datum.pass);
        match all.iter().find(|backend| backend.is_confidential() && works(&***backend)) {
            Some(best) => assert_eq!(choose(None).unwrap().name(), best.name()),
            None => {
                let failure = choose(None).map(drop).unwrap_err();
                assert_eq!(failure.code, Code::Backend);
                assert!(failure.line().contains("keeps the host out"), "{}", failure.line());
            }
        }
        assert_eq!(choose(Some("nil")).unwrap().name(), "nil");
    }

    #[test]
    fn a_steward_needs_a_root() {
        let mut network = Network::default();
        assert!(check_roots(None, &network).is_ok());
        let failure = check_roots(Some("https://steward.example.com"), &network).unwrap_err();
        assert_eq!(failure.code, Code::Usage);
        network.steward_roots.push(vec![1]);
        assert!(check_roots(Some("https://steward.example.com"), &network).is_ok());
    }
}

// SPDX-License-Identifier: Apache-2.0

//! `enarx platform sgx`: what Intel says of this platform.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueHint};
use command_line::{OrExit, Style, hex, print, print_json};
use evidence_claims::Time;
use evidence_dcap::{Certification, PckCa, Quote};
use keep_backend::Datum;
use serde_json::json;
use vendor_fetch::{FetchError, Url};
use vendor_pcs::{Held, Manifest, Pcs, PcsError, Piece, PlatformId, Store, What};

use super::common::{self, CacheArgs, Row, ServiceArgs};
use crate::exit::{Code, Failure};

/// The cache's name.
const CACHE: &str = super::INTEL;

/// The driver's device.
const DRIVER: &str = "/dev/sgx_enclave";

#[derive(Debug, Subcommand)]
pub(crate) enum SgxCommand {
    Register(RegisterArgs),
    CacheCrl(CacheCrlArgs),
    CachePck(CachePckArgs),
    CacheTcb(CacheTcbArgs),
    Info(InfoArgs),
}

/// Register a platform of several packages with Intel
///
/// The firmware of such a platform leaves a manifest, which Intel has to be sent once. A platform of one
/// package has nothing to register.
#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// The manifest, as PCKIDRetrievalTool or the firmware writes it; without it the firmware's own
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    manifest: Option<PathBuf>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    pcs: PcsArgs,
}

/// Fetch the revocation lists of Intel's root and of those that issue PCK certificates
#[derive(Debug, Args)]
pub(crate) struct CacheCrlArgs {
    /// Only of this issuer of PCK certificates, besides the root's
    #[arg(long, value_name = "CA", value_parser = PossibleValuesParser::new(["processor", "platform"]))]
    ca: Option<String>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    pcs: PcsArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Fetch the certificate of the platform's key (PCK)
#[derive(Debug, Args)]
pub(crate) struct CachePckArgs {
    /// What names the platform, as PCKIDRetrievalTool writes it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(default_value = "pckid_retrieval.csv", conflicts_with = "quote")]
    pckid: PathBuf,

    /// Take it out of a quote of this platform, in place of asking for it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    quote: Option<PathBuf>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    pcs: PcsArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Fetch TCB information of this kind of platform, and the identity of Intel's quoting enclave
#[derive(Debug, Args)]
pub(crate) struct CacheTcbArgs {
    /// The kind of platform; without it that of the PCK certificate in the cache
    #[arg(long, value_name = "HEX", value_parser = fmspc)]
    fmspc: Option<Fmspc>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    pcs: PcsArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Show what Intel says of this platform, and what the cache holds
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Debug, Clone, Copy)]
struct Fmspc([u8; 6]);

fn fmspc(text: &str) -> Result<Fmspc, String> {
    let bytes = common::unhex(text)?.try_into();
    bytes.map(Fmspc).map_err(|_| "an FMSPC has 12 digits".into())
}

/// Whom to ask.
#[derive(Debug, Args)]
struct PcsArgs {
    /// Intel's Provisioning Certification Service, or a mirror of it
    #[arg(long, env = "ENARX_PCS_URL", value_name = "URL", default_value = vendor_pcs::DEFAULT_URL)]
    #[arg(hide_env_values = true, value_parser = common::url, help_heading = "Service")]
    pcs_url: Url,

    /// Where the revocation list of Intel's root is
    #[arg(long, env = "ENARX_ROOT_CRL_URL", value_name = "URL")]
    #[arg(default_value = vendor_pcs::DEFAULT_ROOT_LIST_URL)]
    #[arg(hide_env_values = true, value_parser = common::url, help_heading = "Service")]
    root_crl_url: Url,

    /// A caching service (PCCS) in place of Intel's
    #[arg(long, env = "ENARX_PCCS_URL", value_name = "URL", conflicts_with = "pcs_url")]
    #[arg(hide_env_values = true, value_parser = common::url, help_heading = "Service")]
    pccs_url: Option<Url>,

    #[command(flatten)]
    service: ServiceArgs,
}

impl PcsArgs {
    fn pcs(&self) -> Result<Pcs, Failure> {
        if let Some(url) = &self.pccs_url {
            return Ok(Pcs::caching(self.service.fetcher(url)?, url.clone()));
        }
        let root = (self.service.fetcher(&self.root_crl_url)?, self.root_crl_url.clone());
        Ok(Pcs::intel(self.service.fetcher(&self.pcs_url)?, self.pcs_url.clone(), root))
    }
}

pub(super) fn run(command: &SgxCommand) -> Result<(), Failure> {
    match command {
        SgxCommand::Register(args) => register(args),
        SgxCommand::CacheCrl(args) => cache_crl(args),
        SgxCommand::CachePck(args) => cache_pck(args),
        SgxCommand::CacheTcb(args) => cache_tcb(args),
        SgxCommand::Info(args) => info(args),
    }
}

fn register(args: &RegisterArgs) -> Result<(), Failure> {
    let manifest = match &args.manifest {
        Some(path) => {
            let bytes = common::read(path)?;
            common::input(path, Manifest::new(&bytes).or_else(|_| Manifest::from_variable(&bytes)))?
        }
        None => Manifest::of_firmware()
            .or_exit_with(Code::Backend, || "there is nothing to register this platform with")?,
    };
    let pcs = args.pcs.pcs()?;
    let failed = |error| failure(error, "cannot register this platform", "nothing was registered");
    let task = async { pcs.register(manifest.as_bytes()).await.map_err(failed) };
    let ppid = args.pcs.service.run(task)?;
    match args.json {
        true => print_json(&json!({ "ppid": ppid })),
        false => print(&format!("registered; PPID {ppid}\n")),
    }
}

fn cache_crl(args: &CacheCrlArgs) -> Result<(), Failure> {
    let store = Store::new(args.cache.cache(CACHE)?, common::crypto());
    let (pcs, now) = (args.pcs.pcs()?, common::now());
    let wanted = |ca: &PckCa| args.ca.as_deref().is_none_or(|name| name == ca.as_str());
    let task = async {
        let mut pieces = vec![pcs.root_list().await?];
        for ca in PckCa::ALL.into_iter().filter(wanted) {
            pieces.push(pcs.pck_list(ca).await?);
        }
        store.put(&pieces, now)
    };
    let failed = |error| failure(error, "cannot update Intel's revocation lists", KEPT);
    args.pcs.service.run(async { task.await.map_err(failed) })?;
    show(&store, now, args.json)
}

fn cache_pck(args: &CachePckArgs) -> Result<(), Failure> {
    let store = Store::new(args.cache.cache(CACHE)?, common::crypto());
    let now = common::now();
    let failed = |error| failure(error, "cannot get the platform's PCK certificate", KEPT);
    if let Some(path) = &args.quote {
        let chain = chain_of_quote(path)?;
        store.put(&[Piece::Pck { platform: None, chain }], now).map_err(failed)?;
        return show(&store, now, args.json);
    }
    let text = common::read(&args.pckid)?;
    let platform = common::input(&args.pckid, PlatformId::parse(&String::from_utf8_lossy(&text)))?;
    let pcs = args.pcs.pcs()?;
    let task = async {
        let piece = pcs.pck(&platform).await?;
        store.put(&[piece], now)
    };
    args.pcs.service.run(async { task.await.map_err(failed) })?;
    show(&store, now, args.json)
}

/// The PCK certificate chain that a quote brings along.
fn chain_of_quote(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = common::read(path)?;
    let quote = common::input(path, Quote::parse(&bytes))?;
    match quote.certification {
        Certification::Chain(pem) => Ok(pem.to_vec()),
        Certification::Encrypted { .. } => Err(Failure::msg(
            Code::Input,
            format_args!("the quote in {} brings no PCK certificate", path.display()),
        )),
    }
}

fn cache_tcb(args: &CacheTcbArgs) -> Result<(), Failure> {
    let store = Store::new(args.cache.cache(CACHE)?, common::crypto());
    let now = common::now();
    let fmspc = match args.fmspc {
        Some(Fmspc(fmspc)) => fmspc,
        None => match store.pck(now)? {
            Some(pck) => pck.extensions.fmspc,
            None => {
                return Err(Failure::msg(
                    Code::Input,
                    "it is not known which kind of platform this is: the cache has no PCK certificate",
                )
                .help("`enarx platform sgx cache-pck` fetches it, or --fmspc says it"));
            }
        },
    };
    let pcs = args.pcs.pcs()?;
    let task = async {
        let pieces = [pcs.tcb_info(fmspc).await?, pcs.qe_identity().await?];
        store.put(&pieces, now)
    };
    let failed = |error| failure(error, "cannot update Intel's TCB information", KEPT);
    args.pcs.service.run(async { task.await.map_err(failed) })?;
    show(&store, now, args.json)
}

fn info(args: &InfoArgs) -> Result<(), Failure> {
    let now = common::now();
    let driver = Path::new(DRIVER).exists();
    let mut caches = Vec::new();
    let (mut pck, mut status) = (None, None);
    for cache in args.cache.caches(CACHE)? {
        let store = Store::new(cache, common::crypto());
        pck = pck.or(store.pck(now).unwrap_or_default());
        status = status.or(store.status(now).unwrap_or_default());
        // One that cannot be read is no reason to hide the other.
        let seen =
            store.held(now).map(rows).unwrap_or_else(|error| vec![common::unreadable(&error)]);
        caches.push((store.cache().clone(), seen));
    }
    let fmspc = pck.as_ref().map(|pck| hex(&pck.extensions.fmspc));
    let ca = pck.as_ref().map(|pck| pck.issuer.as_str());
    if args.json {
        let caches: Vec<_> =
            caches.iter().map(|(cache, rows)| common::as_json(cache, rows)).collect();
        return print_json(&json!({
            "driver": driver,
            "fmspc": fmspc,
            "ca": ca,
            "tcb_status": status.as_ref().map(|(status, _)| status.as_str()),
            "advisories": status.as_ref().map(|(_, advisories)| advisories),
            "caches": caches,
        }));
    }
    let style = Style::stdout();
    let driver = match driver {
        true => style.green("there"),
        false => style.red("not there: no SGX, or a kernel before 5.11"),
    };
    let unknown = || "not known: there is no PCK certificate in a cache".to_owned();
    let mut text = format!("{DRIVER}  {driver}\n");
    text += &format!("FMSPC             {}\n", fmspc.unwrap_or_else(unknown));
    let said = match status {
        Some((status, advisories)) if advisories.is_empty() => status.to_string(),
        Some((status, advisories)) => format!("{status}, {}", advisories.join(", ")),
        None => "not known: it takes a PCK certificate and TCB information".into(),
    };
    text += &format!("TCB               {said}\n");
    for (cache, rows) in &caches {
        text.push('\n');
        text += &common::as_text(cache, rows);
    }
    print(&text)
}

fn show(store: &Store, now: Time, json: bool) -> Result<(), Failure> {
    common::show(store.cache(), &rows(store.held(now)?), json)
}

/// What the caches hold, in one line.
pub(super) fn cached() -> Datum {
    let now = common::now();
    let stores = super::caches(CACHE).into_iter().map(|one| Store::new(one, common::crypto()));
    let all = stores.filter_map(|store| store.held(now).ok()).flat_map(rows).collect::<Vec<_>>();
    common::summary(
        "Intel's certificates, lists and TCB information",
        &all,
        "enarx platform sgx cache-tcb",
    )
}

fn rows(held: Vec<Held>) -> Vec<Row> {
    let row = |held: Held| Row {
        what: match held.what {
            What::List => "revocation list",
            What::Pck => "certificate of the platform's key",
            What::TcbInfo => "TCB information",
            What::QeIdentity => "identity of the quoting enclave",
            What::Issuer => "who issued it",
            What::Unknown => "not made here",
        }
        .into(),
        name: held.name,
        age: Some(held.age),
        valid_until: held.valid_until,
        note: held.note,
        problem: held.problem,
    };
    held.into_iter().map(row).collect()
}

/// What a failed command leaves behind.
const KEPT: &str = "the cache is as it was";

fn failure(error: PcsError, context: &'static str, kept: &'static str) -> Failure {
    let help = match &error {
        PcsError::Fetch(FetchError::Later { .. }) => "Intel limits how often it may be asked",
        PcsError::Fetch(error) if error.status() == Some(404) => {
            "Intel does not know this platform; one of several packages has to be registered first"
        }
        PcsError::Refused { .. } => "whoever answered is not Intel, or answers with something old",
        PcsError::Other(_) => "a cache is of one kind of platform; --cache names another one",
        _ => "",
    };
    let help = if help.is_empty() { kept.to_owned() } else { format!("{help}; {kept}") };
    Failure::new(Code::Failed, error).context(context).help(help)
}

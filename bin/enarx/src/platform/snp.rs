// SPDX-License-Identifier: Apache-2.0

//! `enarx platform snp`: what AMD says of the key that signs reports.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueHint};
use command_line::{Style, hex, print, print_json};
use evidence_claims::{SigningKey, SnpProduct, Time};
use keep_backend::Datum;
use serde_json::json;
use vendor_fetch::{FetchError, Url};
use vendor_kds::device::{self, DeviceError, Platform};
use vendor_kds::{Held, Identity, Kds, KdsError, Piece, Store, Table, What};

use super::common::{self, CacheArgs, Row, ServiceArgs};
use crate::exit::{Code, Failure};

/// The cache's name.
const CACHE: &str = super::AMD;

/// The products, as AMD writes them.
const PRODUCTS: [&str; 3] = ["Milan", "Genoa", "Turin"];

#[derive(Debug, Subcommand)]
pub(crate) enum SnpCommand {
    Update(UpdateArgs),
    Vcek(VcekArgs),
    CacheCrl(CacheCrlArgs),
    Info(InfoArgs),
}

/// Fetch all that a Steward needs to verify reports of this machine, and keep it in the cache
///
/// The certificate of the key that signs reports (VCEK, or a VLEK from a certificate table), its issuer, and
/// the revocation list. All of it is verified down to AMD's root; if anything is missing or not good,
/// the cache stays as it was.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Take certificates from the table that the host keeps for its guests, in place of asking for them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    certificates: Option<PathBuf>,

    /// Ask for the certificate also if the cache has a good one
    #[arg(long)]
    force: bool,

    /// Also write the table that a host gives to its guests into a new file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    table: Option<PathBuf>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    kds: KdsArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Print the certificate of the key that signs reports of this machine
///
/// It comes out of the cache if it is there and good, and else from AMD, and is kept then.
#[derive(Debug, Args)]
pub(crate) struct VcekArgs {
    /// The new file; without it, stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,

    /// PEM in place of DER
    #[arg(long)]
    pem: bool,

    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    kds: KdsArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Fetch the revocation lists of AMD's roots
#[derive(Debug, Args)]
pub(crate) struct CacheCrlArgs {
    /// Only of this product; without it that of this machine, or all if it is none of AMD's
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(PRODUCTS))]
    product: Option<String>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    kds: KdsArgs,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Show what processor and firmware say of themselves, and what the cache holds
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    cache: CacheArgs,
}

/// Which key it is about.
#[derive(Debug, Args)]
#[command(next_help_heading = "Key (without any of these, that of this machine)")]
struct KeyArgs {
    /// A report: the key that signed it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "chip_id")]
    report: Option<PathBuf>,

    /// The chip's id, hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = chip_id, requires_all = ["tcb", "product"])]
    chip_id: Option<Chip>,

    /// The reported TCB, 16 hexadecimal digits in the order of its bytes
    #[arg(long, value_name = "HEX", value_parser = tcb, requires = "chip_id")]
    tcb: Option<Tcb>,

    /// The product, where neither processor nor report says it
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(PRODUCTS))]
    product: Option<String>,
}

#[derive(Debug, Clone)]
struct Chip(Vec<u8>);

#[derive(Debug, Clone)]
struct Tcb([u8; 8]);

fn chip_id(text: &str) -> Result<Chip, String> {
    common::unhex(text).map(Chip)
}

fn tcb(text: &str) -> Result<Tcb, String> {
    let bytes = common::unhex(text)?.try_into();
    bytes.map(Tcb).map_err(|_| "a TCB has 16 digits".into())
}

/// Whom to ask.
#[derive(Debug, Args)]
struct KdsArgs {
    /// AMD's Key Distribution Service, or a mirror of it
    #[arg(long, env = "ENARX_KDS_URL", value_name = "URL", default_value = vendor_kds::DEFAULT_URL)]
    #[arg(hide_env_values = true, value_parser = common::url, help_heading = "Service")]
    kds_url: Url,

    #[command(flatten)]
    service: ServiceArgs,
}

impl KdsArgs {
    fn kds(&self) -> Result<Kds, Failure> {
        Ok(Kds::new(self.service.fetcher(&self.kds_url)?, self.kds_url.clone()))
    }
}

pub(super) fn run(command: &SnpCommand) -> Result<(), Failure> {
    match command {
        SnpCommand::Update(args) => update(args),
        SnpCommand::Vcek(args) => vcek(args),
        SnpCommand::CacheCrl(args) => cache_crl(args),
        SnpCommand::Info(args) => info(args),
    }
}

impl KeyArgs {
    fn identity(&self) -> Result<Identity, Failure> {
        let product = self.product.as_deref().and_then(product);
        if let Some(path) = &self.report {
            let report = common::read(path)?;
            return common::input(path, Identity::of_report(&report, product));
        }
        if let (Some(Chip(chip)), Some(Tcb(tcb)), Some(product)) =
            (&self.chip_id, &self.tcb, product)
        {
            return Identity::new(product, SigningKey::Vcek, chip, *tcb)
                .map_err(|error| Failure::new(Code::Usage, error));
        }
        let platform = device::platform().map_err(no_platform)?;
        platform.identity(None).map_err(|error| no_platform(error.into()))
    }
}

fn no_platform(error: DeviceError) -> Failure {
    Failure::new(Code::Backend, error).context("this machine does not say which key it has").help(
        "--report FILE, or --product, --chip-id and --tcb, say it for another machine;\n\
         `enarx platform info` says what this one lacks",
    )
}

fn product(name: &str) -> Option<SnpProduct> {
    SnpProduct::ALL.into_iter().find(|product| product.as_str() == name)
}

fn update(args: &UpdateArgs) -> Result<(), Failure> {
    let identity = args.key.identity()?;
    let store = Store::new(args.cache.cache(CACHE)?, common::crypto());
    let (kds, now) = (args.kds.kds()?, common::now());
    let table = args.certificates.as_deref().map(common::read).transpose()?;
    let mut pieces = match (&args.certificates, &table) {
        (Some(path), Some(block)) => {
            let pieces = Table::parse(block)
                .map_err(KdsError::from)
                .and_then(|table| store.pieces_of_table(&table, &identity));
            common::input(path, pieces)?
        }
        _ => Vec::new(),
    };
    let task = async {
        let has = |pieces: &[Piece], one: fn(&Piece) -> bool| pieces.iter().any(one);
        let product = identity.product;
        if !has(&pieces, |piece| matches!(piece, Piece::Vek(..)))
            && (args.force || store.vek(&identity, now)?.is_none())
        {
            pieces.push(Piece::Vek(identity.clone(), kds.vcek(&identity).await?));
        }
        if !has(&pieces, |piece| matches!(piece, Piece::Authority(..))) {
            let chain = kds.chain(product, identity.key).await?;
            pieces.push(store.check_chain(product, chain)?);
        }
        if !has(&pieces, |piece| matches!(piece, Piece::List(..))) {
            pieces.push(Piece::List(product, kds.list(product).await?));
        }
        store.put(&pieces, now)
    };
    let failed = |error| failure(error, "cannot update what AMD says of this key");
    args.kds.service.run(async { task.await.map_err(failed) })?;
    if let Some(path) = &args.table {
        let table = store.table(&identity, now).map_err(failed)?;
        common::write_out(Some(path), &table)?;
    }
    show(&store, now, args.json)
}

fn vcek(args: &VcekArgs) -> Result<(), Failure> {
    let identity = args.key.identity()?;
    let now = common::now();
    let mut found = None;
    for cache in args.cache.caches(CACHE)? {
        // A cache that cannot be read is as good as none here; `info` says what is wrong with it.
        found = Store::new(cache, common::crypto()).vek(&identity, now).unwrap_or_default();
        if found.is_some() {
            break;
        }
    }
    let der = match found {
        Some(der) => der,
        None => {
            let kds = args.kds.kds()?;
            let store = Store::new(args.cache.cache(CACHE)?, common::crypto());
            let task = async {
                let der = kds.vcek(&identity).await?;
                store.put(&[Piece::Vek(identity.clone(), der.clone())], now)?;
                Ok(der)
            };
            let failed = |error| failure(error, "cannot get the key's certificate");
            args.kds.service.run(async { task.await.map_err(failed) })?
        }
    };
    let bytes = match args.pem {
        true => evidence_pki::to_pem("CERTIFICATE", &der).into_bytes(),
        false => der,
    };
    common::write_out(args.file.as_deref(), &bytes)
}

fn cache_crl(args: &CacheCrlArgs) -> Result<(), Failure> {
    let products = match args.product.as_deref().and_then(product).or(device::product().ok()) {
        Some(product) => vec![product],
        None => SnpProduct::ALL.to_vec(),
    };
    let store = Store::new(args.cache.cache(CACHE)?, common::crypto());
    let (kds, now) = (args.kds.kds()?, common::now());
    let task = async {
        let mut pieces = Vec::new();
        for product in products {
            pieces.push(Piece::List(product, kds.list(product).await?));
        }
        store.put(&pieces, now)
    };
    let failed = |error| failure(error, "cannot update AMD's revocation lists");
    args.kds.service.run(async { task.await.map_err(failed) })?;
    show(&store, now, args.json)
}

fn info(args: &InfoArgs) -> Result<(), Failure> {
    let now = common::now();
    let platform = device::platform();
    let mut caches = Vec::new();
    for cache in args.cache.caches(CACHE)? {
        let store = Store::new(cache, common::crypto());
        // One that cannot be read is no reason to hide the other.
        let seen =
            store.held(now).map(rows).unwrap_or_else(|error| vec![common::unreadable(&error)]);
        caches.push((store.cache().clone(), seen));
    }
    if args.json {
        let platform = match &platform {
            Ok(platform) => platform_json(platform),
            Err(error) => json!({ "problem": whole(error) }),
        };
        let caches: Vec<_> =
            caches.iter().map(|(cache, rows)| common::as_json(cache, rows)).collect();
        return print_json(&json!({ "platform": platform, "caches": caches }));
    }
    let style = Style::stdout();
    let mut text = match &platform {
        Ok(platform) => platform_text(platform),
        Err(error) => {
            format!("{}: {}\n", style.red("no SEV-SNP platform"), whole(error))
        }
    };
    for (cache, rows) in &caches {
        text.push('\n');
        text += &common::as_text(cache, rows);
    }
    print(&text)
}

fn platform_json(platform: &Platform) -> serde_json::Value {
    let status = &platform.status;
    json!({
        "product": platform.product.as_str(),
        "chip_id": hex(&platform.chip_id),
        "firmware": format!("{}.{}.{}", status.api.0, status.api.1, status.build),
        "state": status.state,
        "rmp_initialized": status.rmp_initialized,
        "chip_id_masked": status.chip_id_masked,
        "chip_key_masked": status.chip_key_masked,
        "vlek": status.vlek,
        "guests": status.guests,
        "current_tcb": hex(&status.current_tcb),
        "reported_tcb": hex(&status.reported_tcb),
    })
}

fn platform_text(platform: &Platform) -> String {
    let status = &platform.status;
    let (major, minor) = status.api;
    let yes = |value| if value { "yes" } else { "no" };
    format!(
        "product        {}\nchip id        {}\nfirmware       {major}.{minor}.{}\n\
         guests         {}\nreported TCB   {}\ncurrent TCB    {}\nVLEK loaded    {}\n\
         chip id hidden {}\n",
        platform.product.as_str(),
        hex(&platform.chip_id),
        status.build,
        status.guests,
        hex(&status.reported_tcb),
        hex(&status.current_tcb),
        yes(status.vlek),
        yes(status.chip_id_masked),
    )
}

/// An error with its causes, in one line.
fn whole(error: &DeviceError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(one) = cause {
        text += &format!(": {one}");
        cause = one.source();
    }
    text
}

fn show(store: &Store, now: Time, json: bool) -> Result<(), Failure> {
    common::show(store.cache(), &rows(store.held(now)?), json)
}

/// What the caches hold, in one line.
pub(super) fn cached() -> Datum {
    let now = common::now();
    let stores = super::caches(CACHE).into_iter().map(|one| Store::new(one, common::crypto()));
    let all = stores.filter_map(|store| store.held(now).ok()).flat_map(rows).collect::<Vec<_>>();
    common::summary("AMD's certificates and lists", &all, "enarx platform snp update")
}

fn rows(held: Vec<Held>) -> Vec<Row> {
    let row = |held: Held| Row {
        what: match held.what {
            What::Vek => "certificate of a key that signs reports",
            What::Authority => "certificate of an authority",
            What::List => "revocation list",
            What::Unknown => "not made here",
        }
        .into(),
        note: (held.problem.is_none() && held.what != What::List && !held.revocation_checked)
            .then(|| "without a revocation list to hold it against".into()),
        name: held.name,
        age: Some(held.age),
        valid_until: held.valid_until,
        problem: held.problem,
    };
    held.into_iter().map(row).collect()
}

fn failure(error: KdsError, context: &'static str) -> Failure {
    let help = match &error {
        KdsError::Vlek => {
            "--certificates names the table with it, which the cloud provider gives to its hosts"
        }
        KdsError::Fetch(FetchError::Later { .. }) => {
            "AMD limits how often it may be asked; the cache is as it was"
        }
        KdsError::Fetch(error) if error.status() == Some(404) => {
            "AMD knows no such chip with such a TCB; the cache is as it was"
        }
        KdsError::Refused { .. } | KdsError::Identity(_) | KdsError::Root(_) => {
            "whoever answered is not AMD, or answers for something else; the cache is as it was"
        }
        _ => "the cache is as it was",
    };
    Failure::new(Code::Failed, error).context(context).help(help)
}

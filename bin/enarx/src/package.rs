// SPDX-License-Identifier: Apache-2.0

//! `enarx package`: publish workloads, look at them, fetch them, and carry them to and from OCI registries.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueHint};
use command_line::{OrExit, files, print, print_bytes, print_json, warn};
use drawbridge_client::{Client, Error, Fetch, Package, Publish};
use drawbridge_oci::{Auth, Options, Registry};
use drawbridge_signatures::{PublicKey, SigningKey};
use drawbridge_types::{Slug, TagEntry, TagRequest, file};
use semver::Version;
use serde_json::{Value, json};

use crate::exit::{Code, Failure};
use crate::login::{StoreArgs, block_on, client, host};
use crate::transfer::Bars;

/// What a package is called in help.
const SPEC: &str = "[HOST[:PORT]/]USER/REPO:TAG";

#[derive(Debug, Subcommand)]
pub(crate) enum PackageCommand {
    Publish(PublishArgs),
    Info(InfoArgs),
    Fetch(FetchArgs),
    Yank(YankArgs),
    Delete(DeleteArgs),
    Digest(DigestArgs),
    #[cfg(target_os = "linux")]
    Compile(CompileArgs),
    Push(PushArgs),
    Pull(PullArgs),
}

/// Publish a folder or a WebAssembly file as a new version
///
/// A folder holds `main.wasm` and `Enarx.toml`, and if need be `main.artifact` and certificates (`*.pem`).
/// A version never changes. If publishing breaks off, the same command again finishes it.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// Its name; the tag is a version like 1.2.3
    #[arg(value_name = SPEC)]
    spec: Slug,

    /// The folder or the WebAssembly file
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: PathBuf,

    /// Sign the tag with this key, of `enarx key tag create`
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    sign: Option<PathBuf>,

    /// Put this sigstore bundle beside the tag; it signs what `enarx package digest --root` prints
    #[arg(long, value_name = "FILE", conflicts_with = "sign", value_hint = ValueHint::FilePath)]
    bundle: Option<PathBuf>,

    /// Check everything and send nothing
    #[arg(long)]
    dry_run: bool,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Show what a name stands for: version, digest, who may read it, and who signed it
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Its name; the tag is a version, a range like ^1.2, or `latest`
    #[arg(value_name = SPEC)]
    spec: Slug,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Fetch a package to this machine, with every digest checked
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// Its name; with @sha256:DIGEST, nothing else is taken
    #[arg(value_name = SPEC)]
    spec: Slug,

    /// The new folder or file; nothing is overwritten [default: the name of the repository]
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: Option<PathBuf>,

    /// Take it only if it is signed with this key (PEM); several: with one of them
    #[arg(long, value_name = "PUBLIC-KEY", value_hint = ValueHint::FilePath)]
    signer: Vec<PathBuf>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Withdraw a version: ranges and `latest` pass over it, its exact name still works
#[derive(Debug, Args)]
pub(crate) struct YankArgs {
    /// Its name, with a version
    #[arg(value_name = SPEC)]
    spec: Slug,

    /// Take that back
    #[arg(long)]
    undo: bool,

    /// Say what would be withdrawn, and do nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Delete a version for ever; its number is not given out again
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Its name, with a version
    #[arg(value_name = SPEC)]
    spec: Slug,

    /// Say what would be deleted, and do nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Print the digest that a folder or file has as a workload, without a network
#[derive(Debug, Args)]
pub(crate) struct DigestArgs {
    /// The folder or the WebAssembly file
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: PathBuf,

    /// Print the bytes that the digest is of, for tools that sign files
    #[arg(long, conflicts_with = "json")]
    root: bool,

    /// Print JSON
    #[arg(long, short)]
    json: bool,
}

/// Compile `main.wasm` of a folder to `main.artifact` beside it
///
/// A package with native code of its own runs without a compiler Keep, and its digest stands for that code
/// too. It fits this version of Enarx, and processors that have all that the one of this machine has.
#[cfg(target_os = "linux")]
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// The folder
    #[arg(value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    folder: PathBuf,

    /// The kind of Keep that it is for; without this option the best one that works here
    #[arg(long, env = "ENARX_BACKEND", value_name = "NAME")]
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(crate::backends::NAMES))]
    backend: Option<String>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,
}

/// How a registry is reached, and who asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct RegistryArgs {
    /// The user; else what Docker's configuration says. The password is in ENARX_REGISTRY_PASSWORD
    #[arg(long, env = "ENARX_REGISTRY_USER", value_name = "NAME")]
    registry_user: Option<String>,

    /// Root certificates for the registry, PEM
    #[arg(long, env = "ENARX_CA_BUNDLE", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    ca_bundle: Option<PathBuf>,

    /// Talk to the registry without TLS
    #[arg(long)]
    plain_http: bool,
}

/// Push a folder or a WebAssembly file to an OCI registry
///
/// Other tools find a WebAssembly artifact of the usual form; what else is in the folder is carried beside
/// it.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The folder or the WebAssembly file
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: PathBuf,

    /// Where to, for example registry.example.com/shop:1.2.3
    #[arg(value_name = "REFERENCE")]
    reference: String,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

/// Pull a workload from an OCI registry
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Where from, for example registry.example.com/shop:1.2.3
    #[arg(value_name = "REFERENCE")]
    reference: String,

    /// The new folder or file; nothing is overwritten
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath)]
    path: PathBuf,

    /// The digest that the workload has to have
    #[arg(long, value_name = "sha256:DIGEST")]
    digest: Option<String>,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    registry: RegistryArgs,
}

pub(crate) fn run(command: &PackageCommand) -> Result<(), Failure> {
    match command {
        PackageCommand::Publish(args) => publish(args),
        PackageCommand::Info(args) => info(args),
        PackageCommand::Fetch(args) => fetch(args),
        PackageCommand::Yank(args) => yank(args),
        PackageCommand::Delete(args) => delete(args),
        PackageCommand::Digest(args) => digest(args),
        #[cfg(target_os = "linux")]
        PackageCommand::Compile(args) => compile(args),
        PackageCommand::Push(args) => push(args),
        PackageCommand::Pull(args) => pull(args),
    }
}

fn publish(args: &PublishArgs) -> Result<(), Failure> {
    let package = package(&args.path)?;
    let version = version(&args.spec)?;
    let key = match &args.sign {
        Some(path) => Some(
            SigningKey::from_pem(&files::read_secret_text(path)?)
                .or_exit_with(Code::Input, || format!("{} cannot sign", path.display()))?,
        ),
        None => None,
    };
    let bundle = args.bundle.as_deref().map(files::read).transpose()?.map(|bytes| bytes.to_vec());
    let store = host(args.spec.host.as_deref(), &args.store)?;
    let name = format!("{store}/{}/{}:{version}", args.spec.user, args.spec.repo);
    let signed_by = key.as_ref().map(|key| key.public_key().id());
    let mut report = json!({
        "slug": format!("{name}@{}", package.digest()),
        "tag": version,
        "digest": package.digest(),
        "length": package.length(),
        "files": package.files().iter().map(|one| json!({
            "name": one.name.as_ref().map_or(file::WASM, |name| name.as_str()),
            "length": one.meta.length,
            "digest": one.meta.digest.workload(),
        })).collect::<Vec<_>>(),
        "signed_by": signed_by,
        "dry_run": args.dry_run,
    });
    if args.dry_run {
        let text = format!("would publish {name}@{}\n", package.digest());
        return show(args.json, &report, &text);
    }
    let client = client(&store, &args.store)?;
    let how = Publish { key, bundle };
    let bars = Bars::default();
    let done = block_on(client.publish(&args.spec, &package, &how, &bars))?
        .map_err(|error| failure(error, format!("cannot publish {name}")))?;
    report["existed"] = done.existed.into();
    let text = format!("published {name}@{}\n", done.digest);
    show(args.json, &report, &text)
}

fn info(args: &InfoArgs) -> Result<(), Failure> {
    let client = store(&args.spec, &args.store)?;
    let spec = &args.spec;
    let context = format!("cannot show {spec}");
    let found = block_on(async {
        let terms = client.terms(spec).await?;
        // Who may deploy it may not always read it.
        let entry = client.tag(&spec.user, &spec.repo, &terms.tag).await.ok();
        let bundle = client.bundle(&spec.user, &spec.repo, &terms.tag).await.ok().flatten();
        Ok((terms, entry, bundle))
    })?;
    let (terms, entry, bundle) = found.map_err(|error| failure(error, context))?;
    let digest = terms.meta.digest.workload().unwrap_or_default();
    let signature = match (&entry, &bundle) {
        (Some(TagEntry::Signed(_)), _) => Some("jws"),
        (Some(_), Some(_)) => Some("sigstore"),
        (Some(_), None) => None,
        (None, _) => Some("unknown"),
    };
    let slug = format!("{}/{}/{}:{}@{digest}", client.host(), terms.user, terms.repo, terms.tag);
    let mut report = serde_json::to_value(&terms)?;
    report["slug"] = slug.clone().into();
    report["workload"] = digest.into();
    report["signature"] = signature.into();
    let access = report["access"].as_str().unwrap_or_default().to_owned();
    let mut text = format!(
        "{slug}\n  type       {}\n  length     {} bytes\n  access     {access}\n",
        terms.meta.kind, terms.meta.length
    );
    if let Some(steward) = &terms.steward {
        text += &format!("  Steward    {}\n", printable(steward));
    }
    text += &format!("  signature  {}\n", signature.unwrap_or("none"));
    if terms.yanked {
        text += "  withdrawn by its owner\n";
    }
    show(args.json, &report, &text)
}

fn fetch(args: &FetchArgs) -> Result<(), Failure> {
    let signers = args.signer.iter().map(|path| public_key(path)).collect::<Result<_, _>>()?;
    let path = args.path.clone().unwrap_or_else(|| args.spec.repo.as_str().into());
    let client = store(&args.spec, &args.store)?;
    let bars = Bars::default();
    let how = Fetch { signers };
    let done = block_on(client.fetch(&args.spec, &path, &how, &bars))?
        .map_err(|error| failure(error, format!("cannot fetch {}", args.spec)))?;
    if done.yanked {
        warn(format_args!("{} has been withdrawn by its owner", args.spec));
    }
    let report = json!({
        "tag": done.tag,
        "digest": done.digest,
        "yanked": done.yanked,
        "path": path,
        "files": done.files,
    });
    let text = format!(
        "fetched {}/{}:{}@{} to {}\n",
        args.spec.user,
        args.spec.repo,
        done.tag,
        done.digest,
        path.display()
    );
    show(args.json, &report, &text)
}

fn yank(args: &YankArgs) -> Result<(), Failure> {
    let version = version(&args.spec)?;
    let client = store(&args.spec, &args.store)?;
    let (user, repo) = (&args.spec.user, &args.spec.repo);
    let name = format!("{}/{user}/{repo}:{version}", client.host());
    let word = if args.undo { "restore" } else { "withdraw" };
    if args.dry_run {
        block_on(client.terms(&args.spec))?
            .map_err(|error| failure(error, format!("there is no {name}")))?;
        return print(&format!("would {word} {name}\n"));
    }
    block_on(client.yank(user, repo, &version, !args.undo))?
        .map_err(|error| failure(error, format!("cannot {word} {name}")))?;
    print(&format!("{} {name}\n", if args.undo { "restored" } else { "withdrew" }))
}

fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let version = version(&args.spec)?;
    let client = store(&args.spec, &args.store)?;
    let (user, repo) = (&args.spec.user, &args.spec.repo);
    let name = format!("{}/{user}/{repo}:{version}", client.host());
    if args.dry_run {
        block_on(client.terms(&args.spec))?
            .map_err(|error| failure(error, format!("there is no {name}")))?;
        return print(&format!("would delete {name}\n"));
    }
    block_on(client.delete_tag(user, repo, &version))?
        .map_err(|error| failure(error, format!("cannot delete {name}")))?;
    print(&format!("deleted {name}\n"))
}

fn digest(args: &DigestArgs) -> Result<(), Failure> {
    let package = package(&args.path)?;
    if args.root {
        return match package.directory() {
            Some(directory) => print_bytes(directory),
            None => print_bytes(
                &std::fs::read(&args.path)
                    .or_exit_with(Code::Input, || format!("cannot read {}", args.path.display()))?,
            ),
        };
    }
    let report = json!({"digest": package.digest(), "root": package.root()});
    show(args.json, &report, &format!("{}\n", package.digest()))
}

#[cfg(target_os = "linux")]
fn compile(args: &CompileArgs) -> Result<(), Failure> {
    let (length, backend) = crate::run::compile(&args.folder, args.backend.as_deref())?;
    let path = args.folder.join(file::ARTIFACT);
    let report = json!({"path": path, "length": length, "backend": backend});
    let text = format!("made {}, {length} bytes, for the {backend} backend\n", path.display());
    show(args.json, &report, &text)
}

fn push(args: &PushArgs) -> Result<(), Failure> {
    let package = package(&args.path)?;
    let registry = registry(&args.reference, &args.registry)?;
    let done = block_on(registry.push(&args.reference, &package))?
        .or_exit_with(Code::Failed, || format!("cannot push to {}", args.reference))?;
    let report = json!({
        "reference": args.reference,
        "manifest": done.manifest,
        "digest": done.workload,
    });
    let text = format!("pushed {} as {}\n", done.workload, args.reference);
    show(args.json, &report, &text)
}

fn pull(args: &PullArgs) -> Result<(), Failure> {
    let registry = registry(&args.reference, &args.registry)?;
    let done = block_on(registry.pull(&args.reference, &args.path, args.digest.as_deref()))?
        .or_exit_with(Code::Failed, || format!("cannot pull {}", args.reference))?;
    let report = json!({
        "reference": args.reference,
        "manifest": done.manifest,
        "digest": done.workload,
        "path": args.path,
        "files": done.files,
    });
    let text = format!("pulled {} to {}\n", done.workload, args.path.display());
    show(args.json, &report, &text)
}

fn registry(reference: &str, args: &RegistryArgs) -> Result<Registry, Failure> {
    let host = reference.split('/').next().unwrap_or_default();
    let auth = match &args.registry_user {
        Some(user) => {
            let password = std::env::var("ENARX_REGISTRY_PASSWORD").unwrap_or_default();
            Auth::Basic(user.clone(), password)
        }
        None => Auth::of_docker(host).or_exit(Code::Input)?,
    };
    let ca_bundle = match &args.ca_bundle {
        Some(path) => files::read(path)?.to_vec(),
        None => Vec::new(),
    };
    let plain_http = if args.plain_http { vec![host.to_owned()] } else { Vec::new() };
    Registry::new(&Options { ca_bundle, plain_http, auth }).or_exit(Code::Input)
}

/// The package at that path, whose configuration is one.
fn package(path: &Path) -> Result<Package, Failure> {
    let package = Package::from_path(path).or_exit(Code::Input)?;
    if package.directory().is_some()
        && let Some(file) = package.file(file::CONFIG)
    {
        crate::config::load(&file.path)?;
    }
    Ok(package)
}

pub(crate) fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    PublicKey::from_pem(&files::read_text(path)?)
        .or_exit_with(Code::Input, || format!("{} is no public key", path.display()))
}

fn store(spec: &Slug, args: &StoreArgs) -> Result<Client, Failure> {
    client(&host(spec.host.as_deref(), args)?, args)
}

fn version(spec: &Slug) -> Result<Version, Failure> {
    match &spec.tag {
        Some(TagRequest::Exact(version)) => Ok(version.clone()),
        _ => Err(Failure::new(Code::Usage, Error::NoVersion(spec.to_string()))
            .help("name the version, like `user/repo:1.2.3`")),
    }
}

/// With what can be done about it.
pub(crate) fn failure(
    error: Error,
    context: impl std::fmt::Display + Send + Sync + 'static,
) -> Failure {
    let code = match &error {
        Error::File { .. } | Error::Package(_) => Code::Input,
        Error::NoVersion(_) | Error::Setup { .. } => Code::Usage,
        _ => Code::Failed,
    };
    let help = error.help();
    let failure = Failure::new(code, error).context(context);
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}

pub(crate) fn show(json: bool, report: &Value, text: &str) -> Result<(), Failure> {
    if json { print_json(report) } else { print(text) }
}

/// A peer's words on a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).collect()
}

// SPDX-License-Identifier: Apache-2.0

//! `enarx repo`: repositories, and to whom their workloads are released.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueHint};
use command_line::{OrExit, files, print};
use drawbridge_client::{Client, read_release};
use drawbridge_types::{Release, RepoName, Repository, Slug, UserName};
use serde_json::json;

use crate::exit::{Code, Failure};
use crate::login::{StoreArgs, block_on, client, host};
use crate::package::{failure, printable, public_key, show};

/// What a repository is called in help.
const SPEC: &str = "[HOST[:PORT]/]USER/REPO";

#[derive(Debug, Subcommand)]
pub(crate) enum RepoCommand {
    Register(RegisterArgs),
    Change(ChangeArgs),
    Info(InfoArgs),
    List(ListArgs),
    Search(SearchArgs),
    Delete(DeleteArgs),
}

/// A repository's name, without a tag.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    host: Option<String>,
    user: UserName,
    repo: RepoName,
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let slug: Slug = text.parse().map_err(|error| format!("{error}"))?;
        match slug {
            Slug { host, user, repo, tag: None, digest: None } => Ok(Self { host, user, repo }),
            _ => Err("a repository is named without tag and digest".into()),
        }
    }
}

impl std::fmt::Display for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.user, self.repo)
    }
}

/// Create a repository
///
/// Without further options only its owner can read it. With a release policy, Keeps can as well whose
/// certificate meets that policy.
#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// Its name
    #[arg(value_name = SPEC)]
    spec: Spec,

    #[command(flatten)]
    policy: PolicyArgs,

    /// Say what would be created, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Change to whom a repository's workloads are released; what is not named here is taken back
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Its name
    #[arg(value_name = SPEC)]
    spec: Spec,

    #[command(flatten)]
    policy: PolicyArgs,

    /// Show old and new, and do nothing
    #[arg(long)]
    dry_run: bool,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// To whom workloads are released, and who must have signed them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Release")]
pub(crate) struct PolicyArgs {
    /// Anybody can read everything
    #[arg(long, conflicts_with_all = ["release", "steward"])]
    public: bool,

    /// Keeps get workloads that meet this release policy (TOML or JSON)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["steward", "steward_ca", "platform", "measurement", "allow_development"])]
    release: Option<PathBuf>,

    /// Keeps get workloads that have a certificate of this Steward
    #[arg(long, value_name = "URL", requires = "steward_ca")]
    steward: Option<String>,

    /// Roots of the Steward's certificates, PEM
    #[arg(long, value_name = "FILE", requires = "steward", value_hint = ValueHint::FilePath)]
    steward_ca: Option<PathBuf>,

    /// Only on this platform: snp, sgx or tdx
    #[arg(long, value_name = "PLATFORM", requires = "steward")]
    platform: Vec<String>,

    /// Only with this measurement, in hexadecimal digits
    #[arg(long, value_name = "HEX", requires = "steward")]
    measurement: Vec<String>,

    /// Also to Keeps whose evidence proves nothing, for development
    #[arg(long, requires = "steward")]
    allow_development: bool,

    /// Tags have to be signed with this key (PEM); several: with one of them
    #[arg(long, value_name = "PUBLIC-KEY", value_hint = ValueHint::FilePath)]
    signer: Vec<PathBuf>,

    /// Tags have to be signed by sigstore by this identity, as `ISSUER,SUBJECT`; several: by one of them
    #[arg(long, value_name = "ISSUER,SUBJECT", value_parser = identity)]
    identity: Vec<(String, String)>,
}

fn identity(text: &str) -> Result<(String, String), String> {
    match text.split_once(',') {
        Some((issuer, subject)) if !issuer.is_empty() && !subject.is_empty() => {
            Ok((issuer.to_owned(), subject.to_owned()))
        }
        _ => Err("an identity is the issuer's URL, a comma, and the subject".into()),
    }
}

/// Show a repository: who may read it, and its versions
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Its name
    #[arg(value_name = SPEC)]
    spec: Spec,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// List a user's repositories
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// `[HOST[:PORT]/]USER`
    #[arg(value_name = "USER")]
    user: String,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Search for repositories by a part of their names
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// What to search for
    #[arg(value_name = "QUERY")]
    query: String,

    /// Print JSON
    #[arg(long, short)]
    json: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Delete a repository with all its versions, for ever
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Its name
    #[arg(value_name = SPEC)]
    spec: Spec,

    /// Say what would be deleted, and do nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) fn run(command: &RepoCommand) -> Result<(), Failure> {
    match command {
        RepoCommand::Register(args) => register(args),
        RepoCommand::Change(args) => change(args),
        RepoCommand::Info(args) => info(args),
        RepoCommand::List(args) => list(args),
        RepoCommand::Search(args) => search(args),
        RepoCommand::Delete(args) => delete(args),
    }
}

impl PolicyArgs {
    fn repository(&self) -> Result<Repository, Failure> {
        let release = match (&self.release, &self.steward, &self.steward_ca) {
            (Some(path), _, _) => Some(read_release(path).or_exit(Code::Input)?),
            (None, Some(steward), Some(roots)) => Some(Release {
                steward: steward.clone(),
                roots: files::read_certificates(roots)?
                    .iter()
                    .map(|der| evidence_pki::to_pem("CERTIFICATE", der))
                    .collect(),
                platforms: self.platform.clone(),
                measurements: self.measurement.clone(),
                signers: Vec::new(),
                tcb_statuses: Vec::new(),
                allow_development: self.allow_development,
                max_age: None,
            }),
            _ => None,
        };
        let signers = self.signer.iter().map(|path| Ok(public_key(path)?.to_pem()));
        Ok(Repository {
            public: self.public,
            release,
            signers: signers.collect::<Result<_, Failure>>()?,
            identities: self.identity.clone(),
        })
    }
}

fn register(args: &RegisterArgs) -> Result<(), Failure> {
    let repository = args.policy.repository()?;
    let store = host(args.spec.host.as_deref(), &args.store)?;
    let name = format!("{store}/{}", args.spec);
    let access = word(&repository);
    let report = json!({
        "repository": name,
        "access": repository.access(),
        "record": repository,
        "dry_run": args.dry_run,
    });
    if args.dry_run {
        return show(args.json, &report, &format!("would create {name}, for {access}\n"));
    }
    let client = client(&store, &args.store)?;
    block_on(client.create_repository(&args.spec.user, &args.spec.repo, &repository))?
        .map_err(|error| failure(error, format!("cannot create {name}")))?;
    show(args.json, &report, &format!("created {name}, for {access}\n"))
}

fn change(args: &ChangeArgs) -> Result<(), Failure> {
    let new = args.policy.repository()?;
    let client = client(&host(args.spec.host.as_deref(), &args.store)?, &args.store)?;
    let name = format!("{}/{}", client.host(), args.spec);
    let (user, repo) = (&args.spec.user, &args.spec.repo);
    let done = block_on(async {
        let (old, etag) = client.repository(user, repo).await?;
        // Without an ETag, somebody else's change could be lost: the server refuses that.
        if !args.dry_run {
            let etag = etag.unwrap_or_default();
            client.change_repository(user, repo, &new, &etag).await?;
        }
        Ok(old)
    })?;
    let old = done.map_err(|error| failure(error, format!("cannot change {name}")))?;
    let report = json!({
        "repository": name,
        "old": old,
        "new": new,
        "dry_run": args.dry_run,
    });
    let now = if args.dry_run { "would be" } else { "is" };
    show(args.json, &report, &format!("{name}: was for {}, {now} for {}\n", word(&old), word(&new)))
}

fn info(args: &InfoArgs) -> Result<(), Failure> {
    let client = client(&host(args.spec.host.as_deref(), &args.store)?, &args.store)?;
    let (user, repo) = (&args.spec.user, &args.spec.repo);
    let name = format!("{}/{}", client.host(), args.spec);
    let found = block_on(async {
        // Only its owner may see the record; the versions of a public one can be seen by anybody.
        let record = client.repository(user, repo).await;
        let (mut tags, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = client.tags(user, repo, after.as_deref()).await?;
            tags.extend(page.items);
            after = page.next;
            if after.is_none() {
                return Ok((record, tags));
            }
        }
    })?;
    let (record, tags) = found.map_err(|error| failure(error, format!("cannot show {name}")))?;
    let record = record.ok().map(|(record, _)| record);
    let report = json!({
        "repository": name,
        "access": record.as_ref().map(Repository::access),
        "record": record,
        "tags": tags,
    });
    let mut text = format!("{name}\n");
    if let Some(record) = &record {
        text += &format!("  for        {}\n", word(record));
        if let Some(release) = &record.release {
            text += &format!("  Steward    {}\n", printable(&release.steward));
        }
        for pem in &record.signers {
            let id = drawbridge_signatures::PublicKey::from_pem(pem).map(|key| key.id());
            text += &format!("  signer     {}\n", id.unwrap_or_else(|_| "unknown".into()));
        }
        for (issuer, subject) in &record.identities {
            text += &format!("  signer     {} of {}\n", printable(subject), printable(issuer));
        }
    }
    for tag in &tags {
        let digest = tag.meta.digest.workload().unwrap_or_default();
        let signed = if tag.signed { " signed" } else { "" };
        let yanked = if tag.yanked { " withdrawn" } else { "" };
        text += &format!("  {:<10} {digest}{signed}{yanked}\n", tag.tag.to_string());
    }
    show(args.json, &report, &text)
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let (named, user) = match args.user.rsplit_once('/') {
        Some((host, user)) => (Some(host), user),
        None => (None, args.user.as_str()),
    };
    let user: UserName =
        user.parse().or_exit_with(Code::Usage, || format!("{user:?} does not name a user"))?;
    let client = client(&host(named, &args.store)?, &args.store)?;
    all(&client, args.json, format!("cannot list the repositories of {user}"), async |after| {
        client.repositories(&user, after).await
    })
}

fn search(args: &SearchArgs) -> Result<(), Failure> {
    let client = client(&host(None, &args.store)?, &args.store)?;
    all(&client, args.json, "cannot search".into(), async |after| {
        client.search(&args.query, after).await
    })
}

/// Prints all pages.
fn all(
    client: &Client,
    json: bool,
    context: String,
    page: impl AsyncFn(
        Option<&str>,
    ) -> Result<
        drawbridge_types::Page<drawbridge_types::RepositorySummary>,
        drawbridge_client::Error,
    >,
) -> Result<(), Failure> {
    let found = block_on(async {
        let (mut items, mut after) = (Vec::new(), None::<String>);
        loop {
            let found = page(after.as_deref()).await?;
            items.extend(found.items);
            after = found.next;
            if after.is_none() {
                return Ok(items);
            }
        }
    })?;
    let items = found.map_err(|error| failure(error, context))?;
    let mut text = String::new();
    for one in &items {
        let access = serde_json::to_value(one.access)?;
        let access = access.as_str().unwrap_or_default();
        text += &format!("{}/{}/{} {access}\n", client.host(), one.user, one.repo);
    }
    show(json, &json!({"repositories": items}), &text)
}

fn delete(args: &DeleteArgs) -> Result<(), Failure> {
    let client = client(&host(args.spec.host.as_deref(), &args.store)?, &args.store)?;
    let name = format!("{}/{}", client.host(), args.spec);
    let (user, repo) = (&args.spec.user, &args.spec.repo);
    if args.dry_run {
        block_on(client.repository(user, repo))?
            .map_err(|error| failure(error, format!("there is no {name}")))?;
        return print(&format!("would delete {name} with all its versions\n"));
    }
    block_on(client.delete_repository(user, repo))?
        .map_err(|error| failure(error, format!("cannot delete {name}")))?;
    print(&format!("deleted {name}\n"))
}

fn word(repository: &Repository) -> &'static str {
    match repository.access() {
        drawbridge_types::Access::Public => "anybody",
        drawbridge_types::Access::Owner => "its owner alone",
        drawbridge_types::Access::Attested => "its owner and attested Keeps",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_named_without_a_tag() {
        let spec: Spec = "store.example.com:8443/alice/shop".parse().unwrap();
        assert_eq!(spec.host.as_deref(), Some("store.example.com:8443"));
        assert_eq!(spec.to_string(), "alice/shop");
        for bad in ["shop", "alice/shop:1.0.0", "alice/shop@sha256:00"] {
            assert!(bad.parse::<Spec>().is_err(), "{bad}");
        }
    }

    #[test]
    fn identities_have_two_parts() {
        let found = identity("https://id.example.com,alice@example.com");
        assert_eq!(found, Ok(("https://id.example.com".into(), "alice@example.com".into())));
        for bad in ["", "a", ",b", "a,"] {
            assert!(identity(bad).is_err(), "{bad}");
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! What every command that talks to a Drawbridge needs: its host, and a token for it.
//!
//! There is no default host and no default issuer: a company's name in a program outlives the company.
//! What `enarx user login` was told is remembered beside the tokens, so it is said once.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum, ValueHint};
use command_line::{OrExit, files, warn};
use oidc_login::{Credential, Key, Login, Options, Secret, TokenStore, issuer_url};
use serde::{Deserialize, Serialize};

use crate::dirs;
use crate::exit::{Code, Failure};

/// The client that this program is to an issuer, unless it is told another name.
const CLIENT_ID: &str = "enarx";

/// A token that ends sooner is not worth sending.
const FRESH: Duration = Duration::from_secs(30);

/// How a Drawbridge is reached, and who asks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Drawbridge")]
pub(crate) struct StoreArgs {
    /// The Drawbridge where a name does not say it; else the one of the last login
    #[arg(long = "drawbridge", visible_alias = "store-host", env = "ENARX_DRAWBRIDGE")]
    #[arg(value_name = "HOST[:PORT]")]
    pub(crate) drawbridge: Option<String>,

    /// Root certificates for the Drawbridge and the issuer, PEM or DER
    #[arg(long, env = "ENARX_CA_BUNDLE", value_name = "FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) ca_bundle: Option<PathBuf>,

    /// The OpenID Connect issuer of the Drawbridge's users; else that of the login there
    #[arg(long, env = "ENARX_OIDC_DOMAIN", value_name = "URL")]
    pub(crate) oidc_domain: Option<String>,

    /// Use this token and look for no other; other users of this machine may see it
    #[arg(long, env = "ENARX_INSECURE_AUTH_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub(crate) insecure_auth_token: Option<Secret>,

    /// The program that keeps tokens, called with `show`, `insert` or `erase` and a name
    #[arg(long, env = "ENARX_CREDENTIAL_HELPER", value_name = "PROGRAM")]
    #[arg(value_hint = ValueHint::ExecutablePath)]
    pub(crate) credential_helper: Option<PathBuf>,
}

/// As whom this program logs in.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Login")]
pub(crate) struct ClientArgs {
    /// This program's name at the issuer [default: enarx]
    #[arg(long, env = "ENARX_OIDC_CLIENT_ID", value_name = "ID")]
    pub(crate) oidc_client_id: Option<String>,

    /// `device`: a person approves in a browser; `client`: a machine has ENARX_OIDC_CLIENT_SECRET
    #[arg(long, value_name = "FLOW", default_value = "device")]
    pub(crate) oidc_flow: Flow,
}

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Flow {
    /// RFC 8628.
    Device,
    /// RFC 6749, section 4.4.
    Client,
}

/// How one logged in at a Drawbridge; nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) issuer: String,
    pub(crate) client_id: String,
    pub(crate) flow: Flow,
}

/// All logins, by host.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Logins {
    /// The host of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(default)]
    hosts: BTreeMap<String, Remembered>,
}

impl Logins {
    /// What is remembered; a file that cannot be read is as good as none.
    pub(crate) fn load() -> Self {
        let Ok(path) = Self::path() else { return Self::default() };
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                warn(format_args!("{} cannot be read and is ignored: {error}", path.display()));
                Self::default()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    warn(format_args!("{} cannot be read and is ignored: {error}", path.display()));
                }
                Self::default()
            }
        }
    }

    pub(crate) fn get(&self, host: &str) -> Option<&Remembered> {
        self.hosts.get(host)
    }

    pub(crate) fn remember(&mut self, host: &str, login: Remembered) -> Result<(), Failure> {
        self.hosts.insert(host.to_owned(), login);
        self.last = Some(host.to_owned());
        self.save()
    }

    pub(crate) fn forget(&mut self, host: &str) -> Result<(), Failure> {
        if self.hosts.remove(host).is_none() {
            return Ok(());
        }
        if self.last.as_deref() == Some(host) {
            self.last = None;
        }
        self.save()
    }

    fn path() -> anyhow::Result<PathBuf> {
        Ok(dirs::state()?.join("logins.json"))
    }

    fn save(&self) -> Result<(), Failure> {
        let path = Self::path()?;
        let text = serde_json::to_vec_pretty(self)?;
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            let new = path.with_extension("new");
            fs::write(&new, text)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}

/// The Drawbridge that is meant: what the name says, else the option, else the last login.
pub(crate) fn host(named: Option<&str>, args: &StoreArgs) -> Result<String, Failure> {
    let chosen = named.or(args.drawbridge.as_deref()).map(str::to_owned);
    chosen.or_else(|| Logins::load().last).ok_or_else(|| {
        Failure::msg(Code::Usage, "no Drawbridge is named").help(
            "write HOST[:PORT]/ before the name, pass --drawbridge or set ENARX_DRAWBRIDGE, or log in \
             once with `enarx user login --drawbridge HOST --oidc-domain URL`",
        )
    })
}

/// How to log in at a Drawbridge, as far as options and an earlier login say.
pub(crate) fn login_for(
    host: &str,
    args: &StoreArgs,
    client: Option<&ClientArgs>,
) -> Option<Remembered> {
    let logins = Logins::load();
    let before = logins.get(host);
    let issuer = args.oidc_domain.clone().or_else(|| before.map(|login| login.issuer.clone()))?;
    // What was said for one issuer says nothing about another.
    let before =
        before.filter(|login| login.issuer.trim_end_matches('/') == issuer.trim_end_matches('/'));
    let client_id = client
        .and_then(|client| client.oidc_client_id.clone())
        .or_else(|| before.map(|login| login.client_id.clone()))
        .unwrap_or_else(|| CLIENT_ID.to_owned());
    let flow = client
        .map(|client| client.oidc_flow)
        .or_else(|| before.map(|login| login.flow))
        .unwrap_or(Flow::Device);
    Some(Remembered { issuer, client_id, flow })
}

/// The token for requests to a Drawbridge; none if nobody is logged in there, which may be enough for
/// what is public.
///
/// A login that has ended is renewed if the issuer allows it, else there is a warning.
pub(crate) fn token(host: &str, args: &StoreArgs) -> Result<Option<Secret>, Failure> {
    if let Some(token) = &args.insecure_auth_token {
        return match Credential::bare(token.expose()) {
            Some(credential) => Ok(Some(credential.access)),
            None => Err(Failure::msg(Code::Usage, "the token that was given cannot be one")
                .help("check ENARX_INSECURE_AUTH_TOKEN or --insecure-auth-token")),
        };
    }
    let Some(login) = login_for(host, args, None) else { return Ok(None) };
    let (store, key) = (store(args)?, key(host, &login)?);
    let Some(credential) = store.show(&key).or_exit(Code::Failed)? else { return Ok(None) };
    if credential.is_fresh(FRESH) {
        return Ok(Some(credential.access));
    }
    match renew(host, args, &login, &credential) {
        Some(Ok(credential)) => {
            store.insert(&key, &credential).or_exit(Code::Failed)?;
            Ok(Some(credential.access))
        }
        Some(Err(failure)) => {
            warn(format_args!("the login at {host} cannot be renewed: {}", failure.line()));
            Ok(None)
        }
        None => {
            warn(format_args!(
                "the login at {host} has ended; `enarx user login` begins a new one"
            ));
            Ok(None)
        }
    }
}

/// A client of a Drawbridge, in the name of whoever is logged in there.
pub(crate) fn client(host: &str, args: &StoreArgs) -> Result<drawbridge_client::Client, Failure> {
    let mut builder = drawbridge_client::Client::builder(host);
    if let Some(token) = token(host, args)? {
        builder = builder.token(token.expose());
    }
    let roots = roots(args)?;
    if !roots.is_empty() {
        let pem: String =
            roots.iter().map(|der| evidence_pki::to_pem("CERTIFICATE", der)).collect();
        builder = builder.ca_bundle(pem);
    }
    builder.build().or_exit(Code::Usage)
}

/// Runs what waits for the network.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot prepare to use the network")?;
    Ok(runtime.block_on(future))
}

/// What the issuer has to know, for a login in either flow.
pub(crate) fn options(
    host: &str,
    args: &StoreArgs,
    login: &Remembered,
) -> Result<Options, Failure> {
    let client_secret = std::env::var("ENARX_OIDC_CLIENT_SECRET").ok().filter(|s| !s.is_empty());
    Ok(Options {
        client_secret: client_secret.map(Secret::from),
        roots: roots(args)?,
        ..Options::for_store(&login.issuer, &login.client_id, host)
    })
}

/// Where tokens are kept.
pub(crate) fn store(args: &StoreArgs) -> Result<TokenStore, Failure> {
    let file = dirs::state()?.join("tokens.json");
    Ok(TokenStore::new(args.credential_helper.as_deref(), &file))
}

/// What the token of a login is kept under.
pub(crate) fn key(host: &str, login: &Remembered) -> Result<Key, Failure> {
    let issuer = issuer_url(&login.issuer).or_exit(Code::Usage)?;
    Ok(Key::new(&issuer, host))
}

/// A new token for an old one, if there is a way without a person.
fn renew(
    host: &str,
    args: &StoreArgs,
    login: &Remembered,
    credential: &Credential,
) -> Option<Result<Credential, Failure>> {
    let options = match options(host, args, login) {
        Ok(options) => options,
        Err(failure) => return Some(Err(failure)),
    };
    let machine = login.flow == Flow::Client && options.client_secret.is_some();
    if credential.refresh.is_none() && !machine {
        return None;
    }
    let renewed = block_on(async {
        let login = Login::new(options).await?;
        match &credential.refresh {
            Some(refresh) => login.refresh(refresh).await,
            None => login.client_credentials().await,
        }
    });
    Some(renewed.and_then(|result| result.or_exit(Code::Failed)))
}

fn roots(args: &StoreArgs) -> Result<Vec<Vec<u8>>, Failure> {
    args.ca_bundle.as_deref().map_or_else(|| Ok(Vec::new()), files::read_certificates)
}

/// The error for a command that needs an issuer and was told none.
pub(crate) fn no_issuer(host: &str) -> Failure {
    let error = anyhow!("it is not known where users of {host} log in");
    Failure::new(Code::Usage, error).help(
        "pass --oidc-domain or set ENARX_OIDC_DOMAIN: the URL of the OpenID Connect issuer that the \
         Drawbridge was started with (--oidc-issuer)",
    )
}

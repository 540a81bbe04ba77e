// SPDX-License-Identifier: Apache-2.0

//! `enarx user`: log in at a Drawbridge, and be somebody there.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use command_line::{OrExit, Style, print, print_json, warn};
use drawbridge_types::{UserName, UserRecord};
use oidc_login::{Credential, DeviceFlow, Login, LoginError, Place};
use serde_json::json;

use crate::exit::{Code, Failure};
use crate::login::{
    ClientArgs, Flow, Logins, StoreArgs, block_on, client, host, key, login_for, no_issuer,
    options, store, token,
};

/// Log in at a Drawbridge, and create a user there
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Log in, and keep the token for the commands to come
    ///
    /// A person opens a page of the issuer in a browser, on this machine or any other, and approves. A
    /// machine uses --oidc-flow client, and its secret in ENARX_OIDC_CLIENT_SECRET.
    Login {
        #[command(flatten)]
        client: ClientArgs,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Forget the token, and have the issuer forget it where it offers that
    Logout {
        #[command(flatten)]
        store: StoreArgs,
    },
    Register(RegisterArgs),
    Info(InfoArgs),
}

/// Create a user, who then belongs to whoever is logged in
#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// `[host[:port]/]user`: letters and digits
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Show who is logged in, or a user of yours
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// `[host[:port]/]user`
    #[arg(value_name = "USER")]
    user: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
    /// Print JSON
    #[arg(long, short)]
    json: bool,
}

pub(crate) fn run(command: &UserCommand) -> Result<(), Failure> {
    match command {
        UserCommand::Login { client, store } => {
            let host = host(None, store)?;
            log_in(&host, store, client).map(drop)
        }
        UserCommand::Logout { store } => log_out(store),
        UserCommand::Register(args) => register(args),
        UserCommand::Info(args) => info(args),
    }
}

fn log_in(host: &str, args: &StoreArgs, client: &ClientArgs) -> Result<Credential, Failure> {
    let login = login_for(host, args, Some(client)).ok_or_else(|| no_issuer(host))?;
    let (key, options) = (key(host, &login)?, options(host, args, &login)?);
    if login.flow == Flow::Client && options.client_secret.is_none() {
        return Err(
            Failure::new(Code::Usage, LoginError::NoSecret).help("set ENARX_OIDC_CLIENT_SECRET")
        );
    }
    let credential = block_on(async {
        let issuer = Login::new(options).await?;
        match login.flow {
            Flow::Client => issuer.client_credentials().await,
            Flow::Device => {
                let flow = issuer.device().await?;
                show(&flow);
                flow.wait().await
            }
        }
    })?;
    let credential =
        credential.or_exit_with(Code::Failed, || format!("cannot log in at {}", login.issuer))?;
    let place = store(args)?.insert(&key, &credential).or_exit(Code::Failed)?;
    if let Place::File(path) = &place {
        warn(format_args!(
            "there is no keyring here, so the token is in {}, where every program that runs as you \
             can read it. A keyring is used where a Secret Service runs and secret-tool (of \
             libsecret) is installed; --credential-helper names another place",
            path.display()
        ));
    }
    Logins::load().remember(host, login)?;
    note(&format!("Logged in at {host}; the token is in {place}.\n"));
    Ok(credential)
}

/// Tells a person where to approve.
fn show(flow: &DeviceFlow<'_>) {
    let style = Style::stderr();
    let code = style.bold(flow.user_code());
    let minutes = flow.lifetime().as_secs().div_ceil(60);
    let mut text = match flow.verification_uri_complete() {
        Some(url) => format!(
            "To log in, open this page in a browser on any device:\n\n    {}\n\nIt has to show the \
             code {code}. If it asks for one, type it in; the page is also at {}\n",
            style.bold(url.as_str()),
            flow.verification_uri()
        ),
        None => format!(
            "To log in, open this page in a browser on any device:\n\n    {}\n\nand type in the code \
             {code}\n",
            style.bold(flow.verification_uri().as_str())
        ),
    };
    text += &format!("Waiting for that, {minutes} minutes at most …\n");
    note(&text);
}

/// Says something on stderr that is neither an error nor a result.
fn note(text: &str) {
    // Whoever closed stderr does not want to know.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn log_out(args: &StoreArgs) -> Result<(), Failure> {
    let host = host(None, args)?;
    let Some(login) = login_for(&host, args, None) else {
        note(&format!("Nobody is logged in at {host}.\n"));
        return Ok(());
    };
    let (store, key) = (store(args)?, key(&host, &login)?);
    // A token that cannot be read can still be removed.
    let credential = store.show(&key).ok().flatten();
    if let Some(refresh) = credential.and_then(|credential| credential.refresh) {
        let options = options(&host, args, &login)?;
        let revoked = block_on(async { Login::new(options).await?.revoke(&refresh).await })?;
        if let Err(error) = revoked {
            warn(format_args!("{} did not take the login back: {error}", login.issuer));
        }
    }
    let gone = store.erase(&key).or_exit(Code::Failed)?;
    Logins::load().forget(&host)?;
    if !gone {
        return Err(Failure::msg(Code::Failed, "the token is still kept")
            .help("the credential helper or keyring does not remove it; remove it there by hand"));
    }
    note(&format!("Logged out at {host}.\n"));
    Ok(())
}

fn register(args: &RegisterArgs) -> Result<(), Failure> {
    let (named, user) = spec(&args.user)?;
    let host = host(named, &args.store)?;
    let token = match token(&host, &args.store)? {
        Some(token) => token,
        // A person who looks on can log in at once.
        None if io::stderr().is_terminal() || args.client.oidc_flow == Flow::Client => {
            log_in(&host, &args.store, &args.client)?.access
        }
        None => return Err(not_logged_in(&host)),
    };
    let subject = subject(token.expose())?;
    let client = client(&host, &args.store)?;
    block_on(client.create_user(&user, &UserRecord { subject }))?
        .or_exit_with(Code::Failed, || format!("cannot create {user} at {host}"))?;
    note(&format!("Created the user {user} at {host}.\n"));
    Ok(())
}

fn info(args: &InfoArgs) -> Result<(), Failure> {
    let (named, user) = match &args.user {
        Some(text) => spec(text).map(|(host, user)| (host, Some(user)))?,
        None => (None, None),
    };
    let host = host(named, &args.store)?;
    let login = login_for(&host, &args.store, None);
    let token = token(&host, &args.store)?;
    let credential = token.as_ref().and_then(|token| Credential::bare(token.expose()));
    let subject = credential.as_ref().and_then(Credential::subject);
    let expires = credential
        .as_ref()
        .and_then(|credential| credential.expires?.duration_since(UNIX_EPOCH).ok())
        .map(|end| end.as_secs());
    let record = match &user {
        Some(user) => {
            let client = client(&host, &args.store)?;
            let record = block_on(client.user(user))?;
            Some(record.or_exit_with(Code::Failed, || format!("cannot read {user} at {host}"))?)
        }
        None => None,
    };
    if args.json {
        return print_json(&json!({
            "drawbridge": host,
            "issuer": login.map(|login| login.issuer),
            "logged_in": credential.is_some(),
            "subject": subject,
            "expires": expires,
            "user": user.as_ref().map(UserName::as_str),
            "record": record,
        }));
    }
    let mut text = format!("drawbridge  {host}\n");
    if let Some(login) = &login {
        text += &format!("issuer      {}\n", login.issuer);
    }
    text += match &credential {
        Some(_) => "logged in   yes\n",
        None => "logged in   no\n",
    };
    if let Some(subject) = &subject {
        text += &format!("subject     {subject}\n");
    }
    if let Some(end) = credential.and_then(|credential| credential.expires) {
        let left = end.duration_since(std::time::SystemTime::now()).unwrap_or(Duration::ZERO);
        text += &format!("token       ends in {} minutes\n", left.as_secs() / 60);
    }
    if let (Some(user), Some(record)) = (&user, &record) {
        text += &format!("user        {user}, of the subject {}\n", record.subject);
    }
    print(&text)
}

/// `[host[:port]/]user`, read from the right as published.
fn spec(text: &str) -> Result<(Option<&str>, UserName), Failure> {
    let (host, user) = match text.rsplit_once('/') {
        Some((host, user)) => (Some(host), user),
        None => (None, text),
    };
    let user = user.parse::<UserName>();
    Ok((host, user.or_exit_with(Code::Usage, || format!("{text:?} does not name a user"))?))
}

/// Whom a token is about. The Drawbridge compares it with the token, so this one need not.
fn subject(token: &str) -> Result<String, Failure> {
    let credential = Credential::bare(token);
    credential.as_ref().and_then(Credential::subject).ok_or_else(|| {
        Failure::msg(Code::Failed, "the issuer's token does not say whom it is about").help(
            "a Drawbridge needs tokens that are JSON Web Tokens: have the issuer make them for its \
             audience",
        )
    })
}

fn not_logged_in(host: &str) -> Failure {
    Failure::msg(Code::Failed, format_args!("nobody is logged in at {host}"))
        .help(format_args!("run `enarx user login --drawbridge {host} --oidc-domain URL`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_with_and_without_a_host() {
        let (host, user) = spec("store.example.com:8080/alice").unwrap();
        assert_eq!((host, user.as_str()), (Some("store.example.com:8080"), "alice"));
        let (host, user) = spec("alice").unwrap();
        assert_eq!((host, user.as_str()), (None, "alice"));
        for bad in ["", "store.example.com/", "al ice", "alice/repo:1.0.0"] {
            assert!(spec(bad).is_err(), "{bad}");
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! `enarx user` against an issuer and a Drawbridge of its own: what people see, what is kept where, and
//! that no token appears anywhere else.

#![cfg(unix)]

mod common;
#[path = "../../../crates/oidc-login/tests/provider/mod.rs"]
mod other;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Scratch, show, text};
use drawbridge_server::{Config, Oidc, Server, Tls};
use oidc_issuer::{Client, Handle, Issuer};
use other::Provider;
use serde_json::Value;

const SECRET: &str = "machine-secret-0815";

/// An issuer and a Drawbridge that relies on it, both over a socket.
struct Stage {
    scratch: Scratch,
    issuer: Handle,
    /// `localhost:PORT` of the Drawbridge.
    host: String,
    _runtime: tokio::runtime::Runtime,
}

impl Stage {
    /// None, with the reason on stderr, where no certificate can be made.
    fn new(change: impl FnOnce(&mut oidc_issuer::Config)) -> Option<Self> {
        let scratch = Scratch::new();
        let mut config = oidc_issuer::Config {
            clients: vec![Client::public("enarx"), Client::confidential("ci", SECRET)],
            interval: Duration::ZERO,
            ..Default::default()
        };
        change(&mut config);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let issuer = runtime.block_on(Issuer::start(config)).unwrap();
        let host = runtime.block_on(drawbridge(&scratch, issuer.url()))?;
        Some(Self { scratch, issuer, host, _runtime: runtime })
    }

    fn enarx(&self, args: &[&str]) -> Command {
        enarx(&self.scratch, args)
    }

    fn tokens(&self) -> PathBuf {
        self.scratch.path().join("state/enarx/tokens.json")
    }

    fn run(&self, args: &[&str]) -> Output {
        self.enarx(args).output().unwrap()
    }

    /// Runs it, and it has to go well.
    fn ok(&self, args: &[&str]) -> Output {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", show(&out));
        out
    }

    fn log_in(&self) -> Output {
        let url = self.issuer.url();
        self.ok(&["user", "login", "--drawbridge", &self.host, "--oidc-domain", url])
    }

    fn info(&self, args: &[&str]) -> Value {
        let out = self.ok(&[&["user", "info", "--json"], args].concat());
        serde_json::from_slice(&out.stdout).unwrap()
    }
}

/// A Drawbridge whose users log in at `issuer`: `localhost:PORT`. None, with the reason on stderr, where no
/// certificate can be made for it.
async fn drawbridge(scratch: &Scratch, issuer: &str) -> Option<String> {
    let (certificate, key) = (scratch.path().join("ca.pem"), scratch.path().join("key.pem"));
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2".split(' '))
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("skipped: openssl cannot make a certificate");
        return None;
    }
    // The audience has the port in it, so the port has to be known first.
    let listen = free_address();
    let host = format!("localhost:{}", listen.port());
    let store = scratch.path().join("store").display().to_string();
    let config = Config {
        tls: Some(Tls {
            certificates: fs::read(&certificate).unwrap(),
            key: fs::read(&key).unwrap(),
        }),
        oidc: Some(Oidc {
            issuer: issuer.to_owned(),
            audience: format!("https://{host}/"),
            roots: Vec::new(),
        }),
        ..Config::new(store, listen)
    };
    let server = Server::new(config).await.unwrap();
    tokio::spawn(server.serve(std::future::pending()));
    Some(host)
}

/// The program, for somebody who has a home of their own and no keyring.
fn enarx(scratch: &Scratch, args: &[&str]) -> Command {
    let mut command = common::enarx();
    command
        .args(args)
        .env("XDG_STATE_HOME", scratch.path().join("state"))
        .env("ENARX_CA_BUNDLE", scratch.path().join("ca.pem"))
        .env("ENARX_LOG", "debug")
        .env_remove("DBUS_SESSION_BUS_ADDRESS")
        .env_remove("XDG_RUNTIME_DIR");
    command
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

fn approving(config: &mut oidc_issuer::Config) {
    config.auto_approve = Some("alice".into());
}

#[test]
fn a_person_logs_in_registers_and_logs_out() {
    let Some(stage) = Stage::new(approving) else { return };
    let out = stage.log_in();
    let said = text(&out.stderr);
    assert!(said.contains("/activate?user_code="), "{said}");
    assert!(said.contains("there is no keyring here"), "{said}");
    assert!(out.stdout.is_empty());

    let tokens = stage.tokens();
    assert_eq!(fs::metadata(&tokens).unwrap().permissions().mode() & 0o777, 0o600);
    // Host and issuer are known from now on.
    stage.ok(&["user", "register", "alice"]);
    let info = stage.info(&["alice"]);
    assert_eq!(info["logged_in"], true);
    assert_eq!(info["subject"], "alice");
    assert_eq!(info["record"]["subject"], "alice");
    assert_eq!(info["drawbridge"], stage.host.as_str());
    assert_eq!(text(&stage.ok(&["user", "info"]).stdout).lines().count(), 5);

    // A name is given once.
    let again = stage.run(&["user", "register", "alice"]);
    assert_eq!(again.status.code(), Some(120), "{}", show(&again));

    stage.ok(&["user", "logout"]);
    assert!(!fs::read_to_string(&tokens).unwrap().contains("localhost"));
    let info = stage.info(&["--drawbridge", &stage.host]);
    assert_eq!(info["logged_in"], false);
}

#[test]
fn the_code_is_shown_and_then_waited_for() {
    let Some(stage) = Stage::new(|_| {}) else { return };
    let mut child = stage
        .enarx(&["user", "login", "--store-host", &stage.host, "--oidc-domain", stage.issuer.url()])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let (_, code) = page(&mut stderr);
    assert!(stage.issuer.approve(&code, "bob"));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert_eq!(stage.info(&[])["subject"], "bob");
}

/// The page to be opened, and the code in it.
fn page(stderr: &mut impl BufRead) -> (String, String) {
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended without a page");
        if let Some((_, code)) = line.trim().rsplit_once("user_code=") {
            return (line.trim().to_owned(), code.to_owned());
        }
    }
}

#[test]
fn a_person_can_say_no() {
    let Some(stage) = Stage::new(|config| config.device_lifetime = Duration::ZERO) else { return };
    let url = stage.issuer.url();
    let out = stage.run(&["user", "login", "--drawbridge", &stage.host, "--oidc-domain", url]);
    assert_eq!(out.status.code(), Some(120), "{}", show(&out));
    assert!(text(&out.stderr).contains("not approved in time"), "{}", show(&out));
    assert!(!stage.tokens().exists());
}

#[test]
fn no_token_is_ever_shown() {
    let Some(stage) = Stage::new(approving) else { return };
    let mut said = String::new();
    let outs = [
        stage.log_in(),
        stage.ok(&["user", "register", "alice"]),
        stage.ok(&["user", "info", "alice"]),
        stage.run(&["user", "register", "alice"]),
        stage.ok(&["user", "logout"]),
    ];
    let tokens = fs::read_to_string(stage.tokens()).unwrap();
    for out in outs {
        said += &text(&out.stdout);
        said += &text(&out.stderr);
    }
    // Every token of this issuer that is a JSON Web Token begins with the same header.
    assert!(!said.contains("eyJ"), "{said}");
    assert!(!tokens.contains("eyJ"));
}

#[test]
fn a_machine_logs_in_again_by_itself() {
    let Some(stage) = Stage::new(|config| config.token_lifetime = Duration::from_secs(20)) else {
        return;
    };
    let url = stage.issuer.url();
    let arguments = ["user", "login", "--drawbridge", &stage.host, "--oidc-domain", url];
    let client = ["--oidc-client-id", "ci", "--oidc-flow", "client"];
    let arguments = [&arguments[..], &client[..]].concat();
    let out = stage.run(&arguments);
    assert_eq!(out.status.code(), Some(2), "{}", show(&out));
    assert!(text(&out.stderr).contains("ENARX_OIDC_CLIENT_SECRET"));
    let with_secret = |arguments: &[&str]| {
        let out = stage.enarx(arguments).env("ENARX_OIDC_CLIENT_SECRET", SECRET).output().unwrap();
        assert!(!show(&out).contains(SECRET));
        assert!(out.status.success(), "{}", show(&out));
        out
    };
    with_secret(&arguments);
    // Twenty seconds are too few to begin anything with, so each command gets a new token …
    let before = fs::read_to_string(stage.tokens()).unwrap();
    let info = with_secret(&["user", "info", "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&info.stdout).unwrap()["subject"], "ci");
    assert_ne!(fs::read_to_string(stage.tokens()).unwrap(), before);
    // … as long as it has the secret.
    let info = stage.ok(&["user", "info"]);
    assert!(text(&info.stderr).contains("has ended"), "{}", show(&info));
    assert!(text(&info.stdout).contains("logged in   no"), "{}", show(&info));
}

#[test]
fn a_login_is_renewed_without_anybody() {
    let short = |config: &mut oidc_issuer::Config| {
        approving(config);
        config.token_lifetime = Duration::from_secs(20);
    };
    let Some(stage) = Stage::new(short) else { return };
    stage.log_in();
    let before = fs::read_to_string(stage.tokens()).unwrap();
    stage.ok(&["user", "register", "alice"]);
    assert_ne!(fs::read_to_string(stage.tokens()).unwrap(), before);
}

#[test]
fn a_credential_helper_is_the_only_place() {
    let Some(stage) = Stage::new(approving) else { return };
    let helper = stage.scratch.path().join("helper");
    // Written by another process: what this one has open for writing, a child that another test starts
    // at that moment would hold open too, and then it could not be run.
    let written = Command::new("sh")
        .args(["-c", "printf %s \"$1\" > \"$0\" && chmod 700 \"$0\""])
        .arg(&helper)
        .arg(helper_script(stage.scratch.path()))
        .status();
    assert!(written.unwrap().success());
    let helper = helper.display().to_string();
    let url = stage.issuer.url();
    let login = ["user", "login", "--drawbridge", &stage.host, "--oidc-domain", url];
    stage.ok(&[&login[..], &["--credential-helper", &helper]].concat());
    assert!(!stage.tokens().exists());
    let authority = url.strip_prefix("http://").unwrap();
    let kept = stage.scratch.path().join(format!("kept-{authority}-{}", stage.host));
    assert!(fs::read_to_string(&kept).unwrap().contains("eyJ"));
    let info = stage.info(&["--credential-helper", &helper]);
    assert_eq!(info["subject"], "alice");
    // Without the helper nobody is logged in.
    assert_eq!(stage.info(&[])["logged_in"], false);
}

fn helper_script(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "#!/bin/sh\ncase \"$1\" in\n\
         insert) exec cat > \"{folder}/kept-$2\" ;;\n\
         show) exec cat \"{folder}/kept-$2\" ;;\n\
         *) exit 1 ;;\nesac\n"
    )
}

#[test]
fn a_given_token_is_used_and_nothing_else() {
    let Some(stage) = Stage::new(|_| {}) else { return };
    let audience = format!("https://{}/", stage.host);
    let token = stage.issuer.mint("carol", &audience, &["manage:drawbridge_users"]);
    let register = |user: &str, token: &str| {
        let user = format!("{}/{user}", stage.host);
        let mut command = stage.enarx(&["user", "register", &user]);
        command.env("ENARX_INSECURE_AUTH_TOKEN", token).output().unwrap()
    };
    let out = register("carol", &token);
    assert!(out.status.success(), "{}", show(&out));
    assert!(!show(&out).contains(&token));

    let elsewhere = stage.issuer.mint("dave", "https://elsewhere/", &["manage:drawbridge_users"]);
    let out = register("dave", &elsewhere);
    assert_eq!(out.status.code(), Some(120), "{}", show(&out));
    let out = register("dave", "no token\n");
    assert_eq!(out.status.code(), Some(2), "{}", show(&out));
}

#[test]
fn what_is_not_known_has_to_be_said() {
    let Some(stage) = Stage::new(|_| {}) else { return };
    let out = stage.run(&["user", "login"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("ENARX_DRAWBRIDGE"), "{}", show(&out));
    let out = stage.run(&["user", "login", "--drawbridge", &stage.host]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("ENARX_OIDC_DOMAIN"), "{}", show(&out));
    // No request goes to a company that is gone.
    assert!(!show(&out).contains("profian"));
    let plain = ["user", "login", "--drawbridge", &stage.host, "--oidc-domain"];
    let out = stage.run(&[&plain[..], &["http://auth.example.com"]].concat());
    assert!(text(&out.stderr).contains("must be https"), "{}", show(&out));
    let out = stage.run(&["user", "register", "al ice"]);
    assert_eq!(out.status.code(), Some(2), "{}", show(&out));
}

/// A person in Chromium at npm's `oidc-provider`, this program, and a Drawbridge that takes the tokens.
#[test]
fn a_drawbridge_takes_logins_at_another_issuer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(folder) = runtime.block_on(other::scripts()) else { return };
    let Some(chromium) = other::chromium() else { return };
    let scratch = Scratch::new();
    let mut provider = runtime.block_on(Provider::start(folder));
    let Some(host) = runtime.block_on(drawbridge(&scratch, &provider.issuer)) else { return };
    let issuer = provider.issuer.clone();
    let log_in = || {
        let login = ["user", "login", "--drawbridge", &host, "--oidc-domain", &issuer];
        let mut child = enarx(&scratch, &login).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (url, code) = page(&mut stderr);
        runtime.block_on(other::browse(folder, &chromium, &url, &code, "approve"));
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
    };
    let run = |args: &[&str]| enarx(&scratch, args).output().unwrap();
    for (algorithm, user) in [("RS256", "rs256"), ("ES256", "es256"), ("EdDSA", "eddsa")] {
        runtime.block_on(provider.command(&format!("sign {algorithm}")));
        log_in();
        let out = run(&["user", "register", user]);
        assert!(out.status.success(), "{algorithm}: {}", show(&out));
    }
    let info = run(&["user", "info", "--json", "eddsa"]);
    let info: Value = serde_json::from_slice(&info.stdout).unwrap();
    assert_eq!(info["record"]["subject"], "alice");

    // New keys are fetched when a token names one, but not at once after the last time.
    runtime.block_on(provider.command("withdraw"));
    assert!(run(&["user", "info", "eddsa"]).status.success());
    log_in();
    common::wait_until(Duration::from_secs(60), "the Drawbridge fetches the new keys", || {
        run(&["user", "info", "eddsa"]).status.success()
    });
}

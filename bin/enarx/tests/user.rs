// SPDX-License-Identifier: Apache-2.0

//! `enarx user` against an issuer and a Drawbridge of its own: what people see, what is kept where, and
//! that no token appears anywhere else.

#![cfg(unix)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Scratch, show, text};
use drawbridge_server::{Config, Oidc, Server, Tls};
use oidc_issuer::{Client, Handle, Issuer};
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
        let tls =
            Tls { certificates: fs::read(&certificate).unwrap(), key: fs::read(&key).unwrap() };
        let mut config = oidc_issuer::Config {
            clients: vec![Client::public("enarx"), Client::confidential("ci", SECRET)],
            interval: Duration::ZERO,
            ..Default::default()
        };
        change(&mut config);
        // The audience has the port in it, so the port has to be known first.
        let listen = free_address();
        let host = format!("localhost:{}", listen.port());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = scratch.path().join("store").display().to_string();
        let issuer = runtime.block_on(async {
            let issuer = Issuer::start(config).await.unwrap();
            let oidc = Oidc {
                issuer: issuer.url().to_owned(),
                audience: format!("https://{host}/"),
                roots: Vec::new(),
            };
            let config = Config { tls: Some(tls), oidc: Some(oidc), ..Config::new(store, listen) };
            let server = Server::new(config).await.unwrap();
            tokio::spawn(server.serve(std::future::pending()));
            issuer
        });
        Some(Self { scratch, issuer, host, _runtime: runtime })
    }

    /// The program, for somebody who has a home of their own and no keyring.
    fn enarx(&self, args: &[&str]) -> Command {
        let mut command = common::enarx();
        command
            .args(args)
            .env("XDG_STATE_HOME", self.state())
            .env("ENARX_CA_BUNDLE", self.scratch.path().join("ca.pem"))
            .env("ENARX_LOG", "debug")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .env_remove("XDG_RUNTIME_DIR");
        command
    }

    fn state(&self) -> std::path::PathBuf {
        self.scratch.path().join("state")
    }

    fn tokens(&self) -> std::path::PathBuf {
        self.state().join("enarx/tokens.json")
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
    let mut line = String::new();
    let code = loop {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended without a code");
        if let Some((_, code)) = line.trim().rsplit_once("user_code=") {
            break code.to_owned();
        }
    };
    assert!(stage.issuer.approve(&code, "bob"));
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    assert_eq!(stage.info(&[])["subject"], "bob");
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
    let helper = stage.scratch.file("helper", helper_script(stage.scratch.path()));
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o700)).unwrap();
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

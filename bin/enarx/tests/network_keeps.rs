// SPDX-License-Identifier: Apache-2.0

//! Two Keeps talk to each other by mutual TLS, with certificates that a Steward gave for their
//! evidence, and each demands the other's measurement.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;
#[path = "common/guests.rs"]
mod guests;
#[path = "common/network.rs"]
mod network;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{Scratch, enarx_in, show, text};
use network::{Keep, client_config, free_port, get, tls};
use serde_json::Value;

/// Services for development, ended with this.
struct Services {
    home: Scratch,
    state: Value,
}

impl Services {
    fn start() -> Self {
        let home = Scratch::new();
        let out =
            enarx_in(home.path()).args(["dev", "up", "--json"]).output().expect("enarx starts");
        assert!(out.status.success(), "{}", show(&out));
        let state = serde_json::from_slice(&out.stdout).expect("JSON");
        Self { home, state }
    }

    fn text(&self, name: &str) -> &str {
        self.state[name].as_str().expect("a string")
    }

    /// `enarx run` with what the services are trusted by.
    fn run(&self, backend: &str, config: &Path, module: &Path) -> Command {
        let mut command = enarx_in(self.home.path());
        command.args(["run", "--verbose", "--backend", backend]);
        command.args(["--steward-ca", self.text("steward_ca")]);
        command.args(["--ca-bundle", self.text("ca_bundle")]);
        command.arg("--config").arg(config).arg(module);
        command
    }

    /// The measurement of the program that runs workloads.
    fn measurement(&self, backend: &str) -> String {
        let out = enarx_in(self.home.path())
            .args(["measure", "--json", "--backend", backend])
            .output()
            .expect("enarx starts");
        assert!(out.status.success(), "{}", show(&out));
        let all: Value = serde_json::from_slice(&out.stdout).expect("JSON");
        let all = all["measurements"].as_array().expect("an array");
        let runtime = all.iter().find(|one| one["program"] == "runtime").expect("the runtime's");
        runtime["digest"].as_str().expect("a string").to_owned()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let _ = enarx_in(self.home.path()).args(["dev", "down"]).output();
    }
}

/// What a socket demands of the Keep at its other end.
fn demand(measurement: &str, development: bool) -> String {
    format!(
        "trust = [\"steward\"], measurements = [\"{measurement}\"], allow_development = {development}"
    )
}

fn config(scratch: &Scratch, name: &str, steward: &str, entry: &str) -> PathBuf {
    let streams = r#"{ kind = "stdin" }, { kind = "stdout" }, { kind = "stderr" }"#;
    scratch.file(name, format!("steward = \"{steward}\"\nfiles = [{streams}, {entry}]\n"))
}

/// Fetches a page, trusting one root and no others.
const PYTHON: &str =
    "import requests, sys; print(requests.get(sys.argv[1], verify=sys.argv[2], timeout=60).text)";

/// A home for Chromium with an empty database of certificates; none, with the reason on stderr, where one
/// of the two programs is not installed.
fn chromium(home: &Path) -> Option<()> {
    for program in ["chromium", "certutil"] {
        if Command::new(program).arg("--help").output().is_err() {
            eprintln!("skipped: {program} is not installed");
            return None;
        }
    }
    std::fs::create_dir_all(home.join(DATABASE)).expect("a folder");
    certutil(home, &["-N", "--empty-password"]);
    Some(())
}

/// Where Chromium looks for roots that its user has added, below a home.
const DATABASE: &str = ".pki/nssdb";

fn certutil(home: &Path, args: &[&str]) {
    let database = format!("sql:{}", home.join(DATABASE).display());
    let out =
        Command::new("certutil").args(["-d", &database]).args(args).output().expect("certutil");
    assert!(out.status.success(), "{}", show(&out));
}

/// Chromium without a window, which prints the page that it has loaded. It verifies certificates as for
/// anybody: nothing is switched off.
fn chromium_at(home: &Path, url: &str) -> Command {
    let mut command = Command::new("chromium");
    command.env("HOME", home).args(["--headless", "--disable-gpu", "--dump-dom"]);
    for name in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"] {
        command.env_remove(name);
    }
    // Its own sandbox does not work for root.
    if std::fs::metadata("/proc/self").is_ok_and(|of| of.uid() == 0) {
        command.arg("--no-sandbox");
    }
    command.arg(format!("--user-data-dir={}", home.join("data").display())).arg(url);
    command
}

common::on_every_backend! {
    fn two_keeps_prove_themselves_to_each_other(backend) {
        let (Some(server), Some(client)) =
            (guests::guest("http-server.wasm"), guests::guest("http-client.wasm")) else { return };
        let services = Services::start();
        let steward = services.text("steward");
        let (measurement, other) = (services.measurement(backend), "ab".repeat(48));
        let scratch = Scratch::new();
        let port = free_port();
        let listen = |demand: &str, port: u16| format!(
            r#"{{ kind = "listen", name = "web", addr = "127.0.0.1", port = {port}, client_auth = "required", {demand} }}"#
        );
        let connect = |demand: &str, port: u16| format!(
            r#"{{ kind = "connect", name = "server", host = "127.0.0.1", port = {port}, {demand} }}"#
        );
        let serve = |demand: &str, port: u16| {
            let name = format!("server-{port}.toml");
            let config = config(&scratch, &name, steward, &listen(demand, port));
            Keep::start(&mut services.run(backend, &config, &server), 1)
        };
        let ask = |demand: &str, port: u16| -> Output {
            let config = config(&scratch, "client.toml", steward, &connect(demand, port));
            services.run(backend, &config, &client).args(["--", "/"]).output().expect("enarx starts")
        };
        let good = demand(&measurement, true);
        let keep = serve(&good, port);
        let out = ask(&good, port);
        assert!(out.status.success(), "{}\n{}", show(&out), keep.stderr());
        assert_eq!(text(&out.stdout), "200 /\nhello from a Keep\n");

        // The client wants another Keep, or none for development.
        for demand in [demand(&other, true), demand(&measurement, false)] {
            let out = ask(&demand, port);
            assert!(!out.status.success(), "{demand}: {}", show(&out));
        }
        // The server wants another Keep: the client hears of it at the latest when it asks.
        let strict = free_port();
        let _strict = serve(&demand(&other, true), strict);
        let out = ask(&good, strict);
        assert!(!text(&out.stdout).contains("hello"), "{}", show(&out));
        // Nobody in particular.
        let config = client_config();
        let answered = tls(&config, port).is_ok_and(|mut client| {
            let asked = network::ask(&mut client, "GET", "/", b"");
            asked.is_ok() && network::answer(&mut client).is_ok()
        });
        assert!(!answered, "a client without a certificate was answered");
        // All that harmed nobody.
        let out = ask(&good, port);
        assert!(out.status.success(), "{}", show(&out));
    }

    fn a_certificate_of_the_steward_is_shown_to_anybody(backend) {
        let services = Services::start();
        let steward = services.text("steward");
        let scratch = Scratch::new();
        let port = free_port();
        let entry = format!(r#"{{ kind = "listen", name = "web", addr = "127.0.0.1", port = {port} }}"#);
        let config = config(&scratch, "Enarx.toml", steward, &entry);
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/web/web.wat");
        let keep = Keep::start(&mut services.run(backend, &config, &module), 1);
        let mut client = tls(&client_config(), port).expect("a handshake");
        assert_eq!(get(&mut client, "/").0, 200);
        let chain = client.conn.peer_certificates().expect("a chain").len();
        assert!(chain >= 2, "the chain has {chain} certificates");
        assert!(!keep.stderr().contains("signs its own"), "{}", keep.stderr());
    }

    fn common_clients_trust_a_keep_by_the_root_of_the_steward(backend) {
        let services = Services::start();
        let steward = services.text("steward");
        let scratch = Scratch::new();
        let port = free_port();
        let entry = format!(r#"{{ kind = "listen", name = "web", addr = "127.0.0.1", port = {port} }}"#);
        let config = config(&scratch, "Enarx.toml", steward, &entry);
        let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/web/web.wat");
        let _keep = Keep::start(&mut services.run(backend, &config, &module), 1);
        let url = format!("https://localhost:{port}/");
        let (root, other) = (Path::new(services.text("steward_ca")), services.text("ca_bundle"));

        let page = "Hello from a Keep";
        let shows = |mut client: Command, trusts: bool| {
            let name = client.get_program().to_string_lossy().into_owned();
            let Ok(out) = client.stdin(Stdio::null()).output() else {
                return eprintln!("skipped: {name} is not there");
            };
            if text(&out.stderr).contains("No module named") {
                return eprintln!("skipped: {name}: {}", text(&out.stderr));
            }
            assert_eq!(text(&out.stdout).contains(page), trusts, "{name}: {}", show(&out));
        };
        // Who has another root gets nothing.
        for (root, trusts) in [(root, true), (Path::new(other), false)] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--max-time", "60", "--cacert"]).arg(root).arg(&url);
            shows(curl, trusts);
            let mut python = Command::new("python3");
            python.args(["-c", PYTHON, &url]).arg(root);
            shows(python, trusts);
        }
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-ign_eof", "-verify_return_error", "-verify_hostname"]);
        openssl.args(["localhost", "-connect", &format!("localhost:{port}"), "-CAfile"]).arg(root);
        if Command::new("openssl").arg("version").output().is_ok() {
            let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nBYE / HTTP/1.1\r\n\r\n";
            let out = common::with_input(&mut openssl, request);
            assert!(text(&out.stdout).contains(page), "{}", show(&out));
        }

        let browser = scratch.path().join("browser");
        if chromium(&browser).is_some() {
            shows(chromium_at(&browser, &url), false);
            certutil(&browser, &["-A", "-n", "Steward", "-t", "C,,", "-i", root.to_str().expect("text")]);
            shows(chromium_at(&browser, &url), true);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Two Keeps talk to each other by mutual TLS, with certificates that a Steward gave for their
//! evidence, and each demands the other's measurement.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;
#[path = "common/guests.rs"]
mod guests;
#[path = "common/network.rs"]
mod network;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
}

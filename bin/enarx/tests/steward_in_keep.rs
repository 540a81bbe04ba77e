// SPDX-License-Identifier: Apache-2.0

//! A Steward that runs in a Keep, as a WASI application behind the Keep's own TLS, and Keeps that get
//! their certificates from it.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;
#[path = "common/guests.rs"]
mod guests;
#[path = "common/network.rs"]
mod network;
#[path = "common/stage.rs"]
mod stage;

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Command;

use common::{Scratch, enarx, enarx_in, show, text};
use evidence_pki::to_pem;
use network::{Keep, client_config, free_port, get, tls};
use serde_json::Value;
use stage::{Ca, Workload, assert_ran, assert_refused, output};

/// What a Steward needs, in a folder of its own.
fn papers(host: &Scratch, ca: &Ca, measurements: &[String]) -> Scratch {
    let papers = Scratch::new();
    papers.file("key.pem", ca.key_pem());
    papers.file("chain.pem", ca.chain_pem());
    let root = host.path().join("data/enarx/development/root.crt");
    let root = fs::read_to_string(root).expect("a root");
    papers.file(
        "policy.toml",
        format!(
            "[certificate]\nlifetime = \"1h\"\ndns_names = [\"localhost\"]\n\n[development]\nhash = \
             {measurements:?}\nroot = \"\"\"\n{root}\"\"\"\n"
        ),
    );
    papers
}

/// The measurements of the Keeps of a backend.
fn measurements(backend: &str) -> Vec<String> {
    let out = enarx().args(["measure", "--json", "--backend", backend]).output();
    let out = out.expect("enarx starts");
    assert!(out.status.success(), "{}", show(&out));
    let all: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let all = all["measurements"].as_array().expect("an array");
    all.iter().map(|one| one["digest"].as_str().expect("a string").to_owned()).collect()
}

common::on_every_backend! {
    fn a_steward_in_a_keep_issues_certificates_to_keeps(backend) {
        let Some(module) = guests::guest("steward.wasm") else { return };
        let host = Scratch::new();
        let out = enarx_in(host.path()).args(["dev", "init"]).output().expect("enarx starts");
        assert!(out.status.success(), "{}", show(&out));
        let ca = Ca::new("Steward in a Keep");
        let papers = papers(&host, &ca, &measurements(backend));
        let port = free_port();
        let config = host.file("Steward.toml", format!(
            "files = [{{ kind = \"null\" }}, {{ kind = \"null\" }}, {{ kind = \"stderr\" }},\n  \
             {{ kind = \"listen\", name = \"steward\", addr = \"127.0.0.1\", port = {port} }}]\n"
        ));
        let mut run: Command = enarx();
        run.args(["run", "--verbose", "--backend", backend, "--config"]).arg(&config);
        run.arg("--dir").arg(format!("{}::/etc", papers.path().display()));
        run.arg(&module).args(["--", "/etc"]);
        let steward = Keep::start(&mut run, 1);
        steward.wait_until_said("steward: ready");

        let mut client = tls(&client_config(), port).expect("a handshake");
        // Two requests on one connection, as a Keep sends them.
        for _ in 0..2 {
            let (status, body) = get(&mut client, "/healthz");
            assert_eq!((status, body.as_str()), (200, r#"{"status":"ok"}"#));
        }
        let certificate = &client.conn.peer_certificates().expect("a chain")[0];
        let bundle = host.file("tls.pem", to_pem("CERTIFICATE", certificate));
        let root = host.file("root.pem", ca.root_pem());
        // Two clients that say nothing do not keep it from others for long.
        let mut silent = tls(&client_config(), port).expect("a handshake");
        silent.write_all(b"GET / HT").expect("sent");

        let workload = Workload::that_says_so();
        let deploy = |root: &std::path::Path| {
            let mut deploy = enarx_in(host.path());
            deploy.args(["deploy", "--verbose", "--backend", backend, workload.path()]);
            deploy.args(["--digest", &workload.digest, "--steward"]);
            deploy.arg(format!("https://localhost:{port}"));
            deploy.arg("--steward-ca").arg(root).arg("--ca-bundle").arg(&bundle);
            output(&mut deploy)
        };
        let out = deploy(&root);
        assert_ran(&out);
        for step in [" 7  steward", " 8  answer"] {
            assert!(text(&out.stderr).contains(step), "{}", show(&out));
        }
        drop(client);
        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest);

        // Another machine has another development root, which that policy does not name.
        let root_key = host.path().join("data/enarx/development");
        for name in ["root.key", "root.crt"] {
            fs::remove_file(root_key.join(name)).expect("it was there");
        }
        let out = enarx_in(host.path()).args(["dev", "init"]).output().expect("enarx starts");
        assert!(out.status.success(), "{}", show(&out));
        assert_refused(&deploy(&root), 120, &["got no certificate", "refused"]);
        assert!(steward.stderr().contains("steward: refused: "), "{}", steward.stderr());
    }
}

// SPDX-License-Identifier: Apache-2.0

//! `enarx deploy`: what is refused before anything starts, and workloads from a folder, with a real
//! Steward. The way through a Drawbridge is in `demo.rs`.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Scratch, enarx, enarx_in, show, text};
use drawbridge_client::Package;
use evidence_pki::Certificate;
use serde_json::Value;
use steward_claims::CertificateClaims;

/// An address at which nobody listens.
const NOBODY: &str = "localhost:1";

const ZEROS: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const ONES: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

fn deploy(home: &Path, args: &[&str]) -> Output {
    enarx_in(home).arg("deploy").args(args).output().unwrap()
}

fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let home = Scratch::new();
    let out = deploy(home.path(), args);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{}", show(&out));
    for part in parts.iter().chain(&["Error:"]) {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn a_backend_that_lets_the_host_in_is_used_only_if_it_is_named() {
    refused(&["localhost:1/alice/shop:1.2.3"], 123, &["keeps the host out", "--backend"]);
}

#[test]
fn what_names_no_workload_is_refused() {
    refused(&["--backend", "nil", "no workload"], 2, &["names no workload"]);
    refused(&["--backend", "nil", "alice/shop:one"], 2, &["names no workload"]);
    refused(&["--backend", "nil", "alice/shop:1.2.3"], 2, &["names no Drawbridge", "--drawbridge"]);
    refused(&["--backend", "nil", "/etc"], 2, &["--digest"]);
    refused(&["--backend", "nil", "/etc", "--digest", "sha256:00"], 2, &["not a digest"]);
    let slug = format!("{NOBODY}/alice/shop:1.2.3@{ZEROS}");
    refused(&["--backend", "nil", &slug, "--digest", ONES], 2, &["not the same"]);
}

#[test]
fn a_drawbridge_that_is_not_there_is_named() {
    let slug = format!("{NOBODY}/alice/shop:1.2.3");
    refused(&["--backend", "nil", &slug], 120, &["terms of release", NOBODY]);
}

#[test]
fn a_steward_without_a_root_is_refused() {
    let args = ["--backend", "nil", "/etc", "--digest", ZEROS, "--steward", "https://localhost:1"];
    refused(&args, 2, &["--steward-ca"]);
}

/// A folder with a workload.
struct Workload {
    folder: Scratch,
    digest: String,
}

impl Workload {
    fn new(wat: &str, config: &str) -> Self {
        let folder = Scratch::new();
        folder.file("main.wasm", wat::parse_str(wat).unwrap());
        folder.file("Enarx.toml", config);
        let digest = Package::from_path(folder.path()).unwrap().digest();
        Self { folder, digest }
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// With native code for that backend.
    fn compiled(self, home: &Path, backend: &str) -> Self {
        let mut command = enarx_in(home);
        let out = command
            .args(["package", "compile", "--json", "--backend", backend, self.path()])
            .output();
        let out = out.unwrap();
        assert!(out.status.success(), "{}", show(&out));
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        let made = fs::metadata(self.folder.path().join("main.artifact")).unwrap();
        assert_eq!(said["length"], made.len());
        assert_eq!(said["backend"], backend);
        self.again()
    }

    /// With the digest that it has now.
    fn again(self) -> Self {
        Self { digest: Package::from_path(self.folder.path()).unwrap().digest(), ..self }
    }
}

/// Prints one line and exits with 7.
const SAY: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "it runs\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 8))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $proc_exit (i32.const 7))))"#;

const CONFIG: &str = r#"files = [{ kind = "null" }, { kind = "stdout" }, { kind = "stderr" }]

[compiler]
allow_development = true
"#;

/// Services for development, as long as the value lives.
struct Services {
    home: PathBuf,
    state: Value,
}

impl Services {
    fn up(home: &Path) -> Self {
        let out = enarx_in(home).args(["dev", "up", "--json"]).output().unwrap();
        assert!(out.status.success(), "{}", show(&out));
        let state = serde_json::from_slice(&out.stdout).unwrap();
        Self { home: home.to_owned(), state }
    }

    fn text(&self, name: &str) -> &str {
        self.state[name].as_str().unwrap()
    }

    /// A deployment that asks this Steward.
    fn deploy(&self, backend: &str, args: &[&str]) -> Output {
        let mut command: Command = enarx_in(&self.home);
        command.args(["deploy", "--backend", backend, "--steward", self.text("steward")]);
        command.args(["--steward-ca", self.text("steward_ca")]);
        command.args(["--ca-bundle", self.text("ca_bundle")]);
        command.args(args).output().unwrap()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        let _ = enarx_in(&self.home).args(["dev", "down"]).output();
    }
}

/// What the first certificate of a chain says of its Keep.
fn claims(chain: &str) -> CertificateClaims {
    let blocks = evidence_pki::pem_blocks(chain.as_bytes(), "CERTIFICATE").unwrap();
    let certificate = Certificate::parse(&blocks[0]).unwrap();
    let extension = certificate.extension(steward_claims::OID).unwrap();
    CertificateClaims::from_der(extension.value).unwrap()
}

/// The digest of the runtime Keep's image, as it is computed without a launch.
fn measured(backend: &str) -> String {
    let args = ["measure", "--backend", backend, "--program", "runtime", "--json"];
    let out = enarx().args(args).output().unwrap();
    assert!(out.status.success(), "{}", show(&out));
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    told["measurements"][0]["digest"].as_str().unwrap().to_owned()
}

common::on_every_backend! {
    fn a_folder_runs_with_a_certificate_of_the_steward(backend) {
        let home = Scratch::new();
        let services = Services::up(home.path());
        let workload = Workload::new(SAY, CONFIG);
        let args = [workload.path(), "--digest", &workload.digest, "--json"];
        let out = services.deploy(backend, &args);
        assert_eq!(out.status.code(), Some(7), "{}", show(&out));
        assert_eq!(text(&out.stdout), "it runs\n");
        let lines: Vec<Value> = text(&out.stderr)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", show(&out))))
            .collect();
        assert_eq!(lines[0]["backend"], backend);
        let steps: Vec<u64> = lines.iter().filter_map(|line| line["step"].as_u64()).collect();
        // No Drawbridge releases what the host has.
        let wanted: Vec<u64> = (1..=13).filter(|step| !matches!(step, 9 | 10)).collect();
        assert_eq!(steps, wanted, "{}", show(&out));
        let event = lines.iter().find(|line| line["event"] == "certificate");
        let event = event.unwrap_or_else(|| panic!("{}", show(&out)));
        // Nothing here keeps the host out, and the certificate says so, and which image was launched.
        let claims = claims(event["chain"].as_str().unwrap());
        let product = if backend.ends_with("-sim") { backend } else { "development" };
        assert_eq!((&*claims.platform, &*claims.product), ("development", product));
        assert_eq!(evidence_pki::hex(&claims.measurement), measured(backend));

        // A module alone is its own root.
        let module = workload.folder.path().join("main.wasm");
        let digest = Package::from_path(&module).unwrap().digest();
        let out = services.deploy(backend, &[module.to_str().unwrap(), "--digest", &digest]);
        // It has no configuration that would accept a compiler for development.
        assert_eq!(out.status.code(), Some(120), "{}", show(&out));
        assert!(text(&out.stderr).contains("was not compiled"), "{}", show(&out));
    }

    fn another_folder_than_the_one_that_was_meant_does_not_run(backend) {
        let home = Scratch::new();
        let services = Services::up(home.path());
        let workload = Workload::new(SAY, CONFIG);
        workload.folder.file("Enarx.toml", format!("{CONFIG}# changed\n"));
        let out = services.deploy(backend, &[workload.path(), "--digest", &workload.digest]);
        assert_eq!(out.status.code(), Some(122), "{}", show(&out));
        assert_eq!(text(&out.stdout), "");
        assert!(text(&out.stderr).contains("is not the workload that was asked for"), "{}", show(&out));
    }

    fn without_the_steward_nothing_runs(backend) {
        let home = Scratch::new();
        let workload = Workload::new(SAY, CONFIG);
        let (steward_ca, ca_bundle) = {
            let services = Services::up(home.path());
            (services.text("steward_ca").to_owned(), services.text("ca_bundle").to_owned())
        };
        let out = deploy(home.path(), &[
            "--backend", backend, workload.path(), "--digest", &workload.digest,
            "--steward", "https://localhost:1", "--steward-ca", &steward_ca,
            "--ca-bundle", &ca_bundle,
        ]);
        assert_eq!(out.status.code(), Some(120), "{}", show(&out));
        assert_eq!(text(&out.stdout), "");
        assert!(text(&out.stderr).contains("got no certificate"), "{}", show(&out));
        assert!(text(&out.stderr).contains("help:"), "{}", show(&out));
    }

    fn a_keep_that_the_policy_does_not_list_gets_no_certificate(backend) {
        let home = Scratch::new();
        let services = Services::up(home.path());
        let workload = Workload::new(SAY, CONFIG);
        // Evidence under another root than the Steward's policy names.
        let root = home.path().join("data/enarx/development");
        for name in ["root.key", "root.crt"] {
            fs::remove_file(root.join(name)).unwrap();
        }
        let out = enarx_in(home.path()).args(["dev", "init"]).output().unwrap();
        assert!(out.status.success(), "{}", show(&out));
        let out = services.deploy(backend, &[workload.path(), "--digest", &workload.digest]);
        assert_eq!(out.status.code(), Some(120), "{}", show(&out));
        assert!(text(&out.stderr).contains("got no certificate"), "{}", show(&out));
    }

    fn without_a_steward_only_native_code_of_the_package_runs(backend) {
        let home = Scratch::new();
        let workload = Workload::new(SAY, CONFIG);
        let deploy = |workload: &Workload| {
            deploy(home.path(), &["--backend", backend, workload.path(), "--digest", &workload.digest])
        };
        let out = deploy(&workload);
        assert_eq!(out.status.code(), Some(120), "{}", show(&out));
        assert_eq!(text(&out.stdout), "");
        for part in ["was not compiled", "without a Steward", "--steward-ca", "enarx package compile"] {
            assert!(text(&out.stderr).contains(part), "{part} is missing: {}", show(&out));
        }
        let workload = workload.compiled(home.path(), backend);
        let out = deploy(&workload);
        assert_eq!(out.status.code(), Some(7), "{}", show(&out));
        assert_eq!(text(&out.stdout), "it runs\n");
        assert!(text(&out.stderr).contains("proves nothing to anybody"), "{}", show(&out));

        // Another module's native code is no native code.
        let other = Workload::new(&SAY.replace("it runs", "changed"), CONFIG);
        let artifact = fs::read(workload.folder.path().join("main.artifact")).unwrap();
        other.folder.file("main.artifact", artifact);
        let out = deploy(&other.again());
        assert_ne!(out.status.code(), Some(7), "{}", show(&out));
        assert_eq!(text(&out.stdout), "");
    }

    fn streams_can_stand_anywhere_behind_the_first_three(backend) {
        let home = Scratch::new();
        let config = r#"files = [
            { kind = "null" }, { kind = "null" }, { kind = "null", name = "b" }, { kind = "stdout" },
        ]"#;
        let module = SAY.replace("$fd_write (i32.const 1)", "$fd_write (i32.const 3)");
        let workload = Workload::new(&module, config).compiled(home.path(), backend);
        let out = deploy(home.path(), &["--backend", backend, workload.path(), "--digest", &workload.digest]);
        assert_eq!(out.status.code(), Some(7), "{}", show(&out));
        assert_eq!(text(&out.stdout), "it runs\n");
        // What the first three can be is said.
        let workload = Workload::new(SAY, r#"files = [{ kind = "stdout" }]"#).compiled(home.path(), backend);
        let out = deploy(home.path(), &["--backend", backend, workload.path(), "--digest", &workload.digest]);
        assert_eq!(out.status.code(), Some(121), "{}", show(&out));
        assert!(text(&out.stderr).contains("files[0] (`stdout`) can be `stdin`, `null`"), "{}", show(&out));
    }
}

/// Prints what tells its key for sealing apart from others, and ends with 42.
const SEALING: &str = include_str!("../src/platform/selftest/sealing.wat");

common::on_every_backend! {
    fn a_workload_that_seals_has_a_key_of_its_own_or_does_not_run(backend) {
        let home = Scratch::new();
        let out = enarx_in(home.path()).args(["dev", "init"]).output().unwrap();
        assert!(out.status.success(), "{}", show(&out));
        let run = |home: &Path, workload: &Workload| {
            deploy(home, &["--backend", backend, workload.path(), "--digest", &workload.digest])
        };
        let key = |home: &Path, workload: &Workload| {
            let out = run(home, workload);
            assert_eq!(out.status.code(), Some(42), "{}", show(&out));
            let said = text(&out.stdout);
            assert_eq!(said.len(), 9, "{}", show(&out));
            said
        };
        let workload = Workload::new(SEALING, &format!("{CONFIG}[sealing]\n"));
        let workload = workload.compiled(home.path(), backend);
        let throwaway = |workload: Workload| {
            workload.folder.file("Enarx.toml", format!("{CONFIG}[sealing]\nthrowaway = true\n"));
            workload.again()
        };
        if matches!(backend, "nil" | "kvm") {
            let out = run(home.path(), &workload);
            assert_eq!(out.status.code(), Some(121), "{}", show(&out));
            assert_eq!(text(&out.stdout), "");
            for part in ["[sealing]", "none that would be a secret", "help: ", "throwaway = true"] {
                assert!(text(&out.stderr).contains(part), "{part} is missing: {}", show(&out));
            }
            let workload = throwaway(workload);
            assert_ne!(key(home.path(), &workload), key(home.path(), &workload));
            return;
        }
        let first = key(home.path(), &workload);
        assert_eq!(key(home.path(), &workload), first, "at the next launch");
        // Another machine is played for whom has another root.
        let elsewhere = Scratch::new();
        let out = enarx_in(elsewhere.path()).args(["dev", "init"]).output().unwrap();
        assert!(out.status.success(), "{}", show(&out));
        assert_ne!(key(elsewhere.path(), &workload), first, "on another machine");
        // Where there is a key, nobody gets another one.
        let other = throwaway(workload);
        let second = key(home.path(), &other);
        assert_ne!(second, first, "of another workload");
        assert_eq!(key(home.path(), &other), second);
    }
}

#[test]
fn a_workload_that_is_not_deployed_has_no_key_for_sealing() {
    let folder = Scratch::new();
    let module = folder.file("seal.wat", SEALING);
    let config = folder.file("Enarx.toml", format!("{CONFIG}[sealing]\n"));
    let mut run = enarx();
    let out = run.args(["run", "--backend", "nil", "--config"]).args([&config, &module]).output();
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(121), "{}", show(&out));
    for part in ["Error: ", "[sealing]", "help: use `enarx deploy`"] {
        assert!(text(&out.stderr).contains(part), "{part} is missing: {}", show(&out));
    }
}

#[test]
fn a_folder_that_cannot_be_compiled_stays_as_it_is() {
    let home = Scratch::new();
    let folder = Scratch::new();
    let compile = || {
        let mut command = enarx_in(home.path());
        command
            .args(["package", "compile", "--backend", "nil"])
            .arg(folder.path())
            .output()
            .unwrap()
    };
    let out = compile();
    assert_eq!(out.status.code(), Some(121), "{}", show(&out));
    assert!(text(&out.stderr).contains("main.wasm"), "{}", show(&out));
    folder.file("main.wasm", b"\0asm\x01\0\0\0 and no more of it");
    let out = compile();
    assert_ne!(out.status.code(), Some(0), "{}", show(&out));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

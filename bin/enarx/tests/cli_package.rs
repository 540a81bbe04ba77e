// SPDX-License-Identifier: Apache-2.0

//! `enarx package`, `repo`, `key` and `sign` as a person types them, against the services of `enarx dev up`.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{Scratch, enarx_in, show, text};
use serde_json::Value;

/// A person with a home, and services of their own.
struct Person {
    folder: Scratch,
    variables: Vec<(String, String)>,
    /// Whether the services are this person's.
    owns: bool,
}

impl Person {
    /// Without services.
    fn new() -> Self {
        Self { folder: Scratch::new(), variables: Vec::new(), owns: false }
    }

    /// With services, logged in, as the user alice.
    fn with_services() -> Self {
        let mut person = Self::new();
        person.owns = true;
        person.ok(&["dev", "init"]);
        let script = person.ok(&["dev", "up"]);
        for line in script.lines() {
            if let Some((name, value)) =
                line.strip_prefix("export ").and_then(|l| l.split_once('='))
            {
                person.variables.push((name.into(), value.trim_matches('\'').into()));
            }
        }
        person.ok(&["user", "login"]);
        person.ok(&["user", "register", "alice"]);
        person
    }

    /// Somebody else at the same services.
    fn new_at(other: &Self) -> Self {
        Self { folder: Scratch::new(), variables: other.variables.clone(), owns: false }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = enarx_in(&self.folder.path().join("home"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        assert!(out.status.success(), "{arguments:?}\n{}", show(&out));
        text(&out.stdout)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.ok(&arguments)).unwrap()
    }

    /// Fails with that code, and says so.
    fn fails(&self, code: i32, arguments: &[&str], says: &str) {
        let out = self.run(arguments);
        assert_eq!(out.status.code(), Some(code), "{arguments:?}\n{}", show(&out));
        let said = text(&out.stderr);
        // A warning may stand above it.
        let is_error = said.lines().any(|line| line.starts_with("Error: "));
        assert!(is_error && said.contains(says), "{arguments:?}\n{said}");
    }

    fn package(&self, name: &str) {
        let folder = self.path(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("main.wasm"), b"\0asm\x01\0\0\0").unwrap();
        fs::write(folder.join("Enarx.toml"), format!("args = [{name:?}]\n")).unwrap();
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if self.owns {
            let _ = self.run(&["dev", "down"]);
        }
    }
}

fn same(one: &Path, other: &Path) {
    for name in ["main.wasm", "Enarx.toml"] {
        assert_eq!(fs::read(one.join(name)).unwrap(), fs::read(other.join(name)).unwrap());
    }
}

#[test]
fn a_workload_is_published_looked_at_and_withdrawn() {
    let alice = Person::with_services();
    alice.package("shop");
    let digest = alice.ok(&["package", "digest", "shop"]).trim().to_owned();
    let created = alice.json(&["repo", "register", "alice/shop", "--public", "--dry-run"]);
    assert_eq!((&created["access"], &created["dry_run"]), (&"public".into(), &true.into()));
    alice.fails(120, &["repo", "info", "alice/shop"], "cannot show");
    alice.ok(&["repo", "register", "alice/shop", "--public"]);
    alice.fails(120, &["repo", "register", "alice/shop", "--public"], "cannot create");

    let would = alice.ok(&["package", "publish", "alice/shop:1.0.0", "shop", "--dry-run"]);
    assert!(would.starts_with("would publish ") && would.contains(&digest), "{would}");
    alice.fails(120, &["package", "info", "alice/shop:1.0.0"], "cannot show");
    let done = alice.json(&["package", "publish", "alice/shop:1.0.0", "shop"]);
    assert_eq!((&done["digest"], &done["existed"]), (&digest.clone().into(), &false.into()));
    let done = alice.json(&["package", "publish", "alice/shop:1.0.0", "shop"]);
    assert_eq!(done["existed"], true);
    alice.package("other");
    let publish = ["package", "publish", "alice/shop:1.0.0", "other"];
    alice.fails(120, &publish, "tags never change");

    let info = alice.json(&["package", "info", "alice/shop"]);
    assert_eq!((&info["tag"], &info["workload"]), (&"1.0.0".into(), &digest.clone().into()));
    assert!(alice.ok(&["repo", "info", "alice/shop"]).contains(&digest));
    assert!(alice.ok(&["repo", "search", "sho"]).contains("alice/shop public"));
    assert!(alice.ok(&["repo", "list", "alice"]).contains("alice/shop public"));

    // Nobody is logged in here.
    let stranger = Person::new_at(&alice);
    let pinned = format!("alice/shop:^1@{digest}");
    stranger.ok(&["package", "fetch", &pinned, "fetched"]);
    same(&stranger.path("fetched"), &alice.path("shop"));
    stranger.fails(121, &["package", "fetch", &pinned, "fetched"], "cannot create fetched");
    let wrong = format!("alice/shop:1.0.0@sha256:{}", "0".repeat(64));
    stranger.fails(120, &["package", "fetch", &wrong, "wrong"], "has the digest");
    assert!(!stranger.path("wrong").exists());
    stranger.fails(120, &["package", "yank", "alice/shop:1.0.0"], "cannot withdraw");

    alice.ok(&["package", "yank", "alice/shop:1.0.0", "--dry-run"]);
    assert_eq!(alice.json(&["package", "info", "alice/shop:1.0.0"])["yanked"], false);
    alice.ok(&["package", "yank", "alice/shop:1.0.0"]);
    assert_eq!(alice.json(&["package", "info", "alice/shop:1.0.0"])["yanked"], true);
    alice.fails(120, &["package", "info", "alice/shop"], "cannot show");
    alice.ok(&["package", "yank", "alice/shop:1.0.0", "--undo"]);
    alice.ok(&["package", "info", "alice/shop"]);
    alice.ok(&["repo", "change", "alice/shop"]);
    assert_eq!(alice.json(&["repo", "info", "alice/shop"])["access"], "owner");
    alice.ok(&["package", "delete", "alice/shop:1.0.0"]);
    alice.fails(120, &["package", "publish", "alice/shop:1.0.0", "shop"], "cannot publish");
    alice.ok(&["repo", "delete", "alice/shop", "--dry-run"]);
    alice.ok(&["repo", "delete", "alice/shop"]);
    alice.fails(120, &["repo", "info", "alice/shop"], "cannot show");
}

#[test]
fn signatures_are_demanded_and_checked() {
    let alice = Person::with_services();
    alice.package("shop");
    for key in ["good", "bad"] {
        alice.ok(&["key", "tag", "create", "--out", key]);
        alice.ok(&["key", "tag", "public", key, "--out", &format!("{key}.pub")]);
    }
    alice.ok(&["repo", "register", "alice/shop", "--public", "--signer", "good.pub"]);
    let publish = ["package", "publish", "alice/shop:1.0.0", "shop"];
    alice.fails(120, &publish, "cannot publish");
    alice.fails(120, &[&publish[..], &["--sign", "bad"]].concat(), "cannot publish");
    alice.ok(&[&publish[..], &["--sign", "good"]].concat());
    assert_eq!(alice.json(&["package", "info", "alice/shop"])["signature"], "jws");
    let fetch = ["package", "fetch", "alice/shop", "to", "--signer"];
    alice.fails(120, &[&fetch[..], &["bad.pub"]].concat(), "signature");
    alice.ok(&[&fetch[..], &["good.pub"]].concat());
    same(&alice.path("to"), &alice.path("shop"));
}

#[test]
fn what_cannot_be_published_is_refused_before_anything_is_sent() {
    let person = Person::new();
    person.package("shop");
    let at = "localhost:1/alice/shop:1.0.0";
    fs::write(person.path("shop/Enarx.toml"), "arguments = []\n").unwrap();
    person.fails(121, &["package", "publish", at, "shop"], "Enarx.toml");
    fs::write(person.path("shop/Enarx.toml"), "args = []\n").unwrap();
    fs::write(person.path("shop/.env"), "SECRET=1\n").unwrap();
    person.fails(121, &["package", "publish", at, "shop"], "does not belong into a package");
    fs::remove_file(person.path("shop/.env")).unwrap();
    person.fails(121, &["package", "publish", at, "nothing"], "cannot read nothing");
    let latest = "localhost:1/alice/shop:latest";
    person.fails(2, &["package", "publish", latest, "shop"], "names no single version");
    person.fails(2, &["package", "info", "alice/shop"], "no Drawbridge is named");
    person.fails(121, &["package", "publish", at, "shop", "--sign", "shop/main.wasm"], "");
    person.ok(&["package", "publish", at, "shop", "--dry-run"]);
    person.fails(120, &["package", "info", at], "no answer");
}

#[test]
fn keys_have_the_published_forms() {
    let person = Person::new();
    person.ok(&["key", "sgx", "create", "--out", "sgx.key"]);
    let pem = fs::read_to_string(person.path("sgx.key")).unwrap();
    assert!(pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"), "PKCS#1");
    assert_eq!(person.ok(&["key", "sgx", "digest", "sgx.key"]).trim().len(), 64);
    for name in ["author.key", "id.key"] {
        person.ok(&["key", "sev", "create", "--out", name]);
        assert_eq!(person.ok(&["key", "sev", "digest", name]).trim().len(), 96);
    }
    let sign = ["key", "sev", "sign", "--author-key", "author.key", "--id-key", "id.key"];
    person.ok(&[&sign[..], &["--out", "id.sig"]].concat());
    assert_eq!(fs::metadata(person.path("id.sig")).unwrap().len(), 1540);
    // Nobody else can read a key, and none is overwritten.
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(person.path("id.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o077, 0);
    person.fails(121, &["key", "sev", "create", "--out", "id.key"], "id.key");
    person.fails(121, &["key", "sgx", "digest", "id.key"], "no key for SGX");
    // What is to be signed does not exist without the hardware's backends.
    let sign = |signature: &str| {
        ["sign", "--sgx-key", "sgx.key", "--sev-id-key", "id.key", "--sev-id-key-signature"]
            .into_iter()
            .chain([signature])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let arguments = sign("id.sig");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    person.fails(123, &arguments, "no backend");
    let arguments = sign("id.key");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    person.fails(121, &arguments, "does not fit the ID key");
}

// SPDX-License-Identifier: Apache-2.0

//! `enarx dev`: a root that is never overwritten, and services that come up and go down.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use common::{Scratch, enarx_in, show, text};
use serde_json::Value;

fn dev(home: &Path, args: &[&str]) -> Output {
    enarx_in(home).arg("dev").args(args).output().unwrap()
}

#[test]
fn the_root_is_private_and_never_overwritten() {
    let home = Scratch::new();
    let out = dev(home.path(), &["init", "--json"]);
    assert!(out.status.success(), "{}", show(&out));
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(said["fingerprint"].as_str().unwrap().len(), 64);
    let key = Path::new(said["key"].as_str().unwrap());
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = key.parent().unwrap();
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    let before = fs::read(key).unwrap();
    let out = dev(home.path(), &["init"]);
    assert_eq!(out.status.code(), Some(121), "{}", show(&out));
    assert_eq!(fs::read(key).unwrap(), before);
}

#[test]
fn services_come_up_once_and_go_down() {
    let home = Scratch::new();
    let first = dev(home.path(), &["up", "--json"]);
    assert!(first.status.success(), "{}", show(&first));
    let state: Value = serde_json::from_slice(&first.stdout).unwrap();
    let again = dev(home.path(), &["up", "--json"]);
    assert!(again.status.success(), "{}", show(&again));
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), state);

    // The variables do what they promise.
    let up = dev(home.path(), &["up"]);
    let script = text(&up.stdout).to_string()
        + "curl -sS -m 20 --cacert \"$ENARX_CA_BUNDLE\" \"$ENARX_STEWARD/healthz\" &&\n\
           curl -sS -m 20 --cacert \"$ENARX_CA_BUNDLE\" \"https://$ENARX_DRAWBRIDGE/healthz\"\n";
    if Command::new("curl").arg("--version").output().is_ok() {
        let out = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert!(out.status.success(), "{}", show(&out));
        assert!(text(&out.stdout).contains("\"development\":true"), "{}", show(&out));
    } else {
        eprintln!("skipped: there is no `curl`");
    }

    let down = dev(home.path(), &["down", "--remove"]);
    assert!(down.status.success(), "{}", show(&down));
    assert!(text(&down.stdout).starts_with("stopped\n"), "{}", show(&down));
    let folder = home.path().join("data/enarx/development");
    assert!(!folder.join("state.json").exists());
    assert!(!folder.join("drawbridge").exists());
    assert!(folder.join("root.key").exists());
    let down = dev(home.path(), &["down"]);
    assert_eq!(text(&down.stdout), "nothing runs\n");
}

#[test]
fn a_port_that_is_taken_is_an_error_that_says_so() {
    let home = Scratch::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let out = dev(home.path(), &["up", "--drawbridge-port", &port]);
    assert_eq!(out.status.code(), Some(120), "{}", show(&out));
    assert!(text(&out.stderr).contains("cannot start the Drawbridge"), "{}", show(&out));
    assert_eq!(text(&dev(home.path(), &["down"]).stdout), "nothing runs\n");
}

// SPDX-License-Identifier: Apache-2.0

//! `enarx demo`: every step of the flow, and every attack refused by whom it has to be.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{Scratch, enarx_in, show, text};
use serde_json::Value;

/// The lines of JSON.
fn lines(stdout: &[u8]) -> Vec<Value> {
    text(stdout).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn of<'a>(lines: &'a [Value], event: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["event"] == event)
}

common::on_every_backend! {
    fn every_step_is_shown_and_every_attack_fails(backend) {
        let (home, temporary) = (Scratch::new(), Scratch::new());
        let out = enarx_in(home.path())
            .args(["demo", "--json", "--backend", backend])
            .env("TMPDIR", temporary.path())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", show(&out));
        let lines = lines(&out.stdout);
        assert_eq!(of(&lines, "backend").next().unwrap()["backend"], backend);

        let steps: Vec<u64> =
            of(&lines, "step").map(|step| step["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, (1..=13).collect::<Vec<_>>(), "{}", show(&out));

        let attacks: Vec<(&str, &str)> = of(&lines, "attack")
            .map(|one| (one["name"].as_str().unwrap(), one["refused_by"].as_str().unwrap()))
            .collect();
        assert_eq!(attacks.len(), 3, "{attacks:?}");
        for (attack, (name, by)) in attacks.iter().zip([
            ("flipped-bit", "ran"),
            ("other-kernel", "the Steward"),
            ("no-certificate", "the Drawbridge"),
        ]) {
            assert_eq!(attack.0, name);
            assert!(attack.1.contains(by), "{attack:?}");
        }
        assert!(of(&lines, "proven").count() >= 5, "{}", show(&out));

        // Nothing of the user's is touched, and nothing is left.
        for folder in [home.path(), temporary.path()] {
            let left: Vec<_> = fs::read_dir(folder).unwrap().collect();
            assert!(left.is_empty(), "{left:?}");
        }
    }

    fn it_keeps_running_until_it_is_told_to_end(backend) {
        let (home, temporary) = (Scratch::new(), Scratch::new());
        let mut demo = enarx_in(home.path())
            .args(["demo", "--json", "--keep-running", "--backend", backend])
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let curl = BufReader::new(demo.stdout.take().unwrap())
            .lines()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["event"] == "running")
            .map(|line| line["curl"].as_str().unwrap().to_owned());
        let curl = curl.expect("the demonstration says that it runs");
        if Command::new("curl").arg("--version").output().is_ok() {
            let out = Command::new("sh").args(["-c", &format!("{curl} -sS -m 20")]).output().unwrap();
            assert!(out.status.success(), "{}", show(&out));
            assert!(text(&out.stdout).contains("Hello from a Keep"), "{}", show(&out));
        } else {
            eprintln!("skipped: there is no `curl`");
        }
        let pid = rustix::process::Pid::from_child(&demo);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let status = demo.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "{status}");
        let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn people_see_what_was_proven() {
    let home = Scratch::new();
    let out = enarx_in(home.path()).args(["demo", "--backend", "nil"]).output().unwrap();
    assert!(out.status.success(), "{}", show(&out));
    let shown = text(&out.stdout);
    for part in [
        "13  run",
        "TLS handshake",
        "the certificate was issued by the Steward",
        "refused by the Steward",
        "refused by the Drawbridge",
    ] {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    // No colours where nobody sees them.
    assert!(!shown.contains('\x1b'), "{shown:?}");
}

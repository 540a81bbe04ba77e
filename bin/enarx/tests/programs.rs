// SPDX-License-Identifier: Apache-2.0

//! Real programs from registries in Keeps of every backend.
//!
//! They are big, and their compilation takes seconds to minutes, so these tests run only when they
//! are asked for: `cargo xtask programs && cargo test -p enarx --test programs -- --ignored`.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/guests.rs"]
mod guests;

use std::process::{Command, Output};

use common::{Scratch, enarx, show, text};
use guests::program;

/// SHA-256 of `keep`.
const KEEP: &str = "6ca7ea2feefc88ecb5ed6356ed963f47dc9137f82526fdd25d618ea626d0803f";

fn keep(backend: &str) -> Command {
    let mut command = enarx();
    command.args(["run", "--quiet", "--backend", backend]);
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("enarx starts")
}

common::on_every_backend! {
    #[ignore = "compiles 26 MB"]
    fn python_computes(backend) {
        let Some(python) = program("python.wasm") else { return };
        let code = "import hashlib, json, sys\n\
                    d = hashlib.sha256(b'keep').hexdigest()\n\
                    print(json.dumps({'v': sys.version_info[:2], 'd': d, 'n': 2**200 % 10**9}))";
        let out = output(keep(backend).arg(&python).args(["--", "-c", code]));
        assert!(out.status.success(), "{}", show(&out));
        let says: serde_json::Value = serde_json::from_slice(&out.stdout).expect("it is JSON");
        assert_eq!(says, serde_json::json!({"v": [3, 12], "d": KEEP, "n": 835_301_376}));

        let out = output(keep(backend).arg(&python).args(["--", "-c", "import sys; sys.exit(3)"]));
        assert_eq!(out.status.code(), Some(3), "{}", show(&out));
        let out = output(keep(backend).arg(&python).args(["--", "-c", "1 / 0"]));
        assert_eq!(out.status.code(), Some(1), "{}", show(&out));
        assert!(text(&out.stderr).contains("ZeroDivisionError"), "{}", show(&out));
    }

    #[ignore = "compiles 26 MB"]
    fn python_works_with_files(backend) {
        let Some(python) = program("python.wasm") else { return };
        let scratch = Scratch::new();
        scratch.file("words.txt", "keep\nstub\nkernel\n");
        scratch.file("script.py", "import os, sys, json\n\
            words = open('/data/words.txt').read().split()\n\
            os.mkdir('/data/new')\n\
            with open('/data/new/out.json', 'w') as f:\n    \
                json.dump(sorted(words), f)\n\
            os.rename('/data/new/out.json', '/data/new/sorted.json')\n\
            print(open('/data/new/sorted.json').read(), os.listdir('/data/new'))\n\
            sys.exit(3)\n");
        let dir = format!("{}::/data", scratch.path().display());
        let out = output(keep(backend).args(["--dir", &dir]).arg(&python).args(["--", "/data/script.py"]));
        assert_eq!(out.status.code(), Some(3), "{}", show(&out));
        assert_eq!(text(&out.stdout), "[\"keep\", \"kernel\", \"stub\"] ['sorted.json']\n");
        assert!(!scratch.path().join("new").exists(), "the host's folder was written");
    }

    #[ignore = "compiles 18 MB"]
    fn a_python_component_runs(backend) {
        let Some(app) = program("app.component.wasm") else { return };
        let out = output(keep(backend).arg(&app).args(["--", "a", "b"]));
        assert!(out.status.success(), "{}", show(&out));
        let says: serde_json::Value = serde_json::from_slice(&out.stdout).expect("it is JSON");
        assert_eq!(says["sha256"], KEEP);
        assert_eq!(says["args"], serde_json::json!(["a", "b"]));
    }

    #[ignore = "compiles 4 MB"]
    fn ripgrep_searches(backend) {
        let Some(rg) = program("rg.wasm") else { return };
        let scratch = Scratch::new();
        for i in 0..200 {
            let needle = if i % 50 == 7 { "needle" } else { "straw" };
            scratch.file(&format!("d{}/f{i}.txt", i % 9), format!("line\n{needle} {i}\n"));
        }
        let dir = format!("{}::/hay", scratch.path().display());
        let mut command = keep(backend);
        command.args(["--dir", &dir]).arg(&rg);
        let out = output(command.args(["--", "-n", "--sort", "path", "needle", "/hay"]));
        assert!(out.status.success(), "{}", show(&out));
        assert_eq!(text(&out.stdout).lines().count(), 4, "{}", show(&out));
        assert!(text(&out.stdout).contains("/hay/d7/f7.txt:2:needle 7\n"), "{}", show(&out));
        let mut command = keep(backend);
        command.args(["--dir", &dir]).arg(&rg);
        let out = output(command.args(["--", "nothing like it", "/hay"]));
        assert_eq!(out.status.code(), Some(1), "{}", show(&out));
    }
}

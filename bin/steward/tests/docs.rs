// SPDX-License-Identifier: Apache-2.0

//! Runs the commands of `docs/steward.md` and those of the README that are about the Steward, so that none
//! is published that does not work.
//!
//! The blocks marked `bash` are given to one shell, one after another, in a fresh folder. Only the port is
//! another one, since the one in the page may be taken.

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{has, show, steward};

const PAGE: &str = include_str!("../../../docs/steward.md");

const README: &str = include_str!("../../../README.md");

#[test]
fn the_commands_of_the_page_work() {
    if !(has("bash") && has("curl") && has("openssl")) {
        return;
    }
    let out = run(PAGE, 4);
    for part in ["keep.pem: OK", r#""code":"csr.malformed""#, "The evidence is genuine"] {
        assert!(out.contains(part), "{part}\n{out}");
    }
}

#[test]
fn the_commands_of_the_readme_work() {
    if !has("bash") {
        return;
    }
    let out = run(README, 1);
    assert!(out.contains("platforms can get certificates: development."), "{out}");
}

/// What the `bash` blocks of a page print; there must be so many at least.
fn run(page: &str, least: usize) -> String {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("```bash\n") {
        let (block, behind) = after.split_once("```").unwrap();
        blocks.push(block);
        rest = behind;
    }
    assert!(blocks.len() >= least, "only {} blocks were found", blocks.len());
    // Free at the moment, which is as good as it gets.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let script = blocks.concat().replace("3000", &port.to_string());
    let program = steward();
    let bin = Path::new(program.get_program()).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths([bin.to_owned()].into_iter().chain(std::env::split_paths(&path)));
    let folder = tempfile::tempdir().unwrap();
    // Whatever happens, the service does not outlive the test.
    let script = format!("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{script}");
    let out = Command::new("bash")
        .args(["-eu", "-o", "pipefail", "-c", &script])
        .env("PATH", path.unwrap())
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", show(&out));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn the_page_lists_every_exit_code() {
    let help = common::good(["--help"]);
    let codes = help.split_once("Exit codes:").unwrap().1;
    for line in codes.lines().filter(|line| !line.trim().is_empty()) {
        let (code, meaning) = line.trim().split_once("  ").unwrap_or_else(|| panic!("{line}"));
        let row = format!("| {code} | {meaning}");
        assert!(PAGE.contains(&row), "{row}");
    }
}

// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask test`: everything that must hold before a change goes in, with its own set-up.
//!
//! One command for people and for continuous integration, so that neither can check what the other
//! does not. What is quick and often wrong comes first; `cargo test` comes last, so that its own
//! result lines close the run. Tests are built like the product (`--release`): what the first
//! command of the README compiled, and above all Wasmtime, is not compiled again, and what is
//! tested is what is shipped.

use std::process::Command;

use crate::{Result, guests, host, servers, tcb, testsuite};

pub(crate) fn main(args: &[String]) -> Result {
    if !args.is_empty() {
        return Err("there are no options; for a part of it use `cargo test`".into());
    }
    step("guests");
    guests::main(&[])?;

    step("servers");
    servers::main(&[])?;

    step("cargo fmt");
    host::run(cargo("fmt").args(["--all", "--check"]))?;

    step("cargo clippy");
    let strict = ["--", "-D", "warnings"];
    host::run(
        cargo("clippy")
            .args(["--locked", "--release", "--workspace", "--all-targets"])
            .args(strict),
    )?;
    // The kernel's own code has no `main` and is built with its own profile. The two programs are
    // left out here: checking them means checking all of Wasmtime once more.
    let kernel = ["--package", "keep-kernel", "--features", "keep", "--bin", "keep-kernel"];
    host::run(cargo("clippy").args(["--locked", "--profile", "keep"]).args(kernel).args(strict))?;

    step("cargo deny");
    match host::find_program("cargo-deny") {
        Some(_) => host::run(cargo("deny").args(["check", "bans", "licenses", "sources"]))?,
        None => println!("skipped: cargo-deny is not installed"),
    }

    step("cargo build");
    host::run(cargo("build").args(["--locked", "--release", "--package", "enarx"]))?;

    step("trusted computing base");
    tcb::main(&["--check".to_owned()])?;

    step("WASI test suite");
    match std::env::var_os("WASI_TESTSUITE") {
        Some(_) => testsuite::main(&[])?,
        None => println!("skipped: WASI_TESTSUITE does not name a copy of it"),
    }

    step("cargo test of the comparison with peers");
    let peers = ["--manifest-path", "peers/Cargo.toml", "--locked", "--release"];
    host::run(cargo("test").args(peers))?;

    step("cargo test");
    host::run(cargo("test").args(["--locked", "--release", "--workspace", "--no-fail-fast"]))
}

fn step(name: &str) {
    println!("\n== {name}");
}

/// The Cargo that started this chore, for the same target folder.
fn cargo(verb: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(verb).current_dir(host::root());
    // Of the running chore, not of what is to be built.
    command.env_remove("CARGO_MANIFEST_DIR");
    command
}

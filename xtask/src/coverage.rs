// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask coverage`: which lines and branches of the verifier its tests reach.
//!
//! It counts the tests of the crates that read what strangers send, with the compiler's own
//! instrumentation. Branches are counted by an unstable option, for which stable Cargo is told to allow
//! it; nothing that is built here is used for anything else. The report is made by LLVM's tools, which
//! have to be of the compiler's major version: from rustup (`llvm-tools`) or Debian (`llvm-22`).

use std::path::PathBuf;
use std::process::Command;

use crate::{Result, host};

/// What is counted.
const CRATES: [&str; 10] = [
    "attested-request",
    "evidence-claims",
    "evidence-crypto",
    "evidence-dcap",
    "evidence-pki",
    "evidence-snp",
    "evidence-verifier",
    "steward-claims",
    "steward-core",
    "steward-policy",
];

pub(crate) fn main(args: &[String]) -> Result {
    let (profdata, cov) = (tool("llvm-profdata")?, tool("llvm-cov")?);
    let folder = host::root().join("target/coverage");
    let profiles = folder.join("profiles");
    let _ = std::fs::remove_dir_all(&profiles);

    let mut test = host::tool("cargo");
    test.args(["test", "--locked", "--tests", "--message-format=json", "--no-fail-fast"]);
    for name in CRATES {
        test.args(["--package", name]);
    }
    // So that both cryptographic libraries are there, as in the tests of the whole workspace.
    test.args(["--package", "evidence-vectors"]);
    test.env("CARGO_TARGET_DIR", &folder)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Cinstrument-coverage -Zcoverage-options=branch")
        .env("LLVM_PROFILE_FILE", profiles.join("%p-%m.profraw"))
        .current_dir(host::root());
    let messages = host::output(&mut test)?;

    let merged = folder.join("merged.profdata");
    let raw: Vec<PathBuf> = host::files_below(&profiles)?;
    host::run(Command::new(profdata).args(["merge", "--sparse"]).args(raw).arg("-o").arg(&merged))?;

    let mut report = Command::new(cov);
    report.arg(if args.iter().any(|arg| arg == "--lines") { "show" } else { "report" });
    report.arg("--instr-profile").arg(merged);
    if args.iter().any(|arg| arg == "--lines") {
        report.arg("--show-branches=count");
    }
    report
        .args(["--ignore-filename-regex", "(registry|rustc|/tests/|testkit|vectors|development)"]);
    // Test programs as Cargo names them.
    let mut programs = messages.lines().filter_map(executable);
    report.args(programs.next());
    for program in programs {
        report.args(["--object", program]);
    }
    if !args.iter().any(|arg| arg == "--lines") {
        report.arg("--show-region-summary=false");
    }
    host::run(&mut report)
}

/// The program that a line of Cargo's messages tells of.
fn executable(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("\"executable\":\"")?;
    rest.split_once('"').map(|(path, _)| path)
}

/// A tool of LLVM, of rustup's or Debian's.
fn tool(name: &str) -> Result<PathBuf> {
    let sysroot = host::output(host::tool("rustc").args(["--print", "sysroot"]))?;
    let bundled =
        PathBuf::from(sysroot).join("lib/rustlib/x86_64-unknown-linux-gnu/bin").join(name);
    if bundled.exists() {
        return Ok(bundled);
    }
    let version = host::output(host::tool("rustc").arg("-vV"))?;
    let major = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next())
        .ok_or("rustc does not say which LLVM it has")?;
    host::find_program(&format!("{name}-{major}")).ok_or_else(|| {
        format!("no {name}: `rustup component add llvm-tools`, or llvm-{major} of Debian").into()
    })
}

// SPDX-License-Identifier: Apache-2.0

//! `cargo xtask testsuite`: the public WASI test suite, preview1, on every engine that is asked for.
//!
//! The suite's own runner wants a newer Python than many machines have; the format of its tests is
//! simple: next to `X.wasm` there may be `X.json` with arguments, environment, root folder, exit code
//! and standard output. The reference is run by the same code, so a fault of this runner shows.
//!
//! Options: `--suite DIR` (or `WASI_TESTSUITE`; the branch `prod/testsuite-base` of
//! <https://github.com/WebAssembly/wasi-testsuite>), `--engines wasmtime,nil,kvm`, `--filter TEXT`,
//! `--write FILE` to put the table into a document.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::{Result, host, process, programs};

const LIMIT: Duration = Duration::from_secs(60);
const URL: &str = "https://github.com/WebAssembly/wasi-testsuite";
const BRANCH: &str = "prod/testsuite-base";

/// One test: its suite, its module, and what its JSON says.
struct Test {
    suite: String,
    name: String,
    module: PathBuf,
    spec: Value,
}

impl Test {
    /// Runs on one engine; `Err` says what was not as expected.
    fn run(&self, engine: &Engine, scratch: &Path) -> Result {
        let mut command = Command::new(&engine.program);
        command.args(&engine.args);
        if let Some(env) = self.spec["env"].as_object() {
            for (name, value) in env {
                command.arg("--env").arg(format!("{name}={}", value.as_str().unwrap_or_default()));
            }
        }
        let mut root = None;
        if let Some(name) = self.spec["root"].as_str() {
            let copy = scratch.join("root");
            let _ = std::fs::remove_dir_all(&copy);
            host::copy_folder(&self.module.with_file_name(name), &copy)?;
            command.arg("--dir").arg(format!("{}::/", copy.display()));
            root = Some(copy);
        }
        command.arg(&self.module);
        let args: Vec<_> = self.spec["args"].as_array().into_iter().flatten().collect();
        if engine.is_keep && !args.is_empty() {
            command.arg("--");
        }
        command.args(args.iter().filter_map(|a| a.as_str()));

        let digest = |root: &Path| host::digest(root, &host::files_below(root)?, "");
        let before = root.as_deref().map(digest).transpose()?;
        let outcome = process::run(&mut command, &[], LIMIT)?;
        let expected = self.spec["exit_code"].as_i64().unwrap_or(0);
        if outcome.timed_out || i64::from(outcome.code) != expected {
            return Err(outcome.complaint().into());
        }
        if let Some(stdout) = self.spec["stdout"].as_str()
            && outcome.text() != stdout
        {
            return Err(format!("wrote {:?}, not {stdout:?}", outcome.text()).into());
        }
        if engine.is_keep && root.as_deref().map(digest).transpose()? != before {
            return Err("the host's folder was changed".into());
        }
        Ok(())
    }
}

/// Something that runs WASI programs.
struct Engine {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    is_keep: bool,
}

fn engine(name: &str) -> Result<Engine> {
    let is_keep = name != "wasmtime";
    let (program, args) = if is_keep {
        (host::enarx()?, vec!["run".into(), "--backend".into(), name.into()])
    } else {
        (programs::reference()?, vec!["run".into()])
    };
    Ok(Engine { name: name.into(), program, args, is_keep })
}

/// The suite's folder: named, or cloned once.
fn suite(args: &[String]) -> Result<PathBuf> {
    if let Some(folder) = host::option(args, "--suite")? {
        return Ok(folder.into());
    }
    if let Some(folder) = std::env::var_os("WASI_TESTSUITE") {
        return Ok(folder.into());
    }
    let folder = host::cache()?.join("wasi-testsuite");
    if !folder.is_dir() {
        let part = folder.with_extension("part");
        let _ = std::fs::remove_dir_all(&part);
        let mut clone = host::tool("git");
        clone.args(["clone", "--quiet", "--depth=1", "--branch", BRANCH, URL]).arg(&part);
        host::run(clone.env("GIT_TERMINAL_PROMPT", "0"))?;
        std::fs::rename(&part, &folder)?;
    }
    Ok(folder)
}

fn tests(folder: &Path, filter: &str) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    for file in host::files_below(&folder.join("tests"))? {
        let folder = file.parent().unwrap_or(&file);
        if !folder.ends_with("testsuite/wasm32-wasip1")
            || file.extension().is_none_or(|e| e != "wasm")
        {
            continue;
        }
        let read = |path: PathBuf| -> Result<Value> {
            match std::fs::read(&path) {
                Ok(text) => Ok(serde_json::from_slice(&text)?),
                Err(_) => Ok(Value::Null),
            }
        };
        let manifest = read(folder.join("manifest.json"))?;
        let test = Test {
            suite: manifest["name"].as_str().unwrap_or("WASI tests").to_owned(),
            name: file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            spec: read(file.with_extension("json"))?,
            module: file.clone(),
        };
        if test.name.contains(filter) {
            tests.push(test);
        }
    }
    if tests.is_empty() { Err("no tests were found".into()) } else { Ok(tests) }
}

pub(crate) fn main(args: &[String]) -> Result {
    let folder = match suite(args) {
        Ok(folder) => folder,
        Err(reason) => {
            println!("testsuite: skipped: {reason}; set WASI_TESTSUITE to a copy of it");
            return Ok(());
        }
    };
    let tests = tests(&folder, host::option(args, "--filter")?.unwrap_or_default())?;
    let names = match host::option(args, "--engines")? {
        Some(names) => names.split(',').map(str::to_owned).collect(),
        None => host::backends(&host::enarx()?)?,
    };
    let scratch = std::env::temp_dir().join(format!("enarx-testsuite-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;

    let mut passed: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for (column, name) in names.iter().enumerate() {
        let engine = engine(name)?;
        for test in &tests {
            match test.run(&engine, &scratch) {
                Ok(()) => *passed.entry((&test.suite, column)).or_default() += 1,
                Err(reason) => {
                    println!("{}: {}: {reason}", engine.name, test.name);
                    failures.push((test, engine.name.clone()));
                }
            }
        }
    }
    std::fs::remove_dir_all(&scratch)?;

    let table = table(&tests, &names, &passed, &failures);
    println!("{table}");
    if let Some(file) = host::option(args, "--write")? {
        host::replace_block(Path::new(file), "testsuite", &table)?;
    }
    if failures.is_empty() { Ok(()) } else { Err(format!("{} failures", failures.len()).into()) }
}

fn table(
    tests: &[Test],
    names: &[String],
    passed: &BTreeMap<(&str, usize), usize>,
    failures: &[(&Test, String)],
) -> String {
    let mut totals: BTreeMap<&str, usize> = BTreeMap::new();
    tests.iter().for_each(|test| *totals.entry(&test.suite).or_default() += 1);
    let mut text = format!("| suite | tests | {} |\n|---|---|", names.join(" | "));
    text += &"---|".repeat(names.len());
    for (suite, total) in totals {
        text += &format!("\n| {suite} | {total} |");
        for column in 0..names.len() {
            text += &format!(" {} |", passed.get(&(suite, column)).unwrap_or(&0));
        }
    }
    for (test, engine) in failures {
        text += &format!("\n\nFails on `{engine}`: `{}`.", test.name);
    }
    text
}

// SPDX-License-Identifier: Apache-2.0

//! The guest programs, and what a run of one must not leave behind.
//!
//! Guests are built by `cargo xtask guests`, which this calls once if it was not called before. A
//! machine without a compiler for `wasm32-wasip1` skips the tests that need one, with the reason on
//! stderr; with `CI` set that is a failure, because nobody reads the reason there.

#![allow(dead_code, reason = "each test program uses another part of this module")]
#![allow(unreachable_pub, reason = "a module of a program has nobody outside")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests")
}

/// A program of `guests/`, `None` if it cannot be had here.
///
/// # Panics
///
/// If it cannot be had and `CI` is set.
pub fn guest(name: &str) -> Option<PathBuf> {
    static BUILD: Once = Once::new();
    let source = guests().join("wat").join(name);
    if source.exists() {
        return Some(source);
    }
    let path = guests().join("target/out").join(name);
    BUILD.call_once(|| {
        if !guests().join("target/out/.stamp").exists() {
            let mut build = Command::new(env!("CARGO"));
            build.args(["xtask", "guests"]).current_dir(guests().join(".."));
            let status = build.stdin(Stdio::null()).status().expect("cargo starts");
            assert!(status.success(), "cargo xtask guests failed");
        }
    });
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{name} is missing; see `cargo xtask guests`");
    eprintln!("skipped: {name} is missing; see `cargo xtask guests`");
    None
}

/// A program that `cargo xtask programs` fetches, `None` if it was not fetched.
pub fn program(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|c| !c.is_empty()).map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let path = cache.or(home)?.join("enarx-dev").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {name} is missing; see `cargo xtask programs`");
    None
}

/// Starts a command in a process group of its own, so that all it starts can be found.
pub fn spawn_group(command: &mut Command) -> Child {
    use std::os::unix::process::CommandExt;
    command.process_group(0).spawn().expect("enarx starts")
}

/// The processes of the group that `leader` leads or led, itself included.
pub fn group(leader: u32) -> Vec<u32> {
    let mut members = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in brackets may hold anything; state, parent and group come after it.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let (state, group) = (fields.next(), fields.nth(1));
        if group == Some(&leader.to_string()) && state != Some("Z") {
            members.extend(entry.file_name().to_string_lossy().parse::<u32>());
        }
    }
    members
}

/// The resident memory of a process group in bytes.
pub fn resident(leader: u32) -> u64 {
    let of = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
    };
    group(leader).into_iter().map(of).sum()
}

/// Sends a signal to one process.
pub fn signal(child: &Child, name: &str) {
    let kill = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(kill.expect("kill starts").success(), "kill failed");
}

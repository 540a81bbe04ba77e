// SPDX-License-Identifier: Apache-2.0

//! What all end-to-end tests share: the program under test, a home of its own, and the backends.
//!
//! A test body is written once, with [`on_every_backend!`], and becomes one test per backend, so
//! that a failure names the backend. A backend that cannot work on this machine is skipped with the
//! reason on stderr; one whose device is there and that fails its probe all the same is a failure,
//! because a silent skip would hide that it broke. Stand-ins are backends as the others, but a build may
//! lack them.

#![allow(dead_code, reason = "each test program uses another part of this module")]
#![allow(unreachable_pub, reason = "a module of a program has nobody outside")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Writes a test body once and makes a test of it for every backend.
///
/// ```ignore
/// common::on_every_backend! {
///     fn exit_code_passes_through(backend) {
///         let out = common::enarx().args(["run", "--backend", backend, "x.wat"]).output().unwrap();
///         assert_eq!(out.status.code(), Some(42));
///     }
/// }
/// ```
#[macro_export]
macro_rules! on_every_backend {
    ($($(#[$meta:meta])* fn $name:ident($backend:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "not every body names something of its file")]
            use super::*;

            fn body($backend: &str) $body

            $(#[$meta])*
            #[test]
            fn nil() {
                if $crate::common::works("nil") {
                    body("nil");
                }
            }

            $(#[$meta])*
            #[test]
            fn kvm() {
                if $crate::common::works("kvm") {
                    body("kvm");
                }
            }

            $(#[$meta])*
            #[test]
            fn snp_sim() {
                if $crate::common::works("snp-sim") {
                    body("snp-sim");
                }
            }

            $(#[$meta])*
            #[test]
            fn sgx_sim() {
                if $crate::common::works("sgx-sim") {
                    body("sgx-sim");
                }
            }
        }
    )*};
}

#[allow(unused_imports, reason = "not every test program has a body for every backend")]
pub use on_every_backend;

/// Every backend that these tests know.
pub const BACKENDS: [&str; 4] = ["nil", "kvm", "snp-sim", "sgx-sim"];

/// Those that need x86-64 Linux.
const MACHINES: [&str; 3] = ["kvm", "snp-sim", "sgx-sim"];

/// Those that need KVM's device.
const VIRTUAL_MACHINES: [&str; 2] = ["kvm", "snp-sim"];

/// Those that a build may lack.
const STAND_INS: [&str; 2] = ["snp-sim", "sgx-sim"];

/// The program under test with a clean `ENARX_*` environment and a home that all tests share.
///
/// The cache is shared and outlives the run, so that a big module is compiled once.
pub fn enarx() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enarx"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ENARX_") {
            command.env_remove(name);
        }
    }
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("home");
    set_home(&mut command, &home);
    command.stdin(Stdio::null());
    // Whoever runs the tests in the background may ignore signals, and a program that inherits
    // that goes on ignoring them.
    #[cfg(target_os = "linux")]
    // SAFETY: `signal` may be called between `fork` and `exec`, and changes nothing of ours.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    command
}

/// As [`enarx`], with a cache and a key that no other test sees.
pub fn enarx_in(home: &Path) -> Command {
    let mut command = enarx();
    set_home(&mut command, home);
    command
}

fn set_home(command: &mut Command, home: &Path) {
    command.env("HOME", home);
    command.env("XDG_CACHE_HOME", home.join("cache"));
    command.env("XDG_DATA_HOME", home.join("data"));
}

/// Whether tests run on `backend`, and the reason on stderr if not.
///
/// `ENARX_TEST_BACKENDS`, a list with commas, narrows the choice.
///
/// # Panics
///
/// If the backend ought to work here and its probe fails.
pub fn works(backend: &str) -> bool {
    if let Ok(chosen) = std::env::var("ENARX_TEST_BACKENDS")
        && !chosen.split(',').any(|name| name == backend)
    {
        eprintln!("skipped: ENARX_TEST_BACKENDS does not name {backend}");
        return false;
    }
    let has_machines = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    if MACHINES.contains(&backend) && !has_machines {
        eprintln!("skipped: {backend} is there for x86-64 Linux only");
        return false;
    }
    if VIRTUAL_MACHINES.contains(&backend)
        && let Err(err) = fs::File::options().read(true).write(true).open("/dev/kvm")
    {
        eprintln!("skipped: /dev/kvm: {err}");
        return false;
    }
    let known = probes().iter().any(|probe| probe.0 == backend);
    if STAND_INS.contains(&backend) && !known {
        eprintln!("skipped: this build has no {backend} backend");
        return false;
    }
    let failed: Vec<String> = probes()
        .iter()
        .filter(|probe| probe.0 == backend && !probe.2)
        .map(|probe| probe.1.clone())
        .collect();
    assert!(failed.is_empty(), "{backend} ought to work on this machine, but: {failed:?}");
    assert!(known, "`enarx platform info` does not know the {backend} backend");
    true
}

/// Whether this build has a backend of that name.
pub fn offers(backend: &str) -> bool {
    probes().iter().any(|probe| probe.0 == backend)
}

/// The backends that work on this machine.
pub fn backends() -> Vec<&'static str> {
    BACKENDS.into_iter().filter(|backend| works(backend)).collect()
}

/// Backend, name and success of every datum of `enarx platform info`.
fn probes() -> &'static [(String, String, bool)] {
    static PROBES: OnceLock<Vec<(String, String, bool)>> = OnceLock::new();
    PROBES.get_or_init(|| {
        let out = enarx().args(["platform", "info", "--json"]).output().expect("enarx starts");
        assert!(out.status.success(), "enarx platform info failed: {}", text(&out.stderr));
        let info: serde_json::Value =
            serde_json::from_slice(&out.stdout).expect("platform info prints JSON");
        let mut probes = Vec::new();
        for backend in info["backends"].as_array().expect("an array of backends") {
            let name = backend["backend"].as_str().expect("a backend has a name");
            for datum in backend["data"].as_array().expect("a backend has data") {
                probes.push((
                    name.to_owned(),
                    format!("{}: {}", datum["name"], datum["mesg"]),
                    datum["pass"].as_bool().expect("pass is a boolean"),
                ));
            }
        }
        probes
    })
}

/// A folder of its own for one test, removed at the end.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Makes an empty one.
    #[allow(clippy::new_without_default, reason = "it makes a folder, which is no default value")]
    pub fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temporary folder"))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file into it, its folders as well, and returns its path.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the folder");
        fs::write(&path, content).expect("the file is written");
        path
    }
}

/// Runs a module on `backend` and returns what came out.
pub fn run(backend: &str, module: impl AsRef<OsStr>, args: &[&str]) -> Output {
    enarx()
        .args(["run", "--backend", backend])
        .arg(module)
        .arg("--")
        .args(args)
        .output()
        .expect("enarx starts")
}

/// Runs `command` with `input` on its stdin.
pub fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("enarx starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    std::thread::scope(|scope| {
        // A program that ends before it has read everything is no failure of this helper.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("enarx is waited for")
    })
}

/// Waits until `done` says so.
///
/// # Panics
///
/// If it does not within `limit`.
pub fn wait_until(limit: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Output as text, for messages and comparisons.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a failed assertion ought to show of a run.
pub fn show(out: &Output) -> String {
    format!("{}\nstdout: {}\nstderr: {}", out.status, text(&out.stdout), text(&out.stderr))
}

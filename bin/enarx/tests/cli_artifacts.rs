// SPDX-License-Identifier: Apache-2.0

//! The cache and the key behind `enarx run`: used when sound, replaced when not, never in the way.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Scratch, enarx_in, show, text};

const HELLO: &str = include_str!("wat/hello.wat");

fn run(home: &Path, backend: &str, module: &Path) -> Command {
    let mut command = enarx_in(home);
    command.args(["run", "--backend", backend]).arg(module);
    command
}

/// Runs the module and returns what was on stderr.
fn hello(home: &Path, backend: &str, module: &Path) -> String {
    said_hello(&run(home, backend, module).output().unwrap())
}

fn said_hello(out: &Output) -> String {
    assert_eq!(out.status.code(), Some(42), "{}", show(out));
    assert_eq!(text(&out.stdout), "hello\n");
    text(&out.stderr)
}

fn artifacts(home: &Path) -> Vec<PathBuf> {
    match fs::read_dir(home.join("cache/enarx/artifacts")) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    }
}

fn the_artifact(home: &Path) -> PathBuf {
    let artifacts = artifacts(home);
    assert_eq!(artifacts.len(), 1, "{artifacts:?}");
    artifacts[0].clone()
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// A home with one compiled module in its cache.
fn warm(backend: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let module = scratch.file("hello.wat", HELLO);
    assert_eq!(hello(scratch.path(), backend, &module), "");
    (scratch, module)
}

common::on_every_backend! {
    fn the_second_run_uses_the_first_ones_artifact(backend) {
        let (home, module) = warm(backend);
        let before = inode(&the_artifact(home.path()));
        hello(home.path(), backend, &module);
        assert_eq!(inode(&the_artifact(home.path())), before);
        // Its name does not matter, its content does.
        let copy = home.file("other.wat", HELLO);
        hello(home.path(), backend, &copy);
        assert_eq!(inode(&the_artifact(home.path())), before);
    }

    fn another_module_is_another_artifact(backend) {
        let (home, _) = warm(backend);
        let module = home.file("hello.wat", HELLO.replace("hello\\n", "hullo\\n"));
        let out = run(home.path(), backend, &module).output().unwrap();
        assert_eq!(text(&out.stdout), "hullo\n", "{}", show(&out));
        assert_eq!(artifacts(home.path()).len(), 2);
    }

    fn a_damaged_artifact_is_compiled_anew(backend) {
        let (home, module) = warm(backend);
        let path = the_artifact(home.path());
        let good = fs::read(&path).unwrap();
        let changed = |position: usize| {
            let mut bytes = good.clone();
            bytes[position] ^= 1;
            bytes
        };
        let cases = [
            ("empty", Vec::new()),
            ("cut", good[..good.len() - 1].to_vec()),
            ("cut to the half", good[..good.len() / 2].to_vec()),
            ("longer", [&good[..], b"x"].concat()),
            ("changed at the beginning", changed(0)),
            ("changed in the header", changed(100)),
            ("changed in the middle", changed(good.len() / 2)),
            ("changed at the end", changed(good.len() - 1)),
            ("all zeros", vec![0; good.len()]),
        ];
        for (what, bytes) in cases {
            fs::write(&path, bytes).unwrap();
            let damaged = inode(&path);
            assert_eq!(hello(home.path(), backend, &module), "", "{what}");
            let path = the_artifact(home.path());
            assert_ne!(inode(&path), damaged, "{what}: the artifact was not replaced");
            let repaired = inode(&path);
            hello(home.path(), backend, &module);
            assert_eq!(inode(&path), repaired, "{what}: compiled once more than needed");
        }
    }

    fn an_artifact_of_another_module_is_not_run(backend) {
        let (home, module) = warm(backend);
        let own = the_artifact(home.path());
        let other = home.file("other.wat", HELLO.replace("hello\\n", "wrong\\n"));
        run(home.path(), backend, &other).output().unwrap();
        let foreign = artifacts(home.path()).into_iter().find(|path| *path != own).unwrap();
        // Sound, of the same compiler, and of another module.
        fs::copy(foreign, &own).unwrap();
        assert_eq!(hello(home.path(), backend, &module), "");
    }

    fn an_artifact_of_another_key_is_not_run(backend) {
        let (home, module) = warm(backend);
        let before = inode(&the_artifact(home.path()));
        fs::remove_file(home.path().join("data/enarx/compiler.key")).unwrap();
        assert_eq!(hello(home.path(), backend, &module), "");
        assert_ne!(inode(&the_artifact(home.path())), before);
    }

    fn without_the_cache_nothing_is_kept(backend) {
        let scratch = Scratch::new();
        let module = scratch.file("hello.wat", HELLO);
        let out = run(scratch.path(), backend, &module).arg("--no-cache").output().unwrap();
        assert_eq!(said_hello(&out), "");
        assert!(artifacts(scratch.path()).is_empty());
    }

    fn a_cache_that_cannot_be_used_is_a_warning(backend) {
        let scratch = Scratch::new();
        let module = scratch.file("hello.wat", HELLO);
        scratch.file("cache/enarx", "a file where the folder ought to be");
        for _ in 0..2 {
            let stderr = hello(scratch.path(), backend, &module);
            assert!(stderr.starts_with("warning: "), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
        }
        let quiet = run(scratch.path(), backend, &module).arg("--quiet").output().unwrap();
        assert_eq!(said_hello(&quiet), "");
    }

    fn a_cache_without_room_is_a_warning(backend) {
        let scratch = Scratch::new();
        let module = scratch.file("hello.wat", HELLO);
        let mut command = run(scratch.path(), backend, &module);
        let stderr = said_hello(&command.env("ENARX_CACHE_SIZE", "1KiB").output().unwrap());
        assert!(stderr.contains("larger than the cache may be"), "{stderr}");
        assert!(artifacts(scratch.path()).is_empty());
    }

    fn the_cache_stays_under_its_limit(backend) {
        let (home, _) = warm(backend);
        let size = fs::metadata(the_artifact(home.path())).unwrap().len();
        let limit = size * 5 / 2;
        for number in 0..4 {
            let text = format!("hell{number}\\n");
            let module = home.file("hello.wat", HELLO.replace("hello\\n", &text));
            let mut command = run(home.path(), backend, &module);
            let out = command.env("ENARX_CACHE_SIZE", limit.to_string()).output().unwrap();
            assert_eq!(text_of(&out), format!("hell{number}\n"));
            let sum: u64 = artifacts(home.path())
                .iter()
                .map(|path| fs::metadata(path).unwrap().len())
                .sum();
            assert!(sum <= limit, "{sum} of {limit} bytes");
        }
    }

    fn clearing_makes_the_next_run_compile(backend) {
        let (home, module) = warm(backend);
        let before = inode(&the_artifact(home.path()));
        let cleared = enarx_in(home.path()).args(["cache", "clear"]).output().unwrap();
        assert!(text(&cleared.stdout).starts_with("removed 1 artifact, "), "{}", show(&cleared));
        assert!(artifacts(home.path()).is_empty());
        hello(home.path(), backend, &module);
        // An inode number may be given again, so only that there is one counts.
        let _ = (before, the_artifact(home.path()));
    }

    fn many_at_once_share_a_cold_cache(backend) {
        let scratch = Scratch::new();
        let module = scratch.file("hello.wat", HELLO);
        let running: Vec<_> = (0..8)
            .map(|_| {
                run(scratch.path(), backend, &module)
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for child in running {
            assert_eq!(said_hello(&child.wait_with_output().unwrap()), "");
        }
        the_artifact(scratch.path());
    }
}

fn text_of(out: &Output) -> String {
    assert_eq!(out.status.code(), Some(42), "{}", show(out));
    text(&out.stdout)
}

#[test]
fn the_key_is_made_once_and_closed_to_others() {
    let (home, module) = warm("nil");
    let path = home.path().join("data/enarx/compiler.key");
    let key = fs::read(&path).unwrap();
    assert_eq!(key.len(), 32);
    assert_ne!(key, [0; 32]);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    hello(home.path(), "nil", &module);
    assert_eq!(fs::read(&path).unwrap(), key);

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let out = run(home.path(), "nil", &module).output().unwrap();
    assert_eq!(out.status.code(), Some(120), "{}", show(&out));
    assert!(text(&out.stderr).contains("others can read"), "{}", show(&out));
}

#[test]
fn without_a_home_it_works_with_warnings() {
    let scratch = Scratch::new();
    let module = scratch.file("hello.wat", HELLO);
    let out = run(scratch.path(), "nil", &module)
        .env_remove("HOME")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("XDG_DATA_HOME")
        .output()
        .unwrap();
    assert!(said_hello(&out).contains("warning: "), "{}", show(&out));
}

#[test]
fn a_file_system_without_room_is_a_warning() {
    if !Path::new("/dev/full").exists() || !is_root() {
        eprintln!("skipped: only root can mount a file system");
        return;
    }
    let scratch = Scratch::new();
    let module = scratch.file("hello.wat", HELLO);
    let cache = scratch.path().join("cache");
    fs::create_dir(&cache).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=8k,mode=700", "tmpfs"])
        .arg(&cache)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting a file system is not allowed here");
        return;
    }
    let out = run(scratch.path(), "nil", &module).output();
    let unmounted = Command::new("umount").arg(&cache).status().unwrap();
    assert!(unmounted.success());
    let stderr = said_hello(&out.unwrap());
    assert!(stderr.contains("is the disk full?"), "{stderr}");
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

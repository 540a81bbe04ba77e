// SPDX-License-Identifier: Apache-2.0

//! The end from outside: a Keep ends at once, enarx by the same signal, and nothing is left.

#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Scratch, enarx, text, wait_until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

fn guest(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wat").join(name)
}

/// An enarx whose workload loops, in a process group of its own.
struct Running {
    child: Child,
    keeps: Vec<u32>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let keeps = children(child.id());
        Self { child, keeps }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the end, and until no process of the Keep is left.
    fn end(mut self) -> std::process::ExitStatus {
        let status = self.child.wait().unwrap();
        wait_until(Duration::from_millis(500), "the Keep's processes are gone", || {
            self.keeps.iter().all(|pid| !is_alive(*pid))
        });
        status
    }
}

fn looping(backend: &str) -> Command {
    let mut command = enarx();
    command.args(["run", "--backend", backend]).arg(guest("loop.wat"));
    command
}

fn children(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let list = fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    children
}

fn is_alive(pid: u32) -> bool {
    // A zombie is waiting for whoever adopts orphans and does nothing any more.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}

common::on_every_backend! {
    fn signals_end_a_busy_loop_within_100_ms(backend) {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            // Others use this machine too: the promise is about the Keep, not about their turn.
            let fastest = (0..3)
                .map(|_| {
                    let running = Running::start(&mut looping(backend));
                    let start = Instant::now();
                    kill_process(running.pid(), signal).unwrap();
                    let status = running.end();
                    assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
                    start.elapsed()
                })
                .min()
                .unwrap();
            assert!(fastest < Duration::from_millis(100), "{signal:?}: {fastest:?}");
        }
    }

    fn a_terminal_signals_the_whole_group(backend) {
        for _ in 0..5 {
            let running = Running::start(&mut looping(backend));
            kill_process_group(running.pid(), Signal::INT).unwrap();
            let status = running.end();
            assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{status}");
        }
    }

    fn a_killed_enarx_leaves_no_process(backend) {
        let running = Running::start(&mut looping(backend));
        kill_process(running.pid(), Signal::KILL).unwrap();
        assert_eq!(running.end().signal(), Some(Signal::KILL.as_raw()));
    }

    fn an_ignored_signal_stays_ignored(backend) {
        let mut command = Command::new("sh");
        let enarx = looping(backend);
        for (name, value) in enarx.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.arg("-c").arg("trap '' HUP; exec \"$@\"").arg("sh");
        command.arg(enarx.get_program()).args(enarx.get_args());
        let mut running = Running::start(&mut command);
        kill_process(running.pid(), Signal::HUP).unwrap();
        std::thread::sleep(Duration::from_millis(150));
        assert!(running.child.try_wait().unwrap().is_none(), "SIGHUP was not ignored");
        kill_process(running.pid(), Signal::TERM).unwrap();
        assert_eq!(running.end().signal(), Some(Signal::TERM.as_raw()));
    }

    fn a_compiling_keep_ends_too(backend) {
        let scratch = Scratch::new();
        // Takes seconds to compile, and nothing of it is kept.
        let module = scratch.file("big.wat", big_module());
        let mut child = enarx()
            .args(["run", "--no-cache", "--backend", backend])
            .arg(module)
            .process_group(0)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(400));
        let start = Instant::now();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::TERM.as_raw()), "{status}");
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    }
}

/// A module whose functions are long and have nothing in common.
fn big_module() -> String {
    let mut text = String::from("(module (func (export \"_start\"))\n");
    for function in 0..400 {
        text += "(func (param i64) (result i64) (local i64)\n";
        for line in 0..400 {
            let number = function * 7919 + line * 104_729;
            text += &format!(
                "(local.set 1 (i64.rotl (i64.mul (i64.add (local.get 0) (local.get 1)) \
                 (i64.const {number})) (i64.xor (local.get 1) (i64.const {line}))))\n"
            );
        }
        text += "(local.get 1))\n";
    }
    text + ")"
}

/// Folders that Keeps of this machine have as scratch space.
fn scratches() -> Vec<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let homes = ["/dev/shm".to_owned(), text(std::env::temp_dir().as_os_str().as_encoded_bytes())];
    homes
        .iter()
        .flat_map(|home| fs::read_dir(Path::new(home).join(format!("enarx-{uid}"))))
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn scratch_folders_are_removed_also_those_of_the_dead() {
    let folder = Scratch::new();
    folder.file("big/file", vec![7; 1 << 20]);
    let with_folder = || {
        let mut command = looping("nil");
        command.env_remove("XDG_RUNTIME_DIR").arg("--dir").arg(folder.path().join("big"));
        command
    };
    let has = |path: &PathBuf| scratches().contains(path);

    let before = scratches();
    let killed = Running::start(&mut with_folder());
    let of_killed: Vec<_> = scratches().into_iter().filter(|path| !before.contains(path)).collect();
    assert!(!of_killed.is_empty(), "there is no scratch folder");
    kill_process(killed.pid(), Signal::KILL).unwrap();
    killed.end();

    let before = scratches();
    let next = Running::start(&mut with_folder());
    let of_next: Vec<_> = scratches().into_iter().filter(|path| !before.contains(path)).collect();
    assert!(of_killed.iter().all(|path| !has(path)), "the dead one's folder is still there");
    assert!(of_next.iter().all(has), "the living one's folder is gone");
    kill_process(next.pid(), Signal::TERM).unwrap();
    next.end();
    assert!(of_next.iter().all(|path| !has(path)), "the folder outlived its Keep");
}

// SPDX-License-Identifier: Apache-2.0

//! Guest programs in Keeps of every backend: what a user sees of one run.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/guests.rs"]
mod guests;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Scratch, enarx, run, show, text, wait_until, with_input};
use guests::{group, guest, resident, signal, spawn_group};

/// Bytes without a pattern that a mistake could hide in.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn keep(backend: &str) -> std::process::Command {
    let mut command = enarx();
    command.args(["run", "--quiet", "--backend", backend]);
    command
}

common::on_every_backend! {
    fn hello_in_every_language(backend) {
        for (name, says) in [
            ("hello.wat", "Hello from WAT!\n"),
            ("hello.wasm", "Hello from Rust!\n"),
            ("hello-c.wasm", "Hello from C!\n"),
            ("hello.component.wasm", "Hello from Rust!\n"),
        ] {
            let Some(guest) = guest(name) else { continue };
            let out = run(backend, guest, &[]);
            assert!(out.status.success(), "{name}: {}", show(&out));
            assert_eq!(text(&out.stdout), says, "{name}");
        }
    }

    fn exit_codes_pass_through(backend) {
        for code in [0, 1, 42] {
            let guest = guest(&format!("exit-{code}.wat")).expect("it is text");
            let out = run(backend, guest, &[]);
            assert_eq!(out.status.code(), Some(code), "{}", show(&out));
            assert_eq!(text(&out.stdout), "");
        }
        let Some(exit) = guest("exit.wasm") else { return };
        for code in [0, 1, 2, 42, 125] {
            let out = run(backend, &exit, &[&code.to_string()]);
            assert_eq!(out.status.code(), Some(code), "{}", show(&out));
        }
        let out = run(backend, &exit, &[]);
        assert_eq!(out.status.code(), Some(1), "{}", show(&out));
        assert!(text(&out.stderr).contains("no code was given"), "{}", show(&out));
        // WASI 0.2 has no codes: an adapted component can only fail.
        let Some(exit) = guest("exit.component.wasm") else { return };
        assert_eq!(run(backend, &exit, &["0"]).status.code(), Some(0));
        assert_eq!(run(backend, &exit, &["42"]).status.code(), Some(1));
    }

    fn traps_show_names_and_reason(backend) {
        for (name, args, functions, reason) in [
            ("trap-unreachable.wat", &[][..], &["innermost", "middle", "start"][..], "unreachable"),
            ("trap-divide.wat", &[], &["divide", "start"], "divide by zero"),
            ("trap-bounds.wat", &[], &["read", "start"], "out of bounds memory access"),
            ("trap-bounds-far.wat", &[], &["read_far"], "out of bounds memory access"),
            ("trap-stack.wat", &[], &["recurse"], "call stack exhausted"),
            ("trap-call.wat", &[], &["indirect", "start"], "uninitialized element"),
            ("trap-float.wat", &[], &["convert"], "invalid conversion to integer"),
            ("trap.wasm", &["read"], &["read_beyond_memory", "chosen_by_the_user", "main"],
             "out of bounds memory access"),
            ("trap.wasm", &["write"], &["write_beyond_memory"], "out of bounds memory access"),
            ("trap.wasm", &["unreachable"], &["reach_the_unreachable"], "unreachable"),
            ("trap.wasm", &["recurse"], &["recurse_without_end"], "call stack exhausted"),
            ("trap.wasm", &["panic"], &["panic_with_message"], "unreachable"),
            ("trap.component.wasm", &["read"], &["read_beyond_memory"], "out of bounds memory"),
            ("trap-c.wasm", &["overflow"], &["divide", "negate_the_smallest"], "integer overflow"),
            ("trap-c.wasm", &[], &["divide", "average_of_nothing"], "divide by zero"),
        ] {
            let Some(guest) = guest(name) else { continue };
            let out = run(backend, guest, args);
            let stderr = text(&out.stderr);
            assert_eq!(out.status.code(), Some(134), "{name} {args:?}: {}", show(&out));
            for function in functions {
                assert!(stderr.contains(function), "{name} {args:?}: no {function}: {stderr}");
            }
            assert!(stderr.contains(reason), "{name} {args:?}: no {reason:?}: {stderr}");
            let before = if name.ends_with(".wat") { "" } else { "before the trap\n" };
            assert_eq!(text(&out.stdout), before, "{name} {args:?}");
        }
    }

    fn a_panic_shows_its_message(backend) {
        let Some(trap) = guest("trap.wasm") else { return };
        let out = run(backend, trap, &["panic"]);
        assert!(text(&out.stderr).contains("the guest panicked on purpose"), "{}", show(&out));
    }

    fn streams_carry_every_byte(backend) {
        for name in ["cat.wasm", "cat.component.wasm"] {
            let Some(cat) = guest(name) else { continue };
            // No multiple of any buffer's size.
            for len in [0, 1, 4095, 65_537, (24 << 20) + 13] {
                let input = noise(len);
                let out = with_input(keep(backend).arg(&cat), &input);
                assert!(out.status.success(), "{name}, {len} bytes: {}", text(&out.stderr));
                assert!(out.stdout == input, "{name}, {len} bytes: {} came", out.stdout.len());
            }
        }
    }

    fn streams_do_not_mix(backend) {
        let Some(streams) = guest("streams.wasm") else { return };
        let out = with_input(keep(backend).arg(&streams), b"abc\n");
        assert_eq!(text(&out.stdout), "out: 4 bytes, ok\n", "{}", show(&out));
        assert_eq!(text(&out.stderr), "err: sum 304\n", "{}", show(&out));
        let out = keep(backend).arg(&streams).output().expect("enarx starts");
        assert_eq!(text(&out.stdout), "out: 0 bytes, ok\n", "{}", show(&out));
    }

    fn input_arrives_before_its_end(backend) {
        let Some(cat) = guest("cat.wasm") else { return };
        let mut command = keep(backend);
        let mut child = spawn_group(command.arg(cat).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        for line in ["first\n", "second\n"] {
            stdin.write_all(line.as_bytes()).expect("the Keep reads");
            let mut back = String::new();
            stdout.read_line(&mut back).expect("the Keep writes");
            assert_eq!(back, line);
        }
        drop(stdin);
        assert!(child.wait().expect("it ends").success());
    }

    fn a_reader_that_waits_holds_the_writer_back(backend) {
        let Some(yes) = guest("yes.wasm") else { return };
        let mut command = keep(backend);
        let mut child = spawn_group(command.arg(yes).args(["--", "512"]).stdout(Stdio::piped()));
        let mut stdout = child.stdout.take().expect("stdout is a pipe");
        let mut byte = [0; 1];
        stdout.read_exact(&mut byte).expect("the Keep writes");
        std::thread::sleep(Duration::from_millis(700));
        let held = resident(child.id());
        assert!(held < 256 << 20, "{} MiB piled up", held >> 20);
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).expect("the Keep writes");
        assert_eq!(rest.len() + 1, 512 << 20);
        assert!(rest.chunks_exact(2).all(|two| two == b"\ny"));
        assert!(child.wait().expect("it ends").success());
    }

    fn yes_ends_with_head(backend) {
        let Some(yes) = guest("yes.wasm") else { return };
        let mut command = keep(backend);
        command.arg(yes).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = spawn_group(&mut command);
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("the Keep writes");
        assert_eq!(line, "y\n");
        drop(stdout);
        wait_until(Duration::from_secs(5), "yes ends", || {
            child.try_wait().expect("it can be waited for").is_some()
        });
        assert!(group(child.id()).is_empty(), "processes are left");
    }

    fn arguments_and_environment_arrive(backend) {
        for name in ["env.wasm", "env.component.wasm"] {
            let Some(env) = guest(name) else { continue };
            let mut command = keep(backend);
            command.args(["--env", "A=b=c", "--env", "UMLAUT=ä🔒"]).arg(env);
            let out = command.args(["--", "x", "", "y z", "--", "-q"]).output().expect("starts");
            let all = text(&out.stdout);
            let (_, after) = all.split_once('\n').unwrap_or_default();
            let expected = "arg 1 \"x\"\narg 2 \"\"\narg 3 \"y z\"\narg 4 \"--\"\narg 5 \"-q\"\n";
            assert!(all.starts_with("arg 0 "), "{}", show(&out));
            assert!(after.starts_with(expected), "{}", show(&out));
            assert!(all.contains("env A \"b=c\"\n"), "{}", show(&out));
            assert!(all.contains("env UMLAUT \"ä🔒\"\n"), "{}", show(&out));
            assert!(!all.contains("PATH"), "the host's environment shows: {}", show(&out));
        }
    }

    fn files_work_and_the_host_keeps_its_own(backend) {
        for name in ["files.wasm", "files-c.wasm", "files.component.wasm"] {
            let Some(files) = guest(name) else { continue };
            let scratch = Scratch::new();
            scratch.file("kept", "as it was");
            let dir = format!("{}::/work", scratch.path().display());
            let mut command = keep(backend);
            let out = command.args(["--dir", &dir]).arg(files).args(["--", "/work"]).output();
            let out = out.expect("enarx starts");
            assert!(out.status.success(), "{name}: {}", show(&out));
            assert!(text(&out.stdout).contains("all good"), "{name}: {}", show(&out));
            let left: Vec<_> = std::fs::read_dir(scratch.path()).expect("it is there").collect();
            assert_eq!(left.len(), 1, "{name}: the host's folder was written");
        }
    }

    fn clocks_and_random_numbers_hold(backend) {
        for name in ["clocks.wasm", "clocks.component.wasm"] {
            let Some(clocks) = guest(name) else { continue };
            let out = run(backend, clocks, &[]);
            assert!(out.status.success(), "{name}: {}", show(&out));
            assert_eq!(text(&out.stdout), "clocks: all good\n");
        }
    }

    fn polling_waits_for_input_or_time(backend) {
        let Some(clocks) = guest("clocks.wasm") else { return };
        let start = Instant::now();
        let mut command = keep(backend);
        command.arg(&clocks).args(["--", "poll", "300"]);
        let mut child = spawn_group(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = child.stdin.take();
        let out = child.wait_with_output().expect("it ends");
        drop(stdin);
        assert_eq!(text(&out.stdout), "timeout\n", "{}", show(&out));
        assert!(start.elapsed() >= Duration::from_millis(300));

        let mut command = keep(backend);
        command.arg(&clocks).args(["--", "poll", "60000"]);
        let start = Instant::now();
        let out = with_input(&mut command, b"something\n");
        assert_eq!(text(&out.stdout), "input\n", "{}", show(&out));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    fn memory_is_zero_and_ends_at_its_limit(backend) {
        let Some(memory) = guest("memory.wasm") else { return };
        let out = run(backend, &memory, &["192"]);
        assert!(out.status.success(), "{}", show(&out));
        let says = "touched 192 MiB, 0 pages were not zero, 0 changed\n";
        assert_eq!(text(&out.stdout), says);
        let mut command = keep(backend);
        let out = command.args(["--memory", "256MiB"]).arg(&memory).args(["--", "512"]).output();
        let out = out.expect("enarx starts");
        assert_eq!(out.status.code(), Some(3), "growing must fail in the guest: {}", show(&out));
        let out = run(backend, guest("grow.wat").expect("it is text"), &[]);
        assert!(out.status.success(), "{}", show(&out));
    }

    fn bad_modules_are_refused_with_the_reason(backend) {
        for (name, options, reasons) in [
            ("bad-import.wat", &[][..], &["wasi_snapshot_preview1", "fd_teleport"][..]),
            ("bad-import-module.wat", &[], &["env", "launch"]),
            ("bad-import-type.wat", &[], &["sched_yield"]),
            ("bad-memory.wat", &["--memory", "1GiB"], &["memory"]),
            ("bad-type.wat", &[], &["type mismatch"]),
            ("bad-start.wat", &[], &["_start"]),
            ("bad-world.wat", &[], &["wasi:cli"]),
            ("bad-world-import.wat", &[], &["acme:device/driver"]),
        ] {
            let mut command = keep(backend);
            let module = guest(name).expect("it is text");
            let out = command.args(options).arg(module).output().expect("enarx starts");
            assert_eq!(out.status.code(), Some(122), "{name}: {}", show(&out));
            for reason in reasons {
                assert!(text(&out.stderr).contains(reason), "{name}: {}", show(&out));
            }
            assert!(!text(&out.stderr).contains("panicked"), "{name}: {}", show(&out));
        }
    }

    fn cut_modules_are_refused(backend) {
        let Some(hello) = guest("hello.wasm") else { return };
        let (whole, scratch) = (std::fs::read(hello).expect("it is there"), Scratch::new());
        for len in [0, 1, 7, 8, 9, 100, whole.len() / 2, whole.len() - 1] {
            let cut = scratch.file("cut.wasm", &whole[..len]);
            let out = run(backend, cut, &[]);
            assert_eq!(out.status.code(), Some(122), "{len} bytes: {}", show(&out));
            assert!(!text(&out.stderr).contains("panicked"), "{len} bytes: {}", show(&out));
        }
    }

    fn signals_end_a_busy_keep_at_once(backend) {
        let Some(busy) = guest("busy.wasm") else { return };
        for (name, number) in [("INT", 2), ("TERM", 15)] {
            // The bar is 100 ms; a busy machine may be late with its own part, so the best counts.
            let mut best = Duration::MAX;
            for _ in 0..3 {
                let mut command = keep(backend);
                let mut child = spawn_group(command.arg(&busy).stdout(Stdio::piped()));
                let mut line = String::new();
                let stdout = child.stdout.take().expect("stdout is a pipe");
                BufReader::new(stdout).read_line(&mut line).expect("the Keep writes");
                assert_eq!(line, "busy\n");
                signal(&child, name);
                let start = Instant::now();
                let status = child.wait().expect("it ends");
                best = best.min(start.elapsed());
                use std::os::unix::process::ExitStatusExt;
                assert_eq!(status.signal(), Some(number), "{status}");
                assert!(group(child.id()).is_empty(), "processes are left");
            }
            assert!(best < Duration::from_millis(100), "SIG{name} took {best:?}");
        }
    }

    fn a_time_limit_ends_a_busy_keep(backend) {
        let Some(busy) = guest("busy.wasm") else { return };
        let out = keep(backend).args(["--timeout", "300ms"]).arg(busy).output();
        let out = out.expect("enarx starts");
        assert_eq!(out.status.code(), Some(124), "{}", show(&out));
        assert_eq!(text(&out.stdout), "busy\n");
    }

    fn many_keeps_leave_nothing_behind(backend) {
        let (hello, scratch) = (guest("hello.wat").expect("it is text"), Scratch::new());
        let keep = || {
            let mut command = keep(backend);
            command.env("TMPDIR", scratch.path()).arg(&hello).stdout(Stdio::piped());
            spawn_group(&mut command)
        };
        for _ in 0..5 {
            let four: Vec<_> = (0..4).map(|_| keep()).collect();
            for child in four {
                let leader = child.id();
                let out = child.wait_with_output().expect("it ends");
                assert_eq!(text(&out.stdout), "Hello from WAT!\n", "{}", show(&out));
                assert!(group(leader).is_empty(), "processes are left");
            }
        }
        let left: Vec<_> = std::fs::read_dir(scratch.path()).expect("it is there").collect();
        assert!(left.is_empty(), "temporary files are left: {left:?}");
    }

    fn arithmetic_is_the_same_everywhere(backend) {
        let Some(kernels) = guest("kernels.wasm") else { return };
        // As the reference computes them; floating point and vectors included.
        for (name, checksum) in [
            ("2mm", "7a47631e88f9bdd2"), ("base64", "3876623741413d3d"),
            ("btree", "63ee269dc01c365e"), ("correlation", "65ee83dd7a6ab70c"),
            ("fannkuch", "0000001e000021b5"), ("json", "000b5ad60011ee2f"),
            ("lu", "c12633d94e7ac08b"), ("matrix-f32", "79beee3083b2121b"),
            ("matrix-simd", "984d0be9fcc04300"), ("nbody", "aa961b1fa0503e64"),
            ("regex", "0001cdeed5f66c8d"), ("sha256", "f45663b0e7e2f8d2"),
            ("sort", "a38b9418af0ab275"),
        ] {
            let out = run(backend, &kernels, &[name, "1"]);
            assert!(text(&out.stdout).trim().ends_with(checksum), "{name}: {}", show(&out));
        }
    }
}

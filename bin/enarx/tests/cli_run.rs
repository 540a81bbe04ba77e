// SPDX-License-Identifier: Apache-2.0

//! `enarx run` as a person meets it: what the workload gets, what comes back, what is refused.

mod common;

use std::path::PathBuf;
use std::process::{Command, Output};

use common::{Scratch, enarx, show, text, with_input};

/// Writes to descriptor 3 what it reads from 4, once.
const BEHIND: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 64))
    (i32.store (i32.const 4) (i32.const 100))
    (if (call $fd_read (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))
    (i32.store (i32.const 4) (i32.load (i32.const 8)))
    (if (call $fd_write (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable))))"#;

fn guest(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wat").join(name)
}

fn run_on(backend: &str) -> Command {
    let mut command = enarx();
    command.args(["run", "--backend", backend]);
    command
}

/// Arguments and environment as `show.wat` found them.
fn shown(command: &mut Command) -> (Vec<String>, Vec<String>) {
    let out = command.output().unwrap();
    assert!(out.status.success(), "{}", show(&out));
    let mut halves = out.stdout.split(|byte| *byte == 1).map(|half| {
        let text = text(half);
        text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()
    });
    (halves.next().unwrap(), halves.next().unwrap())
}

fn assert_refused(out: &Output, code: i32, words: &[&str]) {
    let message = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{}", show(out));
    assert!(out.stdout.is_empty(), "{}", show(out));
    assert!(message.starts_with("Error: "), "{message}");
    assert!(!message.contains("panicked"), "{message}");
    for word in words {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

common::on_every_backend! {
    fn output_and_exit_code_pass_through(backend) {
        for _ in 0..2 {
            let out = run_on(backend).arg(guest("hello.wat")).output().unwrap();
            assert_eq!(out.status.code(), Some(42), "{}", show(&out));
            assert_eq!(text(&out.stdout), "hello\n");
            assert_eq!(text(&out.stderr), "", "a named backend needs no comment");
        }
    }

    fn streams_pass_through(backend) {
        let input: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
        let out = with_input(run_on(backend).arg(guest("echo.wat")), &input);
        assert!(out.status.success(), "{}", out.status);
        assert!(out.stdout == input, "{} bytes came back", out.stdout.len());
        assert_eq!(text(&out.stderr), "done\n");
    }

    fn arguments_and_environment(backend) {
        let (args, env) = shown(
            run_on(backend)
                .env("FROM_HERE", "yes")
                .args(["--env", "A=1", "--env", "B=b=b", "--env", "A=2", "--env", "FROM_HERE"])
                .arg(guest("show.wat"))
                .args(["--", "-x", "", "ä", "--env"]),
        );
        assert_eq!(args, ["show.wat", "-x", "", "ä", "--env"]);
        assert_eq!(env, ["A=2", "B=b=b", "FROM_HERE=yes"]);
    }

    fn nothing_of_the_environment_leaks(backend) {
        let (args, env) = shown(run_on(backend).env("SECRET", "x").arg(guest("show.wat")));
        assert_eq!(args, ["show.wat"]);
        assert!(env.is_empty(), "{env:?}");
    }

    fn configuration_gives_arguments_and_variables(backend) {
        let scratch = Scratch::new();
        let config = scratch.file(
            "Enarx.toml",
            "args = [\"one\"]\n\
             files = [{ kind = \"null\" }, { kind = \"stdout\", name = \"out\" }]\n\
             [env]\nA = \"config\"\nB = \"config\"\n",
        );
        let expected = ["FD_COUNT=2", "FD_NAMES=null:out", "A=option", "B=config"];
        let with = |option: &str| {
            shown(
                run_on(backend)
                    .arg(option)
                    .arg(&config)
                    .args(["--env", "A=option"])
                    .arg(guest("show.wat"))
                    .args(["--", "two"]),
            )
        };
        for option in ["--config", "--wasmcfgfile"] {
            let (args, env) = with(option);
            assert_eq!(args, ["show.wat", "one", "two"]);
            assert_eq!(env, expected);
        }
        let (args, _) =
            shown(run_on(backend).env("ENARX_WASMCFGFILE", &config).arg(guest("show.wat")));
        assert_eq!(args, ["show.wat", "one"]);
    }

    fn configuration_chooses_the_streams(backend) {
        let scratch = Scratch::new();
        let config = scratch.file(
            "Enarx.toml",
            "files = [{ kind = \"stdin\" }, { kind = \"stderr\" }, { kind = \"stdout\" }]",
        );
        let crossed = with_input(
            run_on(backend).arg("--config").arg(config).arg(guest("echo.wat")),
            b"text\n",
        );
        assert_eq!((text(&crossed.stdout), text(&crossed.stderr)), ("done\n".into(), "text\n".into()));

        let config = scratch.file("Null.toml", "files = [{ kind = \"null\" }, { kind = \"null\" }]");
        let null = with_input(
            run_on(backend).arg("--config").arg(config).arg(guest("echo.wat")),
            b"text\n",
        );
        assert!(null.status.success(), "{}", show(&null));
        assert_eq!((text(&null.stdout), text(&null.stderr)), (String::new(), String::new()));

        // Behind the first three, streams stand as they like.
        let config = scratch.file(
            "Behind.toml",
            "files = [{ kind = \"null\" }, { kind = \"null\" }, { kind = \"null\", name = \"c\" }, \
             { kind = \"stdout\" }, { kind = \"stdin\" }]",
        );
        let module = scratch.file("behind.wat", BEHIND);
        let behind = with_input(run_on(backend).arg("--config").arg(config).arg(module), b"text\n");
        assert!(behind.status.success(), "{}", show(&behind));
        assert_eq!(text(&behind.stdout), "text\n");
    }

    fn traps_are_134_with_the_names_of_functions(backend) {
        let out = run_on(backend).arg(guest("trap.wat")).output().unwrap();
        assert_refused(&out, 134, &["unreachable", "wasm backtrace", "inner", "outer"]);
        // As their author wrote them.
        let scratch = Scratch::new();
        let module = scratch.file(
            "rust.wat",
            r#"(module (func $_ZN3foo3bar17h0123456789abcdefE unreachable)
                (func (export "_start") (call $_ZN3foo3bar17h0123456789abcdefE)))"#,
        );
        let out = run_on(backend).arg(module).output().unwrap();
        assert_refused(&out, 134, &["unreachable", "foo::bar"]);
    }

    fn bad_modules_are_refused(backend) {
        let scratch = Scratch::new();
        let cases = [
            ("empty.wasm", &b""[..], &["empty.wasm"][..]),
            ("text.wasm", b"#!/bin/sh\n", &["text.wasm"]),
            ("truncated.wasm", b"\0asm\x01\0\0\0\x01\x7f", &["truncated.wasm"]),
            (
                "import.wat",
                br#"(module (import "env" "missing" (func)) (func (export "_start")))"#,
                &["env", "missing"],
            ),
            ("none.wat", b"(module)", &["_start"]),
        ];
        for (name, bytes, words) in cases {
            let out = run_on(backend).arg(scratch.file(name, bytes)).output().unwrap();
            assert_refused(&out, 122, words);
        }
    }

    fn memory_above_the_limit_is_refused(backend) {
        let scratch = Scratch::new();
        // 1 GiB from the beginning.
        let module = scratch.file(
            "big.wat",
            r#"(module (memory (export "memory") 16384) (func (export "_start")))"#,
        );
        let enough = run_on(backend).arg("--memory=2GiB").arg(&module).output().unwrap();
        assert!(enough.status.success(), "{}", show(&enough));
        let little = run_on(backend).arg("--memory=512MiB").arg(&module).output().unwrap();
        assert_refused(&little, 122, &["memory"]);
    }

    fn folders_are_seeded_and_never_written(backend) {
        let scratch = Scratch::new();
        let folder = scratch.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        let mut dir = folder.clone().into_os_string();
        dir.push("::/data");
        // Creates a file in the first folder that it is given and fails with the code if it cannot.
        let module = scratch.file(
            "create.wat",
            r#"(module
                (import "wasi_snapshot_preview1" "path_open"
                  (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
                (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
                (memory (export "memory") 1)
                (data (i32.const 0) "new")
                (func (export "_start")
                  (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 3)
                    (i32.const 5) (i64.const 0x1fffffff) (i64.const 0) (i32.const 0)
                    (i32.const 16)))))"#,
        );
        let out = run_on(backend).arg("--dir").arg(dir).arg(&module).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", show(&out));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "the host's folder was written");
        // Without a folder there is no descriptor 3.
        let out = run_on(backend).arg(&module).output().unwrap();
        assert_eq!(out.status.code(), Some(8), "{}", show(&out));
    }

    fn time_is_limited(backend) {
        let out = run_on(backend)
            .args(["--timeout", "300ms"])
            .arg(guest("loop.wat"))
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(124), "{}", show(&out));
        assert_eq!(text(&out.stdout), "ready\n");
        assert!(text(&out.stderr).contains("300ms"), "{}", show(&out));
    }

    fn a_module_can_come_through_a_pipe(backend) {
        let module = std::fs::read(guest("hello.wat")).unwrap();
        let out = with_input(run_on(backend).arg("/dev/stdin"), &module);
        assert_eq!(out.status.code(), Some(42), "{}", show(&out));
    }
}

#[test]
fn an_automatic_choice_is_announced_once_and_can_be_silenced() {
    let out = enarx().arg("run").arg(guest("hello.wat")).output().unwrap();
    assert_eq!(out.status.code(), Some(42), "{}", show(&out));
    assert_eq!(text(&out.stdout), "hello\n");
    let stderr = text(&out.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("not confidential"), "{stderr}");
    for option in ["-q", "--quiet"] {
        let out = enarx().args(["run", option]).arg(guest("hello.wat")).output().unwrap();
        assert_eq!(text(&out.stderr), "");
    }
}

#[test]
fn the_backend_can_come_from_the_environment() {
    let mut command = enarx();
    let out = command.env("ENARX_BACKEND", "nil").arg("run").arg(guest("hello.wat")).output();
    assert_eq!(text(&out.unwrap().stderr), "");
}

#[test]
fn what_is_named_must_be_there() {
    let cases: [(&[&str], &[&str]); 5] = [
        (&["/does/not/exist.wasm"], &["/does/not/exist.wasm"]),
        (&["/"], &["directory"]),
        (&["--config", "/does/not/exist.toml", "x.wasm"], &["/does/not/exist.toml"]),
        (&["--dir", "/does/not/exist", "x.wasm"], &["/does/not/exist"]),
        (&["--dir", "/etc/passwd", "x.wasm"], &["not a folder"]),
    ];
    for (args, words) in cases {
        let out = enarx().args(["run", "--backend", "nil"]).args(args).output().unwrap();
        assert_refused(&out, 121, words);
    }
    let out = enarx().args(["run", "--env", "NO_SUCH_VARIABLE", "x.wasm"]).output().unwrap();
    assert_refused(&out, 121, &["NO_SUCH_VARIABLE"]);
}

#[test]
fn bad_configurations_are_refused() {
    let scratch = Scratch::new();
    let cases = [
        ("files = [{ kind = \"stdin\", name = \"a:b\" }]", &["Enarx.toml:1:35", "`:`"][..]),
        ("unknown = 1", &["Enarx.toml:1:1", "unknown"]),
        ("args = 1", &["Enarx.toml:1:8"]),
        ("files = [{ kind = \"stdout\" }]", &["files[0]", "stdin"]),
        (
            "files = [{ kind = \"null\" }, { kind = \"connect\", host = \"a.example\", trust = [\"a.pem\"] }]",
            &["a.pem"],
        ),
    ];
    for (source, words) in cases {
        let config = scratch.file("Enarx.toml", source);
        let out = enarx()
            .args(["run", "--backend", "nil", "--config"])
            .arg(config)
            .arg(guest("hello.wat"))
            .output()
            .unwrap();
        assert_refused(&out, 121, words);
    }
}

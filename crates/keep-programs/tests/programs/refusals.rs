// SPDX-License-Identifier: Apache-2.0

//! Input that cannot run is refused with a reason for programs and a sentence for people.

use keep_launch::{Launch, Refusal};

use crate::host::{Workload, compile, run_raw};

#[track_caller]
fn refused(module: impl AsRef<[u8]>, reason: Refusal, parts: &[&str]) {
    let (ended, artifact) = compile(module.as_ref());
    let (found, message) = ended.refusal();
    assert_eq!(found, reason, "{message}");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
    assert!(artifact.is_empty(), "an artifact was written");
}

#[test]
fn what_is_no_module_is_invalid() {
    refused(b"", Refusal::Invalid, &["empty"]);
    refused([0xff, 0xfe, 0, 1], Refusal::Invalid, &["not WebAssembly"]);
    refused("(module (func $f", Refusal::Invalid, &["expected"]);
    refused("hello", Refusal::Invalid, &["expected `(`"]);
}

#[test]
fn a_damaged_module_is_invalid_with_its_place() {
    refused(b"\0asm", Refusal::Invalid, &["offset"]);
    refused(b"\0asm\x01\0\0\0\x01\x05\x01", Refusal::Invalid, &["offset"]);
    refused(b"\0asm\x63\0\0\0", Refusal::Invalid, &["version", "offset"]);
    let wrong = r#"(module (func (export "_start") i32.const 1))"#;
    refused(wrong, Refusal::Invalid, &["values remaining on stack", "offset"]);
    let none = r#"(module (func (export "_start") (drop (i32.load (i32.const 0)))))"#;
    refused(none, Refusal::Invalid, &["unknown memory"]);
}

#[test]
fn other_worlds_are_unsupported() {
    refused(r#"(module (func (export "f")))"#, Refusal::Unsupported, &["no function `_start`"]);
    let reactor = r#"(module (func (export "_initialize")) (func (export "f")))"#;
    refused(reactor, Refusal::Unsupported, &["reactor"]);
    refused("(component)", Refusal::Unsupported, &["exports nothing"]);
    let nn = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (instance $h (export "load" (func $f)))
        (export "wasi:nn/graph@0.2.0" (instance $h)))"#;
    refused(nn, Refusal::Unsupported, &["wasi:nn/graph@0.2.0", "wasi:cli/command"]);
}

#[test]
fn all_unknown_imports_are_named() {
    let module = r#"(module
        (import "env" "one" (func)) (import "env" "two" (func))
        (func (export "_start")))"#;
    refused(module, Refusal::Unsupported, &["`env::one`", "`env::two`"]);
    let component = r#"(component
        (import "wasi:nn/graph@0.2.0" (instance))
        (import "wasi:http/types@0.2.0" (instance))
        (import "wasi:cli/environment@0.2.0" (instance))
        (import "local:thing/here" (instance))
        (core module $m (func (export "run") (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $f (result (result)) (canon lift (core func $i "run")))
        (instance $r (export "run" (func $f)))
        (export "wasi:cli/run@0.2.0" (instance $r)))"#;
    refused(component, Refusal::Unsupported, &["`wasi:nn/graph@0.2.0`, `local:thing/here`"]);
}

#[test]
fn an_unknown_function_of_wasi_is_named_by_the_runtime() {
    let workload = Workload::new(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_wriet" (func))
            (import "wasi_snapshot_preview1" "fd_write"
                (func (param i32 i32 i32 i32) (result i32)))
            (import "wasi_unstable" "fd_raed" (func))
            (func (export "_start")))"#,
    );
    let ended = workload.run();
    let (reason, message) = ended.refusal();
    assert_eq!(reason, Refusal::Unsupported);
    assert!(message.contains("`wasi_snapshot_preview1::fd_wriet`, `wasi_unstable::fd_raed`"));
}

#[test]
fn an_import_of_the_wrong_type_is_refused() {
    let workload = Workload::new(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func (param i64)))
            (func (export "_start")))"#,
    );
    let ended = workload.run();
    let (reason, message) = ended.refusal();
    assert_eq!(reason, Refusal::Unsupported);
    assert!(message.contains("fd_write"), "{message}");
}

#[test]
fn a_start_with_parameters_is_refused() {
    let ended = Workload::new(r#"(module (func (export "_start") (param i32)))"#).run();
    assert_eq!(ended.refusal().0, Refusal::Unsupported);
}

#[test]
fn too_much_memory_is_refused_with_both_numbers() {
    let mut workload = Workload::new(
        r#"(module (memory 3) (memory 2) (memory (export "memory") 0) (func (export "_start")))"#,
    );
    workload.launch.max_memory = 4 * 65536;
    let ended = workload.run();
    let (reason, message) = ended.refusal();
    assert_eq!(reason, Refusal::Memory);
    assert!(message.contains("327680") && message.contains("262144"), "{message}");
    workload.launch.max_memory = 5 * 65536;
    assert_eq!(workload.run().code(), 0);
}

#[test]
fn a_launch_that_makes_no_sense_is_refused() {
    for launch in [&b""[..], b"\x01", b"\x02\0", &[0xff; 100]] {
        assert_eq!(run_raw(launch).refusal().0, Refusal::Launch);
    }
    let compile = keep_launch::Compile { signing_key: [0; 32], threads: 1 };
    let ended = run_raw(&Launch::Compile(compile).encode());
    assert_eq!(ended.refusal().0, Refusal::Launch);
    let mut workload = Workload::new(r#"(module (func (export "_start")))"#);
    workload.launch.preopens =
        vec![keep_launch::Preopen { path: "missing".into(), guest: "/data".into() }];
    let ended = workload.run();
    let (reason, message) = ended.refusal();
    assert_eq!(reason, Refusal::Launch);
    assert!(message.contains("`/data`"), "{message}");
}

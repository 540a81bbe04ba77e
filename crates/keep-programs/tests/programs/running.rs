// SPDX-License-Identifier: Apache-2.0

//! What a workload does, and how it ends.

use crate::host::Workload;

pub(crate) const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))"#;

/// A module whose `_start` is this body; `$exit` ends it with a code.
fn body(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func $body (param i32) {body})
            (func (export "_start") (call $body (i32.const 0))))"#
    )
}

#[test]
fn hello() {
    let ended = Workload::new(HELLO).run();
    assert_eq!(
        (ended.code(), &ended.stdout[..], &ended.stderr[..]),
        (0, &b"hello\n"[..], &b""[..])
    );
    let old = HELLO.replace("wasi_snapshot_preview1", "wasi_unstable");
    assert_eq!(Workload::new(old).run().stdout, b"hello\n");
}

#[test]
fn the_exit_code_passes_through() {
    for code in [0, 1, 42, 125] {
        let module = body(&format!("(call $exit (i32.const {code}))"));
        assert_eq!(Workload::new(module).run().code(), code);
    }
}

#[test]
fn traps_are_told_with_a_backtrace() {
    for (code, message) in [
        ("unreachable", "wasm trap: wasm `unreachable` instruction executed"),
        ("(drop (i32.div_s (i32.const 1) (local.get 0)))", "wasm trap: integer divide by zero"),
        (
            "(drop (i32.load offset=4294967295 (local.get 0)))",
            "wasm trap: out of bounds memory access",
        ),
        ("(drop (i32.trunc_f32_s (f32.const nan)))", "wasm trap: invalid conversion to integer"),
        ("(call $body (local.get 0))", "wasm trap: call stack exhausted"),
    ] {
        let ended = Workload::new(body(code)).run();
        let trap = ended.trap();
        assert!(trap.contains(message), "{trap}");
        assert!(trap.starts_with("failed to run main module `test.wasm`"), "{trap}");
        assert!(trap.contains("<unknown>!body"), "no name of a function: {trap}");
    }
}

#[test]
fn a_trap_in_the_start_function_is_a_trap() {
    let ended =
        Workload::new("(module (start $s) (func $s unreachable) (func (export \"_start\")))").run();
    assert!(ended.trap().contains("unreachable"));
}

/// Whoever shows them decodes them.
#[test]
fn names_of_functions_are_those_of_the_module() {
    let ended = Workload::new(
        r#"(module (func $_ZN3foo3bar17h0123456789abcdefE unreachable)
            (func (export "_start") (call $_ZN3foo3bar17h0123456789abcdefE)))"#,
    )
    .run();
    assert!(ended.trap().contains("_ZN3foo3bar17h0123456789abcdefE"), "{}", ended.trap());
}

#[test]
fn arguments_and_environment_arrive() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get"
            (func $environ (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $args (i32.const 0) (i32.const 4)))
            (drop (call $environ (i32.const 8) (i32.const 12)))
            (call $exit (i32.add
                (i32.mul (i32.load (i32.const 4)) (i32.const 8))
                (i32.load (i32.const 12))))))"#;
    let ended = Workload::new(module).args(&["ä"]).env("A", "b c").run();
    // `test.wasm` and a letter of two bytes, each with its zero; then `A=b c` with its own.
    assert_eq!(ended.code(), (10 + 3) * 8 + 6);
}

#[test]
fn memory_grows_to_the_bound_and_no_further() {
    let module = body(
        "(drop (memory.grow (i32.const 9)))
         (i32.store (i32.const 655356) (i32.const 7))
         (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (call $exit (i32.const 1))))
         (call $exit (i32.load (i32.const 655356)))",
    );
    let mut workload = Workload::new(module);
    workload.launch.max_memory = 10 * 65536;
    assert_eq!(workload.run().code(), 7);
}

#[test]
fn files_are_those_of_the_folder() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "path_create_directory"
            (func $mkdir (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "made../made")
        (func (export "_start")
            (if (call $mkdir (i32.const 3) (i32.const 0) (i32.const 4))
                (then (call $exit (i32.const 1))))
            (call $exit (call $mkdir (i32.const 3) (i32.const 4) (i32.const 7)))))"#;
    let folder = tempfile::tempdir().expect("a folder");
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("created");
    let ended = Workload::new(module).folder(&inner, "/").run();
    assert_eq!(ended.code(), 63, "a path out of the folder is not permitted");
    assert!(inner.join("made").is_dir());
    assert!(!folder.path().join("made").exists());
}

#[test]
fn clocks_and_random_numbers_are_there() {
    let module = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "clock_time_get"
            (func $clock (param i32 i64 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 0)))
            (drop (call $clock (i32.const 1) (i64.const 0) (i32.const 8)))
            (drop (call $random (i32.const 16) (i32.const 8)))
            (drop (call $random (i32.const 24) (i32.const 8)))
            (call $exit (i32.or
                (i64.gt_u (i64.load (i32.const 0)) (i64.load (i32.const 8)))
                (i64.eq (i64.load (i32.const 16)) (i64.load (i32.const 24)))))))"#;
    assert_eq!(Workload::new(module).run().code(), 0);
}

#[test]
fn components_run() {
    for (result, code) in [(0, 0), (1, 1)] {
        let component = format!(
            r#"(component
                (core module $m (func (export "run") (result i32) i32.const {result}))
                (core instance $i (instantiate $m))
                (func $f (result (result)) (canon lift (core func $i "run")))
                (instance $r (export "run" (func $f)))
                (export "wasi:cli/run@0.2.6" (instance $r)))"#
        );
        assert_eq!(Workload::new(component).run().code(), code);
    }
}

#[test]
fn a_component_that_exits_has_that_code() {
    let component = r#"(component
        (import "wasi:cli/exit@0.2.0" (instance $exit
            (export "exit" (func (param "status" (result))))))
        (alias export $exit "exit" (func $e))
        (core func $e (canon lower (func $e)))
        (core module $m
            (import "" "exit" (func $exit (param i32)))
            (func (export "run") (result i32) (call $exit (i32.const 1)) unreachable))
        (core instance $i (instantiate $m (with "" (instance (export "exit" (func $e))))))
        (func $f (result (result)) (canon lift (core func $i "run")))
        (instance $r (export "run" (func $f)))
        (export "wasi:cli/run@0.2.0" (instance $r)))"#;
    assert_eq!(Workload::new(component).run().code(), 1);
}

#[test]
fn proposals_that_wasmtime_has_on_are_on() {
    for (name, code) in [
        ("simd", "(drop (i8x16.splat (i32.const 1)))"),
        (
            "relaxed simd",
            "(drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0)))",
        ),
        ("gc", "(drop (ref.i31 (i32.const 1)))"),
        ("atomics", "(drop (i32.atomic.rmw.add (i32.const 0) (i32.const 1)))"),
        ("bulk memory", "(memory.fill (i32.const 0) (i32.const 1) (i32.const 2))"),
        ("exceptions", "(block $b (try_table (catch_all $b)))"),
        ("reference types", "(drop (ref.null extern))"),
    ] {
        assert_eq!(Workload::new(body(code)).run().code(), 0, "{name}");
    }
    let modules = [
        (
            "memory64",
            "(module (memory i64 1) (func (export \"_start\") (drop (i32.load (i64.const 0)))))",
        ),
        ("tail calls", "(module (func $f) (func (export \"_start\") (return_call $f)))"),
        (
            "gc structs",
            "(module (type $t (struct (field i32))) (func (export \"_start\") (drop (struct.new $t (i32.const 1)))))",
        ),
        (
            "thrown",
            "(module (tag $t) (func (export \"_start\") (block $b (try_table (catch $t $b) (throw $t)))))",
        ),
        (
            "multiple memories",
            "(module (memory 1) (memory 1) (func (export \"_start\") (drop (memory.grow 1 (i32.const 1)))))",
        ),
    ];
    for (name, module) in modules {
        assert_eq!(Workload::new(module).run().code(), 0, "{name}");
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Exports what a program's world exports: a linker gives away `_start` alone.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=--export-if-defined=cabi_realloc");
    println!(
        "cargo::rustc-link-arg-bins=--export-if-defined=wasi:http/incoming-handler@0.2.12#handle"
    );
}

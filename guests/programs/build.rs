// SPDX-License-Identifier: Apache-2.0

//! Exports `cabi_realloc` from the programs that have it; see `src/cabi.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=--export-if-defined=cabi_realloc");
}

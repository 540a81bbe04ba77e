// SPDX-License-Identifier: Apache-2.0

//! Links the kernel at its fixed address, without a C library.

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=src/keep/kernel.ld");
    for argument in [
        "-nostdlib",
        "-nostartfiles",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,noexecstack",
        "-Wl,-z,max-page-size=4096",
        "-Wl,--gc-sections",
        &format!("-Wl,-T,{root}/src/keep/kernel.ld"),
    ] {
        println!("cargo:rustc-link-arg-bin=keep-kernel={argument}");
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Lays the program out as the image of a Keep wants it.
//!
//! One part is read and executed, one is read and written, and the second begins on a large page
//! of its own: between the two the image builder puts the kernel, so that all text shares large
//! pages, and all data does. A part that becomes read-only after relocation would need a large
//! page for itself, so there is none. As a process the program runs all the same.

fn main() {
    let flags = "-Wl,--no-rosegment,-z,noseparate-code,-z,max-page-size=0x200000,-z,norelro";
    println!("cargo:rustc-link-arg-bin=keep-compiler={flags}");
}

// SPDX-License-Identifier: Apache-2.0

//! Runs a rewritten program as an ordinary process.
//!
//! An image's virtual memory is written out as an ELF file that Linux can run: the same bytes at
//! the same addresses, only that the kernel under the program is a few instructions that ask Linux.
//! If the program does what it does without us, and its calls arrived at the kernel's entry for
//! rewritten calls, then layout, rewriting and trampolines are right.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use std::process::Command;

use common::{CHATTY, as_process, build_kernel, build_program};
use keep_image::Image;

#[test]
fn a_rewritten_program_runs_as_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = build_kernel(folder.path());
    for flags in common::LAYOUTS {
        let Some(program) = build_program(folder.path(), CHATTY, flags) else { return };
        let plain = Command::new(&program).arg("x").env("KEEP", "1").output().unwrap();
        let image = Image::build(&kernel, &std::fs::read(&program).unwrap()).unwrap();
        let found = image.syscalls();
        assert!(found.rewritten > 50 && found.left * 10 < found.rewritten, "{found:?}");

        let process = as_process(&image, folder.path());
        let ours = Command::new(&process).arg("x").env("KEEP", "1").output().unwrap();
        assert_eq!(ours.status, plain.status, "{flags:?}");
        assert_eq!(
            String::from_utf8_lossy(&ours.stdout).replace("process", "program"),
            String::from_utf8_lossy(&plain.stdout),
        );
        // The small kernel counts the calls, and writes the number out at the end.
        let calls = ours.stderr.strip_suffix(b"calls").and_then(|e| e.last_chunk::<8>()).unwrap();
        let calls = u64::from_le_bytes(*calls);
        println!("{flags:?}: {found:?}, {calls} calls");
        assert!(calls > 10, "only {calls} calls came through the trampolines");
    }
}

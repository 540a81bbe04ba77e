// SPDX-License-Identifier: Apache-2.0

//! What tests of images share: a small kernel and programs, made by the C compiler.
#![allow(dead_code, reason = "no test uses all of it")]

pub(crate) mod handmade;

use std::path::{Path, PathBuf};
use std::process::Command;

use keep_image::{Image, PageKind};
use keep_layout::{IMAGE_PHYS, KERNEL_DATA};

/// Ways in which a linker may lay out a program that still fit around the kernel.
pub(crate) const LAYOUTS: [&[&str]; 2] = [
    &["-Wl,-z,max-page-size=0x200000"],
    &["-Wl,-z,noseparate-code", "-Wl,-z,max-page-size=0x200000"],
];

/// A program that makes many different system calls, also by way of signals.
pub(crate) const CHATTY: &str = include_str!("chatty.c");

/// A program whose system calls stand between instructions that are hard to move.
pub(crate) const NASTY: &str = include_str!("nasty.c");

/// Builds a static, position-independent program; `None`, with a word about it, if the C library
/// is not there for that.
pub(crate) fn build_program(folder: &Path, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let (from, to) = (folder.join("program.c"), folder.join("program"));
    std::fs::write(&from, source).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-static-pie", "-o"]).arg(&to).arg(&from).args(flags);
    finish(gcc, to)
}

/// Builds a Rust program of the same kind.
pub(crate) fn build_rust(folder: &Path, flags: &[&str]) -> Option<PathBuf> {
    let (from, to) = (folder.join("hello.rs"), folder.join("program"));
    std::fs::write(&from, include_str!("hello.rs")).unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition=2024", "-O", "-Ctarget-feature=+crt-static", "-o"]).arg(&to).arg(&from);
    rustc.args(flags.iter().map(|flag| format!("-Clink-arg={flag}")));
    finish(rustc, to)
}

fn finish(mut command: Command, to: PathBuf) -> Option<PathBuf> {
    match command.output() {
        Ok(output) if output.status.success() => Some(to),
        Ok(output) => {
            println!("skipped: no static C library: {}", String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            println!("skipped: no compiler: {error}");
            None
        }
    }
}

/// Builds the small kernel.
pub(crate) fn build_kernel(folder: &Path) -> Vec<u8> {
    let (from, to) = (folder.join("kernel.S"), folder.join("kernel"));
    let script = folder.join("kernel.ld");
    std::fs::write(&from, include_str!("kernel.S")).unwrap();
    std::fs::write(&script, include_str!("kernel.ld")).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-o"]);
    let output = gcc.arg(&to).arg(&from).arg("-T").arg(&script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(to).unwrap()
}

/// Writes an image's memory as a program for Linux.
pub(crate) fn as_process(image: &Image<'_>, folder: &Path) -> PathBuf {
    let info = image.info();
    let virt = |phys: u64| info.text_start + (phys - IMAGE_PHYS);
    // A line of code that Linux starts: tell the kernel where its information is.
    let launcher = 0x0f00_0000_u64;
    let mut code = vec![0x48, 0xbf];
    code.extend(image.start().rdi.to_le_bytes());
    code.extend([0x48, 0xb8]);
    code.extend(image.start().rip.to_le_bytes());
    code.extend([0xff, 0xe0]);

    let mut segments = vec![(launcher, code.len() as u64, 5_u32, code)];
    for (run, bytes) in image.runs() {
        match run.kind {
            PageKind::Tables => {}
            PageKind::Text => segments.push((virt(run.phys), run.len, 5, bytes.to_vec())),
            PageKind::Data => segments.push((virt(run.phys), run.len, 6, bytes.to_vec())),
        }
    }
    // What the image does not fill reads as zero.
    let gaps: Vec<_> = segments
        .windows(2)
        .filter(|pair| pair[0].0 >= KERNEL_DATA && pair[0].0 + pair[0].1 < pair[1].0)
        .map(|pair| (pair[0].0 + pair[0].1, pair[1].0 - pair[0].0 - pair[0].1, 6, Vec::new()))
        .collect();
    segments.extend(gaps);
    segments.sort_by_key(|segment| segment.0);

    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [launcher, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, segments.len() as u8, 0, 64, 0, 0, 0, 0, 0]);
    let mut offset = 4096;
    for (start, len, flags, bytes) in &segments {
        file.extend([1, 0, 0, 0]);
        file.extend(flags.to_le_bytes());
        for word in [offset, *start, *start, bytes.len() as u64, *len, 4096] {
            file.extend(word.to_le_bytes());
        }
        offset += (bytes.len() as u64).next_multiple_of(4096);
    }
    file.resize(4096, 0);
    for (_, _, _, bytes) in &segments {
        file.extend(bytes);
        file.resize(file.len().next_multiple_of(4096), 0);
    }
    let path = folder.join("process");
    std::fs::write(&path, file).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, mode).unwrap();
    path
}

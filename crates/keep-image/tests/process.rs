// SPDX-License-Identifier: Apache-2.0

//! Runs rewritten programs as ordinary processes.
//!
//! An image's virtual memory is written out as an ELF file that Linux can run: the same bytes at
//! the same addresses, only that the kernel under the program is a few instructions that ask Linux.
//! If the program does what it does without us, and its calls arrived at the kernel's entry for
//! rewritten calls, then layout, rewriting and trampolines are right.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{CHATTY, LAYOUTS, NASTY, as_process, build_kernel, build_program, build_rust};
use keep_image::{Image, Syscalls};

/// Runs the program as it is and in an image, compares, and gives what was found in it and how
/// many calls came through the trampolines.
fn compare(folder: &Path, program: &Path) -> (Syscalls, u64) {
    let run = |path: &Path| -> Output {
        let mut command = Command::new(path);
        command.arg("x").env_clear().env("KEEP", "1").output().unwrap()
    };
    let plain = run(program);
    let image = Image::build(&build_kernel(folder), &std::fs::read(program).unwrap()).unwrap();
    let ours = run(&as_process(&image, folder));
    assert_eq!(
        String::from_utf8_lossy(&ours.stdout),
        String::from_utf8_lossy(&plain.stdout),
        "{:?}",
        ours.status
    );
    assert_eq!(ours.status, plain.status);
    assert!(!plain.stdout.is_empty());

    // The small kernel counts the calls, and writes the number out at the end.
    let calls = ours.stderr.strip_suffix(b"calls").and_then(|rest| rest.last_chunk::<8>()).unwrap();
    (image.syscalls(), u64::from_le_bytes(*calls))
}

#[test]
fn a_c_program_runs_as_it_did() {
    let folder = tempfile::tempdir().unwrap();
    for flags in LAYOUTS {
        let Some(program) = build_program(folder.path(), CHATTY, flags) else { return };
        let (found, calls) = compare(folder.path(), &program);
        println!("{flags:?}: {found:?}, {calls} calls");
        assert!(found.rewritten > 90 && found.left < 5, "{found:?}");
        assert!(calls > 100, "only {calls} calls came through the trampolines");
    }
}

#[test]
fn a_rust_program_runs_as_it_did() {
    let folder = tempfile::tempdir().unwrap();
    for flags in LAYOUTS {
        let Some(program) = build_rust(folder.path(), flags) else { return };
        let (found, calls) = compare(folder.path(), &program);
        println!("{flags:?}: {found:?}, {calls} calls");
        assert!(found.rewritten > 90 && found.left < 5, "{found:?}");
        assert!(calls > 20, "only {calls} calls came through the trampolines");
    }
}

#[test]
fn hard_cases_are_moved_with_care() {
    let folder = tempfile::tempdir().unwrap();
    let empty = "#include <stdio.h>\nint main(void) { puts(\"x\"); return 0; }";
    let Some(program) = build_program(folder.path(), empty, LAYOUTS[1]) else { return };
    let (base, _) = compare(folder.path(), &program);
    for relocations in ["-Wl,-z,nopack-relative-relocs", "-Wl,-z,pack-relative-relocs"] {
        let flags = [LAYOUTS[1], &[relocations]].concat();
        let Some(program) = build_program(folder.path(), NASTY, &flags) else { return };
        let (nasty, calls) = compare(folder.path(), &program);
        println!("{relocations}: {base:?}, {nasty:?} {calls} calls");
        // `stuck`, and one of the `rivals`.
        assert_eq!(nasty.left - base.left, 2);
        assert_eq!(nasty.rewritten - base.rewritten, 12);
    }
}

#[test]
fn stripping_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = build_program(folder.path(), CHATTY, LAYOUTS[1]) else { return };
    let kernel = build_kernel(folder.path());
    let whole = std::fs::read(&program).unwrap();
    assert!(Command::new("strip").arg(&program).status().unwrap().success());
    let stripped = std::fs::read(&program).unwrap();
    assert!(stripped.len() < whole.len());
    let image = Image::build(&kernel, &whole).unwrap();
    assert_eq!(image, Image::build(&kernel, &stripped).unwrap());
    assert_eq!(image, Image::decode(&image.encode()).unwrap());
}

#[test]
fn a_program_without_room_for_the_kernel_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Some(program) = build_program(folder.path(), CHATTY, &[]) else { return };
    let kernel = build_kernel(folder.path());
    let error = Image::build(&kernel, &std::fs::read(program).unwrap()).unwrap_err();
    assert!(error.to_string().contains("-z max-page-size=0x200000"), "{error}");
}

#[test]
fn what_nobody_reads_is_not_in_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let relocations = [LAYOUTS[1], &["-Wl,-z,nopack-relative-relocs"]].concat();
    let Some(program) = build_program(folder.path(), CHATTY, &relocations) else { return };
    let file = std::fs::read(&program).unwrap();
    let readelf = Command::new("readelf").arg("-SW").arg(&program).output().unwrap().stdout;
    let readelf = String::from_utf8(readelf).unwrap();
    let section = |name: &str| {
        let line = readelf.lines().find(|line| line.contains(&format!(" {name} "))).unwrap();
        let words: Vec<&str> = line.split_once(name).unwrap().1.split_whitespace().collect();
        let [address, offset, len] =
            [1, 2, 3].map(|at| u64::from_str_radix(words[at], 16).unwrap());
        (address, &file[offset as usize..][..len as usize])
    };
    let image = Image::build(&build_kernel(folder.path()), &file).unwrap();
    let info = image.info();
    let byte = |address: u64| {
        let phys = info.text_phys + info.program_base.wrapping_add(address) - info.text_start;
        let run = image.runs().find(|(run, _)| (run.phys..run.phys + run.len).contains(&phys));
        run.map(|(run, bytes)| bytes[(phys - run.phys) as usize])
    };
    let word = |address: u64| {
        u64::from_le_bytes(std::array::from_fn(|at| byte(address + at as u64).unwrap()))
    };

    // Unwinding tables are all but gone; a few bytes between them may be left.
    let (address, bytes) = section(".eh_frame");
    let left = (address..).zip(bytes).filter(|(at, _)| byte(*at).is_some_and(|byte| byte != 0));
    assert!(left.count() * 50 < bytes.len() && bytes.len() > 8192);
    let pages = (address..address + bytes.len() as u64).step_by(4096);
    assert!(pages.filter(|at| byte(*at).is_none()).count() >= 2, "pages of it are left out");

    // Relocations that only add the base are applied, and the program is not told of them.
    let (address, table) = section(".rela.dyn");
    let words: Vec<[u64; 3]> = table
        .chunks(24)
        .map(|one| [0, 8, 16].map(|at| u64::from_le_bytes(one[at..at + 8].try_into().unwrap())))
        .collect();
    let relative = words.iter().take_while(|[_, kind, _]| *kind == 8).count();
    assert!(relative > 100, "{relative} of {}", words.len());
    for [at, _, to] in &words[..relative] {
        assert_eq!(word(*at), info.program_base.wrapping_add(*to), "at {at:#x}");
    }
    let (dynamic, entries) = section(".dynamic");
    let value = |tag: u64| {
        let mut places = (dynamic..dynamic + entries.len() as u64).step_by(16);
        places.find(|at| word(*at) == tag).map(|at| word(at + 8))
    };
    let (rela, relasz, relacount) = (7, 8, 0x6fff_fff9);
    assert_eq!(value(rela), Some(address + relative as u64 * 24));
    assert_eq!(value(relasz), Some((words.len() - relative) as u64 * 24));
    assert_eq!(value(relacount), Some(0));
}

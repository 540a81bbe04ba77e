// SPDX-License-Identifier: Apache-2.0

//! Runs random calls on this file system and on Linux's, and wants the same answers.
//!
//! Linux's side is a temporary folder on a memory file system. Where the test may, a thread makes
//! it its root, so that absolute paths and `..` can be compared too; elsewhere such calls are left
//! out.

#![cfg(target_os = "linux")]

mod linux;
mod ops;
mod ours;

use std::os::unix::ffi::OsStrExt;

use keep_fs::abi::*;
use keep_fs::{Kind, Limits, Usage};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use linux::{Linux, c, sys};
use ops::{Answer, Op, Path, SLOTS, World, escapes, op, ops};
use ours::Ours;

const WIDE: Limits = Limits { bytes: 1 << 30, inodes: 1 << 20, file_size: u64::MAX };

/// Where calls cannot be compared: places in a listing are each file system's own.
fn is_private(ours: &Ours, op: &Op) -> bool {
    match op {
        Op::Seek(slot, ..) => {
            let file = ours.slots[*slot].as_ref();
            file.is_some_and(|file| ours.fs.kind(file.inode()) == Ok(Kind::Directory))
        }
        _ => false,
    }
}

/// Makes a folder the root of this thread alone.
fn confine(path: &[u8]) -> bool {
    let path = c(path);
    sys(libc::SYS_unshare, &[libc::CLONE_FS as usize]).is_ok()
        && sys(libc::SYS_chroot, &[path.as_ptr() as usize]).is_ok()
        && sys(libc::SYS_chdir, &[c"/".as_ptr() as usize]).is_ok()
}

#[test]
fn answers_as_linux_does() {
    let memory = std::path::Path::new("/dev/shm");
    let temp = if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let top = temp.path().as_os_str().as_bytes().to_vec();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let run = std::thread::spawn(move || {
        let confined = confine(&top);
        sys(libc::SYS_umask, &[0o022]).unwrap();
        let top = if confined { b"/".to_vec() } else { top };
        let round = std::cell::Cell::new(0);
        let mut runner = TestRunner::new(config);
        let result = runner.run(&ops(), move |ops| {
            round.set(round.get() + 1);
            compare(&top, round.get(), confined, &ops)
        });
        result.map_err(|error| error.to_string())
    });
    if let Err(error) = run.join().unwrap() {
        panic!("{error}");
    }
}

fn compare(top: &[u8], round: u32, confined: bool, ops: &[Op]) -> Result<(), TestCaseError> {
    // Each round has a folder of its own. Confined, the root itself is used, so it is emptied.
    let home =
        if confined { top.to_vec() } else { [top, b"/", round.to_string().as_bytes()].concat() };
    let home = std::path::PathBuf::from(<std::ffi::OsStr as OsStrExt>::from_bytes(&home));
    if confined {
        for entry in std::fs::read_dir(&home).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
    } else {
        std::fs::create_dir(&home).unwrap();
    }
    let mut linux = Linux::new(home.as_os_str().as_bytes());
    // The temporary folder's own mode and time are not ours.
    sys(libc::SYS_fchmodat, &[linux.root, c".".as_ptr() as usize, 0o755]).unwrap();
    let mut ours = Ours::new(WIDE);
    linux.run(&Op::Touch(None, Path(b".".to_vec()), 0, 1, 1)).unwrap();
    ours.run(&Op::Touch(None, Path(b".".to_vec()), 0, 1, 1)).unwrap();
    for (n, op) in ops.iter().enumerate() {
        if is_private(&ours, op) || !confined && escapes(op) {
            continue;
        }
        let (want, have) = (linux.run(op), ours.run(op));
        if want != have {
            let brief = |answer: &Result<Answer, i32>| {
                format!("{answer:?}").chars().take(300).collect::<String>()
            };
            return Err(TestCaseError::fail(format!(
                "call {n}: {op:?}\n Linux: {}\n  ours: {}",
                brief(&want),
                brief(&have)
            )));
        }
    }
    prop_assert_eq!(linux.tree(), ours.tree());
    clear(&mut ours)
}

/// Removes everything, after which nothing may be left or charged for.
fn clear(ours: &mut Ours) -> Result<(), TestCaseError> {
    for slot in 0..SLOTS {
        let _ = ours.run(&Op::Close(slot));
    }
    let mut paths: Vec<_> = ours.tree().into_iter().map(|(path, ..)| path).collect();
    let _ = ours.run(&Op::Close(0));
    paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
    for path in paths.iter().filter(|path| path.0 != b".") {
        let file = ours.run(&Op::Unlink(None, path.clone(), 0));
        if file.is_err() {
            prop_assert_eq!(
                ours.run(&Op::Unlink(None, path.clone(), AT_REMOVEDIR)),
                Ok(Answer::Done)
            );
        }
    }
    prop_assert_eq!(ours.fs.usage(), Ours::new(WIDE).fs.usage());
    Ok(())
}

/// Any call at all, also with what no program would send.
fn any_op() -> impl Strategy<Value = Op> {
    let path = || {
        prop::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), Just(b'a'), any::<u8>()], 0..40)
            .prop_map(Path)
    };
    let start = || prop::option::of(0..SLOTS);
    prop_oneof![
        20 => op(),
        1 => (0..SLOTS, start(), path(), any::<u32>(), any::<u64>(), any::<bool>())
            .prop_map(|(slot, start, path, flags, resolve, strict)| {
                Op::Open(slot, start, path, flags, resolve, strict)
            }),
        1 => (0..SLOTS, any::<i64>(), any::<u32>()).prop_map(|(s, o, w)| Op::Seek(s, o, w)),
        2 => (0..SLOTS, any::<i64>(), 0..5_u32).prop_map(|(s, o, w)| Op::Seek(s, o, w)),
        1 => (0..SLOTS, any::<i64>()).prop_map(|(s, o)| Op::Truncate(s, o)),
        1 => (0..SLOTS, 0..3_usize, any::<i64>()).prop_map(|(s, n, o)| Op::Pread(s, n, o)),
        1 => (0..SLOTS, 0..3_usize, any::<i64>()).prop_map(|(s, n, o)| Op::Pwrite(s, n, 1, o)),
        1 => (start(), path(), any::<u32>()).prop_map(|(s, p, at)| Op::Unlink(s, p, at)),
        1 => (start(), path(), start(), path(), any::<u32>())
            .prop_map(|(a, b, c, d, e)| Op::Rename(a, b, c, d, e)),
        1 => (start(), path(), start(), path(), any::<u32>())
            .prop_map(|(a, b, c, d, e)| Op::Link(a, b, c, d, e)),
        1 => (path(), start(), path()).prop_map(|(t, s, p)| Op::Symlink(t, s, p)),
        1 => (start(), path(), any::<u32>(), any::<i64>(), any::<i64>())
            .prop_map(|(s, p, at, t, n)| Op::Touch(s, p, at, t, n)),
    ]
}

/// Lists without starting over, from wherever a seek went.
fn list_on(ours: &mut Ours, len: usize) {
    for file in ours.slots.iter_mut().flatten() {
        let _ = ours.fs.getdents(file, &mut vec![0; len]);
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn stays_within_narrow_limits(
        ops in prop::collection::vec(any_op(), 1..120),
        bytes in 0..400_000_u64,
        inodes in 0..30_u64,
        file_size in prop_oneof![0..200_000_u64, Just(u64::MAX)],
        len in 0..200_usize,
    ) {
        let mut ours = Ours::new(Limits { bytes, inodes, file_size });
        let base = ours.fs.usage();
        for op in &ops {
            let _ = ours.run(op);
            list_on(&mut ours, len);
            let Usage { bytes: used, inodes: made } = ours.fs.usage();
            prop_assert!(used <= bytes.max(base.bytes) && made <= inodes.max(base.inodes));
        }
        clear(&mut ours)?;
    }
}

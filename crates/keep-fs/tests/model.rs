// SPDX-License-Identifier: Apache-2.0

//! Runs random calls on this file system and on Linux's, and wants the same answers.
//!
//! Linux's side is a temporary folder on a memory file system. Where the test may, a thread makes
//! it its root, so that absolute paths and `..` can be compared too; elsewhere such calls are left
//! out.

#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use keep_fs::abi::*;
use keep_fs::{Errno, Fs, InodeId, Kind, Limits, OpenFile, OpenHow, Timespec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

const SLOTS: usize = 4;
/// How much of a file is compared.
const PEEK: usize = 1 << 20;

/// A directory to start from: the root, or what is open in a slot.
type Start = Option<usize>;

#[derive(Clone, PartialEq, Eq)]
struct Path(Vec<u8>);

impl std::ops::Deref for Path {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.len() {
            0..60 => write!(f, "\"{}\"", self.0.escape_ascii()),
            len => write!(f, "\"{}…\" ({len})", self.0[..20].escape_ascii()),
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    Open(usize, Start, Path, u32, u64, bool),
    Close(usize),
    Read(usize, usize),
    Write(usize, usize, u8),
    Pread(usize, usize, i64),
    Pwrite(usize, usize, u8, i64),
    Append(usize, usize, u8),
    Seek(usize, i64, u32),
    Truncate(usize, i64),
    Allocate(usize, u32, i64, i64),
    Flags(usize),
    SetFlags(usize, u32),
    List(usize),
    Fstat(usize),
    Mkdir(Start, Path),
    Unlink(Start, Path, u32),
    Rename(Start, Path, Start, Path, u32),
    Link(Start, Path, Start, Path, u32),
    Symlink(Path, Start, Path),
    Readlink(Start, Path, usize),
    Stat(Start, Path, u32),
    Access(Start, Path, u32),
    Touch(Start, Path, u32, i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Done,
    Number(u64),
    Bytes(Vec<u8>),
    /// Mode, links, size, whole seconds of a time that a test set.
    Stat(u32, u64, u64, Option<i64>),
    Names(BTreeMap<Vec<u8>, u8>),
}
use Answer::*;

trait World {
    fn run(&mut self, op: &Op) -> Result<Answer, i32>;

    /// Everything there is.
    fn tree(&mut self) -> Vec<(Path, Answer, Answer)> {
        let mut out = Vec::new();
        let mut todo = vec![Path(b".".to_vec())];
        while let Some(path) = todo.pop() {
            let stat = self.run(&Op::Stat(None, path.clone(), AT_SYMLINK_NOFOLLOW)).unwrap();
            let Stat(mode, ..) = stat else { panic!("no stat") };
            let content = match mode & 0o170000 {
                S_IFDIR => {
                    let open = Op::Open(0, None, path.clone(), O_DIRECTORY | O_NOFOLLOW, 0, false);
                    self.run(&open).unwrap();
                    let names = self.run(&Op::List(0)).unwrap();
                    let Names(entries) = &names else { panic!("no names") };
                    for name in entries.keys().filter(|n| *n != b"." && *n != b"..") {
                        todo.push(Path([&path[..], b"/", name].concat()));
                    }
                    names
                }
                S_IFLNK => self.run(&Op::Readlink(None, path.clone(), 5000)).unwrap(),
                _ => {
                    self.run(&Op::Open(0, None, path.clone(), O_NOFOLLOW, 0, false)).unwrap();
                    self.run(&Op::Read(0, PEEK)).unwrap()
                }
            };
            out.push((path, stat, content));
        }
        out
    }
}

const NOW: Timespec = Timespec { sec: 1_800_000_000, nsec: 5 };

/// Times from before this are set by a test, others by a clock.
fn set_by_test(sec: i64) -> Option<i64> {
    (sec < 1_000_000).then_some(sec)
}

struct Ours {
    fs: Fs,
    slots: [Option<OpenFile>; SLOTS],
}

impl Ours {
    fn new() -> Self {
        let limits = Limits { bytes: 1 << 30, inodes: 1 << 20, file_size: u64::MAX };
        Self { fs: Fs::new(limits, NOW), slots: [const { None }; SLOTS] }
    }

    fn start(&self, start: Start) -> Result<InodeId, Errno> {
        match start {
            None => Ok(self.fs.root()),
            Some(slot) => self.slots[slot].as_ref().map(OpenFile::inode).ok_or(Errno::EBADF),
        }
    }

    fn stat(&self, inode: InodeId) -> Result<Answer, Errno> {
        let stat = self.fs.stat(inode)?;
        let size = if stat.kind == Kind::Directory { 0 } else { stat.size };
        Ok(Stat(stat.mode, stat.nlink.into(), size, set_by_test(stat.mtime.sec)))
    }

    fn list(&mut self, slot: usize) -> Result<Answer, Errno> {
        let file = self.slots[slot].as_mut().ok_or(Errno::EBADF)?;
        if file.kind() == Kind::Directory {
            self.fs.seek(file, 0, SEEK_SET)?;
        }
        let mut names = BTreeMap::new();
        loop {
            let mut buffer = [0; 300];
            let len = self.fs.getdents(file, &mut buffer)?;
            if len == 0 {
                return Ok(Names(names));
            }
            parse_dirents(&buffer[..len], &mut names);
        }
    }

    fn call(&mut self, op: &Op) -> Result<Answer, Errno> {
        let starts = |start: &Start| self.start(*start);
        let ends = |slot: &usize| self.slots[*slot].as_ref().ok_or(Errno::EBADF);
        Ok(match op {
            Op::Open(slot, start, path, flags, resolve, strict) => {
                let dir = starts(start)?;
                let mode = if flags & O_CREAT != 0 { 0o644 } else { 0 };
                let how = OpenHow { flags: *flags, mode, resolve: *resolve };
                let file = self.fs.open(dir, path, how, *strict, NOW)?;
                if let Some(old) = self.slots[*slot].replace(file) {
                    self.fs.close(old);
                }
                Done
            }
            Op::Close(slot) => {
                let file = self.slots[*slot].take().ok_or(Errno::EBADF)?;
                self.fs.close(file);
                Done
            }
            Op::Read(slot, len) => {
                let file = self.slots[*slot].as_mut().ok_or(Errno::EBADF)?;
                let mut buffer = vec![0xaa; *len];
                let done = self.fs.read(file, &mut buffer)?;
                buffer.truncate(done);
                Bytes(buffer)
            }
            Op::Write(slot, len, byte) => {
                let file = self.slots[*slot].as_mut().ok_or(Errno::EBADF)?;
                Number(self.fs.write(file, &vec![*byte; *len], NOW)? as u64)
            }
            Op::Pread(slot, len, offset) => {
                let mut buffer = vec![0xaa; *len];
                let done = self.fs.pread(ends(slot)?, &mut buffer, *offset)?;
                buffer.truncate(done);
                Bytes(buffer)
            }
            Op::Pwrite(slot, len, byte, offset) => {
                let file = self.slots[*slot].as_ref().ok_or(Errno::EBADF)?;
                Number(self.fs.pwrite(file, &vec![*byte; *len], *offset, NOW)? as u64)
            }
            Op::Append(slot, len, byte) => {
                let file = self.slots[*slot].as_ref().ok_or(Errno::EBADF)?;
                Number(self.fs.append(file, &vec![*byte; *len], NOW)? as u64)
            }
            Op::Seek(slot, offset, whence) => {
                let file = self.slots[*slot].as_mut().ok_or(Errno::EBADF)?;
                Number(self.fs.seek(file, *offset, *whence)?)
            }
            Op::Truncate(slot, size) => {
                let file = self.slots[*slot].as_ref().ok_or(Errno::EBADF)?;
                self.fs.truncate(file, *size, NOW)?;
                Done
            }
            Op::Allocate(slot, mode, offset, len) => {
                let file = self.slots[*slot].as_ref().ok_or(Errno::EBADF)?;
                self.fs.allocate(file, *mode, *offset, *len, NOW)?;
                Done
            }
            Op::Flags(slot) => Number(ends(slot)?.flags().into()),
            Op::SetFlags(slot, flags) => {
                self.slots[*slot].as_mut().ok_or(Errno::EBADF)?.set_flags(*flags)?;
                Done
            }
            Op::List(slot) => self.list(*slot)?,
            Op::Fstat(slot) => self.stat(ends(slot)?.inode())?,
            Op::Mkdir(start, path) => {
                let dir = starts(start)?;
                self.fs.mkdir(dir, path, 0o755, NOW)?;
                Done
            }
            Op::Unlink(start, path, at) => {
                let dir = starts(start)?;
                self.fs.unlink(dir, path, *at, NOW)?;
                Done
            }
            Op::Rename(old_start, old, new_start, new, flags) => {
                let (from, to) = (starts(old_start)?, starts(new_start)?);
                self.fs.rename(from, old, to, new, *flags, NOW)?;
                Done
            }
            Op::Link(old_start, old, new_start, new, at) => {
                let (from, to) = (starts(old_start)?, starts(new_start)?);
                self.fs.link(from, old, to, new, *at, NOW)?;
                Done
            }
            Op::Symlink(target, start, path) => {
                let dir = starts(start)?;
                self.fs.symlink(target, dir, path, NOW)?;
                Done
            }
            Op::Readlink(start, path, len) => {
                let mut buffer = vec![0; *len];
                let done = self.fs.readlink(starts(start)?, path, &mut buffer)?;
                buffer.truncate(done);
                Bytes(buffer)
            }
            Op::Stat(start, path, at) => self.stat(self.fs.lookup(starts(start)?, path, *at)?)?,
            Op::Access(start, path, mode) => {
                self.fs.access(self.fs.lookup(starts(start)?, path, 0)?, *mode)?;
                Done
            }
            Op::Touch(start, path, at, sec, nsec) => {
                let (dir, times) = (starts(start)?, [(0, UTIME_OMIT), (*sec, *nsec)]);
                self.fs.utimens(dir, path, *at, Some(times), NOW)?;
                Done
            }
        })
    }
}

impl World for Ours {
    fn run(&mut self, op: &Op) -> Result<Answer, i32> {
        self.call(op).map_err(|errno| errno.0)
    }
}

fn parse_dirents(mut bytes: &[u8], names: &mut BTreeMap<Vec<u8>, u8>) {
    while !bytes.is_empty() {
        let len = usize::from(u16::from_le_bytes([bytes[16], bytes[17]]));
        let name = bytes[19..len].split(|b| *b == 0).next().unwrap();
        assert!(names.insert(name.to_vec(), bytes[18]).is_none(), "a name was listed twice");
        bytes = &bytes[len..];
    }
}

/// A raw system call.
fn sys(number: i64, args: &[usize]) -> Result<usize, i32> {
    let arg = |n: usize| args.get(n).copied().unwrap_or(0);
    // SAFETY: the callers below pass numbers, descriptors, NUL-terminated paths and buffers with
    // their own lengths, all alive across the call.
    let result = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    usize::try_from(result).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap())
}

struct Linux {
    root: usize,
    slots: [Option<usize>; SLOTS],
}

impl Linux {
    fn new(path: &[u8]) -> Self {
        let path = c(path);
        let flags = (O_PATH | O_DIRECTORY | O_CLOEXEC) as usize;
        let at = libc::AT_FDCWD as usize;
        let root = sys(libc::SYS_openat, &[at, path.as_ptr() as usize, flags]).unwrap();
        Self { root, slots: [None; SLOTS] }
    }

    fn slot(&self, slot: usize) -> Result<usize, i32> {
        self.slots[slot].ok_or(libc::EBADF)
    }

    fn start(&self, start: Start) -> Result<usize, i32> {
        start.map_or(Ok(self.root), |slot| self.slot(slot))
    }

    fn stat(&self, fd: usize, path: &[u8], at: u32) -> Result<Answer, i32> {
        let path = c(path);
        // SAFETY: plain numbers, for which zero is a value.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        let args = [fd, path.as_ptr() as usize, &raw mut stat as usize, at as usize];
        sys(libc::SYS_newfstatat, &args)?;
        let is_dir = stat.st_mode & 0o170000 == S_IFDIR;
        let size = if is_dir { 0 } else { stat.st_size as u64 };
        Ok(Stat(stat.st_mode, stat.st_nlink, size, set_by_test(stat.st_mtime)))
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        for fd in self.slots.iter().flatten().chain([&self.root]) {
            let _ = sys(libc::SYS_close, &[*fd]);
        }
    }
}

fn c(path: &[u8]) -> std::ffi::CString {
    std::ffi::CString::new(path).unwrap()
}

impl World for Linux {
    fn run(&mut self, op: &Op) -> Result<Answer, i32> {
        Ok(match op {
            Op::Open(slot, start, path, flags, resolve, strict) => {
                let (dir, path) = (self.start(*start)?, c(path));
                let mode = if flags & O_CREAT != 0 { 0o644 } else { 0 };
                let flags = flags | O_CLOEXEC;
                let fd = if *strict || *resolve != 0 {
                    let how = [u64::from(flags), mode, *resolve];
                    let args = [dir, path.as_ptr() as usize, how.as_ptr() as usize, 24];
                    sys(libc::SYS_openat2, &args)?
                } else {
                    let args = [dir, path.as_ptr() as usize, flags as usize, mode as usize];
                    sys(libc::SYS_openat, &args)?
                };
                if let Some(old) = self.slots[*slot].replace(fd) {
                    sys(libc::SYS_close, &[old])?;
                }
                Done
            }
            Op::Close(slot) => {
                sys(libc::SYS_close, &[self.slots[*slot].take().ok_or(libc::EBADF)?])?;
                Done
            }
            Op::Read(slot, len) => {
                let mut buffer = vec![0; *len];
                let args = [self.slot(*slot)?, buffer.as_mut_ptr() as usize, *len];
                let done = sys(libc::SYS_read, &args)?;
                buffer.truncate(done);
                Bytes(buffer)
            }
            Op::Write(slot, len, byte) => {
                let buffer = vec![*byte; *len];
                let args = [self.slot(*slot)?, buffer.as_ptr() as usize, *len];
                Number(sys(libc::SYS_write, &args)? as u64)
            }
            Op::Pread(slot, len, offset) => {
                let mut buffer = vec![0; *len];
                let at = *offset as usize;
                let args = [self.slot(*slot)?, buffer.as_mut_ptr() as usize, *len, at];
                let done = sys(libc::SYS_pread64, &args)?;
                buffer.truncate(done);
                Bytes(buffer)
            }
            Op::Pwrite(slot, len, byte, offset) => {
                let buffer = vec![*byte; *len];
                let at = *offset as usize;
                let args = [self.slot(*slot)?, buffer.as_ptr() as usize, *len, at];
                Number(sys(libc::SYS_pwrite64, &args)? as u64)
            }
            Op::Append(slot, len, byte) => {
                let buffer = vec![*byte; *len];
                let vec = [buffer.as_ptr() as usize, *len];
                let append = libc::RWF_APPEND as usize;
                let args = [self.slot(*slot)?, vec.as_ptr() as usize, 1, 0, 0, append];
                Number(sys(libc::SYS_pwritev2, &args)? as u64)
            }
            Op::Seek(slot, offset, whence) => {
                let args = [self.slot(*slot)?, *offset as usize, *whence as usize];
                Number(sys(libc::SYS_lseek, &args)? as u64)
            }
            Op::Truncate(slot, size) => {
                sys(libc::SYS_ftruncate, &[self.slot(*slot)?, *size as usize])?;
                Done
            }
            Op::Allocate(slot, mode, offset, len) => {
                let fd = self.slot(*slot)?;
                let args = [fd, *mode as usize, *offset as usize, *len as usize];
                sys(libc::SYS_fallocate, &args)?;
                Done
            }
            Op::Flags(slot) => {
                let flags = sys(libc::SYS_fcntl, &[self.slot(*slot)?, libc::F_GETFL as usize])?;
                Number(flags as u64 & !u64::from(O_CLOEXEC))
            }
            Op::SetFlags(slot, flags) => {
                let args = [self.slot(*slot)?, libc::F_SETFL as usize, *flags as usize];
                sys(libc::SYS_fcntl, &args)?;
                Done
            }
            Op::List(slot) => {
                let fd = self.slot(*slot)?;
                if matches!(self.stat(fd, b"", AT_EMPTY_PATH)?, Stat(m, ..) if m & 0o170000 == S_IFDIR)
                {
                    sys(libc::SYS_lseek, &[fd, 0, 0])?;
                }
                let mut names = BTreeMap::new();
                loop {
                    let mut buffer = [0_u8; 4096];
                    let args = [fd, buffer.as_mut_ptr() as usize, buffer.len()];
                    match sys(libc::SYS_getdents64, &args)? {
                        0 => break Names(names),
                        len => parse_dirents(&buffer[..len], &mut names),
                    }
                }
            }
            Op::Fstat(slot) => self.stat(self.slot(*slot)?, b"", AT_EMPTY_PATH)?,
            Op::Mkdir(start, path) => {
                let (dir, path) = (self.start(*start)?, c(path));
                sys(libc::SYS_mkdirat, &[dir, path.as_ptr() as usize, 0o755])?;
                Done
            }
            Op::Unlink(start, path, at) => {
                let (dir, path) = (self.start(*start)?, c(path));
                sys(libc::SYS_unlinkat, &[dir, path.as_ptr() as usize, *at as usize])?;
                Done
            }
            Op::Rename(old_start, old, new_start, new, flags) => {
                let (from, to) = (self.start(*old_start)?, self.start(*new_start)?);
                let (old, new) = (c(old), c(new));
                let (old, new) = (old.as_ptr() as usize, new.as_ptr() as usize);
                sys(libc::SYS_renameat2, &[from, old, to, new, *flags as usize])?;
                Done
            }
            Op::Link(old_start, old, new_start, new, at) => {
                let (from, to) = (self.start(*old_start)?, self.start(*new_start)?);
                let (old, new) = (c(old), c(new));
                let (old, new) = (old.as_ptr() as usize, new.as_ptr() as usize);
                sys(libc::SYS_linkat, &[from, old, to, new, *at as usize])?;
                Done
            }
            Op::Symlink(target, start, path) => {
                let (target, dir, path) = (c(target), self.start(*start)?, c(path));
                let (target, path) = (target.as_ptr() as usize, path.as_ptr() as usize);
                sys(libc::SYS_symlinkat, &[target, dir, path])?;
                Done
            }
            Op::Readlink(start, path, len) => {
                let (dir, path, mut buffer) = (self.start(*start)?, c(path), vec![0_u8; *len]);
                let out = buffer.as_mut_ptr() as usize;
                let done = sys(libc::SYS_readlinkat, &[dir, path.as_ptr() as usize, out, *len])?;
                buffer.truncate(done);
                Bytes(buffer)
            }
            Op::Stat(start, path, at) => self.stat(self.start(*start)?, path, *at)?,
            Op::Access(start, path, mode) => {
                let (dir, path) = (self.start(*start)?, c(path));
                sys(libc::SYS_faccessat, &[dir, path.as_ptr() as usize, *mode as usize])?;
                Done
            }
            Op::Touch(start, path, at, sec, nsec) => {
                let (dir, path) = (self.start(*start)?, c(path));
                let times = [0, UTIME_OMIT, *sec, *nsec];
                let args = [dir, path.as_ptr() as usize, times.as_ptr() as usize, *at as usize];
                sys(libc::SYS_utimensat, &args)?;
                Done
            }
        })
    }
}

/// Few names, so that calls meet each other; and every form that a path can take.
fn path() -> impl Strategy<Value = Path> {
    let name = prop_oneof![
        30 => prop::sample::select(vec!["a", "b", "c", "l", "m"]).prop_map(str::to_owned),
        3 => Just(".".to_owned()),
        4 => Just("..".to_owned()),
        1 => Just(String::new()),
        1 => (254_usize..258).prop_map(|n| "n".repeat(n)),
    ];
    let names = prop_oneof![
        6 => prop::collection::vec(name.clone(), 1..2),
        6 => prop::collection::vec(name.clone(), 2..4),
        1 => prop::collection::vec(name, 4..8),
    ];
    let ends = prop::sample::select(vec!["", "", "", "", "", "", "", "/", "//", "/."]);
    let starts = prop::sample::select(vec!["", "", "", "", "", "", "", "/", "//", "./"]);
    let path = prop_oneof![
        60 => (starts, names, ends).prop_map(|(s, n, e)| [s, &n.join("/"), e].concat().into_bytes()),
        1 => (4090_usize..4100).prop_map(|n| "a/".repeat(n).into_bytes()[..n].to_vec()),
        1 => (4090_usize..4100).prop_map(|n| "./".repeat(n).into_bytes()[..n].to_vec()),
        1 => Just(Vec::new()),
    ];
    path.prop_map(Path)
}

fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![
        10 => 0..200_000_i64,
        5 => (0..4_i64, -2..3_i64).prop_map(|(n, d)| n * 65_536 + d),
        2 => prop::sample::select(vec![i64::MAX, i64::MAX - 1, i64::MAX - 4096, i64::MIN, -1, 1 << 40]),
    ]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![5 => 0..100_usize, 2 => 0..150_000_usize]
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![3 => Just(None), 1 => (0..SLOTS).prop_map(Some)]
}

fn open() -> impl Strategy<Value = Op> {
    let mode =
        prop_oneof![8 => Just(O_RDWR), 3 => Just(O_RDONLY), 2 => Just(O_WRONLY), 1 => Just(3)];
    let often = prop_oneof![Just(0), Just(O_CREAT), Just(O_CREAT | O_EXCL), Just(O_DIRECTORY)];
    let more = prop::sample::subsequence(
        vec![O_CREAT, O_TRUNC, O_APPEND, O_NOFOLLOW, O_PATH, O_EXCL, O_DIRECTORY, O_NONBLOCK],
        0..3,
    );
    let resolve = prop_oneof![
        4 => Just(0),
        3 => prop::sample::select(vec![
            RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS,
            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH | RESOLVE_IN_ROOT,
            RESOLVE_IN_ROOT | RESOLVE_NO_XDEV, 1 << 30,
        ]),
    ];
    (0..SLOTS, start(), path(), mode, often, more, resolve, any::<bool>()).prop_map(
        |(slot, start, path, mode, often, more, resolve, strict)| {
            // Only a directory opened plainly, not by chance, makes a useful start.
            let mode = if often == O_DIRECTORY && more.is_empty() { O_RDONLY } else { mode };
            let flags = more.into_iter().fold(mode | often, |all, flag| all | flag);
            Op::Open(slot, start, path, flags, resolve, strict || resolve != 0)
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let s = || 0..SLOTS;
    let at = || prop::sample::select(vec![0, 0, 0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH]);
    let noreplace = prop::sample::select(vec![0, 0, 0, 0, RENAME_NOREPLACE]);
    let rm = prop::sample::select(vec![0, 0, AT_REMOVEDIR, 1]);
    let link_at = prop::sample::select(vec![0, 0, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW]);
    let nsec =
        prop::sample::select(vec![0, 7, 999_999_999, 1_000_000_000, -1, UTIME_NOW, UTIME_OMIT]);
    prop_oneof![
        20 => open(),
        2 => s().prop_map(Op::Close),
        4 => (s(), length()).prop_map(|(s, n)| Op::Read(s, n)),
        6 => (s(), length(), 1..255_u8).prop_map(|(s, n, b)| Op::Write(s, n, b)),
        4 => (s(), length(), offset()).prop_map(|(s, n, o)| Op::Pread(s, n, o)),
        6 => (s(), length(), 1..255_u8, offset()).prop_map(|(s, n, b, o)| Op::Pwrite(s, n, b, o)),
        2 => (s(), length(), 1..255_u8).prop_map(|(s, n, b)| Op::Append(s, n, b)),
        4 => (s(), offset(), prop::sample::select(vec![0, 1, 2, 9])).prop_map(|(s, o, w)| Op::Seek(s, o, w)),
        4 => (s(), offset()).prop_map(|(s, o)| Op::Truncate(s, o)),
        2 => (s(), prop::sample::select(vec![0, 0, 1, 0x100]), -1..200_000_i64, -1..200_000_i64)
            .prop_map(|(s, m, o, n)| Op::Allocate(s, m, o, n)),
        1 => s().prop_map(Op::Flags),
        1 => (s(), prop::sample::select(vec![0, O_APPEND, O_NONBLOCK, O_RDWR | O_CREAT]))
            .prop_map(|(s, f)| Op::SetFlags(s, f)),
        4 => s().prop_map(Op::List),
        4 => s().prop_map(Op::Fstat),
        12 => (start(), path()).prop_map(|(s, p)| Op::Mkdir(s, p)),
        10 => (start(), path(), rm).prop_map(|(s, p, at)| Op::Unlink(s, p, at)),
        14 => (start(), path(), start(), path(), noreplace).prop_map(|(a, b, c, d, e)| Op::Rename(a, b, c, d, e)),
        6 => (start(), path(), start(), path(), link_at).prop_map(|(a, b, c, d, e)| Op::Link(a, b, c, d, e)),
        8 => (path(), start(), path()).prop_map(|(t, s, p)| Op::Symlink(t, s, p)),
        3 => (start(), path(), 0..100_usize).prop_map(|(s, p, n)| Op::Readlink(s, p, n)),
        8 => (start(), path(), at()).prop_map(|(s, p, at)| Op::Stat(s, p, at)),
        2 => (start(), path(), prop::sample::select(vec![0, 1, 4, 7])).prop_map(|(s, p, m)| Op::Access(s, p, m)),
        3 => (start(), path(), at(), 0..1000_i64, nsec).prop_map(|(s, p, at, t, n)| Op::Touch(s, p, at, t, n)),
    ]
}

/// Whether a call could leave the folder where the test cannot make that its root.
fn escapes(op: &Op) -> bool {
    let wild = |path: &Path| path.starts_with(b"/") || path.windows(2).any(|w| w == b"..");
    match op {
        Op::Open(_, _, p, ..)
        | Op::Mkdir(_, p)
        | Op::Unlink(_, p, _)
        | Op::Readlink(_, p, _)
        | Op::Stat(_, p, _)
        | Op::Access(_, p, _)
        | Op::Touch(_, p, ..) => wild(p),
        Op::Rename(_, p, _, q, _) | Op::Link(_, p, _, q, _) | Op::Symlink(p, _, q) => {
            wild(p) || wild(q)
        }
        _ => false,
    }
}

/// Where calls cannot be compared: places in a listing are each file system's own.
fn is_private(ours: &Ours, op: &Op) -> bool {
    match op {
        Op::Seek(slot, ..) => {
            ours.slots[*slot].as_ref().is_some_and(|file| file.kind() == Kind::Directory)
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
        let top = if confined { b"/".to_vec() } else { top };
        let round = std::cell::Cell::new(0);
        let ops = prop::collection::vec(op(), 1..60);
        let mut runner = TestRunner::new(config);
        let result = runner.run(&ops, move |ops| {
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
    let mut ours = Ours::new();
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
    // Nothing is left of what has neither name nor descriptor.
    for slot in 0..SLOTS {
        let _ = ours.run(&Op::Close(slot));
    }
    let seen = ours.tree();
    ours.run(&Op::Close(0)).unwrap();
    let inodes: std::collections::BTreeSet<_> = seen
        .iter()
        .map(|(path, ..)| ours.fs.lookup(ours.fs.root(), path, AT_SYMLINK_NOFOLLOW).unwrap())
        .collect();
    prop_assert_eq!(ours.fs.usage().inodes, inodes.len() as u64);
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0

//! Linux's side.

use std::collections::BTreeMap;

use keep_fs::abi::*;

use crate::ops::Answer::{self, *};
use crate::ops::*;

/// A raw system call.
pub(crate) fn sys(number: i64, args: &[usize]) -> Result<usize, i32> {
    let arg = |n: usize| args.get(n).copied().unwrap_or(0);
    // SAFETY: the callers below pass numbers, descriptors, NUL-terminated paths and buffers with
    // their own lengths, all alive across the call.
    let result = unsafe { libc::syscall(number, arg(0), arg(1), arg(2), arg(3), arg(4), arg(5)) };
    usize::try_from(result).map_err(|_| std::io::Error::last_os_error().raw_os_error().unwrap())
}

pub(crate) struct Linux {
    pub(crate) root: usize,
    slots: [Option<usize>; SLOTS],
}

impl Linux {
    pub(crate) fn new(path: &[u8]) -> Self {
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

pub(crate) fn c(path: &[u8]) -> std::ffi::CString {
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

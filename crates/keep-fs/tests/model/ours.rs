// SPDX-License-Identifier: Apache-2.0

//! Our side.

use std::collections::BTreeMap;

use keep_fs::abi::*;
use keep_fs::{Errno, Fs, InodeId, Kind, Limits, OpenFile, OpenHow, SetTime};

use crate::ops::Answer::{self, *};
use crate::ops::*;

pub(crate) struct Ours {
    pub(crate) fs: Fs,
    pub(crate) slots: [Option<OpenFile>; SLOTS],
}

impl Ours {
    pub(crate) fn new(limits: Limits) -> Self {
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
        if self.fs.kind(file.inode()) == Ok(Kind::Directory) {
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
            Op::Touch(start, path, at, sec, nsec) => {
                let dir = starts(start)?;
                // Linux has nothing to do then, and does not even look for the file.
                if *nsec != UTIME_OMIT {
                    let inode = self.fs.lookup(dir, path, *at)?;
                    let mtime = SetTime::from_raw(*sec, *nsec)?;
                    self.fs.set_times(inode, SetTime::Omit, mtime, NOW)?;
                }
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

// SPDX-License-Identifier: Apache-2.0

//! Calls on paths: all of them end in the file system that lives in the Keep's memory.

use keep_fs::{Errno, OpenHow, SetTime, Stat, abi};

use crate::errno::{EFAULT, EINVAL};
use crate::files::Object;
use crate::kernel::{Kernel, Platform};
use crate::user::UserMemory;

const STATX_BASIC: u32 = 0x7ff;
const STATX_BTIME: u32 = 0x800;
const AT_STATX_SYNC: u32 = 0x6000;
const AT_NO_AUTOMOUNT: u32 = 0x800;

impl<P: Platform> Kernel<P> {
    pub(super) fn openat(
        &mut self,
        dir: i32,
        path: u64,
        flags: u32,
        mode: u32,
    ) -> Result<u64, Errno> {
        self.open(dir, path, OpenHow { flags, mode, resolve: 0 }, false)
    }

    pub(super) fn openat2(
        &mut self,
        dir: i32,
        path: u64,
        how: u64,
        size: u64,
    ) -> Result<u64, Errno> {
        if size < 24 {
            return Err(EINVAL);
        }
        let [flags, mode, resolve]: [u64; 3] = self.space.load(how)?;
        // What a later version of the struct says, this one does not know: it has to be nothing.
        if self.space.bytes(how + 24, (size - 24).min(4096))?.iter().any(|byte| *byte != 0) {
            return Err(Errno(7)); // E2BIG
        }
        let flags = u32::try_from(flags).map_err(|_| EINVAL)?;
        let mode = u32::try_from(mode).map_err(|_| EINVAL)?;
        self.open(dir, path, OpenHow { flags, mode, resolve }, true)
    }

    fn open(&mut self, dir: i32, path: u64, how: OpenHow, strict: bool) -> Result<u64, Errno> {
        let now = self.now();
        let dir = self.directory(dir)?;
        let file = self.fs.open(dir, self.space.path(path)?, how, strict, now)?;
        self.open_object(Object::File(file), how.flags & abi::O_CLOEXEC)
    }

    pub(super) fn mkdirat(&mut self, dir: i32, path: u64, mode: u32) -> Result<(), Errno> {
        let now = self.now();
        let dir = self.directory(dir)?;
        self.fs.mkdir(dir, self.space.path(path)?, mode, now)?;
        Ok(())
    }

    pub(super) fn unlinkat(&mut self, dir: i32, path: u64, flags: u32) -> Result<(), Errno> {
        let now = self.now();
        let dir = self.directory(dir)?;
        self.fs.unlink(dir, self.space.path(path)?, flags, now)
    }

    pub(super) fn renameat(
        &mut self,
        old_dir: i32,
        old: u64,
        new_dir: i32,
        new: u64,
        flags: u32,
    ) -> Result<(), Errno> {
        let now = self.now();
        let (old_dir, new_dir) = (self.directory(old_dir)?, self.directory(new_dir)?);
        let old = self.space.path(old)?.to_vec();
        self.fs.rename(old_dir, &old, new_dir, self.space.path(new)?, flags, now)
    }

    pub(super) fn linkat(
        &mut self,
        old_dir: i32,
        old: u64,
        new_dir: i32,
        new: u64,
        flags: u32,
    ) -> Result<(), Errno> {
        let now = self.now();
        let (old_dir, new_dir) = (self.directory(old_dir)?, self.directory(new_dir)?);
        let old = self.space.path(old)?.to_vec();
        self.fs.link(old_dir, &old, new_dir, self.space.path(new)?, flags, now)
    }

    pub(super) fn symlinkat(&mut self, target: u64, dir: i32, path: u64) -> Result<(), Errno> {
        let now = self.now();
        let dir = self.directory(dir)?;
        let target = self.space.path(target)?.to_vec();
        self.fs.symlink(&target, dir, self.space.path(path)?, now)?;
        Ok(())
    }

    pub(super) fn readlink(
        &mut self,
        dir: i32,
        path: u64,
        to: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        let dir = self.directory(dir)?;
        let path = self.space.path(path)?.to_vec();
        let to = self.space.bytes_mut(to, len.min(abi::PATH_MAX as u64))?;
        Ok(self.fs.readlink(dir, &path, to)? as u64)
    }

    pub(super) fn utimensat(
        &mut self,
        dir: i32,
        path: u64,
        times: u64,
        flags: u32,
    ) -> Result<(), Errno> {
        let now = self.now();
        let (atime, mtime) = if times == 0 {
            (SetTime::Now, SetTime::Now)
        } else {
            let [asec, ansec, msec, mnsec]: [i64; 4] = self.space.load(times)?;
            (SetTime::from_raw(asec, ansec)?, SetTime::from_raw(msec, mnsec)?)
        };
        let inode = if path == 0 {
            match &self.files.get(dir)?.object {
                Object::File(file) => file.inode(),
                _ => return Err(EINVAL),
            }
        } else {
            let dir = self.directory(dir)?;
            self.fs.lookup(dir, self.space.path(path)?, flags)?
        };
        self.fs.set_times(inode, atime, mtime, now)
    }

    pub(super) fn fstat(&mut self, fd: i32, to: u64) -> Result<(), Errno> {
        let stat = self.stat_of(fd)?;
        self.space.store(to, &stat_bytes(&stat))
    }

    pub(super) fn newfstatat(
        &mut self,
        dir: i32,
        path: u64,
        to: u64,
        flags: u32,
    ) -> Result<(), Errno> {
        let stat = self.stat_at(dir, path, flags)?;
        self.space.store(to, &stat_bytes(&stat))
    }

    pub(super) fn statx(
        &mut self,
        dir: i32,
        path: u64,
        flags: u32,
        mask: u32,
        to: u64,
    ) -> Result<(), Errno> {
        if mask >> 31 != 0 || flags & AT_STATX_SYNC == AT_STATX_SYNC {
            return Err(EINVAL);
        }
        // A null path is how callers find out whether the call exists at all.
        if path == 0 && flags & abi::AT_EMPTY_PATH == 0 {
            return Err(EFAULT);
        }
        let stat = self.stat_at(dir, path, flags & !AT_STATX_SYNC)?;
        self.space.store(to, &statx_bytes(&stat))
    }

    fn stat_at(&mut self, dir: i32, path: u64, flags: u32) -> Result<Stat, Errno> {
        let flags = flags & !AT_NO_AUTOMOUNT;
        let named = self.directory(dir);
        let path = if path == 0 { &[] } else { self.space.path(path)? };
        if path.is_empty() && flags & abi::AT_EMPTY_PATH != 0 && dir != super::AT_FDCWD {
            return self.stat_of(dir);
        }
        // An absolute path does not look at the descriptor.
        let dir = if path.first() == Some(&b'/') { self.fs.root() } else { named? };
        self.fs.stat(self.fs.lookup(dir, path, flags)?)
    }
}

/// `struct stat` (x86-64).
fn stat_bytes(stat: &Stat) -> [u8; 144] {
    let mut out = [0; 144];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &1_u64.to_le_bytes()); // device
    put(8, &stat.ino.to_le_bytes());
    put(16, &u64::from(stat.nlink).to_le_bytes());
    put(24, &stat.mode.to_le_bytes());
    put(48, &stat.size.to_le_bytes());
    put(56, &4096_u64.to_le_bytes());
    put(64, &stat.blocks.to_le_bytes());
    for (at, time) in [(72, stat.atime), (88, stat.mtime), (104, stat.ctime)] {
        put(at, &time.sec.to_le_bytes());
        put(at + 8, &u64::from(time.nsec).to_le_bytes());
    }
    out
}

/// `struct statx`.
fn statx_bytes(stat: &Stat) -> [u8; 256] {
    let mut out = [0; 256];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(STATX_BASIC | STATX_BTIME).to_le_bytes());
    put(4, &4096_u32.to_le_bytes());
    put(16, &stat.nlink.to_le_bytes());
    put(28, &(stat.mode as u16).to_le_bytes());
    put(32, &stat.ino.to_le_bytes());
    put(40, &stat.size.to_le_bytes());
    put(48, &stat.blocks.to_le_bytes());
    let times = [(64, stat.atime), (80, stat.btime), (96, stat.ctime), (112, stat.mtime)];
    for (at, time) in times {
        put(at, &time.sec.to_le_bytes());
        put(at + 8, &time.nsec.to_le_bytes());
    }
    put(136, &0_u32.to_le_bytes()); // device, major
    put(140, &1_u32.to_le_bytes()); // device, minor
    out
}

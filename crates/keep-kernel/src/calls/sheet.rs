// SPDX-License-Identifier: Apache-2.0

//! Memory files: how native code that arrives over the network becomes executable.
//!
//! A program that fetches its workload has nowhere to get code from but a `memfd_create`. The kernel keeps its
//! promise that nothing executable was ever writable in the program's memory: a sheet gets its length
//! once, is filled from its beginning by `write`, sealed by `fcntl(F_ADD_SEALS)`, and can be mapped only
//! then. From there on it is what the host's input is to other programs. There are [`MAX_SHEETS`], and none after
//! `prctl(PR_SET_MDWE)`, with which the program says that it has all its code.

use keep_fs::{Errno, abi};
use keep_mm::Object as Content;

use crate::errno::{EINVAL, EMFILE, ENOMEM};
use crate::files::Object;
use crate::kernel::{Kernel, Platform};
use crate::user::UserMemory;

/// Most sheets in the life of a Keep: the tenant's code, and that of a compiler if it does not fit.
const MAX_SHEETS: u8 = 2;
/// Longest sheet in bytes.
const MAX_LEN: u64 = 1 << 30;

/// `F_SEAL_SHRINK`, `F_SEAL_GROW` and `F_SEAL_WRITE`.
const NO_CHANGE: u64 = 2 | 4 | 8;

/// A memory file.
#[derive(Debug, Default)]
pub struct Sheet {
    /// Where it lies; without a length, nowhere.
    content: Option<Content>,
    filled: u64,
    sealed: bool,
}

impl Sheet {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.content.map_or(0, |content| content.len)
    }

    /// What can be mapped: a sheet that nobody can write to any more.
    pub fn content(&self) -> Option<Content> {
        self.content.filter(|_| self.sealed)
    }
}

impl<P: Platform> Kernel<P> {
    pub(super) fn memfd_create(&mut self, flags: u32) -> Result<u64, Errno> {
        const CLOEXEC: u32 = 1;
        const ALLOW_SEALING: u32 = 2;
        const EXEC: u32 = 16;
        if flags & !(CLOEXEC | ALLOW_SEALING | EXEC) != 0 || flags & ALLOW_SEALING == 0 {
            return Err(EINVAL);
        }
        if self.sheets >= MAX_SHEETS {
            return Err(EMFILE);
        }
        self.sheets += 1;
        let flags = if flags & CLOEXEC != 0 { abi::O_CLOEXEC } else { 0 };
        self.open_object(Object::Sheet(Sheet::default()), flags)
    }

    /// `ftruncate`: gives a sheet its length, once.
    pub(super) fn size_sheet(&mut self, fd: i32, len: i64) -> Result<(), Errno> {
        let len = u64::try_from(len).map_err(|_| EINVAL)?;
        let Object::Sheet(sheet) = &mut self.files.get_mut(fd)?.object else { return Err(EINVAL) };
        if sheet.content.is_some() || sheet.sealed {
            return Err(Errno::EPERM);
        }
        if len == 0 || len > MAX_LEN {
            return Err(EINVAL);
        }
        let phys = self.space.alloc(len).ok_or(ENOMEM)?;
        sheet.content = Some(Content { phys, len, executable: false });
        Ok(())
    }

    /// `write`: appends.
    pub(super) fn fill_sheet(&mut self, fd: i32, from: u64, len: u64) -> Result<u64, Errno> {
        let Object::Sheet(sheet) = &mut self.files.get_mut(fd)?.object else { return Err(EINVAL) };
        if sheet.sealed {
            return Err(Errno::EPERM);
        }
        let Some(content) = sheet.content else { return Err(Errno::ENOSPC) };
        let len = len.min(content.len.saturating_sub(sheet.filled));
        if len == 0 {
            return Err(Errno::ENOSPC);
        }
        let to = self.space.at(content.phys + sheet.filled);
        let bytes = self.space.bytes(from, len)?;
        // SAFETY: `filled + len` is at most the length for which memory was taken; it is ours, and
        // nobody else refers to it, since nothing maps a sheet before it is sealed.
        unsafe { core::slice::from_raw_parts_mut(to, bytes.len()) }.copy_from_slice(bytes);
        sheet.filled += len;
        Ok(len)
    }

    /// `fcntl(F_ADD_SEALS)`: from now on nobody writes, and it may be executed.
    pub(super) fn seal_sheet(&mut self, fd: i32, seals: u64) -> Result<u64, Errno> {
        let Object::Sheet(sheet) = &mut self.files.get_mut(fd)?.object else { return Err(EINVAL) };
        let Some(content) = &mut sheet.content else { return Err(EINVAL) };
        if sheet.sealed {
            return Err(Errno::EPERM);
        }
        // All or nothing: half a seal would leave a half-way state to reason about.
        if seals & NO_CHANGE != NO_CHANGE || sheet.filled != content.len {
            return Err(EINVAL);
        }
        content.executable = true;
        sheet.sealed = true;
        Ok(0)
    }

    /// `prctl(PR_SET_MDWE)`: nothing becomes executable that is not already.
    pub(super) fn prctl(&mut self, option: i32, argument: u64) -> Result<(), Errno> {
        const PR_SET_MDWE: i32 = 65;
        const REFUSE_EXEC_GAIN: u64 = 1;
        match (option, argument) {
            (PR_SET_MDWE, REFUSE_EXEC_GAIN) => {
                self.space.lock_exec();
                self.sheets = MAX_SHEETS;
                Ok(())
            }
            // There is nothing else to control.
            _ => Err(EINVAL),
        }
    }
}

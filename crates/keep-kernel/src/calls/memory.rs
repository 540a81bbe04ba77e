// SPDX-License-Identifier: Apache-2.0

//! Calls on the address space: `keep-mm` does the work, this reads the flags.

use keep_fs::Errno;
use keep_mm::{Backing, Place, Prot};

use crate::errno::EINVAL;
use crate::files::Object;
use crate::kernel::{Kernel, Platform};

const MAP_SHARED: u32 = 0x01;
const MAP_PRIVATE: u32 = 0x02;
const MAP_TYPE: u32 = 0x0f;
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;

impl<P: Platform> Kernel<P> {
    pub(super) fn mmap(
        &mut self,
        hint: u64,
        len: u64,
        prot: u32,
        flags: u32,
        fd: i32,
        offset: u64,
    ) -> Result<u64, Errno> {
        let backing = match (flags & MAP_TYPE, flags & MAP_ANONYMOUS != 0) {
            // With one process, shared anonymous memory is private memory.
            (MAP_SHARED | MAP_PRIVATE, true) => Backing::Anonymous,
            (MAP_PRIVATE, false) => match &self.files.get(fd)?.object {
                Object::Input(_) => Backing::Object { object: self.input, offset },
                Object::Sheet(sheet) => {
                    let object = sheet.content().ok_or(Errno::ENODEV)?;
                    Backing::Object { object, offset }
                }
                _ => return Err(Errno::ENODEV),
            },
            (MAP_SHARED, false) => return Err(Errno::ENODEV),
            _ => return Err(EINVAL),
        };
        let place = if flags & MAP_FIXED_NOREPLACE != 0 {
            Place::FixedNoReplace(hint)
        } else if flags & MAP_FIXED != 0 {
            Place::Fixed(hint)
        } else if hint != 0 {
            Place::Hint(hint)
        } else {
            Place::Anywhere
        };
        let prot = Prot::from_linux(u64::from(prot)).map_err(errno)?;
        self.space.mmap(place, len, prot, backing).map_err(errno)
    }

    pub(super) fn mprotect(&mut self, address: u64, len: u64, prot: u32) -> Result<(), Errno> {
        let prot = Prot::from_linux(u64::from(prot)).map_err(errno)?;
        self.space.mprotect(address, len, prot).map_err(errno)
    }

    pub(super) fn munmap(&mut self, address: u64, len: u64) -> Result<(), Errno> {
        self.space.munmap(address, len).map_err(errno)
    }

    pub(super) fn madvise(&mut self, address: u64, len: u64, advice: i32) -> Result<(), Errno> {
        self.space.madvise(address, len, advice).map_err(errno)
    }
}

/// Both crates have the kernel interface's numbers.
fn errno(errno: keep_mm::Errno) -> Errno {
    Errno(errno.0)
}

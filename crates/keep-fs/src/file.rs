// SPDX-License-Identifier: Apache-2.0

//! Open files: what `read`, `write` and their relatives do.

use crate::abi::*;
use crate::dir::{PLACE_DOT, PLACE_DOTDOT};
use crate::fs::{Content, Fs};
use crate::{Errno, InodeId, Kind, OpenHow, Result, Timespec};

/// Flags that mean something together with `O_PATH`.
const O_PATH_KNOWN: u32 = O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
/// Flags that `fcntl(F_SETFL)` changes.
const O_CHANGEABLE: u32 = O_APPEND | O_NONBLOCK;
/// Flags of `open` that mean something here; `openat2` refuses others, `openat` drops them.
const O_KNOWN: u32 =
    O_PATH_KNOWN | O_CHANGEABLE | O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_SYNC | O_LARGEFILE;
const RESOLVE_KNOWN: u64 = RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
/// Bytes that one call moves at most, as in Linux.
const IO_MAX: usize = 0x7fff_f000;
/// Bytes of a directory record before the name.
const DIRENT_HEAD: usize = 19;

/// An open file description: what descriptors made by `dup` share.
///
/// It holds its inode, so it must end by [`Fs::close`]; to drop it instead keeps the inode for
/// ever.
#[derive(Debug)]
#[must_use]
pub struct OpenFile {
    inode: InodeId,
    offset: u64,
    flags: u32,
    /// In a directory: listings end here, so that names added meanwhile do not make them endless.
    list_end: u64,
}

impl OpenFile {
    /// The inode, for calls that need no more: `stat`, `utimensat`, the start of a path.
    pub fn inode(&self) -> InodeId {
        self.inode
    }

    /// What `fcntl(F_GETFL)` shows.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// What `fcntl(F_SETFL)` does.
    ///
    /// # Errors
    ///
    /// `EBADF` with `O_PATH`.
    pub fn set_flags(&mut self, flags: u32) -> Result<()> {
        self.real()?;
        self.flags = self.flags & !O_CHANGEABLE | flags & O_CHANGEABLE;
        Ok(())
    }

    /// Whether the access mode allows reading.
    fn may_read(&self) -> bool {
        self.flags & O_PATH == 0 && matches!(self.flags & O_ACCMODE, O_RDONLY | O_RDWR)
    }

    /// Whether the access mode allows writing.
    fn may_write(&self) -> bool {
        self.flags & O_PATH == 0 && matches!(self.flags & O_ACCMODE, O_WRONLY | O_RDWR)
    }

    /// Refuses what was opened with `O_PATH`.
    fn real(&self) -> Result<()> {
        if self.flags & O_PATH == 0 { Ok(()) } else { Err(Errno::EBADF) }
    }
}

impl Fs {
    /// `openat2`, or `openat` if `strict` is not set: then bits that make no sense are dropped.
    ///
    /// # Errors
    ///
    /// As the system calls.
    pub fn open(
        &mut self,
        dir: InodeId,
        path: &[u8],
        how: OpenHow,
        strict: bool,
        now: Timespec,
    ) -> Result<OpenFile> {
        let OpenHow { mut flags, mut mode, resolve } = how;
        let known = if flags & O_PATH != 0 { O_PATH_KNOWN } else { O_KNOWN };
        let modes = if flags & O_CREAT != 0 { 0o7777 } else { 0 };
        let surplus = flags & !known != 0 || mode & !modes != 0;
        flags &= known;
        mode &= 0o7777;
        if strict && surplus
            || resolve & !RESOLVE_KNOWN != 0
            || flags & O_DIRECTORY != 0 && flags & O_CREAT != 0
        {
            return Err(Errno::EINVAL);
        }
        let inode = self.open_inode(dir, path, OpenHow { flags, mode, resolve }, now)?;
        if flags & O_PATH == 0 {
            match self.kind(inode)? {
                Kind::Symlink => return Err(Errno::ELOOP),
                Kind::Directory if flags & O_ACCMODE != O_RDONLY || flags & O_TRUNC != 0 => {
                    return Err(Errno::EISDIR);
                }
                Kind::File if flags & O_TRUNC != 0 => self.resize(inode, 0, now)?,
                _ => {}
            }
            flags |= O_LARGEFILE;
        }
        self.inode_mut(inode)?.holds += 1;
        flags &= !(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC);
        Ok(OpenFile { inode, offset: 0, flags, list_end: 0 })
    }

    /// Ends an open file; an inode without names ends with it.
    pub fn close(&mut self, file: OpenFile) {
        self.release(file.inode);
    }

    /// `read`: at the file's offset, which moves on.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn read(&self, file: &mut OpenFile, out: &mut [u8]) -> Result<usize> {
        let done = self.read_at(file, out, file.offset)?;
        file.offset += done as u64;
        Ok(done)
    }

    /// `pread64`: at `offset`.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn pread(&self, file: &OpenFile, out: &mut [u8], offset: i64) -> Result<usize> {
        self.read_at(file, out, u64::try_from(offset).map_err(|_| Errno::EINVAL)?)
    }

    /// `write`: at the file's offset, which moves on, or with `O_APPEND` at the end.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn write(&mut self, file: &mut OpenFile, bytes: &[u8], now: Timespec) -> Result<usize> {
        let (at, done) = self.write_at(file, bytes, Some(file.offset), now)?;
        if done > 0 {
            file.offset = at + done as u64;
        }
        Ok(done)
    }

    /// `pwrite64`: at `offset`, or, as on Linux, with `O_APPEND` at the end all the same.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn pwrite(
        &mut self,
        file: &OpenFile,
        bytes: &[u8],
        offset: i64,
        now: Timespec,
    ) -> Result<usize> {
        let offset = u64::try_from(offset).map_err(|_| Errno::EINVAL)?;
        Ok(self.write_at(file, bytes, Some(offset), now)?.1)
    }

    /// `pwritev2` with `RWF_APPEND` and an offset: at the end; the file's offset stays.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn append(&mut self, file: &OpenFile, bytes: &[u8], now: Timespec) -> Result<usize> {
        Ok(self.write_at(file, bytes, None, now)?.1)
    }

    /// `lseek`.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn seek(&self, file: &mut OpenFile, offset: i64, whence: u32) -> Result<u64> {
        file.real()?;
        let base = match (whence, self.content(file.inode)?) {
            (SEEK_SET, _) => 0,
            (SEEK_CUR, _) => file.offset,
            (SEEK_END, Content::File(data)) => data.size(),
            _ => return Err(Errno::EINVAL),
        };
        match base.checked_add_signed(offset) {
            Some(to) if to <= i64::MAX as u64 => {
                file.offset = to;
                Ok(to)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// `getdents64`: fills `out` with whole records and returns their length, 0 at the end.
    ///
    /// # Errors
    ///
    /// As the system call: `EINVAL` if not one record fits, `ENOENT` in a removed directory.
    pub fn getdents(&self, file: &mut OpenFile, out: &mut [u8]) -> Result<usize> {
        file.real()?;
        let directory = self.directory(file.inode)?;
        if self.inode(file.inode)?.nlink == 0 {
            return Err(Errno::ENOENT);
        }
        if file.offset == 0 || file.list_end == 0 {
            file.list_end = directory.end();
        }
        let dots: [(u64, &[u8], InodeId); 2] =
            [(PLACE_DOT, b".", file.inode), (PLACE_DOTDOT, b"..", directory.parent)];
        let (from, end) = (file.offset, file.list_end);
        let names = dots.into_iter().filter(|dot| dot.0 >= from).chain(directory.list(from, end));
        let mut filled = 0;
        for (place, name, inode) in names {
            let len = (DIRENT_HEAD + name.len() + 1).next_multiple_of(8);
            let Some(record) = out.get_mut(filled..filled + len) else {
                // A caller whose buffer holds not even one would take 0 for the end.
                return if filled > 0 { Ok(filled) } else { Err(Errno::EINVAL) };
            };
            record.fill(0);
            record[..8].copy_from_slice(&inode.0.to_le_bytes());
            record[8..16].copy_from_slice(&(place + 1).to_le_bytes());
            record[16..18].copy_from_slice(&(len as u16).to_le_bytes());
            record[18] = self.kind(inode)?.dirent_type();
            record[DIRENT_HEAD..DIRENT_HEAD + name.len()].copy_from_slice(name);
            filled += len;
            file.offset = place + 1;
        }
        Ok(filled)
    }

    /// `ftruncate`.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn truncate(&mut self, file: &OpenFile, size: i64, now: Timespec) -> Result<()> {
        let size = u64::try_from(size).map_err(|_| Errno::EINVAL)?;
        file.real()?;
        if !file.may_write() {
            return Err(Errno::EINVAL);
        }
        self.resize(file.inode, size, now)
    }

    fn read_at(&self, file: &OpenFile, out: &mut [u8], offset: u64) -> Result<usize> {
        if !file.may_read() {
            return Err(Errno::EBADF);
        }
        check_range(offset, out.len())?;
        let len = out.len().min(IO_MAX);
        match self.content(file.inode)? {
            Content::File(data) => Ok(data.read(offset, &mut out[..len])),
            Content::Directory(_) => Err(Errno::EISDIR),
            Content::Symlink(_) => Err(Errno::ENODEV),
        }
    }

    /// Writes at `offset`, or at the end, and says where and how much.
    fn write_at(
        &mut self,
        file: &OpenFile,
        bytes: &[u8],
        offset: Option<u64>,
        now: Timespec,
    ) -> Result<(u64, usize)> {
        if !file.may_write() {
            return Err(Errno::EBADF);
        }
        check_range(offset.unwrap_or(0), bytes.len())?;
        let offset = offset.filter(|_| file.flags & O_APPEND == 0);
        self.write_inode(file.inode, bytes, offset, now)
    }

    /// Writes to an inode that may be written to.
    pub(crate) fn write_inode(
        &mut self,
        inode: InodeId,
        bytes: &[u8],
        offset: Option<u64>,
        now: Timespec,
    ) -> Result<(u64, usize)> {
        let (max, budget) = (self.max_file, &mut self.budget);
        let inode = self.inodes.get_mut(&inode).ok_or(Errno::ESTALE)?;
        let Content::File(data) = &mut inode.content else { return Err(Errno::ENODEV) };
        let at = offset.unwrap_or(data.size());
        if bytes.is_empty() {
            return Ok((at, 0));
        }
        let room = match max.checked_sub(at) {
            None | Some(0) => return Err(Errno::EFBIG),
            Some(room) => usize::try_from(room).unwrap_or(usize::MAX),
        };
        let len = bytes.len().min(IO_MAX).min(room);
        let done = data.write(at, &bytes[..len], budget)?;
        inode.modified(now);
        Ok((at, done))
    }

    fn resize(&mut self, inode: InodeId, size: u64, now: Timespec) -> Result<()> {
        let (max, budget) = (self.max_file, &mut self.budget);
        let inode = self.inodes.get_mut(&inode).ok_or(Errno::ESTALE)?;
        let Content::File(data) = &mut inode.content else { return Err(Errno::EINVAL) };
        if size > max {
            return Err(Errno::EFBIG);
        }
        data.resize(size, budget);
        inode.modified(now);
        Ok(())
    }
}

/// Refuses a range whose end is no signed 64-bit number.
fn check_range(offset: u64, len: usize) -> Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= i64::MAX as u64 => Ok(()),
        _ => Err(Errno::EINVAL),
    }
}

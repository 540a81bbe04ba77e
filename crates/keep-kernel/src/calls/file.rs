// SPDX-License-Identifier: Apache-2.0

//! Calls on descriptors: read, write, seek, and what belongs to them.

use core::slice::from_raw_parts;

use keep_fs::{Errno, Kind, Stat, abi};
use sallyport::{FOREVER, HostErrno, Stream};

use super::AT_FDCWD;
use crate::epoll::Epoll;
use crate::errno::{EAGAIN, EBADF, EFAULT, EINVAL, EIO, ENOTTY, EPIPE, ESPIPE};
use crate::files::Object;
use crate::kernel::{CLAIM_MAX, Kernel, Platform};
use crate::user::UserMemory;

/// Most bytes that one read or write moves; the program comes again for the rest.
const MOVE_MAX: u64 = 1 << 20;

/// Writes to a stream from this size on are not waited for.
const STREAMING: u64 = 32 << 10;

/// Most parts of a vectored call (`UIO_MAXIOV`).
const VECTOR_MAX: u64 = 1024;

const EFD_SEMAPHORE: u32 = 1;
const S_IFSOCK: u32 = 0o14_0000;

impl<P: Platform> Kernel<P> {
    pub(super) fn read(&mut self, fd: i32, to: u64, len: u64) -> Result<u64, Errno> {
        let len = len.min(MOVE_MAX);
        let description = self.files.get_mut(fd)?;
        let done = match &mut description.object {
            Object::Stream(stream) if !stream.is_readable() => return Err(EBADF),
            Object::Stream(stream) => {
                let stream = *stream;
                // Nobody else could do anything while a read waits for the host.
                while stream == Stream::Stdin
                    && !self.threads.is_alone()
                    && self.wait_for_host(stream.bit(), FOREVER)? == 0
                {}
                let bytes = self.space.bytes_mut(to, len)?;
                let answer = Self::ask("a read", |port| port.read(stream, bytes));
                answer.map_err(host_errno)? as u64
            }
            Object::Input(offset) => {
                let input = self.space.at(self.input.phys);
                let to = self.space.bytes_mut(to, len)?;
                let done = copy_input(input, self.input.len, *offset, to);
                *offset += done;
                done
            }
            Object::File(file) => self.fs.read(file, self.space.bytes_mut(to, len)?)? as u64,
            Object::Event(count) => {
                if len < 8 {
                    return Err(EINVAL);
                }
                if *count == 0 {
                    // A blocking read would wait for ever: there is nobody to write.
                    return Err(EAGAIN);
                }
                let value = if description.flags & EFD_SEMAPHORE != 0 { 1 } else { *count };
                *count -= value;
                self.space.store(to, &value)?;
                8
            }
            Object::Epoll(_) | Object::Sheet(_) => return Err(EINVAL),
            Object::Socket(_) => return self.receive(fd, to, len, 0).map(|(len, _)| len),
        };
        self.touched(fd);
        Ok(done)
    }

    pub(super) fn write(&mut self, fd: i32, from: u64, len: u64) -> Result<u64, Errno> {
        self.write_as(fd, from, len, false)
    }

    pub(super) fn append(&mut self, fd: i32, from: u64, len: u64) -> Result<u64, Errno> {
        self.write_as(fd, from, len, true)
    }

    fn write_as(&mut self, fd: i32, from: u64, len: u64, append: bool) -> Result<u64, Errno> {
        let len = len.min(MOVE_MAX);
        let is_file = matches!(self.files.get(fd)?.object, Object::File(_));
        let now = if is_file { self.content(len) } else { Default::default() };
        let description = self.files.get_mut(fd)?;
        let done = match &mut description.object {
            Object::Stream(stream) if stream.is_readable() => return Err(EBADF),
            Object::Stream(stream) => {
                let stream = *stream;
                let mut bytes = self.space.bytes(from, len)?;
                let mut claim = [0; CLAIM_MAX];
                if stream == Stream::ReportData {
                    // Report data are written at once, and what the host gets is another length.
                    let data = bytes.try_into().map_err(|_| EINVAL)?;
                    let said = P::claim(data, &mut claim).ok_or(EIO)?;
                    bytes = &claim[..said];
                }
                let written = Self::ask("a write", |port| {
                    let written = port.write_later(stream, bytes)?;
                    // Whoever streams in large pieces goes on while the host writes, and hears of
                    // an error with the next piece. All others hear of it at once.
                    if len < STREAMING {
                        port.flush()?;
                        if let Some(errno) = port.take_error(stream) {
                            return Ok(Err(errno));
                        }
                    }
                    Ok(written)
                });
                let done = written.map_err(host_errno)?;
                let whole = stream == Stream::ReportData && done == bytes.len();
                if whole { len } else { done as u64 }
            }
            Object::Input(_) => return Err(EBADF),
            Object::File(file) => {
                let bytes = self.space.bytes(from, len)?;
                let done = if append {
                    self.fs.append(file, bytes, now)?
                } else {
                    self.fs.write(file, bytes, now)?
                };
                done as u64
            }
            Object::Event(count) => {
                if len < 8 {
                    return Err(EINVAL);
                }
                let value: u64 = self.space.load(from)?;
                if value == u64::MAX {
                    return Err(EINVAL);
                }
                *count = count.checked_add(value).filter(|c| *c < u64::MAX).ok_or(EAGAIN)?;
                self.stir();
                8
            }
            Object::Epoll(_) => return Err(EINVAL),
            Object::Socket(_) => return self.send(fd, from, len, 0),
            Object::Sheet(_) => return self.fill_sheet(fd, from, len),
        };
        self.touched(fd);
        Ok(done)
    }

    pub(super) fn pread(&mut self, fd: i32, to: u64, len: u64, at: i64) -> Result<u64, Errno> {
        let len = len.min(MOVE_MAX);
        match &self.files.get(fd)?.object {
            Object::File(file) => {
                Ok(self.fs.pread(file, self.space.bytes_mut(to, len)?, at)? as u64)
            }
            Object::Input(_) => {
                let at = u64::try_from(at).map_err(|_| EINVAL)?;
                let input = self.space.at(self.input.phys);
                Ok(copy_input(input, self.input.len, at, self.space.bytes_mut(to, len)?))
            }
            _ => Err(ESPIPE),
        }
    }

    pub(super) fn pwrite(&mut self, fd: i32, from: u64, len: u64, at: i64) -> Result<u64, Errno> {
        let len = len.min(MOVE_MAX);
        let now = self.content(len);
        match &self.files.get(fd)?.object {
            Object::File(file) => {
                Ok(self.fs.pwrite(file, self.space.bytes(from, len)?, at, now)? as u64)
            }
            Object::Input(_) => Err(EBADF),
            _ => Err(ESPIPE),
        }
    }

    /// `pwritev2`: an offset of −1 means the description's own.
    pub(super) fn pwritev2(
        &mut self,
        fd: i32,
        vector: u64,
        count: u64,
        mut offset: i64,
        flags: u32,
    ) -> Result<u64, Errno> {
        const RWF_APPEND: u32 = 0x10;
        const RWF_HARMLESS: u32 = 0x0f; // HIPRI, DSYNC, SYNC, NOWAIT: nothing here waits for a disk
        match flags & !RWF_HARMLESS {
            0 if offset == -1 => self.vectored(fd, vector, count, Self::write),
            0 => self.vectored(fd, vector, count, |kernel, fd, from, len| {
                let done = kernel.pwrite(fd, from, len, offset)?;
                // No file is longer than what an offset can say.
                offset = offset.saturating_add_unsigned(done);
                Ok(done)
            }),
            RWF_APPEND => self.vectored(fd, vector, count, Self::append),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// `readv`, `writev`: part by part, until one is not done whole.
    pub(super) fn vectored(
        &mut self,
        fd: i32,
        vector: u64,
        count: u64,
        mut part: impl FnMut(&mut Self, i32, u64, u64) -> Result<u64, Errno>,
    ) -> Result<u64, Errno> {
        if count > VECTOR_MAX {
            return Err(EINVAL);
        }
        let mut done = 0_u64;
        for index in 0..count {
            let at = vector.checked_add(index * 16).ok_or(EFAULT)?;
            let [address, len]: [u64; 2] = self.space.load(at)?;
            if len == 0 {
                continue;
            }
            match part(self, fd, address, len) {
                Ok(moved) => {
                    done += moved;
                    if moved < len {
                        break;
                    }
                }
                // What was done before is done; the error comes with the next call.
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    pub(super) fn lseek(&mut self, fd: i32, offset: i64, whence: u32) -> Result<u64, Errno> {
        match &mut self.files.get_mut(fd)?.object {
            Object::File(file) => self.fs.seek(file, offset, whence),
            Object::Input(at) => {
                let base = match whence {
                    abi::SEEK_SET => 0,
                    abi::SEEK_CUR => *at,
                    abi::SEEK_END => self.input.len,
                    _ => return Err(EINVAL),
                };
                let to = base.checked_add_signed(offset).ok_or(EINVAL)?;
                *at = i64::try_from(to).map_err(|_| EINVAL)? as u64;
                Ok(*at)
            }
            _ => Err(ESPIPE),
        }
    }

    pub(super) fn close(&mut self, fd: i32) -> Result<(), Errno> {
        if let Some(object) = self.files.close(fd)? {
            self.close_object(object);
        }
        Ok(())
    }

    /// Closes what no descriptor stands for any more.
    fn close_object(&mut self, object: Object) {
        match object {
            Object::File(file) => self.fs.close(file),
            Object::Socket(handle) => self.close_socket(handle),
            _ => {}
        }
    }

    pub(super) fn fcntl(&mut self, fd: i32, command: i32, argument: u64) -> Result<u64, Errno> {
        const F_DUPFD: i32 = 0;
        const F_GETFD: i32 = 1;
        const F_SETFD: i32 = 2;
        const F_GETFL: i32 = 3;
        const F_SETFL: i32 = 4;
        const F_DUPFD_CLOEXEC: i32 = 1030;
        const F_ADD_SEALS: i32 = 1033;
        match command {
            F_DUPFD | F_DUPFD_CLOEXEC => {
                let from = usize::try_from(argument).map_err(|_| EINVAL)?;
                let close_on_exec = command == F_DUPFD_CLOEXEC;
                Ok(self.files.duplicate(fd, from, close_on_exec)? as u64)
            }
            F_ADD_SEALS => self.seal_sheet(fd, argument),
            F_GETFD => Ok(u64::from(self.files.close_on_exec(fd)?)),
            F_SETFD => self.files.set_close_on_exec(fd, argument & 1 != 0).map(|()| 0),
            F_GETFL => {
                let description = self.files.get(fd)?;
                let access = match &description.object {
                    Object::File(file) => return Ok(file.flags().into()),
                    Object::Input(_) => abi::O_RDONLY,
                    Object::Stream(stream) if stream.is_readable() => abi::O_RDONLY,
                    Object::Stream(_) => abi::O_WRONLY,
                    _ => abi::O_RDWR,
                };
                Ok((description.flags | access).into())
            }
            F_SETFL => {
                let description = self.files.get_mut(fd)?;
                match &mut description.object {
                    Object::File(file) => file.set_flags(argument as u32)?,
                    _ => {
                        let set = argument as u32 & abi::O_NONBLOCK;
                        description.flags = description.flags & !abi::O_NONBLOCK | set;
                    }
                }
                Ok(0)
            }
            _ => Err(EINVAL),
        }
    }

    /// No descriptor is a terminal, and none has another device's controls.
    pub(super) fn ioctl(&mut self, fd: i32, request: u32, argument: u64) -> Result<(), Errno> {
        const FIONREAD: u32 = 0x541b;
        const FIONBIO: u32 = 0x5421;
        let description = self.files.get_mut(fd)?;
        match (request, &description.object) {
            (FIONBIO, Object::Socket(_) | Object::Event(_) | Object::Stream(_)) => {
                let on: i32 = self.space.load(argument)?;
                let set = if on != 0 { abi::O_NONBLOCK } else { 0 };
                description.flags = description.flags & !abi::O_NONBLOCK | set;
                Ok(())
            }
            (FIONREAD, Object::Socket(handle)) => {
                let received = self.net.get(*handle).received() as i32;
                self.space.store(argument, &received)
            }
            _ => Err(ENOTTY),
        }
    }

    pub(super) fn fsync(&mut self, fd: i32) -> Result<(), Errno> {
        match &self.files.get(fd)?.object {
            Object::File(file) if file.flags() & abi::O_PATH != 0 => Err(EBADF),
            Object::File(_) => Ok(()),
            _ => Err(EINVAL),
        }
    }

    pub(super) fn ftruncate(&mut self, fd: i32, size: i64) -> Result<(), Errno> {
        let now = self.now();
        match &self.files.get(fd)?.object {
            Object::File(file) => self.fs.truncate(file, size, now),
            Object::Sheet(_) => self.size_sheet(fd, size),
            _ => Err(EINVAL),
        }
    }

    pub(super) fn fadvise(&mut self, fd: i32, len: i64, advice: i32) -> Result<(), Errno> {
        match &self.files.get(fd)?.object {
            Object::Stream(_) | Object::Socket(_) => Err(ESPIPE),
            _ if len < 0 || !(0..=5).contains(&advice) => Err(EINVAL),
            _ => Ok(()),
        }
    }

    pub(super) fn getdents(&mut self, fd: i32, to: u64, len: u64) -> Result<u64, Errno> {
        let bytes = self.space.bytes_mut(to, len.min(MOVE_MAX))?;
        match &mut self.files.get_mut(fd)?.object {
            Object::File(file) => Ok(self.fs.getdents(file, bytes)? as u64),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// What `stat` says of a descriptor.
    pub(super) fn stat_of(&self, fd: i32) -> Result<Stat, Errno> {
        // A stream looks like a character device, the input like a file.
        let (kind, mode, size) = match &self.files.get(fd)?.object {
            Object::File(file) => return self.fs.stat(file.inode()),
            Object::Input(_) => (Kind::File, abi::S_IFREG, self.input.len),
            Object::Sheet(sheet) => (Kind::File, abi::S_IFREG, sheet.len()),
            Object::Socket(_) => (Kind::Device(0), S_IFSOCK, 0),
            _ => (Kind::Device(0), abi::S_IFCHR, 0),
        };
        Ok(Stat {
            ino: u64::from(fd.unsigned_abs()) + 1,
            kind,
            mode: mode | 0o600,
            nlink: 1,
            size,
            blocks: size.div_ceil(512),
            atime: Default::default(),
            mtime: Default::default(),
            ctime: Default::default(),
            btime: Default::default(),
        })
    }

    pub(super) fn eventfd(&mut self, count: u32, flags: u32) -> Result<u64, Errno> {
        if flags & !(abi::O_NONBLOCK | EFD_SEMAPHORE | abi::O_CLOEXEC) != 0 {
            return Err(EINVAL);
        }
        self.open_object(Object::Event(u64::from(count)), flags)
    }

    pub(super) fn epoll_create(&mut self, flags: u32) -> Result<u64, Errno> {
        if flags & !abi::O_CLOEXEC != 0 {
            return Err(EINVAL);
        }
        self.open_object(Object::Epoll(Epoll::default()), flags)
    }

    /// Puts a new description into the table.
    pub(super) fn open_object(&mut self, object: Object, flags: u32) -> Result<u64, Errno> {
        let close_on_exec = flags & abi::O_CLOEXEC != 0;
        match self.files.insert(object, flags & !abi::O_CLOEXEC, close_on_exec) {
            Ok(fd) => Ok(fd as u64),
            Err((errno, object)) => {
                self.close_object(object);
                Err(errno)
            }
        }
    }

    /// The directory that a path relative to `fd` starts from.
    pub(super) fn directory(&self, fd: i32) -> Result<keep_fs::InodeId, Errno> {
        if fd == AT_FDCWD {
            return Ok(self.fs.root());
        }
        match &self.files.get(fd)?.object {
            Object::File(file) => Ok(file.inode()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Provides for file content of this size, and tells the time of the change.
    fn content(&mut self, len: u64) -> keep_fs::Timespec {
        // Blocks of the heap are powers of two, so content may take twice its size.
        self.provision(2 * len as usize + (512 << 10));
        self.now()
    }

    /// The program has used a description: its next readiness is a new edge.
    fn touched(&mut self, fd: i32) {
        if let Ok(description) = self.files.get_mut(fd) {
            description.generation += 1;
        }
    }
}

/// Copies from the input, which the kernel sees at `input`, as far as it goes.
fn copy_input(input: *const u8, input_len: u64, offset: u64, to: &mut [u8]) -> u64 {
    let len = input_len.saturating_sub(offset).min(to.len() as u64);
    // SAFETY: the input is that long, lies in private memory, and is not written to while the
    // program runs.
    let rest = unsafe { from_raw_parts(input.wrapping_add(offset as usize), len as usize) };
    to[..len as usize].copy_from_slice(rest);
    len
}

/// The error that the program sees for one of the host's.
fn host_errno(errno: HostErrno) -> Errno {
    match errno {
        HostErrno::Pipe => EPIPE,
        HostErrno::Again => EAGAIN,
        HostErrno::NoSpace => Errno::ENOSPC,
        _ => EIO,
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Calls on descriptors: read, write, seek, and what belongs to them.

use keep_fs::{Errno, Kind, OpenFile, Stat, abi};
use sallyport::{FOREVER, Stream};

use super::AT_FDCWD;
use crate::epoll::Epoll;
use crate::errno::{EAGAIN, EBADF, EFAULT, EINVAL, EIO, ENOTTY, EPIPE};
use crate::files::Object;
use crate::kernel::{CLAIM_MAX, Kernel, Platform};
use crate::user::UserMemory;

/// Most bytes that one read or write moves; the program comes again for the rest.
const MOVE_MAX: u64 = 1 << 20;

/// Writes to a stream from this size on are not waited for.
const STREAMING: u64 = 32 << 10;

/// Most parts of a vectored call (`UIO_MAXIOV`).
const VECTOR_MAX: u64 = 1024;

const EFD_NONBLOCK: u32 = abi::O_NONBLOCK;
const EFD_SEMAPHORE: u32 = 1;

impl<P: Platform> Kernel<P> {
    pub(super) fn read(&mut self, fd: i32, to: u64, len: u64) -> Result<u64, Errno> {
        let len = len.min(MOVE_MAX);
        let index = self.files.index(fd)?;
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
                match P::with_port(|port| port.read(stream, bytes)) {
                    Ok(Ok(done)) => done as u64,
                    Ok(Err(errno)) => return Err(host_errno(errno)),
                    Err(lie) => panic!("the host lied about a read: {lie}"),
                }
            }
            Object::Input(offset) => {
                let done = copy_input(
                    &self.input,
                    self.space.at(self.input.phys),
                    *offset,
                    self.space.bytes_mut(to, len)?,
                );
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
        self.touched(index);
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
        let index = self.files.index(fd)?;
        let is_file = matches!(self.files.get(fd)?.object, Object::File(_));
        let now = if is_file { self.content(len) } else { Default::default() };
        let description = self.files.get_mut(fd)?;
        let done = match &mut description.object {
            Object::Stream(stream) if stream.is_readable() => return Err(EBADF),
            Object::Stream(stream) => {
                let stream = *stream;
                let mut bytes = self.space.bytes(from, len)?;
                let mut claim = [0; CLAIM_MAX];
                if stream == sallyport::Stream::ReportData {
                    // Report data are written at once, and what the host gets is another length.
                    let data = bytes.try_into().map_err(|_| EINVAL)?;
                    let said = P::claim(data, &mut claim).ok_or(EIO)?;
                    bytes = &claim[..said];
                }
                let written: sallyport::Outcome<usize> = P::with_port(|port| {
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
                match written {
                    Ok(Ok(done))
                        if stream == sallyport::Stream::ReportData && done == bytes.len() =>
                    {
                        len
                    }
                    Ok(Ok(done)) => done as u64,
                    Ok(Err(errno)) => return Err(host_errno(errno)),
                    Err(lie) => panic!("the host lied about a write: {lie}"),
                }
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
        self.touched(index);
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
                Ok(copy_input(
                    &self.input,
                    self.space.at(self.input.phys),
                    at,
                    self.space.bytes_mut(to, len)?,
                ))
            }
            _ => Self::no_position(),
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
            _ => Self::no_position(),
        }
    }

    /// `readv`, `writev`: part by part, until one is not done whole.
    pub(super) fn vectored(
        &mut self,
        fd: i32,
        vector: u64,
        count: u64,
        part: fn(&mut Self, i32, u64, u64) -> Result<u64, Errno>,
    ) -> Result<u64, Errno> {
        self.parts(vector, count, |kernel, _, address, len| part(kernel, fd, address, len))
    }

    /// As [`Kernel::vectored`], for calls with more to them.
    pub(super) fn vectored_with(
        &mut self,
        fd: i32,
        vector: u64,
        count: u64,
        mut part: impl FnMut(&mut Self, i32, u64, u64) -> Result<u64, Errno>,
    ) -> Result<u64, Errno> {
        self.parts(vector, count, |kernel, _, address, len| part(kernel, fd, address, len))
    }

    /// `preadv`, `pwritev`.
    pub(super) fn vectored_at(
        &mut self,
        fd: i32,
        vector: u64,
        count: u64,
        at: i64,
        part: fn(&mut Self, i32, u64, u64, i64) -> Result<u64, Errno>,
    ) -> Result<u64, Errno> {
        self.parts(vector, count, |kernel, done, address, len| {
            let at = at.checked_add_unsigned(done).ok_or(EINVAL)?;
            part(kernel, fd, address, len, at)
        })
    }

    fn parts(
        &mut self,
        vector: u64,
        count: u64,
        mut part: impl FnMut(&mut Self, u64, u64, u64) -> Result<u64, Errno>,
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
            match part(self, done, address, len) {
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
            _ => Self::no_position(),
        }
    }

    pub(super) fn close(&mut self, fd: i32) -> Result<u64, Errno> {
        if let Some(socket) = self.files.close(fd, &mut self.fs)? {
            self.close_socket(socket);
        }
        Ok(0)
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
                Ok(u64::from(match &description.object {
                    Object::File(file) => file.flags(),
                    Object::Input(_) => description.flags | abi::O_RDONLY,
                    Object::Stream(stream) if stream.is_readable() => {
                        description.flags | abi::O_RDONLY
                    }
                    Object::Stream(_) => description.flags | abi::O_WRONLY,
                    _ => description.flags | abi::O_RDWR,
                }))
            }
            F_SETFL => {
                let description = self.files.get_mut(fd)?;
                match &mut description.object {
                    Object::File(file) => file.set_flags(argument as u32)?,
                    _ => {
                        let set = argument as u32 & EFD_NONBLOCK;
                        description.flags = description.flags & !EFD_NONBLOCK | set;
                    }
                }
                Ok(0)
            }
            _ => Err(EINVAL),
        }
    }

    /// No descriptor is a terminal, and none has another device's controls.
    pub(super) fn ioctl(&mut self, fd: i32, request: u32, argument: u64) -> Result<u64, Errno> {
        const FIONREAD: u32 = 0x541b;
        const FIONBIO: u32 = 0x5421;
        let description = self.files.get_mut(fd)?;
        match (request, &description.object) {
            (FIONBIO, Object::Socket(_) | Object::Event(_) | Object::Stream(_)) => {
                let on: i32 = self.space.load(argument)?;
                let set = if on != 0 { EFD_NONBLOCK } else { 0 };
                description.flags = description.flags & !EFD_NONBLOCK | set;
                Ok(0)
            }
            (FIONREAD, Object::Socket(handle)) => {
                let received = self.net.get(*handle).received() as i32;
                self.space.store(argument, &received).map(|()| 0)
            }
            _ => Err(ENOTTY),
        }
    }

    pub(super) fn fsync(&mut self, fd: i32) -> Result<u64, Errno> {
        match &self.files.get(fd)?.object {
            Object::File(file) if file.flags() & abi::O_PATH != 0 => Err(EBADF),
            Object::File(_) => Ok(0),
            _ => Err(EINVAL),
        }
    }

    pub(super) fn ftruncate(&mut self, fd: i32, size: i64) -> Result<u64, Errno> {
        let now = self.now();
        match &self.files.get(fd)?.object {
            Object::File(file) => self.fs.truncate(file, size, now).map(|()| 0),
            Object::Sheet(_) => self.size_sheet(fd, size),
            _ => Err(EINVAL),
        }
    }

    pub(super) fn fadvise(&mut self, fd: i32, _: i64, len: i64, advice: i32) -> Result<u64, Errno> {
        match &self.files.get(fd)?.object {
            Object::Stream(_) | Object::Socket(_) => Self::no_position(),
            _ if len < 0 || !(0..=5).contains(&advice) => Err(EINVAL),
            _ => Ok(0),
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
        Ok(match &self.files.get(fd)?.object {
            Object::File(file) => self.fs.stat(file.inode())?,
            object => {
                // A stream looks like a character device, the input like a file.
                let (kind, size) = match object {
                    Object::Input(_) => (Kind::File, self.input.len),
                    Object::Sheet(sheet) => (Kind::File, sheet.len()),
                    _ => (Kind::Device(0), 0),
                };
                Stat {
                    ino: u64::from(fd.unsigned_abs()) + 1,
                    kind,
                    mode: match object {
                        Object::Socket(_) => 0o14_0600,
                        _ => kind.mode_bits() | 0o600,
                    },
                    nlink: 1,
                    size,
                    blocks: size.div_ceil(512),
                    atime: Default::default(),
                    mtime: Default::default(),
                    ctime: Default::default(),
                    btime: Default::default(),
                }
            }
        })
    }

    pub(super) fn eventfd(&mut self, count: u32, flags: u32) -> Result<u64, Errno> {
        if flags & !(EFD_NONBLOCK | EFD_SEMAPHORE | abi::O_CLOEXEC) != 0 {
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
                match object {
                    Object::File(file) => self.fs.close(file),
                    Object::Socket(handle) => self.close_socket(handle),
                    _ => {}
                }
                Err(errno)
            }
        }
    }

    /// The directory that a path relative to `fd` starts from.
    pub(super) fn directory(&self, fd: i32) -> Result<keep_fs::InodeId, Errno> {
        if fd == AT_FDCWD {
            return Ok(self.cwd);
        }
        match &self.files.get(fd)?.object {
            Object::File(file) => Ok(OpenFile::inode(file)),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Provides for file content of this size, and tells the time of the change.
    fn content(&mut self, len: u64) -> keep_fs::Timespec {
        // Blocks of the heap are powers of two, so content may take twice its size.
        self.provision(2 * len as usize + (512 << 10));
        self.now()
    }

    /// Tells the sets that wait for a description that it was used.
    fn touched(&mut self, index: usize) {
        self.files.touched(index);
    }
}

/// Copies from the input, which the kernel sees at `from`, as far as it goes.
fn copy_input(input: &keep_mm::Object, from: *const u8, offset: u64, to: &mut [u8]) -> u64 {
    let len = input.len.saturating_sub(offset).min(to.len() as u64);
    // SAFETY: the input is that long, lies in private memory, and is not written to while the
    // program runs.
    let bytes =
        unsafe { core::slice::from_raw_parts(from.wrapping_add(offset as usize), len as usize) };
    to[..len as usize].copy_from_slice(bytes);
    len
}

/// The error that the program sees for one of the host's.
pub(super) fn host_errno(errno: sallyport::HostErrno) -> Errno {
    use sallyport::HostErrno;
    match errno {
        HostErrno::Pipe => EPIPE,
        HostErrno::Again => EAGAIN,
        HostErrno::NoSpace => Errno::ENOSPC,
        _ => EIO,
    }
}

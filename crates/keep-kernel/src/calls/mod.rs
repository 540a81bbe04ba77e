// SPDX-License-Identifier: Apache-2.0

//! The Linux system calls of a Keep: the table, one line a call.
//!
//! It holds what a static glibc program that embeds Wasmtime makes, and nothing for the host to
//! see: of all these calls only reading and writing of streams and sockets, waiting, and now and then
//! the clock lead out of the Keep. A call that is not here is `ENOSYS`.

mod file;
mod memory;
mod path;
mod poll;
mod process;
mod sheet;
mod socket;
mod socket_options;
mod thread;
mod time;

use keep_fs::Errno;

pub(crate) use sheet::Sheet;

use crate::errno::{ENOSYS, ESPIPE};
use crate::frame::Frame;
use crate::kernel::{Kernel, Platform};

/// Number of `rt_sigreturn`, which sets all registers and so has no result.
pub(crate) const RT_SIGRETURN: u64 = 15;
/// Number of `exit`, which has none either.
pub(crate) const EXIT: u64 = 60;

/// "The current directory" as a directory descriptor.
const AT_FDCWD: i32 = -100;

impl<P: Platform> Kernel<P> {
    /// Finds and makes the call that the registers name.
    pub(crate) fn dispatch(&mut self, frame: &mut Frame) -> Result<u64, Errno> {
        let [a, b, c, d, e, f] = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9];
        // Descriptors and flags are 32 bits wide; what is above them means nothing.
        let fd = a as i32;
        match frame.rax {
            0 => self.read(fd, b, c),
            1 => self.write(fd, b, c),
            3 => self.close(fd),
            5 => self.fstat(fd, b),
            7 => self.poll(a, b, i64::from(c as i32)),
            8 => self.lseek(fd, b as i64, c as u32),
            9 => self.mmap(a, b, c as u32, d as u32, e as i32, f),
            10 => self.mprotect(a, b, c as u32),
            11 => self.munmap(a, b),
            12 => self.brk(a),
            13 => self.rt_sigaction(a as i32, b, c, d),
            14 => self.rt_sigprocmask(a as i32, b, c, d),
            16 => self.ioctl(fd, b as u32, c),
            17 => self.pread(fd, b, c, d as i64),
            18 => self.pwrite(fd, b, c, d as i64),
            19 if self.handle(fd).is_ok() => self.receive_parts(fd, b, c, 0),
            19 => self.vectored(fd, b, c, Self::read),
            20 => self.vectored(fd, b, c, Self::write),
            24 => Ok(0), // sched_yield: who runs takes nobody's processor
            28 => self.madvise(a, b, c as i32),
            39 | 110 => Ok(1), // getpid, getppid
            41 => self.socket(a as i32, b as u32, c as i32),
            42 => self.connect(fd, b, c),
            43 => self.accept(fd, b, c, 0),
            44 => self.send_to(fd, b, c, d as u32, e),
            45 => self.receive_from(fd, b, c, d as u32, e, f),
            46 => self.send_message(fd, b, c as u32),
            47 => self.receive_message(fd, b, c as u32),
            48 => self.shutdown(fd, b as i32),
            49 => self.bind(fd, b, c),
            50 => self.listen(fd, b as u32),
            51 => self.socket_name(fd, b, c, false),
            52 => self.socket_name(fd, b, c, true),
            54 => self.set_socket_option(fd, b as i32, c as i32, d, e),
            55 => self.socket_option(fd, b as i32, c as i32, d, e),
            56 => self.clone(frame),
            72 => self.fcntl(fd, b as i32, c),
            74 | 75 => self.fsync(fd),
            77 => self.ftruncate(fd, b as i64),
            89 => self.readlink(AT_FDCWD, a, b, c),
            102 | 104 | 107 | 108 => Ok(0), // getuid, getgid, geteuid, getegid
            131 => self.sigaltstack(a, b, frame.rsp),
            157 => self.prctl(a as i32, b),
            158 => self.arch_prctl(a as i32, b),
            186 => Ok(P::processor() as u64 + 1), // gettid
            202 => self.futex(a, b as i32, c as u32, d),
            204 => self.sched_getaffinity(b, c),
            217 => self.getdents(fd, b, c),
            218 => self.set_tid_address(a),
            221 => self.fadvise(fd, b as i64, c as i64, d as i32),
            228 => self.clock_gettime(a as i32, b),
            229 => self.clock_getres(a as i32, b),
            230 => self.clock_nanosleep(a as i32, b as i32, c, d),
            231 => self.exit_program(a as i32),
            232 => self.epoll_wait(fd, b, c as i32, i64::from(d as i32)),
            233 => self.epoll_ctl(fd, b as i32, c as i32, d),
            234 => self.kill(c as i32), // tgkill
            257 => self.openat(fd, b, c as u32, d as u32),
            258 => self.mkdirat(fd, b, c as u32),
            262 => self.newfstatat(fd, b, c, d as u32),
            263 => self.unlinkat(fd, b, c as u32),
            264 => self.renameat(fd, b, c as i32, d, 0),
            265 => self.linkat(fd, b, c as i32, d, e as u32),
            266 => self.symlinkat(a, b as i32, c),
            267 => self.readlink(fd, b, c, d),
            271 => self.ppoll(a, b, c),
            273 => Ok(0), // set_robust_list: nobody dies with a lock in hand and others live on
            280 => self.utimensat(fd, b, c, d as u32),
            281 => self.epoll_wait(fd, b, c as i32, i64::from(d as i32)),
            288 => self.accept(fd, b, c, d as u32),
            290 => self.eventfd(a as u32, b as u32),
            291 => self.epoll_create(a as u32),
            302 => self.prlimit(b as i32, c, d),
            316 => self.renameat(fd, b, c as i32, d, e as u32),
            318 => self.getrandom(a, b),
            319 => self.memfd_create(b as u32),
            328 => self.pwritev2(fd, b, c, d as i64, f as u32, Self::write, Self::pwrite),
            332 => self.statx(fd, b, c as u32, d as u32, e),
            437 => self.openat2(fd, b, c, d),
            // Not Linux's, which answers `ENOSYS`: `keep_launch::CALL_SEALING_KEY`.
            0x5ea1 => self.sealing_key(a),
            _ => Err(ENOSYS),
        }
    }

    /// `preadv2` and `pwritev2`: an offset of −1 means the description's own.
    #[allow(clippy::too_many_arguments, reason = "they are the call's own")]
    fn pwritev2(
        &mut self,
        fd: i32,
        vector: u64,
        count: u64,
        offset: i64,
        flags: u32,
        stream: fn(&mut Self, i32, u64, u64) -> Result<u64, Errno>,
        at: fn(&mut Self, i32, u64, u64, i64) -> Result<u64, Errno>,
    ) -> Result<u64, Errno> {
        const RWF_APPEND: u32 = 0x10;
        const RWF_HARMLESS: u32 = 0x0f; // HIPRI, DSYNC, SYNC, NOWAIT: nothing here waits for a disk
        match flags & !RWF_HARMLESS {
            0 if offset == -1 => self.vectored(fd, vector, count, stream),
            0 => self.vectored_at(fd, vector, count, offset, at),
            RWF_APPEND => self.vectored(fd, vector, count, Self::append),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    /// A call that only files with a position have.
    fn no_position<T>() -> Result<T, Errno> {
        Err(ESPIPE)
    }
}

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
use time::of_millis;

use crate::errno::ENOSYS;
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
    pub(crate) fn dispatch(&mut self, frame: &Frame) -> Result<u64, Errno> {
        let [a, b, c, d, e, f] = [frame.rdi, frame.rsi, frame.rdx, frame.r10, frame.r8, frame.r9];
        // Descriptors and flags are 32 bits wide; what is above them means nothing.
        let fd = a as i32;
        match frame.rax {
            0 => self.read(fd, b, c),
            1 => self.write(fd, b, c),
            3 => done(self.close(fd)),
            5 => done(self.fstat(fd, b)),
            7 => self.poll(a, b, of_millis(c as i32)),
            8 => self.lseek(fd, b as i64, c as u32),
            9 => self.mmap(a, b, c as u32, d as u32, e as i32, f),
            10 => done(self.mprotect(a, b, c as u32)),
            11 => done(self.munmap(a, b)),
            12 => Ok(self.space.brk(a)),
            13 => done(self.rt_sigaction(a as i32, b, c, d)),
            14 => done(self.rt_sigprocmask(a as i32, b, c, d)),
            16 => done(self.ioctl(fd, b as u32, c)),
            17 => self.pread(fd, b, c, d as i64),
            18 => self.pwrite(fd, b, c, d as i64),
            19 if self.handle(fd).is_ok() => self.receive_parts(fd, b, c, 0),
            19 => self.vectored(fd, b, c, Self::read),
            20 => self.vectored(fd, b, c, Self::write),
            24 => Ok(0), // sched_yield: who runs takes nobody's processor
            28 => done(self.madvise(a, b, c as i32)),
            39 | 110 => Ok(1), // getpid, getppid
            41 => self.socket(a as i32, b as u32, c as i32),
            42 => done(self.connect(fd, b, c)),
            43 => self.accept(fd, b, c, 0),
            44 => self.send_to(fd, b, c, d as u32, e),
            45 => self.receive_from(fd, b, c, d as u32, e, f),
            46 => self.send_message(fd, b, c as u32),
            47 => self.receive_message(fd, b, c as u32),
            48 => done(self.shutdown(fd, b as i32)),
            49 => done(self.bind(fd, b, c)),
            50 => done(self.listen(fd, b as u32)),
            51 => done(self.socket_name(fd, b, c, false)),
            52 => done(self.socket_name(fd, b, c, true)),
            54 => done(self.set_socket_option(fd, b as i32, c as i32, d, e)),
            55 => done(self.socket_option(fd, b as i32, c as i32, d, e)),
            56 => self.clone(frame),
            72 => self.fcntl(fd, b as i32, c),
            74 | 75 => done(self.fsync(fd)),
            77 => done(self.ftruncate(fd, b as i64)),
            89 => self.readlink(AT_FDCWD, a, b, c),
            102 | 104 | 107 | 108 => Ok(0), // getuid, getgid, geteuid, getegid
            131 => done(self.sigaltstack(a, b, frame.rsp)),
            157 => done(self.prctl(a as i32, b)),
            158 => done(self.arch_prctl(a as i32, b)),
            186 => Ok(P::processor() as u64 + 1), // gettid
            202 => self.futex(a, b as i32, c as u32, d),
            204 => self.sched_getaffinity(b, c),
            217 => self.getdents(fd, b, c),
            218 => self.set_tid_address(a),
            221 => done(self.fadvise(fd, c as i64, d as i32)),
            228 => done(self.clock_gettime(a as i32, b)),
            229 => done(self.clock_getres(a as i32, b)),
            230 => done(self.clock_nanosleep(a as i32, b as i32, c)),
            231 => self.exit_program(a as i32),
            232 | 281 => self.epoll_wait(fd, b, c as i32, of_millis(d as i32)), // with a mask: 281
            233 => done(self.epoll_ctl(fd, b as i32, c as i32, d)),
            234 => done(self.kill(c as i32)), // tgkill
            257 => self.openat(fd, b, c as u32, d as u32),
            258 => done(self.mkdirat(fd, b, c as u32)),
            262 => done(self.newfstatat(fd, b, c, d as u32)),
            263 => done(self.unlinkat(fd, b, c as u32)),
            264 => done(self.renameat(fd, b, c as i32, d, 0)),
            265 => done(self.linkat(fd, b, c as i32, d, e as u32)),
            266 => done(self.symlinkat(a, b as i32, c)),
            267 => self.readlink(fd, b, c, d),
            271 => self.ppoll(a, b, c),
            273 => Ok(0), // set_robust_list: nobody dies with a lock in hand and others live on
            280 => done(self.utimensat(fd, b, c, d as u32)),
            288 => self.accept(fd, b, c, d as u32),
            290 => self.eventfd(a as u32, b as u32),
            291 => self.epoll_create(a as u32),
            302 => done(self.prlimit(b as i32, c, d)),
            316 => done(self.renameat(fd, b, c as i32, d, e as u32)),
            318 => self.getrandom(a, b),
            319 => self.memfd_create(b as u32),
            328 => self.pwritev2(fd, b, c, d as i64, f as u32),
            332 => done(self.statx(fd, b, c as u32, d as u32, e)),
            437 => self.openat2(fd, b, c, d),
            // Not Linux's, which answers `ENOSYS`: `keep_launch::CALL_SEALING_KEY`.
            0x5ea1 => done(self.sealing_key(a)),
            _ => Err(ENOSYS),
        }
    }
}

/// What a call answers that has nothing to say but that it is done.
fn done(result: Result<(), Errno>) -> Result<u64, Errno> {
    result.map(|()| 0)
}

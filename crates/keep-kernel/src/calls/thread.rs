// SPDX-License-Identifier: Apache-2.0

//! Calls about threads: one begins, ends, waits for a word in memory, wakes others.

use keep_fs::Errno;
use sallyport::{ClockId, FOREVER};

use super::time::nanos;
use crate::errno::{EAGAIN, EFAULT, EINVAL, ENOSYS, ETIMEDOUT};
use crate::frame::Frame;
use crate::kernel::{Kernel, Platform};
use crate::threads::{BLOCKED, STACKS};
use crate::user::UserMemory;

impl<P: Platform> Kernel<P> {
    /// `clone`, for threads: what a C library asks for when it makes one.
    pub(super) fn clone(&mut self, frame: &Frame) -> Result<u64, Errno> {
        // VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS.
        const THREAD: u64 = 0x000d_0f00;
        const PARENT_SETTID: u64 = 0x0010_0000;
        const CHILD_CLEARTID: u64 = 0x0020_0000;
        const DETACHED: u64 = 0x0040_0000;
        let (flags, stack, tls) = (frame.rdi, frame.rsi, frame.r8);
        let optional = PARENT_SETTID | CHILD_CLEARTID | DETACHED;
        if flags & !optional != THREAD || stack == 0 || tls >= 1 << 47 {
            return Err(EINVAL);
        }
        // It goes on where its parent does, which may be behind a trampoline.
        let rsp = stack.wrapping_sub(frame.red_zone);
        let child = Frame { rax: 0, rsp, ..frame.clone() };
        let clear = if flags & CHILD_CLEARTID != 0 { frame.r10 } else { 0 };
        let mask = self.signals.mask();
        let limit = self.threads.limit as u64;
        if self.threads.stacks == 0 && limit > 1 {
            let stacks = self.space.alloc((limit - 1) * STACKS).ok_or(EAGAIN)?;
            self.threads.stacks = self.space.at(stacks) as u64;
        }
        let number = self.threads.begin(child, tls, clear).ok_or(EAGAIN)?;
        self.signals.begin(number, mask);
        let id = number as u64 + 1;
        if flags & PARENT_SETTID != 0 && self.space.store(frame.rdx, &(id as u32)).is_err() {
            self.threads.end(number);
            return Err(EFAULT);
        }
        P::start(number, self.threads.stacks + (number as u64 - 1) * STACKS);
        Ok(id)
    }

    /// `exit`: the calling thread ends. With the first one the program does.
    pub(crate) fn exit_thread(&mut self, status: i32) {
        let number = P::processor();
        if number == 0 {
            self.exit_program(status);
        }
        let clear = self.threads.end(number);
        // As in Linux, nobody hears of it if the word is not there.
        if clear != 0 && self.space.store(clear, &0_u32).is_ok() {
            self.wake(clear, u32::MAX);
        }
        self.stir();
    }

    pub(super) fn set_tid_address(&mut self, address: u64) -> Result<u64, Errno> {
        self.threads.at(P::processor()).clear_at_end = address;
        Ok(P::processor() as u64 + 1)
    }

    pub(super) fn futex(
        &mut self,
        address: u64,
        operation: i32,
        value: u32,
        timeout: u64,
    ) -> Result<u64, Errno> {
        const FUTEX_WAIT: i32 = 0;
        const FUTEX_WAKE: i32 = 1;
        const FUTEX_WAIT_BITSET: i32 = 9;
        const FUTEX_WAKE_BITSET: i32 = 10;
        const FUTEX_CLOCK_REALTIME: i32 = 256;
        match operation & 0x7f {
            // Who is woken although its bits are others looks, and waits again.
            FUTEX_WAKE | FUTEX_WAKE_BITSET => Ok(self.wake(address, value)),
            wait @ (FUTEX_WAIT | FUTEX_WAIT_BITSET) => {
                if !address.is_multiple_of(4) {
                    return Err(EINVAL);
                }
                let alone = self.threads.is_alone();
                let thread = self.threads.at(P::processor());
                match thread.futex {
                    Some((_, true)) => return Ok(0),
                    Some(_) => {}
                    None if self.space.load::<u32>(address).map_err(|_| EFAULT)? != value => {
                        return Err(EAGAIN);
                    }
                    None if timeout == 0 && alone => {
                        panic!("the program waits for a thread, but it has only one")
                    }
                    None => thread.futex = Some((address, false)),
                }
                let mut left = match timeout {
                    0 => FOREVER,
                    at => nanos(self.space.load(at)?)?,
                };
                // A WAIT's time is a duration, a WAIT_BITSET's a point in time.
                if timeout != 0 && wait == FUTEX_WAIT_BITSET {
                    left = left.saturating_sub(match operation & FUTEX_CLOCK_REALTIME {
                        0 => self.monotonic(),
                        _ => self.time(ClockId::Realtime),
                    });
                }
                let deadline = self.deadline(left);
                match self.time_left(deadline) {
                    0 => Err(ETIMEDOUT),
                    left => self.block(left),
                }
            }
            _ => Err(ENOSYS),
        }
    }

    /// Wakes up to `count` threads that wait for a word; answers how many.
    fn wake(&mut self, address: u64, count: u32) -> u64 {
        let woken = self.threads.wake(address, count);
        Self::wake_all(woken);
        woken.count_ones().into()
    }

    fn wake_all(numbers: u64) {
        for number in (0..64).filter(|number| numbers >> number & 1 != 0) {
            P::wake(number);
        }
    }

    /// Something has happened that a thread may listen for.
    pub(crate) fn stir(&mut self) {
        Self::wake_all(self.threads.listeners());
    }

    /// Leaves the kernel to others for at most so many nanoseconds; the call is then made again.
    pub(super) fn block<T>(&mut self, nanoseconds: u64) -> Result<T, Errno> {
        self.threads.wait = nanoseconds;
        Err(BLOCKED)
    }

    /// Whether the calling thread can wait for the host. If not, somebody else does already, or
    /// somebody wants to do something first.
    pub(super) fn may_wait(&mut self, timeout: u64) -> Result<(), Errno> {
        let number = P::processor();
        if timeout == 0 || self.threads.is_alone() {
            return Ok(());
        }
        if P::is_wanted() {
            return self.block(0);
        }
        if self.threads.waiter.is_some_and(|waiter| waiter != number) {
            self.threads.at(number).listens = true;
            return self.block(timeout);
        }
        self.threads.waiter = Some(number);
        Ok(())
    }

    /// A call has an answer: what it remembered is forgotten, and somebody else may wait for the host.
    pub(crate) fn unblock(&mut self) {
        let number = P::processor();
        let thread = self.threads.at(number);
        (thread.futex, thread.deadline, thread.listens) = (None, None, false);
        if self.threads.waiter == Some(number) {
            self.threads.waiter = None;
            self.stir();
        }
    }
}

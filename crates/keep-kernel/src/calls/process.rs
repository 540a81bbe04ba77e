// SPDX-License-Identifier: Apache-2.0

//! Calls about the process itself: there is one.

use keep_fs::Errno;
use sallyport::ExitKind;

use crate::errno::{EINVAL, EIO, ENOSYS};
use crate::kernel::{Kernel, Platform};
use crate::signal::{Action, SS_DISABLE, Stack};
use crate::user::UserMemory;

/// Most random bytes that one call gives.
const RANDOM_MAX: u64 = 1 << 20;

impl<P: Platform> Kernel<P> {
    pub(crate) fn exit_program(&mut self, status: i32) -> ! {
        self.exit(ExitKind::Finished, format_args!("status {status}"))
    }

    /// A program can only send a signal to itself, and does so to abort.
    pub(super) fn kill(&mut self, signal: i32) -> Result<(), Errno> {
        match self.signals.action(signal) {
            _ if signal == 0 => Ok(()),
            None => Err(EINVAL),
            Some(Action { handler: 1, .. }) => Ok(()),
            _ => {
                let message = format_args!("the program ended itself by signal {signal}");
                self.exit(ExitKind::Killed, message)
            }
        }
    }

    pub(super) fn prlimit(&mut self, resource: i32, new: u64, old: u64) -> Result<(), Errno> {
        const STACK: i32 = 3;
        const FILES: i32 = 7;
        if new != 0 {
            return Err(Errno::EPERM);
        }
        if !(0..16).contains(&resource) {
            return Err(EINVAL);
        }
        let limit = match resource {
            STACK => crate::boot::STACK_SIZE,
            FILES => 4096,
            _ => u64::MAX,
        };
        self.space.store_if_wanted(old, &[limit, limit])
    }

    pub(super) fn arch_prctl(&mut self, code: i32, address: u64) -> Result<(), Errno> {
        const ARCH_SET_FS: i32 = 0x1002;
        if code != ARCH_SET_FS || address >= 1 << 47 {
            return Err(EINVAL);
        }
        P::set_thread_pointer(address);
        Ok(())
    }

    pub(super) fn sched_getaffinity(&mut self, len: u64, to: u64) -> Result<u64, Errno> {
        if len < 8 {
            return Err(EINVAL);
        }
        self.space.store(to, &((1_u64 << self.threads.limit) - 1))?;
        Ok(8)
    }

    pub(super) fn getrandom(&mut self, to: u64, len: u64) -> Result<u64, Errno> {
        let bytes = self.space.bytes_mut(to, len.min(RANDOM_MAX))?;
        for part in bytes.chunks_mut(8) {
            let word = P::random().ok_or(EIO)?.to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
        Ok(bytes.len() as u64)
    }

    /// The platform's key for sealing, straight into the program's memory.
    pub(super) fn sealing_key(&mut self, to: u64) -> Result<(), Errno> {
        let into = self.space.bytes_mut(to, 32)?.first_chunk_mut().ok_or(EINVAL)?;
        P::sealing_key(into).ok_or(ENOSYS)
    }

    pub(super) fn rt_sigaction(
        &mut self,
        signal: i32,
        new: u64,
        old: u64,
        size: u64,
    ) -> Result<(), Errno> {
        const SIGKILL: i32 = 9;
        const SIGSTOP: i32 = 19;
        let current = self.signals.action(signal).ok_or(EINVAL)?;
        if size != 8 || new != 0 && (signal == SIGKILL || signal == SIGSTOP) {
            return Err(EINVAL);
        }
        if new != 0 {
            let action = self.space.load(new)?;
            self.signals.set_action(signal, action);
        }
        self.space.store_if_wanted(old, &current)
    }

    pub(super) fn rt_sigprocmask(
        &mut self,
        how: i32,
        new: u64,
        old: u64,
        size: u64,
    ) -> Result<(), Errno> {
        if size != 8 {
            return Err(EINVAL);
        }
        let current = self.signals.mask();
        if new != 0 {
            let set: u64 = self.space.load(new)?;
            self.signals.set_mask(match how {
                0 => current | set,
                1 => current & !set,
                2 => set,
                _ => return Err(EINVAL),
            });
        }
        self.space.store_if_wanted(old, &current)
    }

    pub(super) fn sigaltstack(&mut self, new: u64, old: u64, rsp: u64) -> Result<(), Errno> {
        const MINIMUM: u64 = 2048;
        let current = self.signals.stack(rsp);
        if new != 0 {
            let stack: Stack = self.space.load(new)?;
            if self.signals.is_on_stack(rsp) {
                return Err(Errno::EPERM);
            }
            if stack.flags & SS_DISABLE == 0 && stack.size < MINIMUM {
                return Err(crate::errno::ENOMEM);
            }
            self.signals.set_stack(stack);
        }
        self.space.store_if_wanted(old, &current)
    }
}

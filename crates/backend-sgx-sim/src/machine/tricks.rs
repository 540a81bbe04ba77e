// SPDX-License-Identifier: Apache-2.0

//! The hostile part of a machine, as far as it was asked for one; see [`crate::hostile`].

use std::io;

use sgx_guest::enclu::Enclu;
use sgx_run::Entry;

use super::frame::Registers;
use crate::hostile::Trick;

/// The signal of the storm.
pub(crate) const SIGNAL: libc::c_int = libc::SIGALRM;

/// What the host does, and how often it had occasion to.
#[derive(Debug, Default)]
pub(crate) struct Tricks {
    all: Vec<Trick>,
    restricts: u64,
    trims: u64,
    removes: u64,
    resumes: u64,
    operations: u64,
    /// Operations after which the enclave was entered.
    answered: u64,
    doorbells: u64,
    random: u64,
}

/// Interrupts of one logical processor.
#[derive(Debug, Default)]
pub(crate) struct Storm {
    /// How many are left.
    left: u64,
    within: u64,
    timer: Option<libc::timer_t>,
    random: u64,
}

/// Xorshift; good enough to be unexpected.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Any number but 0.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number of an occasion, and one more.
fn next(count: &mut u64) -> u64 {
    let now = *count;
    *count += 1;
    now
}

impl Tricks {
    pub(crate) fn new(all: Vec<Trick>) -> Self {
        Self { all, random: SEED, ..Self::default() }
    }

    /// The storm over a logical processor: that of the calling thread.
    pub(crate) fn storm(&self) -> io::Result<Storm> {
        let storm = self.all.iter().find_map(|trick| match *trick {
            Trick::Storm { within, count } => Some((within, count)),
            _ => None,
        });
        let Some((within, left)) = storm else { return Ok(Storm::default()) };
        Ok(Storm { left, within: within.max(1), timer: Some(timer()?), random: SEED })
    }

    fn has(&self, trick: Trick) -> bool {
        self.all.contains(&trick)
    }

    /// How many pages the host adds at most.
    pub(crate) fn stingy(&self) -> Option<u64> {
        self.all.iter().find_map(|trick| match trick {
            Trick::NoPages(number) => Some(*number),
            _ => None,
        })
    }

    pub(crate) fn skips_restrict(&mut self) -> bool {
        let number = next(&mut self.restricts);
        self.has(Trick::SkipRestrict(number))
    }

    pub(crate) fn skips_trim(&mut self) -> bool {
        let number = next(&mut self.trims);
        self.has(Trick::SkipTrim(number))
    }

    pub(crate) fn skips_remove(&mut self) -> bool {
        let number = next(&mut self.removes);
        self.has(Trick::SkipRemove(number))
    }

    /// Pages that are taken at this doorbell, and whether an empty one is put there.
    pub(crate) fn taken(&mut self) -> Vec<(u64, bool)> {
        let number = next(&mut self.doorbells);
        let taken = self.all.iter().filter_map(|trick| match *trick {
            Trick::Take { doorbell, address } if doorbell == number => Some((address, false)),
            Trick::Replace { doorbell, address } if doorbell == number => Some((address, true)),
            _ => None,
        });
        taken.collect()
    }

    /// What an operation is answered with.
    pub(crate) fn answer(&mut self, honest: u64) -> u64 {
        let number = next(&mut self.operations);
        let lie = self.all.iter().find_map(|trick| match *trick {
            Trick::Answer { operation, value } if operation == number => Some(value),
            _ => None,
        });
        lie.unwrap_or(honest)
    }

    pub(crate) fn lies_about_target(&self) -> bool {
        self.has(Trick::WrongTarget)
    }

    /// Before an entry; `first` is the one that starts the thread.
    pub(crate) fn entry(&mut self, entry: &mut Entry) {
        if entry.leaf == Enclu::Eresume {
            let number = next(&mut self.resumes);
            if self.has(Trick::EnterForResume(number)) {
                entry.leaf = Enclu::Eenter;
            }
        } else if self.answered != self.operations {
            // Once for each operation.
            self.answered = self.operations;
            if self.has(Trick::ResumeForEnter(self.operations - 1)) {
                entry.leaf = Enclu::Eresume;
            }
        }
    }

    /// At an entry: what a host can put into registers.
    pub(crate) fn registers(&mut self, registers: &mut Registers<'_>) {
        if !self.has(Trick::Registers) {
            return;
        }
        for register in [
            libc::REG_RSI,
            libc::REG_RDX,
            libc::REG_R8,
            libc::REG_R9,
            libc::REG_R10,
            libc::REG_R11,
            libc::REG_R12,
            libc::REG_R13,
            libc::REG_R14,
            libc::REG_R15,
        ] {
            let value = random(&mut self.random);
            registers.set(register, value);
        }
        // Direction, alignment check, and what arithmetic leaves.
        registers.set_rflags(registers.rflags() | 1 << 10 | 1 << 18 | 0x8d5);
    }
}

impl Storm {
    /// The processor is inside: the storm goes on.
    pub(crate) fn entered(&mut self) {
        if self.left > 0 {
            let time = random(&mut self.random) % self.within + 1;
            self.set_timer(time);
        }
    }

    /// The processor is outside.
    pub(crate) fn left(&mut self) {
        if self.left > 0 {
            self.set_timer(0);
        }
    }

    /// Whether the handler is to be entered after an interrupt.
    pub(crate) fn tells_of_interrupt(&mut self) -> bool {
        let tells = self.left > 0;
        self.left = self.left.saturating_sub(1);
        tells
    }

    fn set_timer(&self, nanoseconds: u64) {
        let Some(timer) = self.timer else { return };
        let never = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let time = libc::timespec {
            tv_sec: (nanoseconds / 1_000_000_000) as libc::time_t,
            tv_nsec: (nanoseconds % 1_000_000_000) as libc::c_long,
        };
        let value = libc::itimerspec { it_interval: never, it_value: time };
        // SAFETY: the timer is ours and lives as long as the process.
        unsafe { libc::timer_settime(timer, 0, &value, std::ptr::null_mut()) };
    }
}

/// A timer whose signal goes to this thread.
fn timer() -> io::Result<libc::timer_t> {
    // SAFETY: both are plain data for which zero is a value; the call fills in the timer.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_notify_thread_id = libc::gettid();
        event.sigev_signo = SIGNAL;
        let mut timer: libc::timer_t = std::mem::zeroed();
        if libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(timer)
    }
}

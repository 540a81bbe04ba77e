// SPDX-License-Identifier: Apache-2.0

//! The program's threads: one on each processor, from its start to its end.
//!
//! There is one kernel and one lock around it (see `keep/processors.rs`), so at most one thread is in
//! here at a time. A call that has to wait does not: it says how long there is to wait
//! ([`BLOCKED`]), leaves the kernel to others, and is made once more afterwards, with what it has to
//! remember in its [`Thread`]. So nothing is held while somebody waits, and a host that wakes
//! a thread too early, too often or never does no other harm than that.

use keep_fs::Errno;
use keep_layout::PROCESSORS;

use crate::frame::Frame;

/// Bytes of the stacks of a processor. Those of the first are in the image.
pub const STACKS: u64 = 128 << 10;

/// What a call that has to wait returns; the program never sees it.
pub const BLOCKED: Errno = Errno(512);

/// What is known of one thread. Its number is its processor's.
#[derive(Debug, Default)]
pub struct Thread {
    /// Whether it is one: it was started and has not ended.
    pub lives: bool,
    /// Where it begins, until it has, and its thread pointer.
    pub begin: Option<(Frame, u64)>,
    /// The word to be cleared when it ends; 0 for none.
    pub clear_at_end: u64,
    /// The word that it waits for, and whether somebody has woken it.
    pub futex: Option<(u64, bool)>,
    /// When the call that is made again has to return at the latest, on the monotonic clock.
    pub deadline: Option<u64>,
    /// Whether it sleeps until something has happened to streams or sockets.
    pub listens: bool,
}

/// The threads.
#[derive(Debug)]
pub struct Threads {
    list: [Thread; PROCESSORS as usize],
    /// How many there can be.
    pub limit: usize,
    /// How many there are.
    pub count: usize,
    /// Where the stacks of all processors but the first are, one after the other; 0 for nowhere yet.
    pub stacks: u64,
    /// How long the call that is [`BLOCKED`] has to wait, in nanoseconds. 0: others go first.
    pub wait: u64,
    /// Who waits for the host on behalf of all who listen.
    pub waiter: Option<usize>,
}

impl Threads {
    /// The first one, of `limit`.
    pub fn new(limit: usize) -> Self {
        let mut list: [Thread; PROCESSORS as usize] = Default::default();
        list[0].lives = true;
        let limit = limit.min(list.len());
        Self { list, limit, count: 1, stacks: 0, wait: 0, waiter: None }
    }

    /// Whether there is one only.
    pub fn is_alone(&self) -> bool {
        self.count == 1
    }

    /// A thread by its number, which is that of a processor.
    pub fn at(&mut self, number: usize) -> &mut Thread {
        &mut self.list[number]
    }

    /// Starts a thread, if there is a processor for it; its number.
    pub fn begin(&mut self, frame: Frame, tls: u64, clear_at_end: u64) -> Option<usize> {
        let number = self.list[..self.limit].iter().position(|thread| !thread.lives)?;
        let begin = Some((frame, tls));
        self.list[number] = Thread { lives: true, begin, clear_at_end, ..Thread::default() };
        self.count += 1;
        Some(number)
    }

    /// A thread has ended; the word that is to be cleared.
    pub fn end(&mut self, number: usize) -> u64 {
        self.count -= 1;
        if self.waiter == Some(number) {
            self.waiter = None;
        }
        core::mem::take(&mut self.list[number]).clear_at_end
    }

    /// Marks up to `count` threads that wait for a word as woken; their numbers as bits.
    pub fn wake(&mut self, address: u64, count: u32) -> u64 {
        let mut woken = 0;
        for (number, thread) in self.list.iter_mut().enumerate() {
            if thread.futex == Some((address, false)) && u64::count_ones(woken) < count {
                thread.futex = Some((address, true));
                woken |= 1 << number;
            }
        }
        woken
    }

    /// Takes who listens; their numbers as bits.
    pub fn listeners(&mut self) -> u64 {
        let listeners = self.list.iter_mut().enumerate();
        listeners.fold(0, |bits, (number, thread)| {
            bits | u64::from(core::mem::take(&mut thread.listens)) << number
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_begin_and_end() {
        let mut threads = Threads::new(3);
        assert!(threads.is_alone() && threads.limit == 3);
        assert_eq!(threads.begin(Frame::default(), 1, 0x10), Some(1));
        assert_eq!(threads.begin(Frame::default(), 2, 0x20), Some(2));
        assert_eq!(threads.begin(Frame::default(), 3, 0x30), None, "no processor is left");
        assert_eq!(threads.at(2).begin.take().map(|(_, tls)| tls), Some(2));
        threads.waiter = Some(1);
        assert_eq!(threads.end(1), 0x10);
        assert_eq!((threads.waiter, threads.count), (None, 2));
        assert_eq!(threads.begin(Frame::default(), 4, 0), Some(1), "its place is free again");
        assert_eq!(Threads::new(100).limit, PROCESSORS as usize);
    }

    #[test]
    fn as_many_wake_as_are_to() {
        let mut threads = Threads::new(4);
        for address in [0x10, 0x10, 0x20] {
            let number = threads.begin(Frame::default(), 0, 0).unwrap();
            threads.at(number).futex = Some((address, false));
        }
        assert_eq!(threads.wake(0x10, 1), 0b0010);
        assert_eq!(threads.wake(0x10, 9), 0b0100, "who was woken before does not count");
        assert_eq!(threads.wake(0x10, 9), 0);
        assert_eq!(threads.at(1).futex, Some((0x10, true)));
        assert_eq!(threads.at(3).futex, Some((0x20, false)));
    }

    #[test]
    fn who_listens_hears_once() {
        let mut threads = Threads::new(4);
        threads.at(2).listens = true;
        threads.at(0).listens = true;
        assert_eq!(threads.listeners(), 0b101);
        assert_eq!(threads.listeners(), 0);
    }
}

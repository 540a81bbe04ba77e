// SPDX-License-Identifier: Apache-2.0

//! `epoll`: a set of descriptors to wait for, as the runtime's reactor uses it.
//!
//! Readiness itself is found out elsewhere (see `calls/poll.rs`); this is the set, and the rule of
//! edge-triggered entries: one is reported once, and again only after it was seen not ready, or
//! after something has happened to what it names, which its generation tells.

use alloc::vec::Vec;

use keep_fs::Errno;

/// Readable.
pub const EPOLLIN: u32 = 0x1;
/// Writable.
pub const EPOLLOUT: u32 = 0x4;
/// Error; always waited for.
pub const EPOLLERR: u32 = 0x8;
/// Other side gone; always waited for.
pub const EPOLLHUP: u32 = 0x10;
/// The peer sends no more.
pub const EPOLLRDHUP: u32 = 0x2000;
/// Report once, then disarm.
pub const EPOLLONESHOT: u32 = 1 << 30;
/// Report changes only.
pub const EPOLLET: u32 = 1 << 31;

/// One entry of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The number under which it was added.
    pub fd: i32,
    /// The identity of the description it named then.
    pub description: usize,
    /// What is waited for, with the `EPOLLET` and `EPOLLONESHOT` flags.
    pub events: u32,
    /// What the program wants to be told.
    pub data: u64,
    /// The generation that was reported, if it counts.
    seen: Option<u64>,
    /// Reported, and not to be reported again.
    disarmed: bool,
}

/// A set.
#[derive(Debug, Default)]
pub struct Epoll {
    entries: Vec<Entry>,
}

impl Epoll {
    /// Adds an entry (`EPOLL_CTL_ADD`).
    ///
    /// # Errors
    ///
    /// `EEXIST`.
    pub fn add(
        &mut self,
        fd: i32,
        description: usize,
        events: u32,
        data: u64,
    ) -> Result<(), Errno> {
        if self.find(fd, description).is_some() {
            return Err(Errno::EEXIST);
        }
        self.entries.push(Entry { fd, description, events, data, seen: None, disarmed: false });
        Ok(())
    }

    /// Changes an entry (`EPOLL_CTL_MOD`).
    ///
    /// # Errors
    ///
    /// `ENOENT`.
    pub fn modify(
        &mut self,
        fd: i32,
        description: usize,
        events: u32,
        data: u64,
    ) -> Result<(), Errno> {
        let at = self.find(fd, description).ok_or(Errno::ENOENT)?;
        self.entries[at] = Entry { fd, description, events, data, seen: None, disarmed: false };
        Ok(())
    }

    /// Removes an entry (`EPOLL_CTL_DEL`).
    ///
    /// # Errors
    ///
    /// `ENOENT`.
    pub fn delete(&mut self, fd: i32, description: usize) -> Result<(), Errno> {
        let at = self.find(fd, description).ok_or(Errno::ENOENT)?;
        self.entries.swap_remove(at);
        Ok(())
    }

    /// Removes all entries of a description that is gone.
    pub fn forget(&mut self, description: usize) {
        self.entries.retain(|entry| entry.description != description);
    }

    /// Takes what there is to report, at most `max` entries and at least one if there is any, given
    /// the readiness and generation of what an entry is about.
    pub fn collect(
        &mut self,
        max: usize,
        mut ready: impl FnMut(&Entry) -> (u32, u64),
    ) -> Vec<(u32, u64)> {
        let mut out = Vec::new();
        for (at, entry) in self.entries.iter_mut().enumerate() {
            let (now, generation) = ready(entry);
            let now = now & (entry.events | EPOLLERR | EPOLLHUP);
            if now == 0 {
                entry.seen = None;
            }
            let news = entry.events & EPOLLET == 0 || entry.seen != Some(generation);
            if now == 0 || !news || entry.disarmed {
                continue;
            }
            out.push((now, entry.data));
            entry.seen = Some(generation);
            entry.disarmed = entry.events & EPOLLONESHOT != 0;
            if out.len() >= max {
                // Whoever is behind comes first the next time.
                self.entries.rotate_left(at + 1);
                break;
            }
        }
        out
    }

    fn find(&self, fd: i32, description: usize) -> Option<usize> {
        self.entries.iter().position(|e| e.fd == fd && e.description == description)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn an_edge_is_reported_once_and_again_after_use() {
        let mut set = Epoll::default();
        set.add(0, 7, EPOLLIN | EPOLLET, 42).unwrap();
        assert_eq!(set.collect(8, |_| (EPOLLIN, 0)), vec![(EPOLLIN, 42)]);
        assert_eq!(set.collect(8, |_| (EPOLLIN, 0)), vec![]);
        assert_eq!(set.collect(8, |_| (EPOLLIN, 1)), vec![(EPOLLIN, 42)]);
        assert_eq!(set.collect(8, |_| (0, 1)), vec![]);
        assert_eq!(set.collect(8, |_| (EPOLLIN, 1)), vec![(EPOLLIN, 42)]);
    }

    #[test]
    fn a_level_is_reported_as_long_as_it_lasts() {
        let mut set = Epoll::default();
        set.add(0, 7, EPOLLIN, 1).unwrap();
        for _ in 0..2 {
            assert_eq!(set.collect(8, |_| (EPOLLIN | EPOLLOUT, 0)), vec![(EPOLLIN, 1)]);
        }
    }

    #[test]
    fn one_shot_needs_to_be_armed_again() {
        let mut set = Epoll::default();
        set.add(0, 7, EPOLLIN | EPOLLONESHOT, 1).unwrap();
        assert_eq!(set.collect(8, |_| (EPOLLIN, 0)).len(), 1);
        assert_eq!(set.collect(8, |_| (0, 1)).len(), 0);
        assert_eq!(set.collect(8, |_| (EPOLLIN, 2)).len(), 0);
        set.modify(0, 7, EPOLLIN | EPOLLONESHOT, 1).unwrap();
        assert_eq!(set.collect(8, |_| (EPOLLIN, 2)).len(), 1);
    }

    #[test]
    fn all_get_their_turn_however_few_are_asked_for() {
        let mut set = Epoll::default();
        for n in 0..5 {
            set.add(n, n as usize, EPOLLIN, n as u64).unwrap();
        }
        let mut seen: Vec<_> = (0..5).flat_map(|_| set.collect(2, |_| (EPOLLIN, 0))).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 5);
    }

    #[test]
    fn errors_are_those_of_linux() {
        let mut set = Epoll::default();
        assert_eq!(set.modify(0, 1, EPOLLIN, 0), Err(Errno::ENOENT));
        assert_eq!(set.delete(0, 1), Err(Errno::ENOENT));
        set.add(0, 1, EPOLLIN, 0).unwrap();
        assert_eq!(set.add(0, 1, EPOLLIN, 0), Err(Errno::EEXIST));
        set.forget(1);
        assert_eq!(set.delete(0, 1), Err(Errno::ENOENT));
    }
}

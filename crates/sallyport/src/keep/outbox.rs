// SPDX-License-Identifier: Apache-2.0

//! Where in the shared block bytes wait for the host that nobody waits for.
//!
//! The area is a ring of [`UNIT`]s, given out and given back in the same order, so two numbers say all. A
//! piece is contiguous: what is too short for it at the end of the area goes unused, and comes back
//! with the piece that follows.

use crate::{OUTBOX, SHARED_SIZE};

/// Bytes in the area.
const AREA: usize = SHARED_SIZE - OUTBOX;
/// All pieces are multiples of this many bytes, so that they do not share a cache line.
const UNIT: usize = 64;

/// How many bytes a piece of a stream should have at least, where there are as many: less is not worth
/// a request.
pub(super) const LEAST: usize = 4096;
/// Largest piece.
const MOST: usize = 64 << 10;

/// What is in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outbox {
    /// Where the next piece begins, in the area.
    head: usize,
    /// Bytes in use, unused ones between pieces included.
    used: usize,
    /// Unused bytes that come back with the next piece.
    skipped: usize,
}

impl Outbox {
    /// Nothing is in use.
    pub(super) const fn new() -> Self {
        Self { head: 0, used: 0, skipped: 0 }
    }

    /// Where in the block there is room now for a piece of `least` bytes, and how large it may become.
    pub(super) fn room(&mut self, least: usize) -> Option<(usize, usize)> {
        if self.used == 0 {
            *self = Self::new();
        }
        let mut room = self.contiguous();
        let to_end = AREA - self.head;
        if room < least && room == to_end {
            self.used += room;
            self.skipped += room;
            self.head = 0;
            room = self.contiguous();
        }
        (room >= least.max(1)).then_some((OUTBOX + self.head, room.min(MOST)))
    }

    /// Takes a piece of `len` bytes where there was said to be room; answers what to give back.
    pub(super) fn take(&mut self, len: usize) -> usize {
        let len = len.max(1).next_multiple_of(UNIT);
        self.used += len;
        self.head = (self.head + len) % AREA;
        len + core::mem::take(&mut self.skipped)
    }

    /// Gives the oldest piece back.
    pub(super) fn give_back(&mut self, cost: usize) {
        self.used -= cost;
    }

    fn contiguous(&self) -> usize {
        if self.used == AREA {
            return 0;
        }
        let tail = (self.head + AREA - self.used) % AREA;
        if self.head >= tail { AREA - self.head } else { tail - self.head }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Pieces never overlap, stay in the area, and with all given back there is room for all.
        #[test]
        fn pieces_are_apart(steps in prop::collection::vec((0_usize..70_000, 0_usize..3), 1..400)) {
            let mut outbox = Outbox::new();
            let mut pieces: VecDeque<(usize, usize, usize)> = VecDeque::new();
            for (len, back) in steps {
                if let Some((at, room)) = outbox.room(len.min(4096)) {
                    let len = len.min(room);
                    prop_assert!(at >= OUTBOX && at + len <= SHARED_SIZE);
                    for &(other, its, _) in &pieces {
                        prop_assert!(at + len <= other || other + its <= at, "overlap");
                    }
                    pieces.push_back((at, len, outbox.take(len)));
                } else {
                    prop_assert!(!pieces.is_empty(), "nothing is in use, and there is no room");
                }
                for _ in 0..back {
                    if let Some((_, _, cost)) = pieces.pop_front() {
                        outbox.give_back(cost);
                    }
                }
            }
            while let Some((_, _, cost)) = pieces.pop_front() {
                outbox.give_back(cost);
            }
            prop_assert_eq!(outbox.room(AREA), Some((OUTBOX, MOST)));
        }
    }

    #[test]
    fn the_area_can_be_full() {
        let mut outbox = Outbox::new();
        let pieces: Vec<usize> = core::iter::from_fn(|| {
            outbox.room(UNIT)?;
            Some(outbox.take(UNIT))
        })
        .collect();
        assert_eq!(pieces.len(), AREA / UNIT);
        outbox.give_back(pieces[0]);
        assert_eq!(outbox.room(1), Some((OUTBOX, UNIT)));
        assert_eq!(outbox.room(UNIT + 1), None);
    }

    use std::vec::Vec;
}

// SPDX-License-Identifier: Apache-2.0

//! How much memory a workload may have.
//!
//! One sum over all linear memories (and Wasmtime's heaps for garbage-collected objects, which it
//! treats alike). Wasmtime asks before each growth; there is no way to give memory back before the
//! end, so the sum only rises. Tables live in the program's own heap and are bounded by themselves.

/// Elements that all tables of a workload may have together: more than any program known, 256 MiB.
pub const MAX_TABLE_ELEMENTS: usize = 16 << 20;

/// What has been granted so far, and the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    max: u64,
    used: u64,
    last: u64,
    elements: usize,
    refused: Option<u64>,
}

impl Budget {
    /// Nothing granted yet, of `max` bytes.
    pub const fn new(max: u64) -> Self {
        Self { max, used: 0, last: 0, elements: 0, refused: None }
    }

    /// Asks for a memory to grow from `current` to `desired` bytes.
    pub fn grow_memory(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current) as u64;
        let sum = self.used.saturating_add(more);
        if sum > self.max {
            self.refused = Some(sum);
            return false;
        }
        self.used = sum;
        self.last = more;
        true
    }

    /// Takes back what was granted last: the growth failed for another reason.
    pub fn undo_memory(&mut self) {
        self.used = self.used.saturating_sub(self.last);
        self.last = 0;
    }

    /// Asks for a table to grow from `current` to `desired` elements.
    pub fn grow_table(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current);
        match self.elements.checked_add(more) {
            Some(sum) if sum <= MAX_TABLE_ELEMENTS => {
                self.elements = sum;
                true
            }
            _ => false,
        }
    }

    /// The bound in bytes.
    pub const fn max(&self) -> u64 {
        self.max
    }

    /// The sum in bytes that was refused last, if any was.
    pub const fn refused(&self) -> Option<u64> {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_share_one_bound() {
        let mut budget = Budget::new(100);
        assert!(budget.grow_memory(0, 60));
        assert!(!budget.grow_memory(0, 41), "a second memory counts on top of the first");
        assert_eq!(budget.refused(), Some(101));
        assert!(budget.grow_memory(0, 40));
        assert!(!budget.grow_memory(60, 61));
    }

    #[test]
    fn absurd_sizes_do_not_overflow() {
        let mut budget = Budget::new(u64::MAX - 1);
        assert!(budget.grow_memory(0, 10));
        assert!(!budget.grow_memory(0, usize::MAX));
        assert!(!budget.grow_table(0, usize::MAX));
    }

    #[test]
    fn a_growth_that_failed_later_is_given_back() {
        let mut budget = Budget::new(100);
        assert!(budget.grow_memory(0, 100));
        budget.undo_memory();
        budget.undo_memory();
        assert!(budget.grow_memory(0, 100));
        assert!(!budget.grow_memory(100, 101));
    }

    #[test]
    fn tables_are_bounded_together() {
        let mut budget = Budget::new(0);
        assert!(budget.grow_table(0, MAX_TABLE_ELEMENTS));
        assert!(!budget.grow_table(0, 1));
    }
}

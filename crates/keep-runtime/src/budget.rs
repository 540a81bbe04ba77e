// SPDX-License-Identifier: Apache-2.0

//! How much memory a workload may have.
//!
//! One sum over all linear memories (and Wasmtime's heaps for garbage-collected objects, which it
//! treats alike). Wasmtime asks before each growth; an instance has no way to give memory back before
//! its end, so its sum only rises. Several instances, each with a [`Budget`] of its own, may draw on
//! one [`Pool`], and what one had returns with its end. Tables live in the program's own heap and are
//! bounded by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Elements that all tables of a workload may have together: more than any program known, 256 MiB.
pub const MAX_TABLE_ELEMENTS: usize = 16 << 20;

/// What all instances of a workload may have together; clones are the same.
#[derive(Debug, Clone)]
pub struct Pool {
    max: u64,
    used: Arc<AtomicU64>,
}

impl Pool {
    /// Nothing granted yet, of `max` bytes.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self { max, used: Arc::default() }
    }

    /// For a further instance.
    #[must_use]
    pub fn budget(&self) -> Budget {
        Budget { pool: self.clone(), used: 0, last: 0, elements: 0, refused: None }
    }
}

/// What has been granted so far to one instance; it returns when this is dropped.
#[derive(Debug)]
pub struct Budget {
    pool: Pool,
    used: u64,
    last: u64,
    elements: usize,
    refused: Option<u64>,
}

impl Budget {
    /// Nothing granted yet, of `max` bytes, for a workload of one instance.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Pool::new(max).budget()
    }

    /// Asks for a memory to grow from `current` to `desired` bytes.
    pub fn grow_memory(&mut self, current: usize, desired: usize) -> bool {
        let more = desired.saturating_sub(current) as u64;
        let grown = |used: u64| used.checked_add(more).filter(|sum| *sum <= self.pool.max);
        match self.pool.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => {
                self.used += more;
                self.last = more;
                true
            }
            Err(used) => {
                self.refused = Some(used.saturating_add(more));
                false
            }
        }
    }

    /// Takes back what was granted last: the growth failed for another reason.
    pub fn undo_memory(&mut self) {
        self.used -= self.last;
        self.pool.used.fetch_sub(self.last, Ordering::Relaxed);
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
    pub fn max(&self) -> u64 {
        self.pool.max
    }

    /// The sum in bytes that was refused last, if any was.
    pub fn refused(&self) -> Option<u64> {
        self.refused
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.pool.used.fetch_sub(self.used, Ordering::Relaxed);
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
    fn instances_share_a_pool_and_give_back() {
        let pool = Pool::new(100);
        let (mut one, mut other) = (pool.budget(), pool.budget());
        assert!(one.grow_memory(0, 60));
        assert!(!other.grow_memory(0, 41));
        assert_eq!(other.refused(), Some(101));
        drop(one);
        assert!(other.grow_memory(0, 100));
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

// SPDX-License-Identifier: Apache-2.0

//! Data structures: a B-tree in pages as databases keep it, sorting, hashing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use crate::Random;

type Round = Box<dyn FnMut() -> u64>;

/// A B-tree of `u64` to `u64` in pages of 4 KiB within one block of bytes, as a database file would
/// hold it: every access goes through offsets and little-endian fields, and pages are split by
/// copying.
///
/// A page: one byte "leaf", two bytes of count at 2; then from 8 on entries of 16 bytes (key, and
/// value or page number of the child whose keys are at least the key).
struct Tree {
    pages: Vec<u8>,
    root: usize,
}

const PAGE: usize = 4096;
const MAX: usize = (PAGE - 8) / 16;

impl Tree {
    fn new() -> Self {
        let mut tree = Self { pages: Vec::new(), root: 0 };
        tree.root = tree.allocate(true);
        tree
    }

    fn allocate(&mut self, leaf: bool) -> usize {
        let page = self.pages.len() / PAGE;
        self.pages.resize(self.pages.len() + PAGE, 0);
        self.pages[page * PAGE] = u8::from(leaf);
        page
    }

    fn is_leaf(&self, page: usize) -> bool {
        self.pages[page * PAGE] != 0
    }

    fn count(&self, page: usize) -> usize {
        let at = page * PAGE + 2;
        usize::from(u16::from_le_bytes([self.pages[at], self.pages[at + 1]]))
    }

    fn set_count(&mut self, page: usize, count: usize) {
        self.pages[page * PAGE + 2..][..2].copy_from_slice(&(count as u16).to_le_bytes());
    }

    fn field(&self, page: usize, entry: usize, value: bool) -> u64 {
        let at = page * PAGE + 8 + entry * 16 + if value { 8 } else { 0 };
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.pages[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    fn set(&mut self, page: usize, entry: usize, key: u64, value: u64) {
        let at = page * PAGE + 8 + entry * 16;
        self.pages[at..at + 8].copy_from_slice(&key.to_le_bytes());
        self.pages[at + 8..at + 16].copy_from_slice(&value.to_le_bytes());
    }

    /// The number of entries whose keys are at most `key`.
    fn upper(&self, page: usize, key: u64) -> usize {
        let (mut low, mut high) = (0, self.count(page));
        while low < high {
            let middle = (low + high) / 2;
            if self.field(page, middle, false) <= key { low = middle + 1 } else { high = middle }
        }
        low
    }

    fn insert_at(&mut self, page: usize, entry: usize, key: u64, value: u64) {
        let (count, base) = (self.count(page), page * PAGE + 8);
        self.pages.copy_within(base + entry * 16..base + count * 16, base + (entry + 1) * 16);
        self.set(page, entry, key, value);
        self.set_count(page, count + 1);
    }

    /// Moves the upper half of a full page to a new one; gives its first key and number.
    fn split(&mut self, page: usize) -> (u64, usize) {
        let (leaf, count) = (self.is_leaf(page), self.count(page));
        let new = self.allocate(leaf);
        let half = count / 2;
        let from = page * PAGE + 8;
        self.pages.copy_within(from + half * 16..from + count * 16, new * PAGE + 8);
        self.set_count(page, half);
        self.set_count(new, count - half);
        (self.field(new, 0, false), new)
    }

    fn insert(&mut self, key: u64, value: u64) {
        if let Some((middle, new)) = self.insert_below(self.root, key, value) {
            let root = self.allocate(false);
            self.set(root, 0, 0, self.root as u64);
            self.set(root, 1, middle, new as u64);
            self.set_count(root, 2);
            self.root = root;
        }
    }

    fn insert_below(&mut self, page: usize, key: u64, value: u64) -> Option<(u64, usize)> {
        let at = self.upper(page, key);
        if self.is_leaf(page) {
            if at > 0 && self.field(page, at - 1, false) == key {
                self.set(page, at - 1, key, value);
                return None;
            }
            self.insert_at(page, at, key, value);
        } else {
            let child = self.field(page, at - 1, true) as usize;
            let (middle, new) = self.insert_below(child, key, value)?;
            self.insert_at(page, at, middle, new as u64);
        }
        (self.count(page) == MAX).then(|| self.split(page))
    }

    fn get(&self, key: u64) -> Option<u64> {
        let mut page = self.root;
        loop {
            let at = self.upper(page, key).checked_sub(1)?;
            if self.is_leaf(page) {
                return (self.field(page, at, false) == key).then(|| self.field(page, at, true));
            }
            page = self.field(page, at, true) as usize;
        }
    }

    fn sum(&self, page: usize) -> u64 {
        (0..self.count(page)).fold(0u64, |sum, entry| {
            let value = self.field(page, entry, true);
            let below = if self.is_leaf(page) { value } else { self.sum(value as usize) };
            sum.rotate_left(1).wrapping_add(below)
        })
    }
}

pub(crate) fn btree() -> Round {
    Box::new(|| {
        let mut tree = Tree::new();
        let mut keys = Random(1);
        for i in 0..60_000 {
            tree.insert(keys.next(), i);
        }
        let (mut keys, mut found) = (Random(1), 0u64);
        for _ in 0..60_000 {
            found = found.wrapping_add(tree.get(keys.next()).expect("the key was inserted"));
            found += u64::from(tree.get(keys.0).is_some());
        }
        found ^ tree.sum(tree.root)
    })
}

pub(crate) fn sort() -> Round {
    let mut random = Random(2);
    let numbers: Vec<u64> = (0..200_000).map(|_| random.next()).collect();
    let words: Vec<String> = (0..40_000).map(|_| format!("{:x}", random.next() >> 24)).collect();
    Box::new(move || {
        let mut stable = numbers.clone();
        stable.sort();
        let mut unstable = numbers.clone();
        unstable.sort_unstable_by_key(|n| n.rotate_left(32));
        let mut words = words.clone();
        words.sort();
        stable[1000] ^ unstable[1000] ^ words[20_000].len() as u64
    })
}

pub(crate) fn hashmap() -> Round {
    let mut random = Random(3);
    let words: Vec<String> =
        (0..60_000).map(|_| format!("word-{}", random.next() % 9000)).collect();
    Box::new(move || {
        let mut counts: HashMap<&str, u64, BuildHasherDefault<DefaultHasher>> = HashMap::default();
        for word in words.iter().chain(words.iter().rev()) {
            *counts.entry(word).or_default() += 1;
        }
        let long: String = words.iter().filter(|w| counts[w.as_str()] > 14).cloned().collect();
        counts.values().fold(long.len() as u64, |sum, n| sum.wrapping_add(n * n))
    })
}

// SPDX-License-Identifier: Apache-2.0

//! A memory for collateral that was found genuine.
//!
//! Platforms of a kind have the same collateral for weeks, so most of a verification is the same each
//! time. What is remembered is not a verdict, only that these very bytes are genuine from one time to
//! another; a hit is asked for the time at hand, and everything about the quote itself is checked anew.
//! A fault of the memory (a poisoned lock) is a miss.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::Time;
use crate::collateral::Verified;

/// How many sets are remembered at most.
pub(crate) const MAX: usize = 256;

/// See above.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    sets: Mutex<HashMap<[u8; 32], Arc<Verified>>>,
}

impl Memory {
    /// The set of that digest, if it is remembered and valid at that time.
    pub(crate) fn get(&self, digest: &[u8; 32], now: Time) -> Option<Arc<Verified>> {
        let sets = self.sets.lock().ok()?;
        let set = sets.get(digest)?;
        (set.valid_from <= now && now <= set.valid_until).then(|| Arc::clone(set))
    }

    /// Remembers a set. If there are too many, the one that ends first has to go.
    pub(crate) fn put(&self, digest: [u8; 32], set: Arc<Verified>) {
        let Ok(mut sets) = self.sets.lock() else { return };
        if sets.len() >= MAX && !sets.contains_key(&digest) {
            let first = sets.iter().min_by_key(|(_, set)| set.valid_until).map(|(key, _)| *key);
            if let Some(first) = first {
                sets.remove(&first);
            }
        }
        sets.insert(digest, set);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.sets.lock().map_or(0, |sets| sets.len())
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TcbInfo;

    fn set(from: u64, until: u64) -> Arc<Verified> {
        let text = br#"{"id":"SGX","version":3,"issueDate":"2026-01-01T00:00:00Z",
            "nextUpdate":"2026-02-01T00:00:00Z","fmspc":"000000000000","pceId":"0000","tcbType":0,
            "tcbEvaluationDataNumber":1,"tcbLevels":[]}"#;
        Arc::new(Verified {
            valid_from: Time::from_unix(from),
            valid_until: Time::from_unix(until),
            tcb_info: TcbInfo::parse(text).unwrap(),
            qe_identity: None,
            revoked: Vec::new(),
        })
    }

    #[test]
    fn a_set_is_remembered_only_for_its_time() {
        let memory = Memory::default();
        memory.put([1; 32], set(10, 20));
        for (now, found) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(memory.get(&[1; 32], Time::from_unix(now)).is_some(), found, "{now}");
        }
        assert!(memory.get(&[2; 32], Time::from_unix(15)).is_none());
    }

    #[test]
    fn there_is_room_for_so_many_and_the_first_to_end_goes() {
        let memory = Memory::default();
        for number in 0..2 * MAX as u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            memory.put(digest, set(0, 1000 + number));
            assert!(memory.get(&digest, Time::from_unix(5)).is_some());
        }
        assert_eq!(memory.len(), MAX);
        assert!(memory.get(&[0; 32], Time::from_unix(5)).is_none());
    }

    #[test]
    fn a_poisoned_memory_remembers_nothing() {
        let memory = Memory::default();
        memory.put([1; 32], set(10, 20));
        let poisoned = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _guard = memory.sets.lock();
                panic!("on purpose");
            });
            thread.join().is_err()
        });
        assert!(poisoned);
        assert!(memory.get(&[1; 32], Time::from_unix(15)).is_none());
        memory.put([2; 32], set(10, 20));
        assert_eq!(memory.len(), 0);
    }
}

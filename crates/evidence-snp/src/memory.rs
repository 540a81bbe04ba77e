// SPDX-License-Identifier: Apache-2.0

//! VEKs already seen: chains that have been verified, by the digest of all that went into them.
//!
//! A chip signs its reports with one key for months, and checking three RSA signatures anew for each
//! report takes as long as checking the report. What is remembered depends on nothing but the bytes that
//! the digest covers and on the time, and is used only at times at which verifying again could not come
//! to another result. Refusals are not remembered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use evidence_claims::Time;

use crate::chain::Chain;

/// The digest of VEK, intermediates and lists.
pub(crate) type Key = [u8; 32];

/// A bounded memory; the entry that was not used for the longest time makes room.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    chains: BTreeMap<Key, (u64, Arc<Chain>)>,
    uses: u64,
}

impl Memory {
    /// How many chains are remembered, some 400 bytes each.
    pub(crate) const CAPACITY: usize = 1024;

    /// The chain of that digest, if it holds at `now`. A lock that a panic left behind is a miss.
    pub(crate) fn get(&self, key: &Key, now: Time) -> Option<Arc<Chain>> {
        let mut entries = self.0.lock().ok()?;
        let uses = entries.uses.wrapping_add(1);
        let (used, chain) = entries.chains.get_mut(key)?;
        if !chain.window.contains(now) {
            return None;
        }
        *used = uses;
        let chain = Arc::clone(chain);
        entries.uses = uses;
        Some(chain)
    }

    /// Remembers a chain.
    pub(crate) fn put(&self, key: Key, chain: Arc<Chain>) {
        let Ok(mut entries) = self.0.lock() else { return };
        if entries.chains.len() >= Self::CAPACITY && !entries.chains.contains_key(&key) {
            let oldest = entries.chains.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                entries.chains.remove(&oldest);
            }
        }
        entries.uses = entries.uses.wrapping_add(1);
        let uses = entries.uses;
        entries.chains.insert(key, (uses, chain));
    }
}

#[cfg(test)]
mod tests {
    use evidence_claims::{SigningKey, TcbVersion};

    use super::*;
    use crate::VekExtensions;
    use crate::chain::Window;

    fn chain(from: u64, to: u64) -> Arc<Chain> {
        let (from, to) = (Time::from_unix(from), Time::from_unix(to));
        Arc::new(Chain {
            kind: SigningKey::Vcek,
            product: None,
            extensions: VekExtensions {
                struct_version: 0,
                product_name: String::new(),
                tcb: TcbVersion::default(),
                hw_id: None,
                csp_id: None,
            },
            key: [0; 97],
            window: Window { from, to },
            valid_until: to,
        })
    }

    fn key(number: u16) -> Key {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        key
    }

    #[test]
    fn nothing_is_remembered_outside_its_time() {
        let memory = Memory::default();
        memory.put(key(1), chain(10, 20));
        for (now, found) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(memory.get(&key(1), Time::from_unix(now)).is_some(), found, "{now}");
        }
        assert!(memory.get(&key(2), Time::from_unix(10)).is_none());
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let (memory, now) = (Memory::default(), Time::from_unix(10));
        for number in 0..1024 {
            memory.put(key(number), chain(10, 20));
        }
        assert!(memory.get(&key(0), now).is_some());
        // Known already: nothing has to go.
        memory.put(key(5), chain(10, 20));
        assert!(memory.get(&key(1), now).is_some());
        memory.put(key(2000), chain(10, 20));
        for (number, found) in [(0, true), (1, true), (2, false), (3, true), (2000, true)] {
            assert_eq!(memory.get(&key(number), now).is_some(), found, "{number}");
        }
        assert_eq!(memory.0.lock().unwrap().chains.len(), Memory::CAPACITY);
    }

    #[test]
    fn a_poisoned_lock_is_a_miss() {
        let memory = Memory::default();
        memory.put(key(1), chain(10, 20));
        let poisoned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = memory.0.lock().unwrap();
            panic!("on purpose");
        }));
        assert!(poisoned.is_err());
        assert!(memory.get(&key(1), Time::from_unix(10)).is_none());
        memory.put(key(2), chain(10, 20));
    }
}

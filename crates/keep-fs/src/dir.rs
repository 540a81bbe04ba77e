// SPDX-License-Identifier: Apache-2.0

//! The names in one directory.
//!
//! Each name gets a number that grows and is never used again; it is the place of the name in
//! listings. So a listing that goes on after names came and went shows each name that stayed
//! exactly once, as POSIX asks.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::InodeId;

/// The places of `.` and `..`, which every listing begins with.
pub(crate) const PLACE_DOT: u64 = 0;
pub(crate) const PLACE_DOTDOT: u64 = 1;
const PLACE_FIRST: u64 = 2;

#[derive(Debug)]
struct Entry {
    inode: InodeId,
    place: u64,
}

/// A directory's content.
#[derive(Debug)]
pub(crate) struct Directory {
    /// What `..` is; the root is its own parent. Each directory but the root holds its parent.
    pub(crate) parent: InodeId,
    names: BTreeMap<Arc<[u8]>, Entry>,
    places: BTreeMap<u64, Arc<[u8]>>,
    next: u64,
}

impl Directory {
    pub(crate) fn new(parent: InodeId) -> Self {
        Self { parent, names: BTreeMap::new(), places: BTreeMap::new(), next: PLACE_FIRST }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The place that the next new name will get.
    pub(crate) fn end(&self) -> u64 {
        self.next
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<InodeId> {
        self.names.get(name).map(|entry| entry.inode)
    }

    /// Adds a name, or gives the one that is there another inode; its place stays.
    pub(crate) fn set(&mut self, name: &[u8], inode: InodeId) {
        if let Some(entry) = self.names.get_mut(name) {
            entry.inode = inode;
            return;
        }
        let shared: Arc<[u8]> = Arc::from(name);
        self.places.insert(self.next, Arc::clone(&shared));
        self.names.insert(shared, Entry { inode, place: self.next });
        self.next += 1;
    }

    pub(crate) fn remove(&mut self, name: &[u8]) {
        if let Some(entry) = self.names.remove(name) {
            self.places.remove(&entry.place);
        }
    }

    /// The names from place `from` up to but not at `end`, in order.
    pub(crate) fn list(&self, from: u64, end: u64) -> impl Iterator<Item = (u64, &[u8], InodeId)> {
        // The map panics on a range that goes backwards, as a seek beyond the end would make it.
        self.places
            .range(from..end.max(from))
            .filter_map(|(place, name)| Some((*place, &**name, self.names.get(name)?.inode)))
    }
}

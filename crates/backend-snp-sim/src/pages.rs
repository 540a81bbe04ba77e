// SPDX-License-Identifier: Apache-2.0

//! Who has which page: what the processor's reverse map table says (AMD APM volume 2, "SEV-SNP").
//!
//! A page is the hypervisor's, assigned to the guest, or validated by it as well. Only validated
//! pages exist in the virtual machine: an access to any other finds nothing.

use std::collections::BTreeMap;
use std::ops::Range;

const PAGE: u64 = snp_guest::PAGE as u64;

/// A page of the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Assigned,
    Validated,
}

/// What [`Pages::validate`] comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validated {
    /// The pages are validated now.
    Now,
    /// They were, all or some: the instruction says that nothing changed.
    Before,
    /// Not the guest's: on hardware this is a nested page fault, to which a hypervisor answers by
    /// ending the guest.
    NotAssigned,
}

/// All pages that are not the hypervisor's, in ranges that do not touch each other with the same state.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    ranges: BTreeMap<u64, (u64, State)>,
    /// Validated, but not yet part of the virtual machine.
    fresh: Vec<Range<u64>>,
}

impl Pages {
    /// The launch gave the guest these pages, validated.
    pub(crate) fn launched(&mut self, range: Range<u64>) {
        self.set(range, Some(State::Validated));
    }

    /// The hypervisor assigns pages to the guest; whether they were its own to give.
    pub(crate) fn assign(&mut self, range: Range<u64>) -> bool {
        if !self.all(&range, None) {
            return false;
        }
        self.set(range, Some(State::Assigned));
        true
    }

    /// The guest validates pages.
    pub(crate) fn validate(&mut self, range: Range<u64>) -> Validated {
        if self.all(&range, Some(State::Assigned)) {
            self.set(range.clone(), Some(State::Validated));
            self.fresh.push(range);
            Validated::Now
        } else if self.any(&range, None) {
            Validated::NotAssigned
        } else {
            Validated::Before
        }
    }

    /// The hypervisor takes pages away, or puts others in their place: they are not validated any more.
    #[cfg(feature = "testing")]
    pub(crate) fn take(&mut self, range: Range<u64>) {
        self.set(range, None);
    }

    /// Validated pages that the virtual machine has to be told of, joined; none while some that were
    /// assigned with them are not yet validated, for it is told of pieces, and not of too many.
    pub(crate) fn fresh(&mut self) -> Vec<Range<u64>> {
        if self.ranges.values().any(|(_, state)| *state == State::Assigned) {
            return Vec::new();
        }
        self.fresh.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in self.fresh.drain(..) {
            match joined.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => joined.push(range),
            }
        }
        joined
    }

    /// What to say of an access to a page that is not there.
    pub(crate) fn describe(&self, address: u64) -> &'static str {
        match self.at(address).1 {
            None => "is not the Keep's: it never asked for it, or it was taken away",
            Some(State::Assigned) => "was not validated",
            Some(State::Validated) => "is validated, but the host does not show it",
        }
    }

    /// The end of the range around an address, and its state.
    fn at(&self, address: u64) -> (u64, Option<State>) {
        if let Some((_, (end, state))) = self.ranges.range(..=address).next_back()
            && address < *end
        {
            return (*end, Some(*state));
        }
        let next = self.ranges.range(address..).next();
        (next.map_or(u64::MAX, |(start, _)| *start), None)
    }

    fn all(&self, range: &Range<u64>, state: Option<State>) -> bool {
        self.walk(range).all(|at| at == state)
    }

    fn any(&self, range: &Range<u64>, state: Option<State>) -> bool {
        self.walk(range).any(|at| at == state)
    }

    fn walk(&self, range: &Range<u64>) -> impl Iterator<Item = Option<State>> {
        let mut at = range.start;
        let end = range.end;
        std::iter::from_fn(move || {
            let (next, state) = (at < end).then(|| self.at(at))?;
            at = next;
            Some(state)
        })
    }

    fn set(&mut self, range: Range<u64>, state: Option<State>) {
        debug_assert!(range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE));
        let mut range = range;
        let touching: Vec<_> = (self.ranges.iter())
            .filter(|(start, (end, _))| **start <= range.end && range.start <= *end)
            .map(|(start, (end, old))| (*start, *end, *old))
            .collect();
        for (start, end, old) in touching {
            self.ranges.remove(&start);
            if Some(old) == state {
                range = range.start.min(start)..range.end.max(end);
                continue;
            }
            if start < range.start {
                self.ranges.insert(start, (range.start, old));
            }
            if range.end < end {
                self.ranges.insert(range.end, (end, old));
            }
        }
        if let Some(state) = state {
            self.ranges.insert(range.start, (range.end, state));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_assigned_before_they_are_validated_and_each_is_once() {
        let mut pages = Pages::default();
        pages.launched(0..0x4000);
        assert_eq!(pages.validate(0x4000..0x6000), Validated::NotAssigned);
        assert!(!pages.assign(0x3000..0x5000), "one of them is the guest's");
        assert!(pages.assign(0x4000..0x8000));
        assert_eq!(pages.validate(0x6000..0x8000), Validated::Now);
        assert!(pages.fresh().is_empty(), "the others are not validated");
        assert_eq!(pages.validate(0x4000..0x6000), Validated::Now);
        assert_eq!(pages.fresh(), vec![0x4000..0x8000; 1]);
        assert!(pages.fresh().is_empty());
        assert_eq!(pages.validate(0x4000..0x6000), Validated::Before);
        assert_eq!(pages.ranges.len(), 1, "{:?}", pages.ranges);
    }

    #[test]
    fn what_lies_between_two_ranges_is_nobodys() {
        let mut pages = Pages::default();
        pages.launched(0..0x1000);
        pages.launched(0x2000..0x3000);
        assert_eq!(pages.validate(0..0x3000), Validated::NotAssigned);
        assert!(pages.assign(0x1000..0x2000));
        assert_eq!(pages.describe(0x1fff), "was not validated");
        assert_eq!(pages.validate(0x1000..0x3000), Validated::Before);
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Ranges of addresses with rights, such as a process's mappings: as few as say the same.

use std::collections::BTreeMap;

use sgx_guest::page::Rights;

/// Ranges by where they begin: where they end, and their rights.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<u64, (u64, Rights)>);

impl Ranges {
    /// Gives addresses these rights, or takes them out.
    pub(crate) fn set(&mut self, start: u64, end: u64, rights: Option<Rights>) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        self.cut(start);
        self.cut(end);
        let within: Vec<u64> = self.0.range(start..end).map(|(at, _)| *at).collect();
        for at in within {
            self.0.remove(&at);
        }
        let Some(rights) = rights else { return };
        if let Some((&before, &(to, same))) = self.0.range(..start).next_back()
            && to == start
            && same == rights
        {
            start = before;
        }
        if let Some(&(to, same)) = self.0.get(&end)
            && same == rights
        {
            self.0.remove(&end);
            end = to;
        }
        self.0.insert(start, (end, rights));
    }

    /// Makes a range that goes on over this address end there, and another begin.
    fn cut(&mut self, at: u64) {
        if let Some((_, range)) = self.0.range_mut(..at).next_back()
            && range.0 > at
        {
            let rest = *range;
            range.0 = at;
            self.0.insert(at, rest);
        }
    }

    /// The rights of an address.
    pub(crate) fn get(&self, address: u64) -> Option<Rights> {
        let (_, &(end, rights)) = self.0.range(..=address).next_back()?;
        (address < end).then_some(rights)
    }

    /// What there is of a range: beginnings, ends, rights.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64, Rights)> {
        let first = self.0.range(..=start).next_back().map_or(start, |(at, _)| *at);
        self.0.range(first..end.max(first)).filter_map(move |(&at, &(to, rights))| {
            let (at, to) = (at.max(start), to.min(end));
            (at < to).then_some((at, to, rights))
        })
    }

    /// Whether a range is all there.
    pub(crate) fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        for (from, to, _) in self.within(start, end) {
            if from != at {
                return false;
            }
            at = to;
        }
        at >= end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_and_joined() {
        let mut ranges = Ranges::default();
        ranges.set(0, 100, Some(Rights::RW));
        ranges.set(20, 40, Some(Rights::RX));
        ranges.set(40, 60, Some(Rights::RX));
        let all: Vec<_> = ranges.within(0, 200).collect();
        let (rw, rx) = (Rights::RW, Rights::RX);
        assert_eq!(all, [(0, 20, rw), (20, 60, rx), (60, 100, rw)]);
        ranges.set(50, 70, None);
        assert_eq!(ranges.get(49), Some(rx));
        assert_eq!(ranges.get(50), None);
        assert_eq!(ranges.get(70), Some(rw));
        assert!(ranges.covers(0, 50));
        assert!(!ranges.covers(0, 51));
        ranges.set(0, 200, Some(rw));
        assert_eq!(ranges.within(10, 20).collect::<Vec<_>>(), [(10, 20, rw)]);
        assert!(ranges.within(200, 300).next().is_none());
    }
}

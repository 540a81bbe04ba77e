// SPDX-License-Identifier: Apache-2.0

//! The map of what the program has asked for: the truth that page tables are made from.

use alloc::collections::BTreeMap;
use core::ops::Range;

use keep_layout::{CHUNK, PAGE};

use crate::space::down;
use crate::{Errno, Object, Prot, Region};

/// The most mappings there can be, Linux's default for `vm.max_map_count`.
pub const MAX_MAPPINGS: usize = 65_530;

/// Addresses in a row with the same rights and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) end: u64,
    pub(crate) prot: Prot,
    pub(crate) kind: Kind,
}

/// What is behind an area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Mapped by the image builder.
    Image,
    /// Zeros.
    Anonymous,
    /// An object; `shift` (modulo 2^64) makes an address the physical address of its content.
    Object {
        object: Object,
        shift: u64,
        /// Frames of the object are mapped themselves until they are written to. Otherwise each
        /// page is copied when it is first touched: cheaper for what will be written anyway.
        shared: bool,
    },
}

impl Area {
    /// Whether each page has a frame of its own from the first touch.
    pub(crate) fn is_private(&self) -> bool {
        matches!(self.kind, Kind::Anonymous | Kind::Object { shared: false, .. })
    }

    fn charge(&self, start: u64) -> u64 {
        let charged = self.kind == Kind::Anonymous && self.prot.write();
        if charged { self.end - start } else { 0 }
    }

    fn continues(&self, before: &Self) -> bool {
        self.prot == before.prot && self.kind == before.kind && self.kind != Kind::Image
    }
}

/// All areas by their first address.
#[derive(Debug, Default)]
pub(crate) struct Areas {
    map: BTreeMap<u64, Area>,
    /// Bytes of anonymous memory that may be written to.
    committed: u64,
}

impl Areas {
    /// What the image builder has mapped.
    pub(crate) fn of_image(regions: &[Region]) -> Self {
        let mut areas = Self::default();
        for region in regions {
            let range = down(region.range.start, PAGE)..down(region.range.end, PAGE);
            if range.start < range.end && areas.within(range.clone()).next().is_none() {
                let area = Area { end: range.end, prot: region.prot, kind: Kind::Image };
                areas.insert(range.start, area);
            }
        }
        areas
    }

    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether a call can split the two areas at its ends and add one.
    pub(crate) fn room(&self) -> Result<(), Errno> {
        if self.map.len() + 3 > MAX_MAPPINGS { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// The area that an address lies in.
    pub(crate) fn at(&self, address: u64) -> Option<(u64, Area)> {
        let (&start, &area) = self.map.range(..=address).next_back()?;
        (address < area.end).then_some((start, area))
    }

    /// Areas that overlap a range, in order, cut to it.
    pub(crate) fn within(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Area)> + '_ {
        let first = self.at(range.start).map_or(range.start, |(start, _)| start);
        self.map.range(first..range.end.max(first)).map(move |(&start, &area)| {
            (start.max(range.start), Area { end: area.end.min(range.end), ..area })
        })
    }

    /// Whether areas cover a range without holes.
    pub(crate) fn cover(&self, range: &Range<u64>) -> bool {
        let mut covered = range.start;
        for (start, area) in self.within(range.clone()) {
            if start > covered {
                return false;
            }
            covered = area.end;
        }
        covered >= range.end
    }

    /// Bytes in a range that count as committed.
    pub(crate) fn charge(&self, range: Range<u64>) -> u64 {
        self.within(range).map(|(start, area)| area.charge(start)).sum()
    }

    /// Adds an area where there is none.
    pub(crate) fn insert(&mut self, start: u64, area: Area) {
        self.committed += area.charge(start);
        self.map.insert(start, area);
        self.join(start..area.end);
    }

    /// Removes what is in a range.
    pub(crate) fn remove(&mut self, range: Range<u64>) {
        self.cut(range.start);
        self.cut(range.end);
        while let Some((&start, area)) = self.map.range(range.clone()).next() {
            self.committed -= area.charge(start);
            self.map.remove(&start);
        }
    }

    /// Changes the rights of what is in a range.
    pub(crate) fn protect(&mut self, range: Range<u64>, prot: Prot) {
        self.cut(range.start);
        self.cut(range.end);
        for (&start, area) in self.map.range_mut(range.clone()) {
            self.committed -= area.charge(start);
            area.prot = prot;
            self.committed += area.charge(start);
        }
        self.join(range);
    }

    /// The first place in a zone, from an address on, for `len` bytes with a gap on both sides,
    /// at an address that is `skew` more than a multiple of `align`.
    pub(crate) fn find(&self, zone: Range<u64>, len: u64, fit: Fit) -> Option<u64> {
        let mut place = fit.up(zone.start)?;
        for (start, area) in self.within(zone.start.saturating_sub(fit.gap)..zone.end) {
            if place.checked_add(len)?.checked_add(fit.gap)? <= start {
                break;
            }
            place = place.max(fit.up(area.end.checked_add(fit.gap)?)?);
        }
        (place.checked_add(len)? <= zone.end).then_some(place)
    }

    fn cut(&mut self, at: u64) {
        if let Some((start, area)) = self.at(at)
            && start < at
        {
            self.map.insert(start, Area { end: at, ..area });
            self.map.insert(at, area);
        }
    }

    /// Joins areas in and next to a range that continue each other.
    fn join(&mut self, range: Range<u64>) {
        let before = range.start.checked_sub(1).and_then(|last| self.at(last));
        let mut start = before.map_or(range.start, |(start, _)| start);
        while let Some(&area) = self.map.get(&start) {
            match self.map.get(&area.end) {
                Some(&next) if next.continues(&area) => {
                    self.map.remove(&area.end);
                    self.map.insert(start, next);
                }
                _ if area.end >= range.end => break,
                _ => {
                    let Some((&next, _)) = self.map.range(area.end..).next() else { break };
                    start = next;
                }
            }
        }
    }
}

/// How a mapping is aligned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fit {
    align: u64,
    skew: u64,
    gap: u64,
}

impl Fit {
    /// Small mappings that are not plain memory share tables.
    pub(crate) const PAGES: Self = Self { align: PAGE, skew: 0, gap: PAGE };

    /// Whole chunks; the start lies `skew` bytes in its chunk.
    pub(crate) fn chunks(skew: u64) -> Self {
        Self { align: CHUNK, skew: skew % CHUNK, gap: CHUNK }
    }

    /// The first fitting address that is not below `address`.
    fn up(self, address: u64) -> Option<u64> {
        let down = address & !(self.align - 1);
        let place = down.checked_add(self.skew)?;
        if place >= address { Some(place) } else { place.checked_add(self.align) }
    }
}

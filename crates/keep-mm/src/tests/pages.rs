// SPDX-License-Identifier: Apache-2.0

//! What Linux would do, page by page, and random calls and accesses to hold against it.
//!
//! This is what is the same for virtual machines ([`super::model`]) and enclaves ([`super::accepted`]).

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::vec::Vec;

use keep_layout::{CHUNK, PAGE};
use proptest::prelude::*;
use proptest::sample::Index;

use super::sim::{MIB, MMAP, object_byte};
use crate::{Access, Backing, Errno, Object, Place, Prot};

pub(super) const RW: Prot = Prot::READ_WRITE;
/// Bytes of the mmap area.
pub(super) const ZONE: u64 = 512 * MIB;

/// A range: in or around something that is mapped.
#[derive(Clone, Debug)]
pub(super) struct Span {
    at: Index,
    align: u64,
    shift: i64,
    pages: u64,
}

/// An object among those there are, and the first page of it.
pub(super) type Shows = Option<(Index, u64)>;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Mmap {
        place: u8,
        span: Span,
        len: u64,
        prot: Prot,
        object: Shows,
    },
    Munmap(Span),
    Mprotect(Span, Prot),
    DontNeed(Span),
    Touch(Span, Access, u8),
    Populate(Span, bool, u8),
    Brk(u64),
    NewObject(u64, bool),
    Lock,
    /// From now on the host has so many pages.
    Leave(u64),
}

/// How far random numbers go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Bytes of the break.
    pub(super) brk: u64,
    /// Bytes of an object.
    pub(super) object: u64,
    /// Pages into an object.
    pub(super) offset: u64,
}

fn span() -> impl Strategy<Value = Span> {
    let align = prop_oneof![3 => Just(PAGE), 2 => Just(CHUNK)];
    let shift = prop_oneof![4 => Just(0i64), 2 => -3i64..40, 1 => 500i64..1100];
    let pages = prop_oneof![3 => 1u64..20, 2 => 20u64..700, 2 => Just(512u64), 1 => 700u64..2100];
    (any::<Index>(), align, shift, pages).prop_map(|(at, align, shift, pages)| Span {
        at,
        align,
        shift,
        pages,
    })
}

fn prot() -> impl Strategy<Value = Prot> {
    prop_oneof![
        2 => Just(Prot::NONE),
        2 => Just(Prot::READ),
        6 => Just(RW),
        2 => Just(Prot::READ_EXEC),
    ]
}

fn len() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1u64..16 * PAGE,
        4 => 16 * PAGE..2 * MIB,
        2 => (1u64..5).prop_map(|chunks| chunks * CHUNK),
        2 => 2 * MIB..9 * MIB,
    ]
}

fn access() -> impl Strategy<Value = Access> {
    prop_oneof![
        4 => Just(Access::Read),
        6 => Just(Access::Write),
        2 => Just(Access::Execute),
    ]
}

pub(super) fn step(sizes: Sizes) -> impl Strategy<Value = Step> {
    let object = proptest::option::weighted(0.35, (any::<Index>(), 0..sizes.offset));
    prop_oneof![
        12 => (0u8..6, span(), len(), prot(), object)
            .prop_map(|(place, span, len, prot, object)| {
                Step::Mmap { place, span, len, prot, object }
            }),
        5 => span().prop_map(Step::Munmap),
        10 => (span(), prot()).prop_map(|(span, prot)| Step::Mprotect(span, prot)),
        3 => span().prop_map(Step::DontNeed),
        25 => (span(), access(), any::<u8>())
            .prop_map(|(span, access, value)| Step::Touch(span, access, value)),
        4 => (span(), any::<bool>(), any::<u8>())
            .prop_map(|(span, write, value)| Step::Populate(span, write, value)),
        2 => (0..sizes.brk).prop_map(Step::Brk),
        2 => (1..sizes.object, prop::bool::weighted(0.8))
            .prop_map(|(len, executable)| Step::NewObject(len, executable)),
        1 => prop::bool::weighted(0.1).prop_map(|lock| if lock { Step::Lock } else { Step::Brk(0) }),
        1 => (0u64..3000).prop_map(Step::Leave),
    ]
}

/// What a page shows before it is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Zero,
    Object { object: Object, offset: u64, shared: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Page {
    pub(super) prot: Prot,
    pub(super) origin: Origin,
    /// Was written to, or has memory of its own by a call that would have.
    pub(super) written: bool,
    pub(super) bytes: HashMap<u64, u8>,
}

impl Page {
    pub(super) fn new(prot: Prot, origin: Origin) -> Self {
        Self { prot, origin, written: false, bytes: HashMap::new() }
    }

    pub(super) fn byte(&self, offset: u64) -> u8 {
        self.bytes.get(&offset).copied().unwrap_or(match self.origin {
            Origin::Object { object, offset: start, .. } if start + offset < object.len => {
                object_byte(object.phys, start + offset)
            }
            _ => 0,
        })
    }

    pub(super) fn store(&mut self, offset: u64, value: u8) {
        self.bytes.insert(offset, value);
        self.written = true;
    }

    /// Whether it shows an object's own bytes until it is written to.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.origin, Origin::Object { shared: true, .. })
    }

    fn charge(&self) -> u64 {
        if self.origin == Origin::Zero && self.prot == RW { PAGE } else { 0 }
    }
}

/// A call of `mmap`, and what it is to show.
pub(super) struct Call {
    pub(super) place: Place,
    /// Bytes of whole pages.
    pub(super) len: u64,
    pub(super) prot: Prot,
    pub(super) shows: Option<(Object, u64)>,
}

impl Call {
    pub(super) fn is_fixed(&self) -> bool {
        matches!(self.place, Place::Fixed(_) | Place::FixedNoReplace(_))
    }

    pub(super) fn backing(&self) -> Backing {
        let object = |(object, offset)| Backing::Object { object, offset };
        self.shows.map_or(Backing::Anonymous, object)
    }
}

/// All pages.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) map: BTreeMap<u64, Page>,
    pub(super) objects: Vec<Object>,
    pub(super) locked: bool,
}

impl Pages {
    pub(super) fn range(&self, span: &Span) -> Range<u64> {
        let known: Vec<u64> = self.map.range(MMAP..).map(|(&page, _)| page).collect();
        let at = if known.is_empty() { MMAP } else { known[span.at.index(known.len())] };
        let start = (at & !(span.align - 1)).wrapping_add_signed(span.shift * PAGE as i64);
        let start = start.clamp(MMAP, MMAP + ZONE - PAGE);
        start..(start + span.pages * PAGE).min(MMAP + ZONE)
    }

    pub(super) fn are_mapped(&self, range: &Range<u64>) -> bool {
        self.map.range(range.clone()).count() as u64 == (range.end - range.start) / PAGE
    }

    pub(super) fn charge(&self, range: Range<u64>) -> u64 {
        self.map.range(range).map(|(_, page)| page.charge()).sum()
    }

    pub(super) fn call(&self, place: u8, at: u64, len: u64, prot: Prot, object: &Shows) -> Call {
        let place = match place {
            0..3 => Place::Anywhere,
            3 => Place::Hint(at),
            4 => Place::Fixed(at),
            _ => Place::FixedNoReplace(at),
        };
        let object = object.as_ref().filter(|_| !self.objects.is_empty());
        let shows = object.map(|(index, page)| (*index.get(&self.objects), page * PAGE));
        Call { place, len: len.next_multiple_of(PAGE), prot, shows }
    }

    /// What `mmap` says if so many bytes more fit as `fits` tells.
    pub(super) fn mmap(&self, call: &Call, fits: impl Fn(u64) -> bool) -> Result<(), Errno> {
        let target = match call.place {
            Place::Fixed(at) | Place::FixedNoReplace(at) => Some(at..at + call.len),
            _ => None,
        };
        let in_the_way = target.clone().map_or(0, |range| self.map.range(range).count());
        let replaced = target.clone().map_or(0, |range| self.charge(range));
        let more = call.len.saturating_sub(replaced);
        match call.shows {
            _ if target.is_some_and(|range| range.end > MMAP + ZONE) => Err(Errno::ENOMEM),
            _ if matches!(call.place, Place::FixedNoReplace(_)) && in_the_way > 0 => {
                Err(Errno::EEXIST)
            }
            Some((object, offset)) if offset + call.len > object.len.next_multiple_of(CHUNK) => {
                Err(Errno::EINVAL)
            }
            Some((object, _)) if call.prot.exec() && (!object.executable || self.locked) => {
                Err(Errno::EACCES)
            }
            None if call.prot.exec() => Err(Errno::EACCES),
            None if call.prot == RW && !fits(more) => Err(Errno::ENOMEM),
            _ => Ok(()),
        }
    }

    /// Notes what was mapped.
    pub(super) fn mapped(&mut self, call: &Call, start: u64) {
        let range = start..start + call.len;
        assert!(start.is_multiple_of(PAGE) && MMAP <= start && range.end <= MMAP + ZONE);
        if let Place::Fixed(at) | Place::FixedNoReplace(at) = call.place {
            assert_eq!(start, at);
        }
        if matches!(call.place, Place::Fixed(_)) {
            self.unmapped(&range);
        }
        for page in range.step_by(PAGE as usize) {
            let origin = call.shows.map_or(Origin::Zero, |(object, offset)| Origin::Object {
                object,
                offset: offset + (page - start),
                shared: call.prot != RW || (object.executable && !call.is_fixed()),
            });
            let old = self.map.insert(page, Page::new(call.prot, origin));
            assert!(old.is_none(), "{page:#x} was in use");
        }
    }

    pub(super) fn unmapped(&mut self, range: &Range<u64>) {
        self.map.retain(|page, _| !range.contains(page));
    }

    /// What `mprotect` says.
    pub(super) fn mprotect(
        &self,
        range: &Range<u64>,
        prot: Prot,
        fits: impl Fn(u64) -> bool,
    ) -> Result<(), Errno> {
        let pages = || self.map.range(range.clone()).map(|(_, page)| page);
        let may_run = |page: &Page| match page.origin {
            Origin::Object { object, shared: true, .. } => {
                object.executable && !page.written && (page.prot.exec() || !self.locked)
            }
            _ => false,
        };
        let more = pages().filter(|page| page.origin == Origin::Zero && page.prot != RW).count();
        if !self.are_mapped(range) {
            Err(Errno::ENOMEM)
        } else if pages().all(|page| page.prot == prot) {
            Ok(())
        } else if prot.exec() && !pages().all(may_run) {
            Err(Errno::EACCES)
        } else if prot == RW && !fits(more as u64 * PAGE) {
            Err(Errno::ENOMEM)
        } else {
            Ok(())
        }
    }

    pub(super) fn protected(&mut self, range: &Range<u64>, prot: Prot) {
        self.map.range_mut(range.clone()).for_each(|(_, page)| page.prot = prot);
    }

    /// What `MADV_DONTNEED` leaves.
    pub(super) fn reset(&mut self, range: &Range<u64>) {
        for (_, page) in self.map.range_mut(range.clone()) {
            page.bytes.clear();
            page.written = false;
        }
    }

    /// Whether all of a range may be used so.
    pub(super) fn allow(&self, range: &Range<u64>, access: Access) -> bool {
        let mut pages = self.map.range(range.clone());
        self.are_mapped(range) && pages.all(|(_, page)| page.prot.allows(access))
    }

    /// Every byte that was written, and first and last of each page that can be read.
    pub(super) fn bytes(&self) -> Vec<(u64, u8)> {
        let readable = self.map.iter().filter(|(_, page)| page.prot != Prot::NONE);
        readable
            .flat_map(|(&at, page)| {
                let written = page.bytes.keys().copied().chain([0, PAGE - 1]);
                written.map(move |offset| (at + offset, page.byte(offset)))
            })
            .collect()
    }
}

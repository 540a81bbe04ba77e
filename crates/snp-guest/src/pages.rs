// SPDX-License-Identifier: Apache-2.0

//! Memory that becomes a Keep's own: asked for by a list of page state changes, then validated.
//!
//! The hypervisor chooses which memory stands behind an address. What keeps it from swapping pages
//! is that the guest validates each of them once: a page that comes in the place of another was
//! not validated, and the processor faults (APM, "SEV-SNP", page validation). That only holds if nothing
//! is ever validated twice. A Keep takes memory upwards and never gives any back, so [`Pages`] has to
//! know one address: all below it is validated, nothing from there on. What does not begin there
//! is refused before anything is done, and the instruction's word that nothing changed is taken for
//! the attack that it is.
//!
//! A list is a header of eight bytes and up to 253 entries of eight; it fills the buffer of a GHCB
//! (GHCB specification, "SNP page state change"). The hypervisor advances the header's first
//! field over the entries and may come back before it is through; then the event is repeated. What
//! it can say in between is checked: it must not go back, not move the end, not set what is
//! reserved, and it has to get somewhere. That it says it changed a page proves nothing: the page is
//! used after `PVALIDATE`, which the processor checks.

use core::ops::Range;

use sallyport::Window;

use crate::ghcb::{BUFFER, BUFFER_END, Ghcb, GhcbError};
use crate::{LARGE, PAGE};

/// Entries of a list.
pub(crate) const ENTRIES: usize = 253;
const _: () = assert!(BUFFER + 8 * (1 + ENTRIES) == BUFFER_END);
/// The operation that makes a page the guest's.
pub(crate) const PRIVATE: u64 = 1;

/// Exits in a row after which the hypervisor has to have finished an entry. It changes all pages of
/// a large one in one go or in a few.
const PATIENCE: usize = 512;

reasons! {
    /// Why memory did not become the Keep's. Some of it may have.
    PagesError:
    /// The range is empty, not of whole pages, above all addresses, or does not begin where
    /// validated memory ends; nothing was done.
    Range(start: u64, end: u64) = "no memory to come next: {start:#x} to {end:#x}";
    /// The event failed.
    Ghcb(error: GhcbError) = "{error}";
    /// The hypervisor changed the list's header to this.
    Header(word: u64) = "the hypervisor broke a list of pages: {word:#x}";
    /// The hypervisor comes back again and again without having done anything.
    Stuck = "the hypervisor does not get on with a list of pages";
    /// `PVALIDATE` says that the page was so already. It was not: somebody moved pages.
    Unchanged(at: u64) = "the hypervisor moved memory: the page at {at:#x} did not change";
    /// `PVALIDATE` failed; the address and its code.
    Refused(at: u64, code: u32) = "PVALIDATE failed with {code} at {at:#x}";
}

/// What `PVALIDATE` says (APM volume 3, `PVALIDATE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pvalidate {
    /// `EAX`: 0 success, 1 bad input, 6 the hypervisor has the page in another size.
    pub code: u32,
    /// The carry flag: the page was in that state already.
    pub unchanged: bool,
}

impl Pvalidate {
    /// The page's state changed.
    pub const DONE: Self = Self { code: 0, unchanged: false };
    /// The code for a page of another size.
    pub const SIZE_MISMATCH: u32 = 6;
}

/// How far a Keep's memory is validated.
#[derive(Debug)]
pub struct Pages {
    end: u64,
}

impl Pages {
    /// The launch validated all memory that a Keep has below `end`, a physical address, and nothing
    /// from there on.
    #[must_use]
    pub fn new(end: u64) -> Self {
        Self { end }
    }

    #[cfg(feature = "host")]
    /// Where validated memory ends.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Makes the next memory, a range of physical addresses, the Keep's own. Its content is anything
    /// until the Keep has written it.
    ///
    /// `exit` as in [`Ghcb::out`]; `pvalidate` executes the instruction for a page at an address, a
    /// large one if so told.
    ///
    /// # Errors
    ///
    /// [`PagesError`]. Pages before the one that failed are validated, and stay so.
    pub fn acquire<W: Window>(
        &mut self,
        range: Range<u64>,
        ghcb: &Ghcb<W>,
        exit: impl FnMut(),
        mut pvalidate: impl FnMut(u64, bool) -> Pvalidate,
    ) -> Result<(), PagesError> {
        let Range { start, end } = range;
        let whole = (start | end).is_multiple_of(PAGE as u64);
        if start != self.end || start >= end || !whole || end > 1 << 52 {
            return Err(PagesError::Range(start, end));
        }
        assign(range, ghcb, exit)?;
        // Up to here only small pages: the hypervisor has this large page in pieces.
        let mut small_until = 0;
        while self.end < end {
            let at = self.end;
            let large = at >= small_until && has_large(at, end);
            match pvalidate(at, large) {
                Pvalidate::DONE => self.end += size(large),
                Pvalidate { code: Pvalidate::SIZE_MISMATCH, unchanged: false } if large => {
                    small_until = at + LARGE;
                }
                Pvalidate { unchanged: true, .. } => return Err(PagesError::Unchanged(at)),
                Pvalidate { code, .. } => return Err(PagesError::Refused(at, code)),
            }
        }
        Ok(())
    }
}

/// Whether a range begins with a large page.
fn has_large(start: u64, end: u64) -> bool {
    start.is_multiple_of(LARGE) && end - start >= LARGE
}

/// Bytes of a page.
pub(crate) fn size(large: bool) -> u64 {
    if large { LARGE } else { PAGE as u64 }
}

/// Has the hypervisor make pages the guest's, by as many events as it takes.
fn assign<W: Window>(
    range: Range<u64>,
    ghcb: &Ghcb<W>,
    mut exit: impl FnMut(),
) -> Result<(), PagesError> {
    let mut at = range.start;
    while at < range.end {
        let mut count = 0;
        while count < ENTRIES && at < range.end {
            let large = has_large(at, range.end);
            // Progress in bits 0 to 11, page number, operation from bit 52, size in bit 56.
            let entry = u64::from(large) << 56 | PRIVATE << 52 | at;
            count += 1;
            ghcb.block.store(ghcb.at + BUFFER + 8 * count, entry);
            at += size(large);
        }
        change(count as u16, ghcb, &mut exit)?;
    }
    Ok(())
}

/// Gets the hypervisor through the list in the buffer, which has `count` entries.
fn change<W: Window>(count: u16, ghcb: &Ghcb<W>, mut exit: impl FnMut()) -> Result<(), PagesError> {
    let header = |current: u16| u64::from(count - 1) << 16 | u64::from(current);
    let (mut done, mut patience) = (0, PATIENCE);
    while done < count {
        // The hypervisor has not the last word about where it goes on.
        ghcb.block.store(ghcb.at + BUFFER, header(done));
        ghcb.change_pages(&mut exit).map_err(PagesError::Ghcb)?;
        let word = ghcb.block.load(ghcb.at + BUFFER);
        let current = word as u16;
        if word != header(current) || current < done || current > count {
            return Err(PagesError::Header(word));
        }
        patience = if current == done { patience - 1 } else { PATIENCE };
        if patience == 0 {
            return Err(PagesError::Stuck);
        }
        done = current;
    }
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0

//! Lists of page state changes.
//!
//! A list is a header of eight bytes and up to 253 entries of eight; it fills the buffer of a GHCB
//! (GHCB specification, "SNP page state change"). The hypervisor advances the header's first
//! field over the entries and may come back before it is through; then the event is repeated. What
//! it can say in between is checked: it must not go back, not move the end, not set what is
//! reserved, and it has to get somewhere.
//!
//! That the hypervisor says it changed a page proves nothing. A page that becomes private is only
//! used after `PVALIDATE`, which the processor checks: see [`crate::pages`].

use core::fmt;
use core::ops::Range;

use sallyport::Window;

use crate::ghcb::{BUFFER, ChangePages, Ghcb, GhcbError};
use crate::msr::Owner;
use crate::{LARGE, PAGE};

/// Entries of a list.
pub const ENTRIES: usize = 253;

/// Exits in a row after which the hypervisor has to have finished an entry. It changes all pages of
/// a large one in one go or in a few.
const PATIENCE: usize = 512;

/// Why pages were not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListError {
    /// The event failed.
    Ghcb(GhcbError),
    /// The range is empty, not of whole pages or above all addresses.
    Range,
    /// The hypervisor changed the list's header to this.
    Header(u64),
    /// The hypervisor comes back again and again without having done anything.
    Stuck,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ghcb(error) => error.fmt(f),
            Self::Range => f.write_str("no range of pages"),
            Self::Header(word) => write!(f, "the hypervisor broke a list of pages: {word:#x}"),
            Self::Stuck => f.write_str("the hypervisor does not get on with a list of pages"),
        }
    }
}

impl core::error::Error for ListError {}

impl From<GhcbError> for ListError {
    fn from(error: GhcbError) -> Self {
        Self::Ghcb(error)
    }
}

/// A page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Physical address.
    pub address: u64,
    /// Whether it is a large page.
    pub large: bool,
    /// Whose it shall be.
    pub to: Owner,
}

impl Entry {
    /// The entry's word: its own progress in bits 0 to 11, page number, operation from bit 52, size
    /// in bit 56.
    #[must_use]
    pub fn word(self) -> u64 {
        u64::from(self.large) << 56
            | self.to.operation() << 52
            | self.address & 0x000f_ffff_ffff_f000
    }

    /// Bytes of the page.
    #[must_use]
    pub fn size(self) -> u64 {
        if self.large { LARGE } else { PAGE as u64 }
    }
}

/// The pages of a range, large ones where they fit.
#[derive(Debug, Clone)]
pub struct Entries {
    range: Range<u64>,
    to: Owner,
}

impl Entries {
    /// Of a range of physical addresses.
    ///
    /// # Errors
    ///
    /// [`ListError::Range`].
    pub fn new(range: Range<u64>, to: Owner) -> Result<Self, ListError> {
        let page = PAGE as u64;
        let whole = range.start.is_multiple_of(page) && range.end.is_multiple_of(page);
        if !whole || range.is_empty() || range.end > 1 << 52 {
            return Err(ListError::Range);
        }
        Ok(Self { range, to })
    }
}

impl Iterator for Entries {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let Range { start, end } = self.range;
        if start >= end {
            return None;
        }
        let large = start.is_multiple_of(LARGE) && end - start >= LARGE;
        let entry = Entry { address: start, large, to: self.to };
        self.range.start += entry.size();
        Some(entry)
    }
}

impl<W: Window> Ghcb<W> {
    /// Changes pages, by as many events as it takes; `exit` as in [`Ghcb::call`].
    ///
    /// # Errors
    ///
    /// [`ListError`]; nobody knows then which pages were changed.
    pub fn change_pages(
        &self,
        mut entries: Entries,
        mut exit: impl FnMut(),
    ) -> Result<(), ListError> {
        loop {
            let mut count = 0;
            while count < ENTRIES
                && let Some(entry) = entries.next()
            {
                count += 1;
                self.page().store(BUFFER.start + 8 * count, entry.word());
            }
            let Some(last) = count.checked_sub(1) else { return Ok(()) };
            self.change_list(last as u16, &mut exit)?;
        }
    }

    /// Gets the hypervisor through the list in the buffer.
    fn change_list(&self, last: u16, exit: &mut impl FnMut()) -> Result<(), ListError> {
        let header = |current: u16| u64::from(last) << 16 | u64::from(current);
        let list = self.address() + BUFFER.start as u64;
        let event = ChangePages { list, length: 8 * (u64::from(last) + 2) };
        let mut done = 0;
        let mut patience = PATIENCE;
        while done <= last {
            // The hypervisor has not the last word about where it goes on.
            self.page().store(BUFFER.start, header(done));
            self.call(&event, &mut *exit)?;
            let word = self.page().load(BUFFER.start);
            let current = word as u16;
            if word != header(current) || current < done || current > last + 1 {
                return Err(ListError::Header(word));
            }
            patience = if current == done { patience - 1 } else { PATIENCE };
            if patience == 0 {
                return Err(ListError::Stuck);
            }
            done = current;
        }
        Ok(())
    }
}

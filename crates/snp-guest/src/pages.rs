// SPDX-License-Identifier: Apache-2.0

//! Which pages are private, validated or shared.
//!
//! The hypervisor chooses which memory stands behind an address. What keeps it from swapping pages
//! is that the guest validates each of them once: a page that comes in the place of another was
//! not validated, and the processor faults (APM, "SEV-SNP", page validation). That only holds if nothing is
//! ever validated twice, so this module knows the state of all memory, refuses a second validation
//! before the instruction, and takes the instruction's word that nothing changed for the attack
//! that it is.
//!
//! ```text
//!            assign (page state change)          validate (PVALIDATE)
//!   Shared ------------------------> Assigned ------------------------> Validated
//!          <------------------------          <------------------------
//!            share (page state change)           rescind (PVALIDATE)
//! ```
//!
//! Addresses are physical; the set is a short list of spans in a fixed place, for a Keep gets and
//! gives memory in large pieces.

use core::fmt;
use core::ops::Range;

use crate::{LARGE, PAGE};

/// The state of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The hypervisor's: everything may be there, at any time.
    Shared,
    /// The guest's, but not yet validated: it must not be touched.
    Assigned,
    /// The guest's alone.
    Validated,
}

/// Why a state was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PagesError {
    /// The range is empty or not of whole pages.
    Range,
    /// Not all of the range is in the state that the step starts from.
    State {
        /// The first address that is not.
        address: u64,
        /// Its state; none if nothing is known of it.
        is: Option<State>,
    },
    /// There are more spans than there is room for.
    Full,
    /// `PVALIDATE` says that the page was so already. It was not: somebody moved pages.
    Unchanged(u64),
    /// `PVALIDATE` failed; the address and its code.
    Refused(u64, u32),
}

impl fmt::Display for PagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range => f.write_str("no range of pages"),
            Self::State { address, is: Some(is) } => {
                write!(f, "the page at {address:#x} is {is:?}")
            }
            Self::State { address, is: None } => write!(f, "no page is known at {address:#x}"),
            Self::Full => f.write_str("memory is in too many pieces"),
            Self::Unchanged(address) => {
                write!(f, "the hypervisor moved memory: the page at {address:#x} did not change")
            }
            Self::Refused(address, code) => {
                write!(f, "PVALIDATE failed with {code} at {address:#x}")
            }
        }
    }
}

impl core::error::Error for PagesError {}

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

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
    state: State,
}

/// The state of all memory, in up to `N` spans.
#[derive(Debug)]
pub struct Pages<const N: usize> {
    spans: [Span; N],
    used: usize,
}

impl<const N: usize> Default for Pages<N> {
    fn default() -> Self {
        Self { spans: [Span { start: 0, end: 0, state: State::Shared }; N], used: 0 }
    }
}

impl<const N: usize> Pages<N> {
    /// Nothing is known of any memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what a range is at the start. It must not be known yet: memory does not come twice.
    ///
    /// # Errors
    ///
    /// [`PagesError::Range`], [`PagesError::State`], [`PagesError::Full`].
    pub fn declare(&mut self, range: Range<u64>, state: State) -> Result<(), PagesError> {
        check_range(&range)?;
        let overlap = self.spans().find(|span| span.start < range.end && range.start < span.end);
        if let Some(span) = overlap {
            let address = span.start.max(range.start);
            return Err(PagesError::State { address, is: Some(span.state) });
        }
        self.set(range, state)
    }

    /// The state of the page at an address.
    #[must_use]
    pub fn state(&self, address: u64) -> Option<State> {
        self.spans().find(|span| (span.start..span.end).contains(&address)).map(|span| span.state)
    }

    #[cfg(feature = "host")]
    /// All spans, by ascending address.
    pub fn iter(&self) -> impl Iterator<Item = (Range<u64>, State)> {
        self.spans().map(|span| (span.start..span.end, span.state))
    }

    /// Checks that all of a range is in one state.
    ///
    /// # Errors
    ///
    /// [`PagesError::Range`], [`PagesError::State`].
    pub fn check(&self, range: &Range<u64>, state: State) -> Result<(), PagesError> {
        check_range(range)?;
        let mut at = range.start;
        for span in self.spans() {
            if at < range.end && (span.start..span.end).contains(&at) {
                if span.state != state {
                    return Err(PagesError::State { address: at, is: Some(span.state) });
                }
                at = span.end;
            }
        }
        if at < range.end { Err(PagesError::State { address: at, is: None }) } else { Ok(()) }
    }

    /// Shared pages become the guest's: `change` has the hypervisor change them.
    ///
    /// # Errors
    ///
    /// [`PagesError`] before anything is done, or whatever `change` says.
    pub fn assign<E: From<PagesError>>(
        &mut self,
        range: Range<u64>,
        change: impl FnOnce(Range<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.ready(&range, State::Shared)?;
        change(range.clone())?;
        Ok(self.set(range, State::Assigned)?)
    }

    #[cfg(feature = "host")]
    /// The guest's pages become shared: `change` has the hypervisor change them. They have to be
    /// rescinded before.
    ///
    /// # Errors
    ///
    /// As [`Pages::assign`].
    pub fn share<E: From<PagesError>>(
        &mut self,
        range: Range<u64>,
        change: impl FnOnce(Range<u64>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.ready(&range, State::Assigned)?;
        change(range.clone())?;
        Ok(self.set(range, State::Shared)?)
    }

    /// Validates pages; `pvalidate` executes the instruction for a page at an address, a large one
    /// if so told.
    ///
    /// # Errors
    ///
    /// [`PagesError`]. Pages before the one that failed are validated.
    pub fn validate(
        &mut self,
        range: Range<u64>,
        pvalidate: impl FnMut(u64, bool) -> Pvalidate,
    ) -> Result<(), PagesError> {
        self.step(range, State::Assigned, State::Validated, pvalidate)
    }

    #[cfg(feature = "host")]
    /// Takes validation back, before pages are shared.
    ///
    /// # Errors
    ///
    /// As [`Pages::validate`].
    pub fn rescind(
        &mut self,
        range: Range<u64>,
        pvalidate: impl FnMut(u64, bool) -> Pvalidate,
    ) -> Result<(), PagesError> {
        self.step(range, State::Validated, State::Assigned, pvalidate)
    }

    fn step(
        &mut self,
        range: Range<u64>,
        from: State,
        to: State,
        mut pvalidate: impl FnMut(u64, bool) -> Pvalidate,
    ) -> Result<(), PagesError> {
        self.ready(&range, from)?;
        let mut at = range.start;
        // Up to here only small pages: the hypervisor has this large page in pieces.
        let mut small_until = 0;
        let mut result = Ok(());
        while at < range.end {
            let large = at.is_multiple_of(LARGE) && range.end - at >= LARGE && at >= small_until;
            match pvalidate(at, large) {
                Pvalidate::DONE => at += if large { LARGE } else { PAGE as u64 },
                Pvalidate { code: Pvalidate::SIZE_MISMATCH, unchanged: false } if large => {
                    small_until = at + LARGE;
                }
                Pvalidate { unchanged: true, .. } => {
                    result = Err(PagesError::Unchanged(at));
                    break;
                }
                Pvalidate { code, .. } => {
                    result = Err(PagesError::Refused(at, code));
                    break;
                }
            }
        }
        if at > range.start {
            self.set(range.start..at, to)?;
        }
        result
    }

    /// Checks a step before it is done, so that it cannot fail for our reasons when it is.
    fn ready(&self, range: &Range<u64>, from: State) -> Result<(), PagesError> {
        self.check(range, from)?;
        // A step splits a span in up to three.
        if self.used.saturating_add(2) > N { Err(PagesError::Full) } else { Ok(()) }
    }

    fn spans(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().take(self.used)
    }

    /// Puts a span in, over what was there.
    fn set(&mut self, range: Range<u64>, state: State) -> Result<(), PagesError> {
        let mut next = Self::new();
        let mut new = Some(Span { start: range.start, end: range.end, state });
        for span in self.spans() {
            next.push(Span { end: span.end.min(range.start), ..*span })?;
            if span.end > range.start
                && let Some(new) = new.take()
            {
                next.push(new)?;
            }
            next.push(Span { start: span.start.max(range.end), ..*span })?;
        }
        if let Some(new) = new {
            next.push(new)?;
        }
        *self = next;
        Ok(())
    }

    /// Appends a span, or joins it to the last one.
    fn push(&mut self, span: Span) -> Result<(), PagesError> {
        if span.start >= span.end {
            return Ok(());
        }
        if let Some(last) = self.used.checked_sub(1).and_then(|last| self.spans.get_mut(last))
            && last.end == span.start
            && last.state == span.state
        {
            last.end = span.end;
            return Ok(());
        }
        *self.spans.get_mut(self.used).ok_or(PagesError::Full)? = span;
        self.used += 1;
        Ok(())
    }
}

fn check_range(range: &Range<u64>) -> Result<(), PagesError> {
    let page = PAGE as u64;
    let whole = range.start.is_multiple_of(page) && range.end.is_multiple_of(page);
    if whole && !range.is_empty() { Ok(()) } else { Err(PagesError::Range) }
}

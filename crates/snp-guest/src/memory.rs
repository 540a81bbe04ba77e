// SPDX-License-Identifier: Apache-2.0

//! Memory that changes hands: the page state change and `PVALIDATE`, in the order in which they are
//! safe.
//!
//! A page that becomes private is asked for first and validated then. A page that becomes shared is
//! rescinded first: a page that the hypervisor takes while it is validated could come back with
//! other content, and nobody would notice.

use core::fmt;
use core::ops::Range;

use sallyport::Window;

use crate::ghcb::Ghcb;
use crate::msr::Owner;
use crate::pages::{Pages, PagesError, Pvalidate};
use crate::psc::{Entries, ListError};

/// Why memory did not change hands. Some of it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryError {
    /// The step is not allowed, or `PVALIDATE` failed.
    Pages(PagesError),
    /// The hypervisor did not do its part.
    List(ListError),
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pages(error) => error.fmt(f),
            Self::List(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MemoryError {}

impl From<PagesError> for MemoryError {
    fn from(error: PagesError) -> Self {
        Self::Pages(error)
    }
}

impl From<ListError> for MemoryError {
    fn from(error: ListError) -> Self {
        Self::List(error)
    }
}

/// Makes shared memory the Keep's own. Its content is anything until the Keep has written it.
///
/// `exit` as in [`Ghcb::call`], `pvalidate` as in [`Pages::validate`].
///
/// # Errors
///
/// [`MemoryError`].
pub fn acquire<W: Window, const N: usize>(
    pages: &mut Pages<N>,
    ghcb: &Ghcb<W>,
    range: Range<u64>,
    exit: impl FnMut(),
    pvalidate: impl FnMut(u64, bool) -> Pvalidate,
) -> Result<(), MemoryError> {
    pages.assign(range.clone(), |range| -> Result<(), MemoryError> {
        Ok(ghcb.change_pages(Entries::new(range, Owner::Private)?, exit)?)
    })?;
    Ok(pages.validate(range, pvalidate)?)
}

#[cfg(feature = "host")]
/// Gives memory of the Keep's own to the hypervisor. The Keep has wiped what it does not want to show;
/// the hypervisor cannot decrypt what was there, though.
///
/// # Errors
///
/// [`MemoryError`].
pub fn release<W: Window, const N: usize>(
    pages: &mut Pages<N>,
    ghcb: &Ghcb<W>,
    range: Range<u64>,
    exit: impl FnMut(),
    pvalidate: impl FnMut(u64, bool) -> Pvalidate,
) -> Result<(), MemoryError> {
    pages.rescind(range.clone(), pvalidate)?;
    pages.share(range, |range| -> Result<(), MemoryError> {
        Ok(ghcb.change_pages(Entries::new(range, Owner::Shared)?, exit)?)
    })
}

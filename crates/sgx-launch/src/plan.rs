// SPDX-License-Identifier: Apache-2.0

//! Which pages an enclave begins with, in which order.
//!
//! A plan is checked as it grows, by the processor's rules, the driver's and a Keep's own: no page is both
//! written and executed, a thread has its state save areas in the enclave. Memory that only has to be empty is
//! not part of a plan: it is added when it is touched (`EAUG`), for the processor makes sure that such pages are
//! zero and nobody has to measure that.

use std::collections::BTreeMap;

use sgx_guest::attributes::Attributes;
use sgx_guest::page::{PAGE, PageType, SecInfo, Tcs};

use crate::measure::Measurer;
use crate::secs::{CreateError, Secs};

/// More regions than any image has.
const MAX_REGIONS: usize = 1 << 16;

/// What is in a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// These bytes; whole pages.
    Bytes(&'a [u8]),
    /// Nothing but zeros, this many bytes; whole pages.
    Zeros(u64),
}

impl Content<'_> {
    /// Bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        }
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Pages of one kind that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region<'a> {
    /// From the enclave's base, on a page.
    pub offset: u64,
    /// Type and rights.
    pub info: SecInfo,
    /// What is in them.
    pub content: Content<'a>,
    /// Whether the content is measured. If not, the host may put there what it likes.
    pub measured: bool,
}

impl<'a> Region<'a> {
    /// Pages whose content counts.
    #[must_use]
    pub const fn measured(offset: u64, info: SecInfo, content: Content<'a>) -> Self {
        Self { offset, info, content, measured: true }
    }
}

/// One page on its way into an enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page<'a> {
    /// From the enclave's base.
    pub offset: u64,
    /// Type and rights.
    pub info: SecInfo,
    /// What is in it.
    pub bytes: &'a [u8; PAGE as usize],
    /// Whether that is measured.
    pub measured: bool,
}

/// Takes an enclave, to launch it or to measure it.
pub trait Sink {
    /// Why it may fail.
    type Error;

    /// Takes the control structure, before all pages.
    ///
    /// # Errors
    ///
    /// If it cannot be taken.
    fn create(&mut self, secs: &Secs) -> Result<(), Self::Error>;

    /// Takes a page.
    ///
    /// # Errors
    ///
    /// If it cannot be taken.
    fn add(&mut self, page: &Page<'_>) -> Result<(), Self::Error>;

    /// Takes a region; page by page if it is not said otherwise.
    ///
    /// # Errors
    ///
    /// If it cannot be taken.
    fn region(&mut self, region: &Region<'_>) -> Result<(), Self::Error> {
        const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
        let pages: &mut dyn Iterator<Item = &[u8; PAGE as usize]> = match region.content {
            Content::Bytes(bytes) => &mut bytes.as_chunks().0.iter(),
            Content::Zeros(length) => &mut (0..length / PAGE).map(|_| &ZEROS),
        };
        for (offset, bytes) in (region.offset..).step_by(PAGE as usize).zip(pages) {
            let (info, measured) = (region.info, region.measured);
            self.add(&Page { offset, info, bytes, measured })?;
        }
        Ok(())
    }
}

/// Why a region cannot be part of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The control structure.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// Not whole pages, nothing at all, or not in the enclave.
    #[error("a region of {length:#x} bytes at {offset:#x} is no pages of the enclave")]
    Place {
        /// From the enclave's base.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Another region is there.
    #[error("two regions have the page at {0:#x}")]
    Overlap(u64),
    /// A type that cannot be added, flags of a running enclave, or rights that a page cannot have.
    #[error("no page can be added as the region at {0:#x} says")]
    Kind(u64),
    /// To be written and executed.
    #[error("the region at {0:#x} could be written and executed")]
    WriteExecute(u64),
    /// A thread that cannot run, or is a debugger's.
    #[error("the thread at {0:#x} cannot run")]
    Thread(u64),
    /// More than any image has.
    #[error("there are more than {MAX_REGIONS} regions")]
    TooMany,
}

/// An enclave's beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<'a> {
    secs: Secs,
    regions: Vec<Region<'a>>,
    /// Ends of regions by their offsets.
    taken: BTreeMap<u64, u64>,
}

impl<'a> Plan<'a> {
    /// An enclave without pages.
    #[must_use]
    pub fn new(secs: Secs) -> Self {
        Self { secs, regions: Vec::new(), taken: BTreeMap::new() }
    }

    /// Adds a region behind those that are there already.
    ///
    /// # Errors
    ///
    /// [`PlanError`]; the plan is as before.
    pub fn push(&mut self, region: Region<'a>) -> Result<(), PlanError> {
        let (offset, length) = (region.offset, region.content.len());
        let place = PlanError::Place { offset, length };
        if !offset.is_multiple_of(PAGE) || !length.is_multiple_of(PAGE) || length == 0 {
            return Err(place);
        }
        let end = offset.checked_add(length).filter(|end| *end <= self.secs.size).ok_or(place)?;
        if self.regions.len() >= MAX_REGIONS {
            return Err(PlanError::TooMany);
        }
        self.check_kind(&region)?;
        // Regions do not overlap, so the last one that begins before this one ends is the only one that can.
        match self.taken.range(..end).next_back() {
            Some((at, to)) if *to > offset => return Err(PlanError::Overlap(offset.max(*at))),
            _ => {}
        }
        self.taken.insert(offset, end);
        self.regions.push(region);
        Ok(())
    }

    fn check_kind(&self, region: &Region<'_>) -> Result<(), PlanError> {
        let SecInfo { rights, pending, modified, restricted, page_type } = region.info;
        if pending || modified || restricted || !rights.is_possible() {
            return Err(PlanError::Kind(region.offset));
        }
        match page_type {
            PageType::Reg if rights.write() && rights.execute() => {
                Err(PlanError::WriteExecute(region.offset))
            }
            PageType::Reg => Ok(()),
            // The processor takes rights from a thread without a word, so that the driver wants none.
            PageType::Tcs if rights.bits() == 0 && region.measured => self.check_threads(region),
            _ => Err(PlanError::Kind(region.offset)),
        }
    }

    fn check_threads(&self, region: &Region<'_>) -> Result<(), PlanError> {
        let Content::Bytes(bytes) = region.content else {
            return Err(PlanError::Thread(region.offset));
        };
        for (offset, page) in (region.offset..).step_by(Tcs::SIZE).zip(bytes.as_chunks().0) {
            let wrong = PlanError::Thread(offset);
            let tcs = Tcs::from_bytes(page).map_err(|_| wrong)?;
            // Two frames: one for what is interrupted, and one for a handler that is.
            let end = self.secs.frame.at(tcs.ssa, tcs.ssa_count).ok_or(wrong)?;
            let inside = end <= self.secs.size && tcs.entry < self.secs.size;
            if tcs.ssa_count < 2 || !inside || tcs.fs >= self.secs.size || tcs.gs >= self.secs.size
            {
                return Err(wrong);
            }
        }
        Ok(())
    }

    /// The control structure.
    #[must_use]
    pub fn secs(&self) -> &Secs {
        &self.secs
    }

    /// The regions in their order.
    #[must_use]
    pub fn regions(&self) -> &[Region<'a>] {
        &self.regions
    }

    /// Hands everything to a sink, in the one order that there is.
    ///
    /// # Errors
    ///
    /// As soon as the sink fails.
    pub fn load<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        sink.create(&self.secs)?;
        self.regions.iter().try_for_each(|region| sink.region(region))
    }

    /// MRENCLAVE.
    #[must_use]
    pub fn measure(&self) -> [u8; 32] {
        let mut measurer = Measurer::default();
        match self.load(&mut measurer) {
            Ok(()) => measurer.mrenclave(),
        }
    }

    /// Bytes whose content is measured.
    #[must_use]
    pub fn measured_bytes(&self) -> u64 {
        let measured = self.regions.iter().filter(|region| region.measured);
        measured.map(|region| region.content.len()).sum()
    }

    /// Whether the enclave can be a Keep: its attributes are a Keep's, and all content is measured.
    #[must_use]
    pub fn is_keep(&self) -> bool {
        self.secs.attributes == Attributes::KEEP
            && self.regions.iter().all(|region| region.measured)
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Pages of an enclave over time: what the host may do to one, what the enclave has to accept, and what faults
//! in between (SDM, "Enclave Page Cache Map (EPCM)", and the leaf functions named below).
//!
//! ```text
//!            EADD                      EAUG
//!             │                         │
//!             ▼        EACCEPT          ▼
//!          in use ◀──────────────── pending        touched: fault
//!           │  ▲  │        (EACCEPTCOPY too)
//!     EMODPR│  │  │EMODT
//!           ▼  │  ▼
//!   restricted │  modified                         touched: fault
//!     (EACCEPT)┘  │ EACCEPT
//!                 ▼
//!        a thread, or trimmed ── EREMOVE ──▶ gone  touched: fault
//! ```
//!
//! An acceptance says what the enclave believes of the page, and must be true of it: pending, modified, type and
//! rights. So an acceptance that was missed is a fault at the next touch, and one that is stale, for a change
//! that never was or was accepted already, is [`ErrorCode::PageAttributesMismatch`]. After `EMODPR` and `EMODT`
//! it is also refused ([`ErrorCode::NotTracked`]) as long as a thread may still use the page as it was: the host
//! has to run `ETRACK`, and every thread that was inside then has to have left once.
//!
//! What the processor does *not* prevent: that a host removes a page in use while no thread is inside, and puts
//! an empty one in its place. The enclave is not harmed as long as it accepts pages only where it waits for
//! them (`sgx_guest::exception`).
//!
//! [`Epcm`] is one enclave's map. It holds rules, not bytes: whoever plays the processor clears and copies them.

use std::collections::BTreeMap;

use sgx_guest::enclu::ErrorCode;
use sgx_guest::page::{PAGE, PageType, Rights, SecInfo};

/// Why a leaf function does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It answers with an error.
    #[error("{0:?}")]
    Error(ErrorCode),
    /// A page fault, by the map of pages or because there is no page.
    #[error("page fault")]
    PageFault,
    /// A general protection fault.
    #[error("general protection fault")]
    Protection,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self::Error(code)
    }
}

/// One page that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageState {
    /// Type, rights, and what was not accepted yet.
    pub info: SecInfo,
    /// The tracking cycle in which it was restricted or modified, until that is accepted.
    changed: Option<u64>,
}

impl PageState {
    const fn new(info: SecInfo) -> Self {
        Self { info, changed: None }
    }

    /// Whether the enclave may touch it so.
    ///
    /// # Errors
    ///
    /// [`Refused::PageFault`].
    pub fn touch(&self, wanted: Rights) -> Result<(), Refused> {
        let SecInfo { rights, pending, modified, page_type, .. } = self.info;
        let usable = !pending && !modified && page_type == PageType::Reg;
        if usable && wanted.within(rights) { Ok(()) } else { Err(Refused::PageFault) }
    }
}

/// The map of an enclave's pages, by their offsets from its base; and which threads are inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epcm {
    size: u64,
    running: bool,
    pages: BTreeMap<u64, PageState>,
    /// Counts `ETRACK`.
    cycle: u64,
    /// Threads that are inside, and the cycle in which each entered.
    threads: BTreeMap<u64, u64>,
}

impl Epcm {
    /// After `ECREATE`, of so many bytes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { size, running: false, pages: BTreeMap::new(), cycle: 0, threads: BTreeMap::new() }
    }

    /// The page at this offset, if there is one.
    #[must_use]
    pub fn page(&self, offset: u64) -> Option<&PageState> {
        self.pages.get(&offset)
    }

    /// All pages by their offsets.
    pub fn pages(&self) -> impl Iterator<Item = (u64, &PageState)> {
        self.pages.iter().map(|(offset, page)| (*offset, page))
    }

    fn valid(&mut self, offset: u64) -> Result<&mut PageState, Refused> {
        if !offset.is_multiple_of(PAGE) || offset >= self.size {
            return Err(Refused::Protection);
        }
        self.pages.get_mut(&offset).ok_or(Refused::PageFault)
    }

    fn free(&self, offset: u64) -> Result<(), Refused> {
        if !offset.is_multiple_of(PAGE) || offset >= self.size {
            return Err(Refused::Protection);
        }
        // A second page could not be mapped there.
        if self.pages.contains_key(&offset) { Err(Refused::PageFault) } else { Ok(()) }
    }

    /// Touches a byte of the enclave.
    ///
    /// # Errors
    ///
    /// [`Refused::PageFault`]: no page, not accepted, no ordinary page, or not with these rights.
    pub fn touch(&self, offset: u64, wanted: Rights) -> Result<(), Refused> {
        let page = self.pages.get(&(offset - offset % PAGE)).ok_or(Refused::PageFault)?;
        page.touch(wanted)
    }

    // By the host's kernel, ENCLS.

    /// `EADD`: a page of an enclave that does not run yet. Rights of a thread are taken, as the processor does.
    ///
    /// # Errors
    ///
    /// [`Refused::Protection`], [`Refused::PageFault`].
    pub fn eadd(&mut self, offset: u64, info: SecInfo) -> Result<(), Refused> {
        self.free(offset)?;
        let fresh = !info.pending && !info.modified && !info.restricted;
        let info = match info.page_type {
            PageType::Tcs => SecInfo { rights: Rights::NONE, ..info },
            PageType::Reg if info.rights.is_possible() => info,
            _ => return Err(Refused::Protection),
        };
        if self.running || !fresh {
            return Err(Refused::Protection);
        }
        self.pages.insert(offset, PageState::new(info));
        Ok(())
    }

    /// `EINIT`, when it succeeded.
    pub fn einit(&mut self) {
        self.running = true;
    }

    /// `EAUG`: an empty page of an enclave that runs.
    ///
    /// # Errors
    ///
    /// [`Refused::Protection`], [`Refused::PageFault`].
    pub fn eaug(&mut self, offset: u64) -> Result<(), Refused> {
        self.free(offset)?;
        if !self.running {
            return Err(Refused::Protection);
        }
        self.pages.insert(offset, PageState::new(SecInfo::added()));
        Ok(())
    }

    /// `EMODPR`: leaves a page these rights at most.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::PageNotModifiable`] if an earlier change was not accepted; [`Refused::Protection`],
    /// [`Refused::PageFault`].
    pub fn emodpr(&mut self, offset: u64, rights: Rights) -> Result<(), Refused> {
        let (running, cycle) = (self.running, self.cycle);
        if !rights.is_possible() {
            return Err(Refused::Protection);
        }
        let page = self.valid(offset)?;
        if page.info.pending || page.info.modified {
            return Err(ErrorCode::PageNotModifiable.into());
        }
        if page.info.page_type != PageType::Reg {
            return Err(Refused::PageFault);
        }
        if !running {
            return Err(Refused::Protection);
        }
        page.info.restricted = true;
        page.info.rights = page.info.rights.and(rights);
        page.changed = Some(cycle);
        Ok(())
    }

    /// `EMODT`: makes an ordinary page a thread, or trims an ordinary page or a thread.
    ///
    /// # Errors
    ///
    /// As [`Epcm::emodpr`].
    pub fn emodt(&mut self, offset: u64, page_type: PageType) -> Result<(), Refused> {
        let (running, cycle) = (self.running, self.cycle);
        if !matches!(page_type, PageType::Tcs | PageType::Trim) {
            return Err(Refused::Protection);
        }
        let page = self.valid(offset)?;
        match (page.info.page_type, page_type) {
            (PageType::Reg, _) | (PageType::Tcs, PageType::Trim) => {}
            _ => return Err(Refused::PageFault),
        }
        if page.info.pending || page.info.modified {
            return Err(ErrorCode::PageNotModifiable.into());
        }
        if !running {
            return Err(Refused::Protection);
        }
        *page = PageState { info: SecInfo::modified(page_type), changed: Some(cycle) };
        Ok(())
    }

    /// `ETRACK`: from now on, threads that enter do not know pages as they were.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::PreviousTrackIncomplete`] as long as a thread from before the last one is inside.
    pub fn etrack(&mut self) -> Result<(), Refused> {
        if self.threads.values().any(|entered| *entered < self.cycle) {
            return Err(ErrorCode::PreviousTrackIncomplete.into());
        }
        self.cycle = self.cycle.saturating_add(1);
        Ok(())
    }

    /// `EREMOVE`: a page is gone. Without the enclave's leave only as long as no thread is inside.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::EnclaveActive`]; [`Refused::Protection`], [`Refused::PageFault`].
    pub fn eremove(&mut self, offset: u64) -> Result<(), Refused> {
        let active = !self.threads.is_empty();
        let info = self.valid(offset)?.info;
        let given_up = info.page_type == PageType::Trim && !info.modified;
        if active && !given_up {
            return Err(ErrorCode::EnclaveActive.into());
        }
        self.pages.remove(&offset);
        Ok(())
    }

    /// What Linux removes: pages that the enclave gave up, and no others.
    ///
    /// # Errors
    ///
    /// [`Refused::Protection`], `EPERM` there, besides those of [`Epcm::eremove`].
    pub fn remove(&mut self, offset: u64) -> Result<(), Refused> {
        let info = self.valid(offset)?.info;
        if info.page_type != PageType::Trim || info.modified {
            return Err(Refused::Protection);
        }
        self.eremove(offset)
    }

    // Threads.

    /// `EENTER`, `ERESUME`: a thread is inside; the offset of its TCS.
    ///
    /// # Errors
    ///
    /// [`Refused::Protection`] if it is inside already or the enclave does not run, [`Refused::PageFault`] if
    /// that is no thread.
    pub fn enter(&mut self, tcs: u64) -> Result<(), Refused> {
        if !self.running || self.threads.contains_key(&tcs) {
            return Err(Refused::Protection);
        }
        let info = self.valid(tcs)?.info;
        if info.page_type != PageType::Tcs || info.modified || info.pending {
            return Err(Refused::PageFault);
        }
        self.threads.insert(tcs, self.cycle);
        Ok(())
    }

    /// `EEXIT`, or an asynchronous exit: whether the thread was inside.
    pub fn leave(&mut self, tcs: u64) -> bool {
        self.threads.remove(&tcs).is_some()
    }

    /// Interrupts all threads that are inside, and resumes them at once.
    pub fn interrupt_all(&mut self) {
        for entered in self.threads.values_mut() {
            *entered = self.cycle;
        }
    }

    /// Whether all threads have left that may know a page as it was in that cycle.
    fn tracked(&self, changed: u64) -> bool {
        self.cycle > changed && self.threads.values().all(|entered| *entered > changed)
    }

    // By the enclave, ENCLU.

    /// `EACCEPT`: the page is what `info` says, and may be used so.
    ///
    /// For a page that became a thread, whoever plays the processor has to look at its bytes too
    /// ([`sgx_guest::page::Tcs::from_bytes`]).
    ///
    /// # Errors
    ///
    /// [`ErrorCode::PageAttributesMismatch`] if it is not; [`ErrorCode::NotTracked`];
    /// [`Refused::Protection`] for an `info` that can never be, [`Refused::PageFault`] without a page.
    pub fn eaccept(&mut self, offset: u64, info: SecInfo) -> Result<(), Refused> {
        let possible = match info.page_type {
            PageType::Reg => (info.restricted || info.pending) && !info.modified,
            PageType::Tcs | PageType::Trim => !info.restricted && !info.pending && info.modified,
            _ => false,
        };
        if !possible {
            return Err(Refused::Protection);
        }
        let page = *self.valid(offset)?;
        // Whether it was restricted is not compared; the rights are.
        let same = SecInfo { restricted: page.info.restricted, ..info } == page.info;
        if !same {
            return Err(ErrorCode::PageAttributesMismatch.into());
        }
        if page.changed.is_some_and(|changed| !self.tracked(changed)) {
            return Err(ErrorCode::NotTracked.into());
        }
        let accepted = SecInfo { pending: false, modified: false, restricted: false, ..page.info };
        self.pages.insert(offset, PageState::new(accepted));
        Ok(())
    }

    /// `EACCEPTCOPY`: accepts an added page with these rights, and the content of another.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::PageAttributesMismatch`] if it was not added just now; [`Refused::Protection`],
    /// [`Refused::PageFault`].
    pub fn eacceptcopy(&mut self, to: u64, from: u64, rights: Rights) -> Result<(), Refused> {
        if !rights.is_possible() {
            return Err(Refused::Protection);
        }
        self.valid(from)?.touch(Rights::R)?;
        let page = self.valid(to)?;
        if page.info != SecInfo::added() {
            return Err(ErrorCode::PageAttributesMismatch.into());
        }
        *page = PageState::new(SecInfo::reg(rights));
        Ok(())
    }

    /// `EMODPE`: more rights for a page of the enclave's own. The host's page tables have to allow them too.
    ///
    /// # Errors
    ///
    /// [`Refused::Protection`], [`Refused::PageFault`].
    pub fn emodpe(&mut self, offset: u64, rights: Rights) -> Result<(), Refused> {
        let page = self.valid(offset)?;
        if page.info.pending || page.info.modified || page.info.page_type != PageType::Reg {
            return Err(Refused::PageFault);
        }
        let more = page.info.rights.or(rights);
        if !more.is_possible() {
            return Err(Refused::Protection);
        }
        page.info.rights = more;
        Ok(())
    }
}

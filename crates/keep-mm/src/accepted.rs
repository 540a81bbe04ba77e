// SPDX-License-Identifier: Apache-2.0

//! Pages of an enclave: no page tables of its own, no physical addresses, no second view of a page.
//!
//! The processor knows of each page of an enclave whether it is there and what may be done with it,
//! whatever the host's page tables say. A page comes when the enclave *accepts* it, at the address
//! where it stays; it is zero then, or a copy of another. The enclave itself can only give it more
//! rights. To take rights or the page it asks the host, and accepts what the host did, which proves
//! it. So the cheap direction is the one that programs mostly go: a reservation costs nothing, and
//! memory comes with the first touch. What goes the other way is put off to the end of a call, so that
//! the host is asked once for pages in a row.
//!
//! The tables of [`Space`] are kept all the same, in memory that is accepted for them: as the record of
//! what was accepted. Each entry leads to its own address.
//!
//! What always holds, beside what the [crate] says:
//!
//! * A page is accepted once, until it is given up. So a fault at a page that is there with the rights
//!   for it can only mean that the host took it ([`Space::accepted`]).
//! * What shows an object is a *clean* copy without the right to write, and only such a page can become
//!   executable. The first write makes a page *owned*, until it is given up.

use core::fmt::Debug;
use core::ops::Range;

use keep_layout::{CHUNK, PAGE};

use crate::areas::Kind;
use crate::pages::{Pages, Ram, Source, Want};
use crate::space::{down, up};
use crate::tables::{Entry, Tables};
use crate::{Access, Config, Prot, Space};

/// What an enclave does with its pages. A host that does not do what it is asked for ends the Keep, so
/// that only accepting can fail: there may be no memory.
pub trait Enclave: Ram {
    /// Accepts a page that is not there: zero, to be read and written.
    fn accept(&mut self, page: u64) -> bool;
    /// Accepts a page that is not there, with these rights and the content of the page at `from`.
    fn accept_copy(&mut self, page: u64, from: u64, prot: Prot) -> bool;
    /// Gives a page these rights, which are all it has and more.
    fn extend(&mut self, page: u64, prot: Prot);
    /// Leaves pages these rights, which are less than they have.
    fn restrict(&mut self, pages: Range<u64>, prot: Prot);
    /// Gives pages up.
    fn trim(&mut self, pages: Range<u64>);
}

/// What is known of an enclave's pages beside the tables.
#[derive(Debug)]
pub struct Accepted {
    /// Where the next memory for the kernel comes from; the last page of it is zero, once it is there.
    held: Range<u64>,
    has_zeros: bool,
    /// Bytes that are there.
    pub(crate) used: u64,
    limit: u64,
    /// Pages in a row that are to be left these rights, or to be given up.
    pending: Option<(Range<u64>, Option<Prot>)>,
}

impl<E: Enclave + Debug> Source<E, Accepted> {
    /// Takes over the enclave as it was launched, and accepts the first table. Memory for the kernel comes
    /// from `held`, which is within the enclave as the tables are.
    pub fn accepted(enclave: E, config: &Config, held: Range<u64>) -> Self {
        let used = config.image.iter().map(|part| part.range.end - part.range.start).sum();
        let (limit, pending) = (config.ram_limit, None);
        let state = Accepted { held, has_zeros: false, used, limit, pending };
        let mut pages = Self { machine: enclave, state };
        pages.new_table(config.root);
        pages
    }

    /// Does to a page's neighbours what is to be done to it.
    fn put_off(&mut self, page: u64, what: Option<Prot>) {
        match &mut self.state.pending {
            Some((pages, same)) if pages.end == page && *same == what => pages.end += PAGE,
            _ => {
                self.settle(false);
                self.state.pending = Some((page..page + PAGE, what));
            }
        }
    }

    fn accept(&mut self, accept: impl FnOnce(&mut E) -> bool) -> bool {
        // What has been given up is given back before it is missed.
        self.settle(false);
        let done = self.state.used < self.state.limit && accept(&mut self.machine);
        if done {
            self.state.used += PAGE;
        }
        done
    }

    /// A page of zeros.
    fn zeros(&mut self) -> Option<u64> {
        let page = self.state.held.end - PAGE;
        self.state.has_zeros = self.state.has_zeros || self.new_table(page);
        self.state.has_zeros.then_some(page)
    }
}

impl<E: Enclave + Debug> Pages for Source<E, Accepted> {
    fn has_frames(&self) -> bool {
        false
    }

    fn new_table(&mut self, at: u64) -> bool {
        self.accept(|enclave| enclave.accept(at))
    }

    fn take(&mut self, tables: &mut Tables, len: u64) -> Option<Range<u64>> {
        let start = self.state.held.start;
        let end = start.checked_add(up(len, PAGE)?)?;
        if end >= self.state.held.end {
            return None;
        }
        for page in (start..end).step_by(PAGE as usize) {
            let at = tables.reach(self, page, 0)?;
            // Some may be there from an attempt that failed.
            if Entry(self.read_entry(at)) == Entry::EMPTY {
                self.new_table(page).then_some(())?;
                self.write_entry(at, Entry::owned(page, Prot::READ_WRITE, false).0);
            }
        }
        self.state.held.start = up(end, CHUNK)?;
        Some(start..end)
    }

    fn provide(&mut self, tables: &mut Tables, want: Want) -> Option<u64> {
        let Want { page, prot, .. } = want;
        if !want.fresh {
            return Some(page);
        }
        // Behind an object's end there is nothing.
        let there = |from: &u64| tables.walk(self, *from).entry != Entry::EMPTY;
        let accepted = match want.from.filter(there) {
            None if prot == Prot::READ_WRITE => self.new_table(page),
            from => {
                let from = from.or_else(|| self.zeros())?;
                self.accept(|enclave| enclave.accept_copy(page, from, prot))
            }
        };
        accepted.then_some(page)
    }

    fn change(&mut self, old: Entry, new: Entry) {
        let (page, had, gets) = (old.phys(), old.prot(), new.prot());
        let kept = had.and(gets);
        match old {
            Entry::EMPTY => return,
            _ if new == Entry::EMPTY => self.put_off(page, None),
            _ if kept != had => self.put_off(page, Some(kept)),
            _ => {}
        }
        if kept != gets {
            self.settle(false);
            self.machine.extend(page, gets);
        }
    }

    fn settle(&mut self, _: bool) {
        match self.state.pending.take() {
            Some((pages, Some(prot))) => self.machine.restrict(pages, prot),
            Some((pages, None)) => {
                self.state.used -= pages.end - pages.start;
                self.machine.trim(pages);
            }
            None => {}
        }
    }
}

impl<P: Pages + ?Sized> Space<P> {
    /// The rights of the page at an address of an enclave, if it is there and may be used so.
    pub fn accepted(&self, address: u64, access: Access) -> Option<Prot> {
        let (_, area) = self.areas.at(address).filter(|(_, area)| area.prot.allows(access))?;
        match (area.kind, self.walk(down(address, PAGE)).entry) {
            (Kind::Image, _) => Some(area.prot),
            (_, leaf) => leaf.permits(access).then(|| leaf.prot()),
        }
    }
}

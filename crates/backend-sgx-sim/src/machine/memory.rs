// SPDX-License-Identifier: Apache-2.0

//! The enclave's memory: the processor's map of pages, the host's mappings, and what this process really has.
//!
//! The map ([`Epcm`]) is the truth. The process's own page tables follow it as a kernel's do, at faults: a page
//! that the map and the host's mapping allow is made accessible when it is touched, together with its equals
//! around it, and whatever takes a right takes it from the process at once. So a page that was not accepted, was
//! trimmed or removed is one that the process cannot touch.
//!
//! Some things cannot be had in a process. A page that may be executed can be read as well. While a page is accepted
//! with a copy, other threads of the enclave can touch it. And outside of the enclave, nothing keeps this process
//! from touching its pages; nothing in it does.

use std::io;

use sgx_guest::page::{PAGE, PageType, Rights};
use sgx_guest::range::Elrange;
use sgx_guest::ssa::fault;
use sgx_launch::epcm::{Epcm, Refused};
use sgx_run::Pages;

use crate::ranges::Ranges;
use crate::setup::HostMapping;

/// How far around a touched page its equals are made accessible: what one large page covers.
const BLOCK: u64 = 2 << 20;

/// Why an enclave's instruction does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A page fault.
    Page {
        /// The address.
        address: u64,
        /// Bits of [`fault`].
        error: u32,
    },
    /// A general protection fault.
    Protection,
}

/// Error numbers of Linux that the driver answers with.
pub(crate) mod errno {
    pub(crate) const EPERM: u64 = 1;
    pub(crate) const ENOMEM: u64 = 12;
    pub(crate) const EACCES: u64 = 13;
    pub(crate) const EFAULT: u64 = 14;
    pub(crate) const EINVAL: u64 = 22;
}

/// All memory of one enclave.
#[derive(Debug)]
pub(crate) struct Memory {
    range: Elrange,
    pub(crate) epcm: Epcm,
    /// What the host's mappings allow.
    host: Ranges,
    /// What they can be made to allow, for pages of the beginning; others can have anything.
    most: Ranges,
    /// What this process can do with the pages now.
    native: Ranges,
    /// Pages that can still be added.
    left: u64,
    /// Pages that were added.
    added: u64,
    /// The host adds no more pages than that; for tests.
    pub(crate) stingy: Option<u64>,
    /// Where a fault was that should not come again, and how often it did.
    stuck: (u64, u32),
}

impl Memory {
    /// Reserves the addresses that the host maps; nothing can be touched yet.
    pub(crate) fn new(range: Elrange, mappings: &[HostMapping], left: u64) -> io::Result<Self> {
        let mut host = Ranges::default();
        for &HostMapping { start, end, rights } in mappings {
            let inside = range.contains(start) && start < end && end <= range.end();
            let whole = start.is_multiple_of(PAGE) && end.is_multiple_of(PAGE);
            if !inside || !whole || host.within(start, end).next().is_some() {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            }
            reserve(start, end - start)?;
            host.set(start, end, Some(rights));
        }
        Ok(Self {
            range,
            epcm: Epcm::new(range.size()),
            host,
            most: Ranges::default(),
            native: Ranges::default(),
            left,
            added: 0,
            stingy: None,
            stuck: (0, 0),
        })
    }

    /// Where an address is in the enclave.
    fn offset(&self, address: u64) -> u64 {
        address.wrapping_sub(self.range.base())
    }

    /// Lets this process touch a range so, or not at all.
    fn set_native(&mut self, start: u64, end: u64, rights: Option<Rights>) {
        // What nobody could touch before needs no call.
        if rights.is_none() && self.native.within(start, end).next().is_none() {
            return;
        }
        let mut protection = libc::PROT_NONE;
        for (bit, flag) in [(1, libc::PROT_READ), (2, libc::PROT_WRITE), (4, libc::PROT_EXEC)] {
            if rights.is_some_and(|rights| rights.bits() & bit != 0) {
                protection |= flag;
            }
        }
        if protection == libc::PROT_EXEC {
            protection |= libc::PROT_READ;
        }
        // SAFETY: the range is part of a reservation of `new`, which nothing but the enclave and this value's
        // copies uses.
        let failed = unsafe {
            libc::mprotect(start as *mut libc::c_void, (end - start) as usize, protection) != 0
        };
        if failed {
            super::end("the host has no memory for the enclave's page tables");
        }
        self.native.set(start, end, rights);
    }

    /// Puts pages of the beginning where they belong, and forgets that they could be written.
    pub(crate) fn fill(&mut self, address: u64, bytes: &[&[u8; PAGE as usize]], most: Rights) {
        let end = address + bytes.len() as u64 * PAGE;
        self.set_native(address, end, Some(Rights::RW));
        for (at, page) in (address..).step_by(PAGE as usize).zip(bytes) {
            // SAFETY: the page was just made writable and is nobody else's.
            unsafe {
                (at as *mut u8).copy_from_nonoverlapping(page.as_ptr(), page.len());
            }
        }
        self.set_native(address, end, None);
        self.most.set(address, end, Some(most));
    }

    /// Whether the host maps all of these addresses.
    pub(crate) fn is_mapped(&self, start: u64, end: u64) -> bool {
        self.host.covers(start, end)
    }

    /// Has the driver add a page if there is none, as it does in a page fault.
    pub(crate) fn resolve(&mut self, address: u64, access: Rights) -> Result<(), Fault> {
        let page = address - address % PAGE;
        let refused = |present| Err(Fault::Page { address, error: error(access) | present });
        let is_there = self.epcm.page(self.offset(page)).is_some();
        let allowed = self.host.get(page).is_some_and(|host| access.within(host));
        if !allowed {
            return refused(if is_there { fault::PRESENT } else { 0 });
        }
        if !is_there && !self.add(page) {
            return refused(0);
        }
        Ok(())
    }

    /// `EAUG`.
    fn add(&mut self, page: u64) -> bool {
        let stingy = self.stingy.is_some_and(|most| self.added >= most);
        if self.left == 0 || stingy || self.epcm.eaug(self.offset(page)).is_err() {
            return false;
        }
        self.left -= 1;
        self.added += 1;
        true
    }

    /// The enclave touches an address: it can, from now on, or it gets a fault.
    pub(crate) fn touch(&mut self, address: u64, access: Rights) -> Result<(), Fault> {
        if !self.range.contains(address) {
            return Err(Fault::Page { address, error: error(access) });
        }
        self.resolve(address, access)?;
        let page = address - address % PAGE;
        if self.epcm.touch(self.offset(page), access).is_err() {
            let error = error(access) | fault::PRESENT | fault::SGX;
            return Err(Fault::Page { address, error });
        }
        let now = self.native.get(page);
        if !now.is_some_and(|now| access.within(now)) {
            self.allow(page);
        }
        Ok(())
    }

    /// The same for a touch that has failed: if it should not have, something is wrong with this process.
    pub(crate) fn touch_again(&mut self, address: u64, access: Rights) -> Result<(), Fault> {
        self.touch(address, access)?;
        let (last, times) = self.stuck;
        self.stuck = if last == address { (last, times + 1) } else { (address, 0) };
        if times > 1000 {
            super::end("the same address faults again and again");
        }
        Ok(())
    }

    /// What map and host let the enclave do with a page.
    fn effective(&self, page: u64) -> Option<Rights> {
        let state = self.epcm.page(self.offset(page))?;
        // Whatever is not an ordinary page in use cannot be touched.
        state.touch(Rights::NONE).ok()?;
        Some(state.info.rights.and(self.host.get(page)?))
    }

    /// Lets this process touch a page, and those around it that are alike and cannot be touched yet.
    fn allow(&mut self, page: u64) {
        let Some(rights) = self.effective(page) else { return };
        let alike =
            |at: u64| self.effective(at) == Some(rights) && self.native.get(at) != Some(rights);
        let block = page - page % BLOCK;
        let (mut start, mut end) = (page, page + PAGE);
        while start > block && alike(start - PAGE) {
            start -= PAGE;
        }
        while end < block + BLOCK && alike(end) {
            end += PAGE;
        }
        self.set_native(start, end, Some(rights));
    }

    /// Reads as an instruction of the enclave does. Addresses outside are not looked at.
    pub(crate) fn read<const N: usize>(&mut self, address: u64) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.each_page(address, N, Rights::R)?;
        // SAFETY: every page of the range was just found to be one that this process can read, and that changes only
        // under the lock that our caller has. Other threads of the enclave may write to them meanwhile: then these
        // are bytes of some moment, as a processor's are, and whoever checks them checks this copy.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(address as *const u8, N) };
        Ok(bytes)
    }

    /// Writes as an instruction of the enclave does.
    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.each_page(address, bytes.len(), Rights::RW)?;
        // SAFETY: as for `read`, and the bytes are not the enclave's.
        unsafe { (address as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn each_page(&mut self, address: u64, length: usize, access: Rights) -> Result<(), Fault> {
        let last = address.checked_add(length as u64 - 1).ok_or(Fault::Protection)?;
        if !self.range.contains(address) || !self.range.contains(last) {
            return Err(Fault::Protection);
        }
        for page in (address - address % PAGE..=last).step_by(PAGE as usize) {
            self.touch(page.max(address), access)?;
        }
        Ok(())
    }

    /// Writes a whole page past all rights, as the processor does when it accepts a copy.
    pub(crate) fn overwrite(&mut self, page: u64, bytes: &[u8; PAGE as usize]) {
        self.set_native(page, page + PAGE, Some(Rights::RW));
        // SAFETY: the page was just made writable; the bytes are a copy.
        unsafe { (page as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.set_native(page, page + PAGE, None);
    }

    // The driver.

    /// The pages of a range, if they can be an enclave's.
    fn pages(&self, pages: Pages) -> Result<(u64, u64), u64> {
        let Pages { address, length } = pages;
        let end = address.checked_add(length).ok_or(errno::EINVAL)?;
        let whole = address.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && length != 0;
        if !whole || !self.range.contains(address) || end > self.range.end() {
            return Err(errno::EINVAL);
        }
        Ok((address, end))
    }

    /// `SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS`.
    pub(crate) fn restrict(&mut self, pages: Pages, rights: Rights) -> Result<(), u64> {
        let (start, end) = self.pages(pages)?;
        for page in (start..end).step_by(PAGE as usize) {
            let offset = self.offset(page);
            if let Err(refused) = self.epcm.emodpr(offset, rights) {
                // What is done is done.
                self.set_native(start, page, None);
                return Err(number(refused));
            }
        }
        self.track();
        self.set_native(start, end, None);
        Ok(())
    }

    /// `SGX_IOC_ENCLAVE_MODIFY_TYPES` to trimmed pages.
    pub(crate) fn trim(&mut self, pages: Pages) -> Result<(), u64> {
        let (start, end) = self.pages(pages)?;
        for page in (start..end).step_by(PAGE as usize) {
            let offset = self.offset(page);
            if let Err(refused) = self.epcm.emodt(offset, PageType::Trim) {
                self.set_native(start, page, None);
                return Err(number(refused));
            }
        }
        self.track();
        self.set_native(start, end, None);
        Ok(())
    }

    /// `SGX_IOC_ENCLAVE_REMOVE_PAGES`.
    pub(crate) fn remove(&mut self, pages: Pages) -> Result<(), u64> {
        let (start, end) = self.pages(pages)?;
        for page in (start..end).step_by(PAGE as usize) {
            let offset = self.offset(page);
            if let Err(refused) = self.epcm.remove(offset) {
                self.forget(start, page);
                return Err(if refused == Refused::Protection {
                    errno::EPERM
                } else {
                    number(refused)
                });
            }
        }
        self.forget(start, end);
        Ok(())
    }

    /// What `EREMOVE` does without asking: while no thread is inside, a host can.
    pub(crate) fn take(&mut self, page: u64) -> bool {
        let offset = self.offset(page);
        let taken = self.epcm.eremove(offset).is_ok();
        if taken {
            self.set_native(page, page + PAGE, None);
            self.forget(page, page + PAGE);
        }
        taken
    }

    /// Adds an empty page, without being asked.
    pub(crate) fn put_empty(&mut self, page: u64) -> bool {
        self.add(page)
    }

    /// Pages are gone: what comes in their place is empty.
    fn forget(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        // SAFETY: as for `mprotect`; the map has no pages there any more, so nobody misses the content.
        unsafe {
            libc::madvise(start as *mut libc::c_void, (end - start) as usize, libc::MADV_DONTNEED);
        }
        self.most.set(start, end, None);
        self.left += (end - start) / PAGE;
    }

    /// `mprotect`.
    pub(crate) fn protect(&mut self, pages: Pages, rights: Rights) -> Result<(), u64> {
        let (start, end) = self.pages(pages)?;
        if !self.host.covers(start, end) {
            return Err(errno::ENOMEM);
        }
        if self.most.within(start, end).any(|(_, _, most)| !rights.within(most)) {
            return Err(errno::EACCES);
        }
        if self.native.within(start, end).any(|(_, _, native)| !native.within(rights)) {
            self.set_native(start, end, None);
        }
        self.host.set(start, end, Some(rights));
        Ok(())
    }

    /// `ETRACK`, after which the driver interrupts all processors that are inside. A thread that is interrupted and
    /// resumed at once sees nothing of that; to the map it has entered anew. What it could do with its pages this
    /// process's kernel has taken from all of its threads.
    fn track(&mut self) {
        _ = self.epcm.etrack();
        self.epcm.interrupt_all();
    }
}

/// An error code without what only the map knows.
const fn error(access: Rights) -> u32 {
    let write = if access.write() { fault::WRITE } else { 0 };
    let fetch = if access.execute() { fault::FETCH } else { 0 };
    fault::USER | write | fetch
}

/// What the driver answers if a leaf function refuses.
fn number(refused: Refused) -> u64 {
    match refused {
        Refused::PageFault => errno::EINVAL,
        Refused::Error(_) | Refused::Protection => errno::EFAULT,
    }
}

/// Reserves addresses in this process.
fn reserve(start: u64, length: u64) -> io::Result<()> {
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let flags =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a new mapping that replaces none; nothing of this process is there, or the call fails.
    let at =
        unsafe { libc::mmap(start as *mut libc::c_void, length, libc::PROT_NONE, flags, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    if at as u64 != start {
        // A kernel before 4.17 takes the address as a wish.
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    // SAFETY: the mapping just made. Large pages are a wish, and so is not being written to a disk in a crash.
    unsafe {
        libc::madvise(at, length, libc::MADV_HUGEPAGE);
        libc::madvise(at, length, libc::MADV_DONTDUMP);
    }
    Ok(())
}

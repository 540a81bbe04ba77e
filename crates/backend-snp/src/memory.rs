// SPDX-License-Identifier: Apache-2.0

//! The Keep's memory: who has which page, and what the host can reach.
//!
//! Private memory is a file without a name (`guest_memfd`) that nobody can map: the hypervisor hands its pages
//! to the Keep and to nobody else. Beside it each slot has an ordinary mapping, which stands behind the same
//! addresses for as long as the Keep has given them to the host. A Keep gives the host nothing but the shared
//! block, which has a slot of its own and is never private; the mapping is address space and no more.
//!
//! Whose a page is, KVM keeps as an attribute. It changes when the Keep says so, by a page state change or by
//! touching a page as what it is not yet, and only within the memory that the Keep has.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use backend_kvm::machine::Sizes;
use keep_layout::{CHUNK, IMAGE_PHYS, PAGE, SHARED_PHYS, SHARED_SIZE, TABLES_PHYS};
use kvm_bindings::{
    KVM_MEM_GUEST_MEMFD, KVM_MEMORY_ATTRIBUTE_PRIVATE, kvm_create_guest_memfd,
    kvm_memory_attributes, kvm_userspace_memory_region2,
};
use kvm_ioctls::VmFd;
use sallyport::RawWindow;

use crate::request::{STAGING, Staging};

/// Slot of the block that Keep and host share.
const SHARED_SLOT: u32 = 0;
/// Slot of the first private memory; further ones follow.
const PRIVATE_SLOT: u32 = 1;
/// The kernel asks for at least a chunk at a time, so there are never many slots.
const SLOTS_MAX: u32 = 500;

/// A mapping of anonymous memory, aligned to a chunk.
#[derive(Debug)]
pub(crate) struct Mapping {
    raw: *mut libc::c_void,
    raw_len: usize,
    base: *mut u8,
    len: usize,
}

// SAFETY: a mapping belongs to the process; `bytes` takes it mutably, everything else only hands its address
// to the kernel.
unsafe impl Send for Mapping {}
// SAFETY: as above: through a shared reference nothing of it is read or written.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `len` bytes that read as zero. Nothing is committed before it is touched.
    pub(crate) fn new(len: u64) -> io::Result<Self> {
        let overflow = || io::Error::from(io::ErrorKind::OutOfMemory);
        let len = usize::try_from(len).map_err(|_| overflow())?;
        let raw_len = len.checked_add(CHUNK as usize).ok_or_else(overflow)?;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let raw = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                raw_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if raw == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // At most a chunk less one byte, for which `raw_len` has room.
        let base = raw.cast::<u8>().wrapping_add(raw.align_offset(CHUNK as usize));
        Ok(Self { raw, raw_len, base, len })
    }

    pub(crate) fn address(&self) -> u64 {
        self.base as u64
    }
}

impl Staging for Mapping {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the range lies in the mapping, which is readable, writable and initialised (zeros), lives as
        // long as this value, and is borrowed mutably; the kernel writes into it only during requests, while
        // nobody holds what is returned here.
        unsafe { std::slice::from_raw_parts_mut(self.base, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this very mapping was made in `new`; the virtual machine that was told of it is gone or about
        // to go, and the kernel takes what vanishes as missing. Nothing of ours points into it.
        unsafe { libc::munmap(self.raw, self.raw_len) };
    }
}

/// A staging area for a launch.
pub(crate) fn staging() -> io::Result<Mapping> {
    Mapping::new(STAGING as u64)
}

/// The memory of one Keep. Keep it longer than the virtual machine that was told of it.
#[derive(Debug)]
pub(crate) struct Memory {
    shared: Arc<Mapping>,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    vm: Arc<VmFd>,
    file: OwnedFd,
    outside: Mapping,
    /// End of the memory that the Keep has now, as a physical address.
    end: AtomicU64,
}

impl Memory {
    /// Reserves memory for a Keep, and gives it what it needs at the start. Page tables and image are
    /// private already; the Keep takes the rest.
    pub(crate) fn new(vm: &Arc<VmFd>, sizes: &Sizes) -> io::Result<(Self, Growth)> {
        let &Sizes { image, needed: initial, limit, .. } = sizes;
        let shared = Arc::new(Mapping::new(SHARED_SIZE)?);
        let outside = Mapping::new(IMAGE_PHYS + limit)?;
        let gmem = kvm_create_guest_memfd { size: IMAGE_PHYS + limit, ..Default::default() };
        let file = vm.create_guest_memfd(gmem)?;
        // SAFETY: the kernel has just made the descriptor for this call; nobody else knows it.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        let end = AtomicU64::new(IMAGE_PHYS + initial);
        let inner = Arc::new(Inner { vm: Arc::clone(vm), file, outside, end });
        set_slot(vm, shared_slot(shared.address()))?;
        inner.add(PRIVATE_SLOT, TABLES_PHYS, IMAGE_PHYS + initial)?;
        inner.set(Change { start: TABLES_PHYS, length: IMAGE_PHYS + image, private: true })?;
        let growth =
            Growth { inner: Arc::clone(&inner), slot: PRIVATE_SLOT + 1, ram: initial, limit };
        Ok((Self { shared, inner }, growth))
    }

    /// The shared block, for the host's side.
    pub(crate) fn window(&self) -> RawWindow {
        // SAFETY: the mapping is aligned to a chunk, as large as the block, and lives as long as this value,
        // which outlives the server (see `keep.rs`); no reference into it exists.
        unsafe { RawWindow::new(self.shared.base) }
    }

    /// Who changes whose pages are.
    pub(crate) fn owners(&self) -> Owners {
        Owners(Arc::clone(&self.inner))
    }
}

/// Changes whose pages are.
#[derive(Debug)]
pub(crate) struct Owners(Arc<Inner>);

impl Owners {
    /// Does so, if the Keep may ask for it.
    pub(crate) fn change(&self, change: Change) -> io::Result<()> {
        let end = self.0.end.load(Ordering::Acquire);
        if !change.is_allowed(end) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        self.0.set(change)?;
        self.0.forget(change)
    }
}

impl Inner {
    /// Tells the virtual machine of memory from `phys` on.
    fn add(&self, slot: u32, phys: u64, len: u64) -> io::Result<()> {
        set_slot(
            &self.vm,
            private_slot(slot, phys, len, self.outside.address(), self.file.as_raw_fd()),
        )
    }

    fn set(&self, change: Change) -> io::Result<()> {
        let private = u64::from(KVM_MEMORY_ATTRIBUTE_PRIVATE);
        let attributes = kvm_memory_attributes {
            address: change.start,
            size: change.length,
            attributes: if change.private { private } else { 0 },
            flags: 0,
        };
        loop {
            match self.vm.set_memory_attributes(attributes) {
                Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
                other => return Ok(other?),
            }
        }
    }

    /// Gives back what stands behind pages that have become somebody else's: whatever it held, nobody can
    /// reach it any more.
    fn forget(&self, change: Change) -> io::Result<()> {
        let Change { start, length, private } = change;
        if private {
            let at = self.outside.base.wrapping_add(start as usize);
            // SAFETY: `is_allowed` has bounded the range by the mapping, which is anonymous; nobody of ours
            // reads or writes it.
            let done = unsafe { libc::madvise(at.cast(), length as usize, libc::MADV_DONTNEED) };
            return if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
        }
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let (start, length) = (start.cast_signed(), length.cast_signed());
        // SAFETY: takes no pointers; the descriptor is open.
        let done = unsafe { libc::fallocate(self.file.as_raw_fd(), mode, start, length) };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// A change of who has pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Physical address.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// Whether they become the Keep's alone.
    pub(crate) private: bool,
}

impl Change {
    /// Whether a Keep whose memory ends there can ask for it: whole pages of its own memory, or the shared
    /// block as what it is.
    pub(crate) fn is_allowed(self, memory_end: u64) -> bool {
        let Self { start, length, .. } = self;
        let whole = start.is_multiple_of(PAGE) && length.is_multiple_of(PAGE) && length != 0;
        // Physical addresses begin at 0.
        const { assert!(TABLES_PHYS == 0) };
        whole && start.checked_add(length).is_some_and(|end| end <= memory_end)
    }
}

/// Whether a range is part of the shared block.
pub(crate) fn is_shared_block(start: u64, length: u64) -> bool {
    let end = start.checked_add(length);
    start >= SHARED_PHYS && end.is_some_and(|end| end <= SHARED_PHYS + SHARED_SIZE)
}

fn shared_slot(address: u64) -> kvm_userspace_memory_region2 {
    kvm_userspace_memory_region2 {
        slot: SHARED_SLOT,
        guest_phys_addr: SHARED_PHYS,
        memory_size: SHARED_SIZE,
        userspace_addr: address,
        ..Default::default()
    }
}

/// Memory from `phys` on, which is also the offset in file and mapping.
fn private_slot(
    slot: u32,
    phys: u64,
    len: u64,
    outside: u64,
    file: i32,
) -> kvm_userspace_memory_region2 {
    kvm_userspace_memory_region2 {
        slot,
        flags: KVM_MEM_GUEST_MEMFD,
        guest_phys_addr: phys,
        memory_size: len,
        userspace_addr: outside + phys,
        guest_memfd_offset: phys,
        guest_memfd: file.cast_unsigned(),
        ..Default::default()
    }
}

fn set_slot(vm: &VmFd, region: kvm_userspace_memory_region2) -> io::Result<()> {
    // SAFETY: the range is a mapping of ours that is kept as long as the virtual machine's threads run; slots
    // never overlap, since each begins where the one before ends.
    unsafe { vm.set_user_memory_region2(region) }.map_err(io::Error::from)
}

/// Gives a running Keep more memory.
#[derive(Debug)]
pub(crate) struct Growth {
    inner: Arc<Inner>,
    slot: u32,
    ram: u64,
    limit: u64,
}

impl keep_host::Memory for Growth {
    fn grow(&mut self, bytes: u64) -> io::Result<u64> {
        let end = self.ram.checked_add(bytes).filter(|end| *end <= self.limit);
        let (Some(end), true) = (end, self.slot < SLOTS_MAX) else {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        };
        self.inner.add(self.slot, IMAGE_PHYS + self.ram, end - self.ram)?;
        self.slot += 1;
        self.ram = end;
        self.inner.end.store(IMAGE_PHYS + end, Ordering::Release);
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_say_what_the_kernel_wants_to_know() {
        assert_eq!(size_of::<kvm_userspace_memory_region2>(), 160);
        assert_eq!(size_of::<kvm_create_guest_memfd>(), 64);
        let slot = private_slot(3, 6 * CHUNK, CHUNK, 0x7000_0000_0000, 9);
        assert_eq!((slot.slot, slot.flags, slot.guest_memfd), (3, 4, 9));
        assert_eq!((slot.guest_phys_addr, slot.guest_memfd_offset), (6 * CHUNK, 6 * CHUNK));
        assert_eq!((slot.userspace_addr, slot.memory_size), (0x7000_0000_0000 + 6 * CHUNK, CHUNK));
        let shared = shared_slot(0x1000);
        assert_eq!((shared.flags, shared.guest_phys_addr), (0, SHARED_PHYS));
    }

    #[test]
    fn a_staging_area_is_whole_and_aligned() {
        let mut area = staging().unwrap();
        assert_eq!((area.bytes().len(), area.address() % PAGE), (STAGING, 0));
        area.bytes()[STAGING - 1] = 7;
        assert_eq!(area.bytes()[STAGING - 1], 7);
    }

    proptest! {
        #[test]
        fn changes_stay_within_the_keep_s_memory(
            start in any::<u64>(), length in any::<u64>(), end in 0_u64..1 << 40, private: bool,
        ) {
            let near = Change { start: start % (2 * end + 1), length: length % (2 * end + 1), private };
            for change in [Change { start, length, private }, near] {
                if change.is_allowed(end) {
                    prop_assert!(change.length > 0 && change.start < end);
                    prop_assert!(change.length <= end - change.start);
                    prop_assert!(change.start % PAGE == 0 && change.length % PAGE == 0);
                }
            }
        }
    }
}

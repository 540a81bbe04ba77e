// SPDX-License-Identifier: Apache-2.0

//! The Keep's memory, as the host sees it.
//!
//! Address space for all that the Keep may ever have is reserved at once, but the virtual machine
//! is told of it piece by piece, as the Keep's kernel asks for more: a hypervisor pays for what a
//! memory slot could hold, not for what it does hold. Nothing is committed before it is touched.

use std::io;
use std::sync::Arc;

use keep_image::{PageKind, Sink, Start};
use keep_layout::{CHUNK, IMAGE_PHYS, SHARED_PHYS, SHARED_SIZE, TABLES_PHYS};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use sallyport::RawWindow;

/// Slot of the block that Keep and host share.
const SHARED_SLOT: u32 = 0;
/// Slot of the first private memory; further ones follow.
const PRIVATE_SLOT: u32 = 1;
/// The kernel asks for at least that much at a time, so there are never many slots.
const SLOTS_MAX: u32 = 500;

/// A mapping of anonymous memory, aligned to a chunk.
#[derive(Debug)]
pub(crate) struct Mapping {
    raw: *mut libc::c_void,
    raw_len: usize,
    base: *mut u8,
    len: usize,
}

// SAFETY: a mapping belongs to the process; its content is only ever accessed by copying.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `len` bytes that read as zero; large pages from `large` on.
    fn new(len: u64, large: u64) -> io::Result<Self> {
        let overflow = || io::Error::from(io::ErrorKind::OutOfMemory);
        let len = usize::try_from(len).map_err(|_| overflow())?;
        let chunk = CHUNK as usize;
        let raw_len = len.checked_add(chunk).ok_or_else(overflow)?;
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
        let skip = raw.align_offset(chunk);
        let base = raw.cast::<u8>().wrapping_add(skip);
        let large = large as usize;
        // SAFETY: the range lies in the mapping just made. Large pages are a wish: a host that
        // cannot give them serves small ones.
        unsafe {
            libc::madvise(base.wrapping_add(large).cast(), len - large, libc::MADV_HUGEPAGE);
            // A crash of the VMM must not write the Keep's memory to a disk.
            libc::madvise(raw, raw_len, libc::MADV_DONTDUMP);
        }
        Ok(Self { raw, raw_len, base, len })
    }

    /// Copies bytes into the mapping, before the Keep runs.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if at.checked_add(bytes.len()).is_none_or(|end| end > self.len) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: the range lies in the mapping, no reference to it exists, and the source is
        // another object.
        unsafe { self.base.add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this very mapping was made in `new`; the virtual machine that saw it is gone
        // (see `Memory`), and nothing else holds a pointer into it.
        unsafe { libc::munmap(self.raw, self.raw_len) };
    }
}

/// The memory of one Keep. Keep it longer than the virtual machine that was told of it.
#[derive(Debug)]
pub(crate) struct Memory {
    private: Arc<Mapping>,
    shared: Arc<Mapping>,
}

impl Memory {
    /// Reserves memory for a Keep that may grow to `limit` bytes (a multiple of a chunk), and
    /// gives it the first `initial`.
    pub(crate) fn new(vm: &Arc<VmFd>, initial: u64, limit: u64) -> io::Result<(Self, Growth)> {
        let private = Arc::new(Mapping::new(IMAGE_PHYS + limit, IMAGE_PHYS)?);
        let shared = Arc::new(Mapping::new(SHARED_SIZE, 0)?);
        set_slot(vm, SHARED_SLOT, SHARED_PHYS, shared.base, SHARED_SIZE)?;
        set_slot(vm, PRIVATE_SLOT, TABLES_PHYS, private.base, IMAGE_PHYS + initial)?;
        let growth = Growth {
            vm: Arc::clone(vm),
            private: Arc::clone(&private),
            slot: PRIVATE_SLOT + 1,
            ram: initial,
            limit,
        };
        Ok((Self { private, shared }, growth))
    }

    /// The shared block, for the host's side.
    pub(crate) fn window(&self) -> RawWindow {
        // SAFETY: the mapping is aligned to a chunk, as large as the block, and lives as long as
        // this value, which outlives the server (see `keep.rs`); no reference into it exists.
        unsafe { RawWindow::new(self.shared.base) }
    }
}

/// Tells a virtual machine of memory.
fn set_slot(vm: &VmFd, slot: u32, phys: u64, base: *mut u8, len: u64) -> io::Result<()> {
    let region = kvm_userspace_memory_region {
        slot,
        flags: 0,
        guest_phys_addr: phys,
        memory_size: len,
        userspace_addr: base as u64,
    };
    // SAFETY: the range is a mapping of ours that outlives the virtual machine; slots never
    // overlap, since each begins where the one before ends.
    unsafe { vm.set_user_memory_region(region) }.map_err(io::Error::from)
}

impl Sink for Memory {
    type Error = io::Error;

    fn pages(&mut self, phys: u64, _: PageKind, bytes: &[u8]) -> io::Result<()> {
        self.private.write(phys, bytes)
    }

    fn start(&mut self, _: &Start) -> io::Result<()> {
        Ok(())
    }
}

/// Gives a running Keep more memory.
#[derive(Debug)]
pub(crate) struct Growth {
    vm: Arc<VmFd>,
    private: Arc<Mapping>,
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
        let at = IMAGE_PHYS + self.ram;
        let base = self.private.base.wrapping_add(at as usize);
        set_slot(&self.vm, self.slot, at, base, end - self.ram)?;
        self.slot += 1;
        self.ram = end;
        Ok(end)
    }
}

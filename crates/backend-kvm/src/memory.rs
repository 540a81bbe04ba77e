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

/// The kernel asks for at least that much at a time, so there are never many slots.
const SLOTS_MAX: u32 = 500;

/// A mapping of anonymous memory, aligned to a chunk.
#[derive(Debug)]
pub struct Mapping {
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
    ///
    /// # Errors
    ///
    /// What the host says.
    pub fn new(len: u64, large: u64) -> io::Result<Self> {
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

    /// Copies bytes into the mapping, while the Keep does not run.
    ///
    /// # Errors
    ///
    /// If the mapping is not that large.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
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

impl Mapping {
    /// Copies bytes out of the mapping, while the Keep does not run.
    ///
    /// # Errors
    ///
    /// If the mapping is not that large.
    pub fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if at.checked_add(into.len()).is_none_or(|end| end > self.len) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        // SAFETY: as in `write`, with the roles changed.
        unsafe { self.base.add(at).copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
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
pub struct Memory {
    private: Arc<Mapping>,
    shared: Arc<Mapping>,
}

impl Memory {
    /// Reserves memory for a Keep that may grow to `limit` bytes (a multiple of a chunk). No virtual
    /// machine is told of any of it.
    ///
    /// # Errors
    ///
    /// What the host says.
    pub fn reserve(limit: u64) -> io::Result<Self> {
        let private = Arc::new(Mapping::new(IMAGE_PHYS + limit, IMAGE_PHYS)?);
        let shared = Arc::new(Mapping::new(SHARED_SIZE, 0)?);
        Ok(Self { private, shared })
    }

    /// Reserves memory, and gives a virtual machine the shared block and the first `initial` bytes
    /// behind the page tables.
    pub(crate) fn new(vm: &Arc<VmFd>, initial: u64, limit: u64) -> io::Result<(Self, Growth)> {
        let memory = Self::reserve(limit)?;
        let mut slots = Slots::new(Arc::clone(vm));
        slots.add(SHARED_PHYS, &memory.shared, 0, SHARED_SIZE)?;
        slots.add(TABLES_PHYS, &memory.private, 0, IMAGE_PHYS + initial)?;
        let growth = Growth { slots, private: Arc::clone(&memory.private), ram: initial, limit };
        Ok((memory, growth))
    }

    /// Memory that is the Keep's alone, from physical address 0 on.
    #[must_use]
    pub fn private(&self) -> &Arc<Mapping> {
        &self.private
    }

    /// The block that Keep and host share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Mapping> {
        &self.shared
    }

    /// The shared block, for the host's side.
    #[must_use]
    pub fn window(&self) -> RawWindow {
        // SAFETY: the mapping is aligned to a chunk, as large as the block, and lives as long as
        // this value, which outlives the server (see `machine.rs`); no reference into it exists.
        unsafe { RawWindow::new(self.shared.base) }
    }
}

/// The memory that a virtual machine was told of. The mappings have to outlive the virtual machine:
/// what holds both ends the machine first.
#[derive(Debug)]
pub struct Slots {
    vm: Arc<VmFd>,
    next: u32,
    /// Where they are, for tests that take memory away again.
    #[cfg(feature = "testing")]
    places: Vec<std::ops::Range<u64>>,
}

impl Slots {
    /// None yet. There is one of these for a virtual machine.
    #[must_use]
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self {
            vm,
            next: 0,
            #[cfg(feature = "testing")]
            places: Vec::new(),
        }
    }

    /// Shows `len` bytes of a mapping from `at` on at a physical address.
    ///
    /// # Errors
    ///
    /// If there are too many pieces, the bytes are not in the mapping, or the hypervisor refuses.
    pub fn add(&mut self, phys: u64, mapping: &Mapping, at: u64, len: u64) -> io::Result<()> {
        let inside = at.checked_add(len).is_some_and(|end| end <= mapping.len as u64);
        if self.next == SLOTS_MAX || !inside {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        let region = kvm_userspace_memory_region {
            slot: self.next,
            flags: 0,
            guest_phys_addr: phys,
            memory_size: len,
            userspace_addr: mapping.base.wrapping_add(at as usize) as u64,
        };
        // SAFETY: the range is in a mapping of ours that outlives the virtual machine. That no two
        // slots overlap the hypervisor checks.
        unsafe { self.vm.set_user_memory_region(region) }?;
        self.next += 1;
        #[cfg(feature = "testing")]
        self.places.push(phys..phys + len);
        Ok(())
    }

    /// Hides all pieces that hold a part of this range from the virtual machine again.
    ///
    /// # Errors
    ///
    /// What the hypervisor says.
    #[cfg(feature = "testing")]
    pub fn hide(&mut self, range: &std::ops::Range<u64>) -> io::Result<()> {
        for (slot, place) in self.places.iter_mut().enumerate() {
            if place.start < range.end && range.start < place.end {
                let region = kvm_userspace_memory_region {
                    slot: slot as u32,
                    guest_phys_addr: place.start,
                    ..Default::default()
                };
                // SAFETY: a slot without memory shows nothing.
                unsafe { self.vm.set_user_memory_region(region) }?;
                *place = 0..0;
            }
        }
        Ok(())
    }
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
pub struct Growth {
    slots: Slots,
    private: Arc<Mapping>,
    ram: u64,
    limit: u64,
}

impl keep_host::Memory for Growth {
    fn grow(&mut self, bytes: u64) -> io::Result<u64> {
        let Some(end) = self.ram.checked_add(bytes).filter(|end| *end <= self.limit) else {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        };
        let at = IMAGE_PHYS + self.ram;
        self.slots.add(at, &self.private, at, end - self.ram)?;
        self.ram = end;
        Ok(end)
    }
}

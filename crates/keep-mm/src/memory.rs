// SPDX-License-Identifier: Apache-2.0

//! One address space for a kernel that finds out only at its start of which kind it is.

use keep_layout::{CHUNK, DIRECT_VIRT};

use crate::{Access, Backing, Enclave, Errno, Fault, Flat, Machine, Place, Prot, Space, Usage};

/// The address space of a Keep.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one in a Keep")]
pub enum Memory<M, E> {
    /// In a virtual machine: page tables.
    Tables(Space<M>),
    /// In an enclave.
    Flat(Flat<E>),
}

/// Calls that both kinds have.
macro_rules! both {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $of:ty),*) $(-> $gives:ty)?;)*) => {
        $($(#[$doc])* #[inline] pub fn $name(&mut self, $($argument: $of),*) $(-> $gives)? {
            match self {
                Self::Tables(space) => space.$name($($argument),*),
                Self::Flat(flat) => flat.$name($($argument),*),
            }
        })*
    };
}

impl<M: Machine, E: Enclave> Memory<M, E> {
    both! {
        /// See [`Space::fault`].
        fn fault(address: u64, access: Access) -> Fault;
        /// See [`Space::populate`].
        ///
        /// # Errors
        ///
        /// As there.
        fn populate(address: u64, len: u64, write: bool) -> Result<(), Errno>;
        /// See [`Space::mmap`].
        ///
        /// # Errors
        ///
        /// As there.
        fn mmap(place: Place, len: u64, prot: Prot, backing: Backing) -> Result<u64, Errno>;
        /// See [`Space::munmap`].
        ///
        /// # Errors
        ///
        /// As there.
        fn munmap(address: u64, len: u64) -> Result<(), Errno>;
        /// See [`Space::mprotect`].
        ///
        /// # Errors
        ///
        /// As there.
        fn mprotect(address: u64, len: u64, prot: Prot) -> Result<(), Errno>;
        /// See [`Space::madvise`].
        ///
        /// # Errors
        ///
        /// As there.
        fn madvise(address: u64, len: u64, advice: i32) -> Result<(), Errno>;
        /// See [`Space::brk`].
        fn brk(address: u64) -> u64;
        /// See [`Space::lock_exec`].
        fn lock_exec();
        /// How much is in use.
        fn usage() -> Usage;
    }

    /// Takes memory for the kernel, for good; it is zero, and the address is aligned to a chunk. A
    /// virtual machine has it by whole chunks.
    pub fn alloc(&mut self, len: u64) -> Option<u64> {
        match self {
            Self::Tables(space) => space.alloc_chunks(usize::try_from(len.div_ceil(CHUNK)).ok()?),
            Self::Flat(flat) => flat.alloc(len),
        }
    }

    /// The least that it is worth to [`alloc`](Self::alloc), in bytes, a power of two.
    pub fn unit(&self) -> u64 {
        match self {
            Self::Tables(_) => CHUNK,
            // Each page costs, so no more than is needed.
            Self::Flat(_) => CHUNK / 8,
        }
    }

    /// Where the kernel sees memory that it has taken.
    pub fn at(&self, taken: u64) -> *mut u8 {
        match self {
            Self::Tables(_) => (DIRECT_VIRT + taken) as *mut u8,
            Self::Flat(_) => taken as *mut u8,
        }
    }
}

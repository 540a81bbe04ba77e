// SPDX-License-Identifier: Apache-2.0

//! What goes into the address space and what comes out of it.
//!
//! Linux's numbers stop here: the kernel translates flags into these types, which cannot say
//! anything contradictory.

use alloc::vec::Vec;
use core::ops::Range;

/// What the address space starts from.
#[derive(Clone, Debug)]
pub struct Config {
    /// Physical address of the top-level page table.
    pub root: u64,
    /// Physical pages that can become page tables.
    pub tables: Range<u64>,
    /// Physical memory that is free at the start; its end is the end of all memory. In an enclave there are
    /// no frames, and the start only says how much the image takes.
    pub free_ram: Range<u64>,
    /// The most physical memory there will be, in bytes from address 0.
    pub ram_limit: u64,
    /// Where mappings live.
    pub mmap: Range<u64>,
    /// The initial program break, a byte address.
    pub brk_start: u64,
    /// End of the memory after `brk_start` that is mapped already, chunk-aligned.
    pub brk_mapped_end: u64,
    /// The break never passes this address.
    pub brk_limit: u64,
    /// What the image builder has mapped for the program and the kernel.
    pub image: Vec<Region>,
    /// Whether memory that nobody has used yet is known to be zero.
    pub fresh_is_zero: bool,
}

/// Memory that is mapped from the start and stays as it is.
#[derive(Clone, Debug)]
pub struct Region {
    /// Its addresses.
    pub range: Range<u64>,
    /// Its rights.
    pub prot: Prot,
}

/// Rights to memory. The right to write or to execute includes the right to read, as on x86.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prot(u8);

impl Prot {
    /// No access.
    pub const NONE: Self = Self(0);
    /// Read only.
    pub const READ: Self = Self(1);
    /// Read and write.
    pub const READ_WRITE: Self = Self(3);
    /// Read and execute.
    pub const READ_EXEC: Self = Self(5);

    /// Translates Linux's `PROT_*`.
    ///
    /// # Errors
    ///
    /// `EACCES` for memory that is writable and executable, `EINVAL` for unknown bits.
    pub fn from_linux(bits: u64) -> Result<Self, Errno> {
        match bits {
            0 => Ok(Self::NONE),
            1 => Ok(Self::READ),
            2 | 3 => Ok(Self::READ_WRITE),
            4 | 5 => Ok(Self::READ_EXEC),
            6 | 7 => Err(Errno::EACCES),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Whether memory with these rights may be used so.
    pub fn allows(self, access: Access) -> bool {
        match access {
            Access::Read => self != Self::NONE,
            Access::Write => self.write(),
            Access::Execute => self.exec(),
        }
    }

    /// Read 1, write 2, execute 4.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Those of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn write(self) -> bool {
        self.0 & 2 != 0
    }

    pub(crate) fn exec(self) -> bool {
        self.0 & 4 != 0
    }

    pub(crate) fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// How memory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A load.
    Read,
    /// A store.
    Write,
    /// An instruction fetch.
    Execute,
}

/// Where a new mapping goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Wherever it costs least.
    Anywhere,
    /// Here if there is room, else anywhere.
    Hint(u64),
    /// Here, instead of what is there (`MAP_FIXED`).
    Fixed(u64),
    /// Here, or not at all (`MAP_FIXED_NOREPLACE`).
    FixedNoReplace(u64),
}

/// What a mapping shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Zeros.
    Anonymous,
    /// An object from byte `offset`, privately: what is written is not seen by anybody else.
    Object {
        /// The object.
        object: Object,
        /// First byte of it that is mapped, a multiple of a page.
        offset: u64,
    },
}

/// Content that does not change: memory from [`Space::alloc`](crate::Space::alloc).
///
/// The kernel fills it before it maps it and does not write to it afterwards; bytes from `len` to
/// the end of the last chunk are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Physical address, chunk-aligned.
    pub phys: u64,
    /// Length in bytes.
    pub len: u64,
    /// Whether it may be executed: the kernel knows what it is.
    pub executable: bool,
}

/// What became of a page fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The access works now.
    Resolved,
    /// The program may not do that.
    Denied(Denial),
    /// There is no memory left.
    OutOfMemory,
}

/// Why an access is denied, as Linux tells it to a handler of `SIGSEGV`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Nothing is mapped there (`SEGV_MAPERR`).
    MapErr,
    /// The rights do not suffice (`SEGV_ACCERR`).
    AccErr,
}

/// Linux's error numbers, as far as they occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Not enough memory, or nothing mapped in part of the range.
    pub const ENOMEM: Self = Self(12);
    /// Rights that are never given.
    pub const EACCES: Self = Self(13);
    /// Nothing mapped there, or not with the rights asked for.
    pub const EFAULT: Self = Self(14);
    /// Something is mapped there already.
    pub const EEXIST: Self = Self(17);
    /// An argument makes no sense.
    pub const EINVAL: Self = Self(22);
}

/// How much is in use, for messages to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The most bytes there will be.
    pub limit: u64,
}

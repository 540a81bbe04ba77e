// SPDX-License-Identifier: Apache-2.0

//! What a platform does for the address space: where pages come from, and what has to be done when the
//! tables say something new of one.
//!
//! There are two kinds. A virtual machine has *frames*: memory and addresses are apart, a processor reads
//! the tables, and the kernel reaches all memory through a window ([`Frames`](crate::frames::Frames)). In
//! an enclave a page is accepted at the address where it stays; the processor has its own record, and the
//! tables are the kernel's copy of that ([`Accepted`](crate::accepted::Accepted)). There an entry leads to its
//! own address.

use core::fmt::Debug;
use core::ops::Range;

use crate::Prot;
use crate::tables::{Entry, Tables};

/// The few operations on real memory that the address space needs.
///
/// Physical addresses of page tables are used only with [`read_entry`](Self::read_entry) and
/// [`write_entry`](Self::write_entry), all others only with [`zero`](Self::zero) and
/// [`copy`](Self::copy). A platform whose entries carry more bits (the encryption bit of SEV) adds
/// and removes them in the former two.
pub trait Ram {
    /// Reads the page-table word at physical address `at`.
    fn read_entry(&self, at: u64) -> u64;
    /// Writes the page-table word at physical address `at`.
    fn write_entry(&mut self, at: u64, value: u64);
    /// Clears private memory.
    fn zero(&mut self, phys: u64, len: u64);
    /// Copies private memory that does not overlap.
    fn copy(&mut self, from: u64, to: u64, len: u64);
}

/// A page that is to be mapped.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// Its address.
    pub(crate) page: u64,
    /// Where the content lies that it shows; zeros if that is nowhere.
    pub(crate) from: Option<u64>,
    /// Its rights.
    pub(crate) prot: Prot,
    /// Whether it is to be the mapping's own; otherwise it shows an object, and cannot be written.
    pub(crate) own: bool,
    /// Whether nothing is there.
    pub(crate) fresh: bool,
    /// Whether somebody waits for it; a neighbour is worth less.
    pub(crate) must: bool,
}

/// Where pages come from and where they go.
pub trait Pages: Ram + Debug {
    /// Whether there are frames: then memory comes by whole chunks, and a leaf may map one.
    fn has_frames(&self) -> bool;
    /// Makes a table of empty entries of the page at `at`; whether that is possible.
    fn new_table(&mut self, at: u64) -> bool;
    /// Takes zero memory for good, or a chunk for a leaf. It begins at a chunk.
    fn take(&mut self, tables: &mut Tables, len: u64) -> Option<Range<u64>>;
    /// The memory of a page, with its content, before the tables say so.
    fn provide(&mut self, tables: &mut Tables, want: Want) -> Option<u64>;
    /// The tables have `new` now where `old` was.
    fn change(&mut self, old: Entry, new: Entry);
    /// The last change of a call was made; `stale`: the processor may have seen what was changed.
    fn settle(&mut self, stale: bool);
}

/// A platform's operations, and what has to be known between them.
#[derive(Debug)]
pub struct Source<M, S> {
    pub(crate) machine: M,
    pub(crate) state: S,
}

impl<M: Ram, S> Ram for Source<M, S> {
    fn read_entry(&self, at: u64) -> u64 {
        self.machine.read_entry(at)
    }
    fn write_entry(&mut self, at: u64, value: u64) {
        self.machine.write_entry(at, value);
    }
    fn zero(&mut self, phys: u64, len: u64) {
        self.machine.zero(phys, len);
    }
    fn copy(&mut self, from: u64, to: u64, len: u64) {
        self.machine.copy(from, to, len);
    }
}

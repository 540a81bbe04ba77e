// SPDX-License-Identifier: Apache-2.0

//! The Keep's memory management: frames, page tables and the address space, as pure logic.
//!
//! The kernel is a library OS in ring 3 that edits the page tables itself. This crate decides
//! what it writes there; the few things that touch real memory are behind [`Machine`] and [`Enclave`], so that
//! all of it runs, and is tested, as an ordinary program against a simulated processor.
//!
//! # What shapes it
//!
//! Under a hypervisor without hardware support a leaf of the page tables costs about 20 µs when
//! it is first used, *whatever its size*; an exception costs about as much, and forgetting cached
//! translations four times that. Where there is hardware support all of this is cheap, so what is
//! good here is good there:
//!
//! * Memory is mapped by chunks of 2 MiB wherever the rights of a whole aligned chunk agree, and
//!   by pages of 4 KiB only where they differ. Addresses are chosen so that they agree: large
//!   mappings are aligned, small ones share chunks ([`Space::mmap`] and the `arenas` module).
//! * Memory is mapped when it is touched, with its neighbours; a reservation costs nothing.
//! * Cached translations are forgotten once per call, and only if the call took away a mapping
//!   or changed one that the processor can have seen.
//!
//! # What always holds
//!
//! * No page is ever writable and executable. It follows from the way a leaf is made: only frames
//!   that belong to one mapping (*owned* frames) can be writable, and only the frames of an
//!   immutable [`Object`] can be executable. The direct map loses its right to write to an
//!   executable object when the object is first mapped, whatever its rights.
//! * A frame that was used before is cleared before it is used again.
//! * A mapping can be touched exactly where and how Linux would allow it, with three exceptions,
//!   each of which saves hundreds of leaves and none of which adds a right to write to anything
//!   but plain, private data: read-only parts of an executable object are executable too when
//!   they share a chunk with code; the (zero) rest of an object's last chunk can be read; a page
//!   of a small mapping stays mapped after `munmap` until its arena is dropped, and is cleared
//!   before another mapping gets it.
//!
//! # Objects and W^X
//!
//! An artifact with native code is an [`Object`]. Wasmtime maps such a file readable and writable,
//! then makes it read-only, then makes its code executable. So the question is not whether a
//! mapping ever *could* be written, but whether it ever *was*: writing to a page of an object
//! makes a private copy of it, and a copy never becomes executable. What runs is, byte for byte,
//! the object that the kernel verified.
//!
//! # Enclaves
//!
//! An enclave has no page tables that a processor would read. [`Space`] keeps them all the same, as the record
//! of the pages that were accepted. What differs is behind [`Pages`]: there are no frames apart from addresses and
//! no leaves of chunks, each page costs, and to take something back the host has to be asked, which is
//! put off to the end of a call. The module `accepted` has the rules.
//!
//! # What is left out
//!
//! There is no `mremap`: a libc's `realloc` does without, at the cost of a copy, and it was a tenth
//! of this crate. Memory that the kernel has taken for its heap or for an object is not given
//! back, and neither are chunks that `MADV_DONTNEED` clears.
//!
//! # Heap use
//!
//! The bookkeeping lives on the kernel's heap: one map entry per mapping (at most
//! [`MAX_MAPPINGS`]), 16 bytes for each chunk of memory, 64 bytes for each chunk in pages. A
//! kernel whose heap grows by [`Space::alloc`] must do so *between* calls: no single call
//! needs more than a few KiB, apart from the 16 bytes a chunk when memory grows.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod accepted;
mod areas;
mod arenas;
mod asked;
mod bits;
mod calls;
mod chunks;
mod frames;
mod pages;
mod space;
mod tables;
mod types;

#[cfg(test)]
mod tests;

pub use accepted::Enclave;
pub use areas::MAX_MAPPINGS;
pub use frames::Machine;
pub use pages::{Pages, Ram, Source};
pub use space::Space;
pub use types::{
    Access, Backing, Config, Denial, Errno, Fault, Object, Place, Prot, Region, Usage,
};

// SPDX-License-Identifier: Apache-2.0

//! The kernel's heap: power-of-two blocks on free lists, one list a size.
//!
//! The kernel allocates two kinds of things: small nodes of maps and lists, and pages of file
//! content. Both come and go in a few sizes, so lists that are never merged serve them well, and
//! their code is short enough to be read in a minute. The heap never asks for memory by itself:
//! the kernel tops it up before each call (see `Kernel::provision`), because the code that hands
//! out physical memory allocates, too.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

const SMALLEST: u32 = 4;
const LARGEST: u32 = 21;
const CLASSES: usize = (LARGEST - SMALLEST + 1) as usize;

/// The heap of a kernel that one processor is in at a time.
#[derive(Debug)]
pub struct Heap {
    state: UnsafeCell<State>,
}

#[derive(Debug)]
struct State {
    free: [*mut Node; CLASSES],
    next: usize,
    end: usize,
    available: usize,
}

#[derive(Debug)]
struct Node {
    next: *mut Node,
}

// SAFETY: only who is in the kernel allocates, which is one processor at a time; and neither the
// exception path that runs in the middle of kernel code (it only ends the Keep) nor anything else
// re-enters the allocator.
unsafe impl Sync for Heap {}

impl Heap {
    /// An empty heap.
    pub const fn new() -> Self {
        Self {
            state: UnsafeCell::new(State {
                free: [null_mut(); CLASSES],
                next: 0,
                end: 0,
                available: 0,
            }),
        }
    }

    /// Bytes that are not handed out, in blocks of whatever size.
    pub fn available(&self) -> usize {
        // SAFETY: see `Sync`: nobody else is using the state.
        unsafe { (*self.state.get()).available }
    }

    /// Gives the heap more memory. What is left of the former region goes to the free lists.
    ///
    /// # Safety
    ///
    /// `start .. start + len` must be writable memory that nobody else uses, aligned to `len`
    /// or to 2 MiB.
    pub unsafe fn add(&self, start: usize, len: usize) {
        // SAFETY: see `Sync`: nobody else is using the state.
        let state = unsafe { &mut *self.state.get() };
        state.skip_to(state.end);
        state.next = start;
        state.end = start + len;
        state.available += len;
    }
}

impl State {
    /// Puts what lies before `end` in the region onto the lists of its sizes.
    fn skip_to(&mut self, end: usize) {
        while self.next < end {
            // The largest block that is aligned where the region begins, and fits.
            let fit = self.next.trailing_zeros().min((end - self.next).ilog2());
            let class = fit.clamp(SMALLEST, LARGEST);
            // SAFETY: the block is an unused part of the region, aligned to its size.
            unsafe { self.push(class, self.next) };
            self.next += 1 << class;
        }
    }

    /// Puts a block onto the list of its class.
    ///
    /// # Safety
    ///
    /// The block must be unused memory of that size, aligned to it.
    unsafe fn push(&mut self, class: u32, block: usize) {
        let list = &mut self.free[(class - SMALLEST) as usize];
        let block = block as *mut Node;
        // SAFETY: the caller promises that this is memory, and nobody else's.
        unsafe { block.write(Node { next: *list }) };
        *list = block;
    }

    /// Takes a block from the list of a class.
    fn pop(&mut self, class: u32) -> Option<usize> {
        let list = &mut self.free[(class - SMALLEST) as usize];
        let block = *list;
        if block.is_null() {
            return None;
        }
        // SAFETY: blocks on a list were written as `Node` when they were put there.
        *list = unsafe { (*block).next };
        Some(block as usize)
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

/// The class of a layout: the smallest power of two that holds it, aligned.
fn class(layout: Layout) -> Option<u32> {
    let size = layout.size().max(layout.align()).max(1 << SMALLEST);
    let class = size.checked_next_power_of_two()?.trailing_zeros();
    (class <= LARGEST).then_some(class)
}

// SAFETY: blocks are powers of two, aligned to their size, on exactly one list or in exactly one
// allocation at a time.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class(layout) else { return null_mut() };
        // SAFETY: see `Sync`: nobody else is using the state.
        let state = unsafe { &mut *self.state.get() };
        let size = 1_usize << class;
        let start = state.next.next_multiple_of(size);
        let block = if let Some(block) = state.pop(class) {
            block
        } else if start + size <= state.end {
            state.skip_to(start);
            state.next = start + size;
            start
        } else {
            // A larger block is split; its upper halves go to their lists.
            let larger =
                (class + 1..=LARGEST).find_map(|larger| Some((larger, state.pop(larger)?)));
            let Some((larger, block)) = larger else { return null_mut() };
            for half in class..larger {
                // SAFETY: the upper half of a free block is free, and aligned to its size.
                unsafe { state.push(half, block + (1 << half)) };
            }
            block
        };
        state.available -= size;
        block as *mut u8
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some(class) = class(layout) else { return };
        // SAFETY: see `Sync`: nobody else is using the state.
        let state = unsafe { &mut *self.state.get() };
        // SAFETY: the caller gives back a block of this layout, so of this class.
        unsafe { state.push(class, block as usize) };
        state.available += 1 << class;
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` rounded up to the alignment does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if class(wanted) == class(layout) {
            return block;
        }
        // SAFETY: `wanted` is a layout of non-zero size, as the caller promises.
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            // SAFETY: both blocks hold that many bytes, and are different blocks.
            unsafe { moved.copy_from_nonoverlapping(block, layout.size().min(size)) };
            // SAFETY: the caller gives `block` back with its layout.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    const REGION: usize = 2 << 20;

    fn heap() -> Heap {
        let heap = Heap::new();
        let layout = Layout::from_size_align(REGION, REGION).unwrap();
        // SAFETY: the region is fresh, of that size and alignment, and never given back.
        unsafe { heap.add(std::alloc::alloc(layout) as usize, REGION) };
        heap
    }

    #[test]
    fn blocks_never_overlap_and_all_come_back() {
        let heap = heap();
        let mut live: std::vec::Vec<(usize, Layout)> = std::vec::Vec::new();
        let mut seed = 12345_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let pick = (seed >> 33) as usize;
            if pick.is_multiple_of(3) && !live.is_empty() {
                let (block, layout) = live.swap_remove(pick % live.len());
                // SAFETY: it came from this heap with this layout.
                unsafe { heap.dealloc(block as *mut u8, layout) };
                continue;
            }
            let layout = Layout::from_size_align(1 + pick % 5000, 1 << (pick % 9)).unwrap();
            // SAFETY: the size is not zero.
            let block = unsafe { heap.alloc(layout) } as usize;
            if block == 0 {
                continue;
            }
            assert_eq!(block % layout.align(), 0);
            for (other, with) in &live {
                assert!(block + layout.size() <= *other || other + with.size() <= block);
            }
            live.push((block, layout));
        }
        for (block, layout) in live {
            // SAFETY: as above.
            unsafe { heap.dealloc(block as *mut u8, layout) };
        }
        assert_eq!(heap.available(), REGION);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let heap = heap();
        let layout = Layout::from_size_align(REGION + 1, 8).unwrap();
        // SAFETY: the size is not zero.
        assert!(unsafe { heap.alloc(layout) }.is_null());
    }
}

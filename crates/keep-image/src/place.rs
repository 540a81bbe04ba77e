// SPDX-License-Identifier: Apache-2.0

//! Chooses the addresses: where the program goes, and which memory holds what.
//!
//! The kernel does not move. Its text ends and its data begins at the boundary between the
//! read-and-execute and the read-and-write region, and the program is laid around it: text and
//! trampolines below the kernel's text, data above the kernel's data. The program's own distance
//! between text and data cannot be changed, so there is one number to choose, its base.

use keep_layout::{CHUNK, IMAGE_PHYS, KERNEL_DATA, KERNEL_TEXT, PAGE, PROGRAM_START};

use crate::elf::Elf;
use crate::error::{BuildError, Part};

/// The first page tables have room for the data up to here, and for as much memory.
const DATA_LIMIT: u64 = 1 << 30;

/// Where everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// What is added to the program's addresses.
    pub(crate) base: u64,
    /// First chunk of the read-and-execute region.
    pub(crate) text_start: u64,
    /// The page of start information and descriptor tables.
    pub(crate) info: u64,
    /// The page behind it: the program break.
    pub(crate) brk_start: u64,
    /// End of the last chunk of the read-and-write region.
    pub(crate) data_end: u64,
}

impl Place {
    /// Places a program behind a kernel whose data ends at `kernel_data_end`; its trampolines end
    /// at `trampolines_end` (an address of the program).
    pub(crate) fn choose(
        kernel_data_end: u64,
        program: &Elf<'_>,
        trampolines_end: u64,
    ) -> Result<Self, BuildError> {
        let text_start = program.segments.first().map_or(0, |s| page_down(s.start));
        let text_end = page_up(trampolines_end);
        let data = program.segments.iter().find(|s| s.writable).map(|s| page_down(s.start));
        let data_end = program.segments.last().map_or(0, |s| s.end);

        let size = text_end - text_start;
        if size > KERNEL_TEXT - PROGRAM_START {
            return Err(BuildError::TextTooLong { size, room: KERNEL_TEXT - PROGRAM_START });
        }
        // The base is counted from PROGRAM_START, so that it cannot be negative.
        let lowest = data.map_or(0, |data| {
            (kernel_data_end - PROGRAM_START).saturating_sub(data.saturating_sub(text_start))
        });
        let highest = KERNEL_TEXT - PROGRAM_START - size;
        if lowest > highest {
            return Err(BuildError::Distance {
                have: data.unwrap_or(0).saturating_sub(text_end),
                need: kernel_data_end - KERNEL_TEXT,
            });
        }

        // The fewest chunks, for each costs a millisecond at its first touch. The number changes
        // only where an end meets a chunk's boundary, and the ends of the range are that or better.
        let place = |shift: u64| {
            // Addresses in the file may begin above PROGRAM_START; then the base wraps, as it may.
            let base = (PROGRAM_START + shift).wrapping_sub(text_start);
            let end =
                kernel_data_end.max(if data.is_some() { base.wrapping_add(data_end) } else { 0 });
            let info = page_up(end);
            Self {
                base,
                text_start: (PROGRAM_START + shift) / CHUNK * CHUNK,
                info,
                brk_start: info + PAGE,
                data_end: (info + PAGE).next_multiple_of(CHUNK),
            }
        };
        let text_boundary = (lowest + PROGRAM_START).next_multiple_of(CHUNK) - PROGRAM_START;
        let best = [lowest, text_boundary, highest]
            .into_iter()
            .filter(|shift| (lowest..=highest).contains(shift))
            .chain((text_boundary..=highest).step_by(CHUNK as usize))
            .map(place)
            .min_by_key(|place| (place.data_end - place.text_start, place.base));
        let place = best.unwrap_or_else(|| place(highest));
        if place.data_end > DATA_LIMIT {
            return Err(BuildError::DataTooLong { end: place.data_end, limit: DATA_LIMIT });
        }
        Ok(place)
    }

    /// Physical address of the read-and-execute region.
    pub(crate) fn text_phys(&self) -> u64 {
        IMAGE_PHYS
    }

    /// Physical address of the read-and-write region.
    pub(crate) fn data_phys(&self) -> u64 {
        IMAGE_PHYS + (KERNEL_DATA - self.text_start)
    }

    /// Physical end of the image.
    pub(crate) fn image_end(&self) -> u64 {
        self.data_phys() + (self.data_end - KERNEL_DATA)
    }

    /// The physical address of an address in one of the two regions.
    pub(crate) fn phys(&self, virt: u64) -> u64 {
        // Both regions are contiguous, and so are they with each other.
        self.text_phys() + (virt - self.text_start)
    }
}

/// Checks that the kernel lies where the map says; gives the end of its data, on a page.
pub(crate) fn check_kernel(kernel: &Elf<'_>) -> Result<u64, BuildError> {
    let mut end = KERNEL_DATA;
    for segment in &kernel.segments {
        let room =
            if segment.writable { KERNEL_DATA..DATA_LIMIT } else { KERNEL_TEXT..KERNEL_DATA };
        if segment.start < room.start || segment.end > room.end {
            return Err(BuildError::elf(
                Part::Kernel,
                format!(
                    "a segment lies at {:#x} to {:#x}, but the map has room at {:#x} to {:#x}",
                    segment.start, segment.end, room.start, room.end
                ),
            ));
        }
        if segment.writable {
            end = end.max(page_up(segment.end));
        }
    }
    Ok(end)
}

pub(crate) fn page_down(address: u64) -> u64 {
    address / PAGE * PAGE
}

pub(crate) fn page_up(address: u64) -> u64 {
    address.next_multiple_of(PAGE)
}

// SPDX-License-Identifier: Apache-2.0

//! Where functions begin and end, from the tables for unwinding.
//!
//! Symbols would say the same, but a program that ships has none, and an image shall be the same
//! with and without them. The tables for unwinding are loaded with the program, so no tool takes
//! them away. Their format is that of the Linux Standard Base, "Exception Frames"; only the
//! encodings that linkers write for x86-64 are read. Whatever is not understood is left out, which
//! makes a function unknown and its `syscall`s stay.
//!
//! Once they are read here the tables have served: see [`settle`](crate::settle).

use std::ops::Range;

use crate::elf::Elf;

/// `eh_frame_hdr`: version 1; then the encodings of the pointer to `eh_frame` (4 bytes, relative
/// to itself), of the number of entries (4 bytes) and of the entries (4 bytes, relative to the
/// table).
const HEADER: [u8; 4] = [1, 0x1b, 0x03, 0x3b];

/// What the tables for unwinding say, and where they are.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    /// The functions: ascending, without overlap.
    pub(crate) known: Vec<Range<u64>>,
    /// The index, and all descriptions that it leads to with their parents.
    pub(crate) tables: Vec<Range<u64>>,
}

/// Reads the tables whose index begins at `table` (`PT_GNU_EH_FRAME`).
pub(crate) fn read(program: &Elf<'_>, table: u64) -> Functions {
    let word = |at: u64| -> Option<u32> {
        let bytes = program.bytes(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    let relative =
        |at: u64, to: u64| Some(to.wrapping_add_signed(i64::from(word(at)?.cast_signed())));
    // A description, or a parent: its length, not counting these four bytes, and so many more.
    let whole = |at: u64| -> Option<Range<u64>> {
        let range = at..at.checked_add(4)?.checked_add(u64::from(word(at)?))?;
        program.bytes(range.clone()).map(|_| range)
    };

    let mut functions = Functions::default();
    if word(table) != Some(u32::from_le_bytes(HEADER)) {
        return functions;
    }
    let count = u64::from(word(table + 8).unwrap_or(0));
    let index = table..table + 12 + 8 * count;
    if program.bytes(index.clone()).is_none() {
        return functions;
    }
    functions.tables.push(index);
    let mut last_parent = None;
    for entry in (table + 12..).step_by(8).take(count as usize) {
        let (Some(start), Some(frame)) = (relative(entry, table), relative(entry + 4, table))
        else {
            break;
        };
        // A description: its length, its parent, the function's begin (relative to itself) and
        // length. That begin and index agree says that it is encoded this way.
        if frame.checked_add(16).is_none() || relative(frame + 8, frame + 8) != Some(start) {
            continue;
        }
        let Some(parent) =
            word(frame + 4).and_then(|distance| (frame + 4).checked_sub(u64::from(distance)))
        else {
            continue;
        };
        functions.tables.extend(whole(frame));
        if last_parent.replace(parent) != Some(parent) {
            functions.tables.extend(whole(parent));
        }
        // Behind the parent's length, its number and its version stand the letters of what it
        // adds. An S marks the return from signals, which is described from one byte before its
        // first.
        let letters = parent.checked_add(9).and_then(|at| {
            program.bytes(at..at.checked_add(8)?)?.split(|letter| *letter == 0).next()
        });
        if letters.is_none_or(|letters| letters.iter().any(|letter| !b"zRPL".contains(letter))) {
            continue;
        }
        let Some(len) = word(frame + 12) else { continue };
        functions.known.push(start..start + u64::from(len));
    }
    functions.known.sort_by_key(|function| function.start);
    let starts: Vec<u64> = functions.known.iter().skip(1).map(|function| function.start).collect();
    for (function, next) in functions.known.iter_mut().zip(starts) {
        function.end = function.end.min(next);
    }
    functions
}

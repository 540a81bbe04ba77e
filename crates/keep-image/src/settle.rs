// SPDX-License-Identifier: Apache-2.0

//! What changes in a program because its place is known, and what it then needs no more.
//!
//! A position-independent program applies its relocations when it starts. The place of a Keep's
//! program is known when its image is built, so those that only add the base are applied there, and
//! the table that the program reads is left without them. What remains of it takes a choice that only the
//! processor in the Keep can make (`IRELATIVE`).
//!
//! Tables for unwinding serve programs that catch panics and debuggers. A Keep's programs abort, and no
//! debugger is there; they were read for the functions' bounds (see [`functions`](crate::functions)). A
//! program that unwinds all the same finds an index of no known version, and dies.
//!
//! Both kinds of tables are cleared, and pages with nothing else are not in the image at all: that
//! is one byte in ten of a program which nobody has to copy, to measure or to trust.

use std::ops::Range;

use crate::elf::Elf;

/// What changes, in the program's own addresses.
#[derive(Debug, Default)]
pub(crate) struct Settlement {
    /// Words to write.
    pub(crate) words: Vec<(u64, u64)>,
    /// Bytes that nothing reads any more: ascending, and what touches is one.
    pub(crate) dead: Vec<Range<u64>>,
}

impl Settlement {
    /// For a program at this base.
    pub(crate) fn new(program: &Elf<'_>, base: u64) -> Self {
        let mut settlement = Self { words: Vec::new(), dead: program.functions.tables.clone() };
        if let Some(relative) = program.relative() {
            let moved = |(at, to): (u64, u64)| (at, base.wrapping_add(to));
            settlement.words.extend(relative.words.into_iter().map(moved));
            settlement.words.extend(relative.dynamic);
            settlement.dead.push(relative.table);
        }
        settlement.dead = union(settlement.dead);
        settlement
    }
}

fn union(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    ranges.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let ranges = vec![8..12, 0..4, 4..8, 20..30, 21..22, 40..41];
        assert_eq!(union(ranges), [0..12, 20..30, 40..41]);
        assert_eq!(union(Vec::new()), []);
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Why an image cannot be built or read.
//!
//! Whoever sees a [`BuildError`] is building Enarx, and whoever sees a [`DecodeError`] has a broken
//! copy of it, so the sentences speak to these two people.

use std::fmt;

/// The two ELF files that an image is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The Keep's kernel.
    Kernel,
    /// The program that runs on it.
    Program,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Program => "program",
        })
    }
}

/// Why an image cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The file is no ELF file of the kind that is needed.
    #[error("the {part}'s ELF file cannot be used: {problem}")]
    Elf {
        /// Which file.
        part: Part,
        /// What is wrong with it.
        problem: String,
    },
    /// The words at the begin of the kernel's text do not make sense.
    #[error("the kernel's header cannot be used: {problem}")]
    Header {
        /// What is wrong with it.
        problem: String,
    },
    /// The kernel and its data do not fit between the program's text and data.
    #[error(
        "the program's text ends {have:#x} bytes before its data, but {need:#x} are needed for the \
         kernel between them: link the program with -z max-page-size=0x200000"
    )]
    Distance {
        /// The distance in the program.
        have: u64,
        /// The distance that the kernel and the trampolines need.
        need: u64,
    },
    /// The program's text is longer than the room for it.
    #[error("the program's text takes {size:#x} bytes, but there is room for {room:#x}")]
    TextTooLong {
        /// Its length, up to its data.
        size: u64,
        /// The length that would fit.
        room: u64,
    },
    /// Data takes more addresses than the first page tables map.
    #[error("the data of kernel and program ends at {end:#x}, beyond {limit:#x}")]
    DataTooLong {
        /// Where it ends.
        end: u64,
        /// Where it had to end.
        limit: u64,
    },
}

impl BuildError {
    pub(crate) fn elf(part: Part, problem: impl Into<String>) -> Self {
        Self::Elf { part, problem: problem.into() }
    }

    pub(crate) fn header(problem: impl Into<String>) -> Self {
        Self::Header { problem: problem.into() }
    }
}

/// Why bytes are not an encoded image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// They do not begin like one.
    #[error("not an encoded Keep image")]
    Magic,
    /// They are of a version that this builder does not write.
    #[error("a Keep image of unknown version {0}")]
    Version(u64),
    /// They end too early, or do not end where they should.
    #[error("a Keep image of the wrong length")]
    Length,
    /// A run of pages is empty, off a page, out of order or outside of the image's memory.
    #[error("a Keep image with a misplaced run of pages")]
    Run,
    /// The start information in front is not the one in the pages.
    #[error("a Keep image that contradicts itself")]
    Info,
}

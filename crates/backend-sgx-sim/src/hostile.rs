// SPDX-License-Identifier: Apache-2.0

//! What a hostile host does to a Keep, for tests: the machine of a Keep plays processor and host, so it is told
//! where to stop being honest. The processor's part stays true in all of it; a host cannot change that.

/// One thing that a hostile host does. Counts begin with 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trick {
    /// Interrupts the enclave again and again, at random moments that are at most `within` nanoseconds apart,
    /// `count` times; each time it enters the handler before it resumes.
    Storm {
        /// Longest time between two interrupts, in nanoseconds.
        within: u64,
        /// Number of interrupts.
        count: u64,
    },
    /// Says that pages were restricted, and restricts none: the request with this number.
    SkipRestrict(u64),
    /// Says that pages were trimmed, and trims none.
    SkipTrim(u64),
    /// Says that pages were removed, and removes none.
    SkipRemove(u64),
    /// Adds no page from the one with this number on.
    NoPages(u64),
    /// Removes a page at a doorbell.
    Take {
        /// Number of the doorbell.
        doorbell: u64,
        /// The page.
        address: u64,
    },
    /// Removes a page at a doorbell and adds an empty one in its place.
    Replace {
        /// Number of the doorbell.
        doorbell: u64,
        /// The page.
        address: u64,
    },
    /// Answers an operation with this number.
    Answer {
        /// Number of the operation.
        operation: u64,
        /// RDI.
        value: u64,
    },
    /// Enters the handler once more, instead of resuming the thread.
    EnterForResume(u64),
    /// Resumes, after an operation, where nothing was interrupted.
    ResumeForEnter(u64),
    /// Enters always with other registers full of what it likes, and with flags that compiled code does not expect.
    Registers,
    /// Puts something else where the quoting enclave's `TARGETINFO` belongs.
    WrongTarget,
}

impl Trick {
    pub(crate) fn to_words(self) -> [u64; 3] {
        match self {
            Self::Storm { within, count } => [1, within, count],
            Self::SkipRestrict(number) => [2, number, 0],
            Self::SkipTrim(number) => [3, number, 0],
            Self::SkipRemove(number) => [4, number, 0],
            Self::NoPages(number) => [5, number, 0],
            Self::Take { doorbell, address } => [6, doorbell, address],
            Self::Replace { doorbell, address } => [7, doorbell, address],
            Self::Answer { operation, value } => [8, operation, value],
            Self::EnterForResume(number) => [9, number, 0],
            Self::ResumeForEnter(number) => [10, number, 0],
            Self::Registers => [11, 0, 0],
            Self::WrongTarget => [12, 0, 0],
        }
    }

    pub(crate) fn from_words([kind, first, second]: [u64; 3]) -> Option<Self> {
        Some(match kind {
            1 => Self::Storm { within: first, count: second },
            2 => Self::SkipRestrict(first),
            3 => Self::SkipTrim(first),
            4 => Self::SkipRemove(first),
            5 => Self::NoPages(first),
            6 => Self::Take { doorbell: first, address: second },
            7 => Self::Replace { doorbell: first, address: second },
            8 => Self::Answer { operation: first, value: second },
            9 => Self::EnterForResume(first),
            10 => Self::ResumeForEnter(first),
            11 => Self::Registers,
            12 => Self::WrongTarget,
            _ => return None,
        })
    }
}

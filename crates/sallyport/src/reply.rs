// SPDX-License-Identifier: Apache-2.0

//! Answers that nobody can use before they were checked, and what is wrong with those that fail.

use core::fmt;
use core::ops::RangeInclusive;

use crate::Call;

/// A number from the host. It can be had only through a check, so a check cannot be forgotten:
///
/// ```compile_fail,E0616
/// fn trusting(answer: sallyport::Unchecked) -> usize {
///     answer.value as usize
/// }
/// ```
///
/// ```
/// fn careful(answer: sallyport::Unchecked, asked: u64) -> Result<u64, sallyport::Lie> {
///     answer.at_most(asked)
/// }
/// ```
#[derive(Clone, Copy)]
#[must_use]
pub struct Unchecked {
    what: &'static str,
    value: u64,
}

impl Unchecked {
    /// Marks a number as the host's answer to `what`.
    pub const fn new(what: &'static str, value: u64) -> Self {
        Self { what, value }
    }

    /// The value, if it is no more than `limit`.
    ///
    /// # Errors
    ///
    /// [`Lie::Value`] if it is more.
    pub fn at_most(self, limit: u64) -> Result<u64, Lie> {
        self.check(self.value <= limit)
    }

    /// The value, if it has no bit that is not in `mask`.
    ///
    /// # Errors
    ///
    /// [`Lie::Value`] if it has one.
    pub fn subset_of(self, mask: u64) -> Result<u64, Lie> {
        self.check(self.value & !mask == 0)
    }

    /// The value, if it is in `range` and a multiple of `unit`.
    ///
    /// # Errors
    ///
    /// [`Lie::Value`] if it is not.
    pub fn multiple_of(self, unit: u64, range: RangeInclusive<u64>) -> Result<u64, Lie> {
        self.check(range.contains(&self.value) && self.value.is_multiple_of(unit))
    }

    /// The lower and the upper 32 bits, each to be checked.
    pub fn halves(self, lower: &'static str, upper: &'static str) -> (Self, Self) {
        (Self::new(lower, self.value & 0xffff_ffff), Self::new(upper, self.value >> 32))
    }

    fn check(self, sound: bool) -> Result<u64, Lie> {
        let Self { what, value } = self;
        if sound { Ok(value) } else { Err(Lie::Value { what, value }) }
    }
}

impl fmt::Debug for Unchecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Printing is not checking.
        write!(f, "Unchecked({}, ..)", self.what)
    }
}

/// What the host did that no honest host does. A Keep that sees one must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// The header does not begin with the magic number.
    Magic,
    /// The header is of another version.
    Version(u64),
    /// A number is outside what it can be.
    Value {
        /// Which number.
        what: &'static str,
        /// What the host said.
        value: u64,
    },
    /// The host claims to have answered more, or fewer, requests than it can have.
    Completed(u64),
    /// An answer is to another request than the one it stands for.
    Sequence {
        /// The request.
        expected: u64,
        /// What the host said.
        got: u64,
    },
    /// An error that this call cannot end with.
    Status {
        /// The call.
        call: Call,
        /// What the host said.
        status: u64,
    },
    /// The host let the Keep go on, again and again, without answering it.
    Silence,
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host broke the protocol: ")?;
        match *self {
            Self::Magic => f.write_str("the shared block has no header"),
            Self::Version(v) => write!(f, "version {v} of the protocol is not known"),
            Self::Value { what, value } => write!(f, "{value:#x} cannot be the {what}"),
            Self::Completed(n) => write!(f, "it cannot have answered {n} requests"),
            Self::Sequence { expected, got } => {
                write!(f, "the answer to request {expected} is marked {got}")
            }
            Self::Status { call, status } => {
                write!(f, "{} cannot fail with error {status}", call.name())
            }
            Self::Silence => f.write_str("it does not answer"),
        }
    }
}

impl core::error::Error for Lie {}

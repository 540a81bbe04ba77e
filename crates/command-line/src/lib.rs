// SPDX-License-Identifier: Apache-2.0

//! What the executables of this product have in common on a terminal: errors and their exit codes,
//! colours, warnings, the log, files that are named in options, and the manual.
//!
//! Each program has an enum of exit codes of its own, because they are a promise of that program;
//! it implements [`Codes`], and names `Failure` for itself:
//!
//! ```
//! #[derive(Debug, Clone, Copy, PartialEq, Eq)]
//! enum Code { Usage = 2, Input = 3, Failed = 5 }
//!
//! impl command_line::Codes for Code {
//!     const USAGE: Self = Self::Usage;
//!     const INPUT: Self = Self::Input;
//!     const FAILED: Self = Self::Failed;
//!     fn number(self) -> u8 { self as u8 }
//! }
//!
//! type Failure = command_line::Failure<Code>;
//! ```

#![forbid(unsafe_code)]

mod failure;
pub mod files;
pub mod log;
pub mod manual;
mod output;
mod style;

pub use failure::{Codes, Failure, OrExit};
pub use output::{print, print_bytes, print_json, warn};
pub use style::Style;

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes from hexadecimal digits of either case.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_back() {
        assert_eq!(unhex(&hex(&[0, 0x9f, 255])), Some(vec![0, 0x9f, 255]));
        for bad in ["0", "0g", "+1", "é"] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! What the executables of this product have in common on a terminal: errors and their exit codes,
//! colours, warnings, the log, files that are named in options, and the manual.
//!
//! Each program has exit codes of its own, because they are a promise of that program:
//!
//! ```
//! command_line::exit_codes! {
//!     "0" => "all is well",
//!     Usage = 2 => "the command line is wrong",
//!     Input = 3 => "a file that was named cannot be used",
//!     Failed = 5 => "something else failed",
//! }
//!
//! fn run() -> Result<(), Failure> {
//!     Err(Failure::msg(Code::Input, "there is no such file"))
//! }
//! # use command_line::Codes;
//! # assert_eq!(run().unwrap_err().code.number(), 3);
//! # assert!(Code::table().ends_with("\n  5  something else failed"));
//! ```

#![forbid(unsafe_code)]

mod codes;
mod failure;
pub mod files;
pub mod log;
pub mod manual;
mod output;
mod style;

pub use codes::Codes;
pub use failure::{Failure, OrExit};
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

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
pub use evidence_pki::{hex, unhex};
pub use failure::{Failure, OrExit};
pub use output::{print, print_bytes, print_json, warn};
pub use style::Style;

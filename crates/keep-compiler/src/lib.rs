// SPDX-License-Identifier: Apache-2.0

//! The compiler Keep program: turns a module into an authenticated artifact.
//!
//! The program is the binary of this crate, behind the feature `program`; `keep-programs` builds it
//! as a static ELF and embeds it. There is no library: what the two programs share lies in
//! `keep-engine`, `keep-artifact` and `keep-launch`.

#![forbid(unsafe_code)]

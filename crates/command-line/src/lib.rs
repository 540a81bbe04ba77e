// SPDX-License-Identifier: Apache-2.0

//! What the executables of this product have in common on a terminal: errors, colours, log, manual, completions.

#![forbid(unsafe_code)]

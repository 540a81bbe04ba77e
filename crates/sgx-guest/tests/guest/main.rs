// SPDX-License-Identifier: Apache-2.0

//! Structures against recorded ones and against the processor's manual, decisions against their table.

mod decisions;
mod keys;
mod pointers;
mod recorded;
mod structures;

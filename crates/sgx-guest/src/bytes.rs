// SPDX-License-Identifier: Apache-2.0

//! Fields of structures in memory: at a fixed place, and checked to be inside when the code is compiled.

use core::fmt;

/// Why bytes are no value of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// Bytes or bits that must be zero are not; the structure's name.
    Reserved(&'static str),
    /// A field has a value that it cannot have; its name.
    Field(&'static str),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(name) => write!(f, "reserved bytes of {name} are not zero"),
            Self::Field(name) => write!(f, "{name} cannot have this value"),
        }
    }
}

impl core::error::Error for LayoutError {}

/// The field of `N` bytes at `AT`.
pub(crate) fn get<const AT: usize, const N: usize, const SIZE: usize>(
    whole: &[u8; SIZE],
) -> [u8; N] {
    const { assert!(AT + N <= SIZE, "the field is inside") }
    // The assertion makes this always find the field; the other arm is for the compiler.
    match whole.get(AT..).and_then(|rest| rest.first_chunk()) {
        Some(field) => *field,
        None => [0; N],
    }
}

/// Writes the field of `N` bytes at `AT`.
pub(crate) fn put<const AT: usize, const N: usize, const SIZE: usize>(
    whole: &mut [u8; SIZE],
    value: [u8; N],
) {
    const { assert!(AT + N <= SIZE, "the field is inside") }
    if let Some(field) = whole.get_mut(AT..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value;
    }
}

/// Whether the bytes from `from` up to `to` are zero.
pub(crate) fn is_zero(whole: &[u8], from: usize, to: usize) -> bool {
    whole.get(from..to).is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
}

/// A value where the processor wants it: `SECINFO`, keys.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Align64<T>(pub T);

/// A value where the processor wants it: `REPORTDATA`.
#[repr(C, align(128))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Align128<T>(pub T);

/// A value where the processor wants it: `TARGETINFO`, `REPORT`, `KEYREQUEST`.
#[repr(C, align(512))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Align512<T>(pub T);

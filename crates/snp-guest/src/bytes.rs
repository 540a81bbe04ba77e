// SPDX-License-Identifier: Apache-2.0

//! Little-endian fields at fixed offsets.
//!
//! Offsets are constants of this crate and lie inside of what they are used on. Should one not,
//! reading gives zeros and writing does nothing; a Keep must not have code that panics.

/// `N` bytes from `at`.
pub(crate) fn get<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    debug_assert!(field.is_some(), "no {N} bytes at {at:#x}");
    field.copied().unwrap_or([0; N])
}

/// Puts bytes at `at`.
pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, field: [u8; N]) {
    let place = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
    debug_assert!(place.is_some(), "no {N} bytes at {at:#x}");
    if let Some(place) = place {
        *place = field;
    }
}

pub(crate) fn u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(get(bytes, at))
}

pub(crate) fn u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(get(bytes, at))
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |any, byte| any | byte) == 0
}

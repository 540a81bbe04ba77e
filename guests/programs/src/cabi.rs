// SPDX-License-Identifier: Apache-2.0

//! Lets a component's adapter ask this program's allocator for its memory.
//!
//! Without this export the preview1 adapter grows the memory by itself, and the wasi-libc of some
//! distributions (2022) takes such pages for its own heap: two owners, and the adapter fails in the
//! middle of a run. Only the programs that are also made into components need it.

use std::alloc::{Layout, alloc, realloc};

/// `cabi_realloc` of the canonical ABI.
///
/// # Safety
///
/// `old`, `old_len` and `align` describe memory that an earlier call returned, or `old_len` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cabi_realloc(
    old: *mut u8,
    old_len: usize,
    align: usize,
    new_len: usize,
) -> *mut u8 {
    let Ok(layout) = Layout::from_size_align(if old_len == 0 { new_len } else { old_len }, align)
    else {
        core::arch::wasm32::unreachable()
    };
    if new_len == 0 {
        return align as *mut u8;
    }
    // SAFETY: the layout has a size, and is that of `old` where there is one.
    let new = unsafe { if old_len == 0 { alloc(layout) } else { realloc(old, layout, new_len) } };
    if new.is_null() { core::arch::wasm32::unreachable() } else { new }
}

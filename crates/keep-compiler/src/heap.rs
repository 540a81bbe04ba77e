// SPDX-License-Identifier: Apache-2.0

//! The allocator's settings: a compiler allocates much, and lives only for seconds.
//!
//! Left alone, glibc asks the kernel for 128 KiB at a time and gives large blocks back at once.
//! Compiling CPython made hundreds of such calls, and each fresh page is cleared by the kernel
//! again. Asking for much at a time costs addresses only: what is not touched is not there.

/// Sets the allocator up. Does nothing where the C library has no such switches.
pub(crate) fn tune() {
    #[cfg(target_env = "gnu")]
    for (switch, value) in [
        (libc::M_TOP_PAD, 64 << 20),
        (libc::M_TRIM_THRESHOLD, i32::MAX),
        (libc::M_MMAP_THRESHOLD, 1 << 30),
    ] {
        // SAFETY: the switches belong to this C library and take any integer; a value that it
        // does not like changes nothing. No other thread exists yet.
        unsafe {
            libc::mallopt(switch, value);
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Two functions that the C library of some distributions (2022) does not have and that tokio's way
//! to start threads refers to. There are no threads to start, so nothing ever calls them.

/// As in POSIX: there is no such thread.
#[unsafe(no_mangle)]
extern "C" fn pthread_join(_: usize, _: *mut *mut core::ffi::c_void) -> i32 {
    3
}

/// As in POSIX: there is no such thread.
#[unsafe(no_mangle)]
extern "C" fn pthread_detach(_: usize) -> i32 {
    3
}

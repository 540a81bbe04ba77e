// SPDX-License-Identifier: Apache-2.0

//! The interface of Linux to enclaves, as numbers and structures (`include/uapi/asm/sgx.h` of x86; the `ioctl`s
//! of pages since Linux 6.0).
//!
//! Everything here is plain data. Who calls the driver has to keep what addresses point to alive and mapped.
//!
//! | step | how |
//! |---|---|
//! | `ECREATE` | open [`DEVICE`], map the addresses, [`CREATE`] |
//! | `EADD`, `EEXTEND` | [`ADD_PAGES`], with [`MEASURE`] for the second |
//! | `EINIT` | [`INIT`] |
//! | `EAUG` | a fault at an address that is mapped and has no page |
//! | `EMODPR`, `ETRACK` | [`RESTRICT_PERMISSIONS`] |
//! | `EMODT`, `ETRACK` | [`MODIFY_TYPES`] |
//! | `EREMOVE` | [`REMOVE_PAGES`], after the enclave accepted that pages are trimmed; before, `EPERM` |
//! | `EENTER`, `ERESUME` | the kernel's `__vdso_sgx_enter_enclave`, with an [`EnclaveRun`] |
//!
//! Calls on ranges count in `count` how many bytes are done; `EAGAIN` and `EINTR` ask to go on from there. A
//! leaf function's own error is in `result`.

use std::mem::{offset_of, size_of};

/// The device.
pub const DEVICE: &str = "/dev/sgx_enclave";
/// The device whose open descriptor lets an enclave have provisioning keys. No Keep needs it.
pub const PROVISION_DEVICE: &str = "/dev/sgx_provision";

/// Type of all the requests.
const MAGIC: u32 = 0xa4;
/// The kernel reads the structure.
const WRITE: u32 = 1;
/// The kernel reads and writes the structure.
const READ_WRITE: u32 = 3;

/// The number of an `ioctl` request (`include/uapi/asm-generic/ioctl.h`).
const fn request<T>(direction: u32, number: u32) -> u32 {
    direction << 30 | (size_of::<T>() as u32) << 16 | MAGIC << 8 | number
}

/// Makes an enclave: [`Create`].
pub const CREATE: u32 = request::<Create>(WRITE, 0);
/// Adds pages to an enclave that does not run yet: [`AddPages`].
pub const ADD_PAGES: u32 = request::<AddPages>(READ_WRITE, 1);
/// Lets an enclave run: [`Init`].
pub const INIT: u32 = request::<Init>(WRITE, 2);
/// Allows an enclave provisioning keys: [`Provision`].
pub const PROVISION: u32 = request::<Provision>(WRITE, 3);
/// Takes rights of pages: [`RestrictPermissions`].
pub const RESTRICT_PERMISSIONS: u32 = request::<RestrictPermissions>(READ_WRITE, 5);
/// Changes the type of pages: [`ModifyTypes`].
pub const MODIFY_TYPES: u32 = request::<ModifyTypes>(READ_WRITE, 6);
/// Removes pages: [`RemovePages`].
pub const REMOVE_PAGES: u32 = request::<RemovePages>(READ_WRITE, 7);

/// In [`AddPages::flags`]: measure the content.
pub const MEASURE: u64 = 1;

/// For [`CREATE`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Create {
    /// Address of the SECS.
    pub src: u64,
}

/// For [`ADD_PAGES`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddPages {
    /// Address of the content, on a page; not in a file system that is mounted without execution.
    pub src: u64,
    /// From the enclave's base, on a page.
    pub offset: u64,
    /// Bytes, whole pages.
    pub length: u64,
    /// Address of the SECINFO.
    pub secinfo: u64,
    /// [`MEASURE`] or nothing.
    pub flags: u64,
    /// Out: bytes that were added.
    pub count: u64,
}

/// For [`INIT`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Init {
    /// Address of the SIGSTRUCT.
    pub sigstruct: u64,
}

/// For [`PROVISION`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Provision {
    /// Descriptor of [`PROVISION_DEVICE`].
    pub fd: u64,
}

/// For [`RESTRICT_PERMISSIONS`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RestrictPermissions {
    /// From the enclave's base, on a page.
    pub offset: u64,
    /// Bytes, whole pages.
    pub length: u64,
    /// Rights that are left: bits of [`sgx_guest::page::Rights`].
    pub permissions: u64,
    /// Out: what `EMODPR` answered.
    pub result: u64,
    /// Out: bytes that were changed.
    pub count: u64,
}

/// For [`MODIFY_TYPES`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModifyTypes {
    /// From the enclave's base, on a page.
    pub offset: u64,
    /// Bytes, whole pages.
    pub length: u64,
    /// [`sgx_guest::page::PageType::Tcs`] or [`sgx_guest::page::PageType::Trim`].
    pub page_type: u64,
    /// Out: what `EMODT` answered.
    pub result: u64,
    /// Out: bytes that were changed.
    pub count: u64,
}

/// For [`REMOVE_PAGES`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemovePages {
    /// From the enclave's base, on a page.
    pub offset: u64,
    /// Bytes, whole pages.
    pub length: u64,
    /// Out: bytes that were removed.
    pub count: u64,
}

/// For `__vdso_sgx_enter_enclave`: in, which thread; out, why it is back.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnclaveRun {
    /// Address of the TCS.
    pub tcs: u64,
    /// Out: the leaf function that the enclave was left by, `EEXIT`, or that faulted.
    pub function: u32,
    /// Out: the exception's number.
    pub exception_vector: u16,
    /// Out: its error code.
    pub exception_error_code: u16,
    /// Out: its address, the lower 12 bits of which are zero in an enclave.
    pub exception_addr: u64,
    /// A function to be called at an exit, or zero.
    pub user_handler: u64,
    /// For that function.
    pub user_data: u64,
    /// Zero.
    pub reserved: [u8; 216],
}

impl EnclaveRun {
    /// For this thread, without a handler.
    #[must_use]
    pub const fn new(tcs: u64) -> Self {
        Self {
            tcs,
            function: 0,
            exception_vector: 0,
            exception_error_code: 0,
            exception_addr: 0,
            user_handler: 0,
            user_data: 0,
            reserved: [0; 216],
        }
    }
}

// What the kernel was compiled with. The structures have no padding, or a sum would not come out.
const _: () = {
    assert!(size_of::<Create>() == 8);
    assert!(size_of::<AddPages>() == 48);
    assert!(size_of::<Init>() == 8);
    assert!(size_of::<Provision>() == 8);
    assert!(size_of::<RestrictPermissions>() == 40);
    assert!(size_of::<ModifyTypes>() == 40);
    assert!(size_of::<RemovePages>() == 24);
    assert!(size_of::<EnclaveRun>() == 256);
    assert!(offset_of!(EnclaveRun, exception_addr) == 16);
};

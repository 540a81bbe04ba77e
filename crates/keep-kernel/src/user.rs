// SPDX-License-Identifier: Apache-2.0

//! The program's memory, as the kernel reads and writes it.
//!
//! Kernel and program share one address space, so "user memory" is a matter of checking, not of
//! mapping: an address that a call names has to lie in what the program itself has mapped, with
//! the right to read or write. [`Space::populate`] checks that and makes the pages present, so the
//! kernel never faults. While the kernel runs the program stands still, so the slices stay valid
//! as long as the space is not changed, which the borrow of it prevents.

use core::mem::size_of;
use core::slice::{from_raw_parts, from_raw_parts_mut};

use keep_fs::Errno;
use keep_mm::{Pages, Space};

use crate::errno::EFAULT;
use crate::signal::{Action, SignalFrame, Stack, VectorArea};

/// Longest path with its final zero.
const PATH_MAX: u64 = 4096;

/// Plain data that may be made of any bytes, and has no padding.
///
/// # Safety
///
/// Every bit pattern must be a value of the type, and the type must have no padding.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($of:ty),* $(,)?) => {
        $(
            // SAFETY: integers, and `repr(C)` structs of them and their arrays without padding.
            unsafe impl Plain for $of {}
        )*
    };
}

plain!(u8, u16, i32, u32, i64, u64, Action, Stack, SignalFrame, VectorArea);

// SAFETY: there is nothing between the elements of an array.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Access to the program's memory.
pub trait UserMemory {
    /// Bytes to read.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    fn bytes(&mut self, address: u64, len: u64) -> Result<&[u8], Errno>;

    /// Bytes to write.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    fn bytes_mut(&mut self, address: u64, len: u64) -> Result<&mut [u8], Errno>;

    /// A value, from any address.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    fn load<T: Plain>(&mut self, address: u64) -> Result<T, Errno> {
        let bytes = self.bytes(address, size_of::<T>() as u64)?;
        // SAFETY: there are that many bytes, and any bytes are a value.
        Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    /// Writes a value to any address.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    fn store<T: Plain>(&mut self, address: u64, value: &T) -> Result<(), Errno> {
        let bytes = self.bytes_mut(address, size_of::<T>() as u64)?;
        // SAFETY: there is room for it, and a value without padding is bytes.
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(*value) };
        Ok(())
    }

    /// As [`store`](Self::store), for a value that nobody wants if the address is 0.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    fn store_if_wanted<T: Plain>(&mut self, address: u64, value: &T) -> Result<(), Errno> {
        if address == 0 { Ok(()) } else { self.store(address, value) }
    }

    /// A path: the bytes before the first zero.
    ///
    /// # Errors
    ///
    /// `EFAULT`, `ENAMETOOLONG`.
    fn path(&mut self, address: u64) -> Result<&[u8], Errno>;
}

impl<P: Pages + ?Sized> UserMemory for Space<P> {
    fn bytes(&mut self, address: u64, len: u64) -> Result<&[u8], Errno> {
        if len == 0 {
            return Ok(&[]);
        }
        self.populate(address, len, false).map_err(|_| EFAULT)?;
        // SAFETY: the range is mapped and present, nothing else runs, and the borrow of the space
        // keeps it from being unmapped.
        Ok(unsafe { from_raw_parts(address as *const u8, len as usize) })
    }

    fn bytes_mut(&mut self, address: u64, len: u64) -> Result<&mut [u8], Errno> {
        if len == 0 {
            return Ok(&mut []);
        }
        self.populate(address, len, true).map_err(|_| EFAULT)?;
        // SAFETY: as above; and the range belongs to the program, so no kernel data lies in it.
        Ok(unsafe { from_raw_parts_mut(address as *mut u8, len as usize) })
    }

    fn path(&mut self, address: u64) -> Result<&[u8], Errno> {
        let mut checked = 0;
        while checked < PATH_MAX {
            // As far as the page goes, since the next one need not be mapped.
            let next = (address.wrapping_add(checked) | 0xfff).wrapping_add(1);
            let upto = next.wrapping_sub(address).min(PATH_MAX);
            if upto <= checked {
                return Err(EFAULT);
            }
            self.populate(address, upto, false).map_err(|_| EFAULT)?;
            // SAFETY: as above.
            let bytes = unsafe { from_raw_parts(address as *const u8, upto as usize) };
            if let Some(len) = bytes[checked as usize..].iter().position(|byte| *byte == 0) {
                return Ok(&bytes[..checked as usize + len]);
            }
            checked = upto;
        }
        Err(Errno::ENAMETOOLONG)
    }
}

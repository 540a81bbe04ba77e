// SPDX-License-Identifier: Apache-2.0

//! The short way for a module's standard streams.
//!
//! Wasmtime serves preview 1 by layers over preview 2, which cut each write to stdout into copies
//! of 4 KiB and write them one by one; each of those would cross the Keep's boundary. As long as a
//! module's descriptors 0, 1 and 2 are what they were at its start, `fd_read` and `fd_write` on
//! them become one system call, straight from or into the module's memory. Whatever is unusual,
//! every error in the arguments included, goes the long way, so that it behaves as in Wasmtime.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use keep_engine::program::descriptor;
use keep_engine::world::PREVIEW1;
use keep_launch::Stdio;
use rustix::io::Errno;
use wasmtime::{AsContextMut as _, Caller, Extern, Linker};
use wasmtime_wasi::p1::types::Error;
use wasmtime_wasi::p1::wasi_snapshot_preview1::{self as p1, WasiSnapshotPreview1 as _};
use wiggle::GuestMemory;

use crate::state::State;
use crate::stdio;

/// Parts of one write that are looked at. A call may write less than it was given.
const MAX_PARTS: usize = 8;

/// The program's descriptors behind the module's 0, 1 and 2, where they are still those.
#[derive(Debug)]
pub(crate) struct Direct([Option<i32>; 3]);

impl Direct {
    pub(crate) fn new(stdio: [Stdio; 3]) -> Self {
        Self(stdio.map(|stdio| match stdio {
            Stdio::Null => None,
            Stdio::Stdin => Some(0),
            Stdio::Stdout => Some(1),
            Stdio::Stderr => Some(2),
        }))
    }

    fn input(&self, fd: i32) -> Option<BorrowedFd<'static>> {
        self.0.first().copied().flatten().filter(|_| fd == 0).map(descriptor)
    }

    fn output(&self, fd: i32) -> Option<BorrowedFd<'static>> {
        let index = usize::try_from(fd).ok().filter(|index| *index > 0)?;
        self.0.get(index).copied().flatten().map(descriptor)
    }

    /// Whether the module's stdin is the program's, as far as is known here.
    pub(crate) fn reads_stdin(&self) -> bool {
        self.input(0).is_some()
    }

    /// From now on this descriptor goes the long way.
    fn forget(&mut self, fd: i32) {
        if let Some(slot) = usize::try_from(fd).ok().and_then(|index| self.0.get_mut(index)) {
            *slot = None;
        }
    }
}

/// Puts the short way before Wasmtime's, in a linker that has Wasmtime's.
pub(crate) fn shadow(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(PREVIEW1, "fd_write", |mut caller, (fd, iovs, count, written)| {
        Box::new(async move { fd_write(&mut caller, fd, iovs, count, written).await })
    })?;
    linker.func_wrap_async(PREVIEW1, "fd_read", |mut caller, (fd, iovs, count, read)| {
        Box::new(async move { fd_read(&mut caller, fd, iovs, count, read).await })
    })?;
    linker.func_wrap_async(PREVIEW1, "fd_close", |mut caller, (fd,): (i32,)| {
        Box::new(async move { fd_close(&mut caller, fd).await })
    })?;
    linker.func_wrap_async(PREVIEW1, "fd_renumber", |mut caller, (from, to): (i32, i32)| {
        Box::new(async move { fd_renumber(&mut caller, from, to).await })
    })?;
    Ok(())
}

/// `fd_write`, the short way if it can be gone.
pub(crate) async fn fd_write(
    caller: &mut Caller<'_, State>,
    fd: i32,
    iovs: i32,
    count: i32,
    written: i32,
) -> wasmtime::Result<i32> {
    if let Some(to) = caller.data().direct.output(fd)
        && let Some(memory) = memory(caller)
        && let Some(result) = write(memory, to, iovs, count, written)
    {
        return errno(result);
    }
    let (mut memory, state) = long(caller)?;
    p1::fd_write(&mut state.wasi, &mut memory, fd, iovs, count, written).await
}

/// `fd_read`, the short way if it can be gone.
pub(crate) async fn fd_read(
    caller: &mut Caller<'_, State>,
    fd: i32,
    iovs: i32,
    count: i32,
    read: i32,
) -> wasmtime::Result<i32> {
    if let Some(from) = caller.data().direct.input(fd)
        && let Some(memory) = memory(caller)
        && let Some(result) = read_first(memory, from, iovs, count, read)
    {
        return errno(result);
    }
    let (mut memory, state) = long(caller)?;
    p1::fd_read(&mut state.wasi, &mut memory, fd, iovs, count, read).await
}

/// `fd_close`; a descriptor of that number goes the long way from now on.
pub(crate) async fn fd_close(caller: &mut Caller<'_, State>, fd: i32) -> wasmtime::Result<i32> {
    let (mut memory, state) = long(caller)?;
    state.direct.forget(fd);
    p1::fd_close(&mut state.wasi, &mut memory, fd).await
}

/// `fd_renumber`; descriptors of these numbers go the long way from now on.
pub(crate) async fn fd_renumber(
    caller: &mut Caller<'_, State>,
    from: i32,
    to: i32,
) -> wasmtime::Result<i32> {
    let (mut memory, state) = long(caller)?;
    state.direct.forget(from);
    state.direct.forget(to);
    p1::fd_renumber(&mut state.wasi, &mut memory, from, to).await
}

/// The module's memory, if it is its own. Shared memory goes the long way.
fn memory<'a>(caller: &'a mut Caller<'_, State>) -> Option<&'a mut [u8]> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Some(memory.data_mut(caller)),
        _ => None,
    }
}

/// What Wasmtime's own functions need.
pub(crate) fn long<'a>(
    caller: &'a mut Caller<'_, State>,
) -> wasmtime::Result<(GuestMemory<'a>, &'a mut State)> {
    let fuel = caller.as_context_mut().hostcall_fuel();
    let (memory, state) = match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => {
            let (bytes, state) = memory.data_and_store_mut(caller);
            (GuestMemory::Unshared(bytes), state)
        }
        // Shared memories cannot be made in this engine.
        _ => wasmtime::bail!("missing required memory export"),
    };
    state.wasi.set_hostcall_fuel(fuel);
    Ok((memory, state))
}

/// Writes to a descriptor what the parts at `iovs` name; none where the long way should decide.
fn write(
    memory: &mut [u8],
    to: BorrowedFd<'_>,
    iovs: i32,
    count: i32,
    written: i32,
) -> Option<Result<(), Errno>> {
    place(memory, written)?;
    let count = usize::try_from(count.cast_unsigned()).ok()?.min(MAX_PARTS);
    let mut parts = [IoSlice::new(&[]); MAX_PARTS];
    let mut total = 0_usize;
    for (index, slot) in parts.iter_mut().enumerate().take(count) {
        let (start, len) = part(memory, iovs, index)?;
        *slot = IoSlice::new(memory.get(start..start.checked_add(len)?)?);
        total = total.checked_add(len)?;
    }
    let mut rest = parts.get_mut(..count)?;
    if total == 0 {
        return None;
    }
    let mut done = 0;
    let result = loop {
        match stdio::write(to, rest) {
            Ok(count) => {
                done += count;
                if done >= total {
                    break Ok(());
                }
                IoSlice::advance_slices(&mut rest, count);
            }
            // What was written before is told first; the error comes with the next call.
            Err(_) if done > 0 => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    store(memory, written, done)?;
    Some(result)
}

/// Reads from a descriptor into the first part that has room; none where the long way should
/// decide.
fn read_first(
    memory: &mut [u8],
    from: BorrowedFd<'_>,
    iovs: i32,
    count: i32,
    read: i32,
) -> Option<Result<(), Errno>> {
    place(memory, read)?;
    for index in 0..usize::try_from(count.cast_unsigned()).ok()?.min(MAX_PARTS) {
        let (start, len) = part(memory, iovs, index)?;
        let buffer = memory.get_mut(start..start.checked_add(len)?)?;
        if buffer.is_empty() {
            continue;
        }
        return match stdio::read(from, buffer) {
            Ok(count) => {
                store(memory, read, count)?;
                Some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        };
    }
    None
}

/// The start and length that one entry of an array of parts names.
fn part(memory: &[u8], iovs: i32, index: usize) -> Option<(usize, usize)> {
    let at = place(memory, iovs)?.checked_add(index.checked_mul(8)?)?;
    let entry = memory.get(at..at.checked_add(8)?)?;
    let (start, len) = entry.split_first_chunk::<4>()?;
    let word = |bytes: [u8; 4]| usize::try_from(u32::from_le_bytes(bytes)).ok();
    Some((word(*start)?, word(len.try_into().ok()?)?))
}

/// Where an aligned word lies.
fn place(memory: &[u8], pointer: i32) -> Option<usize> {
    let at = usize::try_from(pointer.cast_unsigned()).ok()?;
    memory.get(at..at.checked_add(4)?).filter(|_| at % 4 == 0).map(|_| at)
}

fn store(memory: &mut [u8], pointer: i32, value: usize) -> Option<()> {
    let at = place(memory, pointer)?;
    let word = u32::try_from(value).ok()?.to_le_bytes();
    memory.get_mut(at..at.checked_add(4)?)?.copy_from_slice(&word);
    Some(())
}

/// The code of preview 1 for an error, as Wasmtime translates it.
fn errno(result: Result<(), Errno>) -> wasmtime::Result<i32> {
    match result {
        Ok(()) => Ok(0),
        Err(error) => Ok(Error::from(stdio::failed(error.into())).downcast()? as i32),
    }
}

// SPDX-License-Identifier: Apache-2.0

//! The calls of preview 1 that may meet a descriptor of ours.
//!
//! Bytes go straight between the module's memory and the connection: reads decrypt into the place
//! that the module named, and all parts of a write become one piece of TLS.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use keep_engine::program::descriptor;
use keep_engine::world::PREVIEW1;
use keep_launch::Stdio;
use keep_runtime::wire::{self, rights};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use wasmtime::{Caller, Extern, Linker};
use wasmtime_wasi::p1::types::Errno;
use wasmtime_wasi::p1::wasi_snapshot_preview1 as p1;

use super::{Connection, Entry, Sockets, errno, poll};
use crate::direct;
use crate::state::State;
use crate::stdio;

/// Parts of one call that are looked at. A call may read or write less than it was given.
const MAX_PARTS: usize = 64;

/// The module's memory, and our descriptors beside it.
pub(super) fn ours<'a>(
    caller: &'a mut Caller<'_, State>,
) -> Option<(&'a mut [u8], &'a mut Sockets)> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => {
            let (bytes, state) = memory.data_and_store_mut(caller);
            Some((bytes, state.sockets.as_mut()?))
        }
        _ => None,
    }
}

/// The same, if this descriptor is ours.
fn owned<'a>(
    caller: &'a mut Caller<'_, State>,
    fd: i32,
) -> Option<(&'a mut [u8], &'a mut Sockets, u32)> {
    let fd = fd.cast_unsigned();
    if !caller.data().sockets.as_ref().is_some_and(|sockets| sockets.owns(fd)) {
        return None;
    }
    let (memory, sockets) = ours(caller)?;
    Some((memory, sockets, fd))
}

fn code(result: Result<(), Errno>) -> wasmtime::Result<i32> {
    Ok(result.err().unwrap_or(Errno::Success) as i32)
}

/// Waits for something, and meanwhile does what the workload does not wait for. What must not wait
/// gives way once: all that could be done without the workload is done before it is told to come
/// again.
async fn wait<T>(
    sockets: &mut Sockets,
    nonblocking: bool,
    mut poll: impl FnMut(&mut Sockets, &mut Context<'_>) -> Poll<Result<T, Errno>>,
) -> Result<T, Errno> {
    if !nonblocking {
        sockets.vain = 0;
        return poll_fn(|cx| {
            sockets.drive(cx);
            poll(sockets, cx)
        })
        .await;
    }
    let mut once = async || {
        poll_fn(|cx| {
            Poll::Ready(match poll(sockets, cx) {
                Poll::Ready(result) => {
                    sockets.vain = 0;
                    Some(result)
                }
                Poll::Pending => {
                    sockets.drive(cx);
                    None
                }
            })
        })
        .await
    };
    if let Some(result) = once().await {
        return result;
    }
    tokio::task::yield_now().await;
    once().await.unwrap_or(Err(Errno::Again))
}

/// Puts our calls in place of those that do not know sockets; after everything else is linked.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.func_wrap_async(
        PREVIEW1,
        "sock_accept",
        |mut caller: Caller<'_, State>, (fd, flags, to): (i32, i32, i32)| {
            Box::new(async move { code(accept(&mut caller, fd, flags, to).await) })
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "sock_recv",
        |mut caller: Caller<'_, State>,
         (fd, parts, count, flags, read, out): (i32, i32, i32, i32, i32, i32)| {
            Box::new(async move {
                let Some((memory, sockets, fd)) = owned(&mut caller, fd) else {
                    return code(not_ours(&mut caller, fd).await);
                };
                let received = receive(memory, sockets, fd, (parts, count), flags, read).await;
                code(received.and_then(|()| {
                    wire::store(memory, out, &0_u16.to_le_bytes(), 2).ok_or(Errno::Fault)
                }))
            })
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "sock_send",
        |mut caller: Caller<'_, State>,
         (fd, parts, count, flags, written): (i32, i32, i32, i32, i32)| {
            Box::new(async move {
                let Some((memory, sockets, fd)) = owned(&mut caller, fd) else {
                    return code(not_ours(&mut caller, fd).await);
                };
                if flags != 0 {
                    return code(Err(Errno::Inval));
                }
                if let Err(error) = sockets.connection(fd) {
                    return code(Err(error));
                }
                code(write(memory, sockets, fd, (parts, count), written).await)
            })
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "sock_shutdown",
        |mut caller: Caller<'_, State>, (fd, how): (i32, i32)| {
            Box::new(async move {
                let Some((_, sockets, fd)) = owned(&mut caller, fd) else {
                    return code(not_ours(&mut caller, fd).await);
                };
                code(shutdown(sockets, fd, how).await)
            })
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "fd_read",
        |mut caller: Caller<'_, State>, (fd, parts, count, read): (i32, i32, i32, i32)| {
            Box::new(async move {
                if let Some((memory, sockets, fd)) = owned(&mut caller, fd) {
                    return code(receive(memory, sockets, fd, (parts, count), 0, read).await);
                }
                if fd == 0
                    && let Some((_, sockets)) = ours(&mut caller)
                {
                    // The read blocks the whole program, so there has to be something.
                    poll::wait_for_stdin(sockets).await;
                }
                direct::fd_read(&mut caller, fd, parts, count, read).await
            })
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "fd_write",
        |mut caller: Caller<'_, State>, (fd, parts, count, written): (i32, i32, i32, i32)| {
            Box::new(async move {
                match owned(&mut caller, fd) {
                    Some((memory, sockets, fd)) => {
                        code(write(memory, sockets, fd, (parts, count), written).await)
                    }
                    None => direct::fd_write(&mut caller, fd, parts, count, written).await,
                }
            })
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "fd_close",
        |mut caller: Caller<'_, State>, (fd,): (i32,)| {
            Box::new(async move {
                match owned(&mut caller, fd) {
                    Some((_, sockets, fd)) => {
                        let closed = sockets.close(fd);
                        // What can be said without waiting is said now.
                        tokio::task::yield_now().await;
                        code(closed)
                    }
                    None => direct::fd_close(&mut caller, fd).await,
                }
            })
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "fd_renumber",
        |mut caller: Caller<'_, State>, (from, to): (i32, i32)| {
            Box::new(async move {
                let is_ours = |caller: &Caller<'_, State>, fd: i32| {
                    let sockets = caller.data().sockets.as_ref();
                    sockets.is_some_and(|sockets| sockets.owns(fd.cast_unsigned()))
                };
                match (is_ours(&caller, from), is_ours(&caller, to)) {
                    (false, false) => direct::fd_renumber(&mut caller, from, to).await,
                    (true, true) => {
                        let Some((_, sockets, from)) = owned(&mut caller, from) else {
                            return code(Err(Errno::Badf));
                        };
                        code(renumber(sockets, from, to.cast_unsigned()))
                    }
                    // Two tables, and what lies in one cannot be moved to the other.
                    _ => code(Err(Errno::Notsup)),
                }
            })
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "fd_fdstat_get",
        |mut caller: Caller<'_, State>, (fd, to): (i32, i32)| {
            Box::new(async move {
                if let Some((memory, sockets, fd)) = owned(&mut caller, fd) {
                    let stat = sockets.entry(fd).map(|entry| fdstat(entry));
                    return code(
                        stat.and_then(|stat| wire::store(memory, to, &stat, 8).ok_or(Errno::Fault)),
                    );
                }
                let (mut memory, state) = direct::long(&mut caller)?;
                p1::fd_fdstat_get(&mut state.wasi, &mut memory, fd, to).await
            })
        },
    )?;
    linker.func_wrap(
        PREVIEW1,
        "fd_fdstat_set_flags",
        |mut caller: Caller<'_, State>, fd: i32, flags: i32| {
            if let Some((_, sockets, fd)) = owned(&mut caller, fd) {
                return code(set_flags(sockets, fd, flags));
            }
            let (mut memory, state) = direct::long(&mut caller)?;
            p1::fd_fdstat_set_flags(&mut state.wasi, &mut memory, fd, flags)
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "fd_filestat_get",
        |mut caller: Caller<'_, State>, (fd, to): (i32, i32)| {
            Box::new(async move {
                if let Some((memory, sockets, fd)) = owned(&mut caller, fd) {
                    let stat = sockets.entry(fd).map(|entry| wire::filestat(filetype(entry)));
                    return code(
                        stat.and_then(|stat| wire::store(memory, to, &stat, 8).ok_or(Errno::Fault)),
                    );
                }
                let (mut memory, state) = direct::long(&mut caller)?;
                p1::fd_filestat_get(&mut state.wasi, &mut memory, fd, to).await
            })
        },
    )?;
    linker.func_wrap(
        PREVIEW1,
        "fd_prestat_get",
        |mut caller: Caller<'_, State>, fd: i32, to: i32| {
            if let Some((memory, sockets, _)) = owned(&mut caller, fd) {
                // Programs look for directories until the first number that is none of theirs. Where
                // some come after us, we are something that they do not know and pass over.
                if !sockets.directories {
                    return code(Err(Errno::Badf));
                }
                let mut prestat = [0; wire::PRESTAT];
                prestat[0] = 1;
                return code(wire::store(memory, to, &prestat, 4).ok_or(Errno::Fault));
            }
            let (mut memory, state) = direct::long(&mut caller)?;
            p1::fd_prestat_get(&mut state.wasi, &mut memory, fd, to)
        },
    )?;
    linker.func_wrap_async(
        PREVIEW1,
        "poll_oneoff",
        |mut caller: Caller<'_, State>, (subs, events, count, to): (i32, i32, i32, i32)| {
            Box::new(async move {
                if ours(&mut caller).is_some() {
                    return code(poll::poll_oneoff(&mut caller, subs, events, count, to).await?);
                }
                let (mut memory, state) = direct::long(&mut caller)?;
                p1::poll_oneoff(&mut state.wasi, &mut memory, subs, events, count, to).await
            })
        },
    )?;
    refuse_rest(linker)
}

/// Calls that make no sense for any descriptor of ours. They have to know which are ours, since
/// Wasmtime may have a directory in the same place.
fn refuse_rest(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    /// One that Wasmtime serves asynchronously, or at once.
    macro_rules! refuse {
        (wait $name:ident($($argument:ident: $type:ty),*), $($fd:ident)|+, $errno:ident) => {
            linker.func_wrap_async(
                PREVIEW1,
                stringify!($name),
                |mut caller: Caller<'_, State>, ($($argument,)*): ($($type,)*)| {
                    Box::new(async move {
                        if $(owned(&mut caller, $fd).is_some())||+ {
                            return code(Err(Errno::$errno));
                        }
                        let (mut memory, state) = direct::long(&mut caller)?;
                        p1::$name(&mut state.wasi, &mut memory, $($argument),*).await
                    })
                },
            )?;
        };
        ($name:ident($($argument:ident: $type:ty),*), $fd:ident, $errno:ident) => {
            linker.func_wrap(
                PREVIEW1,
                stringify!($name),
                |mut caller: Caller<'_, State>, $($argument: $type),*| {
                    if owned(&mut caller, $fd).is_some() {
                        return code(Err(Errno::$errno));
                    }
                    let (mut memory, state) = direct::long(&mut caller)?;
                    p1::$name(&mut state.wasi, &mut memory, $($argument),*)
                },
            )?;
        };
    }
    refuse!(wait fd_advise(fd: i32, offset: i64, len: i64, advice: i32), fd, Spipe);
    refuse!(fd_allocate(fd: i32, offset: i64, len: i64), fd, Spipe);
    refuse!(wait fd_datasync(fd: i32), fd, Inval);
    refuse!(wait fd_sync(fd: i32), fd, Inval);
    refuse!(fd_fdstat_set_rights(fd: i32, base: i64, inheriting: i64), fd, Notsup);
    refuse!(wait fd_filestat_set_size(fd: i32, size: i64), fd, Inval);
    refuse!(wait fd_filestat_set_times(fd: i32, atim: i64, mtim: i64, flags: i32), fd, Inval);
    refuse!(wait fd_pread(fd: i32, parts: i32, count: i32, at: i64, read: i32), fd, Spipe);
    refuse!(wait fd_pwrite(fd: i32, parts: i32, count: i32, at: i64, written: i32), fd, Spipe);
    refuse!(wait fd_seek(fd: i32, offset: i64, whence: i32, to: i32), fd, Spipe);
    refuse!(fd_tell(fd: i32, to: i32), fd, Spipe);
    refuse!(fd_prestat_dir_name(fd: i32, path: i32, len: i32), fd, Notdir);
    refuse!(wait fd_readdir(fd: i32, to: i32, len: i32, cookie: i64, used: i32), fd, Notdir);
    refuse!(wait path_create_directory(fd: i32, path: i32, len: i32), fd, Notdir);
    refuse!(
        wait path_filestat_get(fd: i32, flags: i32, path: i32, len: i32, to: i32), fd, Notdir
    );
    refuse!(
        wait path_filestat_set_times(
            fd: i32, flags: i32, path: i32, len: i32, atim: i64, mtim: i64, which: i32
        ), fd, Notdir
    );
    refuse!(
        wait path_link(
            fd: i32, flags: i32, path: i32, len: i32, other: i32, new: i32, new_len: i32
        ), fd | other, Notdir
    );
    refuse!(
        wait path_open(
            fd: i32, dirflags: i32, path: i32, len: i32, oflags: i32, base: i64, inheriting: i64,
            flags: i32, to: i32
        ), fd, Notdir
    );
    refuse!(
        wait path_readlink(fd: i32, path: i32, len: i32, to: i32, room: i32, used: i32), fd, Notdir
    );
    refuse!(wait path_remove_directory(fd: i32, path: i32, len: i32), fd, Notdir);
    refuse!(
        wait path_rename(fd: i32, path: i32, len: i32, other: i32, new: i32, new_len: i32),
        fd | other, Notdir
    );
    refuse!(
        wait path_symlink(old: i32, old_len: i32, fd: i32, new: i32, new_len: i32), fd, Notdir
    );
    refuse!(wait path_unlink_file(fd: i32, path: i32, len: i32), fd, Notdir);
    Ok(())
}

/// What is said of a descriptor that is not ours where a socket is wanted.
async fn not_ours(caller: &mut Caller<'_, State>, fd: i32) -> Result<(), Errno> {
    Err(if poll::is_open(caller, fd).await { Errno::Notsock } else { Errno::Badf })
}

async fn accept(caller: &mut Caller<'_, State>, fd: i32, flags: i32, to: i32) -> Result<(), Errno> {
    let Some((memory, sockets, fd)) = owned(caller, fd) else { return not_ours(caller, fd).await };
    if flags & !i32::from(wire::NONBLOCK) != 0 {
        return Err(Errno::Inval);
    }
    wire::at(memory, to, 4, 4).ok_or(Errno::Fault)?;
    let Entry::Listener { nonblocking, .. } = *sockets.entry(fd)? else {
        let is_socket = matches!(sockets.entry(fd)?, Entry::Stream(_));
        return Err(if is_socket { Errno::Inval } else { Errno::Notsock });
    };
    let stream = wait(sockets, nonblocking, |sockets, cx| match sockets.entries.get_mut(&fd) {
        Some(Entry::Listener { listener, .. }) => {
            listener.poll_accept(cx).map_err(|error| errno(&error))
        }
        _ => Poll::Ready(Err(Errno::Badf)),
    })
    .await?;
    let number = sockets.free();
    let nonblocking = flags & i32::from(wire::NONBLOCK) != 0;
    sockets.entries.insert(number, Entry::Stream(Connection::new(stream, nonblocking)));
    wire::store(memory, to, &number.to_le_bytes(), 4).ok_or(Errno::Fault)
}

/// `fd_read` and `sock_recv`.
async fn receive(
    memory: &mut [u8],
    sockets: &mut Sockets,
    fd: u32,
    (parts, count): (i32, i32),
    flags: i32,
    read: i32,
) -> Result<(), Errno> {
    wire::at(memory, read, 4, 4).ok_or(Errno::Fault)?;
    let flags = u16::try_from(flags).map_err(|_| Errno::Inval)?;
    if flags & !(wire::RECV_PEEK | wire::RECV_WAITALL) != 0 {
        return Err(Errno::Inval);
    }
    let count = usize::try_from(count.cast_unsigned()).map_or(MAX_PARTS, |it| it.min(MAX_PARTS));
    let mut done = 0_usize;
    for n in 0..count {
        let (start, len) = wire::part(memory, parts, n).ok_or(Errno::Fault)?;
        let end = start.saturating_add(len);
        let mut at = start;
        while at < end {
            let room = memory.get_mut(at..end).ok_or(Errno::Fault)?;
            let all = flags & wire::RECV_WAITALL != 0;
            // What follows the first bytes is taken only if it is there.
            let more = done > 0 && !all;
            let got = match receive_some(sockets, fd, room, flags, more).await {
                Ok(got) => got,
                // What was read before is told first; the error comes with the next call.
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            };
            done += got;
            at += got;
            if got == 0 || flags & wire::RECV_PEEK != 0 || (at < end && !all) {
                return store_len(memory, read, done);
            }
        }
        if at < end {
            break;
        }
    }
    store_len(memory, read, done)
}

fn store_len(memory: &mut [u8], to: i32, len: usize) -> Result<(), Errno> {
    let len = u32::try_from(len).map_err(|_| Errno::Overflow)?;
    wire::store(memory, to, &len.to_le_bytes(), 4).ok_or(Errno::Fault)
}

async fn receive_some(
    sockets: &mut Sockets,
    fd: u32,
    room: &mut [u8],
    flags: u16,
    more: bool,
) -> Result<usize, Errno> {
    match sockets.entry(fd)? {
        Entry::Stdio { .. } if flags != 0 => Err(Errno::Notsock),
        Entry::Stdio { stdio: Stdio::Null, .. } => Ok(0),
        Entry::Stdio { stdio: Stdio::Stdin, .. } => {
            if more {
                return Ok(0);
            }
            poll::wait_for_stdin(sockets).await;
            stdio::read(descriptor(0), room).map_err(|error| errno(&error.into()))
        }
        Entry::Stdio { .. } => Err(Errno::Badf),
        Entry::Listener { .. } => Err(Errno::Notconn),
        Entry::Stream(connection) if connection.read_shut => Ok(0),
        Entry::Stream(connection) => {
            let nonblocking = connection.nonblocking;
            let take = |sockets: &mut Sockets, cx: &mut Context<'_>| {
                let stream = match sockets.connection(fd) {
                    Ok(connection) => &mut connection.stream,
                    Err(error) => return Poll::Ready(Err(error)),
                };
                let result = if flags & wire::RECV_PEEK != 0 {
                    stream.poll_peek(cx, room)
                } else {
                    let mut buffer = ReadBuf::new(room);
                    let result = Pin::new(stream).poll_read(cx, &mut buffer);
                    let count = buffer.filled().len();
                    result.map_ok(|()| count)
                };
                result.map_err(|error| errno(&error))
            };
            if more {
                let mut take = take;
                // Not even to give way: there are bytes that the workload can have now.
                let result = poll_fn(|cx| Poll::Ready(take(sockets, cx))).await;
                return match result {
                    Poll::Ready(result) => result,
                    Poll::Pending => Ok(0),
                };
            }
            wait(sockets, nonblocking, take).await
        }
    }
}

/// `fd_write` and `sock_send`.
async fn write(
    memory: &mut [u8],
    sockets: &mut Sockets,
    fd: u32,
    (parts, count): (i32, i32),
    written: i32,
) -> Result<(), Errno> {
    wire::at(memory, written, 4, 4).ok_or(Errno::Fault)?;
    let count = usize::try_from(count.cast_unsigned()).map_or(MAX_PARTS, |it| it.min(MAX_PARTS));
    let mut slices = [IoSlice::new(&[]); MAX_PARTS];
    let mut total = 0_usize;
    for (n, slot) in slices.iter_mut().enumerate().take(count) {
        let (start, len) = wire::part(memory, parts, n).ok_or(Errno::Fault)?;
        let end = start.checked_add(len).ok_or(Errno::Fault)?;
        *slot = IoSlice::new(memory.get(start..end).ok_or(Errno::Fault)?);
        total = total.saturating_add(len);
    }
    let mut rest = slices.get_mut(..count).unwrap_or_default();
    let done = match sockets.entry(fd)? {
        Entry::Listener { .. } => return Err(Errno::Notconn),
        Entry::Stdio { stdio, .. } => match stdio {
            Stdio::Null => total,
            Stdio::Stdin => return Err(Errno::Badf),
            Stdio::Stdout => write_stdio(1, rest, total)?,
            Stdio::Stderr => write_stdio(2, rest, total)?,
        },
        Entry::Stream(connection) if connection.write_shut => return Err(Errno::Pipe),
        Entry::Stream(connection) => {
            let nonblocking = connection.nonblocking;
            let mut done = 0;
            loop {
                let step = wait(sockets, nonblocking, |sockets, cx| {
                    let connection = match sockets.connection(fd) {
                        Ok(connection) => connection,
                        Err(error) => return Poll::Ready(Err(error)),
                    };
                    let result = connection.stream.poll_write_parts(cx, rest);
                    result.map_err(|error| errno(&error))
                });
                match step.await {
                    Ok(count) => {
                        done += count;
                        IoSlice::advance_slices(&mut rest, count);
                        if done >= total || count == 0 || nonblocking {
                            break;
                        }
                    }
                    Err(_) if done > 0 => break,
                    Err(error) => return Err(error),
                }
            }
            settle(sockets, fd, nonblocking).await;
            done
        }
    };
    store_len(memory, written, done)
}

/// After a write: what the host did not take leaves later, or is waited for.
async fn settle(sockets: &mut Sockets, fd: u32, nonblocking: bool) {
    let Ok(connection) = sockets.connection(fd) else { return };
    if !connection.stream.has_unsent() {
        return;
    }
    sockets.unsent.insert(fd);
    if !nonblocking {
        // An error is told by the next call.
        poll_fn(|cx| {
            sockets.drive(cx);
            if sockets.unsent.contains(&fd) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

fn write_stdio(to: i32, mut rest: &mut [IoSlice<'_>], total: usize) -> Result<usize, Errno> {
    let mut done = 0;
    while done < total {
        match stdio::write(descriptor(to), rest) {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                IoSlice::advance_slices(&mut rest, count);
            }
            Err(_) if done > 0 => break,
            Err(error) => return Err(errno(&error.into())),
        }
    }
    Ok(done)
}

async fn shutdown(sockets: &mut Sockets, fd: u32, how: i32) -> Result<(), Errno> {
    let how = u8::try_from(how).map_err(|_| Errno::Inval)?;
    if how == 0 || how & !(wire::SHUT_RD | wire::SHUT_WR) != 0 {
        return Err(Errno::Inval);
    }
    let connection = sockets.connection(fd)?;
    if how & wire::SHUT_RD != 0 {
        connection.read_shut = true;
    }
    if how & wire::SHUT_WR == 0 || connection.write_shut {
        return Ok(());
    }
    connection.write_shut = true;
    let result = wait(sockets, false, |sockets, cx| {
        let connection = match sockets.connection(fd) {
            Ok(connection) => connection,
            Err(error) => return Poll::Ready(Err(error)),
        };
        Pin::new(&mut connection.stream).poll_shutdown(cx).map_err(|error| errno(&error))
    });
    result.await
}

fn renumber(sockets: &mut Sockets, from: u32, to: u32) -> Result<(), Errno> {
    if !sockets.entries.contains_key(&from) {
        return Err(Errno::Badf);
    }
    if from == to {
        return Ok(());
    }
    if sockets.entries.contains_key(&to) {
        sockets.close(to)?;
    }
    let entry = sockets.entries.remove(&from).ok_or(Errno::Badf)?;
    if sockets.unsent.remove(&from) {
        sockets.unsent.insert(to);
    }
    sockets.entries.insert(to, entry);
    Ok(())
}

fn filetype(entry: &Entry) -> u8 {
    match entry {
        Entry::Listener { .. } | Entry::Stream(_) => wire::FILETYPE_SOCKET_STREAM,
        Entry::Stdio { .. } => wire::FILETYPE_UNKNOWN,
    }
}

fn fdstat(entry: &Entry) -> [u8; wire::FDSTAT] {
    let flag = |nonblocking: bool| if nonblocking { wire::NONBLOCK } else { 0 };
    let common = rights::FILESTAT_GET | rights::SET_FLAGS | rights::POLL;
    let (flags, rights) = match entry {
        Entry::Listener { nonblocking, .. } => {
            (flag(*nonblocking), common | rights::READ | rights::ACCEPT)
        }
        Entry::Stream(connection) => {
            let both = rights::READ | rights::WRITE;
            (flag(connection.nonblocking), common | both | rights::SHUTDOWN)
        }
        Entry::Stdio { stdio, flags } => {
            let rights = match stdio {
                Stdio::Null => rights::READ | rights::WRITE,
                Stdio::Stdin => rights::READ,
                Stdio::Stdout | Stdio::Stderr => rights::WRITE,
            };
            (*flags, common | rights)
        }
    };
    wire::fdstat(filetype(entry), flags, rights)
}

fn set_flags(sockets: &mut Sockets, fd: u32, flags: i32) -> Result<(), Errno> {
    let flags = u16::try_from(flags).map_err(|_| Errno::Inval)?;
    if flags & !wire::NONBLOCK != 0 {
        return Err(Errno::Inval);
    }
    let wanted = flags != 0;
    match sockets.entry(fd)? {
        Entry::Listener { nonblocking, .. } => *nonblocking = wanted,
        Entry::Stream(connection) => connection.nonblocking = wanted,
        Entry::Stdio { flags: kept, .. } => *kept = flags,
    }
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0

//! `poll_oneoff`: waiting for sockets, times and stdin at once.
//!
//! With sockets it is served here whole, also where a module waits for a time alone: Wasmtime would put
//! the thread to sleep, and with it the handshakes of clients that come meanwhile.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keep_launch::Stdio;
use keep_runtime::wire::{self, Event, Subscription, What};
use tokio::time::Instant;
use wasmtime::{Caller, Extern};
use wasmtime_wasi::p1::types::Errno;
use wasmtime_wasi::p1::wasi_snapshot_preview1 as p1;
use wasmtime_wasi::p2::Pollable as _;
use wiggle::GuestMemory;

use super::{Entry, Sockets};
use crate::state::State;

/// Most subscriptions of one call: more than there can be descriptors and times.
const MAX_SUBSCRIPTIONS: u32 = 4096;

/// `clockid::realtime`.
const REALTIME: u32 = 0;
/// `clockid::monotonic`.
const MONOTONIC: u32 = 1;

/// Room that is reported for a write that would not wait, in bytes; a write may take less.
const ROOM: u64 = 64 << 10;

/// Waits until a read from the program's stdin would not block, while everything else goes on.
pub(super) async fn wait_for_stdin(sockets: &mut Sockets) {
    let mut stdin = sockets.stdin.clone();
    let mut ready = pin!(stdin.ready());
    poll_fn(|cx| {
        sockets.drive(cx);
        ready.as_mut().poll(cx)
    })
    .await;
}

/// Whether Wasmtime has something open at a descriptor.
pub(super) async fn is_open(caller: &mut Caller<'_, State>, fd: i32) -> bool {
    let mut stat = [0; wire::FDSTAT];
    let mut memory = GuestMemory::Unshared(&mut stat);
    let wasi = &mut caller.data_mut().wasi;
    matches!(p1::fd_fdstat_get(wasi, &mut memory, fd, 0).await, Ok(0))
}

/// What a subscription comes down to.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// It has happened before it began, with this code.
    Now(Errno),
    /// A time.
    Until(Instant),
    /// One of ours, to read.
    Read(u32),
    /// One of ours, to write.
    Write(u32),
    /// The program's stdin.
    Stdin,
    /// A time so far off that it does not come.
    Never,
}

pub(super) async fn poll_oneoff(
    caller: &mut Caller<'_, State>,
    subscriptions: i32,
    events: i32,
    count: i32,
    to: i32,
) -> wasmtime::Result<Result<(), Errno>> {
    let count = count.cast_unsigned();
    if count == 0 || count > MAX_SUBSCRIPTIONS {
        return Ok(Err(Errno::Inval));
    }
    let list = {
        let Some(memory) = memory(caller) else { return Ok(Err(Errno::Fault)) };
        let room = (count as usize) * wire::EVENT;
        if wire::at(memory, events, room, 8).is_none() || wire::at(memory, to, 4, 4).is_none() {
            return Ok(Err(Errno::Fault));
        }
        match read_all(memory, subscriptions, count) {
            Ok(list) => list,
            Err(error) => return Ok(Err(error)),
        }
    };

    let mut waits = Vec::with_capacity(list.len());
    for subscription in &list {
        waits.push(wait_for(caller, subscription.what).await);
    }
    let Some((memory, sockets)) = super::calls::ours(caller) else {
        return Ok(Err(Errno::Fault));
    };
    let happened = wait(sockets, &list, &waits).await;
    let mut at = events;
    for event in &happened {
        if wire::store(memory, at, &event.to_bytes(), 8).is_none() {
            return Ok(Err(Errno::Fault));
        }
        at = at.wrapping_add(wire::EVENT as i32);
    }
    let len = (happened.len() as u32).to_le_bytes();
    Ok(wire::store(memory, to, &len, 4).ok_or(Errno::Fault))
}

fn memory<'a>(caller: &'a mut Caller<'_, State>) -> Option<&'a mut [u8]> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Some(memory.data_mut(caller)),
        _ => None,
    }
}

fn read_all(memory: &[u8], from: i32, count: u32) -> Result<Vec<Subscription>, Errno> {
    let len = (count as usize) * wire::SUBSCRIPTION;
    let start = wire::at(memory, from, len, 8).ok_or(Errno::Fault)?;
    let bytes = memory.get(start..start + len).ok_or(Errno::Fault)?;
    bytes
        .as_chunks::<{ wire::SUBSCRIPTION }>()
        .0
        .iter()
        .map(|bytes| Subscription::read(bytes).ok_or(Errno::Inval))
        .collect()
}

async fn wait_for(caller: &mut Caller<'_, State>, what: What) -> Wait {
    match what {
        What::Clock { id, time, absolute } => {
            let time = match (id, absolute) {
                (REALTIME | MONOTONIC, false) => time,
                (REALTIME, true) => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    time.saturating_sub(now)
                }
                (MONOTONIC, true) => match monotonic(caller) {
                    Some(now) => time.saturating_sub(now),
                    None => return Wait::Now(Errno::Inval),
                },
                _ => return Wait::Now(Errno::Inval),
            };
            Instant::now().checked_add(time).map_or(Wait::Never, Wait::Until)
        }
        What::Read(fd) | What::Write(fd) => {
            let reads = matches!(what, What::Read(_));
            let sockets = caller.data_mut().sockets.as_mut().filter(|sockets| sockets.owns(fd));
            if let Some(sockets) = sockets {
                return match sockets.entries.get(&fd) {
                    None => Wait::Now(Errno::Badf),
                    Some(Entry::Stdio { stdio: Stdio::Stdin, .. }) if reads => Wait::Stdin,
                    Some(Entry::Stdio { .. }) => Wait::Now(Errno::Success),
                    Some(_) if reads => Wait::Read(fd),
                    // As in Linux: it is no error to ask, and it never comes. Event loops ask.
                    Some(Entry::Listener { .. }) => Wait::Never,
                    Some(Entry::Stream(_)) => Wait::Write(fd),
                };
            }
            if !is_open(caller, fd.cast_signed()).await {
                Wait::Now(Errno::Badf)
            } else if fd == 0 && reads && caller.data().direct.reads_stdin() {
                Wait::Stdin
            } else {
                // Files and the program's outputs never keep anybody waiting.
                Wait::Now(Errno::Success)
            }
        }
    }
}

/// The module's own monotonic clock, whose zero only Wasmtime knows.
fn monotonic(caller: &mut Caller<'_, State>) -> Option<Duration> {
    let mut bytes = [0; 8];
    let mut memory = GuestMemory::Unshared(&mut bytes);
    let wasi = &mut caller.data_mut().wasi;
    match p1::clock_time_get(wasi, &mut memory, MONOTONIC.cast_signed(), 0, 0) {
        Ok(0) => Some(Duration::from_nanos(u64::from_le_bytes(bytes))),
        _ => None,
    }
}

/// Waits until something has happened, and says all that has.
async fn wait(sockets: &mut Sockets, list: &[Subscription], waits: &[Wait]) -> Vec<Event> {
    let next = waits.iter().filter_map(|wait| match wait {
        Wait::Until(time) => Some(*time),
        _ => None,
    });
    let next = next.min();
    // What has happened already is told at once, but not before others had their turn.
    let urgent = waits.iter().any(|wait| matches!(wait, Wait::Now(_)))
        || next.is_some_and(|next| next <= Instant::now());
    let mut stdin = sockets.stdin.clone();
    let mut stdin = pin!(async {
        if waits.iter().any(|wait| matches!(wait, Wait::Stdin)) {
            stdin.ready().await;
        } else {
            std::future::pending::<()>().await;
        }
    });
    let far = Instant::now() + Duration::from_secs(24 * 60 * 60);
    let mut sleep = pin!(tokio::time::sleep_until(next.unwrap_or(far)));
    let mut stdin_ready = false;
    let mut turns = 0;
    let pause = pause(sockets.vain);
    let mut patience = pin!(tokio::time::sleep(pause));
    let happened = poll_fn(|cx| {
        sockets.drive(cx);
        if !stdin_ready {
            stdin_ready = stdin.as_mut().poll(cx).is_ready();
        }
        let slept = sleep.as_mut().poll(cx).is_ready();
        let now = Instant::now();
        let mut happened = Vec::new();
        for (subscription, wait) in list.iter().zip(waits) {
            let event = match wait {
                Wait::Never => None,
                Wait::Now(Errno::Success) => Some((Errno::Success, ROOM, false)),
                Wait::Now(error) => Some((*error, 0, false)),
                Wait::Until(time) => (*time <= now).then_some((Errno::Success, 0, false)),
                Wait::Stdin => stdin_ready.then_some((Errno::Success, 1, false)),
                Wait::Read(fd) => readable(sockets, *fd, cx),
                Wait::Write(fd) => writable(sockets, *fd, cx),
            };
            happened.extend(event.map(|(error, nbytes, hangup)| Event {
                userdata: subscription.userdata,
                error: error as u16,
                event_type: subscription.what.event_type(),
                nbytes,
                hangup,
            }));
        }
        // A module that never really waits still lets the rest of the program do its work.
        let only_urgent =
            urgent && happened.iter().all(|event| event.event_type == 0 || event.error != 0);
        if happened.is_empty() || (only_urgent && turns == 0) {
            turns += 1;
            if urgent {
                cx.waker().wake_by_ref();
            } else if slept && next.is_none() {
                sleep.as_mut().reset(now + Duration::from_secs(24 * 60 * 60));
                cx.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        // There is nearly always room to write. A module that asks for room and for bytes at once, as
        // event loops do, would never give way while it waits for the bytes.
        if only_room(&happened) {
            if pause.is_zero() {
                if turns == 0 {
                    turns += 1;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            } else if patience.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(happened)
    })
    .await;
    sockets.vain = if only_room(&happened) { sockets.vain.saturating_add(1) } else { 0 };
    happened
}

/// Whether nothing has happened but that there is room to write.
fn only_room(happened: &[Event]) -> bool {
    happened.iter().all(|event| event.event_type == wire::EVENT_WRITE && event.error == 0)
}

/// How long room to write alone is not worth an answer: nothing for a module that asks now and then, up to
/// 8 ms for one that asks again and again without moving a byte.
fn pause(vain: u32) -> Duration {
    match vain {
        0..4 => Duration::ZERO,
        vain => Duration::from_millis(1 << (vain - 4).min(3)),
    }
}

type Happened = Option<(Errno, u64, bool)>;

fn readable(sockets: &mut Sockets, fd: u32, cx: &mut Context<'_>) -> Happened {
    match sockets.entries.get_mut(&fd) {
        Some(Entry::Listener { listener, .. }) => match listener.poll_acceptable(cx) {
            Poll::Ready(()) => Some((Errno::Success, 1, false)),
            Poll::Pending => None,
        },
        Some(Entry::Stream(connection)) if connection.read_shut => Some((Errno::Success, 0, true)),
        Some(Entry::Stream(connection)) => match connection.stream.poll_readable(cx) {
            Poll::Ready(count) => Some((Errno::Success, count as u64, count == 0)),
            Poll::Pending => None,
        },
        _ => Some((Errno::Badf, 0, false)),
    }
}

fn writable(sockets: &mut Sockets, fd: u32, cx: &mut Context<'_>) -> Happened {
    match sockets.entries.get_mut(&fd) {
        Some(Entry::Stream(connection)) if connection.write_shut => Some((Errno::Success, 0, true)),
        Some(Entry::Stream(connection)) => match connection.stream.poll_writable(cx) {
            Poll::Ready(()) => Some((Errno::Success, ROOM, false)),
            Poll::Pending => None,
        },
        _ => Some((Errno::Badf, 0, false)),
    }
}

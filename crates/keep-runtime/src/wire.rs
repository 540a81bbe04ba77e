// SPDX-License-Identifier: Apache-2.0

//! How WASI preview 1 lays out what its socket calls read from and write to a module's memory.
//!
//! All of it is the module's to choose, so each function takes any bytes and any numbers. Layouts are
//! those of `wasi_snapshot_preview1.witx`.

use std::time::Duration;

/// Bytes of a `subscription`.
pub const SUBSCRIPTION: usize = 48;
/// Bytes of an `event`.
pub const EVENT: usize = 32;
/// `eventtype::fd_write`.
pub const EVENT_WRITE: u8 = 2;
/// Bytes of an `iovec` or `ciovec`.
pub const PART: usize = 8;
/// Bytes of an `fdstat`.
pub const FDSTAT: usize = 24;
/// Bytes of a `filestat`.
pub const FILESTAT: usize = 64;
/// Bytes of a `prestat`.
pub const PRESTAT: usize = 8;

/// `fdflags::nonblock`.
pub const NONBLOCK: u16 = 1 << 2;
/// `riflags::recv_peek`.
pub const RECV_PEEK: u16 = 1;
/// `riflags::recv_waitall`.
pub const RECV_WAITALL: u16 = 2;
/// `sdflags::rd`.
pub const SHUT_RD: u8 = 1;
/// `sdflags::wr`.
pub const SHUT_WR: u8 = 2;

/// `filetype::unknown`.
pub const FILETYPE_UNKNOWN: u8 = 0;
/// `filetype::socket_stream`.
pub const FILETYPE_SOCKET_STREAM: u8 = 6;

/// Rights of a descriptor.
pub mod rights {
    /// `fd_read`, and `sock_recv`.
    pub const READ: u64 = 1 << 1;
    /// `fd_fdstat_set_flags`.
    pub const SET_FLAGS: u64 = 1 << 3;
    /// `fd_write`, and `sock_send`.
    pub const WRITE: u64 = 1 << 6;
    /// `fd_filestat_get`.
    pub const FILESTAT_GET: u64 = 1 << 21;
    /// In `poll_oneoff`.
    pub const POLL: u64 = 1 << 27;
    /// `sock_shutdown`.
    pub const SHUTDOWN: u64 = 1 << 28;
    /// `sock_accept`.
    pub const ACCEPT: u64 = 1 << 29;
}

/// What a module waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// The module's own mark, which the event repeats.
    pub userdata: u64,
    /// What it is.
    pub what: What,
}

/// Kinds of subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A time.
    Clock {
        /// `clockid`.
        id: u32,
        /// From now on, or since the clock's zero.
        time: Duration,
        /// Which of the two.
        absolute: bool,
    },
    /// Something to read.
    Read(u32),
    /// Room to write.
    Write(u32),
}

impl What {
    /// `eventtype`.
    pub fn event_type(&self) -> u8 {
        match self {
            Self::Clock { .. } => 0,
            Self::Read(_) => 1,
            Self::Write(_) => EVENT_WRITE,
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Of the subscription.
    pub userdata: u64,
    /// `errno`.
    pub error: u16,
    /// `eventtype`.
    pub event_type: u8,
    /// Bytes that can be read or written, at least.
    pub nbytes: u64,
    /// Whether the peer will send no more.
    pub hangup: bool,
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl Subscription {
    /// Reads one; none if it is of no known kind.
    pub fn read(bytes: &[u8; SUBSCRIPTION]) -> Option<Self> {
        let userdata = u64::from_le_bytes(array(bytes, 0)?);
        let word = u32::from_le_bytes(array(bytes, 16)?);
        let what = match bytes[8] {
            0 => What::Clock {
                id: word,
                time: Duration::from_nanos(u64::from_le_bytes(array(bytes, 24)?)),
                absolute: match u16::from_le_bytes(array(bytes, 40)?) {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
            },
            1 => What::Read(word),
            2 => What::Write(word),
            _ => return None,
        };
        Some(Self { userdata, what })
    }
}

impl Event {
    /// As it stands in memory.
    pub fn to_bytes(self) -> [u8; EVENT] {
        let mut out = [0; EVENT];
        out[..8].copy_from_slice(&self.userdata.to_le_bytes());
        out[8..10].copy_from_slice(&self.error.to_le_bytes());
        out[10] = self.event_type;
        out[16..24].copy_from_slice(&self.nbytes.to_le_bytes());
        out[24] = u8::from(self.hangup);
        out
    }
}

/// The `fdstat` of a descriptor.
pub fn fdstat(filetype: u8, flags: u16, rights: u64) -> [u8; FDSTAT] {
    let mut out = [0; FDSTAT];
    out[0] = filetype;
    out[2..4].copy_from_slice(&flags.to_le_bytes());
    out[8..16].copy_from_slice(&rights.to_le_bytes());
    out
}

/// The `filestat` of a descriptor that has no size, no times and no place in a file system.
pub fn filestat(filetype: u8) -> [u8; FILESTAT] {
    let mut out = [0; FILESTAT];
    out[16] = filetype;
    // One link, as everything that is open has.
    out[24] = 1;
    out
}

/// The bytes at a pointer; none if they are not all there, or not aligned as their type demands.
pub fn at(memory: &[u8], pointer: i32, len: usize, align: usize) -> Option<usize> {
    let start = usize::try_from(pointer.cast_unsigned()).ok()?;
    memory.get(start..start.checked_add(len)?)?;
    start.is_multiple_of(align).then_some(start)
}

/// Copies to a pointer.
pub fn store(memory: &mut [u8], pointer: i32, bytes: &[u8], align: usize) -> Option<()> {
    let start = at(memory, pointer, bytes.len(), align)?;
    memory.get_mut(start..start.checked_add(bytes.len())?)?.copy_from_slice(bytes);
    Some(())
}

/// Start and length of the n-th part of an array of parts, all of it in memory.
pub fn part(memory: &[u8], parts: i32, n: usize) -> Option<(usize, usize)> {
    let first = at(memory, parts, 0, 4)?;
    let entry = first.checked_add(n.checked_mul(PART)?)?;
    let word = |at| usize::try_from(u32::from_le_bytes(array(memory, at)?)).ok();
    let (start, len) = (word(entry)?, word(entry.checked_add(4)?)?);
    memory.get(start..start.checked_add(len)?)?;
    Some((start, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions() {
        let mut bytes = [0; SUBSCRIPTION];
        bytes[..8].copy_from_slice(&7_u64.to_le_bytes());
        bytes[16] = 1;
        bytes[24..32].copy_from_slice(&1_500_u64.to_le_bytes());
        bytes[40] = 1;
        let time = Duration::from_nanos(1_500);
        let what = What::Clock { id: 1, time, absolute: true };
        assert_eq!(Subscription::read(&bytes), Some(Subscription { userdata: 7, what }));
        bytes[40] = 2;
        assert_eq!(Subscription::read(&bytes), None, "an unknown flag");
        bytes[8] = 1;
        assert_eq!(Subscription::read(&bytes).unwrap().what, What::Read(1));
        bytes[8] = 2;
        assert_eq!(Subscription::read(&bytes).unwrap().what, What::Write(1));
        for tag in 3..=255 {
            bytes[8] = tag;
            assert_eq!(Subscription::read(&bytes), None);
        }
    }

    #[test]
    fn every_byte_of_a_subscription_may_be_anything() {
        for at in 0..SUBSCRIPTION {
            for with in 0..=255 {
                let mut bytes = [0; SUBSCRIPTION];
                bytes[at] = with;
                let _ = Subscription::read(&bytes);
            }
        }
        let _ = Subscription::read(&[0xff; SUBSCRIPTION]);
    }

    #[test]
    fn events() {
        let event = Event { userdata: 1, error: 8, event_type: 1, nbytes: 3, hangup: true };
        let bytes = event.to_bytes();
        assert_eq!((bytes[0], bytes[8], bytes[10], bytes[16], bytes[24]), (1, 8, 1, 3, 1));
        assert!(bytes[11..16].iter().chain(&bytes[25..]).all(|byte| *byte == 0));
    }

    #[test]
    fn pointers_stay_in_memory() {
        let mut memory = vec![0; 32];
        assert_eq!(at(&memory, 8, 24, 8), Some(8));
        assert_eq!(at(&memory, 8, 25, 8), None);
        assert_eq!(at(&memory, 9, 1, 2), None);
        assert_eq!(at(&memory, -1, 1, 1), None);
        assert_eq!(at(&memory, 0, usize::MAX, 1), None);
        assert_eq!(store(&mut memory, 30, &[1, 2, 3], 1), None);
        assert_eq!(store(&mut memory, 29, &[1, 2, 3], 1), Some(()));
        assert_eq!(memory[29..], [1, 2, 3]);
    }

    #[test]
    fn parts_stay_in_memory() {
        let mut memory = vec![0; 32];
        memory[8..12].copy_from_slice(&20_u32.to_le_bytes());
        memory[12..16].copy_from_slice(&12_u32.to_le_bytes());
        assert_eq!(part(&memory, 0, 1), Some((20, 12)));
        memory[12] = 13;
        assert_eq!(part(&memory, 0, 1), None, "the part ends beyond the memory");
        assert_eq!(part(&memory, 0, 4), None, "the array ends beyond the memory");
        assert_eq!(part(&memory, 2, 0), None, "the array is not aligned");
        assert_eq!(part(&memory, 0, usize::MAX), None);
        memory[8..16].copy_from_slice(&[0xff; 8]);
        assert_eq!(part(&memory, 0, 1), None);
    }
}

// SPDX-License-Identifier: Apache-2.0

//! What a Keep may ask of its host: the closed lists of calls, streams and errors.
//!
//! Both sides use these types, so they cannot disagree about a number. A request is decoded by the
//! host as strictly as an answer by the Keep: what is not in the lists, or points outside the data
//! area, does not become a [`Request`].

use crate::{DATA, MAX_MESSAGE, REQUEST_WORDS, SHARED_SIZE};

/// Declares a closed list of numbered things.
macro_rules! closed {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $item:ident = $number:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u64)]
        pub enum $name { $($(#[$doc])* $item = $number,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$item,)*];

            /// Its name in messages and documentation.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$item => $text,)* }
            }

            /// The one with this number.
            pub const fn from_number(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$item),)* _ => None }
            }

            /// Its number in the shared block.
            pub const fn number(self) -> u64 {
                self as u64
            }
        }
    };
}

closed! {
    /// A host call. There are no others.
    Call {
        /// Moves bytes from a stream to the Keep.
        Read = 1, "read";
        /// Moves bytes from the Keep to a stream, all of them unless it fails.
        Write = 2, "write";
        /// Waits for standard streams or for time to pass.
        Poll = 3, "poll";
        /// Asks for the time.
        Clock = 4, "clock";
        /// Asks for more private memory.
        Grow = 5, "grow";
        /// Ends the Keep.
        Exit = 6, "exit";
    }
}

closed! {
    /// One of the descriptors that the host handed out; each has one direction.
    Stream {
        /// The workload's standard input.
        Stdin = 0, "stdin";
        /// The workload's standard output.
        Stdout = 1, "stdout";
        /// The workload's standard error.
        Stderr = 2, "stderr";
        /// The encoded launch message.
        Launch = 3, "launch";
        /// Module or artifact.
        Input = 4, "input";
        /// The encoded report; its bytes count once the Keep has ended.
        Report = 5, "report";
        /// The compiler's artifact.
        Output = 6, "output";
        /// The archive of the folders that seed the Keep's file system.
        Seed = 7, "seed";
        /// Messages of the Keep's kernel, for debugging.
        Log = 8, "log";
    }
}

impl Stream {
    /// Whether a Keep reads from it; it writes to all others.
    pub const fn is_readable(self) -> bool {
        matches!(self, Self::Stdin | Self::Launch | Self::Input | Self::Seed)
    }

    /// Its bit in the masks of POLL: "can be read" or "can be written" by the stream's direction.
    pub const fn bit(self) -> u64 {
        1 << self as u64
    }

    /// The bits of the streams that POLL accepts: stdin, stdout, stderr.
    pub const POLLABLE: u64 = Self::Stdin.bit() | Self::Stdout.bit() | Self::Stderr.bit();
}

closed! {
    /// Which time CLOCK asks for.
    ClockId {
        /// Nanoseconds since 1970-01-01 00:00 UTC.
        Realtime = 0, "realtime";
        /// Nanoseconds since some fixed moment.
        Monotonic = 1, "monotonic";
    }
}

closed! {
    /// Why a Keep ends.
    ExitKind {
        /// The program ended; its report, if any, has been written.
        Finished = 0, "finished";
        /// The kernel found something that must not be: a lie of the host, or a bug.
        Panic = 1, "panic";
        /// There is no more memory, and the program cannot go on without.
        OutOfMemory = 2, "out of memory";
        /// The kernel ended the program, for example for a fault that it does not handle.
        Killed = 3, "killed";
    }
}

closed! {
    /// Why the host could not do what it was asked; numbered like Linux's errors on x86-64.
    HostErrno {
        /// Anything that is not listed here.
        Io = 5, "input/output error";
        /// There is no such stream in this Keep.
        BadStream = 9, "no such stream";
        /// Nothing to read or no room to write now.
        Again = 11, "try again";
        /// There is no more memory.
        NoMemory = 12, "out of memory";
        /// The request is malformed. An honest host never says so to a [`Port`](crate::Port).
        Invalid = 22, "invalid request";
        /// There is no room on the device.
        NoSpace = 28, "no space left";
        /// Nobody reads what is written.
        Pipe = 32, "broken pipe";
    }
}

impl HostErrno {
    /// Whether an honest host may answer `call` with this error.
    pub const fn may_answer(self, call: Call) -> bool {
        match call {
            Call::Read => matches!(self, Self::Io | Self::BadStream | Self::Again),
            Call::Write => {
                matches!(
                    self,
                    Self::Io | Self::BadStream | Self::Again | Self::NoSpace | Self::Pipe
                )
            }
            Call::Poll => matches!(self, Self::Io | Self::BadStream),
            Call::Grow => matches!(self, Self::NoMemory),
            Call::Clock | Call::Exit => false,
        }
    }
}

/// A timeout of POLL that never ends.
pub const FOREVER: u64 = u64::MAX;

/// A well-formed host call. Offsets and lengths of one that was decoded lie in the data area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// READ: fill the data area at `at` with up to `len` bytes; answer: how many, 0 at the end.
    Read {
        /// Where from.
        stream: Stream,
        /// Offset in the block (argument a).
        at: usize,
        /// How many bytes at most (b).
        len: usize,
    },
    /// WRITE: take `len` bytes at `at`; answer: `len`, or an error and how many before that.
    Write {
        /// Where to.
        stream: Stream,
        /// Offset in the block (a).
        at: usize,
        /// How many bytes (b).
        len: usize,
    },
    /// POLL: wait until one of the streams in `mask` is ready; answer: those that are.
    Poll {
        /// Bits of streams (a), see [`Stream::bit`].
        mask: u64,
        /// Nanoseconds to wait at most (b); [`FOREVER`] is without end.
        timeout: u64,
    },
    /// CLOCK: answer with the time in nanoseconds.
    Clock {
        /// Which (a).
        clock: ClockId,
    },
    /// GROW: add `bytes` or more of private memory behind what there is; answer: the new total.
    Grow {
        /// How many bytes to add (a), a multiple of 2 MiB.
        bytes: u64,
    },
    /// EXIT: end the Keep. There is no answer.
    Exit {
        /// Why (a).
        kind: ExitKind,
        /// Offset of the message in the block (b).
        at: usize,
        /// Its length (c).
        len: usize,
    },
}

impl Request {
    /// Which call this is.
    pub const fn call(&self) -> Call {
        match self {
            Self::Read { .. } => Call::Read,
            Self::Write { .. } => Call::Write,
            Self::Poll { .. } => Call::Poll,
            Self::Clock { .. } => Call::Clock,
            Self::Grow { .. } => Call::Grow,
            Self::Exit { .. } => Call::Exit,
        }
    }

    /// As it stands in the submission ring.
    pub const fn encode(&self) -> [u64; REQUEST_WORDS] {
        let (stream, a, b, c) = match *self {
            Self::Read { stream, at, len } | Self::Write { stream, at, len } => {
                (stream.number(), at as u64, len as u64, 0)
            }
            Self::Poll { mask, timeout } => (0, mask, timeout, 0),
            Self::Clock { clock } => (0, clock.number(), 0, 0),
            Self::Grow { bytes } => (0, bytes, 0, 0),
            Self::Exit { kind, at, len } => (0, kind.number(), at as u64, len as u64),
        };
        [self.call().number(), stream, a, b, c, 0, 0, 0]
    }

    /// Checks and decodes a copy of an entry of the submission ring.
    ///
    /// # Errors
    ///
    /// [`HostErrno::BadStream`] for a stream that is not in the list or has the other direction,
    /// [`HostErrno::Invalid`] for all else that is malformed.
    pub fn decode(words: &[u64; REQUEST_WORDS]) -> Result<Self, HostErrno> {
        let &[call, stream, a, b, c, ..] = words;
        let call = Call::from_number(call).ok_or(HostErrno::Invalid)?;
        let stream = Stream::from_number(stream).ok_or(HostErrno::BadStream)?;
        let request = match call {
            Call::Read | Call::Write => {
                if stream.is_readable() != (call == Call::Read) {
                    return Err(HostErrno::BadStream);
                }
                let (at, len) = data_range(a, b)?;
                match call {
                    Call::Read => Self::Read { stream, at, len },
                    _ => Self::Write { stream, at, len },
                }
            }
            Call::Poll if a & !Stream::POLLABLE == 0 => Self::Poll { mask: a, timeout: b },
            Call::Poll => return Err(HostErrno::Invalid),
            Call::Clock => {
                Self::Clock { clock: ClockId::from_number(a).ok_or(HostErrno::Invalid)? }
            }
            Call::Grow if a != 0 && a.is_multiple_of(keep_layout::CHUNK) => Self::Grow { bytes: a },
            Call::Grow => return Err(HostErrno::Invalid),
            Call::Exit => {
                let kind = ExitKind::from_number(a).ok_or(HostErrno::Invalid)?;
                let (at, len) = data_range(b, c)?;
                if len > MAX_MESSAGE {
                    return Err(HostErrno::Invalid);
                }
                Self::Exit { kind, at, len }
            }
        };
        // One form per request: what the call does not use must be zero.
        if request.encode() == *words { Ok(request) } else { Err(HostErrno::Invalid) }
    }
}

/// An offset and a length, if they lie in the data area.
fn data_range(at: u64, len: u64) -> Result<(usize, usize), HostErrno> {
    let at = usize::try_from(at).map_err(|_| HostErrno::Invalid)?;
    let len = usize::try_from(len).map_err(|_| HostErrno::Invalid)?;
    let end = at.checked_add(len).ok_or(HostErrno::Invalid)?;
    if at < DATA || end > SHARED_SIZE { Err(HostErrno::Invalid) } else { Ok((at, len)) }
}

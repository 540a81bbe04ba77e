// SPDX-License-Identifier: Apache-2.0

//! What a Keep may ask of its host: the closed lists of calls, streams and errors.
//!
//! Both sides use these types, so they cannot disagree about a number. A request is decoded by the
//! host as strictly as an answer by the Keep: what is not in the lists, or points outside the data
//! area, does not become a [`Request`].

use core::net::SocketAddr;

use crate::socket::{decode_address, encode_address};
use crate::{DATA, HANDLES, Handle, MAX_MESSAGE, REQUEST_WORDS, SHARED_SIZE, SocketFlags};

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
        /// Waits for standard streams, for sockets, or for time to pass.
        Poll = 3, "poll";
        /// Asks for the time.
        Clock = 4, "clock";
        /// Asks for more private memory.
        Grow = 5, "grow";
        /// Ends the Keep.
        Exit = 6, "exit";
        /// Makes a socket and gives it an address.
        Bind = 7, "bind";
        /// Lets a bound socket accept connections.
        Listen = 8, "listen";
        /// Makes a socket, unless it was bound, and begins to connect it.
        Connect = 9, "connect";
        /// Gives bytes to a connected socket.
        Send = 10, "send";
        /// Says that no more bytes will be sent.
        Shutdown = 11, "shutdown";
        /// Ends a socket; what it was given before is still sent.
        Close = 12, "close";
        /// Sets an option of a socket.
        Option = 13, "option";
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
        /// What the program says of itself while it runs: frames of `keep_launch::Event`.
        Events = 9, "events";
        /// What evidence is to contain: 64 bytes at a time.
        ReportData = 10, "report-data";
        /// The answers to that: frames of `keep_launch::Evidence`.
        Evidence = 11, "evidence";
    }
}

impl Stream {
    /// Whether a Keep reads from it; it writes to all others.
    pub const fn is_readable(self) -> bool {
        matches!(self, Self::Stdin | Self::Launch | Self::Input | Self::Seed | Self::Evidence)
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
    /// An option of a socket.
    SocketOption {
        /// Send small pieces at once (`TCP_NODELAY`): 0 or 1.
        NoDelay = 1, "nodelay";
        /// Look whether a silent peer lives (`SO_KEEPALIVE`): 0 or 1.
        KeepAlive = 2, "keepalive";
        /// Seconds of silence before that (`TCP_KEEPIDLE`).
        KeepIdle = 3, "keepidle";
        /// Seconds between two looks (`TCP_KEEPINTVL`).
        KeepInterval = 4, "keepinterval";
        /// How many looks without an answer end the connection (`TCP_KEEPCNT`).
        KeepCount = 5, "keepcount";
        /// Close without sending the rest (`SO_LINGER` with no time): 0 or 1.
        Abort = 6, "abort";
    }
}

impl SocketOption {
    /// Its largest value.
    pub const fn limit(self) -> u64 {
        match self {
            Self::NoDelay | Self::KeepAlive | Self::Abort => 1,
            Self::KeepIdle | Self::KeepInterval => 32_767,
            Self::KeepCount => 127,
        }
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
        /// The Keep may not do that.
        Access = 13, "not allowed";
        /// The request is malformed. An honest host never says so to a [`Port`](crate::Port).
        Invalid = 22, "invalid request";
        /// There are too many sockets.
        TooMany = 24, "too many sockets";
        /// There is no room on the device.
        NoSpace = 28, "no space left";
        /// Nobody reads what is written.
        Pipe = 32, "broken pipe";
        /// The address is in use.
        AddressInUse = 98, "address in use";
        /// The address is not one of this machine.
        AddressNotAvailable = 99, "address not available";
        /// No way leads to that network.
        NetworkUnreachable = 101, "network unreachable";
        /// The peer ended the connection.
        Reset = 104, "connection reset";
        /// The peer does not answer.
        TimedOut = 110, "timed out";
        /// Nobody listens there.
        Refused = 111, "connection refused";
        /// No way leads to that machine.
        HostUnreachable = 113, "host unreachable";
    }
}

impl HostErrno {
    /// Whether an honest host may answer `call` with this error.
    pub const fn may_answer(self, call: Call) -> bool {
        match call {
            Call::Bind => matches!(
                self,
                Self::Io
                    | Self::Access
                    | Self::TooMany
                    | Self::AddressInUse
                    | Self::AddressNotAvailable
            ),
            Call::Listen => matches!(self, Self::Io | Self::Access | Self::AddressInUse),
            Call::Connect => {
                matches!(
                    self,
                    Self::Access | Self::TooMany | Self::AddressInUse | Self::AddressNotAvailable
                ) || self.ends_connection()
            }
            Call::Send => matches!(self, Self::Pipe) || self.ends_connection(),
            Call::Shutdown | Call::Option => matches!(self, Self::Io),
            Call::Close => false,
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

    /// Whether a connection can end in this way.
    pub const fn ends_connection(self) -> bool {
        matches!(
            self,
            Self::Io
                | Self::NetworkUnreachable
                | Self::Reset
                | Self::TimedOut
                | Self::Refused
                | Self::HostUnreachable
        )
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
    /// POLL: wait until one of the streams in `mask` is ready or something has happened to a
    /// socket; answer: bits of streams that are ready, and in the upper half how many bytes of
    /// events there are.
    Poll {
        /// Bits of streams (a), see [`Stream::bit`].
        mask: u64,
        /// Nanoseconds to wait at most (b); [`FOREVER`] is without end.
        timeout: u64,
        /// Offset of a list of [`Grant`](crate::Grant)s (c).
        grants: usize,
        /// Its length in bytes (d), a multiple of 8; at most one for each handle.
        grants_len: usize,
        /// Offset of the room for [`SocketEvent`](crate::SocketEvent)s (e), a multiple of 8.
        events: usize,
        /// Its length in bytes (f), a multiple of 8; 0 if sockets are not waited for.
        events_len: usize,
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
    /// BIND: make a socket at an address; answer: its port.
    Bind {
        /// The new socket, one that the Keep makes (in place of the stream).
        handle: Handle,
        /// Which kind (a).
        flags: SocketFlags,
        /// Where (b, c, d).
        address: SocketAddr,
    },
    /// LISTEN: let a bound socket accept.
    Listen {
        /// The socket.
        handle: Handle,
        /// How many connections may wait (a), at most 4096.
        backlog: u32,
    },
    /// CONNECT: connect a bound or a new socket. The answer only says that it was begun; see
    /// [`SocketEvent::Connected`](crate::SocketEvent::Connected).
    Connect {
        /// The socket, one that the Keep makes.
        handle: Handle,
        /// Which kind (a).
        flags: SocketFlags,
        /// Whither (b, c, d).
        address: SocketAddr,
    },
    /// SEND: take `len` bytes at `at`, or one datagram; answer: how many bytes of this socket the
    /// host now keeps because they could not be sent yet.
    Send {
        /// The socket.
        handle: Handle,
        /// Offset in the block (a).
        at: usize,
        /// How many bytes (b).
        len: usize,
    },
    /// SHUTDOWN: nothing more will be sent.
    Shutdown {
        /// The socket.
        handle: Handle,
    },
    /// CLOSE: forget the socket.
    Close {
        /// The socket.
        handle: Handle,
    },
    /// OPTION: set an option.
    Option {
        /// The socket.
        handle: Handle,
        /// Which (a).
        option: SocketOption,
        /// To what (b), at most [`SocketOption::limit`].
        value: u64,
    },
}

/// Most connections that may wait at a listening socket.
pub(crate) const MAX_BACKLOG: u32 = 4096;

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
            Self::Bind { .. } => Call::Bind,
            Self::Listen { .. } => Call::Listen,
            Self::Connect { .. } => Call::Connect,
            Self::Send { .. } => Call::Send,
            Self::Shutdown { .. } => Call::Shutdown,
            Self::Close { .. } => Call::Close,
            Self::Option { .. } => Call::Option,
        }
    }

    /// As it stands in the submission ring.
    pub fn encode(&self) -> [u64; REQUEST_WORDS] {
        let call = self.call().number();
        let short = |object: u64, a: u64, b: u64, c: u64| [call, object, a, b, c, 0, 0, 0];
        let socket = |handle: Handle, a: u64, b: u64| short(handle.index() as u64, a, b, 0);
        match *self {
            Self::Read { stream, at, len } | Self::Write { stream, at, len } => {
                short(stream.number(), at as u64, len as u64, 0)
            }
            Self::Poll { mask, timeout, grants, grants_len, events, events_len } => {
                let [g, gl, e, el] = [grants, grants_len, events, events_len].map(|n| n as u64);
                [call, 0, mask, timeout, g, gl, e, el]
            }
            Self::Clock { clock } => short(0, clock.number(), 0, 0),
            Self::Grow { bytes } => short(0, bytes, 0, 0),
            Self::Exit { kind, at, len } => short(0, kind.number(), at as u64, len as u64),
            Self::Bind { handle, flags, address } | Self::Connect { handle, flags, address } => {
                let [x, y, z] = encode_address(&address);
                [call, handle.index() as u64, flags.encode(), x, y, z, 0, 0]
            }
            Self::Listen { handle, backlog } => socket(handle, backlog.into(), 0),
            Self::Send { handle, at, len } => socket(handle, at as u64, len as u64),
            Self::Shutdown { handle } | Self::Close { handle } => socket(handle, 0, 0),
            Self::Option { handle, option, value } => socket(handle, option.number(), value),
        }
    }

    /// Checks and decodes a copy of an entry of the submission ring.
    ///
    /// # Errors
    ///
    /// [`HostErrno::BadStream`] for a stream that is not in the list or has the other direction,
    /// [`HostErrno::Invalid`] for all else that is malformed.
    pub fn decode(words: &[u64; REQUEST_WORDS]) -> Result<Self, HostErrno> {
        let &[call, object, a, b, c, d, e, f] = words;
        let call = Call::from_number(call).ok_or(HostErrno::Invalid)?;
        let handle = Handle::new(object).ok_or(HostErrno::Invalid);
        let request = match call {
            Call::Read | Call::Write => {
                let stream = Stream::from_number(object).ok_or(HostErrno::BadStream)?;
                if stream.is_readable() != (call == Call::Read) {
                    return Err(HostErrno::BadStream);
                }
                let (at, len) = data_range(a, b)?;
                match call {
                    Call::Read => Self::Read { stream, at, len },
                    _ => Self::Write { stream, at, len },
                }
            }
            Call::Poll => {
                let (grants, grants_len) = data_range(c, d)?;
                let (events, events_len) = data_range(e, f)?;
                let aligned = [grants, grants_len, events, events_len].iter().all(|n| n % 8 == 0);
                if a & !Stream::POLLABLE != 0 || !aligned || grants_len > HANDLES * 8 {
                    return Err(HostErrno::Invalid);
                }
                Self::Poll { mask: a, timeout: b, grants, grants_len, events, events_len }
            }
            Call::Bind | Call::Connect => {
                let handle = handle?;
                let flags = SocketFlags::decode(a);
                let address = decode_address([b, c, d]).ok_or(HostErrno::Invalid)?;
                match call {
                    _ if handle.is_accepted() => return Err(HostErrno::Invalid),
                    Call::Bind => Self::Bind { handle, flags, address },
                    _ => Self::Connect { handle, flags, address },
                }
            }
            Call::Listen if a <= MAX_BACKLOG.into() => {
                Self::Listen { handle: handle?, backlog: a as u32 }
            }
            Call::Listen => return Err(HostErrno::Invalid),
            Call::Send => {
                let (at, len) = data_range(a, b)?;
                Self::Send { handle: handle?, at, len }
            }
            Call::Shutdown => Self::Shutdown { handle: handle? },
            Call::Close => Self::Close { handle: handle? },
            Call::Option => {
                let option = SocketOption::from_number(a).ok_or(HostErrno::Invalid)?;
                if b > option.limit() {
                    return Err(HostErrno::Invalid);
                }
                Self::Option { handle: handle?, option, value: b }
            }
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

// SPDX-License-Identifier: Apache-2.0

//! `setsockopt` and `getsockopt`: the few options that mean something here. Sizes of buffers are
//! the kernel's own affair, so setting them changes nothing, as it may in Linux.

use keep_fs::Errno;
use sallyport::{SocketKind, SocketOption};

use super::socket::{AF_INET, AF_INET6};
use crate::errno::{EINVAL, ENOPROTOOPT, errno};
use crate::kernel::{Kernel, Platform};
use crate::net::{Socket, State};
use crate::user::UserMemory;

const SOL_SOCKET: i32 = 1;
const IPPROTO_TCP: i32 = 6;
const IPPROTO_IPV6: i32 = 41;

const SO_REUSEADDR: i32 = 2;
const SO_TYPE: i32 = 3;
const SO_ERROR: i32 = 4;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;
const SO_LINGER: i32 = 13;
const SO_RCVTIMEO: i32 = 20;
const SO_SNDTIMEO: i32 = 21;
const SO_ACCEPTCONN: i32 = 30;
const SO_PROTOCOL: i32 = 38;
const SO_DOMAIN: i32 = 39;
const IPV6_V6ONLY: i32 = 26;

/// The options that are passed on to the host, and Linux's values where nothing was set.
fn passed_on(level: i32, name: i32) -> Result<(SocketOption, u32), Errno> {
    match (level, name) {
        (IPPROTO_TCP, 1) => Ok((SocketOption::NoDelay, 0)),
        (SOL_SOCKET, 9) => Ok((SocketOption::KeepAlive, 0)),
        (IPPROTO_TCP, 4) => Ok((SocketOption::KeepIdle, 7200)),
        (IPPROTO_TCP, 5) => Ok((SocketOption::KeepInterval, 75)),
        (IPPROTO_TCP, 6) => Ok((SocketOption::KeepCount, 9)),
        _ => Err(ENOPROTOOPT),
    }
}

impl<P: Platform> Kernel<P> {
    pub(super) fn set_socket_option(
        &mut self,
        fd: i32,
        level: i32,
        name: i32,
        at: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let (handle, _) = self.handle(fd)?;
        let is_timeout = level == SOL_SOCKET && (name == SO_RCVTIMEO || name == SO_SNDTIMEO);
        if len < if is_timeout { 16 } else { 4 } {
            return Err(EINVAL);
        }
        if is_timeout {
            let [seconds, micros]: [i64; 2] = self.space.load(at)?;
            let (Ok(seconds), 0..1_000_000) = (u64::try_from(seconds), micros) else {
                return Err(Errno(33)); // EDOM
            };
            let nanos = seconds.saturating_mul(1_000_000_000).saturating_add(micros as u64 * 1000);
            let timeouts = &mut self.net.get_mut(handle).timeouts;
            timeouts[usize::from(name == SO_SNDTIMEO)] = (nanos > 0).then_some(nanos);
            return Ok(());
        }
        let value: i32 = self.space.load(at)?;
        let socket = self.net.get_mut(handle);
        let (option, value) = match (level, name) {
            (SOL_SOCKET, SO_REUSEADDR) => {
                socket.flags.reuse = value != 0;
                return Ok(());
            }
            (SOL_SOCKET, SO_SNDBUF | SO_RCVBUF) => return Ok(()),
            (IPPROTO_IPV6, IPV6_V6ONLY) if socket.v6 && socket.state == State::New => {
                socket.flags.only_v6 = value != 0;
                return Ok(());
            }
            (IPPROTO_IPV6, IPV6_V6ONLY) if socket.v6 => return Err(EINVAL),
            (SOL_SOCKET, SO_LINGER) => {
                let [on, seconds]: [u32; 2] = self.space.load(at)?;
                (SocketOption::Abort, u32::from(on != 0 && seconds == 0))
            }
            _ => {
                let (option, _) = passed_on(level, name)?;
                if level == IPPROTO_TCP && socket.flags.kind == SocketKind::Datagram {
                    return Err(ENOPROTOOPT);
                }
                match (option.limit(), u32::try_from(value)) {
                    (1, _) => (option, u32::from(value != 0)),
                    (limit, Ok(value @ 1..)) if u64::from(value) <= limit => (option, value),
                    _ => return Err(EINVAL),
                }
            }
        };
        socket.options[option.number() as usize] = value;
        // Before the host knows the socket, it is enough to remember.
        if matches!(socket.state, State::Bound | State::Connecting | State::Connected) {
            Self::ask("a socket", |port| port.option(handle, option, value.into()));
            self.sent();
        }
        Ok(())
    }

    pub(super) fn socket_option(
        &mut self,
        fd: i32,
        level: i32,
        name: i32,
        at: u64,
        len_at: u64,
    ) -> Result<(), Errno> {
        let (handle, _) = self.handle(fd)?;
        let room: i32 = self.space.load(len_at)?;
        let socket = self.net.get_mut(handle);
        let value = match (level, name) {
            (SOL_SOCKET, SO_ERROR) => {
                let late = P::with_port(|port| port.send_error(handle));
                socket.error.take().or(late.map(errno)).map_or(0, |errno| errno.0 as u32)
            }
            (SOL_SOCKET, SO_LINGER) => {
                let abort = u64::from(socket.option(SocketOption::Abort));
                return self.store_option(abort, 8, room, at, len_at);
            }
            (SOL_SOCKET, SO_RCVTIMEO | SO_SNDTIMEO) => {
                let nanos = socket.timeouts[usize::from(name == SO_SNDTIMEO)].unwrap_or(0);
                if room < 16 {
                    return Err(EINVAL);
                }
                self.space.store(at, &[nanos / 1_000_000_000, nanos / 1000 % 1_000_000])?;
                return self.space.store(len_at, &16_u32);
            }
            _ => Self::number_option(socket, level, name)?,
        };
        self.store_option(value.into(), 4, room, at, len_at)
    }

    fn number_option(socket: &Socket, level: i32, name: i32) -> Result<u32, Errno> {
        let (kind, protocol) = match socket.flags.kind {
            SocketKind::Stream => (1, 6),
            SocketKind::Datagram => (2, 17),
        };
        let family = if socket.v6 { AF_INET6 } else { AF_INET };
        Ok(match (level, name) {
            (SOL_SOCKET, SO_REUSEADDR) => socket.flags.reuse.into(),
            (SOL_SOCKET, SO_TYPE) => kind,
            (SOL_SOCKET, SO_PROTOCOL) => protocol,
            (SOL_SOCKET, SO_DOMAIN) => family.into(),
            (SOL_SOCKET, SO_ACCEPTCONN) => (socket.state == State::Listening).into(),
            (SOL_SOCKET, SO_SNDBUF) => sallyport::SEND_WINDOW as u32,
            (SOL_SOCKET, SO_RCVBUF) => sallyport::MAX_GRANT as u32,
            (IPPROTO_IPV6, IPV6_V6ONLY) if socket.v6 => socket.flags.only_v6.into(),
            _ => {
                let (option, default) = passed_on(level, name)?;
                match socket.option(option) {
                    0 => default,
                    value => value,
                }
            }
        })
    }

    /// Writes a value, as far as there is room, and how long it is.
    fn store_option(
        &mut self,
        value: u64,
        len: usize,
        room: i32,
        at: u64,
        len_at: u64,
    ) -> Result<(), Errno> {
        let len = len.min(usize::try_from(room).map_err(|_| EINVAL)?);
        let bytes = value.to_le_bytes();
        self.space.bytes_mut(at, len as u64)?.copy_from_slice(&bytes[..len]);
        self.space.store(len_at, &(len as u32))
    }
}

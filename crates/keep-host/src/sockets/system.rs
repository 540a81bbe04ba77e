// SPDX-License-Identifier: Apache-2.0

//! System calls on sockets, without waiting.
//!
//! Bytes go between the socket and the shared block without a copy of ours, as for streams: a slice
//! of memory that a Keep is changing must not exist in Rust, so these are raw calls.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use sallyport::{HostErrno, SocketFlags, SocketKind, SocketOption};

/// What the Keep hears of an error.
pub(super) fn errno(error: &io::Error) -> HostErrno {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => HostErrno::Access,
        Some(libc::EMFILE | libc::ENFILE) => HostErrno::TooMany,
        Some(libc::EPIPE) => HostErrno::Pipe,
        Some(libc::EADDRINUSE) => HostErrno::AddressInUse,
        Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT) => HostErrno::AddressNotAvailable,
        Some(libc::ENETUNREACH | libc::ENETDOWN) => HostErrno::NetworkUnreachable,
        Some(libc::ECONNRESET | libc::ECONNABORTED) => HostErrno::Reset,
        Some(libc::ETIMEDOUT) => HostErrno::TimedOut,
        Some(libc::ECONNREFUSED) => HostErrno::Refused,
        Some(libc::EHOSTUNREACH | libc::EHOSTDOWN) => HostErrno::HostUnreachable,
        _ => HostErrno::Io,
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A number of bytes, or `None` if the call would have to wait.
fn moved(result: isize) -> io::Result<Option<usize>> {
    match usize::try_from(result) {
        Ok(n) => Ok(Some(n)),
        Err(_) => {
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR | libc::ENOBUFS) => Ok(None),
                _ => Err(error),
            }
        }
    }
}

/// An address in the form that the kernel takes.
struct Raw {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Raw {
    fn empty() -> Self {
        // SAFETY: plain data for which zero is a value.
        let storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
        Self { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    fn new(address: &SocketAddr) -> Self {
        let mut raw = Self::empty();
        let place = std::ptr::from_mut(&mut raw.storage);
        match address {
            SocketAddr::V4(v4) => {
                let address = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: the storage is large enough and aligned for each kind of address.
                unsafe { place.cast::<libc::sockaddr_in>().write(address) };
                raw.len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            }
            SocketAddr::V6(v6) => {
                let address = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { place.cast::<libc::sockaddr_in6>().write(address) };
                raw.len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            }
        }
        raw
    }

    fn address(&self) -> SocketAddr {
        let place = std::ptr::from_ref(&self.storage);
        if self.storage.ss_family == libc::AF_INET6 as libc::sa_family_t {
            // SAFETY: the storage is larger than that, aligned, and any bytes are a value.
            let v6 = unsafe { place.cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            return SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into();
        }
        // SAFETY: as above.
        let v4 = unsafe { place.cast::<libc::sockaddr_in>().read() };
        let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
        SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into()
    }

    fn pointer(&self) -> *const libc::sockaddr {
        std::ptr::from_ref(&self.storage).cast()
    }
}

fn own(fd: libc::c_int) -> OwnedFd {
    // SAFETY: callers pass what a successful call has just made for us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

const NEW: libc::c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

/// Makes a socket for addresses like this one.
pub(super) fn socket(flags: SocketFlags, like: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if like.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = match flags.kind {
        SocketKind::Stream => libc::SOCK_STREAM,
        SocketKind::Datagram => libc::SOCK_DGRAM,
    };
    // SAFETY: no pointers.
    let socket = own(check(unsafe { libc::socket(family, kind | NEW, 0) })?);
    let fd = std::os::fd::AsFd::as_fd(&socket);
    if flags.reuse {
        set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1 as libc::c_int)?;
    }
    if family == libc::AF_INET6 {
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, libc::c_int::from(flags.only_v6))?;
    }
    Ok(socket)
}

fn set<T>(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    let value = std::ptr::from_ref(&value).cast();
    // SAFETY: `value` points to `len` bytes.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, len) }).map(drop)
}

pub(super) fn set_option(
    fd: BorrowedFd<'_>,
    option: SocketOption,
    value: libc::c_int,
) -> io::Result<()> {
    let (level, name) = match option {
        SocketOption::NoDelay => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        SocketOption::KeepAlive => (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        SocketOption::KeepIdle => (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
        SocketOption::KeepInterval => (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
        SocketOption::KeepCount => (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
        SocketOption::Abort => {
            let linger = libc::linger { l_onoff: value, l_linger: 0 };
            return set(fd, libc::SOL_SOCKET, libc::SO_LINGER, linger);
        }
    };
    set(fd, level, name, value)
}

pub(super) fn bind(fd: BorrowedFd<'_>, address: &SocketAddr) -> io::Result<()> {
    let raw = Raw::new(address);
    // SAFETY: the address is `len` bytes long.
    check(unsafe { libc::bind(fd.as_raw_fd(), raw.pointer(), raw.len) }).map(drop)
}

pub(super) fn listen(fd: BorrowedFd<'_>, backlog: libc::c_int) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// Begins to connect. It may be done at once.
pub(super) fn connect(fd: BorrowedFd<'_>, address: &SocketAddr) -> io::Result<()> {
    let raw = Raw::new(address);
    // SAFETY: the address is `len` bytes long.
    match check(unsafe { libc::connect(fd.as_raw_fd(), raw.pointer(), raw.len) }) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(()),
        other => other.map(drop),
    }
}

/// The next connection, if one waits, and who it is from.
pub(super) fn accept(fd: BorrowedFd<'_>) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
    let mut raw = Raw::empty();
    let place = std::ptr::from_mut(&mut raw.storage).cast();
    // SAFETY: there is room for any address, and `len` says how much.
    let fd = unsafe { libc::accept4(fd.as_raw_fd(), place, &mut raw.len, NEW) };
    match check(fd) {
        Ok(fd) => Ok(Some((own(fd), raw.address()))),
        Err(error) => match error.raw_os_error() {
            // A connection that ended before it was accepted is none.
            Some(libc::EAGAIN | libc::EINTR | libc::ECONNABORTED | libc::EPROTO) => Ok(None),
            _ => Err(error),
        },
    }
}

pub(super) fn local_address(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let mut raw = Raw::empty();
    let place = std::ptr::from_mut(&mut raw.storage).cast();
    // SAFETY: there is room for any address, and `len` says how much.
    check(unsafe { libc::getsockname(fd.as_raw_fd(), place, &mut raw.len) })?;
    Ok(raw.address())
}

/// Takes the error that the kernel holds for a socket.
pub(super) fn pending_error(fd: BorrowedFd<'_>) -> Option<io::Error> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let place = std::ptr::from_mut(&mut value).cast();
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ERROR);
    // SAFETY: `value` has room for `len` bytes.
    let result = check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, place, &mut len) });
    match result {
        Ok(_) if value == 0 => None,
        Ok(_) => Some(io::Error::from_raw_os_error(value)),
        Err(error) => Some(error),
    }
}

pub(super) fn shutdown(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) }).map(drop)
}

/// Receives up to `len` bytes, or one datagram, to `into`; `None` if there are none.
///
/// # Safety
///
/// `len` bytes at `into` may be written, and no reference to them exists.
pub(super) unsafe fn receive(
    fd: BorrowedFd<'_>,
    into: *mut u8,
    len: usize,
) -> io::Result<Option<usize>> {
    // SAFETY: the caller vouches for the range.
    moved(unsafe { libc::recv(fd.as_raw_fd(), into.cast(), len, libc::MSG_DONTWAIT) })
}

/// Sends up to `len` bytes, or one datagram, from `from`; `None` if there is no room.
///
/// # Safety
///
/// `len` bytes at `from` may be read.
pub(super) unsafe fn send(
    fd: BorrowedFd<'_>,
    from: *const u8,
    len: usize,
) -> io::Result<Option<usize>> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the caller vouches for the range.
    moved(unsafe { libc::send(fd.as_raw_fd(), from.cast(), len, flags) })
}

/// A set of sockets to wait for, edge by edge.
#[derive(Debug)]
pub(super) struct Set(OwnedFd);

/// What has happened to one member.
pub(super) type Happened = libc::epoll_event;

impl Set {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: no pointers.
        Ok(Self(own(check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?)))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    /// Adds a socket. It leaves the set when it is closed.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, tag: u64) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: events.cast_unsigned(), u64: tag };
        let (set, fd) = (self.0.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: the event lives.
        check(unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
    }

    /// Takes a socket out before it is closed.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        let (set, fd) = (self.0.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: no event is needed to remove one. It fails only for what is not in the set.
        unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Waits until something has happened, at most for `timeout`; answers how many of `into` say
    /// what. An interruption counts as nothing.
    pub(super) fn wait(
        &self,
        into: &mut [Happened],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        let room = libc::c_int::try_from(into.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: there is room for so many events; the timeout is null or lives; no signal mask.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                into.as_mut_ptr(),
                room,
                timeout,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        match usize::try_from(n) {
            Ok(n) => Ok(n),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.raw_os_error() == Some(libc::EINTR) { Ok(0) } else { Err(error) }
            }
        }
    }
}

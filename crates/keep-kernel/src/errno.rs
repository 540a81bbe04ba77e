// SPDX-License-Identifier: Apache-2.0

//! Error numbers of the system call interface that the file system does not know.

use keep_fs::Errno;
use sallyport::HostErrno;

/// I/O error.
pub const EIO: Errno = Errno(5);
/// Bad descriptor.
pub const EBADF: Errno = Errno::EBADF;
/// Try again.
pub const EAGAIN: Errno = Errno::EAGAIN;
/// Out of memory.
pub const ENOMEM: Errno = Errno(12);
/// Bad address.
pub const EFAULT: Errno = Errno(14);
/// Invalid argument.
pub const EINVAL: Errno = Errno::EINVAL;
/// Too many descriptors.
pub const EMFILE: Errno = Errno(24);
/// Not a terminal.
pub const ENOTTY: Errno = Errno(25);
/// A stream has no position.
pub const ESPIPE: Errno = Errno(29);
/// Nobody reads any more.
pub const EPIPE: Errno = Errno(32);
/// No such call.
pub const ENOSYS: Errno = Errno(38);
/// Timed out.
pub const ETIMEDOUT: Errno = Errno(110);
/// Permission denied.
pub const EACCES: Errno = Errno(13);
/// No such option.
pub const ENOPROTOOPT: Errno = Errno(92);
/// No such protocol.
pub const EPROTONOSUPPORT: Errno = Errno(93);
/// No such kind of socket.
pub const ESOCKTNOSUPPORT: Errno = Errno(94);
/// No such family of addresses.
pub const EAFNOSUPPORT: Errno = Errno(97);
/// Not a socket.
pub const ENOTSOCK: Errno = Errno(88);
/// A datagram has to go somewhere.
pub const EDESTADDRREQ: Errno = Errno(89);
/// Too long for a datagram.
pub const EMSGSIZE: Errno = Errno(90);
/// Already connected.
pub const EISCONN: Errno = Errno(106);
/// Not connected.
pub const ENOTCONN: Errno = Errno(107);
/// Already under way.
pub const EALREADY: Errno = Errno(114);
/// Under way now.
pub const EINPROGRESS: Errno = Errno(115);

/// The error that one of the host's is in Linux.
pub fn errno(errno: HostErrno) -> Errno {
    Errno(errno.number() as i32)
}

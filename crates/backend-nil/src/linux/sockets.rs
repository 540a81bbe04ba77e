// SPDX-License-Identifier: Apache-2.0

//! Which calls on sockets a process may make: the answers are those that a Keep would give.
//!
//! This is no boundary; a process of this backend has none. It is there so that a workload that is
//! not allowed to use the network finds that out here and not later in a Keep. Only how many sockets
//! there are is not counted.

use keep_backend::NetworkLimits;
use libc::sock_filter;

/// Calls by number that are not x86-64's own (`__X32_SYSCALL_BIT`).
const X32: u32 = 0x4000_0000;
/// `AUDIT_ARCH_X86_64`.
const ARCH: u32 = 0xc000_003e;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST: u32 = 16;
const SECOND: u32 = 24;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes on behind the next `skip` steps if the comparison does not hold.
fn unless(code: u16, k: u32, skip: u8) -> sock_filter {
    sock_filter { code, jt: 0, jf: skip, k }
}

fn fail(errno: libc::c_int) -> sock_filter {
    step(RETURN, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned())
}

fn call(number: libc::c_long) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The filter, to be installed by the process itself.
pub(super) fn filter(limits: Option<NetworkLimits>) -> Vec<sock_filter> {
    let mut steps = vec![
        step(LOAD, ARCHITECTURE),
        // Code of another architecture would number its calls differently.
        sock_filter { code: EQUAL, jt: 1, jf: 0, k: ARCH },
        fail(libc::ENOSYS),
        step(LOAD, NUMBER),
        unless(AT_LEAST, X32, 1),
        fail(libc::ENOSYS),
        // It makes any call in another's name.
        unless(EQUAL, call(libc::SYS_io_uring_setup), 1),
        fail(libc::ENOSYS),
        // A Keep has no such sockets.
        unless(EQUAL, call(libc::SYS_socketpair), 1),
        fail(libc::ENOSYS),
    ];
    let mut refuse = |number| {
        steps.extend([unless(EQUAL, call(number), 1), fail(libc::EACCES)]);
    };
    let Some(limits) = limits else {
        refuse(libc::SYS_socket);
        steps.push(step(RETURN, libc::SECCOMP_RET_ALLOW));
        return steps;
    };
    if !limits.listen {
        refuse(libc::SYS_listen);
    }
    if !limits.connect {
        refuse(libc::SYS_connect);
    }
    // A datagram is sent without a connection, too.
    let datagrams = if limits.connect { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
    let kinds = [libc::SOCK_STREAM, datagrams].map(libc::c_int::cast_unsigned);
    let families = [libc::AF_INET, libc::AF_INET6].map(libc::c_int::cast_unsigned);
    steps.extend([
        unless(EQUAL, call(libc::SYS_socket), 10),
        step(LOAD, FIRST),
        sock_filter { code: EQUAL, jt: 2, jf: 0, k: families[0] },
        sock_filter { code: EQUAL, jt: 1, jf: 0, k: families[1] },
        fail(libc::EAFNOSUPPORT),
        step(LOAD, SECOND),
        step(AND, 0xf),
        sock_filter { code: EQUAL, jt: 2, jf: 0, k: kinds[0] },
        sock_filter { code: EQUAL, jt: 1, jf: 0, k: kinds[1] },
        fail(if limits.connect { libc::ESOCKTNOSUPPORT } else { libc::EACCES }),
        step(RETURN, libc::SECCOMP_RET_ALLOW),
        step(RETURN, libc::SECCOMP_RET_ALLOW),
    ]);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does.
    fn run(filter: &[sock_filter], number: libc::c_long, args: [libc::c_int; 2]) -> u32 {
        let (mut at, mut a) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = filter[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                LOAD => {
                    a = match k {
                        NUMBER => call(number),
                        ARCHITECTURE => ARCH,
                        FIRST => args[0].cast_unsigned(),
                        _ => args[1].cast_unsigned(),
                    }
                }
                AND => a &= k,
                EQUAL => at += jump(a == k),
                AT_LEAST => at += jump(a >= k),
                _ => return k,
            }
        }
    }

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    fn errno(errno: libc::c_int) -> u32 {
        libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()
    }

    #[test]
    fn without_a_network_there_are_no_sockets() {
        let filter = filter(None);
        assert_eq!(run(&filter, libc::SYS_socket, [2, 1]), errno(libc::EACCES));
        assert_eq!(run(&filter, libc::SYS_read, [0, 0]), ALLOW);
        assert_eq!(run(&filter, libc::SYS_io_uring_setup, [0, 0]), errno(libc::ENOSYS));
        assert_eq!(run(&filter, libc::SYS_socket | i64::from(X32), [2, 1]), errno(libc::ENOSYS));
    }

    #[test]
    fn only_what_is_allowed_is() {
        let all = filter(Some(NetworkLimits::all()));
        for family in [libc::AF_INET, libc::AF_INET6] {
            for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC] {
                assert_eq!(run(&all, libc::SYS_socket, [family, kind]), ALLOW);
            }
            let raw = run(&all, libc::SYS_socket, [family, libc::SOCK_RAW]);
            assert_eq!(raw, errno(libc::ESOCKTNOSUPPORT));
        }
        let unix = run(&all, libc::SYS_socket, [libc::AF_UNIX, libc::SOCK_STREAM]);
        assert_eq!(unix, errno(libc::EAFNOSUPPORT));
        for number in [libc::SYS_connect, libc::SYS_listen, libc::SYS_bind, libc::SYS_read] {
            assert_eq!(run(&all, number, [0, 0]), ALLOW);
        }
        let limits = NetworkLimits { listen: false, connect: false, ..NetworkLimits::all() };
        let none = filter(Some(limits));
        for number in [libc::SYS_connect, libc::SYS_listen] {
            assert_eq!(run(&none, number, [0, 0]), errno(libc::EACCES));
        }
        assert_eq!(run(&none, libc::SYS_socket, [2, libc::SOCK_STREAM]), ALLOW);
        assert_eq!(run(&none, libc::SYS_socket, [2, libc::SOCK_DGRAM]), errno(libc::EACCES));
    }
}

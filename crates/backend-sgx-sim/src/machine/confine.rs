// SPDX-License-Identifier: Apache-2.0

//! What the machine of a Keep may ask its kernel for: to change the enclave's pages, to talk to the backend, to
//! return from signals. The enclave itself may ask for nothing.
//!
//! The filter looks at where a call comes from. From the enclave's addresses it is a signal, for in an enclave
//! `syscall` is an undefined instruction. From elsewhere it is allowed or ends the process. So an enclave that
//! takes its machine over, which it can because they share their memory, has this process and its socket, and
//! the backend takes nothing that comes from there for granted.

use std::io;

/// Calls with any arguments.
const PLAIN: &[libc::c_long] = &[
    libc::SYS_rt_sigreturn,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_restart_syscall,
    libc::SYS_poll,
    libc::SYS_timer_settime,
];

/// Where a filter finds things (`struct seccomp_data`).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const POINTER_HIGH: u32 = 12;
const fn argument(number: u32) -> u32 {
    16 + 8 * number
}
/// `AUDIT_ARCH_X86_64`.
const X86_64: u32 = 0xc000_003e;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

/// Skips so many if the comparison holds, and so many if not.
const fn jump(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// The filter; `end` is where the enclave's addresses end, from 0, a multiple of 2^32. `sockets` are the ways to
/// the backend.
fn filter(end: u64, sockets: &[u32]) -> Vec<libc::sock_filter> {
    let allow = statement(RETURN, libc::SECCOMP_RET_ALLOW);
    let kill = statement(RETURN, libc::SECCOMP_RET_KILL_PROCESS);
    let trap = statement(RETURN, libc::SECCOMP_RET_TRAP);
    let mut program = vec![
        statement(LOAD, POINTER_HIGH),
        jump(AT_LEAST, (end >> 32) as u32, 1, 0),
        trap,
        statement(LOAD, ARCHITECTURE),
        jump(EQUAL, X86_64, 1, 0),
        kill,
        statement(LOAD, NUMBER),
    ];
    for call in PLAIN {
        program.extend([jump(EQUAL, *call as u32, 0, 1), allow]);
    }
    // The last one to say what went wrong, if it is a panic.
    let written = [sockets, &[2]].concat();
    for (call, number, values) in [
        (libc::SYS_read, 0, sockets),
        (libc::SYS_write, 0, &written),
        // Memory of this process's own alone.
        (libc::SYS_mmap, 4, &[u32::MAX]),
    ] {
        let rest = 2 * values.len() as u8 + 2;
        program.push(jump(EQUAL, call as u32, 0, rest));
        program.push(statement(LOAD, argument(number)));
        for value in values {
            program.extend([jump(EQUAL, *value, 0, 1), allow]);
        }
        program.push(kill);
    }
    program.push(kill);
    program
}

/// Confines all threads of the process.
pub(crate) fn confine(end: u64, sockets: &[u32]) -> io::Result<()> {
    let mut program = filter(end, sockets);
    let program =
        libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    // SAFETY: plain calls; the filter is read while it lives.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        let done = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &program,
        );
        match done {
            0 => Ok(()),
            -1 => Err(io::Error::last_os_error()),
            _ => Err(io::Error::other("a thread cannot be confined")),
        }
    }
}

/// Makes `cpuid` an exception for this thread, as it is in an enclave; false if the processor cannot do that.
pub(crate) fn forbid_cpuid() -> bool {
    const ARCH_SET_CPUID: libc::c_int = 0x1012;
    // SAFETY: changes what one instruction does that nothing of this thread uses from now on.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_CPUID, 0) == 0 }
}

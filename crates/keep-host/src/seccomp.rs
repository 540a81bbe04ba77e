// SPDX-License-Identifier: Apache-2.0

//! Confines the threads that serve a Keep to the few system calls that serving takes.
//!
//! A Keep that has taken over such a thread can then use the descriptors that are open, and their
//! access modes bound it there, but open no file, start no program, make no connection (unless the
//! Keep itself may) and no executable memory. What a thread never does honestly ends the process rather than failing with
//! an error: an error tells an attacker to try the next thing, and lets a bug of ours go unnoticed.
//! The call is not executed; the kernel sends SIGSYS instead, whose handler names the call before
//! it exits, so that a call that some C library makes and we forgot can be reported.
//!
//! If the thread's own code panics, its message is shown, but no backtrace, which would take files.
//!
//! The filter of one thread leaves out the others, whose memory it shares. A process that does
//! nothing but serve one Keep should confine all of its threads: [`Scope::Process`].

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;

use keep_backend::NetworkLimits;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// What is allowed beside the calls that serving always takes.
#[derive(Debug, Clone, Default)]
pub struct Allow {
    /// Requests of `ioctl`, such as those that run a virtual CPU and give it memory.
    pub ioctls: Vec<u32>,
    /// Opening, listing and reading files, never for writing: what reading seeds takes.
    pub read_files: bool,
    /// Starting threads, which are then confined alike: what a [`Poller`](crate::Poller) takes.
    pub threads: bool,
    /// Sockets for TCP and UDP over IPv4 and IPv6, as far as the Keep may have any.
    pub network: Option<NetworkLimits>,
    /// Further system calls, with any arguments.
    pub syscalls: Vec<i64>,
}

/// Whom a filter confines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The calling thread, and those that it starts.
    Thread,
    /// All threads of the process. None may be just starting, for that takes further calls.
    Process,
}

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// The list cannot be compiled.
    #[error("cannot compile the system call filter")]
    Compile(#[source] seccompiler::Error),
    /// The kernel refused the filter.
    #[error("cannot install the system call filter")]
    Install(#[source] seccompiler::Error),
    /// The kernel refused the handler that names a forbidden call.
    #[error("cannot install the handler of forbidden system calls")]
    Handler(#[source] io::Error),
}

/// A compiled list of allowed calls.
#[derive(Debug, Clone)]
pub struct Filter {
    program: BpfProgram,
}

/// Calls that serving takes, whatever their arguments.
const PLAIN: &[libc::c_long] = &[
    // Streams.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_ppoll,
    libc::SYS_lseek,
    libc::SYS_close,
    // Memory, by the allocator or for a Keep that grows; see also `data_only`.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads, locks, signals.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_membarrier,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Time, where the kernel does not offer it without a call; random numbers for hash tables.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getrandom,
];

/// Calls that reading files takes beside `openat`.
const FILES: &[libc::c_long] = &[
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstat,
    libc::SYS_readlinkat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

/// Calls that starting a thread takes beside `prctl`. They would start a process as well, which
/// would be confined alike, and has no way to become another program.
const THREADS: &[libc::c_long] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
];

/// Calls that using sockets takes, beside those below with conditions.
const SOCKETS: &[libc::c_long] =
    &[libc::SYS_epoll_pwait2, libc::SYS_epoll_ctl, libc::SYS_getsockname];

/// Options that the host sets, by level.
const OPTIONS: &[(libc::c_int, libc::c_int)] = &[
    (libc::SOL_SOCKET, libc::SO_REUSEADDR),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    (libc::SOL_SOCKET, libc::SO_LINGER),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
];

/// The rules for sockets: these families and kinds and no others, never waiting, and only on what is
/// connected already.
fn socket_rules(
    limits: NetworkLimits,
    rules: &mut BTreeMap<i64, Vec<SeccompRule>>,
) -> Result<(), seccompiler::BackendError> {
    rules.extend(SOCKETS.iter().map(|&call| (call, Vec::new())));
    let number = libc::c_int::cast_unsigned;
    let mut kinds = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
            let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            kinds.push(SeccompRule::new(vec![
                equal(0, number(family))?,
                equal(1, number(kind))?,
                equal(2, 0)?,
            ])?);
        }
    }
    rules.insert(libc::SYS_socket, kinds);
    let options: Result<_, seccompiler::BackendError> = OPTIONS
        .iter()
        .map(|&(level, name)| {
            SeccompRule::new(vec![equal(1, number(level))?, equal(2, number(name))?])
        })
        .collect();
    rules.insert(libc::SYS_setsockopt, options?);
    let error = vec![equal(1, number(libc::SOL_SOCKET))?, equal(2, number(libc::SO_ERROR))?];
    rules.insert(libc::SYS_getsockopt, vec![SeccompRule::new(error)?]);
    let nowhere = || -> Result<_, seccompiler::BackendError> {
        let op = SeccompCmpOp::Eq;
        SeccompCondition::new(4, SeccompCmpArgLen::Qword, op, 0)
    };
    let flags = number(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
    let send = vec![equal(3, flags)?, nowhere()?];
    rules.insert(libc::SYS_sendto, vec![SeccompRule::new(send)?]);
    let receive = vec![equal(3, number(libc::MSG_DONTWAIT))?, nowhere()?];
    rules.insert(libc::SYS_recvfrom, vec![SeccompRule::new(receive)?]);
    let shutdown = vec![equal(1, number(libc::SHUT_WR))?];
    rules.insert(libc::SYS_shutdown, vec![SeccompRule::new(shutdown)?]);
    // A socket that only connects may still be bound to a port of the system's choice.
    rules.insert(libc::SYS_bind, Vec::new());
    if limits.listen {
        rules.insert(libc::SYS_listen, Vec::new());
        let flags = number(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC);
        rules.insert(libc::SYS_accept4, vec![SeccompRule::new(vec![equal(3, flags)?])?]);
    }
    if limits.connect {
        rules.insert(libc::SYS_connect, Vec::new());
    }
    Ok(())
}

impl Filter {
    /// Compiles the filter for threads that serve a Keep.
    ///
    /// # Errors
    ///
    /// If there are too many rules, or filters for this processor are not known.
    pub fn new(allow: &Allow) -> Result<Self, FilterError> {
        Self::compile(allow).map_err(FilterError::Compile)
    }

    fn compile(allow: &Allow) -> seccompiler::Result<Self> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
        for &call in PLAIN.iter().chain(&allow.syscalls) {
            rules.insert(call, Vec::new());
        }
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_poll, Vec::new());
        let data_only = || masked(2, libc::PROT_EXEC, 0);
        rules.insert(libc::SYS_mmap, vec![SeccompRule::new(vec![data_only()?])?]);
        rules.insert(libc::SYS_mprotect, vec![SeccompRule::new(vec![data_only()?])?]);
        // Development builds look whether a descriptor is open before they close it.
        let look = equal(1, libc::F_GETFD.cast_unsigned())?;
        rules.insert(libc::SYS_fcntl, vec![SeccompRule::new(vec![look])?]);
        // Signals go to threads of this process only.
        let own = equal(0, std::process::id())?;
        rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own])?]);
        if allow.read_files {
            let changing = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC;
            let reading = masked(2, changing, libc::O_RDONLY)?;
            rules.insert(libc::SYS_openat, vec![SeccompRule::new(vec![reading])?]);
            rules.extend(FILES.iter().map(|&call| (call, Vec::new())));
        }
        if allow.threads {
            rules.extend(THREADS.iter().map(|&call| (call, Vec::new())));
            let name = equal(0, libc::PR_SET_NAME.cast_unsigned())?;
            rules.insert(libc::SYS_prctl, vec![SeccompRule::new(vec![name])?]);
        }
        if let Some(limits) = allow.network {
            socket_rules(limits, &mut rules)?;
        }
        if !allow.ioctls.is_empty() {
            let rule = |&request| SeccompRule::new(vec![equal(1, request)?]);
            let requests: Result<_, seccompiler::BackendError> =
                allow.ioctls.iter().map(rule).collect();
            rules.insert(libc::SYS_ioctl, requests?);
        }
        let arch = TargetArch::try_from(std::env::consts::ARCH)?;
        let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch)?;
        Ok(Self { program: filter.try_into()? })
    }

    /// Puts the filter into force, for good.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it.
    pub fn install(&self, scope: Scope) -> Result<(), FilterError> {
        install_handler().map_err(FilterError::Handler)?;
        match scope {
            Scope::Thread => seccompiler::apply_filter(&self.program),
            Scope::Process => seccompiler::apply_filter_all_threads(&self.program),
        }
        .map_err(FilterError::Install)
    }
}

type Condition = Result<SeccompCondition, seccompiler::BackendError>;

/// Argument number `argument`, as 32 bits, is `value`.
fn equal(argument: u8, value: u32) -> Condition {
    let op = SeccompCmpOp::Eq;
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value.into())
}

/// The bits `mask` of an argument are `value`. All 64 bits are compared outside the mask's reach,
/// which none of these masks has.
fn masked(argument: u8, mask: libc::c_int, value: libc::c_int) -> Condition {
    let op = SeccompCmpOp::MaskedEq(u64::from(mask.cast_unsigned()));
    let value = u64::from(value.cast_unsigned());
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}

/// Status of a process that made a forbidden call, as a shell shows the death by SIGSYS.
const STATUS: libc::c_int = 128 + libc::SIGSYS;

fn install_handler() -> io::Result<()> {
    static DONE: OnceLock<Option<i32>> = OnceLock::new();
    let failed = DONE.get_or_init(|| {
        // SAFETY: all fields are plain data for which zero is a value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = forbidden as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler does only what is safe in one.
        let done = unsafe { libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()) };
        (done != 0).then(|| io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL))
    });
    failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
}

/// Where `siginfo_t` has the number of the call: after three words and the address of the call.
const SIGINFO_CALL: usize = 24;

/// What glibc opens once in the life of a process: the first when it gives memory of a thread's heap
/// back for the first time, the others when a new thread needs a heap and there are many. It takes a
/// refusal well, and asks at no time of our choice.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
const ALLOCATOR: [&core::ffi::CStr; 3] =
    [c"/proc/sys/vm/overcommit_memory", c"/sys/devices/system/cpu/online", c"/proc/stat"];

/// Refuses the allocator its files without ending the process; whether it was the allocator.
///
/// # Safety
///
/// `context` is what the kernel gave to a handler of SIGSYS for `call`.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
unsafe fn refuse_allocator(call: i32, context: *mut libc::c_void) -> bool {
    if libc::c_long::from(call) != libc::SYS_openat {
        return false;
    }
    // SAFETY: as the caller promises. The call was not executed, so its registers hold its arguments;
    // a path that is no text ends the process, as the call would.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let path = registers[libc::REG_RSI as usize] as *const libc::c_char;
        if ALLOCATOR.iter().all(|name| libc::strcmp(path, name.as_ptr()) != 0) {
            return false;
        }
        registers[libc::REG_RAX as usize] = -i64::from(libc::EACCES);
    }
    true
}

extern "C" fn forbidden(
    _: libc::c_int,
    info: *const libc::siginfo_t,
    #[allow(unused_variables, reason = "only one C library asks")] context: *mut libc::c_void,
) {
    // SAFETY: the kernel gives a `siginfo_t`, which is longer than that.
    let call = unsafe { info.cast::<u8>().add(SIGINFO_CALL).cast::<i32>().read_unaligned() };
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    // SAFETY: this is that handler.
    if unsafe { refuse_allocator(call, context) } {
        return;
    }
    let mut text = *b"enarx: a thread that serves a Keep made the forbidden system call     .\n";
    let mut rest = call.unsigned_abs();
    for at in (text.len() - 6..text.len() - 2).rev() {
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    // SAFETY: both are safe in a handler; the text lives. Nothing can be done if it is not read.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::_exit(STATUS)
    }
}

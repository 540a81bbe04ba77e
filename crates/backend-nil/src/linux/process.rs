// SPDX-License-Identifier: Apache-2.0

//! Starts a program with exactly the descriptors that it may have, and waits for it.
//!
//! `std::process::Command` forks as soon as something has to happen in the child, and copying the
//! page tables of this process costs more than the whole start otherwise does. Here the child
//! shares the memory of its parent, which is suspended until the child has executed the program
//! (`CLONE_VM | CLONE_VFORK`, what `posix_spawn` does as well); `posix_spawn` itself cannot ask for
//! a signal at the parent's death. A descriptor of the child comes along, so that a signal can
//! never reach a stranger who got the same number.

use std::ffi::{CString, c_char, c_int, c_void};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use keep_backend::NetworkLimits;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

/// How many descriptors a program can find: 0, 1, 2 and those of [`keep_launch`].
pub(super) const DESCRIPTORS: usize = keep_launch::FD_EVIDENCE as usize + 1;

/// What a process is started with.
pub(super) struct Start<'a> {
    /// Its `argv[0]`.
    pub(super) name: &'a str,
    /// Descriptor number `i` of the process, closed where there is none.
    pub(super) descriptors: [Option<BorrowedFd<'a>>; DESCRIPTORS],
    /// Its working directory, or `None` for one that shows nothing of the host.
    pub(super) folder: Option<BorrowedFd<'a>>,
    /// What it may do with sockets, if it may have any.
    pub(super) network: Option<NetworkLimits>,
}

impl Start<'_> {
    /// Starts the program in the file `executable`.
    ///
    /// The process is killed when the thread that called this ends.
    pub(super) fn spawn(&self, executable: BorrowedFd<'_>) -> Result<Process, StartError> {
        let prepare = |source| StartError { step: Step::Prepare, source };
        // Sources out of the way of the targets, so that no step of the child overwrites the
        // source of a later one.
        let mut moved = Vec::new();
        let mut descriptors = [-1; DESCRIPTORS];
        for (target, source) in descriptors.iter_mut().zip(&self.descriptors) {
            if let Some(source) = source {
                *target = out_of_the_way(*source, &mut moved).map_err(prepare)?;
            }
        }
        let executable = out_of_the_way(executable, &mut moved).map_err(prepare)?;
        let folder = match self.folder {
            Some(folder) => out_of_the_way(folder, &mut moved).map_err(prepare)?,
            None => -1,
        };
        let mut filter = super::sockets::filter(self.network);
        let name = CString::new(self.name).map_err(|err| prepare(err.into()))?;

        // Written by another program a moment ago: the writer's descriptor lives on for as long as
        // some other child of that program has not executed yet.
        let mut patience = 10;
        loop {
            let mut plan = Plan {
                descriptors,
                executable,
                folder,
                argv: [name.as_ptr(), ptr::null()],
                envp: [ptr::null()],
                filter: libc::sock_fprog {
                    len: filter.len() as libc::c_ushort,
                    filter: filter.as_mut_ptr(),
                },
                parent: rustix::process::getpid().as_raw_nonzero().get(),
                failed: Step::Nothing,
                errno: 0,
            };
            let result = clone_and_execute(&mut plan);
            match &result {
                Err(err) if err.source.raw_os_error() == Some(libc::ETXTBSY) && patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
                _ => return result,
            }
        }
    }
}

/// Lowest number of a source descriptor.
const FIRST_SOURCE: RawFd = 16;

fn out_of_the_way(fd: BorrowedFd<'_>, moved: &mut Vec<OwnedFd>) -> io::Result<RawFd> {
    if fd.as_raw_fd() >= FIRST_SOURCE {
        return Ok(fd.as_raw_fd());
    }
    let copy = rustix::io::fcntl_dupfd_cloexec(fd, FIRST_SOURCE)?;
    let number = copy.as_raw_fd();
    moved.push(copy);
    Ok(number)
}

/// All that the child reads and writes between its birth and the new program.
///
/// It lies in memory that parent and child share. Nothing in it needs an allocation or a lock.
struct Plan {
    descriptors: [RawFd; DESCRIPTORS],
    executable: RawFd,
    folder: RawFd,
    argv: [*const c_char; 2],
    envp: [*const c_char; 1],
    filter: libc::sock_fprog,
    parent: libc::pid_t,
    failed: Step,
    errno: c_int,
}

/// Where a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Prepare,
    Clone,
    ParentDeath,
    Orphan,
    Folder,
    Descriptors,
    CloseRange,
    Privileges,
    Sockets,
    Execute,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing failed",
            Self::Prepare => "copy the descriptors",
            Self::Clone => "make a process",
            Self::ParentDeath => "tie its life to this process",
            Self::Orphan => "this process ended meanwhile",
            Self::Folder => "enter its working directory",
            Self::Descriptors => "arrange its descriptors",
            Self::CloseRange => "close all other descriptors",
            Self::Privileges => "give up privileges",
            Self::Sockets => "restrict its use of sockets",
            Self::Execute => "execute the program",
        })
    }
}

/// A program could not be started.
#[derive(Debug)]
pub(super) struct StartError {
    pub(super) step: Step,
    pub(super) source: io::Error,
}

impl StartError {
    /// Whether the system does not want to execute this very file, so that another may do.
    pub(super) fn is_refused_file(&self) -> bool {
        self.step == Step::Execute
            && matches!(
                self.source.raw_os_error(),
                Some(libc::EACCES | libc::EPERM | libc::ENOEXEC | libc::ETXTBSY)
            )
    }
}

/// Bytes of stack for the child; it calls nothing but thin wrappers of system calls.
const STACK: usize = 64 << 10;

#[repr(align(16))]
#[derive(Clone, Copy)]
struct StackUnit(#[allow(dead_code, reason = "only its address counts")] [u8; 16]);

fn clone_and_execute(plan: &mut Plan) -> Result<Process, StartError> {
    // Uninitialised on purpose: clearing it would touch pages that nobody uses.
    let mut stack: Vec<StackUnit> = Vec::with_capacity(STACK / size_of::<StackUnit>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let mut pidfd: c_int = -1;

    // While the child shares our memory no handler of ours may run in it.
    let guard = BlockedSignals::new();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: (1) `top` is the aligned end of STACK bytes that nobody else uses and that live until
    // the child has executed or exited, because CLONE_VFORK suspends this thread until then.
    // (2) `child` gets a valid, exclusive pointer to `plan` for the same time. (3) Without
    // CLONE_FILES, CLONE_FS and CLONE_SIGHAND what it changes of these is its own. (4) It returns
    // to nobody: it executes or exits. (5) `pidfd` is valid for the write that CLONE_PIDFD asks for.
    let pid = unsafe {
        libc::clone(
            child,
            top.cast(),
            flags,
            ptr::from_mut(plan).cast::<c_void>(),
            ptr::from_mut(&mut pidfd),
        )
    };
    let clone_error = io::Error::last_os_error();
    drop(guard);
    if pid < 0 {
        return Err(StartError { step: Step::Clone, source: clone_error });
    }
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows of it.
    let process = Process { pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) }, waited: false };
    // SAFETY: `plan` is a valid reference; the child wrote to it from what the compiler regards as
    // outside, so the read must not be assumed to give what was stored above.
    let failed = unsafe { ptr::read_volatile(&plan.failed) };
    if failed != Step::Nothing {
        // Dropping `process` waits for the child, which has exited.
        return Err(StartError { step: failed, source: io::Error::from_raw_os_error(plan.errno) });
    }
    Ok(process)
}

/// Runs in the child, on its own stack, in memory that it shares with the suspended parent.
///
/// Only calls that touch nothing but the kernel's state and `errno`, which nobody looks at in the
/// parent meanwhile.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: the parent gave a pointer to its `Plan` and is suspended.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    plan.failed = become_program(plan);
    // SAFETY: the pointer that libc gives for this thread is valid.
    plan.errno = unsafe { *libc::__errno_location() };
    // SAFETY: ends the child without running anything of the parent's, such as exit handlers.
    unsafe { libc::_exit(127) }
}

/// Returns only if something failed: where.
fn become_program(plan: &Plan) -> Step {
    // SAFETY: plain system calls on integers, constants, and on strings and arrays of `plan` that
    // live as long as the parent is suspended. Nothing here allocates, locks or unwinds.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Step::ParentDeath;
        }
        // It may have died before the call above took effect.
        if libc::getppid() != plan.parent {
            return Step::Orphan;
        }
        let entered = match plan.folder {
            // A folder that every process has, in which nobody can create anything, and that shows
            // a process nothing but the numbers of its own descriptors.
            -1 => libc::chdir(c"/proc/self/fdinfo".as_ptr()),
            folder => libc::fchdir(folder),
        };
        if entered != 0 {
            return Step::Folder;
        }
        for (target, source) in (0..).zip(plan.descriptors) {
            // A target that nobody else opened is closed already; that is what was wanted.
            let failed = match source {
                -1 => {
                    libc::close(target);
                    false
                }
                source => libc::dup2(source, target) < 0,
            };
            if failed {
                return Step::Descriptors;
            }
        }
        // All but the executable, which closes by itself when it is executed.
        let first = DESCRIPTORS as libc::c_uint;
        let executable = plan.executable as libc::c_uint;
        if libc::syscall(libc::SYS_close_range, first, executable - 1, 0) != 0
            || libc::syscall(libc::SYS_close_range, executable + 1, libc::c_uint::MAX, 0) != 0
        {
            return Step::CloseRange;
        }
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Step::Privileges;
        }
        let filter = ptr::from_ref(&plan.filter);
        if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, filter, 0, 0) != 0 {
            return Step::Sockets;
        }
        // The workload's memory is nobody's business after its end.
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        // The terminal sends these to the whole foreground group. The parent decides what they
        // mean and ends this process by a signal that cannot be ignored.
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut empty = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut empty);
        libc::sigprocmask(libc::SIG_SETMASK, &empty, ptr::null_mut());

        libc::syscall(
            libc::SYS_execveat,
            plan.executable,
            c"".as_ptr(),
            plan.argv.as_ptr(),
            plan.envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    Step::Execute
}

/// Blocks all signals of this thread for as long as it lives.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn new() -> Self {
        // SAFETY: both sets are valid for the calls that fill them; a set of integers may be zero.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            Self(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled by the call in `new`.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, ptr::null_mut()) };
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, with this status.
    Exited(i32),
    /// By the signal with this number.
    Signal(i32),
}

/// A running process; killed and waited for when dropped.
#[derive(Debug)]
pub(super) struct Process {
    pidfd: OwnedFd,
    waited: bool,
}

impl Process {
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits for the end, without a limit of time.
    pub(super) fn wait(mut self) -> io::Result<Ended> {
        self.wait_mut()
    }

    fn wait_mut(&mut self) -> io::Result<Ended> {
        let id = WaitId::PidFd(self.pidfd.as_fd());
        let status = loop {
            match waitid(id.clone(), WaitIdOptions::EXITED) {
                Ok(Some(status)) => break status,
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(err) => return Err(err.into()),
            }
        };
        self.waited = true;
        Ok(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ended::Exited(code),
            (None, signal) => Ended::Signal(signal.unwrap_or_default()),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.waited {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = self.wait_mut();
        }
    }
}

/// A signal as a person knows it.
pub(super) fn signal_name(number: i32) -> String {
    let name = match number {
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGKILL => "SIGKILL (perhaps the machine ran out of memory)",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGXCPU => "SIGXCPU (a limit of processor time)",
        libc::SIGXFSZ => "SIGXFSZ (a limit of file sizes)",
        _ => return format!("signal {number}"),
    };
    name.into()
}

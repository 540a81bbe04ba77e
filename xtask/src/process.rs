// SPDX-License-Identifier: Apache-2.0

//! Runs a program under watch: a time limit, its output, its wall time and its peak memory.
//!
//! `std` gives no resource usage of a single child, so this waits by `wait4` itself. Whatever a
//! program leaves behind is found too: the watcher makes itself the parent of orphans.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Result;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Exit code, or 128 plus the signal's number.
    pub(crate) code: i32,
    /// Whether the time limit ended it.
    pub(crate) timed_out: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// From before the start to after the end.
    pub(crate) wall: Duration,
    /// Largest resident set of the process or of any one of its children, in KiB.
    pub(crate) peak: u64,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error, for messages: its last lines.
    pub(crate) fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let lines: Vec<_> = text.trim().lines().collect();
        let limit = if self.timed_out { "timed out; " } else { "" };
        format!(
            "{limit}exit code {}: {}",
            self.code,
            lines[lines.len().saturating_sub(6)..].join(" | ")
        )
    }

    /// Fails unless the program ended with 0.
    pub(crate) fn good(self) -> Result<Self> {
        if self.code == 0 { Ok(self) } else { Err(self.complaint().into()) }
    }
}

/// Runs with this input and gathers both outputs.
pub(crate) fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Outcome> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = spawn(command)?;
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program may end without reading all of its input.
            stdin.map(|mut stdin| stdin.write_all(input))
        });
        let stdout = scope.spawn(move || read_all(stdout));
        let stderr = scope.spawn(move || read_all(stderr));
        let mut outcome = finish(child, start, limit)?;
        outcome.stdout = stdout.join().map_err(|_| "reading standard output failed")?;
        outcome.stderr = stderr.join().map_err(|_| "reading standard error failed")?;
        Ok(outcome)
    })
}

/// Runs without input, with standard output and standard error as `command` has them.
pub(crate) fn run_plain(command: &mut Command, limit: Duration) -> Result<Outcome> {
    command.stdin(Stdio::null());
    let start = Instant::now();
    finish(spawn(command)?, start, limit)
}

pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()).into())
}

fn read_all(from: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What arrived before an error is what a person wants to see.
    let _ = from.map(|mut from| from.read_to_end(&mut bytes));
    bytes
}

/// Waits for a child; kills it after `limit`.
pub(crate) fn finish(child: Child, start: Instant, limit: Duration) -> Result<Outcome> {
    let pid = child.id() as libc::pid_t;
    let (ended, watch) = mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        let late = watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            // SAFETY: the process is not reaped before this thread has ended, so the number is its.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        late
    });
    // SAFETY: zero is a valid value of this plain C structure, and the calls below only fill it in
    // and wait for our own child.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOWAIT;
    // SAFETY: as above.
    while unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) } != 0 {
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error.into());
        }
    }
    let wall = start.elapsed();
    drop(ended);
    let timed_out = watcher.join().map_err(|_| "the watcher failed")?;
    let mut status = 0;
    // SAFETY: zero is a valid value of this plain C structure.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the right types; the child has ended.
    if unsafe { libc::wait4(pid, &mut status, 0, &mut usage) } != pid {
        return Err(std::io::Error::last_os_error().into());
    }
    let code = if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    };
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or(0);
    Ok(Outcome { code, timed_out, stdout: Vec::new(), stderr: Vec::new(), wall, peak })
}

/// Makes this process the parent of everything that its children leave behind.
pub(crate) fn adopt_orphans() {
    // SAFETY: sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// The processes that are our children now, by number and name.
pub(crate) fn children() -> Result<Vec<String>> {
    let mut all = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let list = std::fs::read_to_string(task?.path().join("children"))?;
        for pid in list.split_whitespace() {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            all.push(format!("{pid} ({})", name.trim()));
        }
    }
    Ok(all)
}

/// Sends a signal to a child that is still ours to wait for.
pub(crate) fn signal(child: &Child, signal: i32) {
    // SAFETY: the child was not waited for, so the number is its.
    unsafe { libc::kill(child.id() as libc::pid_t, signal) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &[u8], limit: u64) -> Outcome {
        let mut command = Command::new("sh");
        run(command.args(["-c", script]), input, Duration::from_secs(limit)).expect("sh starts")
    }

    #[test]
    fn outputs_and_codes_are_told_apart() {
        let outcome = sh("cat; echo bad >&2; exit 3", b"in", 10);
        assert_eq!((outcome.code, outcome.timed_out), (3, false));
        assert_eq!((outcome.stdout, outcome.stderr), (b"in".to_vec(), b"bad\n".to_vec()));
        assert_eq!(sh("kill -TERM $$", b"", 10).code, 128 + 15);
    }

    #[test]
    fn what_does_not_end_is_ended() {
        let outcome = sh("exec sleep 60", b"", 1);
        assert!(outcome.timed_out);
        assert_eq!(outcome.code, 128 + 9);
        assert!(outcome.wall < Duration::from_secs(30));
    }

    #[test]
    fn peak_memory_is_seen() {
        let small = sh("true", b"", 10).peak;
        let big = sh("head -c 64000000 /dev/zero | tail -c 64000000 | wc -c", b"", 60).peak;
        assert!(big > small + 32_000, "{small} KiB, {big} KiB");
    }
}

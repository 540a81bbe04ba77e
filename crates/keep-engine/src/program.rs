// SPDX-License-Identifier: Apache-2.0

//! What both programs do alike: take a launch, and report.
//!
//! Everything goes through plain `read` and `write` on the descriptors that `keep-launch` fixes.
//! The standard library would ask for a file's size and position first; each of those would be one
//! more call that a Keep's kernel has to know.

use std::io;
use std::os::fd::BorrowedFd;
use std::panic;
use std::process;

use keep_launch::{
    CALL_SEALING_KEY, Event, Evidence, FD_EVENTS, FD_EVIDENCE, FD_LAUNCH, FD_REPORT,
    FD_REPORT_DATA, Launch, MAX_EVENT, MAX_EVIDENCE, MAX_LAUNCH, Refusal, Report,
};
use rustix::io::Errno;

/// Makes a function the program's entry, in place of the standard library's.
///
/// That one prepares a process for whatever a program may do: it checks three descriptors, reads
/// `/proc/self/maps` to find the stack's end, and sets up a signal stack and handlers that Wasmtime
/// then replaces. A Keep needs none of it, and its kernel need not know those calls.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        // SAFETY: there is no other `main`, and the C library calls this one as C calls it.
        #[unsafe(export_name = "main")]
        extern "C" fn entry(_: core::ffi::c_int, _: *const *const core::ffi::c_char) -> i32 {
            let main: fn() -> ! = $main;
            main()
        }
    };
}

/// Longest message in a report. Names of functions come from the workload and may be of any length.
const MAX_MESSAGE: usize = 256 << 10;

/// One of the descriptors that a program is started with.
pub fn descriptor(number: i32) -> BorrowedFd<'static> {
    #[allow(unsafe_code, reason = "descriptors are inherited as bare numbers")]
    // SAFETY: the descriptors of `keep-launch` are open from the start of the program, and nothing
    // in it ever closes them.
    unsafe {
        BorrowedFd::borrow_raw(number)
    }
}

/// Reads the launch.
///
/// # Errors
///
/// For a person: why there is none.
pub fn read_launch() -> Result<Launch, String> {
    let bytes = read_to_end(descriptor(FD_LAUNCH), MAX_LAUNCH as u64)
        .map_err(|error| format!("cannot read the launch\n{error}"))?;
    Launch::decode(&bytes).map_err(|error| format!("cannot decode the launch\n{error}"))
}

/// Reads all there is, but refuses more than `max` bytes.
///
/// # Errors
///
/// What the operating system reports, and [`io::ErrorKind::FileTooLarge`].
pub fn read_to_end(from: BorrowedFd<'_>, max: u64) -> io::Result<Vec<u8>> {
    // Its size, if it has one, saves growing; what counts is what is read.
    let size = rustix::fs::fstat(from).map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0));
    if size > max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    // One byte more, so that the end is seen without growing.
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0).max(4095) + 1];
    let mut len = 0;
    loop {
        if len == bytes.len() {
            bytes.resize(len.saturating_mul(2), 0);
        }
        match rustix::io::read(from, bytes.get_mut(len..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(count) => len += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if len as u64 > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Reads one frame, see [`keep_launch::frame`], but refuses one of more than `max` bytes.
///
/// # Errors
///
/// What the operating system reports, [`io::ErrorKind::FileTooLarge`] and
/// [`io::ErrorKind::UnexpectedEof`].
pub fn read_frame(from: BorrowedFd<'_>, max: usize) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    read_exact(from, &mut len)?;
    let len = usize::try_from(u32::from_le_bytes(len)).unwrap_or(usize::MAX);
    if len > max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; len];
    read_exact(from, &mut bytes)?;
    Ok(bytes)
}

fn read_exact(from: BorrowedFd<'_>, mut to: &mut [u8]) -> io::Result<()> {
    while !to.is_empty() {
        match rustix::io::read(from, &mut *to) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => to = to.get_mut(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes all of `bytes`.
///
/// # Errors
///
/// What the operating system reports.
pub fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Asks the platform for evidence with these report data, and waits for it: who makes the program
/// wait is the host, which can stop a Keep anyway.
///
/// # Errors
///
/// For a person: why the question could not be asked, or the answer not be read.
pub fn evidence(report_data: &[u8; 64]) -> Result<Evidence, String> {
    let failed = |error: io::Error| format!("the host agent gives none ({error})");
    write_all(descriptor(FD_REPORT_DATA), report_data).map_err(failed)?;
    let frame = read_frame(descriptor(FD_EVIDENCE), MAX_EVIDENCE).map_err(failed)?;
    Evidence::decode(&frame).map_err(|error| error.to_string())
}

/// Tells the host that something happened. Where it does not listen there is no descriptor, and
/// nothing is lost.
pub fn event(event: &Event) {
    let encoding = event.encode();
    if encoding.len() <= MAX_EVENT {
        let _ = write_all(descriptor(FD_EVENTS), &keep_launch::frame(&encoding));
    }
}

/// Random bytes from the operating system, in a Keep: from the processor.
///
/// # Errors
///
/// What the operating system reports.
pub fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    // A few bytes come at once or not at all (`getrandom(2)`).
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())? {
        32 => Ok(bytes),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Asks the platform for the key that it gives to this program alone, and puts it into `key`; whether it has
/// one. Nobody but this program can have asked it for the same.
///
/// # Errors
///
/// What the operating system reports.
pub fn platform_key(key: &mut [u8; 32]) -> io::Result<bool> {
    #[allow(unsafe_code, reason = "the call is none of Linux's")]
    // SAFETY: our kernel writes 32 bytes to the address, and Linux knows no such call.
    let done = unsafe { libc::syscall(CALL_SEALING_KEY, key.as_mut_ptr()) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOSYS) { Ok(false) } else { Err(error) }
}

/// Writes the report and ends the program.
pub fn finish(mut report: Report) -> ! {
    if let Report::Trapped { message } | Report::Refused { message, .. } = &mut report
        && message.len() > MAX_MESSAGE
    {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push_str("\n(cut)");
    }
    let written = write_all(descriptor(FD_REPORT), &report.encode());
    process::exit(if written.is_ok() { 0 } else { 1 })
}

/// Makes writing to a pipe that nobody reads an error, not the end of the program.
pub fn ignore_broken_pipes() {
    #[allow(unsafe_code, reason = "signal dispositions are set by number")]
    // SAFETY: to ignore a signal runs no code of ours when it comes.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}

/// Says that the program has all its code: from now on no memory becomes executable that is not
/// already. Where the system knows no such thing, nothing changes.
pub fn lock_code() {
    const PR_SET_MDWE: libc::c_int = 65;
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    #[allow(unsafe_code, reason = "the call has no safe wrapper")]
    // SAFETY: it takes a right away and touches no memory.
    unsafe {
        libc::prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0_u64, 0_u64, 0_u64);
    }
}

/// Makes a panic end the program with a report, so that the host agent can name the cause. A panic
/// is a bug in the program or in Wasmtime, whatever the input.
pub fn report_panics() {
    panic::set_hook(Box::new(|info| {
        finish(Report::Refused {
            reason: Refusal::Internal,
            message: format!("the Keep program panicked\n{info}"),
        })
    }));
}

// SPDX-License-Identifier: Apache-2.0

//! Starts the process that is the machine of a Keep, and ends it.
//!
//! It is this very executable, started anew: a clean process, with nothing of this one but the socket and the
//! memory that it is given. It ends when our end of the socket does, so that it cannot outlive us.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use keep_layout::{CHUNK, SHARED_SIZE};
use sallyport::RawWindow;

/// How the machine is started.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
}

/// The process; killed and waited for when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Start {
    /// Starts it with what it is to launch, and with so many processors.
    pub(crate) fn start(&self, setup: &[u8], processors: usize) -> io::Result<Started> {
        let memory = memory(setup)?;
        let shared = Shared::new(&memory)?;
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(memory)))
            .stderr(Stdio::inherit())
            // A terminal sends its signals to the whole group: what they mean is for us to say.
            .process_group(0)
            .spawn()?;
        let process = Process(child);
        let mut sockets = Vec::new();
        let mut theirs = Vec::new();
        for _ in 0..processors {
            let (near, far) = UnixStream::pair()?;
            sockets.push(File::from(OwnedFd::from(near)));
            theirs.push(File::from(OwnedFd::from(far)));
        }
        sgx_run::pass::send(&ours, &theirs)?;
        Ok(Started { process, control: ours, sockets, shared })
    }
}

/// A machine that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: Process,
    /// The process's socket: how its launch went, and its last word.
    pub(crate) control: UnixStream,
    /// Its processors'.
    pub(crate) sockets: Vec<File>,
    pub(crate) shared: Shared,
}

impl Process {
    /// Ends it.
    pub(crate) fn end(&mut self) {
        // It may have ended by itself; there is nobody to tell of anything else.
        _ = self.0.kill();
        _ = self.0.wait();
    }

    /// Why it ended, when it has closed its sockets without a word.
    pub(crate) fn cause(&mut self) -> String {
        match self.0.wait().map(|status| status.signal()) {
            Ok(Some(signal)) => format!("its machine was ended by signal {signal}"),
            _ => "its machine ended without a word".into(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Memory without a name: the shared block, and the setup behind it. Its size cannot be changed any more, for a
/// block that becomes shorter would end us.
fn memory(setup: &[u8]) -> io::Result<File> {
    // SAFETY: a text that lives; the new descriptor is ours.
    let memory = unsafe {
        let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        let descriptor = libc::memfd_create(c"enarx-sgx-sim".as_ptr(), flags);
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(descriptor)
    };
    memory.set_len(SHARED_SIZE)?;
    memory.write_all_at(setup, SHARED_SIZE)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open.
    if unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_ADD_SEALS, seals) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(memory)
}

/// The shared block in this process.
#[derive(Debug)]
pub(crate) struct Shared {
    raw: *mut libc::c_void,
    base: *mut u8,
}

// SAFETY: the mapping belongs to the process; its content is only ever accessed by copying.
unsafe impl Send for Shared {}

/// Twice the block, so that there is an aligned one in it.
const RESERVED: usize = (SHARED_SIZE + CHUNK) as usize;

impl Shared {
    fn new(memory: &File) -> io::Result<Self> {
        // SAFETY: a new mapping at an address that the kernel chooses; then another one over a part of it.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let raw = libc::mmap(std::ptr::null_mut(), RESERVED, libc::PROT_NONE, flags, -1, 0);
            if raw == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let shared =
                Self { raw, base: raw.cast::<u8>().wrapping_add(raw.align_offset(CHUNK as usize)) };
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            let at = shared.base.cast();
            let at = libc::mmap(at, SHARED_SIZE as usize, rights, flags, memory.as_raw_fd(), 0);
            if at == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            Ok(shared)
        }
    }

    /// For the host's side.
    pub(crate) fn window(&self) -> RawWindow {
        // SAFETY: the mapping is aligned to a chunk, as large as the block, and lives as long as this value,
        // which outlives the server (see `keep.rs`); no reference into it exists.
        unsafe { RawWindow::new(self.base) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: this very mapping was made in `new`, and nothing holds a pointer into it any more.
        unsafe { libc::munmap(self.raw, RESERVED) };
    }
}

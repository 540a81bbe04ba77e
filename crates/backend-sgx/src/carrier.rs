// SPDX-License-Identifier: Apache-2.0

//! The process that an enclave lives in.
//!
//! It begins with nothing but a socket to the host agent (descriptor 0) and the shared block (descriptor 1), is
//! given a socket for each processor, loads the enclave out of its own executable, and starts a thread for each
//! processor that the Keep may have. It gives up all system calls but those below, and each thread waits at its
//! socket until the host agent starts it; then it enters. From then on it does what the enclave asks for: page
//! changes by the driver, everything else by the host agent. The first thread that cannot go on ends the carrier;
//! if the host agent ends, so does the carrier.
//!
//! | addresses | what the carrier maps | rights |
//! |---|---|---|
//! | text | the enclave's device | R+X |
//! | data and what follows it, up to the mmap area | the enclave's device | R+W |
//! | mmap area and the kernel's own memory | the enclave's device | R+W+X |
//! | the threads' slots | the enclave's device | R+W |
//! | `SHARED_VIRT` | the shared block | R+W |
//!
//! These rights are no boundary: those that count the processor keeps with each page of the enclave.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use keep_backend::Program;
use keep_host::{Allow, Filter, Scope};
use keep_image::Image;
use keep_layout::{KERNEL_DATA, MMAP_START, SHARED_SIZE, SHARED_VIRT};
use launch_keys::Sigstruct;
use sgx_guest::page::Rights;
use sgx_launch::image::{BASE, Enclave, SIZE, SLOT, THREADS, THREADS_END};
use sgx_launch::{driver as numbers, sign};
use sgx_run::wire::{self, Word};
use sgx_run::{Broken, Host, Operation, Pages, pass};

use crate::driver::{self, Change, linux};
use crate::wire::Setup;
use crate::{probe, vdso};

/// The carrier: call it before anything else in a process that was started for it, and end after it.
///
/// Returns the exit code. What is wrong is said over the socket, and on stderr if there is none.
#[must_use]
pub fn carry() -> u8 {
    // As a file, because reading and writing a file takes no further system calls.
    // SAFETY: the host agent that started this process has put a socket there; nothing else here uses the
    // descriptor. If it is another thing, it is read and written as what it is, and refused.
    let socket = unsafe { File::from_raw_fd(0) };
    match load(&socket) {
        Ok(loaded) => match run(loaded, &socket) {
            Ok(()) => 0,
            Err(cause) => told(&socket, &Word::Broken(cause)),
        },
        Err(cause) => told(&socket, &Word::Refused(cause)),
    }
}

fn told(socket: &File, word: &Word) -> u8 {
    if word.write(socket).is_err() {
        tracing::debug!(?word, "nobody hears what a carrier says");
    }
    1
}

struct Loaded {
    device: linux::Enclave,
    enter: sgx_run::Enter,
    /// By the processors' numbers.
    sockets: Vec<File>,
}

/// From nothing to an enclave that can be entered.
fn load(socket: &File) -> Result<Loaded, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    // The agent's thread that started this process waits for it; when it is gone, nobody does.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| text(&error))?;
    let sockets = pass::receive(socket).map_err(|error| text(&error))?;
    let setup = Setup::receive(socket).map_err(|error| text(&error))?;
    let bytes = match setup.program {
        Program::Compiler => keep_programs::COMPILER_IMAGE,
        Program::Runtime => keep_programs::RUNTIME_IMAGE,
    };
    let image = Image::decode(bytes).map_err(|error| text(&error))?;
    let enclave = Enclave::new(&image);
    let plan = enclave.plan(setup.config_id).map_err(|error| text(&error))?;
    let signature = Sigstruct::from_bytes(&setup.signature).map_err(|error| text(&error))?;
    // The host agent has done that, but who loads is who knows.
    sign::check(&plan, &signature).map_err(|error| text(&error))?;
    let processor = probe::capabilities().ok_or("this processor has no SGX")?;
    plan.secs().check(&processor).map_err(|error| text(&error))?;
    let enter = vdso::enter().ok_or("this kernel enters no enclaves")?;

    let open = |error: io::Error| format!("cannot open {}: {error}", numbers::DEVICE);
    let mut device = linux::Enclave::open().map_err(open)?;
    driver::load(&mut device, &plan, &setup.signature).map_err(|error| text(&error))?;
    map_all(&device, image.info().text_start).map_err(|error| {
        format!(
            "cannot map the enclave: {error}; if {} is on a file system without execution, mount it without \
             `noexec`",
            numbers::DEVICE
        )
    })?;
    Ok(Loaded { device, enter, sockets })
}

fn map_all(device: &linux::Enclave, text_start: u64) -> io::Result<()> {
    let (r, w, x) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
    for (start, end, rights) in [
        (text_start, KERNEL_DATA, r | x),
        (KERNEL_DATA, MMAP_START, r | w),
        (MMAP_START, THREADS, r | w | x),
        (THREADS, THREADS_END, r | w),
    ] {
        // SAFETY: addresses of the enclave, of which this process uses none: its own mappings are above them,
        // since it is position-independent.
        unsafe { map(device.file().as_raw_fd(), BASE + start, end - start, rights) }?;
    }
    // SAFETY: as above; the descriptor is the shared block's.
    unsafe { map(1, SHARED_VIRT, SHARED_SIZE, r | w) }
}

/// Maps a file at fixed addresses, if there is nothing.
///
/// # Safety
///
/// Nothing of this process may rely on there being nothing.
unsafe fn map(fd: i32, at: u64, length: u64, rights: libc::c_int) -> io::Result<()> {
    let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a new mapping that replaces none.
    let mapped = unsafe { libc::mmap(at as *mut _, length as usize, rights, flags, fd, 0) };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    if mapped as u64 != at {
        // A kernel older than the flag takes it for a wish.
        return Err(io::ErrorKind::AddrInUse.into());
    }
    Ok(())
}

/// Requests of the driver that a confined carrier may make.
const IOCTLS: [u32; 3] =
    [numbers::RESTRICT_PERMISSIONS, numbers::MODIFY_TYPES, numbers::REMOVE_PAGES];

/// Enters the enclave until the host agent has enough, or the Keep is broken.
fn run(loaded: Loaded, control: &File) -> Result<(), String> {
    let Loaded { device, enter, sockets } = loaded;
    let device = Arc::new(Mutex::new(device));
    let (ends, end) = channel();
    let (settles, settled) = channel();
    let count = sockets.len();
    for (number, socket) in sockets.into_iter().enumerate() {
        let carrier = Carrier { device: Arc::clone(&device), socket };
        let tcs = BASE + THREADS + SLOT * number as u64;
        let (settles, ends): (Sender<()>, Sender<_>) = (settles.clone(), ends.clone());
        let thread = std::thread::Builder::new().name("processor".into()).spawn(move || {
            _ = settles.send(());
            _ = ends.send(carrier.run(enter, tcs));
        });
        thread.map_err(|error| format!("cannot start a thread for a processor: {error}"))?;
    }
    // How a thread starts is not among what this process may do later.
    for _ in 0..count {
        settled.recv().map_err(|error| error.to_string())?;
    }
    let allow = Allow { ioctls: IOCTLS.to_vec(), ..Allow::default() };
    Filter::new(&allow)
        .and_then(|filter| filter.install(Scope::Process))
        .map_err(|error| format!("cannot confine the process of the enclave: {error}"))?;
    if Word::Ready.write(control).is_err() {
        return Ok(());
    }
    // The first that ends ends all: the process ends with the thread that waits here.
    end.recv().unwrap_or(Ok(()))
}

/// What serves a processor in this process.
struct Carrier {
    /// The driver refuses a request while another one is under way (`EBUSY`), so they come one by one.
    device: Arc<Mutex<linux::Enclave>>,
    socket: File,
}

impl Carrier {
    /// Runs the thread of the enclave, once the host agent starts the processor.
    fn run(mut self, enter: sgx_run::Enter, tcs: u64) -> Result<(), String> {
        if wire::answered(&self.socket).is_err() {
            return Ok(());
        }
        // SAFETY: `enter` is the kernel's own; `tcs` is a thread of the enclave that was loaded. The process has
        // nothing that the Keep must not write: the host agent takes what comes from it as the Keep's word.
        let broken = unsafe { sgx_run::run(enter, tcs, &mut self) };
        match broken {
            Broken::Ended(()) => Ok(()),
            other => Err(other.to_string()),
        }
    }

    fn ask(&self, word: &Word) -> Result<u64, ()> {
        wire::ask(&self.socket, word).map_err(|_| ())
    }

    fn change(&self, pages: Pages, change: Change) -> u64 {
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        driver::change(&mut *device, pages.address, pages.length, SIZE, change)
    }
}

impl Host for Carrier {
    type End = ();

    fn serve(&mut self, operation: Operation) -> Result<u64, ()> {
        Ok(match operation {
            Operation::Doorbell => self.ask(&Word::Doorbell)?,
            Operation::Target => self.ask(&Word::Target)?,
            Operation::Park(time) => self.ask(&Word::park(time))?,
            Operation::Wake(number) => self.ask(&Word::Wake(number))?,
            // The driver forgets what the page tables allowed, and page faults map anew by what the processor
            // keeps with the page; so there is nothing to do in the carrier's own mapping.
            Operation::Restrict(pages, rights) => self.change(pages, Change::Restrict(rights)),
            Operation::Trim(pages) => self.change(pages, Change::Trim),
            Operation::Remove(pages) => self.change(pages, Change::Remove),
            // Everything that may ever be allowed is mapped so from the start.
            Operation::Protect(_, rights) if rights.within(Rights::RWX) => 0,
            Operation::Protect(..) => libc::EINVAL as u64,
        })
    }
}

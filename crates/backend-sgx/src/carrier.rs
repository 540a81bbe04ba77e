// SPDX-License-Identifier: Apache-2.0

//! The process that an enclave lives in.
//!
//! It begins with nothing but a socket to the host agent (descriptor 0) and the shared block (descriptor 1),
//! loads the enclave out of its own executable, gives up all system calls but those below, and enters. From
//! then on it does what the enclave asks for: page changes by the driver, everything else by the host agent. If
//! that one ends, so does the carrier.
//!
//! | addresses | what the carrier maps | rights |
//! |---|---|---|
//! | text | the enclave's device | R+X |
//! | data and what follows it, up to the mmap area | the enclave's device | R+W |
//! | mmap area and the kernel's own memory | the enclave's device | R+W+X |
//! | the first thread's slot | the enclave's device | R+W |
//! | `SHARED_VIRT` | the shared block | R+W |
//!
//! These rights are no boundary: those that count the processor keeps with each page of the enclave.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};

use keep_backend::Program;
use keep_host::{Allow, Filter, Scope};
use keep_image::Image;
use keep_layout::{KERNEL_DATA, MMAP_START, SHARED_SIZE, SHARED_VIRT};
use launch_keys::Sigstruct;
use sgx_guest::page::Rights;
use sgx_launch::image::{BASE, Enclave, SIZE, SLOT, THREADS};
use sgx_launch::{driver as numbers, sign};
use sgx_run::{Broken, Host, Operation, Pages};

use crate::driver::{self, Change, linux};
use crate::wire::{Setup, Word};
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
        Err(cause) => told(&socket, &Word::Failed(cause)),
    }
}

fn told(socket: &File, word: &Word) -> u8 {
    if word.send(socket).is_err() {
        tracing::debug!(?word, "nobody hears what a carrier says");
    }
    1
}

struct Loaded {
    device: linux::Enclave,
    enter: sgx_run::Enter,
}

/// From nothing to an enclave that can be entered.
fn load(socket: &File) -> Result<Loaded, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    // The agent's thread that started this process waits for it; when it is gone, nobody does.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| text(&error))?;
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
    Ok(Loaded { device, enter })
}

fn map_all(device: &linux::Enclave, text_start: u64) -> io::Result<()> {
    let (r, w, x) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
    for (start, end, rights) in [
        (text_start, KERNEL_DATA, r | x),
        (KERNEL_DATA, MMAP_START, r | w),
        (MMAP_START, THREADS, r | w | x),
        (THREADS, THREADS + SLOT, r | w),
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
fn run(loaded: Loaded, socket: &File) -> Result<(), String> {
    let Loaded { device, enter } = loaded;
    let allow = Allow { ioctls: IOCTLS.to_vec(), ..Allow::default() };
    Filter::new(&allow)
        .and_then(|filter| filter.install(Scope::Process))
        .map_err(|error| format!("cannot confine the process of the enclave: {error}"))?;
    let mut carrier = Carrier { device, socket };
    match carrier.ask(&Word::Ready) {
        Ok(0) => {}
        _ => return Ok(()),
    }
    // SAFETY: `enter` is the kernel's own; the first slot begins with a thread of the enclave that was loaded,
    // and nobody else enters it. The process has nothing that the Keep must not write: the host agent takes
    // what comes from it as the Keep's word.
    let broken = unsafe { sgx_run::run(enter, BASE + THREADS, &mut carrier) };
    match broken {
        Broken::Ended(()) => Ok(()),
        other => Err(other.to_string()),
    }
}

struct Carrier<'a> {
    device: linux::Enclave,
    socket: &'a File,
}

impl Carrier<'_> {
    fn ask(&mut self, word: &Word) -> io::Result<u64> {
        word.send(self.socket)?;
        let mut answer = [0; 8];
        (&mut &*self.socket).read_exact(&mut answer)?;
        Ok(u64::from_le_bytes(answer))
    }

    fn change(&mut self, pages: Pages, change: Change) -> u64 {
        driver::change(&mut self.device, pages.address, pages.length, SIZE, change)
    }
}

impl Host for Carrier<'_> {
    type End = ();

    fn serve(&mut self, operation: Operation) -> Result<u64, ()> {
        Ok(match operation {
            Operation::Doorbell => self.ask(&Word::Doorbell).map_err(|_| ())?,
            Operation::Target => self.ask(&Word::Target).map_err(|_| ())?,
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

// SPDX-License-Identifier: Apache-2.0

//! The machine of one Keep: a process that plays processor and driver for one enclave.
//!
//! | module | job |
//! |---|---|
//! | `enter` | the function that enters, as the kernel's vDSO has it |
//! | `signals` | learns what the enclave does |
//! | `frame` | the state of a stopped thread |
//! | `processor` | entries, exits, leaf functions |
//! | `memory` | the map of pages, the driver, this process's page tables |
//! | `lock` | who of the processors has the machine |
//! | `confine` | what this process may ask its kernel for |
//! | `tricks` | a hostile host, for tests |
//!
//! It is a process of its own because an enclave has fixed addresses, and a host runs several. It has one
//! socket, to the backend that started it, as standard input, and one piece of memory as standard output: the
//! block that it shares with the backend, and behind it what is to be launched.
//!
//! A logical processor is a thread of this process. As many as the Keep may have start before the process confines
//! itself, and each waits at a socket of its own until the backend starts it. Then it runs a thread of the enclave;
//! what it leaves for it asks the backend for, over that socket. The first that cannot go on ends the process.

mod confine;
mod enter;
mod frame;
mod lock;
mod memory;
mod processor;
mod signals;
mod tricks;

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::sync::mpsc::{SyncSender, sync_channel};

use keep_layout::SHARED_SIZE;
use launch_keys::Sigstruct;
use sgx_guest::attributes::{Attributes, KEEP_MISC, KEEP_XFRM, flag};
use sgx_guest::page::{PAGE, PageType, Tcs};
use sgx_launch::cpuid::Capabilities;
use sgx_launch::epcm::Refused;
use sgx_launch::{CreateError, Measurer, Page, Region, Secs, Sink, einit};
use sgx_run::wire::{self, Word};
use sgx_run::{Broken, Entry, Host, Operation, TARGET, pass};

use crate::platform;
use crate::setup::Setup;
use lock::{Held, Lock};
use memory::Memory;
use processor::{Logical, Processor};
use tricks::Tricks;

/// What the synthetic processor offers.
const CAPABILITIES: Capabilities = Capabilities {
    sgx1: true,
    sgx2: true,
    edeccssa: false,
    launch_control: true,
    misc_select: KEEP_MISC,
    attributes: Attributes {
        flags: flag::MODE64BIT | flag::KSS | flag::DEBUG | flag::PROVISION_KEY,
        xfrm: KEEP_XFRM,
    },
    max_size: 46,
};

/// Runs as the machine of a Keep; see the module. Does not return.
pub fn machine() -> ! {
    let refused = match prepare() {
        Ok(machine) => machine.run(),
        Err(text) => text,
    };
    _ = Word::Refused(refused).write(&*socket());
    exit(1)
}

/// Ends the process: the Keep is broken.
pub(crate) fn end(text: &str) -> ! {
    _ = Word::Broken(text.into()).write(&*socket());
    exit(1)
}

fn exit(status: libc::c_int) -> ! {
    // SAFETY: ends the process, without anything that would run at its end.
    unsafe { libc::_exit(status) }
}

/// The way to the backend.
fn socket() -> ManuallyDrop<File> {
    // SAFETY: standard input is open for as long as the process lives, and is not closed here.
    ManuallyDrop::new(unsafe { File::from_raw_fd(0) })
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> String {
    move |error| format!("the machine cannot {what}: {error}")
}

/// A machine with an enclave that was initialised.
struct Machine {
    /// The first logical processor; the others wait on their threads.
    first: Outside,
    sockets: Vec<u32>,
    end: u64,
}

/// Bytes of a thread's stack: it enters the enclave and talks to the backend.
const STACK: usize = 128 << 10;

/// Launches the enclave that the backend describes.
fn prepare() -> Result<Machine, String> {
    one_heap();
    let sockets = pass::receive(&*socket()).map_err(failed("receive its sockets"))?;
    let bytes = described().map_err(failed("read what is to be launched"))?;
    let setup = Setup::decode(bytes).map_err(|error| error.to_string())?;
    map_shared(setup.shared).map_err(failed("map the shared block"))?;
    let secs = *setup.plan.secs();
    let range = secs.range().ok_or("the enclave's addresses are none")?;
    let memory = Memory::new(range, &setup.mappings, setup.limit);
    let memory = memory.map_err(failed("reserve the enclave's addresses"))?;
    let mut loader = Loader { memory, measurer: Measurer::default(), threads: Vec::new(), secs };
    setup.plan.load(&mut loader).map_err(|error| error.to_string())?;
    let Loader { mut memory, measurer, threads, .. } = loader;
    let signature = Sigstruct::from_bytes(setup.signature).map_err(|error| error.to_string())?;
    let identity = einit(&secs, &measurer.mrenclave(), &signature, None)
        .map_err(|code| format!("EINIT refuses the enclave: {code:?}"))?;
    memory.epcm.einit();
    // Whatever asks the processor what it can do asks now.
    _ = setup.platform.is_genuine(&sgx_guest::report::Report::new(
        identity.report(platform::CPU_SVN, [0; 64]),
        [0; 32],
        &[0; 16],
    ));
    let tricks = Tricks::new(setup.tricks);
    memory.stingy = tricks.stingy();
    let processor = Processor::new(memory, tricks, identity, setup.platform, &threads);
    let processor: &'static Lock<Processor> = Box::leak(Box::new(Lock::new(processor)));
    watch().map_err(failed("start a thread"))?;
    // Calls from there are an enclave's; the rest of the process lies above.
    let end = range.end().next_multiple_of(1 << 32);
    let numbers = sockets.iter().map(|socket| socket.as_raw_fd().cast_unsigned());
    let numbers = std::iter::once(0).chain(numbers).collect();
    if sockets.len() != setup.tcs.len() {
        return Err("there is not one socket for each processor".into());
    }
    let mut all = sockets.into_iter().zip(setup.tcs);
    let outside = |(socket, tcs)| Outside { processor, socket, tcs, shared: setup.shared };
    let first = all.next().map(outside).ok_or("there is no processor")?;
    for outside in all.map(outside) {
        outside.wait_on_thread().map_err(failed("start a thread"))?;
    }
    first.settle().map_err(failed("take signals"))?;
    Ok(Machine { first, sockets: numbers, end })
}

/// Has all threads take memory from one place, as the first does: with one for each, the C library reads files at
/// times of its own choice.
fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number before there are other threads.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// What the backend says, behind the shared block. It stays mapped: it is the host's own.
fn described() -> io::Result<&'static [u8]> {
    // SAFETY: standard output is the piece of memory, which nobody changes any more; see the module. A new
    // mapping at an address that the kernel chooses.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        if libc::fstat(1, &mut status) != 0 {
            return Err(io::Error::last_os_error());
        }
        let length = u64::try_from(status.st_size).unwrap_or(0).saturating_sub(SHARED_SIZE);
        let length = usize::try_from(length).unwrap_or(0);
        let (flags, at) = (libc::MAP_PRIVATE, SHARED_SIZE as libc::off_t);
        let bytes = libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, flags, 1, at);
        if bytes == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(std::slice::from_raw_parts(bytes.cast(), length))
    }
}

fn map_shared(at: u64) -> io::Result<()> {
    let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping that replaces none.
    let mapped =
        unsafe { libc::mmap(at as *mut libc::c_void, SHARED_SIZE as usize, rights, flags, 1, 0) };
    match mapped {
        libc::MAP_FAILED => Err(io::Error::last_os_error()),
        mapped if mapped as u64 != at => Err(io::ErrorKind::AddrInUse.into()),
        _ => Ok(()),
    }
}

/// Ends this process when the backend's end of the socket is gone, whatever the enclave is doing.
fn watch() -> io::Result<()> {
    let (runs, running) = std::sync::mpsc::sync_channel(1);
    let watch = move || {
        _ = runs.send(());
        let mut socket = libc::pollfd { fd: 0, events: 0, revents: 0 };
        loop {
            // SAFETY: one valid structure. Without events it hears of the end alone.
            let count = unsafe { libc::poll(&mut socket, 1, -1) };
            if count > 0 {
                exit(0);
            }
        }
    };
    // SAFETY: both sets are valid for the calls that fill them. The new thread starts with all signals blocked.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let thread = std::thread::Builder::new().name("watch".into()).stack_size(64 << 10);
        let started = thread.spawn(watch);
        // Whoever started the backend may have blocked some.
        libc::sigemptyset(&mut before);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        started?;
    }
    // How a thread starts is not among what this process may do later.
    running.recv().map_err(io::Error::other)
}

impl Machine {
    /// Runs the enclave, once the backend says so; how it ended, if it did not end the process.
    fn run(self) -> String {
        if let Err(error) = confine::confine(self.end, &self.sockets) {
            return failed("confine itself")(error);
        }
        if Word::Ready.write(&*socket()).is_err() {
            exit(0);
        }
        self.first.play()
    }
}

/// The host's side of a thread of the enclave in this process, which a logical processor runs.
struct Outside {
    processor: &'static Lock<Processor>,
    /// To the backend's thread for this processor.
    socket: File,
    tcs: u64,
    shared: u64,
}

/// The backend has gone.
struct Gone;

impl Outside {
    /// Makes the calling thread a logical processor.
    fn settle(&self) -> io::Result<()> {
        let storm = self.processor().tricks.storm()?;
        signals::install(self.processor, Logical::new(storm))?;
        confine::forbid_cpuid();
        Ok(())
    }

    /// Has a new thread be a logical processor that waits to be started.
    fn wait_on_thread(self) -> io::Result<()> {
        let (settled, is_settled) = sync_channel(1);
        let wait = move |settled: SyncSender<io::Result<()>>| {
            let done = self.settle();
            let can = done.is_ok();
            _ = settled.send(done);
            if can {
                self.play();
            }
        };
        let thread = std::thread::Builder::new().name("processor".into()).stack_size(STACK);
        thread.spawn(move || wait(settled))?;
        // How a thread starts is not among what this process may do later.
        is_settled.recv().map_err(io::Error::other)?
    }

    /// Runs the thread of the enclave, once the backend starts the processor.
    fn play(mut self) -> ! {
        if wire::answered(&self.socket).is_err() {
            exit(0);
        }
        let tcs = self.tcs;
        // SAFETY: the function keeps the contract; the enclave is this process's only one, and all that this
        // process is for.
        let broken = unsafe { sgx_run::run(enter::sgx_sim_enter, tcs, &mut self) };
        match broken {
            Broken::Ended(Gone) => exit(0),
            other => end(&other.to_string()),
        }
    }

    fn processor(&self) -> Held<'static, Processor> {
        self.processor.lock()
    }

    fn ask(&self, word: &Word) -> Result<u64, Gone> {
        wire::ask(&self.socket, word).map_err(|_| Gone)
    }

    fn doorbell(&self) -> Result<u64, Gone> {
        {
            let mut processor = self.processor();
            for (page, replace) in processor.tricks.taken() {
                processor.memory.take(page);
                if replace {
                    processor.memory.put_empty(page);
                }
            }
        }
        self.ask(&Word::Doorbell)
    }

    fn target(&self) {
        let mut target = platform::target().to_bytes();
        if self.processor().tricks.lies_about_target() {
            target = [0x5a; 512];
        }
        let at = (self.shared + TARGET as u64) as *mut u8;
        // SAFETY: the shared block is mapped there, larger than that. No reference to it exists.
        unsafe { at.copy_from_nonoverlapping(target.as_ptr(), target.len()) };
    }
}

impl Host for Outside {
    type End = Gone;

    fn serve(&mut self, operation: Operation) -> Result<u64, Gone> {
        let done = match operation {
            Operation::Doorbell => Err(self.doorbell()?),
            Operation::Park(time) => Err(self.ask(&Word::park(time))?),
            Operation::Wake(number) => Err(self.ask(&Word::Wake(number))?),
            Operation::Target => {
                self.target();
                Ok(())
            }
            Operation::Restrict(pages, rights) => {
                let mut processor = self.processor();
                let skip = processor.tricks.skips_restrict();
                if skip { Ok(()) } else { processor.memory.restrict(pages, rights) }
            }
            Operation::Trim(pages) => {
                let mut processor = self.processor();
                let skip = processor.tricks.skips_trim();
                if skip { Ok(()) } else { processor.memory.trim(pages) }
            }
            Operation::Remove(pages) => {
                let mut processor = self.processor();
                let skip = processor.tricks.skips_remove();
                if skip { Ok(()) } else { processor.memory.remove(pages) }
            }
            Operation::Protect(pages, rights) => self.processor().memory.protect(pages, rights),
        };
        let number = done.err().unwrap_or(0);
        Ok(self.processor().tricks.answer(number))
    }

    fn before(&mut self, entry: &mut Entry) {
        self.processor().tricks.entry(entry);
    }
}

/// Takes a plan: `ECREATE`, `EADD`, `EEXTEND`.
struct Loader {
    memory: Memory,
    measurer: Measurer,
    threads: Vec<(u64, Tcs)>,
    secs: Secs,
}

/// Why an enclave is not launched.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error("ECREATE refuses the enclave: {0}")]
    Create(#[from] CreateError),
    #[error("EADD refuses the page at {0:#x}: {1}")]
    Add(u64, Refused),
    #[error("the host does not map the pages at {0:#x}")]
    Unmapped(u64),
    #[error("there is no thread at {0:#x}")]
    Thread(u64),
}

impl Sink for Loader {
    type Error = LoadError;

    fn create(&mut self, secs: &Secs) -> Result<(), LoadError> {
        secs.check(&CAPABILITIES)?;
        self.measurer.ecreate(secs);
        Ok(())
    }

    fn add(&mut self, page: &Page<'_>) -> Result<(), LoadError> {
        let refused = |refused| LoadError::Add(page.offset, refused);
        self.memory.epcm.eadd(page.offset, page.info).map_err(refused)?;
        let address = self.secs.base.wrapping_add(page.offset);
        if page.info.page_type == PageType::Tcs {
            let tcs = Tcs::from_bytes(page.bytes).map_err(|_| LoadError::Thread(page.offset))?;
            self.threads.push((address, tcs));
        }
        match self.measurer.add(page) {
            Ok(()) => Ok(()),
        }
    }

    fn region(&mut self, region: &Region<'_>) -> Result<(), LoadError> {
        const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];
        let pages: Vec<&[u8; PAGE as usize]> = match region.content {
            sgx_launch::Content::Bytes(bytes) => bytes.as_chunks().0.iter().collect(),
            sgx_launch::Content::Zeros(length) => (0..length / PAGE).map(|_| &ZEROS).collect(),
        };
        let address = self.secs.base.wrapping_add(region.offset);
        if !self.memory.is_mapped(address, address.wrapping_add(region.content.len())) {
            return Err(LoadError::Unmapped(region.offset));
        }
        for (offset, bytes) in (region.offset..).step_by(PAGE as usize).zip(&pages) {
            let (info, measured) = (region.info, region.measured);
            self.add(&Page { offset, info, bytes, measured })?;
        }
        // A thread is not for software, so its bytes are nowhere.
        if region.info.page_type == PageType::Reg {
            self.memory.fill(address, &pages, region.info.rights);
        }
        Ok(())
    }
}

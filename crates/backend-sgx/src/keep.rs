// SPDX-License-Identifier: Apache-2.0

//! A Keep from launch to end, as the host agent sees it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keep_backend::{
    BackendError, ClaimKind, Keep, Launched, Measurement, Program, Signatures, Spec, host,
};
use keep_host::{Sizes, connect};
use keep_image::Image;
use keep_launch::{Launch, Report};
use keep_layout::{IMAGE_PHYS, SHARED_SIZE};
use launch_keys::{SgxKey, Sigstruct};
use sallyport::{RawWindow, Window};
use sgx_launch::image::{Enclave, config_id};
use sgx_launch::sign::{self, SignError, Terms};
use sgx_launch::{Plan, driver as numbers};
use sgx_run::pass;
use sgx_run::serve::{self, End, Serving};
use sgx_run::wire::Word;

use crate::aesm::Aesm;
use crate::probe;
use crate::wire::{SIGSTRUCT, Setup};

/// How long a carrier may take to load an enclave.
const PATIENCE: Duration = Duration::from_secs(60);

fn image(program: Program) -> Result<Image<'static>, BackendError> {
    let bytes = match program {
        Program::Compiler => keep_programs::COMPILER_IMAGE,
        Program::Runtime => keep_programs::RUNTIME_IMAGE,
    };
    Image::decode(bytes)
        .map_err(|error| BackendError::Image { program, problem: error.to_string() })
}

/// The plan of an image for a workload.
fn plan<'a>(
    enclave: &'a Enclave<'_>,
    program: Program,
    workload: [u8; 32],
) -> Result<Plan<'a>, BackendError> {
    enclave
        .plan(config_id(workload))
        .map_err(|error| BackendError::Image { program, problem: error.to_string() })
}

pub(crate) fn measure(program: Program) -> Result<Measurement, BackendError> {
    let image = image(program)?;
    let enclave = Enclave::new(&image);
    // The workload is no part of it.
    let plan = plan(&enclave, program, [0; 32])?;
    Ok(Measurement {
        program,
        algorithm: "sha256/mrenclave".into(),
        digest: plan.measure().iter().map(|byte| format!("{byte:02x}")).collect(),
        size: plan.measured_bytes(),
    })
}

/// The signature that an enclave is launched with: the one that was given, if it is good, or one by a key that
/// is forgotten at once. No processor launches an enclave without, but one by nobody says nothing.
fn signature(
    plan: &Plan<'_>,
    signatures: Option<&Signatures>,
) -> Result<[u8; SIGSTRUCT], BackendError> {
    let refused = |error: SignError| BackendError::Signature {
        code: error.code(),
        problem: error.to_string(),
    };
    let bytes = match signatures {
        Some(signatures) => signatures.sigstruct.clone(),
        None => {
            let key = |error: launch_keys::KeyError| BackendError::Host {
                what: "sign the enclave with a key of the moment".into(),
                source: io::Error::other(error),
            };
            let terms = Terms { date: today(), ..Terms::default() };
            let enclave = sign::describe(plan, &terms).map_err(refused)?;
            SgxKey::generate().and_then(|made| made.sign(&enclave)).map_err(key)?
        }
    };
    let malformed = || refused(SignError::Malformed);
    let parsed = Sigstruct::from_bytes(&bytes).map_err(|_| malformed())?;
    sign::check(plan, &parsed).map_err(refused)?;
    Ok(*parsed.as_bytes())
}

/// Today in the form of a SIGSTRUCT; the day of the first processor with SGX if the clock stands before 1970.
fn today() -> u32 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (year, month, day) = civil(seconds / 86_400);
    launch_keys::sigstruct_date(year, month, day).unwrap_or(0x2015_0805)
}

/// The day of the proleptic Gregorian calendar, of days since 1970-01-01.
fn civil(days: u64) -> (u16, u8, u8) {
    // Years that begin in March have their leap day at their end; 400 of them have 146,097 days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    ((year + era * 400 + later) as u16, month as u8, date as u8)
}

/// Builds a Keep and makes it ready to run. What can be refused without a machine is refused first.
pub(crate) fn launch(
    carrier: Option<&(PathBuf, Vec<OsString>)>,
    spec: Spec,
) -> Result<Launched, BackendError> {
    let program = spec.program;
    let workload = Launch::decode(&spec.launch).map(|launch| launch.workload()).unwrap_or_default();
    let image = image(program)?;
    let enclave = Enclave::new(&image);
    let plan = plan(&enclave, program, workload)?;
    let signature = signature(&plan, spec.signatures.as_ref())?;
    if let Err(error) = File::options().read(true).write(true).open(numbers::DEVICE) {
        return Err(BackendError::Unavailable {
            backend: "sgx",
            problem: format!("{}: {error}", numbers::DEVICE),
            remedy: probe::no_driver(&error).to_owned(),
        });
    }

    let sizes = Sizes::new(image.info().image_end - IMAGE_PHYS, &spec)?;
    let block = Block::new().map_err(host("make the block that Keep and host share"))?;
    let (control, theirs) = UnixStream::pair().map_err(host("make a pair of sockets"))?;
    let mut child =
        start(carrier, theirs, &block).map_err(host("start a process for the enclave"))?;
    let setup = Setup { program, config_id: config_id(workload), signature };
    let sockets = ready(&control, &setup, spec.processors(), &mut child)?;
    let control = File::from(OwnedFd::from(control));

    // There are no physical addresses, so there is nothing to be given piece by piece.
    let (window, sizes, tsc_khz) = (block.window(), sizes.at_once(), probe::tsc_khz());
    let growth = Box::new(Full(sizes.limit));
    let connected = connect(spec, window, growth, &sizes, tsc_khz, ClaimKind::SgxReport)?;
    let targets = Mutex::new(Targets::start().map_err(host("start a thread"))?);
    let serving = Serving::new(connected, sockets).with_target(Arc::new(move |window| {
        let targets = targets.lock().unwrap_or_else(PoisonError::into_inner);
        let target = targets.get();
        if let Some(target) = &target {
            window.write(sgx_run::TARGET, &**target);
        }
        if target.is_some() { 0 } else { libc::ENXIO as u64 }
    }));
    let killer = Box::new(serving.stop());
    let keep = SgxKeep { serving, control, child, _block: block };
    Ok(Launched { keep: Box::new(keep), killer })
}

/// Starts the carrier: out of this process, and out of the way of signals from the terminal, which are for the
/// host agent to decide upon.
fn start(
    carrier: Option<&(PathBuf, Vec<OsString>)>,
    socket: UnixStream,
    block: &Block,
) -> io::Result<Carried> {
    let (path, arguments) =
        carrier.ok_or_else(|| io::Error::other("nobody knows where this executable is"))?;
    Command::new(path)
        .args(arguments)
        .env_clear()
        .stdin(OwnedFd::from(socket))
        .stdout(Stdio::from(block.file.try_clone()?))
        .stderr(Stdio::inherit())
        .process_group(0)
        .spawn()
        .map(Carried)
}

/// Sends the setup, waits until the enclave is there, and gives the sockets of its processors.
fn ready(
    control: &UnixStream,
    setup: &Setup,
    processors: u32,
    child: &mut Carried,
) -> Result<Vec<File>, BackendError> {
    let word = sockets(processors).and_then(|(ours, theirs)| {
        control.set_read_timeout(Some(PATIENCE))?;
        pass::send(control, &theirs)?;
        setup.send(control)?;
        let word = Word::read(control)?;
        control.set_read_timeout(None)?;
        Ok((word, ours))
    });
    let problem = match word {
        Ok((Word::Ready, ours)) => return Ok(ours),
        Ok((Word::Refused(problem), _)) => problem,
        Ok((other, _)) => format!("its process said {other:?} before the enclave was there"),
        Err(error) => format!("its process does not answer: {error}"),
    };
    child.end();
    let source = io::Error::other(problem);
    Err(BackendError::Host { what: "launch the Keep as an enclave".into(), source })
}

/// Pairs of sockets, one for each processor.
fn sockets(count: u32) -> io::Result<(Vec<File>, Vec<File>)> {
    let file = |stream| File::from(OwnedFd::from(stream));
    let pairs: io::Result<Vec<_>> = (0..count)
        .map(|_| UnixStream::pair().map(|(ours, theirs)| (file(ours), file(theirs))))
        .collect();
    Ok(pairs?.into_iter().unzip())
}

/// The process that an enclave lives in; it ends with this value.
struct Carried(Child);

impl Carried {
    fn end(&mut self) {
        // It may have ended by itself.
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(|_| ())) {
            tracing::debug!(%error, "cannot end the process of an enclave");
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.end();
    }
}

/// The block that Keep and host share.
struct Block {
    file: File,
    base: *mut u8,
}

// SAFETY: the mapping belongs to the process; it is reached by windows alone, which may be used from any thread.
unsafe impl Send for Block {}

impl Block {
    fn new() -> io::Result<Self> {
        let file = rustix::fs::memfd_create("keep", rustix::fs::MemfdFlags::CLOEXEC)?;
        let file = File::from(file);
        file.set_len(SHARED_SIZE)?;
        let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let (length, fd) = (SHARED_SIZE as usize, file.as_raw_fd());
        // SAFETY: a new mapping at an address that the kernel chooses.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, base: base.cast() })
    }

    fn window(&self) -> RawWindow {
        // SAFETY: the mapping begins on a page, is as large as the block, cannot be cut by anybody but us (the
        // carrier has the file, and no call to truncate it), and lives as long as this value, which outlives
        // the server (see `SgxKeep`); no reference into it exists.
        unsafe { RawWindow::new(self.base) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: this very mapping was made in `new`; no window on it is left (see `SgxKeep`).
        unsafe { libc::munmap(self.base.cast(), SHARED_SIZE as usize) };
    }
}

/// An enclave takes memory by touching it, and it was told of all that it may take.
struct Full(u64);

impl keep_host::Memory for Full {
    fn grow(&mut self, _: u64) -> io::Result<u64> {
        tracing::debug!(limit = self.0, "an enclave asks for more memory than it may have");
        Err(io::Error::from(io::ErrorKind::OutOfMemory))
    }
}

/// Asks for whom reports are made, on a thread that is not confined: the answer comes from another service.
struct Targets {
    asks: std::sync::mpsc::SyncSender<()>,
    answers: std::sync::mpsc::Receiver<Option<Box<[u8; crate::aesm::TARGET_INFO]>>>,
}

impl Targets {
    fn start() -> io::Result<Self> {
        let (asks, asked) = std::sync::mpsc::sync_channel(1);
        let (answer, answers) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new().name("keep-quotes".into()).spawn(move || {
            for () in asked {
                let target = Aesm::default().target();
                if let Err(error) = &target {
                    tracing::warn!(%error, "there is nobody to make a report for");
                }
                if answer.send(target.ok().map(|(_, target)| target)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { asks, answers })
    }

    fn get(&self) -> Option<Box<[u8; crate::aesm::TARGET_INFO]>> {
        self.asks.send(()).ok()?;
        self.answers.recv().ok()?
    }
}

/// A Keep that is ready to run.
///
/// The order of the fields is the order in which they end: what serves it and its process use the block, so it
/// ends last.
struct SgxKeep {
    serving: Serving,
    control: File,
    child: Carried,
    _block: Block,
}

impl Keep for SgxKeep {
    fn serve(self: Box<Self>) -> Result<Report, BackendError> {
        let Self { serving, control, mut child, _block } = *self;
        match serving.run() {
            Ok(report) => Ok(report),
            Err(End::Known(error)) => Err(error),
            Err(End::Lost) => {
                // If it is not gone yet, it has no more to say.
                child.end();
                let gone = || "the process of its enclave is gone".to_owned();
                let cause = serve::last_word(&control).unwrap_or_else(gone);
                Err(BackendError::Keep { cause })
            }
        }
    }
}

#[cfg(test)]
mod tests;

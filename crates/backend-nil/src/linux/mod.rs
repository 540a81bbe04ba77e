// SPDX-License-Identifier: Apache-2.0

//! The backend on Linux: what a launch prepares, and what serving a process means.

mod agent;
mod process;
mod program;
mod scratch;
mod sockets;

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use keep_backend::{BackendError, Datum, Keep, Killer, Launched, Spec, host};
use keep_launch::{
    FD_EVENTS, FD_EVIDENCE, FD_INPUT, FD_LAUNCH, FD_OUTPUT, FD_REPORT, FD_REPORT_DATA, MAX_REPORT,
    Report,
};
use rustix::fs::MemfdFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{Signal, pidfd_send_signal};

use crate::Image;
use agent::{Agent, Ends};
use process::{Ended, Process, Start};
use scratch::Scratch;

/// Looks whether this Linux can start a process the way [`process`] does.
pub(crate) fn probe() -> Vec<Datum> {
    let mut data = Vec::new();
    let uname = rustix::system::uname();
    let machine = uname.machine().to_string_lossy().into_owned();
    data.push(if machine == "x86_64" {
        Datum::pass("CPU", machine)
    } else {
        Datum::fail("CPU", machine, "The Keep programs are x86-64 code. Use an x86-64 machine.")
    });
    let release = uname.release().to_string_lossy().into_owned();
    data.push(if is_recent(&release) {
        Datum::pass("Linux", release)
    } else {
        Datum::fail("Linux", release, "Update to Linux 5.9 or later.")
    });
    data
}

/// 5.9 brought `close_range`, the newest call that is used here.
fn is_recent(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        // A name that says nothing is no reason to refuse.
        return true;
    };
    (major, minor) >= (5, 9)
}

/// Makes everything ready that the process will find.
pub(crate) fn launch(
    image: &Image,
    folder: Option<&Path>,
    spec: Spec,
) -> Result<Launched, BackendError> {
    let program = program::open(image, folder).map_err(host("prepare the program file"))?;
    let scratch = Scratch::seeded(&spec.seeds)?;
    let launch = launch_file(&spec.launch).map_err(host("hand over the launch message"))?;
    let shared = Arc::new(Shared::default());
    Ok(Launched {
        killer: Box::new(NilKiller(Arc::clone(&shared))),
        keep: Box::new(NilKeep { image: image.clone(), program, scratch, launch, spec, shared }),
    })
}

/// A process that has not been started yet.
struct NilKeep {
    image: Image,
    program: program::Executable,
    scratch: Option<Scratch>,
    launch: OwnedFd,
    spec: Spec,
    shared: Arc<Shared>,
}

impl Keep for NilKeep {
    fn serve(mut self: Box<Self>) -> Result<Report, BackendError> {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|err| host("make a pipe")(err.into()))?;
        let (agent, ends) = Agent::start(self.spec.evidence.take(), self.spec.events.take())
            .map_err(host("prepare for events and evidence"))?;
        let process = {
            // Held over the start, so that a kill comes before it or finds the process.
            let mut running = self.shared.lock();
            if self.shared.killed.load(Ordering::SeqCst) {
                return Err(BackendError::Killed);
            }
            let process = self.start(&writer, &ends)?;
            *running = Some(process.pidfd().try_clone_to_owned().map_err(host("watch the Keep"))?);
            process
        };
        // From here on only the process holds the other ends: its end is the end of the pipes.
        drop((writer, ends));
        let report = read_report(reader, &process);
        let ended = process.wait().map_err(host("wait for the Keep"))?;
        self.shared.lock().take();
        agent.finish();
        self.outcome(report, ended)
    }
}

impl NilKeep {
    fn start(&self, report: &OwnedFd, ends: &Ends) -> Result<Process, BackendError> {
        let null = match self.spec.stdio.iter().all(Option::is_some) {
            true => None,
            false => Some(
                File::options()
                    .read(true)
                    .write(true)
                    .open("/dev/null")
                    .map_err(host("open /dev/null"))?,
            ),
        };
        let stdio = |index: usize| -> Option<BorrowedFd<'_>> {
            self.spec.stdio[index].as_ref().or(null.as_ref()).map(AsFd::as_fd)
        };
        let mut descriptors = [None; process::DESCRIPTORS];
        for (index, descriptor) in descriptors[..3].iter_mut().enumerate() {
            *descriptor = stdio(index);
        }
        descriptors[FD_LAUNCH as usize] = Some(self.launch.as_fd());
        descriptors[FD_INPUT as usize] = Some(self.spec.input.as_fd());
        descriptors[FD_REPORT as usize] = Some(report.as_fd());
        descriptors[FD_OUTPUT as usize] = self.spec.output.as_ref().map(AsFd::as_fd);
        [FD_EVENTS, FD_REPORT_DATA, FD_EVIDENCE]
            .into_iter()
            .zip(ends.descriptors())
            .for_each(|(number, end)| descriptors[number as usize] = end);

        let start = Start {
            name: self.image.program.name(),
            descriptors,
            folder: self.scratch.as_ref().map(Scratch::as_fd),
            network: self.spec.network,
        };
        let failed = |err: process::StartError| BackendError::Host {
            what: format!("start the {} process: {}", self.image.program.name(), err.step),
            source: err.source,
        };
        match start.spawn(self.program.as_fd()) {
            // A file system that forbids execution may still be a good cache for the rest.
            Err(err) if err.is_refused_file() && self.program.is_file() => {
                let program = program::in_memory(&self.image).map_err(host("make a memfd"))?;
                start.spawn(program.as_fd()).map_err(failed)
            }
            other => other.map_err(failed),
        }
    }

    fn outcome(&self, report: io::Result<Vec<u8>>, ended: Ended) -> Result<Report, BackendError> {
        let failed = |cause: String| Err(BackendError::Keep { cause });
        let name = self.image.program.name();
        match ended {
            Ended::Exited(0) => {}
            _ if self.shared.killed.load(Ordering::SeqCst) => return Err(BackendError::Killed),
            Ended::Exited(code) => return failed(format!("the {name} exited with status {code}")),
            Ended::Signal(number) => {
                return failed(format!("the {name} was ended by {}", process::signal_name(number)));
            }
        }
        match report {
            Ok(bytes) => Report::decode(&bytes)
                .or_else(|err| failed(format!("the report of the {name} cannot be read: {err}"))),
            Err(err) => failed(format!("the report of the {name} cannot be read: {err}")),
        }
    }
}

/// Reads to the end, or ends the process if it writes more than a report can be.
fn read_report(reader: OwnedFd, process: &Process) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let result = File::from(reader).take(MAX_REPORT as u64 + 1).read_to_end(&mut bytes);
    if result.is_err() || bytes.len() > MAX_REPORT {
        // It may be blocked in a write that nobody reads any more.
        let _ = pidfd_send_signal(process.pidfd(), Signal::KILL);
    }
    result.map(|_| bytes)
}

/// The launch message as a file: it may be longer than a pipe holds, and nobody has to feed it.
fn launch_file(launch: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(c"enarx-launch", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(launch)?;
    file.rewind()?;
    Ok(file.into())
}

/// What the serving thread and the killer have in common.
#[derive(Default)]
struct Shared {
    killed: AtomicBool,
    running: Mutex<Option<OwnedFd>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        // No panic can happen while it is held; and if one did, the descriptor is still right.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct NilKiller(Arc<Shared>);

impl Killer for NilKiller {
    fn kill(&self) {
        self.0.killed.store(true, Ordering::SeqCst);
        if let Some(pidfd) = self.0.lock().as_ref() {
            // The only way to fail is that the process has ended already.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_kernel_is_5_9() {
        for release in ["5.9.0", "5.10.0-1-amd64", "6.18.44-fc-v669", "10.0", "strange"] {
            assert!(is_recent(release), "{release}");
        }
        for release in ["5.8.18", "4.19.0", "3.2"] {
            assert!(!is_recent(release), "{release}");
        }
    }
}

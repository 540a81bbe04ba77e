// SPDX-License-Identifier: Apache-2.0

//! Carries events and evidence between a process and the host agent's own code, by pipes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::{self, JoinHandle};

use keep_backend::{Claim, EventSink, EvidenceSource};
use keep_host::{EventFrames, EventRate};
use rustix::pipe::PipeFlags;

/// The ends of pipes that the process gets, until it has them.
#[derive(Debug, Default)]
pub(super) struct Ends {
    events: Option<OwnedFd>,
    report_data: Option<OwnedFd>,
    evidence: Option<OwnedFd>,
}

impl Ends {
    /// For the descriptors of events, of report data and of evidence.
    pub(super) fn descriptors(&self) -> [Option<BorrowedFd<'_>>; 3] {
        [&self.events, &self.report_data, &self.evidence].map(|end| end.as_ref().map(AsFd::as_fd))
    }
}

/// Threads that end when the process does.
#[derive(Debug, Default)]
pub(super) struct Agent {
    threads: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Starts what is needed.
    pub(super) fn start(
        source: Option<Box<dyn EvidenceSource>>,
        sink: Option<EventSink>,
    ) -> io::Result<(Self, Ends)> {
        let (mut agent, mut ends) = (Self::default(), Ends::default());
        if let Some(sink) = sink {
            let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            ends.events = Some(writer);
            agent.spawn("keep-events", move || events(reader.into(), sink))?;
        }
        if let Some(source) = source {
            let (asked, ask) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            let (answer, answers) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            (ends.report_data, ends.evidence) = (Some(ask), Some(answer));
            agent.spawn("keep-evidence", move || evidence(asked.into(), answers.into(), source))?;
        }
        Ok((agent, ends))
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name.into()).spawn(work)?);
        Ok(())
    }

    /// Waits until all that the process said was heard. To be called after its end.
    pub(super) fn finish(self) {
        for thread in self.threads {
            // It has said why.
            _ = thread.join();
        }
    }
}

fn events(mut from: File, mut sink: EventSink) {
    let (mut frames, mut rate) = (EventFrames::default(), EventRate::default());
    let mut sound = true;
    let mut bytes = [0; 4096];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return,
            // What makes no sense is read nevertheless: the process must not wait for it.
            Ok(_) if !sound => {}
            Ok(len) => match frames.push(&bytes[..len]) {
                Ok(events) => events.into_iter().filter(|_| rate.allow()).for_each(&mut sink),
                Err(_) => sound = false,
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn evidence(mut asked: File, mut answers: File, mut source: Box<dyn EvidenceSource>) {
    let mut report_data = [0; 64];
    while asked.read_exact(&mut report_data).is_ok() {
        let claim = Claim::ReportData(Box::new(report_data));
        let evidence = keep_launch::frame(&source.evidence(&claim).encode());
        if answers.write_all(&evidence).is_err() {
            return;
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Processors that do as they are told, run as a Keep's are: who starts, who hears what, and who ends whom.

#![cfg(target_os = "linux")]

mod common;

use std::io::{PipeWriter, Read};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Ram, null};
use keep_backend::{BackendError, ClaimKind, Killer, Program, Spec};
use keep_host::{Exit, Processor, Processors, Sizes, connect};
use keep_launch::Report;
use sallyport::testing::Block;
use sallyport::{DATA, ExitKind, RawWindow, Request, Stream, Window};

/// Where the ring of requests is, and the number of those that were submitted.
const REQUESTS: usize = 0x4000;
const SUBMITTED: usize = 0x1000;

/// Far more than any of them takes.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a processor of a test ends.
#[derive(Debug)]
enum End {
    /// As any Keep's.
    Host(BackendError),
    /// In a way of its own.
    Own(&'static str),
}

impl From<BackendError> for End {
    fn from(error: BackendError) -> Self {
        Self::Host(error)
    }
}

/// What a processor does when it is run, of which it knows how often that was, and whether it is to be
/// interrupted.
type Step = Box<dyn FnMut(u32, &AtomicBool) -> Result<Exit, End> + Send>;

struct Told {
    step: Step,
    runs: Arc<AtomicU32>,
}

impl Processor for Told {
    type End = End;

    fn run(&mut self, interrupt: &AtomicBool) -> Result<Exit, End> {
        (self.step)(self.runs.fetch_add(1, Ordering::SeqCst), interrupt)
    }
}

/// A Keep of processors that do this, and how often each of them was run.
struct Keep {
    processors: Processors<Told>,
    runs: Vec<Arc<AtomicU32>>,
    window: RawWindow,
    block: Block,
}

fn keep(steps: Vec<Step>) -> Keep {
    let block = Block::new();
    // SAFETY: the block is kept beside all that uses the window.
    let window = unsafe { block.window() };
    let spec = Spec {
        program: Program::Runtime,
        launch: Vec::new(),
        input: null(),
        output: None,
        stdio: [None, None, None],
        seeds: Vec::new(),
        memory: 64 << 20,
        processors: steps.len() as u32,
        evidence: None,
        events: None,
        network: None,
        signatures: None,
    };
    let sizes = Sizes::new(0, &spec).unwrap();
    let memory = Box::new(Ram(0));
    let connected = connect(spec, window, memory, &sizes, 0, ClaimKind::ReportData).unwrap();
    let runs: Vec<Arc<AtomicU32>> = steps.iter().map(|_| Arc::default()).collect();
    let told = |(step, runs): (_, &Arc<_>)| Told { step, runs: Arc::clone(runs) };
    let processors = Processors::new(connected, steps.into_iter().zip(&runs).map(told).collect());
    Keep { processors, runs, window, block }
}

impl Keep {
    /// Runs it to its end, which has to come; and how often each processor was run.
    fn end(self) -> (Result<Report, End>, Vec<u32>) {
        let Self { processors, runs, block, .. } = self;
        let (ends, end) = channel();
        std::thread::spawn(move || ends.send(processors.run()));
        let Ok(result) = end.recv_timeout(LIMIT) else {
            // Somebody still uses it.
            std::mem::forget(block);
            panic!("it does not end");
        };
        (result, runs.iter().map(count).collect())
    }
}

fn count(runs: &Arc<AtomicU32>) -> u32 {
    runs.load(Ordering::SeqCst)
}

/// Is in a call of the kernel until a signal comes. Nothing is ever written to the pipe.
fn busy(then: fn() -> Result<Exit, End>) -> (Step, PipeWriter) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let step = move |_, _: &AtomicBool| {
        // A panic here would look for files to show where it was, which ends the process.
        _ = reader.read(&mut [0]);
        then()
    };
    (Box::new(step), writer)
}

fn own(result: Result<Report, End>) -> &'static str {
    match result {
        Err(End::Own(end)) => end,
        other => panic!("{other:?}"),
    }
}

fn cause(result: Result<Report, End>) -> String {
    match result {
        Err(End::Host(BackendError::Keep { cause })) => cause,
        other => panic!("{other:?}"),
    }
}

/// Wakes others one by one, and then does something else.
fn wakes(others: &'static [u32], mut then: Step) -> Step {
    Box::new(move |run, interrupt| match others.get(run as usize) {
        Some(other) => Ok(Exit::Wake(*other)),
        None => then(run, interrupt),
    })
}

#[test]
fn the_first_end_is_that_of_all() {
    // Nobody is to hear of these.
    let later = || Err(End::Own("a later end"));
    let ((first, _a), (second, _b)) = (busy(later), busy(later));
    let asleep = |_, _: &AtomicBool| Ok(Exit::Park(None));
    // Who is woken parks twice: the first time its token is set.
    let expected = [4, 1, 2, 1];
    let all = Arc::new(Mutex::new(Vec::<Arc<AtomicU32>>::new()));
    let runs = Arc::clone(&all);
    let last = move |_, _: &AtomicBool| {
        while runs.lock().unwrap().iter().map(count).ne(expected) {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Time enough to get where only a signal gets them out.
        std::thread::sleep(Duration::from_millis(50));
        Err(End::Own("the first end"))
    };
    let keep = keep(vec![wakes(&[1, 2, 3], first), second, Box::new(asleep), Box::new(last)]);
    all.lock().unwrap().extend_from_slice(&keep.runs);
    let (result, runs) = keep.end();
    assert_eq!(own(result), "the first end");
    assert_eq!(runs, expected);
}

#[test]
fn a_thread_that_panics_ends_the_keep() {
    let (first, _pipe) = busy(|| Err(End::Own("a later end")));
    // Without the hook that prints, for the same reason as above.
    let second = |_, _: &AtomicBool| std::panic::resume_unwind(Box::new("on purpose"));
    let (result, _) = keep(vec![wakes(&[1], first), Box::new(second)]).end();
    assert!(cause(result).contains("panicked"));
}

#[test]
fn a_processor_starts_when_it_is_woken_first() {
    let parked = |_, _: &AtomicBool| Ok(Exit::Park(None));
    let wake_first = |run, _: &AtomicBool| match run {
        // Its token was set before it began, so this does not wait.
        0 => Ok(Exit::Park(None)),
        _ => Ok(Exit::Wake(0)),
    };
    let first = |run, _: &AtomicBool| match run {
        // Nobody has these numbers, and itself it has started.
        0 => Ok(Exit::Wake(7)),
        1 => Ok(Exit::Interrupt(u32::MAX)),
        2 => Ok(Exit::Wake(0)),
        3 => Ok(Exit::Park(None)),
        4 => Ok(Exit::Park(Some(Duration::from_millis(1)))),
        5 | 6 => Ok(Exit::Wake(2)),
        7 => Ok(Exit::Park(None)),
        _ => Err(End::Own("enough")),
    };
    let keep = keep(vec![Box::new(first), Box::new(parked), Box::new(wake_first)]);
    let (result, runs) = keep.end();
    assert_eq!(own(result), "enough");
    assert_eq!((runs[0], runs[1]), (9, 0));
    assert!(runs[2] >= 2, "{runs:?}");
}

#[test]
fn a_processor_is_interrupted_wherever_it_is() {
    let (mut busy, _pipe) = busy(|| Ok(Exit::Interrupted));
    let second = move |run, interrupt: &AtomicBool| match run {
        0 => busy(run, interrupt),
        _ if interrupt.swap(false, Ordering::SeqCst) => Err(End::Own("interrupted")),
        _ => Err(End::Own("for nothing")),
    };
    let first = |run, _: &AtomicBool| match run {
        0 => Ok(Exit::Wake(1)),
        // One that comes between two calls may be lost.
        _ => {
            std::thread::sleep(Duration::from_millis(20));
            Ok(Exit::Interrupt(1))
        }
    };
    let (result, _) = keep(vec![Box::new(first), Box::new(second)]).end();
    assert_eq!(own(result), "interrupted");
}

#[test]
fn who_is_killed_ends_everywhere() {
    let (busy, _pipe) = busy(|| Ok(Exit::Interrupted));
    let spins = |_, _: &AtomicBool| Ok(Exit::Interrupted);
    let asleep = |_, _: &AtomicBool| Ok(Exit::Park(None));
    let steps: Vec<Step> = vec![wakes(&[1, 2], Box::new(spins)), Box::new(asleep), busy];
    let keep = keep(steps);
    let stop = keep.processors.stop();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        stop.kill();
    });
    let (result, _) = keep.end();
    killer.join().unwrap();
    assert!(matches!(result, Err(End::Host(BackendError::Killed))), "{result:?}");
}

#[test]
fn doorbells_are_served_and_heard() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let second = |run, _: &AtomicBool| match run {
        0 => Ok(Exit::Doorbell),
        _ => Ok(Exit::Park(None)),
    };
    let asleep = |_, _: &AtomicBool| Ok(Exit::Park(None));
    let mut keep = keep(vec![wakes(&[1], Box::new(asleep)), Box::new(second)]);
    let rang = Arc::clone(&heard);
    keep.processors.on_doorbell(Box::new(move |_, number| rang.lock().unwrap().push(number)));
    // Its last words are in the ring when it rings.
    let report = Report::Exited { code: 42 };
    let bytes = report.encode();
    let len = bytes.len();
    keep.window.write(DATA, &bytes);
    let write = Request::Write { stream: Stream::Report, at: DATA, len };
    let exit = Request::Exit { kind: ExitKind::Finished, at: DATA, len: 0 };
    for (n, request) in [write, exit].into_iter().enumerate() {
        for (word, value) in request.encode().into_iter().enumerate() {
            keep.window.store(REQUESTS + n * 64 + word * 8, value);
        }
    }
    keep.window.store(SUBMITTED, 2);
    let (result, _) = keep.end();
    assert_eq!(result.unwrap(), report);
    assert_eq!(*heard.lock().unwrap(), [1]);
}

#[test]
fn a_breach_of_the_protocol_ends_the_keep() {
    let keep = keep(vec![Box::new(|_, _: &AtomicBool| Ok(Exit::Doorbell))]);
    keep.window.store(SUBMITTED, u64::MAX);
    let (result, _) = keep.end();
    assert!(!cause(result).is_empty());
}

/// A file that a confined thread is refused and that nobody else is.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
#[test]
fn who_runs_a_processor_is_confined_and_who_waits_is_not() {
    let open = || std::fs::File::open("/proc/stat").map(drop).map_err(|error| error.kind());
    let first = move |_, _: &AtomicBool| {
        let refused = open() == Err(std::io::ErrorKind::PermissionDenied);
        Err(End::Own(if refused { "confined" } else { "free" }))
    };
    let (result, _) = keep(vec![Box::new(first)]).end();
    assert_eq!(own(result), "confined");
    assert_eq!(open(), Ok(()));
}

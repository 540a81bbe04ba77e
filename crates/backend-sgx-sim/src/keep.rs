// SPDX-License-Identifier: Apache-2.0

//! A Keep from launch to end, seen from the backend: the machine's process runs it, and is served here.

use std::fs::File;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use keep_backend::{BackendError, ClaimKind, Keep, Launched, NetworkLimits, Program, Spec};
use keep_host::seed::Stream as SeedStream;
use keep_host::{Agent, Allow, Filter, FilterError, Poller, Scope, Server, Stop, Streams};
use keep_image::Image;
use keep_launch::Report;
use keep_layout::{CHUNK, IMAGE_PHYS, KERNEL_DATA, MMAP_START, PAGE, SHARED_VIRT};
use launch_keys::{SgxKey, Sigstruct, sigstruct_date};
use sallyport::{BootInfo, MAX_RAM};
use sgx_guest::page::Rights;
use sgx_launch::Plan;
use sgx_launch::image::{Enclave, SLOT, THREADS, config_id};
use sgx_launch::sign::{self, SignError, Terms};

use crate::hostile::Trick;
use crate::process::{Process, Shared, Until};
use crate::setup::{HostMapping, Setup};
use crate::wire::{GO, Word};
use crate::{SgxSim, quote};

/// Memory that a Keep needs at least beside its image and its input.
const SPARE: u64 = 32 << 20;
/// How long a machine may take to launch an enclave: far more than one needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Signs where nobody else has: published, so that a signature by it says nothing.
const SIGNER: &str = include_str!("signer.pem");

/// What a test does to the shared block each time after the Keep's calls were answered.
pub type Liar = Box<dyn FnMut(sallyport::RawWindow) + Send>;

/// The image of a program, as built into this executable.
pub(crate) fn image(program: Program) -> Result<Image<'static>, BackendError> {
    let bytes = match program {
        Program::Compiler => keep_programs::COMPILER_IMAGE,
        Program::Runtime => keep_programs::RUNTIME_IMAGE,
    };
    Image::decode(bytes)
        .map_err(|error| BackendError::Image { program, problem: error.to_string() })
}

/// An enclave, as it is launched.
pub struct Launch<'a> {
    /// Its pages.
    pub plan: Plan<'a>,
    /// Its SIGSTRUCT, 1808 bytes.
    pub signature: Vec<u8>,
    /// What the host maps for it.
    pub mappings: Vec<HostMapping>,
    /// The thread that runs.
    pub tcs: u64,
}

impl std::fmt::Debug for Launch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Launch").field("tcs", &self.tcs).finish_non_exhaustive()
    }
}

/// What a test adds to a launch.
#[derive(Default)]
pub struct Hostile {
    /// What the machine does.
    pub tricks: Vec<Trick>,
    /// What the backend does.
    pub liar: Option<Liar>,
}

impl std::fmt::Debug for Hostile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hostile").field("tricks", &self.tricks).finish_non_exhaustive()
    }
}

fn host(what: &'static str) -> impl Fn(io::Error) -> BackendError {
    move |source| BackendError::Host { what: what.to_owned(), source }
}

/// Signs a Keep as nobody in particular.
fn sign(plan: &Plan<'_>) -> Result<Vec<u8>, BackendError> {
    let failed = |problem: String| BackendError::Host {
        what: "sign the Keep's enclave".into(),
        source: io::Error::other(problem),
    };
    let date = sigstruct_date(2026, 1, 1).unwrap_or_default();
    let terms = Terms { date, ..Terms::default() };
    let enclave = sign::describe(plan, &terms).map_err(|error| failed(error.to_string()))?;
    let key = SgxKey::from_pem(SIGNER).map_err(|error| failed(error.to_string()))?;
    key.sign(&enclave).map_err(|error| failed(error.to_string()))
}

/// Holds a signature against a Keep, as a launch on hardware does.
fn check(plan: &Plan<'_>, signature: &[u8]) -> Result<Vec<u8>, BackendError> {
    let refused = |error: SignError| BackendError::Signature {
        code: error.code(),
        problem: error.to_string(),
    };
    let sigstruct = Sigstruct::from_bytes(signature).map_err(|_| refused(SignError::Malformed))?;
    sign::check(plan, &sigstruct).map_err(refused)?;
    Ok(signature.to_vec())
}

/// Builds a Keep from an image and makes it ready to run.
pub(crate) fn launch_image(
    sim: &SgxSim,
    image: &Image<'_>,
    spec: Spec,
    hostile: Hostile,
) -> Result<Launched, BackendError> {
    let program = spec.program;
    let refused = |problem: String| BackendError::Image { program, problem };
    let enclave = Enclave::new(image);
    // What is no launch the program refuses.
    let workload = keep_launch::Launch::decode(&spec.launch).map(|launch| launch.workload());
    let config_id = sim.config_id.unwrap_or_else(|| config_id(workload.unwrap_or_default()));
    let plan = enclave.plan(config_id).map_err(|error| refused(error.to_string()))?;
    let signature = match &spec.signatures {
        Some(signatures) => check(&plan, &signatures.sigstruct)?,
        None => sign(&plan)?,
    };
    let info = image.info();
    let mappings = vec![
        HostMapping { start: info.text_start, end: info.text_end, rights: Rights::RX },
        HostMapping { start: KERNEL_DATA, end: MMAP_START, rights: Rights::RW },
        // Which of these can be written and which executed, the enclave says page by page.
        HostMapping { start: MMAP_START, end: THREADS, rights: Rights::RW.or(Rights::RX) },
        HostMapping { start: THREADS, end: THREADS + SLOT, rights: Rights::RW },
    ];
    let image_ram = info.image_end - IMAGE_PHYS;
    launch(sim, Launch { plan, signature, mappings, tcs: THREADS }, image_ram, spec, hostile)
}

/// Launches an enclave, of which no rule is checked here.
pub(crate) fn launch(
    sim: &SgxSim,
    launch: Launch<'_>,
    image_ram: u64,
    spec: Spec,
    hostile: Hostile,
) -> Result<Launched, BackendError> {
    let input_len = spec.input.metadata().map_err(host("look at the Keep's input"))?.len();
    let limit = spec.memory.min(MAX_RAM) & !(CHUNK - 1);
    let needed = image_ram.next_multiple_of(CHUNK) + input_len.next_multiple_of(CHUNK) + SPARE;
    if limit < needed {
        return Err(BackendError::OutOfMemory {
            detail: format!(
                "it was given {} MiB, but image, input and kernel take {} MiB",
                spec.memory >> 20,
                needed.div_ceil(1 << 20)
            ),
        });
    }
    let mut platform = sim.platform;
    if let Some(secret) = spec.evidence.as_ref().and_then(|source| source.machine_secret()) {
        platform.root = secret;
    }
    let setup = Setup {
        plan: launch.plan,
        signature: &launch.signature,
        platform,
        limit: limit / PAGE,
        shared: SHARED_VIRT,
        tcs: launch.tcs,
        mappings: launch.mappings,
        tricks: hostile.tricks,
    };
    // An enclave takes milliseconds to launch: time enough to see how fast the counter runs.
    let counter = Counter::now();
    let (mut process, socket, shared) =
        sim.start.start(&setup.encode()).map_err(host("start the machine of the Keep"))?;
    ready(&socket, &mut process, spec.program)?;
    let boot = BootInfo {
        ram: limit,
        ram_limit: limit,
        tsc_khz: counter.khz(),
        input_len,
        launch_len: spec.launch.len() as u64,
        seeds: !spec.seeds.is_empty(),
        output: spec.output.is_some(),
        events: spec.events.is_some(),
        evidence: spec.evidence.is_some(),
        network: spec.network.is_some(),
    };
    boot.write(shared.window());
    let seed = if spec.seeds.is_empty() {
        None
    } else {
        let stream: Box<dyn io::Read + Send> = Box::new(SeedStream::new(&spec.seeds)?);
        Some(stream)
    };
    let evidence = spec.evidence.map(|source| quote::quoting(platform, source));
    let agent = Agent::start(evidence, spec.events, ClaimKind::SgxReport)
        .map_err(host("start a thread"))?;
    let streams = Streams {
        stdio: spec.stdio,
        launch: spec.launch,
        input: spec.input,
        output: spec.output,
        seed,
        agent,
        network: spec.network,
    };
    let stop = Stop::new().map_err(host("prepare to stop the Keep"))?;
    let server = Server::new(shared.window(), streams, Box::new(Growth), stop.clone())
        .map_err(host("prepare to wait for sockets"))?;
    let keep = SimKeep {
        process,
        running: Running {
            socket,
            _poller: Poller::new(&server),
            server,
            stop: stop.clone(),
            reads_files: boot.seeds,
            network: spec.network,
            liar: hostile.liar,
            shared,
        },
    };
    Ok(Launched { keep: Box::new(keep), killer: Box::new(stop) })
}

/// Waits until the enclave is launched.
fn ready(socket: &File, process: &mut Process, program: Program) -> Result<(), BackendError> {
    let stream = socket.try_clone().map(std::os::fd::OwnedFd::from);
    let stream = stream.map(std::os::unix::net::UnixStream::from);
    let stream = stream.map_err(host("wait for the machine of the Keep"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(host("wait for the machine of the Keep"))?;
    let word = Word::read(&stream);
    // It is a property of the socket, which is the same.
    stream.set_read_timeout(None).map_err(host("wait for the machine of the Keep"))?;
    match word {
        Ok(Word::Ready) => Ok(()),
        Ok(Word::Refused(problem)) => Err(BackendError::Image { program, problem }),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
        {
            Err(BackendError::Keep { cause: process.cause() })
        }
        Ok(_) => Err(BackendError::Keep { cause: "its machine does not launch it".into() }),
        Err(error) => Err(host("wait for the machine of the Keep")(error)),
    }
}

/// The time stamp counter beside the clock: how fast it runs.
#[derive(Debug, Clone, Copy)]
struct Counter {
    counter: u64,
    clock: Instant,
}

impl Counter {
    /// Both, as close to each other as a few attempts get them.
    fn now() -> Self {
        let read = || {
            let before = Instant::now();
            // SAFETY: has no preconditions, and the machines that have no such counter are older than AVX.
            let counter = unsafe { std::arch::x86_64::_rdtsc() };
            (before.elapsed(), Self { counter, clock: before })
        };
        let first = read();
        (0..5).map(|_| read()).fold(first, |a, b| if b.0 < a.0 { b } else { a }).1
    }

    /// Its frequency in kHz since then, if it is one that never stops or changes; else 0.
    fn khz(self) -> u64 {
        use std::arch::x86_64::__cpuid as cpuid;
        // CPUID 8000_0007, EDX bit 8: invariant TSC.
        let invariant =
            cpuid(0x8000_0000).eax >= 0x8000_0007 && cpuid(0x8000_0007).edx & 1 << 8 != 0;
        let now = Self::now();
        let time = now.clock.saturating_duration_since(self.clock).as_nanos();
        let counted = u128::from(now.counter.saturating_sub(self.counter));
        let khz = (counted * 1_000_000).checked_div(time).and_then(|khz| u64::try_from(khz).ok());
        if invariant { khz.unwrap_or(0) } else { 0 }
    }
}

/// A Keep in an enclave takes its pages by touching them, up to the limit that it is told: it never asks.
struct Growth;

impl keep_host::Memory for Growth {
    fn grow(&mut self, _: u64) -> io::Result<u64> {
        Err(io::Error::from(io::ErrorKind::OutOfMemory))
    }
}

/// A Keep that is ready to run.
struct SimKeep {
    process: Process,
    running: Running,
}

/// What the serving thread has.
///
/// The order of the fields is the order in which they end: the server and the thread that polls for it use the
/// memory, so it ends last.
struct Running {
    socket: File,
    _poller: Poller,
    server: Server,
    stop: Stop,
    /// Whether host folders are still to be read.
    reads_files: bool,
    /// What sockets it may have.
    network: Option<NetworkLimits>,
    liar: Option<Liar>,
    shared: Shared,
}

/// How it came to an end.
enum End {
    /// By a word of somebody.
    Result(Result<Report, BackendError>),
    /// The machine is gone without one.
    Lost,
}

impl Keep for SimKeep {
    /// Runs the Keep on a thread of its own, confined to the system calls that serving takes.
    fn serve(self: Box<Self>) -> Result<Report, BackendError> {
        let Self { mut process, running } = *self;
        let thread = std::thread::Builder::new().name("keep".into());
        let thread = thread.spawn(move || running.run()).map_err(host("start a thread"))?;
        match thread.join() {
            Ok(End::Result(result)) => result,
            Ok(End::Lost) => Err(BackendError::Keep { cause: process.cause() }),
            Err(_) => {
                Err(BackendError::Keep { cause: "the thread that served it panicked".into() })
            }
        }
    }
}

impl Running {
    fn run(mut self) -> End {
        let stop = self.stop.clone();
        let _entered = stop.enter();
        let confined = self.confine().map_err(|error| BackendError::Host {
            what: "confine the thread that serves the Keep".into(),
            source: io::Error::other(error),
        });
        if let Err(error) = confined {
            return End::Result(Err(error));
        }
        loop {
            if self.stop.is_requested() {
                return End::Result(Err(BackendError::Killed));
            }
            if self.socket.write_all(&GO).is_err() {
                return End::Lost;
            }
            match Word::read(Until { socket: &self.socket, stop: &self.stop }) {
                Ok(Word::Doorbell) => {
                    if let Some(result) = self.doorbell() {
                        return End::Result(result);
                    }
                }
                Ok(Word::Broken(cause)) => return End::Result(Err(BackendError::Keep { cause })),
                Err(_) if self.stop.is_requested() => {
                    return End::Result(Err(BackendError::Killed));
                }
                Err(error) if error.kind() != io::ErrorKind::InvalidData => return End::Lost,
                Ok(_) | Err(_) => {
                    let cause = "its machine says what makes no sense".into();
                    return End::Result(Err(BackendError::Keep { cause }));
                }
            }
        }
    }

    /// Serves the shared block; how the Keep ended, if it did.
    fn doorbell(&mut self) -> Option<Result<Report, BackendError>> {
        let ended = match self.server.doorbell() {
            Ok(ended) => ended,
            Err(error) => return Some(Err(error)),
        };
        if let Some(liar) = &mut self.liar {
            liar(self.shared.window());
        }
        ended.map(|ended| ended.into_result().and_then(|()| self.server.report()))
    }

    fn confine(&self) -> Result<(), FilterError> {
        let allow = Allow {
            ioctls: Vec::new(),
            read_files: self.reads_files,
            threads: true,
            network: self.network,
            syscalls: Vec::new(),
        };
        Filter::new(&allow)?.install(Scope::Thread)
    }
}

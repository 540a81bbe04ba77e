// SPDX-License-Identifier: Apache-2.0

//! A Keep from launch to end, seen from the backend: the machine's process runs it, and is served here.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use keep_backend::{BackendError, ClaimKind, Keep, Launched, Program, Spec, host};
use keep_host::{Sizes, connect};
use keep_image::Image;
use keep_launch::Report;
use keep_layout::{IMAGE_PHYS, KERNEL_DATA, MMAP_START, PAGE, SHARED_VIRT};
use launch_keys::{SgxKey, Sigstruct, sigstruct_date};
use sgx_guest::page::Rights;
use sgx_launch::Plan;
use sgx_launch::image::{BASE, Enclave, THREADS, THREADS_END, config_id, thread};
use sgx_launch::sign::{self, SignError, Terms};
use sgx_run::serve::{self, End, Serving};
use sgx_run::wire::Word;

use crate::hostile::Trick;
use crate::process::{Process, Shared, Started};
use crate::setup::{HostMapping, Setup};
use crate::{SgxSim, quote};

/// How long a machine may take to launch an enclave: far more than one needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Signs where nobody else has: published, so that a signature by it says nothing.
const SIGNER: &str = include_str!("signer.pem");

/// What a test does to the shared block each time after a processor's calls were answered, whose number it hears.
pub type Liar = keep_host::Rang;

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
    /// The threads that can run, by the numbers of their processors.
    pub tcs: Vec<u64>,
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
        HostMapping { start: THREADS, end: THREADS_END, rights: Rights::RW },
    ];
    let image_ram = info.image_end - IMAGE_PHYS;
    let slot = |number| BASE + thread(0, number).ssa - keep_layout::enclave::SSA;
    let tcs = (0..spec.processors().into()).map(slot).collect();
    launch(sim, Launch { plan, signature, mappings, tcs }, image_ram, spec, hostile)
}

/// Launches an enclave, of which no rule is checked here.
pub(crate) fn launch(
    sim: &SgxSim,
    launch: Launch<'_>,
    image_ram: u64,
    mut spec: Spec,
    hostile: Hostile,
) -> Result<Launched, BackendError> {
    let sizes = Sizes::new(image_ram, &spec)?.at_once();
    let processors = launch.tcs.len();
    spec.processors = u32::try_from(processors).unwrap_or(u32::MAX);
    let mut platform = sim.platform;
    if let Some(secret) = spec.evidence.as_ref().and_then(|source| source.machine_secret()) {
        platform.root = secret;
    }
    let setup = Setup {
        plan: launch.plan,
        signature: &launch.signature,
        platform,
        limit: sizes.limit / PAGE,
        shared: SHARED_VIRT,
        tcs: launch.tcs,
        mappings: launch.mappings,
        tricks: hostile.tricks,
    };
    // An enclave takes milliseconds to launch: time enough to see how fast the counter runs.
    let counter = Counter::now();
    let started = sim.start.start(&setup.encode(), processors);
    let Started { mut process, control, sockets, shared } =
        started.map_err(host("start the machine of the Keep"))?;
    let control = ready(control, &mut process, spec.program)?;
    spec.evidence = spec.evidence.map(|source| quote::quoting(platform, source));
    let (window, growth) = (shared.window(), Box::new(Growth));
    let connected = connect(spec, window, growth, &sizes, counter.khz(), ClaimKind::SgxReport)?;
    let mut serving = Serving::new(connected, sockets);
    if let Some(liar) = hostile.liar {
        serving = serving.with_rang(liar);
    }
    let stop = serving.stop();
    let keep = SimKeep { process, control, serving, _shared: shared };
    Ok(Launched { keep: Box::new(keep), killer: Box::new(stop) })
}

/// Waits until the enclave is launched.
fn ready(
    control: UnixStream,
    process: &mut Process,
    program: Program,
) -> Result<File, BackendError> {
    let wait = host("wait for the machine of the Keep");
    control.set_read_timeout(Some(PATIENCE)).map_err(&wait)?;
    let word = Word::read(&control);
    control.set_read_timeout(None).map_err(&wait)?;
    match word {
        Ok(Word::Ready) => Ok(File::from(OwnedFd::from(control))),
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
        Err(error) => Err(wait(error)),
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
///
/// The order of the fields is the order in which they end: what serves uses the memory, so it ends last.
struct SimKeep {
    process: Process,
    control: File,
    serving: Serving,
    _shared: Shared,
}

impl Keep for SimKeep {
    fn serve(self: Box<Self>) -> Result<Report, BackendError> {
        let Self { mut process, control, serving, _shared } = *self;
        match serving.run() {
            Ok(report) => Ok(report),
            Err(End::Known(error)) => Err(error),
            Err(End::Lost) => {
                // If it is not gone yet, it has no more to say.
                process.end();
                let cause = serve::last_word(&control).unwrap_or_else(|| process.cause());
                Err(BackendError::Keep { cause })
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! A Keep from launch to end.

use std::io;
use std::sync::Arc;

use keep_backend::{BackendError, ClaimKind, Keep, Launched, NetworkLimits, Program, Spec};
use keep_host::seed::Stream as SeedStream;
use keep_host::{Agent, Allow, Filter, FilterError, Poller, Scope, Server, Stop, Streams};
use keep_image::Image;
use keep_launch::Report;
use keep_layout::{CHUNK, IMAGE_PHYS};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use sallyport::{BootInfo, MAX_RAM};

use crate::cpu::{self, Exit};
use crate::memory::Memory;
use crate::probe;

/// Memory that a Keep has at the start beside its image and its input; more is given on demand.
const SPARE: u64 = 32 << 20;

/// The image of a program, as built into this executable.
pub(crate) fn image(program: Program) -> Result<Image<'static>, BackendError> {
    let bytes = match program {
        Program::Compiler => keep_programs::COMPILER_IMAGE,
        Program::Runtime => keep_programs::RUNTIME_IMAGE,
    };
    Image::decode(bytes)
        .map_err(|error| BackendError::Image { program, problem: error.to_string() })
}

/// What a test does to the shared block each time after the Keep's calls were answered.
#[cfg(feature = "testing")]
pub type Liar = Box<dyn FnMut(sallyport::RawWindow) + Send>;

/// Builds a Keep from an image and makes it ready to run.
pub(crate) fn launch(image: &Image<'_>, spec: Spec) -> Result<Launched, BackendError> {
    build(image, spec).map(KvmKeep::launched)
}

/// The same, on a host that lies.
#[cfg(feature = "testing")]
pub(crate) fn launch_lying(
    image: &Image<'_>,
    spec: Spec,
    liar: Liar,
) -> Result<Launched, BackendError> {
    let mut keep = build(image, spec)?;
    keep.liar = Some(liar);
    Ok(keep.launched())
}

fn build(image: &Image<'_>, spec: Spec) -> Result<KvmKeep, BackendError> {
    let host = |what: &'static str| {
        move |source: io::Error| BackendError::Host { what: what.to_owned(), source }
    };
    let kvm = Kvm::new().map_err(|error| unavailable(&error.into()))?;
    let vm = Arc::new(create_vm(&kvm).map_err(host("create a virtual machine"))?);

    let input_len = spec.input.metadata().map_err(host("look at the Keep's input"))?.len();
    let image_ram = image.info().image_end - IMAGE_PHYS;
    let limit = spec.memory.min(MAX_RAM) & !(CHUNK - 1);
    let needed = image_ram + input_len.next_multiple_of(CHUNK) + SPARE;
    if limit < needed {
        return Err(BackendError::OutOfMemory {
            detail: format!(
                "it was given {} MiB, but image, input and kernel take {} MiB",
                spec.memory >> 20,
                needed.div_ceil(1 << 20)
            ),
        });
    }
    let (mut memory, growth) =
        Memory::new(&vm, needed, limit).map_err(host("reserve the Keep's memory"))?;
    image.load(&mut memory).map_err(host("load the Keep's image"))?;
    let cpu = cpu::create(&kvm, &vm, image.start()).map_err(host("create a virtual CPU"))?;

    let boot = BootInfo {
        ram: needed,
        ram_limit: limit,
        tsc_khz: tsc_khz(&cpu),
        input_len,
        launch_len: spec.launch.len() as u64,
        seeds: !spec.seeds.is_empty(),
        output: spec.output.is_some(),
        events: spec.events.is_some(),
        evidence: spec.evidence.is_some(),
        network: spec.network.is_some(),
    };
    boot.write(memory.window());
    let seed = if spec.seeds.is_empty() {
        None
    } else {
        let stream: Box<dyn io::Read + Send> = Box::new(SeedStream::new(&spec.seeds)?);
        Some(stream)
    };
    let agent = Agent::start(spec.evidence, spec.events, ClaimKind::ReportData)
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
    let server = Server::new(memory.window(), streams, Box::new(growth), stop.clone())
        .map_err(host("prepare to wait for sockets"))?;
    Ok(KvmKeep {
        cpu,
        _poller: Poller::new(&server),
        server,
        stop,
        reads_files: boot.seeds,
        network: spec.network,
        #[cfg(feature = "testing")]
        liar: None,
        memory,
    })
}

fn create_vm(kvm: &Kvm) -> io::Result<VmFd> {
    loop {
        match kvm.create_vm() {
            // A signal may come in between, and says nothing about the machine.
            Err(error) if error.errno() == libc::EINTR => {}
            other => return Ok(other?),
        }
    }
}

fn unavailable(error: &io::Error) -> BackendError {
    let datum = probe::no_driver(error);
    BackendError::Unavailable {
        backend: "kvm",
        problem: datum.info.unwrap_or_default(),
        remedy: datum.remedy.unwrap_or_default(),
    }
}

/// The frequency of the time stamp counter, if it is one that never stops or changes; else 0.
fn tsc_khz(cpu: &VcpuFd) -> u64 {
    // CPUID 8000_0007, EDX bit 8: invariant TSC (AMD APM volume 3, appendix E.4.6).
    let highest = std::arch::x86_64::__cpuid(0x8000_0000).eax;
    let invariant =
        highest >= 0x8000_0007 && std::arch::x86_64::__cpuid(0x8000_0007).edx & 1 << 8 != 0;
    if invariant { cpu.get_tsc_khz().map_or(0, u64::from) } else { 0 }
}

/// Requests that a confined thread may make of the hypervisor: `KVM_RUN`, `KVM_GET_REGS` and
/// `KVM_SET_USER_MEMORY_REGION` (`linux/kvm.h`).
const IOCTLS: [u32; 3] = [0xae80, 0x8090_ae81, 0x4020_ae46];

/// A Keep that is ready to run.
///
/// The order of the fields is the order in which they end: the virtual CPU, the server and the
/// thread that polls for it use the memory, so it ends last.
struct KvmKeep {
    cpu: VcpuFd,
    _poller: Poller,
    server: Server,
    stop: Stop,
    /// Whether host folders are still to be read.
    reads_files: bool,
    /// What sockets it may have.
    network: Option<NetworkLimits>,
    #[cfg(feature = "testing")]
    liar: Option<Liar>,
    #[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "it is held, and no more"))]
    memory: Memory,
}

impl Keep for KvmKeep {
    /// Runs the Keep on a thread of its own, confined to the system calls that serving takes. The
    /// thread that launched it goes on to other things afterwards, so it cannot be confined.
    fn serve(self: Box<Self>) -> Result<Report, BackendError> {
        let host = |what: &str| {
            let what = what.to_owned();
            move |source: io::Error| BackendError::Host { what, source }
        };
        let thread = std::thread::Builder::new().name("keep".into());
        let thread = thread.spawn(move || self.run()).map_err(host("start a thread"))?;
        thread.join().unwrap_or_else(|_| {
            Err(BackendError::Keep { cause: "the thread that served it panicked".into() })
        })
    }
}

impl KvmKeep {
    fn launched(self) -> Launched {
        let killer = Box::new(self.stop.clone());
        Launched { keep: Box::new(self), killer }
    }

    fn run(mut self) -> Result<Report, BackendError> {
        let _entered = self.stop.enter();
        self.confine().map_err(|error| BackendError::Host {
            what: "confine the thread that serves the Keep".into(),
            source: io::Error::other(error),
        })?;
        loop {
            if self.stop.is_requested() {
                return Err(BackendError::Killed);
            }
            match cpu::run(&mut self.cpu) {
                Exit::Doorbell => {
                    let ended = self.server.doorbell()?;
                    #[cfg(feature = "testing")]
                    if let Some(liar) = &mut self.liar {
                        liar(self.memory.window());
                    }
                    if let Some(ended) = ended {
                        ended.into_result()?;
                        return self.server.report();
                    }
                }
                Exit::Interrupted => {}
                Exit::Dead(cause) => return Err(BackendError::Keep { cause }),
            }
        }
    }

    fn confine(&self) -> Result<(), FilterError> {
        let allow = Allow {
            ioctls: IOCTLS.to_vec(),
            read_files: self.reads_files,
            threads: true,
            network: self.network,
            syscalls: Vec::new(),
        };
        Filter::new(&allow)?.install(Scope::Thread)
    }
}

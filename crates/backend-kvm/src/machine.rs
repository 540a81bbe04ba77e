// SPDX-License-Identifier: Apache-2.0

//! What all backends that are virtual machines have in common: how much memory a Keep needs, how its
//! calls reach the outside, and the loop that runs a virtual CPU and serves it.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
#[cfg(feature = "testing")]
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use keep_backend::{BackendError, Keep, Launched, Spec, host};
pub use keep_host::{Connected, Sizes, connect};
use keep_image::Image;
use keep_launch::Report;
use keep_layout::{IMAGE_PHYS, PARK_FOREVER, PORT_INTERRUPT, PORT_PARK, PORT_WAKE};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
#[cfg(feature = "testing")]
use sallyport::RawWindow;

pub use crate::cpu::{Cpu, NMI, at, create as create_cpu, raise, shown as shown_cpuid};
pub use crate::keep::image;
pub use crate::memory::{Growth, Mapping, Memory, Slots};

/// What a test does to the shared block each time after the Keep's calls were answered.
#[cfg(feature = "testing")]
pub type Liar = Box<dyn FnMut(RawWindow) + Send>;

/// Makes a virtual machine of a type (`KVM_CREATE_VM`; 0 is an ordinary one).
///
/// # Errors
///
/// What the hypervisor says.
pub fn create_vm(kvm: &Kvm, kind: u64) -> io::Result<Arc<VmFd>> {
    loop {
        match kvm.create_vm_with_type(kind) {
            // A signal may come in between, and says nothing about the machine.
            Err(error) if error.errno() == libc::EINTR => {}
            other => return Ok(Arc::new(other?)),
        }
    }
}

/// How much memory a Keep needs, if it may have that much.
///
/// # Errors
///
/// [`BackendError::OutOfMemory`].
pub fn sizes(image: &Image<'_>, spec: &Spec) -> Result<Sizes, BackendError> {
    Sizes::new(image.info().image_end - IMAGE_PHYS, spec)
}

/// The frequency of the time stamp counter, if it is one that never stops or changes; else 0.
#[must_use]
pub fn tsc_khz(cpu: &VcpuFd) -> u64 {
    // CPUID 8000_0007, EDX bit 8: invariant TSC (AMD APM volume 3, appendix E.4.6).
    let highest = std::arch::x86_64::__cpuid(0x8000_0000).eax;
    let invariant =
        highest >= 0x8000_0007 && std::arch::x86_64::__cpuid(0x8000_0007).edx & 1 << 8 != 0;
    if invariant { cpu.get_tsc_khz().map_or(0, u64::from) } else { 0 }
}

/// Why a virtual CPU has come back.
#[derive(Debug)]
pub enum Exit {
    /// The Keep wants its submissions looked at.
    Doorbell,
    /// A signal came.
    Interrupted,
    /// The Keep wrote to one of its other ports.
    Port(u16, u32),
    /// The Keep cannot go on; the sentence says why.
    Dead(String),
}

/// A virtual CPU, with whatever its kind of machine does between the Keep's calls.
pub trait Processor: Send {
    /// Requests (`ioctl`) that running it makes, beside those that give it memory.
    fn ioctls(&self) -> Vec<u32>;

    /// System calls that running it makes, beside those that serving takes anyway.
    fn syscalls(&self) -> Vec<i64> {
        Vec::new()
    }

    /// Runs it until the host is needed. If `interrupt` says so, it is interrupted first, as soon as it can
    /// be, and the word taken back.
    fn run(&mut self, interrupt: &AtomicBool) -> Exit;
}

/// `KVM_SET_USER_MEMORY_REGION` (`linux/kvm.h`), by which a running Keep gets more memory.
const SET_MEMORY: u32 = 0x4020_ae46;

/// A Keep that is ready to run.
///
/// The order of the fields is the order in which they end: the virtual CPUs and what serves them use
/// the memory, so it ends last.
pub struct VmKeep<P, M = Memory> {
    cpus: Vec<P>,
    connected: Connected,
    #[cfg(feature = "testing")]
    liar: Option<Liar>,
    #[allow(dead_code, reason = "it is held, and no more")]
    memory: M,
}

impl<P, M> std::fmt::Debug for VmKeep<P, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VmKeep").field("connected", &self.connected).finish_non_exhaustive()
    }
}

impl<P: Processor + 'static, M: Send + 'static> Keep for VmKeep<P, M> {
    /// Runs each processor of the Keep on a thread of its own, confined to the system calls that serving
    /// takes. The thread that launched it goes on to other things afterwards, so it cannot be confined.
    fn serve(self: Box<Self>) -> Result<Report, BackendError> {
        let Self {
            cpus,
            connected,
            memory,
            #[cfg(feature = "testing")]
            liar,
        } = *self;
        let (words, heard) = std::sync::mpsc::channel();
        let running = Running {
            states: cpus.iter().map(|_| State::default()).collect(),
            connected,
            #[cfg(feature = "testing")]
            liar: Mutex::new(liar),
        };
        let mut cpus: Vec<Option<P>> = cpus.into_iter().map(Some).collect();
        let result = std::thread::scope(|scope| {
            let mut start = |number: usize| {
                let Some(mut cpu) = cpus.get_mut(number).and_then(Option::take) else {
                    return Ok(());
                };
                let (running, words) = (&running, words.clone());
                let thread = std::thread::Builder::new().name("keep".into());
                let run = move || {
                    let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
                        running.run(number, &mut cpu, &words)
                    }));
                    let panicked = "a thread that served it panicked";
                    let result = result
                        .unwrap_or_else(|_| Err(BackendError::Keep { cause: panicked.into() }));
                    // Nobody listens any more after the first result.
                    _ = words.send(Word::Over(result));
                };
                thread.spawn_scoped(scope, run).map(drop).map_err(host("start a thread"))
            };
            let mut next = start(0);
            let result = loop {
                let word = next.and_then(|()| {
                    heard
                        .recv()
                        .map_err(|_| BackendError::Keep { cause: "nobody serves it".into() })
                });
                match word {
                    Ok(Word::Start(number)) => next = start(number),
                    Ok(Word::Over(result)) => break result,
                    Err(error) => break Err(error),
                }
            };
            // One has ended, so all do.
            running.connected.stop.request();
            result
        });
        drop(running);
        drop(memory);
        result
    }
}

/// What a thread that runs a processor says to the one that starts them.
enum Word {
    /// The processor with this number is to be started.
    Start(usize),
    /// The Keep has ended.
    Over(Result<Report, BackendError>),
}

/// What is known of a processor from outside.
#[derive(Debug, Default)]
struct State {
    /// Whether it was asked for.
    is_started: AtomicBool,
    /// Whether it is to be interrupted.
    interrupt: AtomicBool,
}

/// What the threads that run processors share.
struct Running {
    states: Vec<State>,
    connected: Connected,
    #[cfg(feature = "testing")]
    liar: Mutex<Option<Liar>>,
}

impl Running {
    /// Runs a processor until the Keep ends.
    fn run<P: Processor>(
        &self,
        number: usize,
        cpu: &mut P,
        words: &Sender<Word>,
    ) -> Result<Report, BackendError> {
        let Connected { stop, server, tokens, .. } = &self.connected;
        let own = &self.states[number];
        let _entered = stop.enter_as(Some(number));
        let ioctls = [cpu.ioctls(), vec![SET_MEMORY]].concat();
        self.connected.confine(ioctls, cpu.syscalls())?;
        // It has no more processors than can be counted so.
        let me = number as u32;
        loop {
            if stop.is_requested() {
                return Err(BackendError::Killed);
            }
            match cpu.run(&own.interrupt) {
                Exit::Doorbell => {
                    let ended = server.doorbell(me)?;
                    #[cfg(feature = "testing")]
                    if let Ok(mut liar) = self.liar.lock()
                        && let Some(liar) = &mut *liar
                    {
                        liar(self.connected.window);
                    }
                    if let Some(ended) = ended {
                        ended.into_result()?;
                        return server.report();
                    }
                }
                Exit::Interrupted => {}
                Exit::Port(PORT_PARK, micros) => {
                    let limit = Duration::from_micros(micros.into());
                    tokens.park(me, (micros != PARK_FOREVER).then_some(limit), stop);
                }
                Exit::Port(PORT_WAKE, other) => {
                    tokens.wake(other);
                    let first = |state: &State| !state.is_started.swap(true, Ordering::Relaxed);
                    if other != 0 && self.states.get(other as usize).is_some_and(first) {
                        _ = words.send(Word::Start(other as usize));
                    }
                }
                Exit::Port(PORT_INTERRUPT, other) => {
                    if let Some(state) = self.states.get(other as usize) {
                        state.interrupt.store(true, Ordering::SeqCst);
                        stop.interrupt(other as usize);
                    }
                }
                Exit::Port(port, _) => {
                    let cause = format!("it used the I/O port {port:#x}, which no Keep does");
                    return Err(BackendError::Keep { cause });
                }
                Exit::Dead(cause) => return Err(BackendError::Keep { cause }),
            }
        }
    }
}

impl<P: Processor + 'static, M: Send + 'static> VmKeep<P, M> {
    /// Of its parts. The block that `connected` was made for is part of the memory.
    #[must_use]
    pub fn new(cpus: Vec<P>, connected: Connected, memory: M) -> Self {
        Self {
            cpus,
            connected,
            #[cfg(feature = "testing")]
            liar: None,
            memory,
        }
    }

    /// The processors, before they run.
    pub fn processors(&mut self) -> &mut [P] {
        &mut self.cpus
    }

    /// Has the host lie.
    #[cfg(feature = "testing")]
    pub fn lie(&mut self, liar: Liar) {
        self.liar = Some(liar);
    }

    /// The Keep, and the way to end it.
    #[must_use]
    pub fn launched(self) -> Launched {
        let killer = Box::new(self.connected.stop.clone());
        Launched { keep: Box::new(self), killer }
    }
}

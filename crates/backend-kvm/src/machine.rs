// SPDX-License-Identifier: Apache-2.0

//! What all backends that are virtual machines have in common: how much memory a Keep needs, how its
//! calls reach the outside, and the loop that runs a virtual CPU and serves it.

use std::io;
use std::sync::Arc;

use keep_backend::{BackendError, Keep, Launched, Spec};
pub use keep_host::{Connected, Sizes, connect};
use keep_image::Image;
use keep_launch::Report;
use keep_layout::IMAGE_PHYS;
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
#[cfg(feature = "testing")]
use sallyport::RawWindow;

pub use crate::cpu::{Cpu, at, create as create_cpu, shown as shown_cpuid};
pub use crate::keep::image;
pub use crate::memory::{Growth, Mapping, Memory, Slots};

/// What a test does to the shared block each time after the Keep's calls were answered.
#[cfg(feature = "testing")]
pub type Liar = Box<dyn FnMut(RawWindow) + Send>;

/// How an error of the host is told: `what` completes "cannot …".
pub fn host(what: &'static str) -> impl Fn(io::Error) -> BackendError {
    move |source| BackendError::Host { what: what.to_owned(), source }
}

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

    /// Runs it until the host is needed.
    fn run(&mut self) -> Exit;
}

/// `KVM_SET_USER_MEMORY_REGION` (`linux/kvm.h`), by which a running Keep gets more memory.
const SET_MEMORY: u32 = 0x4020_ae46;

/// A Keep that is ready to run.
///
/// The order of the fields is the order in which they end: the virtual CPU and what serves it use
/// the memory, so it ends last.
pub struct VmKeep<P, M = Memory> {
    cpu: P,
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

impl<P: Processor + 'static, M: Send + 'static> VmKeep<P, M> {
    /// Of its parts. The block that `connected` was made for is part of the memory.
    #[must_use]
    pub fn new(cpu: P, connected: Connected, memory: M) -> Self {
        Self {
            cpu,
            connected,
            #[cfg(feature = "testing")]
            liar: None,
            memory,
        }
    }

    /// The processor, before it runs.
    pub fn processor(&mut self) -> &mut P {
        &mut self.cpu
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

    fn run(mut self) -> Result<Report, BackendError> {
        let _entered = self.connected.stop.enter();
        let ioctls = [self.cpu.ioctls(), vec![SET_MEMORY]].concat();
        self.connected.confine(ioctls, self.cpu.syscalls())?;
        loop {
            if self.connected.stop.is_requested() {
                return Err(BackendError::Killed);
            }
            match self.cpu.run() {
                Exit::Doorbell => {
                    let ended = self.connected.server.doorbell()?;
                    #[cfg(feature = "testing")]
                    if let Some(liar) = &mut self.liar {
                        liar(self.connected.window);
                    }
                    if let Some(ended) = ended {
                        ended.into_result()?;
                        return self.connected.server.report();
                    }
                }
                Exit::Interrupted => {}
                Exit::Dead(cause) => return Err(BackendError::Keep { cause }),
            }
        }
    }
}

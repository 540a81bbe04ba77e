// SPDX-License-Identifier: Apache-2.0

//! What all backends that are virtual machines have in common: how much memory a Keep needs, how its
//! calls reach the outside, and what it says by ports.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use keep_backend::{BackendError, Keep, Launched, Spec};
use keep_host::Processors;
pub use keep_host::{Connected, Exit, Processor, Sizes, connect};
use keep_image::Image;
use keep_launch::Report;
use keep_layout::{IMAGE_PHYS, PARK_FOREVER, PORT_INTERRUPT, PORT_PARK, PORT_WAKE};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
#[cfg(feature = "testing")]
use sallyport::RawWindow;

pub use crate::cpu::{Cpu, NMI, at, create as create_cpu, raise_nmi, shown as shown_cpuid};
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

/// `KVM_SET_USER_MEMORY_REGION` (`linux/kvm.h`), by which a running Keep gets more memory.
pub const SET_MEMORY: u32 = 0x4020_ae46;

/// What a Keep wants that wrote a value to one of its ports, the doorbell apart.
///
/// # Errors
///
/// If it is no such port; a sentence for [`dead`].
pub fn port(port: u16, value: u32) -> Result<Exit, String> {
    let micros = Duration::from_micros(value.into());
    match port {
        PORT_PARK => Ok(Exit::Park((value != PARK_FOREVER).then_some(micros))),
        PORT_WAKE => Ok(Exit::Wake(value)),
        PORT_INTERRUPT => Ok(Exit::Interrupt(value)),
        _ => Err(format!("it used the I/O port {port:#x}, which no Keep does")),
    }
}

/// The end of a Keep that cannot go on; the sentence says why.
#[must_use]
pub fn dead(cause: String) -> BackendError {
    BackendError::Keep { cause }
}

/// A Keep that is ready to run.
///
/// The order of the fields is the order in which they end: the virtual CPUs and what serves them use
/// the memory, so it ends last.
#[derive(Debug)]
pub struct VmKeep<P, M = Memory> {
    processors: Processors<P>,
    memory: M,
}

impl<P, M> Keep for VmKeep<P, M>
where
    P: Processor<End = BackendError> + 'static,
    M: Send + 'static,
{
    fn serve(self: Box<Self>) -> Result<Report, BackendError> {
        let Self { processors, memory } = *self;
        let result = processors.run();
        drop(memory);
        result
    }
}

impl<P, M> VmKeep<P, M>
where
    P: Processor<End = BackendError> + 'static,
    M: Send + 'static,
{
    /// Of its parts. The block that `connected` was made for is part of the memory.
    #[must_use]
    pub fn new(cpus: Vec<P>, connected: Connected, memory: M) -> Self {
        Self { processors: Processors::new(connected, cpus), memory }
    }

    /// The processors, before they run.
    pub fn processors(&mut self) -> &mut [P] {
        self.processors.each()
    }

    /// Has the host lie.
    #[cfg(feature = "testing")]
    pub fn lie(&mut self, mut liar: Liar) {
        self.processors.on_doorbell(Box::new(move |window, _| liar(window)));
    }

    /// The Keep, and the way to end it.
    #[must_use]
    pub fn launched(self) -> Launched {
        let killer = Box::new(self.processors.stop());
        Launched { keep: Box::new(self), killer }
    }
}

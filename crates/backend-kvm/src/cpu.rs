// SPDX-License-Identifier: Apache-2.0

//! The virtual CPU: its first state, and what its exits mean.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::machine::{self, Exit, Processor, SET_MEMORY};
use keep_backend::BackendError;
use keep_image::Start;
use keep_layout::{PORT_DOORBELL, PORT_FATAL, PORTS};
use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_dtable, kvm_msr_entry, kvm_regs, kvm_segment, kvm_xcrs,
};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};

const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_FMASK: u32 = 0xc000_0084;

const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_OSXSAVE: u64 = 1 << 18;

/// The processor's features, as a Keep is shown them: the best first.
///
/// # Errors
///
/// What the hypervisor says.
pub fn shown(kvm: &Kvm) -> Vec<CpuId> {
    let supported = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).into_iter();
    supported
        .flat_map(|supported| {
            crate::cpuid::with_vectors(&supported).into_iter().chain([supported.clone()])
        })
        .collect()
}

/// Makes the virtual CPU with a number and puts it at its start in the image. Of the features it is shown the first
/// set that the hypervisor takes.
///
/// # Errors
///
/// What the hypervisor says.
pub fn create(
    kvm: &Kvm,
    vm: &VmFd,
    number: u64,
    start: &Start,
    shown: &[CpuId],
) -> io::Result<VcpuFd> {
    let start = &start.of(number);
    let cpu = vm.create_vcpu(number)?;
    let mut last = Err(io::Error::other("the hypervisor names no features"));
    for features in shown {
        last = cpu.set_cpuid2(features).map_err(io::Error::from);
        if last.is_ok() {
            break;
        }
    }
    last?;

    let mut sregs = cpu.get_sregs()?;
    sregs.cr0 = start.cr0;
    sregs.cr3 = start.cr3;
    sregs.cr4 = start.cr4;
    sregs.efer = start.efer;
    sregs.gdt = table(start.gdt_base, start.gdt_limit);
    sregs.idt = table(start.idt_base, start.idt_limit);
    // Types 11: code, execute and read, accessed; or a busy 64-bit task state segment. Type 3:
    // data, read and write, accessed.
    sregs.cs = kvm_segment { l: 1, ..segment(start.cs, 11) };
    sregs.ss = kvm_segment { db: 1, ..segment(start.ss, 3) };
    (sregs.ds, sregs.es, sregs.fs, sregs.gs) = (sregs.ss, sregs.ss, sregs.ss, sregs.ss);
    sregs.gs.base = start.gs_base;
    sregs.tr = kvm_segment {
        base: start.tr_base,
        limit: start.tr_limit as u32,
        selector: start.tr as u16,
        type_: 11,
        present: 1,
        ..Default::default()
    };
    sregs.ldt = kvm_segment { unusable: 1, ..Default::default() };
    // Some hypervisors let ring 3 use these features and yet do not let a guest switch them on.
    let optional = [0, CR4_OSXSAVE, CR4_FSGSBASE, CR4_OSXSAVE | CR4_FSGSBASE];
    let mut result = Ok(());
    for without in optional {
        sregs.cr4 = start.cr4 & !without;
        result = cpu.set_sregs(&sregs);
        if result.is_ok() {
            break;
        }
    }
    result?;
    if kvm.check_extension(Cap::Xcrs) {
        let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
        xcrs.xcrs[0].value = start.xcr0;
        // As above: where it cannot be set, it is as the hypervisor has it.
        if let Err(error) = cpu.set_xcrs(&xcrs) {
            tracing::debug!(%error, "cannot choose the extended state");
        }
    }

    let msrs = [(MSR_STAR, start.star), (MSR_LSTAR, start.lstar), (MSR_FMASK, start.fmask)];
    let entries = msrs.map(|(index, data)| kvm_msr_entry { index, data, ..Default::default() });
    let msrs =
        Msrs::from_entries(&entries).map_err(|error| io::Error::other(format!("{error:?}")))?;
    if cpu.set_msrs(&msrs)? != entries.len() {
        return Err(io::Error::other("the hypervisor refuses the registers of `syscall`"));
    }
    let regs = kvm_regs {
        rip: start.rip,
        rsp: start.rsp,
        rdi: start.rdi,
        rflags: start.rflags,
        ..Default::default()
    };
    cpu.set_regs(&regs)?;
    Ok(cpu)
}

fn table(base: u64, limit: u64) -> kvm_dtable {
    kvm_dtable { base, limit: limit as u16, ..Default::default() }
}

/// A flat segment of ring 3.
fn segment(selector: u64, type_: u8) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: selector as u16,
        type_,
        present: 1,
        dpl: 3,
        s: 1,
        g: 1,
        ..Default::default()
    }
}

/// A virtual CPU of a plain virtual machine.
#[derive(Debug)]
pub struct Cpu(pub(crate) VcpuFd);

impl Processor for Cpu {
    type End = BackendError;

    fn ioctls(&self) -> Vec<u32> {
        IOCTLS.to_vec()
    }

    fn run(&mut self, interrupt: &AtomicBool) -> Result<Exit, BackendError> {
        raise_nmi(&self.0, interrupt)
            .map_err(|error| format!("the host cannot interrupt it: {error}"))
            .and_then(|()| run(&mut self.0))
            .map_err(machine::dead)
    }
}

/// `KVM_RUN`, `KVM_GET_REGS` (`linux/kvm.h`), the interrupt, and more memory.
const IOCTLS: [u32; 4] = [0xae80, 0x8090_ae81, NMI, SET_MEMORY];

/// `KVM_NMI` (`linux/kvm.h`).
pub const NMI: u32 = 0xae9a;

/// Interrupts the virtual CPU if that is wanted, by the interrupt that cannot be turned off: some hypervisors
/// forget, when a guest returns from one, that others are to come.
///
/// # Errors
///
/// What the hypervisor says.
pub fn raise_nmi(cpu: &VcpuFd, wanted: &AtomicBool) -> io::Result<()> {
    if !wanted.swap(false, Ordering::SeqCst) {
        return Ok(());
    }
    // SAFETY: the call has no argument.
    let done = unsafe { libc::ioctl(cpu.as_raw_fd(), NMI.into()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs the virtual CPU until it comes back, or cannot go on: a sentence says why.
fn run(cpu: &mut VcpuFd) -> Result<Exit, String> {
    let dead = match cpu.run() {
        Ok(VcpuExit::IoOut(PORT_DOORBELL, _)) => return Ok(Exit::Doorbell),
        Ok(VcpuExit::IoOut(port, &[a, b, c, d])) if PORTS.contains(&port) && port != PORT_FATAL => {
            return machine::port(port, u32::from_le_bytes([a, b, c, d]));
        }
        Ok(VcpuExit::IoOut(PORT_FATAL, _)) => "its kernel stopped without a word".to_owned(),
        Ok(VcpuExit::Shutdown) => {
            "a triple fault: an exception could not be handed to its kernel".to_owned()
        }
        Ok(VcpuExit::InternalError) => "the hypervisor gave up on an instruction".to_owned(),
        Ok(VcpuExit::FailEntry(reason, _)) => {
            format!("the processor refused to enter it (reason {reason:#x})")
        }
        Ok(VcpuExit::MmioRead(at, _) | VcpuExit::MmioWrite(at, _)) => {
            format!("it touched physical memory that it does not have, at {at:#x}")
        }
        Ok(exit) => format!("it left in a way that no Keep does: {exit:?}"),
        Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => {
            return Ok(Exit::Interrupted);
        }
        Err(error) => format!("the host cannot run it: {error}"),
    };
    Err(at(cpu, dead))
}

/// A sentence, and where the virtual CPU was.
#[must_use]
pub fn at(cpu: &VcpuFd, dead: String) -> String {
    match cpu.get_regs() {
        Ok(regs) => format!("{dead} (at {:#x}, stack {:#x})", regs.rip, regs.rsp),
        Err(_) => dead,
    }
}

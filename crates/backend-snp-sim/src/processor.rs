// SPDX-License-Identifier: Apache-2.0

//! The virtual CPU's exits, and the instructions that a processor without SEV-SNP does not have.
//!
//! They stand in the ring-0 stub. KVM leaves the virtual machine for a write to a register that it does
//! not know; where `VMGEXIT` follows, it is played, since without SEV-ES it would not be one.
//! `PVALIDATE` is an instruction that KVM cannot interpret, which it says, and that is played as well.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backend_kvm::machine::{self, Exit, Mapping, NMI, Processor, SET_MEMORY, at, raise_nmi};
use keep_backend::{BackendError, Datum};
use keep_layout::{PAGE, TABLES_PHYS, TABLES_SIZE};
use kvm_bindings::{
    KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_INVAL, KVM_MSR_EXIT_REASON_UNKNOWN,
    kvm_enable_cap, kvm_regs,
};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use snp_guest::host::GHCB_MSR;
use snp_guest::pages::Pvalidate;

use crate::hypervisor::{After, C_BIT, Hypervisor, Register};

const VMGEXIT: [u8; 4] = [0xf3, 0x0f, 0x01, 0xd9];
const PVALIDATE: [u8; 4] = [0xf2, 0x0f, 0x01, 0xff];
/// `PVALIDATE` says so of operands that it does not take.
const FAIL_INPUT: u32 = 1;

/// `KVM_RUN`, `KVM_GET_REGS`, `KVM_SET_REGS`, `KVM_GET_VCPU_EVENTS`, `KVM_SET_VCPU_EVENTS`
/// (`linux/kvm.h`), the interrupt, and more memory.
const IOCTLS: [u32; 7] =
    [0xae80, 0x8090_ae81, 0x4090_ae82, 0x8040_ae9f, 0x4040_aea0, NMI, SET_MEMORY];

/// What the stand-in needs beside what any virtual machine Keep does.
pub(crate) fn probe() -> Vec<Datum> {
    let Ok(kvm) = Kvm::new() else { return Vec::new() };
    let name = "Registers served by the host";
    let registers = if kvm.check_extension(Cap::X86UserSpaceMsr) {
        Datum::pass(name, None)
    } else {
        Datum::fail(name, None, "update the host's Linux (5.10 and later)")
    };
    let name = "Memory at the C-bit";
    let memory = match at_c_bit(&kvm) {
        Ok(()) => Datum::pass(name, None),
        Err(error) => Datum::fail(
            name,
            error.to_string(),
            "this processor's virtual machines have too short physical addresses; use `--backend kvm`",
        ),
    };
    vec![registers, memory]
}

/// Whether a virtual machine takes memory whose address has the C-bit.
fn at_c_bit(kvm: &Kvm) -> io::Result<()> {
    let vm = backend_kvm::machine::create_vm(kvm, 0)?;
    let mapping = Mapping::new(PAGE, 0)?;
    backend_kvm::machine::Slots::new(vm).add(C_BIT, &mapping, 0, PAGE)
}

/// Has KVM hand over registers that it does not know.
pub(crate) fn prepare(vm: &VmFd) -> io::Result<()> {
    let reasons = KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN;
    let cap = kvm_enable_cap {
        cap: KVM_CAP_X86_USER_SPACE_MSR,
        args: [u64::from(reasons), 0, 0, 0],
        ..Default::default()
    };
    Ok(vm.enable_cap(&cap)?)
}

/// The virtual CPU with all that stands in for SEV-SNP.
pub(crate) struct Cpu {
    pub(crate) cpu: VcpuFd,
    pub(crate) register: Register,
    pub(crate) hypervisor: Arc<Mutex<Hypervisor>>,
    pub(crate) private: Arc<Mapping>,
    /// Physical address of the top-level page table, without the C-bit.
    pub(crate) root: u64,
}

impl Processor for Cpu {
    type End = BackendError;

    fn ioctls(&self) -> Vec<u32> {
        IOCTLS.to_vec()
    }

    fn run(&mut self, interrupt: &AtomicBool) -> Result<Exit, BackendError> {
        loop {
            if let Err(error) = raise_nmi(&self.cpu, interrupt) {
                return Err(machine::dead(format!("the host cannot interrupt it: {error}")));
            }
            let step = match self.cpu.run() {
                Ok(VcpuExit::X86Wrmsr(exit)) => {
                    let ours = exit.index == GHCB_MSR;
                    *exit.error = u8::from(!ours);
                    if ours {
                        self.register.msr = exit.data;
                        self.after_write()
                    } else {
                        Ok(None)
                    }
                }
                Ok(VcpuExit::X86Rdmsr(exit)) => {
                    *exit.error = u8::from(exit.index != GHCB_MSR);
                    *exit.data = self.register.msr;
                    Ok(None)
                }
                Ok(VcpuExit::InternalError) => self.unknown().map(|()| None),
                Ok(VcpuExit::MmioRead(at, _) | VcpuExit::MmioWrite(at, _)) => {
                    Err(self.no_memory(at))
                }
                Ok(VcpuExit::IoOut(port, _) | VcpuExit::IoIn(port, _)) => {
                    Err(format!("it used the I/O port {port:#x}, which takes a GHCB"))
                }
                Ok(VcpuExit::Shutdown) => Err("a triple fault: an exception could not be handed \
                                               to its kernel"
                    .to_owned()),
                Ok(exit) => Err(format!("it left in a way that no Keep does: {exit:?}")),
                Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => {
                    return Ok(Exit::Interrupted);
                }
                Err(error) => Err(format!("the host cannot run it: {error}")),
            };
            match step {
                Ok(None) => {}
                Ok(Some(exit)) => return Ok(exit),
                Err(dead) => return Err(machine::dead(at(&self.cpu, dead))),
            }
        }
    }
}

/// The guest's hypervisor, of which there is one for all processors.
pub(crate) fn hypervisor(shared: &Mutex<Hypervisor>) -> MutexGuard<'_, Hypervisor> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cpu {
    /// A word was written to the GHCB's register; plays `VMGEXIT` if that follows.
    fn after_write(&mut self) -> Result<Option<Exit>, String> {
        // The write ends when the virtual CPU is entered again, which it is for no longer than that.
        self.cpu.set_kvm_immediate_exit(1);
        let done = self.cpu.run().map(|exit| format!("{exit:?}"));
        self.cpu.set_kvm_immediate_exit(0);
        match done {
            Err(error) if error.errno() == libc::EINTR => {}
            other => return Err(format!("the host cannot finish a write: {other:?}")),
        }
        let mut regs = self.regs()?;
        if self.instruction(regs.rip) != Some(VMGEXIT) {
            return Ok(None);
        }
        let after = hypervisor(&self.hypervisor).exit(&mut self.register);
        regs.rip += VMGEXIT.len() as u64;
        self.set_regs(&regs)?;
        match after {
            After::Resume => Ok(None),
            After::Doorbell => Ok(Some(Exit::Doorbell)),
            After::Port(port, value) => machine::port(port, value).map(Some),
            After::Dead(cause) => Err(cause),
        }
    }

    /// KVM cannot interpret an instruction: plays it if it is `PVALIDATE`.
    fn unknown(&mut self) -> Result<(), String> {
        let mut regs = self.regs()?;
        if self.instruction(regs.rip) != Some(PVALIDATE) {
            return Err("the hypervisor gave up on an instruction".into());
        }
        let Pvalidate { code, unchanged } = self.pvalidate(&regs)?;
        const CARRY: u64 = 1;
        regs.rax = u64::from(code);
        regs.rflags = regs.rflags & !CARRY | u64::from(unchanged);
        regs.rip += PVALIDATE.len() as u64;
        // KVM has an exception ready for the instruction that it does not know.
        let failed = |error: kvm_ioctls::Error| format!("the host cannot play PVALIDATE: {error}");
        let mut events = self.cpu.get_vcpu_events().map_err(failed)?;
        (events.exception.injected, events.exception.pending) = (0, 0);
        self.cpu.set_vcpu_events(&events).map_err(failed)?;
        self.set_regs(&regs)
    }

    fn pvalidate(&mut self, regs: &kvm_regs) -> Result<Pvalidate, String> {
        let (address, size, validate) = (regs.rax, regs.rcx as u32, regs.rdx as u32);
        let len = match size {
            0 => PAGE,
            1 => snp_guest::LARGE,
            _ => return Ok(Pvalidate { code: FAIL_INPUT, unchanged: false }),
        };
        if validate != 1 {
            return Err("it takes validation back, which no Keep does".into());
        }
        match self.translate(address) {
            Some((phys, true)) if phys.is_multiple_of(len) => {
                hypervisor(&self.hypervisor).validate(phys, len)
            }
            Some((_, true)) => Ok(Pvalidate { code: FAIL_INPUT, unchanged: false }),
            _ => Err(format!("it validates {address:#x}, which is no private memory")),
        }
    }

    /// The four bytes at an address.
    fn instruction(&self, address: u64) -> Option<[u8; 4]> {
        let (phys, private) = self.translate(address)?;
        let mut bytes = [0; 4];
        self.private.read(phys, &mut bytes).ok()?;
        private.then_some(bytes)
    }

    /// The physical address behind an address, and whether it is private.
    fn translate(&self, address: u64) -> Option<(u64, bool)> {
        const PRESENT: u64 = 1;
        const LARGE: u64 = 1 << 7;
        const ADDRESS: u64 = 0x000f_ffff_ffff_f000 & !C_BIT;
        let mut table = self.root;
        for shift in [39, 30, 21, 12] {
            if !(TABLES_PHYS..TABLES_PHYS + TABLES_SIZE).contains(&table) {
                return None;
            }
            let mut word = [0; 8];
            let place = table + (address >> shift & 0x1ff) * 8;
            self.private.read(place, &mut word).ok()?;
            let entry = u64::from_le_bytes(word);
            if entry & PRESENT == 0 {
                return None;
            }
            if shift == 12 || entry & LARGE != 0 {
                let offset = address & ((1 << shift) - 1);
                return Some((entry & ADDRESS & !((1 << shift) - 1) | offset, entry & C_BIT != 0));
            }
            if entry & C_BIT == 0 {
                return None;
            }
            table = entry & ADDRESS;
        }
        None
    }

    /// What to say of an access to memory that is not there.
    fn no_memory(&self, address: u64) -> String {
        let phys = address & !C_BIT;
        if address & C_BIT == 0 {
            return format!("it touched memory at {phys:#x} as shared, which it is not");
        }
        let what = hypervisor(&self.hypervisor).pages.describe(phys);
        format!("it touched private memory at {phys:#x} that {what}")
    }

    fn regs(&self) -> Result<kvm_regs, String> {
        self.cpu.get_regs().map_err(|error| format!("the host cannot see its registers: {error}"))
    }

    fn set_regs(&self, regs: &kvm_regs) -> Result<(), String> {
        self.cpu.set_regs(regs).map_err(|error| format!("the host cannot go on with it: {error}"))
    }
}

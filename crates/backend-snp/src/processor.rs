// SPDX-License-Identifier: Apache-2.0

//! The virtual processor: its first state, and what its exits mean.
//!
//! The state is the one that the plan measures. KVM makes the measured page of the registers that are set
//! here, with two changes of its own that the plan knows: `EFER.SVME`, and `CR4.MCE` (see `snp-launch`). So
//! these two are left out, and everything else is set as the plan has it, without a fallback: another state
//! would be another measurement.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use keep_layout::{PORT_DOORBELL, PORT_FATAL, PORTS, VECTOR_FLUSH};
use kvm_bindings::{
    KVM_MEMORY_EXIT_FLAG_PRIVATE, KVM_SYSTEM_EVENT_SEV_TERM, Msrs, kvm_dtable, kvm_msr_entry,
    kvm_regs, kvm_segment, kvm_sregs, kvm_xcrs,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use snp_guest::vmsa::{EFER_SVME, Segment, Vmsa};

use crate::memory::{Change, is_shared_block};

const CR4_MCE: u64 = 1 << 6;

/// Registers of `syscall` (APM volume 2, 6.1.1).
const MSRS: [u32; 3] = [0xc000_0081, 0xc000_0082, 0xc000_0084];

/// `KVM_HC_MAP_GPA_RANGE` (`hypercalls.rst`): arguments are address, pages, and attributes.
pub(crate) const HC_MAP_GPA_RANGE: u64 = 12;
/// In its attributes: private.
const MAP_ENCRYPTED: u64 = 1 << 4;
/// In its attributes: the size of pages, which is a hint, and private; nothing else.
const MAP_KNOWN: u64 = MAP_ENCRYPTED | 0xf;

/// Why the virtual processor has come back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The Keep wants its submissions looked at.
    Doorbell,
    /// A signal came, or the Keep can be interrupted.
    Interrupted,
    /// The Keep wrote to one of its other ports.
    Port(u16, u32),
    /// Pages shall change hands; the Keep waits for an answer.
    Asked(Change),
    /// A page was touched as what it is not yet.
    Touched(Change),
    /// The Keep cannot go on; the sentence says why.
    Dead(String),
}

/// What an exit means. `None`: it was a request that is refused; its answer is written already.
pub(crate) fn meaning(exit: &mut VcpuExit<'_>) -> Option<Exit> {
    Some(match exit {
        VcpuExit::IoOut(PORT_DOORBELL, _) => Exit::Doorbell,
        VcpuExit::IoOut(PORT_FATAL, _) => Exit::Dead("its kernel stopped without a word".into()),
        VcpuExit::IoOut(port, [a, b, c, d]) if PORTS.contains(port) => {
            Exit::Port(*port, u32::from_le_bytes([*a, *b, *c, *d]))
        }
        VcpuExit::Intr | VcpuExit::IrqWindowOpen => Exit::Interrupted,
        VcpuExit::Hypercall(call) => {
            let change = match call.nr {
                HC_MAP_GPA_RANGE => asked(&call.args),
                _ => None,
            };
            *call.ret = match change {
                Some(_) => 0,
                None => libc::EINVAL as u64,
            };
            Exit::Asked(change?)
        }
        VcpuExit::MemoryFault { flags, gpa, size } => touched(*flags, *gpa, *size),
        VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SEV_TERM, data) => {
            Exit::Dead(terminated(data.first().copied().unwrap_or_default()))
        }
        VcpuExit::Shutdown => {
            Exit::Dead("a triple fault: an exception could not be handed to its kernel".into())
        }
        VcpuExit::InternalError => Exit::Dead("the hypervisor gave up on it".into()),
        VcpuExit::FailEntry(reason, _) => {
            Exit::Dead(format!("the processor refused to enter it (reason {reason:#x})"))
        }
        VcpuExit::MmioRead(at, _) | VcpuExit::MmioWrite(at, _) => {
            Exit::Dead(format!("it touched physical memory that it does not have, at {at:#x}"))
        }
        exit => Exit::Dead(format!("it left in a way that no Keep does: {exit:?}")),
    })
}

/// The arguments of a page state change.
fn asked(arguments: &[u64; 6]) -> Option<Change> {
    let [start, pages, attributes, ..] = *arguments;
    if attributes & !MAP_KNOWN != 0 {
        return None;
    }
    let length = pages.checked_mul(keep_layout::PAGE)?;
    Some(Change { start, length, private: attributes & MAP_ENCRYPTED != 0 })
}

/// What it means that a page was touched (`KVM_EXIT_MEMORY_FAULT`).
fn touched(flags: u64, gpa: u64, size: u64) -> Exit {
    let private = flags & u64::from(KVM_MEMORY_EXIT_FLAG_PRIVATE) != 0;
    if flags & !u64::from(KVM_MEMORY_EXIT_FLAG_PRIVATE) != 0 {
        return Exit::Dead(format!("its memory at {gpa:#x} failed (flags {flags:#x})"));
    }
    if private && is_shared_block(gpa, size) {
        return Exit::Dead("it took the block that it shares with the host for its own".into());
    }
    Exit::Touched(Change { start: gpa, length: size, private })
}

/// Who asks to be ended says why, in the word of the GHCB protocol (AMD 56421, 2.3.1: reason set in bits 12
/// to 15, code in bits 16 to 23).
fn terminated(word: u64) -> String {
    let (set, code) = (word >> 12 & 0xf, word >> 16 & 0xff);
    let why = match (set, code) {
        (0, 1) => "the hypervisor's version of the GHCB protocol".to_owned(),
        (0, 2) => "the hypervisor lacks what SEV-SNP takes".to_owned(),
        _ => format!("reason {code:#x} of set {set}"),
    };
    format!("its kernel does not go on under this host: {why}")
}

/// `KVM_INTERRUPT` (`linux/kvm.h`).
pub(crate) const INTERRUPT: u32 = 0x4004_ae86;

/// Raises [`VECTOR_FLUSH`] if that is wanted, or has the virtual processor come back as soon as it can be
/// interrupted. An NMI would do too, but with SEV-ES the guest has to say when it has served one.
///
/// # Errors
///
/// What the hypervisor says.
pub(crate) fn raise_flush(cpu: &mut VcpuFd, wanted: &AtomicBool) -> io::Result<()> {
    let wants = wanted.load(Ordering::SeqCst);
    let run = cpu.get_kvm_run();
    run.request_interrupt_window = u8::from(wants);
    if !wants || run.ready_for_interrupt_injection == 0 {
        return Ok(());
    }
    run.request_interrupt_window = 0;
    wanted.store(false, Ordering::SeqCst);
    let vector = u32::from(VECTOR_FLUSH);
    // SAFETY: the call reads a `struct kvm_interrupt`, which is one such number.
    let done = unsafe { libc::ioctl(cpu.as_raw_fd(), INTERRUPT.into(), &raw const vector) };
    match io::Error::last_os_error() {
        _ if done == 0 => Ok(()),
        // One that was raised before still waits.
        error if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        error => Err(error),
    }
}

/// Puts the virtual processor at the start of the image.
pub(crate) fn set(cpu: &VcpuFd, vmsa: &Vmsa) -> io::Result<()> {
    let mut sregs = cpu.get_sregs()?;
    special(&mut sregs, vmsa);
    cpu.set_sregs(&sregs)?;
    let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
    xcrs.xcrs[0].value = vmsa.xcr0;
    cpu.set_xcrs(&xcrs)?;
    let values = [vmsa.star, vmsa.lstar, vmsa.sfmask];
    let entry = |(index, data)| kvm_msr_entry { index, data, ..Default::default() };
    let entries: Vec<_> = MSRS.into_iter().zip(values).map(entry).collect();
    let msrs =
        Msrs::from_entries(&entries).map_err(|error| io::Error::other(format!("{error:?}")))?;
    if cpu.set_msrs(&msrs)? != entries.len() {
        return Err(io::Error::other("the hypervisor refuses the registers of `syscall`"));
    }
    Ok(cpu.set_regs(&general(vmsa))?)
}

fn special(sregs: &mut kvm_sregs, vmsa: &Vmsa) {
    sregs.cs = segment(vmsa.cs);
    sregs.ds = segment(vmsa.ds);
    sregs.es = segment(vmsa.es);
    sregs.fs = segment(vmsa.fs);
    sregs.gs = segment(vmsa.gs);
    sregs.ss = segment(vmsa.ss);
    sregs.tr = segment(vmsa.tr);
    sregs.ldt = segment(vmsa.ldtr);
    sregs.gdt = table(vmsa.gdtr);
    sregs.idt = table(vmsa.idtr);
    sregs.cr0 = vmsa.cr0;
    sregs.cr2 = vmsa.cr2;
    sregs.cr3 = vmsa.cr3;
    sregs.cr4 = vmsa.cr4 & !CR4_MCE;
    sregs.efer = vmsa.efer & !EFER_SVME;
}

fn general(vmsa: &Vmsa) -> kvm_regs {
    let &Vmsa { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, .. } = vmsa;
    let &Vmsa { r12, r13, r14, r15, rip, rflags, .. } = vmsa;
    #[rustfmt::skip]
    let regs = kvm_regs {
        rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags,
    };
    regs
}

/// A segment register out of its squeezed attributes.
fn segment(from: Segment) -> kvm_segment {
    let bit = |at: u16| (from.attributes >> at & 1) as u8;
    kvm_segment {
        base: from.base,
        limit: from.limit,
        selector: from.selector,
        type_: (from.attributes & 0xf) as u8,
        s: bit(4),
        dpl: (from.attributes >> 5 & 3) as u8,
        present: bit(7),
        avl: bit(8),
        l: bit(9),
        db: bit(10),
        g: bit(11),
        unusable: bit(7) ^ 1,
        padding: 0,
    }
}

fn table(from: Segment) -> kvm_dtable {
    kvm_dtable { base: from.base, limit: from.limit as u16, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use keep_image::Image;
    use kvm_ioctls::HypercallExit;
    use proptest::prelude::*;
    use snp_launch::{Options, Plan};

    use super::*;

    fn call(nr: u64, args: [u64; 6]) -> (Option<Exit>, u64) {
        let mut ret = 0xdead;
        let exit = HypercallExit { nr, args, ret: &mut ret, longmode: 1 };
        let meaning = meaning(&mut VcpuExit::Hypercall(exit));
        (meaning, ret)
    }

    #[test]
    fn page_states_are_changed_as_asked() {
        let change = Change { start: 0x60_0000, length: 0x20_0000, private: true };
        let large = call(HC_MAP_GPA_RANGE, [0x60_0000, 512, MAP_ENCRYPTED | 1, 0, 0, 0]);
        assert_eq!(large, (Some(Exit::Asked(change)), 0));
        let change = Change { start: 0x1000, length: 0x1000, private: false };
        let back = call(HC_MAP_GPA_RANGE, [0x1000, 1, 0, 0, 0, 0]);
        assert_eq!(back, (Some(Exit::Asked(change)), 0));
        // Attributes that mean nothing, more pages than there are addresses, another call.
        let refused = (None, libc::EINVAL as u64);
        assert_eq!(call(HC_MAP_GPA_RANGE, [0x1000, 1, 1 << 9, 0, 0, 0]), refused);
        assert_eq!(call(HC_MAP_GPA_RANGE, [0x1000, u64::MAX, 0, 0, 0, 0]), refused);
        assert_eq!(call(11, [0; 6]), refused);
    }

    #[test]
    fn exits_mean_what_the_keep_means() {
        let mut doorbell = VcpuExit::IoOut(PORT_DOORBELL, &[0]);
        assert_eq!(meaning(&mut doorbell), Some(Exit::Doorbell));
        let dead = |mut exit: VcpuExit<'_>| match meaning(&mut exit) {
            Some(Exit::Dead(why)) => why,
            other => panic!("{other:?}"),
        };
        assert!(dead(VcpuExit::IoOut(PORT_FATAL, &[0])).contains("without a word"));
        assert!(dead(VcpuExit::IoOut(0x80, &[0])).contains("no Keep does"));
        // Termination request: set 0, code 2 (0x100 is the request itself).
        let word = [0x2_0100];
        let ended = VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SEV_TERM, &word);
        assert!(dead(ended).contains("lacks what SEV-SNP takes"));
        let fault = |flags, gpa| meaning(&mut VcpuExit::MemoryFault { flags, gpa, size: 0x1000 });
        let change = Change { start: 0x5000, length: 0x1000, private: true };
        assert_eq!(fault(8, 0x5000), Some(Exit::Touched(change)));
        assert_eq!(fault(0, 0x5000), Some(Exit::Touched(Change { private: false, ..change })));
        assert!(matches!(fault(8, keep_layout::SHARED_PHYS), Some(Exit::Dead(_))));
        assert!(matches!(fault(1 << 20, 0x5000), Some(Exit::Dead(_))));
    }

    /// The page that KVM makes of what was set (`sev_es_sync_vmsa` of Linux 6.11 and later, as far as the
    /// registers go that are set here).
    fn as_kvm(sregs: &kvm_sregs, regs: &kvm_regs, vmsa: &Vmsa) -> Vmsa {
        let squeeze = |from: &kvm_segment| {
            let bits = [(from.s, 4), (from.dpl, 5), (from.present & (1 ^ from.unusable), 7)];
            let more = [(from.avl, 8), (from.l, 9), (from.db, 10), (from.g, 11)];
            let all = bits.into_iter().chain(more);
            let attributes =
                all.fold(u16::from(from.type_), |sum, (bit, at)| sum | u16::from(bit) << at);
            Segment { selector: from.selector, attributes, limit: from.limit, base: from.base }
        };
        let table = |from: &kvm_dtable| Segment {
            base: from.base,
            limit: from.limit.into(),
            ..Segment::default()
        };
        Vmsa {
            es: squeeze(&sregs.es),
            cs: squeeze(&sregs.cs),
            ss: squeeze(&sregs.ss),
            ds: squeeze(&sregs.ds),
            fs: squeeze(&sregs.fs),
            gs: squeeze(&sregs.gs),
            tr: squeeze(&sregs.tr),
            ldtr: squeeze(&sregs.ldt),
            gdtr: table(&sregs.gdt),
            idtr: table(&sregs.idt),
            cpl: sregs.ss.dpl,
            efer: sregs.efer | EFER_SVME,
            cr0: sregs.cr0,
            cr3: sregs.cr3,
            cr4: sregs.cr4 | CR4_MCE,
            rip: regs.rip,
            rsp: regs.rsp,
            rdi: regs.rdi,
            rflags: regs.rflags,
            star: vmsa.star,
            lstar: vmsa.lstar,
            sfmask: vmsa.sfmask,
            xcr0: vmsa.xcr0,
            ..Vmsa::reset()
        }
    }

    #[test]
    fn registers_become_the_measured_page_again() {
        let image = Image::decode(keep_programs::RUNTIME_IMAGE).unwrap();
        let plan = Plan::new(&image, Options::default()).unwrap();
        let mut sregs = kvm_sregs::default();
        special(&mut sregs, &plan.vmsas()[0]);
        assert_eq!(sregs.efer & EFER_SVME, 0);
        assert_eq!(as_kvm(&sregs, &general(&plan.vmsas()[0]), &plan.vmsas()[0]), plan.vmsas()[0]);
    }

    proptest! {
        #[test]
        fn no_exit_is_too_much(args: [u64; 6], nr: u64, flags: u64, gpa: u64, size: u64, data: Vec<u64>) {
            let _ = (call(nr, args), call(HC_MAP_GPA_RANGE, args));
            let _ = meaning(&mut VcpuExit::MemoryFault { flags, gpa, size });
            let _ = meaning(&mut VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_SEV_TERM, &data));
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! The processor's state at the start, as the hardware's save area.
//!
//! A VMM does not hand a save area to KVM. It sets registers as for any virtual processor, and KVM
//! makes the save area of them when the launch finishes. What it makes is measured, so what it
//! changes on the way has to be known (Linux 6.11 and later, `sev_es_sync_vmsa` and what it calls):
//! `EFER.SVME` is set, for the hardware wants it; `CR4.MCE` is as on the host, where it is set;
//! attributes of segments are squeezed to twelve bits. What the VMM does not set is as after a reset.

use keep_image::Start;
use snp_guest::vmsa::{EFER_SVME, Segment, Vmsa};

/// `CR4.MCE`.
const CR4_MCE: u64 = 1 << 6;

// Attributes: type in bits 0 to 3, S 4, DPL 5 and 6, P 7, L 9, D/B 10, G 11.
/// Code, execute and read, accessed; 64 bit; pages.
const CODE: u16 = 0xa9b;
/// Data, read and write, accessed; 32 bit; pages.
const DATA: u16 = 0xc93;
/// A busy task state segment.
const TASK: u16 = 0x08b;

/// The save area of a processor (see [`Start::of`]), for an image whose page tables have that C-bit. More is not
/// in it than in what the KVM backend sets without SEV-SNP.
#[must_use]
pub fn vmsa_of(start: &Start, c_bit: u8) -> Vmsa {
    let ring = |selector: u64| (selector as u16 & 3) << 5;
    let flat = |selector: u64, attributes: u16| Segment {
        selector: selector as u16,
        attributes: attributes | ring(selector),
        limit: u32::MAX,
        base: 0,
    };
    let table = |base, limit| Segment { base, limit: limit as u32, ..Segment::default() };
    let data = flat(start.ss, DATA);
    Vmsa {
        es: data,
        cs: flat(start.cs, CODE),
        ss: data,
        ds: data,
        fs: data,
        gs: Segment { base: start.gs_base, ..data },
        gdtr: table(start.gdt_base, start.gdt_limit),
        idtr: table(start.idt_base, start.idt_limit),
        tr: Segment {
            selector: start.tr as u16,
            attributes: TASK,
            limit: start.tr_limit as u32,
            base: start.tr_base,
        },
        cpl: start.ss as u8 & 3,
        efer: start.efer | EFER_SVME,
        cr0: start.cr0,
        cr3: start.cr3 | 1 << (c_bit & 63),
        cr4: start.cr4 | CR4_MCE,
        rflags: start.rflags,
        rip: start.rip,
        rsp: start.rsp,
        rdi: start.rdi,
        star: start.star,
        lstar: start.lstar,
        sfmask: start.fmask,
        xcr0: start.xcr0,
        ..Vmsa::reset()
    }
}

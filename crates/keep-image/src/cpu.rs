// SPDX-License-Identifier: Apache-2.0

//! The processor's state at the start, and the descriptor tables it needs.
//!
//! The first instruction runs in ring 3, in long mode, with paging on; nothing is left for the
//! Keep to set up in ring 0. The task state segment's bitmap lets ring 3 write to the ports of
//! a Keep and to no other; the I/O privilege level stays 0. Supervisor-mode access and execution prevention stay
//! off, because the stub's pages are user pages. There is one interrupt, by which processors make each
//! other forget cached address translations, and nothing in ring 3 can turn it off. It comes as a vector of
//! its own or as the NMI, whichever suits the hypervisor.
//!
//! A Keep has [`PROCESSORS`] processors, each with a task state segment of its own. All start with
//! the same tables.

use keep_layout::processor::{STRIDE, STUB_STACK_SIZE};
use keep_layout::{
    KernelHeader, PAGE, PORTS, PROCESSORS, STUB_CODE, STUB_DATA, StartInfo, TABLES_PHYS,
    TASK_STATE, USER_CODE, USER_DATA, VECTOR_FLUSH,
};

/// Everything about the first processor that is not zero, or as after a reset, at the start. The others
/// differ as [`Start::of`] says.
///
/// Data segments are all like `ss`; `cs` and `ss` are flat segments of the privilege level in
/// their selectors; general registers that are not named are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Instruction pointer: the kernel's entry.
    pub rip: u64,
    /// Stack pointer: none, the kernel brings its own stack.
    pub rsp: u64,
    /// Address of the [`StartInfo`].
    pub rdi: u64,
    /// Flags: I/O privilege level 0, interrupts on.
    pub rflags: u64,
    /// Code segment: ring 3, 64 bit.
    pub cs: u64,
    /// Stack segment: ring 3.
    pub ss: u64,
    /// Task register.
    pub tr: u64,
    /// Address of the task state segment.
    pub tr_base: u64,
    /// Last byte of the task state segment.
    pub tr_limit: u64,
    /// Address of the global descriptor table.
    pub gdt_base: u64,
    /// Last byte of the global descriptor table.
    pub gdt_limit: u64,
    /// Address of the interrupt descriptor table.
    pub idt_base: u64,
    /// Last byte of the interrupt descriptor table.
    pub idt_limit: u64,
    /// Control register 0.
    pub cr0: u64,
    /// Control register 3: the top-level page table.
    pub cr3: u64,
    /// Control register 4. A backend may have to leave out what its hypervisor does not let a
    /// guest switch on (`FSGSBASE`, `OSXSAVE`).
    pub cr4: u64,
    /// Extended features.
    pub efer: u64,
    /// Extended state: x87, SSE, AVX.
    pub xcr0: u64,
    /// Segments of `syscall` and `sysret`.
    pub star: u64,
    /// Where `syscall` goes.
    pub lstar: u64,
    /// Flags that `syscall` clears.
    pub fmask: u64,
    /// Where GS begins: the processor's block.
    pub gs_base: u64,
    /// Instruction pointer of the other processors.
    pub rip_next: u64,
}

impl Start {
    /// Its length in words.
    pub const WORDS: usize = 23;

    /// The words in the order in which they are declared, encoded and measured.
    pub fn to_words(&self) -> [u64; Self::WORDS] {
        [
            self.rip,
            self.rsp,
            self.rdi,
            self.rflags,
            self.cs,
            self.ss,
            self.tr,
            self.tr_base,
            self.tr_limit,
            self.gdt_base,
            self.gdt_limit,
            self.idt_base,
            self.idt_limit,
            self.cr0,
            self.cr3,
            self.cr4,
            self.efer,
            self.xcr0,
            self.star,
            self.lstar,
            self.fmask,
            self.gs_base,
            self.rip_next,
        ]
    }

    /// The opposite of [`Start::to_words`].
    pub fn from_words(words: &[u64; Self::WORDS]) -> Self {
        let [
            rip,
            rsp,
            rdi,
            rflags,
            cs,
            ss,
            tr,
            tr_base,
            tr_limit,
            gdt_base,
            gdt_limit,
            idt_base,
            idt_limit,
            cr0,
            cr3,
            cr4,
            efer,
            xcr0,
            star,
            lstar,
            fmask,
            gs_base,
            rip_next,
        ] = *words;
        Self {
            rip,
            rsp,
            rdi,
            rflags,
            cs,
            ss,
            tr,
            tr_base,
            tr_limit,
            gdt_base,
            gdt_limit,
            idt_base,
            idt_limit,
            cr0,
            cr3,
            cr4,
            efer,
            xcr0,
            star,
            lstar,
            fmask,
            gs_base,
            rip_next,
        }
    }

    /// The start of a processor by its number, below [`PROCESSORS`].
    #[must_use]
    pub fn of(&self, number: u64) -> Self {
        if number == 0 {
            return *self;
        }
        Self {
            rip: self.rip_next,
            tr_base: self.tr_base + number * TSS_STRIDE,
            gs_base: self.gs_base + number * STRIDE,
            ..*self
        }
    }

    /// The start of a kernel whose page of start information is at `info`.
    pub(crate) fn new(kernel: &KernelHeader, info: u64) -> Self {
        Self {
            rip: kernel.entry,
            rsp: 0,
            rdi: info,
            // IF.
            rflags: 0x202,
            cs: u64::from(USER_CODE),
            ss: u64::from(USER_DATA),
            tr: u64::from(TASK_STATE),
            tr_base: info + TSS,
            tr_limit: TSS_SIZE - 1,
            gdt_base: info + GDT,
            gdt_limit: GDT_SIZE - 1,
            idt_base: info + IDT,
            idt_limit: IDT_SIZE - 1,
            // PE, MP, ET, NE, WP, AM, PG.
            cr0: 0x8005_0033,
            cr3: TABLES_PHYS,
            // PAE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE.
            cr4: 0x0005_0620,
            // SCE, LME, LMA, NXE.
            efer: 0xd01,
            xcr0: 0b111,
            // `sysret` adds 8 for the stack and 16 for the code segment.
            star: u64::from(USER_CODE - 16) << 48 | u64::from(STUB_CODE) << 32,
            lstar: kernel.lstar,
            // TF, IF, DF, NT, AC.
            fmask: 0x0004_4700,
            gs_base: kernel.blocks,
            rip_next: kernel.entry_next,
        }
    }
}

// What is where in the page.
const GDT: u64 = 0x100;
const GDT_SIZE: u64 = 10 * 8;
const IDT: u64 = 0x180;
const IDT_SIZE: u64 = (VECTOR_FLUSH as u64 + 1) * 16;
const TSS: u64 = 0x400;
/// The task state segment proper, before its I/O permission bitmap.
const TSS_HEAD: u64 = 104;
/// The bitmap goes up to the Keep's ports; the processor wants a byte of ones behind it.
const TSS_SIZE: u64 = TSS_HEAD + PORTS.end as u64 / 8 + 2;
const TSS_STRIDE: u64 = TSS_SIZE.next_multiple_of(16);
/// Which of the interrupt stacks [`VECTOR_FLUSH`] uses; the next one is for its other vector.
const FLUSH_STACK: u64 = 1;
/// The other vector: where a hypervisor loses the flag that allows interrupts, this one comes all the same.
const NMI: u64 = 2;

const _: () = {
    assert!(StartInfo::WORDS as u64 * 8 <= GDT && GDT + GDT_SIZE <= IDT && IDT + IDT_SIZE <= TSS);
    assert!(TSS + PROCESSORS * TSS_STRIDE <= PAGE);
};

/// The page with start information, descriptor tables and task state segment; `info` is its
/// address.
pub(crate) fn info_page(start_info: &StartInfo, kernel: &KernelHeader, info: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE as usize];
    let mut put = |at: u64, bytes: &[u8]| {
        let at = at as usize;
        page[at..at + bytes.len()].copy_from_slice(bytes);
    };

    for (index, word) in start_info.to_words().into_iter().enumerate() {
        put(index as u64 * 8, &word.to_le_bytes());
    }

    // Flat segments, accessed from the start so that the processor does not write to them.
    let tss = info + TSS;
    let gdt = [
        (STUB_CODE, 0x00af_9b00_0000_ffff),
        (STUB_DATA, 0x00cf_9300_0000_ffff),
        (USER_DATA, 0x00cf_f300_0000_ffff),
        (USER_CODE, 0x00af_fb00_0000_ffff),
        // A busy task state segment, for it is loaded.
        (
            TASK_STATE,
            (TSS_SIZE - 1) | (tss & 0x00ff_ffff) << 16 | 0x8b << 40 | (tss >> 24 & 0xff) << 56,
        ),
        (TASK_STATE + 8, tss >> 32),
    ];
    for (selector, descriptor) in gdt {
        put(GDT + u64::from(selector & !7), &u64::to_le_bytes(descriptor));
    }

    // A port whose bit is zero is allowed.
    let mut bitmap = [0xff; (TSS_SIZE - TSS_HEAD) as usize];
    for port in PORTS {
        bitmap[usize::from(port) / 8] &= !(1 << (port % 8));
    }
    for number in 0..PROCESSORS {
        let tss = TSS + number * TSS_STRIDE;
        let stack = kernel.stub_stack_top + number * STUB_STACK_SIZE;
        put(tss + 4, &stack.to_le_bytes());
        put(tss + 36, &(stack - STUB_STACK_SIZE / 2).to_le_bytes());
        put(tss + 44, &(stack - STUB_STACK_SIZE * 3 / 4).to_le_bytes());
        put(tss + 102, &(TSS_HEAD as u16).to_le_bytes());
        put(tss + TSS_HEAD, &bitmap);
    }

    let mut gate = |vector: u64, handler: u64, access: u64, stack: u64| {
        let low = handler & 0xffff
            | u64::from(STUB_CODE) << 16
            | stack << 32
            | access << 40
            | (handler >> 16 & 0xffff) << 48;
        put(IDT + vector * 16, &low.to_le_bytes());
        put(IDT + vector * 16 + 8, &(handler >> 32).to_le_bytes());
    };
    for (vector, handler) in kernel.vectors.into_iter().enumerate().filter(|(_, at)| *at != 0) {
        // Ring 3 may raise the breakpoint and overflow exceptions by their instructions.
        let access = if vector == 3 || vector == 4 { 0xee } else { 0x8e };
        gate(vector as u64, handler, access, 0);
    }
    gate(VECTOR_FLUSH.into(), kernel.flush, 0x8e, FLUSH_STACK);
    gate(NMI, kernel.flush, 0x8e, FLUSH_STACK + 1);
    page
}

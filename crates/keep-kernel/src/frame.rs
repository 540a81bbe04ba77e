// SPDX-License-Identifier: Apache-2.0

//! The state of the program at the moment it entered the kernel.
//!
//! The layout is fixed by `keep/entry.s`, which pushes the fields from the last to the first.

/// All registers that the kernel can change.
#[repr(C, align(16))]
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// XMM0 to XMM15. The kernel is compiled for SSE2 and leaves the upper halves alone.
    pub xmm: [u128; 16],
    /// Bytes between the program's stack pointer at its system call and `rsp`: what the trampoline
    /// of a rewritten call has stepped over.
    pub red_zone: u64,
    /// Keeps the frame aligned to 16 bytes.
    pub padding: u64,
    /// RAX: number of the call, later its result.
    pub rax: u64,
    /// RCX.
    pub rcx: u64,
    /// RDX: third argument.
    pub rdx: u64,
    /// RBX.
    pub rbx: u64,
    /// RBP.
    pub rbp: u64,
    /// RSI: second argument.
    pub rsi: u64,
    /// RDI: first argument.
    pub rdi: u64,
    /// R8: fifth argument.
    pub r8: u64,
    /// R9: sixth argument.
    pub r9: u64,
    /// R10: fourth argument.
    pub r10: u64,
    /// R11.
    pub r11: u64,
    /// R12.
    pub r12: u64,
    /// R13.
    pub r13: u64,
    /// R14.
    pub r14: u64,
    /// R15.
    pub r15: u64,
    /// Where the program goes on.
    pub rip: u64,
    /// Its stack.
    pub rsp: u64,
    /// Its flags.
    pub rflags: u64,
}

/// What the ring-0 stub saved of an exception, lowest address first.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Exception {
    /// The address that a page fault is about.
    pub cr2: u64,
    /// RAX at the exception.
    pub rax: u64,
    /// Number of the exception (Intel SDM volume 3, table 6-1).
    pub vector: u64,
    /// Its error code, 0 where there is none.
    pub code: u64,
    /// Where it happened.
    pub rip: u64,
    /// The code segment there; its low two bits are the privilege level.
    pub cs: u64,
    /// The flags there.
    pub rflags: u64,
    /// The stack pointer there.
    pub rsp: u64,
    /// The stack segment there.
    pub ss: u64,
}

const _: () = {
    assert!(core::mem::offset_of!(Frame, rax) == 272);
    assert!(core::mem::offset_of!(Frame, rip) == 272 + 15 * 8);
    assert!(core::mem::size_of::<Frame>() == 416);
    assert!(core::mem::size_of::<Exception>() == 72);
};

// SPDX-License-Identifier: Apache-2.0

//! Calls the function that enters an enclave, for a caller that is compiled code.
//!
//! Its contract (Linux, `Documentation/arch/x86/sgx.rst` and `arch/x86/include/uapi/asm/sgx.h`): six arguments
//! in registers, of which RDI, RSI, RDX, R8 and R9 reach the enclave as they are, and the structure of the run
//! on the stack. RBX and RBP come back as they were; RDI, RSI, RDX and R8 to R15 are what the enclave left in
//! them, and so are flags, MXCSR and the x87 unit.

use sgx_launch::driver::EnclaveRun;

/// A function like `__vdso_sgx_enter_enclave`: RDI, RSI and RDX for the enclave, the leaf function, R8 and R9 for
/// the enclave, the run.
pub type Enter = unsafe extern "C" fn(u64, u64, u64, u32, u64, u64, *mut EnclaveRun) -> i32;

/// Registers that an enclave is entered with, and left with.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Registers {
    /// RDI.
    pub rdi: u64,
    /// RSI.
    pub rsi: u64,
    /// RDX.
    pub rdx: u64,
    /// R8.
    pub r8: u64,
    /// R9.
    pub r9: u64,
}

/// Calls `enter`; writes what the enclave left with to `registers`.
///
/// # Safety
///
/// As [`crate::run`]; `registers` and `context` are valid and nobody else's.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn call(
    enter: Enter,
    registers: *mut Registers,
    context: *mut EnclaveRun,
    leaf: u32,
) -> i32 {
    // RBP is the one register besides RSP by which the way back is found, so the frame hangs on it.
    core::arch::naked_asm!(
        "push rbp",
        "mov rbp, rsp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rsi",
        "sub rsp, 16",
        "stmxcsr [rbp - 56]",
        "fnstcw [rbp - 52]",
        "sub rsp, 8",
        "push rdx",
        "mov rax, rdi",
        "mov r10, rsi",
        "mov rdi, [r10]",
        "mov rsi, [r10 + 8]",
        "mov rdx, [r10 + 16]",
        "mov r8, [r10 + 24]",
        "mov r9, [r10 + 32]",
        "call rax",
        "mov r10, [rbp - 48]",
        "mov [r10], rdi",
        "mov [r10 + 8], rsi",
        "mov [r10 + 16], rdx",
        "mov [r10 + 24], r8",
        "mov [r10 + 32], r9",
        // Direction and alignment check off, with all the rest.
        "push 2",
        "popfq",
        "fninit",
        "fldcw [rbp - 52]",
        "ldmxcsr [rbp - 56]",
        "lea rsp, [rbp - 40]",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// There are no enclaves on other processors, so nobody has a function to give here.
///
/// # Safety
///
/// None is needed.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) unsafe extern "C" fn call(
    _: Enter,
    _: *mut Registers,
    _: *mut EnclaveRun,
    _: u32,
) -> i32 {
    -22
}

// SPDX-License-Identifier: Apache-2.0

//! The function that enters an enclave: one that keeps the contract of Linux's `__vdso_sgx_enter_enclave`.
//!
//! It really executes `ENCLU`, which a processor without SGX does not know, and one with SGX refuses because
//! there is no such thread: both is a signal, whose handler plays the instruction. The same instruction is where
//! asynchronous exits go: RAX says then that the thread is to be resumed. Exceptions that are to be reported go
//! on at the second label, where a kernel would put the thread.

use core::arch::global_asm;

use sgx_launch::driver::EnclaveRun;

global_asm!(
    ".pushsection .text.sgx_sim_enter, \"ax\"",
    ".hidden sgx_sim_enter",
    ".hidden sgx_sim_enclu",
    ".hidden sgx_sim_exception",
    ".global sgx_sim_enter",
    ".global sgx_sim_enclu",
    ".global sgx_sim_exception",
    "sgx_sim_enter:",
    "push rbp",
    "mov rbp, rsp",
    "push rbx",
    "mov eax, ecx",
    // EENTER or ERESUME.
    "sub ecx, 2",
    "cmp ecx, 1",
    "ja 3f",
    "mov rcx, [rbp + 16]",
    "mov rbx, [rcx]",
    "lea rcx, [rip + sgx_sim_enclu]",
    "sgx_sim_enclu:",
    ".byte 0x0f, 0x01, 0xd7",
    "mov rbx, [rbp + 16]",
    // EEXIT.
    "mov dword ptr [rbx + 8], 4",
    "2:",
    "xor eax, eax",
    "4:",
    "pop rbx",
    "pop rbp",
    "ret",
    "3:",
    // EINVAL.
    "mov eax, -22",
    "jmp 4b",
    "sgx_sim_exception:",
    "mov rbx, [rbp + 16]",
    "mov [rbx + 8], eax",
    "mov [rbx + 12], di",
    "mov [rbx + 14], si",
    "mov [rbx + 16], rdx",
    "jmp 2b",
    ".popsection",
);

unsafe extern "C" {
    /// Enters an enclave.
    pub(crate) fn sgx_sim_enter(
        rdi: u64,
        rsi: u64,
        rdx: u64,
        leaf: u32,
        r8: u64,
        r9: u64,
        run: *mut EnclaveRun,
    ) -> i32;
    safe fn sgx_sim_enclu();
    safe fn sgx_sim_exception();
}

/// Where the instruction is.
pub(crate) fn instruction() -> u64 {
    sgx_sim_enclu as *const () as u64
}

/// Where exceptions are reported.
pub(crate) fn handler() -> u64 {
    sgx_sim_exception as *const () as u64
}

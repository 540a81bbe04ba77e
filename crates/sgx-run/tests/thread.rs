// SPDX-License-Identifier: Apache-2.0

//! A thread, with a function in the place of the one that enters: it leaves by a list, and leaves behind in
//! registers, flags and control words what no compiled code expects.

#![cfg(target_arch = "x86_64")]

use std::sync::Mutex;
use std::time::Duration;

use sgx_guest::enclu::Enclu;
use sgx_guest::exception::vector;
use sgx_guest::page::Rights;
use sgx_launch::driver::EnclaveRun;
use sgx_run::{Broken, Entry, Host, Operation, Pages, run};

/// How the function leaves, and how it was entered.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Leaves {
    function: u64,
    vector: u64,
    address: u64,
    /// RDI, RSI, RDX, R8.
    registers: [u64; 4],
    status: u64,
    /// Out: the leaf function, and RDI.
    entered: [u64; 2],
}

/// The next of the list. One test at a time has it.
static mut NEXT: *mut Leaves = std::ptr::null_mut();
static ONE: Mutex<()> = Mutex::new(());

#[unsafe(naked)]
unsafe extern "C" fn enter(
    rdi: u64,
    rsi: u64,
    rdx: u64,
    leaf: u32,
    r8: u64,
    r9: u64,
    run: *mut EnclaveRun,
) -> i32 {
    core::arch::naked_asm!(
        "mov r10, [rsp + 8]",
        "mov r11, [rip + {next}]",
        "add qword ptr [rip + {next}], 80",
        "mov [r11 + 64], rcx",
        "mov [r11 + 72], rdi",
        "mov rax, [r11]",
        "mov [r10 + 8], eax",
        "mov rax, [r11 + 8]",
        "mov [r10 + 12], ax",
        "mov rax, [r11 + 16]",
        "mov [r10 + 16], rax",
        "mov rdi, [r11 + 24]",
        "mov rsi, [r11 + 32]",
        "mov rdx, [r11 + 40]",
        "mov r8, [r11 + 48]",
        "mov rax, [r11 + 56]",
        "mov r9, -1",
        "mov r10, -1",
        "mov r12, -1",
        "mov r13, -1",
        "mov r14, -1",
        "mov r15, -1",
        "mov dword ptr [rsp - 8], 0x7f80",
        "ldmxcsr [rsp - 8]",
        "mov word ptr [rsp - 8], 0x7f",
        "fldcw [rsp - 8]",
        "fld1",
        // Direction, and alignment check.
        "push 0x40402",
        "popfq",
        "mov r11, -1",
        "ret",
        next = sym NEXT,
    )
}

#[derive(Default)]
struct Notes {
    served: Vec<Operation>,
    entries: Vec<Enclu>,
    /// What operations are answered with; then the host ends it.
    answers: Vec<u64>,
}

impl Host for Notes {
    type End = &'static str;

    fn serve(&mut self, operation: Operation) -> Result<u64, &'static str> {
        self.served.push(operation);
        if self.answers.is_empty() { Err("enough") } else { Ok(self.answers.remove(0)) }
    }

    fn before(&mut self, entry: &mut Entry) {
        self.entries.push(entry.leaf);
    }
}

fn exit(registers: [u64; 4]) -> Leaves {
    Leaves { function: 4, registers, ..Leaves::default() }
}

fn exception(number: u8) -> Leaves {
    let vector = number.into();
    Leaves { function: 3, vector, address: 0x5000, ..Leaves::default() }
}

/// How it ended, what was asked of the host, and each entry: leaf function and RDI.
fn ends(
    answers: &[u64],
    leaves: &[Leaves],
) -> (Broken<&'static str>, Vec<Operation>, Vec<[u64; 2]>) {
    let _one = ONE.lock().unwrap_or_else(|error| error.into_inner());
    let mut leaves = leaves.to_vec();
    // One more than may be used.
    leaves.push(exit([1, 0, 0, 0]));
    let mut host = Notes { answers: answers.to_vec(), ..Notes::default() };
    let mxcsr = mxcsr();
    // SAFETY: the list lives as long as the function is called; the lock makes it this test's. The function keeps
    // the contract.
    let broken = unsafe {
        NEXT = leaves.as_mut_ptr();
        run(enter, 0x1000, &mut host)
    };
    assert_eq!(self::mxcsr(), mxcsr, "compiled code goes on as it was");
    let count = host.entries.len();
    let entered: Vec<[u64; 2]> = leaves[..count].iter().map(|leaves| leaves.entered).collect();
    let told: Vec<u64> = host.entries.iter().map(|leaf| leaf.number().into()).collect();
    assert_eq!(entered.iter().map(|entered| entered[0]).collect::<Vec<_>>(), told);
    (broken, host.served, entered)
}

fn mxcsr() -> u32 {
    let mut value = 0_u32;
    // SAFETY: writes four bytes to a variable.
    unsafe { core::arch::asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack)) };
    value & !0x3f
}

#[test]
fn operations_are_served_with_their_arguments() {
    let pages = Pages { address: 0x1_0000, length: 0x2000 };
    let (broken, served, entered) = ends(
        &[0, 7, 0, 0, 22, 0, 0, 0],
        &[
            exit([0, 9, 9, 9]),
            exit([3, 0x1_0000, 0x2000, 1]),
            exit([4, 0x1_0000, 0x2000, 99]),
            exit([5, 0x1_0000, 0x2000, 0]),
            exit([6, 0x1_0000, 0x2000, 5]),
            exit([7, 0, 0, 0]),
            exit([8, 1_000_000_007, 9, 9]),
            exit([8, u64::MAX, 9, 9]),
            exit([9, 6, 9, 9]),
        ],
    );
    assert_eq!(broken, Broken::Ended("enough"));
    assert_eq!(
        served,
        [
            Operation::Doorbell,
            Operation::Restrict(pages, Rights::R),
            Operation::Trim(pages),
            Operation::Remove(pages),
            Operation::Protect(pages, Rights::RX),
            Operation::Target,
            Operation::Park(Some(Duration::from_nanos(1_000_000_007))),
            Operation::Park(None),
            Operation::Wake(6),
        ]
    );
    assert_eq!(entered, [[2, 0], [2, 0], [2, 7], [2, 0], [2, 0], [2, 22], [2, 0], [2, 0], [2, 0]]);
}

#[test]
fn an_exception_is_handled_and_the_thread_resumed() {
    let (broken, _, entered) = ends(
        &[5],
        &[
            exit([0, 0, 0, 0]),
            exception(vector::PF),
            exit([2, 0, 0, 0]),
            exception(vector::UD),
            exit([2, 0, 0, 0]),
            exit([1, 0, 0, 0]),
        ],
    );
    assert_eq!(broken, Broken::Fatal);
    // The result of an operation is told once.
    assert_eq!(entered, [[2, 0], [2, 5], [2, 0], [3, 0], [2, 0], [3, 0]]);
}

#[test]
fn what_breaks_a_keep_is_named() {
    let pf = u16::from(vector::PF);
    let entered = |function, number: u8| Leaves { function, ..exception(number) };
    for (leaves, expected) in [
        (vec![exit([1, 0, 0, 0])], Broken::Fatal),
        (vec![exit([2, 0, 0, 0])], Broken::Operation(2)),
        (vec![exit([10, 0, 0, 0])], Broken::Operation(10)),
        (vec![exit([u64::MAX, 0, 0, 0])], Broken::Operation(u64::MAX)),
        // Rights that are none.
        (vec![exit([3, 0, 0x1000, 8])], Broken::Operation(3)),
        (vec![exit([6, 0, 0x1000, 1 << 32])], Broken::Operation(6)),
        (vec![exception(vector::PF), exit([0, 0, 0, 0])], Broken::Operation(0)),
        (vec![exception(vector::PF), exit([1, 0, 0, 0])], Broken::Fatal),
        (
            vec![exception(vector::PF), exception(vector::PF)],
            Broken::Exception { vector: pf, address: 0x5000 },
        ),
        // A stack fault leaves nothing in the frame, so its handler would go on with the same instruction.
        (vec![exception(12)], Broken::Exception { vector: 12, address: 0x5000 }),
        (vec![entered(2, vector::GP)], Broken::Lost(vector::GP.into())),
        (vec![entered(77, vector::PF)], Broken::Lost(pf)),
        (vec![Leaves { status: -22_i64 as u64, ..exit([0, 0, 0, 0]) }], Broken::Entry(-22)),
    ] {
        let (broken, ..) = ends(&[], &leaves);
        assert_eq!(broken, expected, "{leaves:?}");
    }
}

// SPDX-License-Identifier: Apache-2.0

//! The table of decisions, row by row, and what holds for each of its rows.

use proptest::prelude::*;
use sgx_guest::exception::{Decision, Exit, Refusal, View, decide, vector};
use sgx_guest::page::Rights;
use sgx_guest::ssa::{ExInfo, ExitInfo, ExitType, fault};

/// A small Keep: stub, text, data, a page that is awaited, a guard; a shared block outside.
struct Keep {
    code: Vec<u8>,
}

const STUB: u64 = 0x10_0000;
const TEXT: u64 = 0x10_1000;
const DATA: u64 = 0x10_2000;
const AWAITED: u64 = 0x10_3000;
const GUARD: u64 = 0x10_4000;
const SHARED: u64 = 0x50_0000;

impl View for Keep {
    fn is_inside(&self, address: u64) -> bool {
        (0x10_0000..0x20_0000).contains(&address)
    }

    fn accepted(&self, address: u64) -> Option<Rights> {
        assert!(self.is_inside(address), "only what is inside is asked for");
        match address & !0xfff {
            STUB | TEXT => Some(Rights::RX),
            DATA => Some(Rights::RW),
            _ => None,
        }
    }

    fn is_shared(&self, address: u64) -> bool {
        address & !0xfff == SHARED
    }

    fn is_stub(&self, rip: u64) -> bool {
        rip & !0xfff == STUB
    }

    fn code(&self, rip: u64) -> &[u8] {
        if rip & !0xfff == TEXT { &self.code } else { &[] }
    }
}

const KEEP: Keep = Keep { code: Vec::new() };

fn hardware(vector: u8, more: ExInfo) -> Exit {
    let info = ExitInfo { vector, kind: ExitType::Hardware };
    Exit { info, more, rip: TEXT }
}

fn page_fault(address: u64, error: u32) -> Decision {
    decide(&hardware(vector::PF, ExInfo { address, error: error | fault::USER }), &KEEP)
}

fn undefined(code: &[u8]) -> Decision {
    decide(&hardware(vector::UD, ExInfo { address: 0, error: 0 }), &Keep { code: code.to_vec() })
}

#[test]
fn instructions_that_enclaves_have_not_are_answered() {
    for (code, expected) in [
        (&[0x0f, 0xa2, 0x90][..], Decision::Cpuid),
        (&[0x0f, 0xa2], Decision::Cpuid),
        (&[0x0f, 0x05, 0xc3], Decision::Syscall),
    ] {
        assert_eq!(undefined(code), expected);
    }
    // rdtsc, rdtscp, ud2, vmcall, sysenter, in, half an instruction, nothing.
    for code in [
        &[0x0f, 0x31][..],
        &[0x0f, 0x01, 0xf9],
        &[0x0f, 0x0b],
        &[0x0f, 0x01, 0xc1],
        &[0x0f, 0x34],
        &[0xec],
        &[0x0f],
        &[0x0f, 0x01],
        &[],
    ] {
        assert_eq!(undefined(code), Decision::Usual, "{code:x?}");
    }
}

#[test]
fn page_faults_are_the_programs_or_the_hosts() {
    // A page that is awaited is brought in for what it may be used for, and else it is a signal.
    for error in [0, fault::WRITE, fault::SGX | fault::PRESENT, fault::FETCH] {
        assert_eq!(page_fault(AWAITED + 5, error), Decision::Usual);
    }
    // Guards, writes to text and execution of data are the program's.
    assert_eq!(page_fault(GUARD + 8, 0), Decision::Usual);
    assert_eq!(page_fault(TEXT, fault::WRITE | fault::PRESENT), Decision::Usual);
    assert_eq!(page_fault(DATA, fault::FETCH | fault::PRESENT), Decision::Usual);
    // What was there is not: removed, pending again, blocked, or keys of protection.
    for error in [0, fault::PRESENT | fault::SGX, fault::WRITE, fault::KEY] {
        let taken = Decision::Refuse(Refusal::PageTaken(DATA + 1));
        assert_eq!(page_fault(DATA + 1, error), taken, "{error:#x}");
    }
    assert_eq!(page_fault(TEXT, fault::FETCH), Decision::Refuse(Refusal::PageTaken(TEXT)));
    // Outside.
    assert_eq!(page_fault(SHARED, 0), Decision::Refuse(Refusal::SharedTaken(SHARED)));
    assert_eq!(page_fault(SHARED, fault::FETCH), Decision::Usual);
    for address in [0, 8, 0xf_ffff, 0x20_0000, u64::MAX] {
        assert_eq!(page_fault(address, 0), Decision::Usual);
    }
}

#[test]
fn other_exceptions_are_as_on_every_platform() {
    for vector in [
        vector::DE,
        vector::MF,
        vector::XM,
        vector::GP,
        vector::BR,
        vector::CP,
        vector::AC,
        vector::DB,
    ] {
        let exit = hardware(vector, ExInfo { address: 0, error: 0 });
        assert_eq!(decide(&exit, &KEEP), Decision::Usual, "{vector}");
    }
    let software = ExitInfo { vector: vector::BP, kind: ExitType::Software };
    let exit = Exit { info: software, ..hardware(0, ExInfo { address: 0, error: 0 }) };
    assert_eq!(decide(&exit, &KEEP), Decision::Usual);
    for (vector, kind) in [(vector::UD, ExitType::Software), (vector::BP, ExitType::Hardware)] {
        let exit = Exit { info: ExitInfo { vector, kind }, ..exit };
        assert_eq!(decide(&exit, &KEEP), Decision::Refuse(Refusal::Unknown(vector)));
    }
    for vector in [2, 8, 18, 32, 255] {
        let exit = hardware(vector, ExInfo { address: 0, error: 0 });
        assert_eq!(decide(&exit, &KEEP), Decision::Refuse(Refusal::Unknown(vector)));
    }
}

#[test]
fn nothing_goes_on_from_the_stub() {
    let fault = hardware(vector::PF, ExInfo { address: AWAITED, error: 0 });
    let stub = Exit { rip: STUB + 9, ..fault };
    assert_eq!(decide(&stub, &KEEP), Decision::Refuse(Refusal::InStub));
}

proptest! {
    /// Whatever the host brings about: an accepted page is never taken for one that is to be brought in.
    #[test]
    fn nothing_is_accepted_twice(
        vector: u8, software: bool, page in 0_u64..0x120,
        low in 0_u64..0x1000, error: u32, rip in prop_oneof![Just(TEXT), Just(STUB), any::<u64>()],
        code: [u8; 3],
    ) {
        let kind = if software { ExitType::Software } else { ExitType::Hardware };
        let address = 0xf_f000 + page * 0x1000 + low;
        let info = ExitInfo { vector, kind };
        let exit = Exit { info, more: ExInfo { address, error }, rip };
        let decision = decide(&exit, &Keep { code: code.to_vec() });
        // The right that is wanted: to execute, to write, or to read.
        let wanted = match (error & fault::FETCH != 0, error & fault::WRITE != 0) {
            (true, _) => 4,
            (false, true) => 2,
            (false, false) => 1,
        };
        let had = match address & !0xfff {
            STUB | TEXT => Rights::RX.bits(),
            DATA => Rights::RW.bits(),
            _ => 0,
        };
        if vector == vector::PF && had & wanted != 0 {
            prop_assert!(matches!(decision, Decision::Refuse(_)), "{:?}", decision);
        }
    }
}

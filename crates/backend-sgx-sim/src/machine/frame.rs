// SPDX-License-Identifier: Apache-2.0

//! The state of a thread that a signal has stopped, as the kernel lays it out on the signal's stack
//! (`ucontext_t`, and the extended state in the standard format of XSAVE), and as an enclave's frame has it.

use sgx_guest::attributes::xfrm;
use sgx_guest::ssa::Gprs;

/// Bytes of an enclave's extended state: x87, SSE, header, AVX.
pub(crate) const STATE: usize = 832;
/// Where the kernel says what else is in its frame; the enclave's has zeros there.
const SOFTWARE: usize = 464;
const HEADER: usize = 512;
const AVX: usize = 576;
/// Control word of the x87 unit and MXCSR, as a processor starts.
const FCW: [u8; 2] = 0x37f_u16.to_le_bytes();
const MXCSR: [u8; 4] = 0x1f80_u32.to_le_bytes();
const MXCSR_AT: usize = 24;
/// Bits of MXCSR that can be set.
const MXCSR_KNOWN: u32 = 0xffff;
/// Components that an enclave has.
const OWN: u64 = xfrm::X87 | xfrm::SSE | xfrm::AVX;

/// Says that the extended state is there (`FP_XSTATE_MAGIC1`).
const MAGIC: u32 = 0x4650_5853;

/// All that is changed of a thread.
pub(crate) struct Interrupted<'a> {
    pub(crate) registers: Registers<'a>,
    pub(crate) state: State<'a>,
    pub(crate) bases: &'a mut Bases,
    /// Where a thread goes on after an exception that is to be reported.
    pub(crate) handler: u64,
}

/// Bases of FS and GS, which a signal's frame has not.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bases {
    pub(crate) fs: u64,
    pub(crate) gs: u64,
}

impl Interrupted<'_> {
    /// The thread goes on where exceptions are reported, as a kernel has it: number, error code and address in
    /// RDI, RSI and RDX.
    pub(crate) fn report(&mut self, leaf: u32, number: u16, error: u16, address: u64) {
        let registers = &mut self.registers;
        registers.set_rax(leaf.into());
        registers.set(libc::REG_RDI, number.into());
        registers.set(libc::REG_RSI, error.into());
        registers.set(libc::REG_RDX, address);
        registers.set_rip(self.handler);
    }
}

/// General registers.
pub(crate) struct Registers<'a>(pub(crate) &'a mut libc::mcontext_t);

/// In the order of their numbers.
const ORDER: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

macro_rules! accessors {
    ($($get:ident $set:ident $register:ident)*) => {$(
        pub(crate) fn $get(&self) -> u64 {
            self.get(libc::$register)
        }

        #[allow(dead_code, reason = "not all are written")]
        pub(crate) fn $set(&mut self, value: u64) {
            self.set(libc::$register, value);
        }
    )*};
}

impl Registers<'_> {
    pub(crate) fn get(&self, register: i32) -> u64 {
        self.0.gregs[register as usize] as u64
    }

    pub(crate) fn set(&mut self, register: i32, value: u64) {
        self.0.gregs[register as usize] = value as i64;
    }

    accessors! {
        rax set_rax REG_RAX
        rbx set_rbx REG_RBX
        rcx set_rcx REG_RCX
        rdx set_rdx REG_RDX
        rsp set_rsp REG_RSP
        rbp set_rbp REG_RBP
        rip set_rip REG_RIP
        rflags set_rflags REG_EFL
    }

    /// All but what the kernel does not know.
    pub(crate) fn save(&self) -> Gprs {
        Gprs {
            registers: ORDER.map(|register| self.get(register)),
            rflags: self.rflags(),
            rip: self.rip(),
            ..Gprs::default()
        }
    }

    pub(crate) fn load(&mut self, saved: &Gprs) {
        for (register, value) in ORDER.into_iter().zip(saved.registers) {
            self.set(register, value);
        }
        // The kernel takes from these what a program may set.
        self.set_rflags(saved.rflags);
        self.set_rip(saved.rip);
    }

    pub(crate) fn clear(&mut self) {
        for register in ORDER {
            self.set(register, 0);
        }
        // All off but the bit that is always on.
        self.set_rflags(2);
    }
}

/// The extended state.
pub(crate) struct State<'a>(&'a mut [u8; STATE]);

impl<'a> State<'a> {
    /// Of the kernel's frame; none if the kernel does not save it.
    pub(crate) fn new(bytes: &'a mut [u8; STATE]) -> Option<Self> {
        (word::<4>(bytes, SOFTWARE) == MAGIC.to_le_bytes()).then_some(Self(bytes))
    }

    fn components(&self) -> u64 {
        u64::from_le_bytes(word(self.0, HEADER))
    }

    /// As an enclave's frame has it.
    pub(crate) fn save(&self) -> [u8; STATE] {
        let mut saved = *self.0;
        put(&mut saved, SOFTWARE, &[0; HEADER - SOFTWARE]);
        put(&mut saved, HEADER, &[0; AVX - HEADER]);
        put(&mut saved, HEADER, &(self.components() & OWN).to_le_bytes());
        saved
    }

    /// Whether a processor can be brought into a state.
    pub(crate) fn is_possible(&self, saved: &[u8; STATE]) -> bool {
        let components = u64::from_le_bytes(word(saved, HEADER));
        let mxcsr = u32::from_le_bytes(word(saved, MXCSR_AT));
        let rest: [u8; AVX - HEADER - 8] = word(saved, HEADER + 8);
        components & !OWN == 0 && mxcsr & !MXCSR_KNOWN == 0 && rest.iter().all(|byte| *byte == 0)
    }

    /// From an enclave's frame. What the enclave does not have is as a processor starts.
    pub(crate) fn load(&mut self, saved: &[u8; STATE]) {
        put(self.0, 0, &saved[..SOFTWARE]);
        put(self.0, AVX, &saved[AVX..]);
        self.set_components(u64::from_le_bytes(word(saved, HEADER)) & OWN);
    }

    /// As a processor starts.
    pub(crate) fn clear(&mut self) {
        put(self.0, 0, &[0; SOFTWARE]);
        put(self.0, AVX, &[0; STATE - AVX]);
        put(self.0, 0, &FCW);
        put(self.0, MXCSR_AT, &MXCSR);
        put(self.0, MXCSR_AT + 4, &MXCSR_KNOWN.to_le_bytes());
        self.set_components(0);
    }

    fn set_components(&mut self, own: u64) {
        // The rights of keys of pages are the process's and stay.
        let kept = self.components() & xfrm::PKRU;
        put(self.0, HEADER, &(own | kept).to_le_bytes());
    }
}

fn word<const N: usize>(bytes: &[u8; STATE], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn put(bytes: &mut [u8; STATE], at: usize, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at).zip(value) {
        *to = *from;
    }
}

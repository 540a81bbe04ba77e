// SPDX-License-Identifier: Apache-2.0

//! Signals, as far as a program in a Keep meets them: its own exceptions.
//!
//! Nobody outside can send a signal. What remains are the synchronous ones by which a language
//! runtime learns that code it made has trapped: SIGSEGV for a page fault, SIGILL, SIGFPE and so
//! on. They are delivered with the stack frame that Linux builds on x86-64 (`struct rt_sigframe`),
//! since handlers read and change the registers in it.

use keep_layout::PROCESSORS;

use crate::frame::{Exception, Frame};

/// Illegal instruction.
pub const SIGILL: i32 = 4;
/// Breakpoint.
pub const SIGTRAP: i32 = 5;
/// Bad memory access of another kind.
pub const SIGBUS: i32 = 7;
/// Division by zero.
pub const SIGFPE: i32 = 8;
/// Bad memory access.
pub const SIGSEGV: i32 = 11;

const SA_SIGINFO: u64 = 4;
const SA_RESTORER: u64 = 0x0400_0000;
const SA_ONSTACK: u64 = 0x0800_0000;
const SA_NODEFER: u64 = 0x4000_0000;
const SA_RESETHAND: u64 = 0x8000_0000;

/// Highest signal number.
const SIGNALS: usize = 64;

/// Flag of an alternate stack that is not in use.
pub const SS_DISABLE: i32 = 2;
/// Flag of an alternate stack that the program runs on.
pub const SS_ONSTACK: i32 = 1;

/// `struct sigaction` of the kernel's interface.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Action {
    /// 0: default, 1: ignore, else the handler.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// What is blocked while it runs.
    pub mask: u64,
}

/// `stack_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stack {
    /// Lowest address.
    pub sp: u64,
    /// `SS_*`.
    pub flags: i32,
    /// Explicit padding, so that no byte is undefined.
    pub padding: i32,
    /// Size in bytes.
    pub size: u64,
}

/// `struct sigcontext_64`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Context {
    /// In the order of [`registers`].
    registers: [u64; 17],
    rflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    code: u64,
    vector: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// `struct rt_sigframe`, with the FXSAVE image that `fpstate` points to behind it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct SignalFrame {
    restorer: u64,
    flags: u64,
    link: u64,
    stack: Stack,
    context: Context,
    mask: u64,
    info: [u64; 16],
    /// Bytes 0 to 31 of the FXSAVE image: control words, of which MXCSR is the fourth half.
    control: [u64; 4],
    x87: [u128; 8],
    xmm: [u128; 16],
    rest: [u64; 12],
}

/// Bytes that saving the vector registers takes at most: up to the end of the third part of AVX-512
/// in the format of `xsave` (Intel SDM volume 1, §13.5; AMD packs them closer).
pub const VECTOR_AREA: usize = 2688;

/// The upper parts of vector registers, in the format of `xsave`.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy)]
pub struct VectorArea(pub [u8; VECTOR_AREA]);

impl Default for VectorArea {
    fn default() -> Self {
        Self([0; VECTOR_AREA])
    }
}

impl VectorArea {
    /// Clears what a processor would refuse to restore (Intel SDM volume 1, §13.8.1).
    pub fn make_sound(&mut self, states: u32, mxcsr: u32) {
        self.0[24..28].copy_from_slice(&mxcsr.to_le_bytes());
        for (there, may_be) in self.0[512..516].iter_mut().zip(states.to_le_bytes()) {
            *there &= may_be;
        }
        self.0[516..576].fill(0);
    }
}

impl SignalFrame {
    /// Where the upper parts of vector registers are.
    pub fn vectors(&self) -> u64 {
        self.rest[11]
    }

    /// Control and status of the vector unit, with the bits that a processor would refuse cleared.
    pub fn mxcsr(&self) -> u32 {
        self.control[3] as u32 & 0xffff
    }
}

/// Size of what is pushed for a handler in bytes.
pub const FRAME_SIZE: u64 = core::mem::size_of::<SignalFrame>() as u64;

/// The smallest stack that a handler can run on, with some room for itself: `MINSIGSTKSZ`.
pub const STACK_NEEDED: u64 = FRAME_SIZE + VECTOR_AREA as u64 + 1024;

/// Offset of `ucontext` in [`SignalFrame`]: where the stack points after the restorer is popped.
pub const CONTEXT_OFFSET: u64 = core::mem::offset_of!(SignalFrame, flags) as u64;
const INFO_OFFSET: u64 = core::mem::offset_of!(SignalFrame, info) as u64;
const FPSTATE_OFFSET: u64 = core::mem::offset_of!(SignalFrame, control) as u64;

const _: () = {
    assert!(core::mem::size_of::<Action>() == 32);
    assert!(core::mem::size_of::<Stack>() == 24);
    assert!(core::mem::size_of::<Context>() == 256);
    // `uc_mcontext` is 40 bytes into `ucontext`, `uc_sigmask` 296 bytes.
    assert!(core::mem::offset_of!(SignalFrame, context) == 8 + 40);
    assert!(core::mem::offset_of!(SignalFrame, mask) == 8 + 296);
    assert!(FRAME_SIZE.is_multiple_of(16));
};

/// Flags that a handler may change: the arithmetic ones, direction, alignment check.
const RFLAGS_USER: u64 = 0x4_0cd5;
/// The flag that is always set: reserved bit 1.
const RFLAGS_FIXED: u64 = 0x2;

/// The signal state of the program.
#[derive(Debug)]
pub struct Signals {
    actions: [Action; SIGNALS + 1],
    /// Alternate stack and mask of each thread.
    own: [(Stack, u64); PROCESSORS as usize],
    /// The thread that all of this is about.
    current: usize,
}

const NO_STACK: Stack = Stack { sp: 0, flags: SS_DISABLE, padding: 0, size: 0 };

impl Default for Signals {
    fn default() -> Self {
        Self {
            actions: [Action::default(); SIGNALS + 1],
            own: [(NO_STACK, 0); PROCESSORS as usize],
            current: 0,
        }
    }
}

/// Where and how a handler is to be entered.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    /// Address of the [`SignalFrame`]; the caller makes it writable, then calls
    /// [`Signals::build`].
    pub at: u64,
    /// Address of the [`VectorArea`], which the caller writes.
    pub vectors: u64,
    signal: i32,
    action: Action,
}

impl Signals {
    /// The action of a signal, if there is such a signal.
    pub fn action(&self, signal: i32) -> Option<Action> {
        (1..=SIGNALS as i32).contains(&signal).then(|| self.actions[signal as usize])
    }

    /// Changes the action of a signal.
    pub fn set_action(&mut self, signal: i32, action: Action) {
        if (1..=SIGNALS as i32).contains(&signal) {
            self.actions[signal as usize] = action;
        }
    }

    /// From now on this is about the thread with this number.
    pub fn select(&mut self, number: usize) {
        self.current = number;
    }

    /// A thread begins, with what its parent blocks and no stack.
    pub fn begin(&mut self, number: usize, mask: u64) {
        self.own[number] = (NO_STACK, mask);
    }

    /// What is blocked. Kept for the program's eyes only: exceptions are never blocked.
    pub fn mask(&self) -> u64 {
        self.own[self.current].1
    }

    /// Changes what is blocked.
    pub fn set_mask(&mut self, mask: u64) {
        self.own[self.current].1 = mask;
    }

    /// The alternate stack, as a program running on `rsp` sees it.
    pub fn stack(&self, rsp: u64) -> Stack {
        let mut stack = self.own[self.current].0;
        if self.is_on_stack(rsp) {
            stack.flags |= SS_ONSTACK;
        }
        stack
    }

    /// Changes the alternate stack.
    pub fn set_stack(&mut self, stack: Stack) {
        self.own[self.current].0 = stack;
    }

    /// Whether `rsp` lies on the alternate stack.
    pub fn is_on_stack(&self, rsp: u64) -> bool {
        let stack = self.own[self.current].0;
        stack.flags & SS_DISABLE == 0 && rsp > stack.sp && rsp - stack.sp <= stack.size
    }

    /// Plans the delivery of `signal` to a program that runs on stack `rsp`; `None` if the
    /// program has no handler for it.
    pub fn plan(&self, signal: i32, rsp: u64) -> Option<Delivery> {
        let action = self.action(signal)?;
        if action.handler <= 1 || action.flags & SA_RESTORER == 0 {
            return None;
        }
        let stack = self.own[self.current].0;
        let alternate = action.flags & SA_ONSTACK != 0
            && stack.flags & SS_DISABLE == 0
            && !self.is_on_stack(rsp);
        let top = if alternate { stack.sp.checked_add(stack.size)? } else { rsp.checked_sub(128)? };
        let vectors = top.checked_sub(VECTOR_AREA as u64)? & !63;
        // A function finds its stack 8 bytes off a multiple of 16 at its first instruction.
        let at = (vectors.checked_sub(FRAME_SIZE)? & !15).checked_sub(8)?;
        Some(Delivery { at, vectors, signal, action })
    }

    /// Builds what the handler finds on its stack, and lets `frame` go on in the handler.
    pub fn build(
        &mut self,
        delivery: &Delivery,
        exception: &Exception,
        code: i32,
        frame: &mut Frame,
        mxcsr: u32,
    ) -> SignalFrame {
        let Delivery { at, vectors, signal, action } = *delivery;
        let mut rest = [0; 12];
        rest[11] = vectors;
        let mut info = [0; 16];
        info[0] = signal as u64;
        info[1] = u64::from(code as u32);
        info[2] = if exception.vector == 14 { exception.cr2 } else { exception.rip };
        let signal_frame = SignalFrame {
            restorer: action.restorer,
            flags: 0,
            link: 0,
            stack: self.stack(frame.rsp),
            context: Context {
                registers: registers(frame).map(|register| *register),
                rflags: frame.rflags,
                cs: keep_layout::USER_CODE,
                gs: 0,
                fs: 0,
                ss: keep_layout::USER_DATA,
                code: exception.code,
                vector: exception.vector,
                oldmask: self.mask(),
                cr2: exception.cr2,
                fpstate: at + FPSTATE_OFFSET,
                reserved: [0; 8],
            },
            mask: self.mask(),
            info,
            // x87: default control word; MXCSR is at bytes 24 to 27.
            control: [0x37f, 0, 0, u64::from(mxcsr) | 0xffff << 32],
            x87: [0; 8],
            xmm: frame.xmm,
            rest,
        };
        let mask = &mut self.own[self.current].1;
        *mask |= action.mask;
        if action.flags & SA_NODEFER == 0 {
            *mask |= 1 << (signal - 1);
        }
        if action.flags & SA_RESETHAND != 0 {
            self.actions[signal as usize].handler = 0;
        }
        let wants_info = action.flags & SA_SIGINFO != 0;
        frame.rdi = signal as u64;
        frame.rsi = if wants_info { at + INFO_OFFSET } else { 0 };
        frame.rdx = if wants_info { at + CONTEXT_OFFSET } else { 0 };
        frame.rax = 0;
        frame.rip = action.handler;
        frame.rsp = at;
        frame.rflags = RFLAGS_FIXED;
        signal_frame
    }

    /// Takes back what a handler left on its stack.
    pub fn restore(&mut self, saved: &SignalFrame, frame: &mut Frame) {
        self.set_mask(saved.mask);
        let rflags = saved.context.rflags & RFLAGS_USER | RFLAGS_FIXED;
        *frame = Frame { xmm: saved.xmm, rflags, ..Frame::default() };
        for (register, saved) in registers(frame).into_iter().zip(saved.context.registers) {
            *register = saved;
        }
    }
}

/// The registers of a frame in the order in which `struct sigcontext_64` has them.
fn registers(f: &mut Frame) -> [&mut u64; 17] {
    [
        &mut f.r8, &mut f.r9, &mut f.r10, &mut f.r11, &mut f.r12, &mut f.r13, &mut f.r14,
        &mut f.r15, &mut f.rdi, &mut f.rsi, &mut f.rbp, &mut f.rbx, &mut f.rdx, &mut f.rax,
        &mut f.rcx, &mut f.rsp, &mut f.rip,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exception() -> Exception {
        Exception {
            cr2: 0x1234,
            rax: 0,
            vector: 14,
            code: 6,
            rip: 0x1000,
            cs: 0x33,
            rflags: 0x46,
            rsp: 0x9000,
            ss: 0x2b,
        }
    }

    fn handled(flags: u64) -> Signals {
        let mut signals = Signals::default();
        signals.set_action(
            SIGSEGV,
            Action { handler: 0x5000, flags: flags | SA_RESTORER, restorer: 0x6000, mask: 0 },
        );
        signals.set_stack(Stack { sp: 0x10_0000, flags: 0, padding: 0, size: 0x1_0000 });
        signals
    }

    #[test]
    fn a_handler_that_returns_finds_all_as_it_was() {
        let mut signals = handled(SA_SIGINFO | SA_ONSTACK);
        let mut frame =
            Frame { rip: 0x1000, rsp: 0x9000, rflags: 0x46, r15: 99, ..Frame::default() };
        frame.xmm[15] = 7;
        let before = frame.clone();
        let delivery = signals.plan(SIGSEGV, frame.rsp).unwrap();
        assert_eq!(delivery.at % 16, 8);
        assert!(delivery.at > 0x10_0000 && delivery.at < 0x11_0000);
        let saved = signals.build(&delivery, &exception(), 1, &mut frame, 0x1f80);
        assert_eq!((frame.rip, frame.rdi, frame.rsp), (0x5000, 11, delivery.at));
        assert_eq!(saved.info[2], 0x1234);
        assert_ne!(signals.mask(), 0);
        // `REG_R15`, `REG_RSP` and `REG_RIP` of the C library, which is where handlers look.
        let registers = saved.context.registers;
        assert_eq!((registers[7], registers[15], registers[16]), (99, 0x9000, 0x1000));
        signals.restore(&saved, &mut frame);
        assert_eq!(signals.mask(), 0);
        assert_eq!(
            (frame.rip, frame.rsp, frame.rflags, frame.r15, frame.xmm),
            (before.rip, before.rsp, before.rflags, before.r15, before.xmm)
        );
    }

    #[test]
    fn a_handler_cannot_raise_its_flags() {
        let mut signals = handled(0);
        let mut frame = Frame { rsp: 0x9000, ..Frame::default() };
        let delivery = signals.plan(SIGSEGV, frame.rsp).unwrap();
        assert!(delivery.at < 0x9000 - 128);
        let mut saved = signals.build(&delivery, &exception(), 1, &mut frame, 0x1f80);
        saved.context.rflags = u64::MAX;
        signals.restore(&saved, &mut frame);
        assert_eq!(frame.rflags, RFLAGS_USER | RFLAGS_FIXED);
    }

    #[test]
    fn what_a_handler_left_can_be_restored() {
        let mut area = VectorArea([0xff; VECTOR_AREA]);
        area.make_sound(0b1110_0100, 0x1f80);
        assert_eq!(area.0[24..28], [0x80, 0x1f, 0, 0]);
        assert_eq!(area.0[512], 0b1110_0100, "only states that there are");
        assert!(area.0[513..576].iter().all(|byte| *byte == 0));
        assert_eq!(area.0[576], 0xff);
    }

    #[test]
    fn no_handler_no_delivery() {
        assert!(Signals::default().plan(SIGSEGV, 0x9000).is_none());
        assert!(handled(0).plan(SIGSEGV, 64).is_none(), "no room on the stack");
    }
}

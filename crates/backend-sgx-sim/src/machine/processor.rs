// SPDX-License-Identifier: Apache-2.0

//! The processor's part: entries and exits, leaf functions of `ENCLU`, asynchronous exits (SDM, volume 3D, "SGX
//! Instruction References" and "Enclave Exiting Events").
//!
//! All of it works on the state of a thread that a signal has stopped, and one thread at a time: what all logical
//! processors share is [`Processor`], what each has is [`Logical`]. What is rare on hardware is left out:
//! debugging, performance counters, control-flow enforcement, `AEXNOTIFY`. What a process cannot be made to do
//! is listed in the crate's documentation.

use sgx_guest::enclu::{Enclu, ErrorCode};
use sgx_guest::exception::vector;
use sgx_guest::key::KeyRequest;
use sgx_guest::page::{PAGE, PageType, Rights, SecInfo, Tcs};
use sgx_guest::report::TargetInfo;
use sgx_guest::ssa::{ExInfo, ExitInfo, ExitType, GPRS, Gprs, offset};
use sgx_launch::epcm::Refused;
use sgx_launch::{Identity, keys};

use super::frame::{Interrupted, Registers};
use super::memory::{Fault, Memory};
use super::tricks::{Storm, Tricks};
use crate::platform::{CPU_SVN, Platform};

/// Length of `ENCLU`.
const ENCLU: u64 = 3;
/// RFLAGS: carry, parity, auxiliary, zero, sign, overflow.
const ARITHMETIC: u64 = 0x8d5;
const ZERO: u64 = 1 << 6;
const TRAP: u64 = 1 << 8;
/// First address that a user's segment base cannot have.
const CANONICAL: u64 = 1 << 47;

/// A thread of the enclave: its TCS.
#[derive(Debug, Clone, Copy)]
struct Thread {
    tcs: Tcs,
    /// Frames in use.
    cssa: u32,
    /// Where an asynchronous exit goes.
    aep: u64,
    /// Where an exit has to go, and with which stack.
    back: [u64; 3],
}

/// What stopped an enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Nothing that it hears of.
    Interrupt,
    /// An exception without more about it.
    Exception(u8),
    /// One with an address and an error code.
    Fault(Fault),
}

/// A logical processor: a thread of this process.
pub(crate) struct Logical {
    /// The thread of the enclave that is inside: its TCS.
    inside: Option<u64>,
    /// Bases of FS and GS outside.
    bases: (u64, u64),
    storm: Storm,
}

impl Logical {
    pub(crate) const fn new(storm: Storm) -> Self {
        Self { inside: None, bases: (0, 0), storm }
    }

    /// Whether it is in the enclave.
    pub(crate) const fn is_inside(&self) -> bool {
        self.inside.is_some()
    }
}

/// The machine of one Keep, as far as its logical processors share it.
pub(crate) struct Processor {
    pub(crate) memory: Memory,
    pub(crate) tricks: Tricks,
    identity: Identity,
    platform: Platform,
    threads: Vec<(u64, Thread)>,
}

/// Why a leaf function does not happen.
enum Refusal {
    Fault(Fault),
    Code(ErrorCode),
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

const PROTECTION: Refusal = Refusal::Fault(Fault::Protection);

impl Processor {
    /// With an enclave that was initialised, and its threads by their addresses.
    pub(crate) fn new(
        memory: Memory,
        tricks: Tricks,
        identity: Identity,
        platform: Platform,
        threads: &[(u64, Tcs)],
    ) -> Self {
        let thread = |&(at, tcs): &(u64, Tcs)| (at, Thread { tcs, cssa: 0, aep: 0, back: [0; 3] });
        let threads = threads.iter().map(thread).collect();
        Self { memory, tricks, identity, platform, threads }
    }

    /// Whether an address is the enclave's.
    pub(crate) fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.identity.secs.base) < self.identity.secs.size
    }

    fn offset(&self, address: u64) -> u64 {
        address.wrapping_sub(self.identity.secs.base)
    }

    fn thread(&mut self, tcs: u64) -> Option<&mut Thread> {
        self.threads.iter_mut().find(|(at, _)| *at == tcs).map(|(_, thread)| thread)
    }

    /// Where a frame of a thread begins, if all of it is there.
    fn frame(&mut self, tcs: &Tcs, number: u32) -> Result<u64, Fault> {
        let frame = self.identity.secs.frame;
        let at = frame.at(tcs.ssa, number).ok_or(Fault::Protection)?;
        let at = at.wrapping_add(self.identity.secs.base);
        for page in (at..at + frame.size()).step_by(PAGE as usize) {
            self.memory.touch(page, Rights::RW)?;
        }
        Ok(at)
    }

    /// `ENCLU` outside: `EENTER` and `ERESUME`.
    pub(crate) fn enter(&mut self, logical: &mut Logical, at: &mut Interrupted<'_>) {
        let leaf = at.registers.rax() as u32;
        let entered = match Enclu::from_number(leaf) {
            Some(Enclu::Eenter) => self.eenter(logical, at),
            Some(Enclu::Eresume) => self.eresume(logical, at),
            _ => Err(Fault::Protection),
        };
        if let Err(fault) = entered {
            let (number, error, address) = describe(fault);
            at.report(leaf, number, error, address);
        }
    }

    fn eenter(&mut self, logical: &mut Logical, at: &mut Interrupted<'_>) -> Result<(), Fault> {
        let address = at.registers.rbx();
        let tcs_offset = self.offset(address);
        let thread = *self.thread(address).ok_or(Fault::Protection)?;
        if thread.cssa >= thread.tcs.ssa_count {
            return Err(Fault::Protection);
        }
        let frame = self.frame(&thread.tcs, thread.cssa)?;
        self.memory.epcm.enter(tcs_offset).map_err(|refused| fault_of(refused, address))?;
        self.save_outside(at, frame)?;
        let base = self.identity.secs.base;
        let registers = &mut at.registers;
        let back = registers.rip().wrapping_add(ENCLU);
        let aep = registers.rcx();
        let stack = [back, registers.rsp(), registers.rbp()];
        if let Some(thread) = self.thread(address) {
            (thread.aep, thread.back) = (aep, stack);
        }
        self.tricks.registers(registers);
        // An enclave is not run step by step.
        registers.set_rflags(registers.rflags() & !TRAP);
        registers.set_rax(thread.cssa.into());
        registers.set_rcx(back);
        registers.set_rip(base.wrapping_add(thread.tcs.entry));
        logical.bases = (at.bases.fs, at.bases.gs);
        at.bases.fs = base.wrapping_add(thread.tcs.fs);
        at.bases.gs = base.wrapping_add(thread.tcs.gs);
        logical.inside = Some(address);
        logical.storm.entered();
        Ok(())
    }

    /// The stack outside, which is all that an entry writes down.
    fn save_outside(&mut self, at: &Interrupted<'_>, frame: u64) -> Result<(), Fault> {
        let gprs = frame.wrapping_add(self.identity.secs.frame.gprs());
        let (rsp, rbp) = (at.registers.rsp(), at.registers.rbp());
        self.memory.write(gprs + offset::URSP as u64, &rsp.to_le_bytes())?;
        self.memory.write(gprs + offset::URBP as u64, &rbp.to_le_bytes())
    }

    fn eresume(&mut self, logical: &mut Logical, at: &mut Interrupted<'_>) -> Result<(), Fault> {
        let address = at.registers.rbx();
        let tcs_offset = self.offset(address);
        let thread = *self.thread(address).ok_or(Fault::Protection)?;
        let number = thread.cssa.checked_sub(1).ok_or(Fault::Protection)?;
        let frame = self.frame(&thread.tcs, number)?;
        let layout = self.identity.secs.frame;
        let saved = Gprs::from_bytes(&self.memory.read::<GPRS>(frame + layout.gprs())?);
        if saved.fs_base >= CANONICAL || saved.gs_base >= CANONICAL {
            return Err(Fault::Protection);
        }
        let state = self.memory.read(frame)?;
        if !at.state.is_possible(&state) {
            return Err(Fault::Protection);
        }
        self.memory.epcm.enter(tcs_offset).map_err(|refused| fault_of(refused, address))?;
        self.save_outside(at, frame)?;
        let (back, aep) = (at.registers.rip().wrapping_add(ENCLU), at.registers.rcx());
        let stack = [back, at.registers.rsp(), at.registers.rbp()];
        if let Some(thread) = self.thread(address) {
            (thread.aep, thread.back, thread.cssa) = (aep, stack, number);
        }
        logical.bases = (at.bases.fs, at.bases.gs);
        at.registers.load(&saved);
        at.registers.set_rflags(saved.rflags & !TRAP);
        at.state.load(&state);
        (at.bases.fs, at.bases.gs) = (saved.fs_base, saved.gs_base);
        logical.inside = Some(address);
        logical.storm.entered();
        Ok(())
    }

    /// `ENCLU` inside.
    pub(crate) fn leaf(&mut self, logical: &mut Logical, at: &mut Interrupted<'_>) {
        let registers = &mut at.registers;
        let leaf = u32::try_from(registers.rax()).ok().and_then(Enclu::from_number);
        let done = match leaf {
            Some(Enclu::Eexit) => return self.eexit(logical, at),
            Some(Enclu::Ereport) => self.ereport(registers),
            Some(Enclu::Egetkey) => self.egetkey(registers),
            Some(Enclu::Eaccept) => self.eaccept(registers),
            Some(Enclu::Emodpe) => self.emodpe(registers),
            Some(Enclu::Eacceptcopy) => self.eacceptcopy(registers),
            // Also those that are not for the inside, or that this processor does not have.
            _ => Err(PROTECTION),
        };
        // EREPORT and EMODPE answer with nothing.
        let answers = !matches!(leaf, Some(Enclu::Ereport | Enclu::Emodpe));
        let code = match done {
            Ok(()) => 0,
            Err(Refusal::Code(code)) => code.number(),
            Err(Refusal::Fault(fault)) => return self.leave(logical, at, Event::Fault(fault)),
        };
        if answers {
            let zero = if code == 0 { 0 } else { ZERO };
            registers.set_rflags(registers.rflags() & !ARITHMETIC | zero);
            registers.set_rax(code);
        }
        registers.set_rip(registers.rip().wrapping_add(ENCLU));
    }

    fn eexit(&mut self, logical: &mut Logical, at: &mut Interrupted<'_>) {
        let Some(tcs) = logical.inside else { return };
        let Some(thread) = self.thread(tcs).copied() else { return };
        let registers = &mut at.registers;
        // A processor lets an enclave go where it likes, and with which stack: a host that its enclave wants to
        // harm is harmed. Here it is the end of the Keep.
        let [back, rsp, rbp] = thread.back;
        if registers.rbx() != back {
            super::end("it left its enclave for another address than the host's");
        }
        if registers.rsp() != rsp || registers.rbp() != rbp {
            super::end("it left its enclave with another stack than the host's");
        }
        registers.set_rip(back);
        registers.set_rcx(thread.aep);
        self.left(logical, at, tcs);
    }

    /// A thread is outside.
    fn left(&mut self, logical: &mut Logical, at: &mut Interrupted<'_>, tcs: u64) {
        (at.bases.fs, at.bases.gs) = logical.bases;
        let offset = self.offset(tcs);
        self.memory.epcm.leave(offset);
        logical.inside = None;
        logical.storm.left();
    }

    /// An asynchronous exit.
    pub(crate) fn leave(&mut self, logical: &mut Logical, at: &mut Interrupted<'_>, event: Event) {
        let Some(tcs) = logical.inside else { return };
        let Some(thread) = self.thread(tcs).copied() else { return };
        let layout = self.identity.secs.frame;
        let (info, more) = exit_info(event);
        let saved = Gprs {
            exit_info: info.map_or(0, ExitInfo::to_bits),
            fs_base: at.bases.fs,
            gs_base: at.bases.gs,
            ..at.registers.save()
        };
        let [_, rsp, rbp] = thread.back;
        let bytes = Gprs { outer_rsp: rsp, outer_rbp: rbp, ..saved }.to_bytes();
        let state = at.state.save();
        // EENTER has found the frame, and no host can take its pages as long as a thread is inside.
        let written = self.frame(&thread.tcs, thread.cssa).and_then(|frame| {
            self.memory.write(frame, &state)?;
            if let Some(more) = more {
                self.memory.write(frame + layout.exinfo(), &more.to_bytes())?;
            }
            self.memory.write(frame + layout.gprs(), &bytes)
        });
        if written.is_err() {
            super::end("it has no place for its state any more");
        }
        let cssa = thread.cssa + 1;
        if let Some(thread) = self.thread(tcs) {
            thread.cssa = cssa;
        }
        // What is seen from outside: how to resume, and nothing else.
        at.state.clear();
        at.registers.clear();
        at.registers.set_rax(Enclu::Eresume.number().into());
        at.registers.set_rbx(tcs);
        at.registers.set_rcx(thread.aep);
        at.registers.set_rsp(rsp);
        at.registers.set_rbp(rbp);
        at.registers.set_rip(thread.aep);
        self.left(logical, at, tcs);
        let (number, error, address) = match event {
            // A kernel returns from an interrupt to where the thread is resumed at once; one that is hostile
            // has it entered first, if there is a frame for that.
            Event::Interrupt
                if logical.storm.tells_of_interrupt() && cssa < thread.tcs.ssa_count =>
            {
                (32, 0, 0)
            }
            Event::Interrupt => return,
            Event::Exception(number) => (number.into(), 0, 0),
            Event::Fault(fault) => describe(fault),
        };
        at.report(Enclu::Eresume.number(), number, error, address);
    }

    /// An operand of a leaf function: in the enclave, aligned.
    fn operand(&self, address: u64, align: u64) -> Result<u64, Refusal> {
        if self.contains(address) && address.is_multiple_of(align) {
            Ok(address)
        } else {
            Err(PROTECTION)
        }
    }

    fn ereport(&mut self, registers: &mut Registers<'_>) -> Result<(), Refusal> {
        let target = self.operand(registers.rbx(), 512)?;
        let data = self.operand(registers.rcx(), 128)?;
        let output = self.operand(registers.rdx(), 512)?;
        let target = self.memory.read::<{ TargetInfo::SIZE }>(target)?;
        let target = TargetInfo::from_bytes(&target).map_err(|_| PROTECTION)?;
        let data = self.memory.read::<64>(data)?;
        let Self { identity, platform, .. } = self;
        let key_id = platform.key_id;
        let report =
            keys::ereport(identity, CPU_SVN, &target, data, key_id, |on| platform.derive(on));
        Ok(self.memory.write(output, &report.to_bytes())?)
    }

    fn egetkey(&mut self, registers: &mut Registers<'_>) -> Result<(), Refusal> {
        let request = self.operand(registers.rbx(), 512)?;
        let output = self.operand(registers.rcx(), 16)?;
        let request = self.memory.read::<{ KeyRequest::SIZE }>(request)?;
        // Whether the key can be written is known before it is made.
        self.memory.touch(output, Rights::RW)?;
        let dependencies = keys::egetkey(&self.identity, CPU_SVN, &request)
            .map_err(|refused| refusal(refused, output))?;
        Ok(self.memory.write(output, &self.platform.derive(&dependencies))?)
    }

    /// The `SECINFO` of a leaf function, and the page that it is about.
    fn about(&mut self, registers: &Registers<'_>) -> Result<(SecInfo, u64), Refusal> {
        let info = self.operand(registers.rbx(), SecInfo::SIZE as u64)?;
        let page = self.operand(registers.rcx(), PAGE)?;
        let info = SecInfo::from_bytes(&self.memory.read(info)?).map_err(|_| PROTECTION)?;
        Ok((info, page))
    }

    fn eaccept(&mut self, registers: &Registers<'_>) -> Result<(), Refusal> {
        let (info, page) = self.about(registers)?;
        self.memory.resolve(page, Rights::NONE)?;
        if info.page_type == PageType::Tcs {
            // A Keep has the threads that it was launched with.
            return Err(PROTECTION);
        }
        let offset = self.offset(page);
        self.memory.epcm.eaccept(offset, info).map_err(|refused| refusal(refused, page))
    }

    fn emodpe(&mut self, registers: &Registers<'_>) -> Result<(), Refusal> {
        let (info, page) = self.about(registers)?;
        let plain = !info.pending && !info.modified && !info.restricted;
        if !plain || info.page_type != PageType::Reg {
            return Err(PROTECTION);
        }
        let offset = self.offset(page);
        self.memory.epcm.emodpe(offset, info.rights).map_err(|refused| refusal(refused, page))
    }

    fn eacceptcopy(&mut self, registers: &Registers<'_>) -> Result<(), Refusal> {
        let (info, page) = self.about(registers)?;
        let source = self.operand(registers.rdx(), PAGE)?;
        if info != SecInfo::reg(info.rights) {
            return Err(PROTECTION);
        }
        let bytes = self.memory.read::<{ PAGE as usize }>(source)?;
        self.memory.resolve(page, Rights::NONE)?;
        let (to, from) = (self.offset(page), self.offset(source));
        let accepted = self.memory.epcm.eacceptcopy(to, from, info.rights);
        accepted.map_err(|refused| refusal(refused, page))?;
        self.memory.overwrite(page, &bytes);
        Ok(())
    }
}

/// A page fault that the map of pages is the reason of.
fn fault_of(refused: Refused, address: u64) -> Fault {
    use sgx_guest::ssa::fault;
    match refused {
        Refused::PageFault => {
            Fault::Page { address, error: fault::USER | fault::PRESENT | fault::SGX }
        }
        Refused::Protection | Refused::Error(_) => Fault::Protection,
    }
}

fn refusal(refused: Refused, address: u64) -> Refusal {
    match refused {
        Refused::Error(code) => Refusal::Code(code),
        other => Refusal::Fault(fault_of(other, address)),
    }
}

/// Number, error code and address, as the kernel has them: of an address in an enclave it learns the page.
fn describe(fault: Fault) -> (u16, u16, u64) {
    match fault {
        Fault::Page { address, error } => {
            (vector::PF.into(), error as u16, address - address % PAGE)
        }
        Fault::Protection => (vector::GP.into(), 0, 0),
    }
}

/// `EXITINFO` and `EXINFO`.
fn exit_info(event: Event) -> (Option<ExitInfo>, Option<ExInfo>) {
    use vector::{AC, BP, BR, DB, DE, GP, MF, PF, UD, XM};
    match event {
        Event::Interrupt => (None, None),
        Event::Exception(number) => {
            let kind = if number == BP { ExitType::Software } else { ExitType::Hardware };
            let told = [DE, DB, BP, BR, UD, MF, AC, XM].contains(&number);
            (told.then_some(ExitInfo { vector: number, kind }), None)
        }
        Event::Fault(fault) => {
            let (number, more) = match fault {
                Fault::Page { address, error } => (PF, ExInfo { address, error }),
                Fault::Protection => (GP, ExInfo { address: 0, error: 0 }),
            };
            (Some(ExitInfo { vector: number, kind: ExitType::Hardware }), Some(more))
        }
    }
}

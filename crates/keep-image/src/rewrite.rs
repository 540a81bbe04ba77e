// SPDX-License-Identifier: Apache-2.0

//! Turns the program's `syscall` and `cpuid` instructions into calls of the kernel.
//!
//! A `syscall` is two bytes long and a jump takes five, so some neighbours have to move with it:
//! the jump goes to a trampoline behind the program's text that runs the neighbours and calls the
//! kernel.
//!
//! ```text
//! site:        jmp trampoline             trampoline:  neighbours before the syscall
//!              int3 …                                  lea -128(%rsp), %rsp
//! after:       …                                       call syscall_entry
//!                                                      lea 128(%rsp), %rsp
//!                                                      neighbours behind the syscall
//!                                                      jmp after
//! ```
//!
//! The two `lea`s spare the red zone and the flags; like after a `syscall`, `RCX` and `R11` are
//! lost, and nothing else. A neighbour moves only if that changes nothing: no branches, and nobody
//! may jump to it. All addresses that code or data could jump to are collected for that, rather
//! too many than too few: targets of branches, addresses that code computes relative to itself,
//! relocations, and what looks like a jump table wherever code takes the address of one.
//! (Landing pads of exceptions need no look: only the unwinder enters them, so what stands before
//! one is a branch or never returns, and neither moves.)
//!
//! A `cpuid` goes the same way, to another entry of the kernel that keeps all registers but those of
//! the answer: where it traps it is dear, and where the host answers it, it has to be checked.
//!
//! A `syscall` that cannot be rewritten stays, traps, and works all the same; so does each that
//! lies outside of the functions that the program's tables for unwinding name, because there
//! nothing says which bytes are instructions.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use keep_layout::KernelHeader;

use crate::elf::Elf;
use crate::error::BuildError;

/// Trampolines begin at multiples of this.
const ALIGN: u64 = 16;
/// Length of `jmp rel32` and `call rel32`.
const JUMP: u64 = 5;
/// No more neighbours than this move on either side.
const NEIGHBOURS: usize = 4;
/// `rt_sigreturn`, which is left alone: debuggers and unwinders know the very bytes around it.
const SIGRETURN: u64 = 15;

const SKIP_RED_ZONE: [u8; 5] = [0x48, 0x8d, 0x64, 0x24, 0x80];
const UNSKIP_RED_ZONE: [u8; 8] = [0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0];

/// How many `syscall`s were found in a program, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Syscalls {
    /// Those that call the kernel now.
    pub rewritten: u64,
    /// Those that trap.
    pub left: u64,
}

/// What has to change in a program, in the program's own addresses.
#[derive(Debug)]
pub(crate) struct Plan {
    sites: Vec<Site>,
    /// What was found.
    pub(crate) syscalls: Syscalls,
    /// First address of the trampolines.
    pub(crate) start: u64,
    /// End of the trampolines.
    pub(crate) end: u64,
}

/// One stretch of text that is replaced by a jump.
#[derive(Debug)]
struct Site {
    kind: Kind,
    start: u64,
    len: u64,
    trampoline: u64,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// Which instruction calls the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cpuid,
    Syscall,
}

/// A `syscall` or `cpuid` with the instructions around it.
#[derive(Debug)]
struct Found {
    kind: Kind,
    /// The neighbours before it, the instruction, the neighbours behind it.
    window: Vec<Instruction>,
    /// Index of the instruction in the window.
    at: usize,
}

impl Plan {
    /// Finds out what can be rewritten.
    pub(crate) fn new(program: &Elf<'_>) -> Result<Self, BuildError> {
        let text_end = program.segments.iter().filter(|s| !s.writable).map(|s| s.end).max();
        let start = text_end.unwrap_or(0).next_multiple_of(ALIGN);
        let mut plan = Self { sites: Vec::new(), syscalls: Syscalls::default(), start, end: start };

        let Survey { found, unknown, targets } = survey(program)?;
        plan.syscalls.left += unknown;
        for found in found {
            match plan.site(program, &found, &targets) {
                Some(site) => {
                    plan.end = (site.trampoline + site.trampoline_len()).next_multiple_of(ALIGN);
                    plan.syscalls.rewritten += u64::from(found.kind == Kind::Syscall);
                    plan.sites.push(site);
                }
                None => plan.syscalls.left += u64::from(found.kind == Kind::Syscall),
            }
        }
        Ok(plan)
    }

    /// Chooses which neighbours move. Sites are asked for by ascending address, and no neighbour
    /// moves twice.
    fn site(&self, program: &Elf<'_>, found: &Found, targets: &[u64]) -> Option<Site> {
        let Found { kind, window, at } = found;
        let number = at.checked_sub(1).map(|before| &window[before]);
        let is_sigreturn = number.is_some_and(|i| {
            i.mnemonic() == Mnemonic::Mov
                && i.op0_kind() == OpKind::Register
                && i.op0_register().full_register() == Register::RAX
                && i.try_immediate(1).is_ok_and(|number| number == SIGRETURN)
        });
        if is_sigreturn && *kind == Kind::Syscall {
            return None;
        }
        // The fewest neighbours, those behind the syscall first.
        let mut choices: Vec<(usize, usize)> = (0..=*at)
            .flat_map(|before| (0..window.len() - at).map(move |after| (before, after)))
            .collect();
        choices.sort_by_key(|(before, after)| (before + after, *before));
        choices.into_iter().find_map(|(before, after)| {
            let (before, after) = (&window[at - before..*at], &window[at + 1..=at + after]);
            let start = before.first().unwrap_or(&window[*at]).ip();
            let end = after.last().unwrap_or(&window[*at]).next_ip();
            // Where the jump stands instead of the first instruction may be jumped to; what comes
            // behind it, may not.
            let inside = targets.get(targets.partition_point(|target| *target <= start));
            let free = self.sites.last().map_or(0, |last| last.start + last.len);
            if start < free || end - start < JUMP || inside.is_some_and(|target| *target < end) {
                return None;
            }
            let trampoline = self.end;
            let before_bytes = relocate(program, before, trampoline)?;
            let call = trampoline + before_bytes.len() as u64 + SKIP_RED_ZONE.len() as u64;
            let behind = call + JUMP + UNSKIP_RED_ZONE.len() as u64;
            let after_bytes = relocate(program, after, behind)?;
            let site = Site {
                kind: *kind,
                start,
                len: end - start,
                trampoline,
                before: before_bytes,
                after: after_bytes,
            };
            // Both jumps reach.
            i32::try_from(trampoline + site.trampoline_len() - start).ok().map(|_| site)
        })
    }

    /// Gives each changed stretch of text and its new bytes, for a program that is loaded at
    /// `base` and runs on this kernel.
    pub(crate) fn apply(&self, base: u64, kernel: &KernelHeader, mut put: impl FnMut(u64, &[u8])) {
        for site in &self.sites {
            let entry = match site.kind {
                Kind::Cpuid => kernel.cpuid_entry,
                Kind::Syscall => kernel.syscall_entry,
            };
            let start = base.wrapping_add(site.start);
            let trampoline = base.wrapping_add(site.trampoline);
            let mut jump = vec![0xcc; site.len as usize];
            jump[..JUMP as usize].copy_from_slice(&branch(0xe9, start, trampoline));
            put(start, &jump);

            let mut code = site.before.clone();
            code.extend(SKIP_RED_ZONE);
            code.extend(branch(0xe8, trampoline + code.len() as u64, entry));
            code.extend(UNSKIP_RED_ZONE);
            code.extend(&site.after);
            code.extend(branch(0xe9, trampoline + code.len() as u64, start + site.len));
            code.resize(code.len().next_multiple_of(ALIGN as usize), 0xcc);
            put(trampoline, &code);
        }
    }
}

impl Site {
    fn trampoline_len(&self) -> u64 {
        let fixed = SKIP_RED_ZONE.len() + UNSKIP_RED_ZONE.len() + 2 * JUMP as usize;
        (self.before.len() + fixed + self.after.len()) as u64
    }
}

/// A `jmp` or `call` at `from`. All text lies within 2 GiB, so each is within reach.
fn branch(opcode: u8, from: u64, to: u64) -> [u8; JUMP as usize] {
    let [a, b, c, d, ..] = to.wrapping_sub(from + JUMP).to_le_bytes();
    [opcode, a, b, c, d]
}

/// Copies instructions to another address, if they do there what they do here.
fn relocate(program: &Elf<'_>, instructions: &[Instruction], to: u64) -> Option<Vec<u8>> {
    let mut code = Vec::new();
    for instruction in instructions {
        let from = instruction.ip();
        let mut bytes = program.bytes(from..instruction.next_ip())?.to_vec();
        let plain = instruction.flow_control() == FlowControl::Next
            && !matches!(
                instruction.mnemonic(),
                Mnemonic::Endbr64 | Mnemonic::Syscall | Mnemonic::Cpuid
            );
        if !plain {
            return None;
        }
        if instruction.is_ip_rel_memory_operand() {
            let mut decoder = Decoder::with_ip(64, &bytes, from, DecoderOptions::NONE);
            let decoded = decoder.decode();
            let offsets = decoder.get_constant_offsets(&decoded);
            let field = bytes.get_mut(offsets.displacement_offset()..)?.first_chunk_mut::<4>()?;
            let moved = (to + code.len() as u64).wrapping_sub(from) as i64;
            let displacement = i64::from(i32::from_le_bytes(*field)) - moved;
            *field = i32::try_from(displacement).ok()?.to_le_bytes();
        }
        code.extend(bytes);
    }
    Some(code)
}

/// What a look at all code finds.
#[derive(Debug, Default)]
struct Survey {
    /// All `syscall`s and `cpuid`s in functions, ascending.
    found: Vec<Found>,
    /// The number of other byte pairs that look like one.
    unknown: u64,
    /// All addresses that something may jump to, ascending.
    targets: Vec<u64>,
}

fn survey(program: &Elf<'_>) -> Result<Survey, BuildError> {
    let mut survey = Survey::default();
    let relocations = program.relocations()?;
    survey.targets.extend(relocations.iter().map(|(_, to)| *to).filter(|to| program.is_code(*to)));

    let mut tables = Vec::new();
    for section in &program.code {
        let first = program.functions.known.partition_point(|f| f.start < section.start);
        let last = program.functions.known.partition_point(|f| f.end <= section.end).max(first);
        let mut at = section.start;
        for function in &program.functions.known[first..last] {
            survey.code(program, at..function.start, false, &mut tables);
            survey.code(program, function.clone(), true, &mut tables);
            at = function.end;
        }
        survey.code(program, at..section.end, false, &mut tables);
    }

    tables.sort_unstable();
    tables.dedup();
    let ends = tables.iter().skip(1).copied().chain([u64::MAX]);
    for (table, end) in tables.iter().copied().zip(ends) {
        jump_table(program, table, end, &mut survey.targets);
    }
    survey.targets.sort_unstable();
    survey.targets.dedup();
    Ok(survey)
}

impl Survey {
    /// Decodes a function, or what lies between two. Adds the addresses that it computes.
    fn code(&mut self, program: &Elf<'_>, range: Range<u64>, known: bool, tables: &mut Vec<u64>) {
        let start = range.start;
        let Some(bytes) = program.bytes(range) else { return };
        let mut function = Vec::new();
        for instruction in Decoder::with_ip(64, bytes, start, DecoderOptions::NONE).iter() {
            if instruction.is_ip_rel_memory_operand() {
                let address = instruction.ip_rel_memory_address();
                if program.is_code(address) {
                    self.targets.push(address);
                }
                if instruction.mnemonic() == Mnemonic::Lea {
                    tables.push(address);
                }
            }
            if matches!(
                instruction.op0_kind(),
                OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
            ) {
                self.targets.push(instruction.near_branch_target());
            }
            if known {
                function.push(instruction);
            }
        }

        if function.iter().any(Instruction::is_invalid) || !known {
            // Not all of it is code, or not all of it is understood.
            self.unknown += bytes.windows(2).filter(|pair| *pair == [0x0f, 0x05]).count() as u64;
            return;
        }
        for (at, instruction) in function.iter().enumerate() {
            let kind = match instruction.mnemonic() {
                Mnemonic::Syscall => Kind::Syscall,
                Mnemonic::Cpuid => Kind::Cpuid,
                _ => continue,
            };
            let first = at.saturating_sub(NEIGHBOURS);
            let last = (at + NEIGHBOURS + 1).min(function.len());
            let window = function[first..last].to_vec();
            self.found.push(Found { kind, window, at: at - first });
        }
    }
}

/// Reads what may be a table of 32-bit offsets from itself to code, as long as it looks like one
/// and up to where something else begins.
fn jump_table(program: &Elf<'_>, table: u64, end: u64, targets: &mut Vec<u64>) {
    for place in (table..end).step_by(4) {
        let Some(bytes) = place.checked_add(4).and_then(|end| program.bytes(place..end)) else {
            return;
        };
        let offset = bytes.iter().rev().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let target = table.wrapping_add_signed(i64::from(offset as i32));
        if !program.is_code(target) {
            return;
        }
        targets.push(target);
    }
}

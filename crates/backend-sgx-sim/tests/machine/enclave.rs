// SPDX-License-Identifier: Apache-2.0

//! An enclave that does one thing after the other, as it is told through the shared block, and says what came
//! of it: any leaf function with any registers, any access, some instructions that fault, any exit. It has two
//! threads, each of which is told for itself.
//!
//! It trusts its host with everything, which makes it the opposite of a Keep and good for testing the machine.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backend_sgx_sim::{HostMapping, Hostile, Launch, SgxSim, Trick};
use keep_backend::{Backend as _, BackendError, Launched, Program, Spec};
use keep_launch::Report;
use launch_keys::{SgxKey, Sigstruct};
use sallyport::{RawWindow, Window};
use sgx_guest::attributes::Attributes;
use sgx_guest::page::{Rights, SecInfo, Tcs};
use sgx_launch::sign::{self, Terms};
use sgx_launch::{Content, Plan, Region, Secs};

pub(crate) const CODE: u64 = 0x1000_0000;
pub(crate) const DATA: u64 = 0x1480_0000;
/// Added when it is touched.
pub(crate) const AREA: u64 = 0x0100_0000_0000;
pub(crate) const THREAD: u64 = 0x1f00_0000_0000;
const SIZE: u64 = 1 << 45;
pub(crate) const SHARED: u64 = keep_layout::SHARED_VIRT;

/// Bytes of a thread's slot.
pub(crate) const SLOT: u64 = 0x1_0000;
/// Threads that there are.
const THREADS: u64 = 2;

/// Where steps and results of the first thread are in the shared block; those of the others follow.
const SCRIPT: usize = 0x10_0000;
const NEXT_SCRIPT: usize = 0x2_0000;
/// Where bytes that are copied are, from there.
const BYTES: usize = 0x1_0000;

core::arch::global_asm!(
    ".pushsection .rodata.test_enclave, \"a\"",
    ".balign 4096",
    ".global test_enclave",
    ".global test_enclave_end",
    "test_enclave:",
    // CSSA in RAX, exit target in RCX; the stack is the host's.
    "cld",
    "mov r15, fs:[0x38]",
    "test rax, rax",
    "jne 50f",
    "mov fs:[0x10], rsp",
    "mov fs:[0x18], rbp",
    "mov fs:[0x20], rcx",
    "mov rsp, fs:[8]",
    "push 2",
    "popfq",
    // 0: never entered, 1: told what came of a step, 2: in an exit that was a step.
    "mov rax, fs:[0x28]",
    "cmp rax, 1",
    "je 10f",
    "cmp rax, 2",
    "jne 40f",
    "mov [r15 + 0x80], rdi",
    "jmp 40f",
    // A step.
    "10:",
    "mov rax, [r15]",
    "mov rbx, [r15 + 0x10]",
    "mov rcx, [r15 + 0x18]",
    "mov rdx, [r15 + 0x20]",
    "cmp rax, 1",
    "je 11f",
    "cmp rax, 2",
    "je 12f",
    "cmp rax, 3",
    "je 13f",
    "cmp rax, 4",
    "je 14f",
    "cmp rax, 5",
    "je 15f",
    "cmp rax, 6",
    "je 16f",
    "cmp rax, 7",
    "je 17f",
    "cmp rax, 8",
    "je 18f",
    "cmp rax, 9",
    "je 19f",
    "cmp rax, 10",
    "je 20f",
    "cmp rax, 11",
    "je 21f",
    "cmp rax, 12",
    "je 22f",
    "cmp rax, 13",
    "je 23f",
    "cmp rax, 14",
    "je 24f",
    "cmp rax, 15",
    "je 25f",
    "cmp rax, 16",
    "je 26f",
    "cmp rax, 17",
    "je 27f",
    "cmp rax, 18",
    "je 28f",
    "cmp rax, 19",
    "je 29f",
    "cmp rax, 20",
    "je 30f",
    "ud2",
    // A leaf function.
    "11:",
    "mov rax, [r15 + 8]",
    ".byte 0x0f, 0x01, 0xd7",
    "pushfq",
    "pop r14",
    "mov [r15 + 0x80], rax",
    "mov [r15 + 0x88], r14",
    "jmp 40f",
    // A word is read, a word is written.
    "12:",
    "mov rax, [rbx]",
    "mov [r15 + 0x80], rax",
    "jmp 40f",
    "13:",
    "mov [rbx], rcx",
    "jmp 39f",
    // A function is called.
    "14:",
    "call rbx",
    "mov [r15 + 0x80], rax",
    "jmp 40f",
    // Bytes come in, bytes go out.
    "15:",
    "mov rdi, rbx",
    "lea rsi, [r15 + 0x10000]",
    "rep movsb",
    "jmp 39f",
    "16:",
    "mov rsi, rbx",
    "lea rdi, [r15 + 0x10000]",
    "rep movsb",
    "jmp 39f",
    // An exit.
    "17:",
    "mov qword ptr fs:[0x28], 2",
    "mov rdi, rbx",
    "mov rsi, rcx",
    "mov r8, [r15 + 0x28]",
    "jmp 45f",
    // Instructions.
    "18:",
    "xor eax, eax",
    "cpuid",
    "mov [r15 + 0x80], rax",
    "jmp 40f",
    "19:",
    "mov eax, 39",
    "syscall",
    "mov [r15 + 0x80], rax",
    "jmp 40f",
    "20:",
    "int3",
    "jmp 39f",
    "21:",
    "xor edx, edx",
    "mov eax, 1",
    "xor ecx, ecx",
    "div ecx",
    "jmp 39f",
    "22:",
    "push 0x40002",
    "popfq",
    "mov rax, [rsp + 1]",
    "jmp 39f",
    // Goes on for ever.
    "23:",
    "jmp 23b",
    // Leaves to where it likes, or with the stack that it likes.
    "24:",
    "mov rsp, fs:[0x10]",
    "mov rbp, fs:[0x18]",
    "mov eax, 4",
    ".byte 0x0f, 0x01, 0xd7",
    "25:",
    "mov rbx, fs:[0x20]",
    "mov eax, 4",
    ".byte 0x0f, 0x01, 0xd7",
    // Bases of segments: where it is, as it says itself, and GS.
    "26:",
    "mov rax, fs:[0]",
    "mov [r15 + 0x80], rax",
    "rdfsbase rax",
    "mov [r15 + 0x88], rax",
    "rdgsbase rax",
    "mov [r15 + 0x90], rax",
    "jmp 40f",
    // Counts how often state was not what it had been, in RCX rounds.
    "27:",
    "mov r8, 0x111111111111",
    "mov r9, 0x222222222222",
    "mov rbp, 0x333333333333",
    "xor r10d, r10d",
    "mov dword ptr [rsp - 8], 0x5f80",
    "ldmxcsr [rsp - 8]",
    "mov word ptr [rsp - 8], 0x27f",
    "fldcw [rsp - 8]",
    "fld1",
    "vmovq xmm3, r8",
    "vpbroadcastq ymm3, xmm3",
    "vpsllq ymm4, ymm3, 1",
    "wrgsbase r9",
    "60:",
    "mov rax, 0x111111111111",
    "cmp rax, r8",
    "jne 61f",
    "add rax, rax",
    "cmp rax, r9",
    "jne 61f",
    "rdgsbase rdx",
    "cmp rdx, r9",
    "jne 61f",
    "mov rax, 0x333333333333",
    "cmp rax, rbp",
    "jne 61f",
    "vpaddq ymm5, ymm3, ymm3",
    "vpxor ymm5, ymm5, ymm4",
    "vptest ymm5, ymm5",
    "jne 61f",
    "stmxcsr [rsp - 8]",
    "cmp dword ptr [rsp - 8], 0x5f80",
    "jne 61f",
    "fnstcw [rsp - 8]",
    "cmp word ptr [rsp - 8], 0x27f",
    "jne 61f",
    "fst dword ptr [rsp - 8]",
    "cmp dword ptr [rsp - 8], 0x3f800000",
    "jne 61f",
    "62:",
    "dec rcx",
    "jne 60b",
    "fstp st(0)",
    "mov [r15 + 0x80], r10",
    "jmp 40f",
    "61:",
    "inc r10",
    "jmp 62b",
    // Waits until a word is RCX.
    "28:",
    "pause",
    "cmp [rbx], rcx",
    "jne 28b",
    "jmp 39f",
    // Takes turns, RCX times: when a word is RDX it makes it one more, and so on at each second number.
    "29:",
    "pause",
    "cmp [rbx], rdx",
    "jne 29b",
    "inc qword ptr [rbx]",
    "add rdx, 2",
    "dec rcx",
    "jne 29b",
    "jmp 39f",
    // Writes for ever.
    "30:",
    "mov [rbx], rcx",
    "jmp 30b",
    "39:",
    "mov qword ptr [r15 + 0x80], 0",
    "40:",
    "mov qword ptr fs:[0x28], 1",
    "xor edi, edi",
    "45:",
    "mov rsp, fs:[0x10]",
    "mov rbp, fs:[0x18]",
    "mov rbx, fs:[0x20]",
    "mov eax, 4",
    ".byte 0x0f, 0x01, 0xd7",
    "ud2",
    // An exception: what is in the frame goes out, and the thread on to the end of its step.
    "50:",
    "mov rbx, rcx",
    "mov rdx, fs:[0x30]",
    "test dword ptr [rdx + 3912 + 160], 0x80000000",
    "je 51f",
    "lea rsi, [rdx + 3896]",
    "lea rdi, [r15 + 0x100]",
    "mov ecx, 200",
    "rep movsb",
    "mov rax, [rdx]",
    "lea rax, [rip + 52f]",
    "mov [rdx + 3912 + 136], rax",
    "and dword ptr [rdx + 3912 + 160], 0x7fffffff",
    "51:",
    "inc qword ptr [r15 + 0xa0]",
    "mov rdi, [r15 + 0x70]",
    "test rdi, rdi",
    "jne 53f",
    "mov edi, 2",
    "53:",
    "mov eax, 4",
    ".byte 0x0f, 0x01, 0xd7",
    "52:",
    "mov rsp, fs:[8]",
    "mov r15, fs:[0x38]",
    "inc qword ptr [r15 + 0xa8]",
    "jmp 40b",
    "ud2",
    ".balign 4096",
    "test_enclave_end:",
    ".popsection",
);

unsafe extern "C" {
    static test_enclave: [u8; 4096];
    static test_enclave_end: u8;
}

fn code() -> &'static [u8; 4096] {
    // SAFETY: one page of constants, which the assembly above has; the end is asserted.
    unsafe {
        assert_eq!((&raw const test_enclave_end).addr() - (&raw const test_enclave).addr(), 4096);
        &test_enclave
    }
}

/// What the enclave is told.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A leaf function, with RBX, RCX and RDX.
    Leaf(u64, [u64; 3]),
    Load(u64),
    Store(u64, u64),
    Call(u64),
    /// Bytes into the enclave.
    In(u64, Vec<u8>),
    /// Bytes out of the enclave.
    Out(u64, u64),
    /// An exit, with RDI, RSI, RDX and R8.
    Exit([u64; 4]),
    Cpuid,
    Syscall,
    Breakpoint,
    Divide,
    Misaligned,
    Forever,
    /// An exit to another address.
    Astray(u64),
    /// An exit with another stack.
    OwnStack,
    Bases,
    /// Looks at its state so many times.
    State(u64),
    /// The next exception is handled by an exit with this number.
    HandleBy(u64),
    /// Waits until a word has this value.
    Until(u64, u64),
    /// Takes so many turns with another thread, from this value of a word on.
    Turns(u64, u64, u64),
    /// Writes this value again and again.
    Hammer(u64, u64),
}

impl Step {
    pub(crate) fn park(nanoseconds: u64) -> Self {
        Self::Exit([8, nanoseconds, 0, 0])
    }

    pub(crate) fn wake(number: u64) -> Self {
        Self::Exit([9, number, 0, 0])
    }

    pub(crate) fn fatal() -> Self {
        Self::Exit([1, 0, 0, 0])
    }
}

impl Step {
    fn put(&self, window: RawWindow, script: usize) {
        let words = match *self {
            Self::Leaf(leaf, [rbx, rcx, rdx]) => [1, leaf, rbx, rcx, rdx, 0],
            Self::Load(at) => [2, 0, at, 0, 0, 0],
            Self::Store(at, value) => [3, 0, at, value, 0, 0],
            Self::Call(at) => [4, 0, at, 0, 0, 0],
            Self::In(at, ref bytes) => {
                assert!(bytes.len() <= 4096);
                for (n, bytes) in bytes.chunks(8).enumerate() {
                    let mut word = [0; 8];
                    word[..bytes.len()].copy_from_slice(bytes);
                    window.store(script + BYTES + 8 * n, u64::from_le_bytes(word));
                }
                [5, 0, at, bytes.len() as u64, 0, 0]
            }
            Self::Out(at, length) => [6, 0, at, length, 0, 0],
            Self::Exit([rdi, rsi, rdx, r8]) => [7, 0, rdi, rsi, rdx, r8],
            Self::Cpuid => [8, 0, 0, 0, 0, 0],
            Self::Syscall => [9, 0, 0, 0, 0, 0],
            Self::Breakpoint => [10, 0, 0, 0, 0, 0],
            Self::Divide => [11, 0, 0, 0, 0, 0],
            Self::Misaligned => [12, 0, 0, 0, 0, 0],
            Self::Forever => [13, 0, 0, 0, 0, 0],
            Self::Astray(at) => [14, 0, at, 0, 0, 0],
            Self::OwnStack => [15, 0, 0, 0, 0, 0],
            Self::Bases => [16, 0, 0, 0, 0, 0],
            Self::State(rounds) => [17, 0, 0, rounds, 0, 0],
            Self::HandleBy(number) => {
                window.store(script + 0x70, number);
                [12, 0, 0, 0, 0, 0]
            }
            Self::Until(at, value) => [18, 0, at, value, 0, 0],
            Self::Turns(at, count, first) => [19, 0, at, count, first, 0],
            Self::Hammer(at, value) => [20, 0, at, value, 0, 0],
        };
        for (n, word) in words.into_iter().enumerate() {
            window.store(script + 8 * n, word);
        }
        window.store(script + 0xa8, 0);
    }
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Came {
    /// A value: what was read, RAX, RDI; and a second and a third one.
    Value([u64; 3]),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An exception: number, address, error code, RIP in the code.
    Fault { vector: u8, address: u64, error: u32, rip: u64 },
}

impl Came {
    pub(crate) fn value(&self) -> u64 {
        match self {
            Self::Value([value, ..]) => *value,
            other => panic!("{other:?} is no value"),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            other => panic!("{other:?} are no bytes"),
        }
    }

    /// Number, address and error code.
    pub(crate) fn fault(&self) -> (u8, u64, u32) {
        match *self {
            Self::Fault { vector, address, error, .. } => (vector, address, error),
            ref other => panic!("{other:?} is no fault"),
        }
    }
}

fn came(step: &Step, window: RawWindow, script: usize) -> Came {
    let word = |at: usize| window.load(script + at);
    if word(0xa8) != 0 {
        // EXINFO, then GPRSGX.
        let gprs = 0x110;
        let info = word(gprs + 160) as u32;
        assert!(info & 1 << 31 != 0);
        return Came::Fault {
            vector: info as u8,
            address: word(0x100),
            error: word(0x108) as u32,
            rip: word(gprs + 136).wrapping_sub(CODE),
        };
    }
    match step {
        Step::Out(_, length) => {
            let words =
                (0..length.div_ceil(8)).map(|n| window.load(script + BYTES + 8 * n as usize));
            let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
            bytes.truncate(*length as usize);
            Came::Bytes(bytes)
        }
        _ => Came::Value([word(0x80), word(0x88), word(0x90)]),
    }
}

/// The machine that cargo has built for these tests.
pub(crate) fn sim() -> SgxSim {
    SgxSim::new(env!("CARGO_BIN_EXE_sgx-machine"), &[])
}

/// Whether enclaves can be played here; says so if not.
pub(crate) fn can() -> bool {
    let missing: Vec<_> = sim().probe().into_iter().filter(|datum| !datum.pass).collect();
    if !missing.is_empty() {
        println!("skipped: {missing:?}");
    }
    missing.is_empty()
}

pub(crate) fn spec() -> Spec {
    Spec {
        program: Program::Runtime,
        launch: Vec::new(),
        input: tempfile::tempfile().unwrap(),
        output: None,
        stdio: [None, None, None],
        seeds: Vec::new(),
        memory: 64 << 20,
        processors: 1,
        evidence: None,
        events: None,
        network: None,
        signatures: None,
    }
}

/// The key that signs test enclaves.
pub(crate) fn key() -> SgxKey {
    SgxKey::from_pem(include_str!("../../src/signer.pem")).unwrap()
}

/// Pages that a plan borrows: `TCS` and block of each thread.
pub(crate) struct Pages(Vec<([u8; 4096], [u8; 4096])>);

impl Pages {
    pub(crate) fn new() -> Self {
        Self((0..THREADS).map(Self::thread).collect())
    }

    fn thread(number: u64) -> ([u8; 4096], [u8; 4096]) {
        let slot = THREAD + number * SLOT;
        let tcs = Tcs {
            flags: 0,
            ssa: slot + 0x1000,
            ssa_count: 2,
            entry: CODE,
            fs: slot + 0x8000,
            gs: slot,
        };
        let mut block = [0; 4096];
        let script = SHARED + (SCRIPT + NEXT_SCRIPT * number as usize) as u64;
        for (at, word) in
            [(0, slot + 0x8000), (8, slot + 0x8000), (0x30, slot + 0x1000), (0x38, script)]
        {
            block[at..at + 8].copy_from_slice(&u64::to_le_bytes(word));
        }
        (tcs.to_bytes(), block)
    }

    pub(crate) fn plan(&self) -> Plan<'_> {
        let mut plan = Plan::new(Secs::keep(0, SIZE, [0xc0; 64]).unwrap());
        let (rx, rw) = (SecInfo::reg(Rights::RX), SecInfo::reg(Rights::RW));
        plan.push(Region::measured(CODE, rx, Content::Bytes(code()))).unwrap();
        plan.push(Region::measured(DATA, rw, Content::Zeros(0x4000))).unwrap();
        for (number, (thread, block)) in (0..).zip(&self.0) {
            let slot = THREAD + number * SLOT;
            for region in [
                Region::measured(slot, SecInfo::tcs(), Content::Bytes(thread)),
                Region::measured(slot + 0x1000, rw, Content::Zeros(0x2000)),
                Region::measured(slot + 0x4000, rw, Content::Zeros(0x4000)),
                Region::measured(slot + 0x8000, rw, Content::Bytes(block)),
            ] {
                plan.push(region).unwrap();
            }
        }
        plan
    }
}

pub(crate) fn sign(plan: &Plan<'_>) -> Vec<u8> {
    let terms = Terms { date: 0x2026_0101, product: 7, svn: 3, ..Terms::default() };
    key().sign(&sign::describe(plan, &terms).unwrap()).unwrap()
}

pub(crate) fn mappings() -> Vec<HostMapping> {
    let map = |start, end, rights| HostMapping { start, end, rights };
    vec![
        map(CODE, CODE + 0x1000, Rights::RX),
        map(DATA, DATA + 0x4000, Rights::RW),
        map(AREA, AREA + (64 << 20), Rights::RW.or(Rights::RX)),
        map(THREAD, THREAD + THREADS * SLOT, Rights::RW),
    ]
}

/// What the enclave's report says of it.
pub(crate) fn attributes() -> Attributes {
    Attributes { flags: Attributes::KEEP.flags | 1, ..Attributes::KEEP }
}

pub(crate) fn mrsigner(signature: &[u8]) -> [u8; 32] {
    Sigstruct::from_bytes(signature).unwrap().mrsigner()
}

/// Runs steps on a host with these tricks, until the enclave has done them all or ends.
pub(crate) fn run_on(
    sim: &SgxSim,
    tricks: &[Trick],
    steps: Vec<Step>,
) -> (Vec<Came>, Result<Report, BackendError>) {
    let (launched, all) = launch_on(sim, tricks, steps);
    let result = launched.keep.serve();
    let all = std::mem::take(&mut all.lock().unwrap()[0]);
    (all, result)
}

/// What came of the steps of each processor.
type Each = Arc<Mutex<Vec<Vec<Came>>>>;

pub(crate) fn launch_on(sim: &SgxSim, tricks: &[Trick], steps: Vec<Step>) -> (Launched, Each) {
    launch_each(sim, tricks, vec![(THREAD, steps)])
}

/// Launches processors with a thread and steps each. The first one without steps ends the enclave; others park.
pub(crate) fn launch_each(
    sim: &SgxSim,
    tricks: &[Trick],
    processors: Vec<(u64, Vec<Step>)>,
) -> (Launched, Each) {
    let (tcs, steps): (Vec<u64>, Vec<Vec<Step>>) = processors.into_iter().unzip();
    let all = Each::new(Mutex::new(vec![Vec::new(); steps.len()]));
    let results = Arc::clone(&all);
    let mut at = vec![None; steps.len()];
    let threads: Vec<u64> = tcs.iter().map(|tcs| (tcs - THREAD) / SLOT).collect();
    let liar = Box::new(move |window: RawWindow, number: u32| {
        let number = number as usize;
        let steps = &steps[number];
        let script = SCRIPT + threads[number] as usize * NEXT_SCRIPT;
        let next = match at[number] {
            None => 0,
            Some(now) => {
                if let Some(step) = steps.get(now) {
                    results.lock().unwrap()[number].push(came(step, window, script));
                }
                now + 1
            }
        };
        at[number] = Some(next);
        let last = if number == 0 { Step::fatal() } else { Step::park(u64::MAX) };
        steps.get(next).unwrap_or(&last).put(window, script);
    });
    let pages = Pages::new();
    let plan = pages.plan();
    let signature = sign(&plan);
    let launch = Launch { plan, signature, mappings: mappings(), tcs };
    let hostile = Hostile { tricks: tricks.to_vec(), liar: Some(liar) };
    (sim.launch_enclave(launch, spec(), hostile).unwrap(), all)
}

/// Runs steps on an honest host; all of them are done.
pub(crate) fn run(steps: Vec<Step>) -> Vec<Came> {
    run_hostile(&[], steps)
}

pub(crate) fn run_hostile(tricks: &[Trick], steps: Vec<Step>) -> Vec<Came> {
    let count = steps.len();
    let (all, result) = run_on(&sim(), tricks, steps);
    match result {
        Err(BackendError::Keep { cause }) if cause.contains("refused to go on") => {}
        other => panic!("{all:?}, then {other:?}"),
    }
    assert_eq!(all.len(), count, "{all:?}");
    all
}

/// Runs steps of which the last one ends the enclave; what is said of that.
pub(crate) fn broken(tricks: &[Trick], steps: Vec<Step>) -> String {
    let start = Instant::now();
    let count = steps.len();
    let (all, result) = run_on(&sim(), tricks, steps);
    assert!(start.elapsed() < Duration::from_secs(60), "it hangs");
    assert_eq!(all.len() + 1, count, "{all:?}, then {result:?}");
    match result {
        Err(BackendError::Keep { cause }) => cause,
        other => panic!("{other:?}"),
    }
}

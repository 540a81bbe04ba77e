// SPDX-License-Identifier: Apache-2.0

//! What the processor offers to a program, and that nothing is lost of it: not by system calls, not
//! by page faults, not by signals, and not while the host does other things.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

macro_rules! features {
    ($($name:tt)*) => { [$(($name, is_x86_feature_detected!($name))),*] };
}

pub(crate) fn all() {
    let features = features!(
        "aes" "pclmulqdq" "avx" "avx2" "bmi1" "bmi2" "adx" "sha" "fma" "f16c" "avx512f" "avx512bw"
        "avx512dq" "avx512vl" "vaes" "vpclmulqdq" "xsave"
    );
    let found: Vec<_> = features.iter().filter(|f| f.1).map(|f| f.0).collect();
    crate::say(&found.join(" "));
    if is_x86_feature_detected!("avx") {
        // SAFETY: the processor can do it.
        unsafe { survive::<8>(fill_ymm) };
    }
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor can do it.
        unsafe { survive::<32>(fill_zmm) };
    }
    // Nobody has asked for tiles, so they must not be offered to programs in a Keep.
    let tiles = __cpuid_count(7, 0).edx & (1 << 22 | 1 << 24 | 1 << 25) != 0;
    crate::say(if tiles { "tiles" } else { "no tiles" });
}

type Registers<const N: usize> = [[u64; N]; 16];

/// Fills the registers, lets something happen, and looks whether they are as before. Fill, event
/// and look are one piece of assembly, so that the compiler cannot come in between.
unsafe fn survive<const N: usize>(fill: unsafe fn(&Registers<8>, Event) -> Registers<8>) {
    let mut pattern = [[0_u64; 8]; 16];
    for (n, word) in pattern.as_flattened_mut().iter_mut().enumerate() {
        *word = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(n as u64 + 1);
    }
    handler();
    let page = vec![0_u8; 64 << 20];
    for round in 0..200_usize {
        for event in [
            Event::Call,
            Event::Fault(page.as_ptr().wrapping_add(round * 65_536 + 7)),
            Event::Signal,
            Event::Spin,
        ] {
            // SAFETY: the caller says that the processor can do it.
            let after = unsafe { fill(&pattern, event) };
            assert!(after == expected::<N>(&pattern), "{event:?} in round {round}: {after:x?}");
        }
    }
}

fn expected<const N: usize>(pattern: &Registers<8>) -> Registers<8> {
    let mut expected = *pattern;
    if N == 8 {
        // Of 512 bits, the lower half counts.
        expected.iter_mut().for_each(|register| register[4..].fill(0));
    }
    expected
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// A system call that leaves the Keep: polling nothing for no time, and sleeping.
    Call,
    /// A page that is touched for the first time.
    Fault(*const u8),
    /// A signal whose handler uses the same registers.
    Signal,
    /// Long enough for the host to do something else.
    Spin,
}

/// Number, arguments, address to touch, and how long to spin, for the assembly.
impl Event {
    fn plan(self, request: &[u64; 2]) -> (u64, u64, u64) {
        match self {
            // nanosleep
            Self::Call => (35, request.as_ptr() as u64, 1),
            Self::Fault(at) => (at as u64, 0, 2),
            Self::Signal => (0, 0, 3),
            Self::Spin => (0, 300_000, 4),
        }
    }
}

macro_rules! between {
    () => {
        "
        cmp r15d, 1
        je 21f
        cmp r15d, 2
        je 22f
        cmp r15d, 3
        je 23f
        24: dec r14
        jnz 24b
        jmp 29f
        21: mov rax, 230
        mov rdi, 1
        xor esi, esi
        mov rdx, r14
        xor r10d, r10d
        syscall
        jmp 29f
        22: mov rax, r13
        mov byte ptr [rax], 1
        jmp 29f
        23: ud2
        29:
        "
    };
}

unsafe fn fill_ymm(pattern: &Registers<8>, event: Event) -> Registers<8> {
    let request = [0_u64, 1000];
    let (a, b, kind) = event.plan(&request);
    let mut after = [[0_u64; 8]; 16];
    // SAFETY: see `all`; each register is named as changed, and memory is ours.
    unsafe {
        asm!(
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            "vmovdqu ymm\\n, [r12 + 64*\\n]",
            ".endr",
            between!(),
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15",
            "vmovdqu [r8 + 64*\\n], ymm\\n",
            ".endr",
            "vzeroupper",
            in("r12") pattern.as_ptr(), in("r13") a, inout("r14") b => _, in("r15") kind,
            in("r8") after.as_mut_ptr(),
            out("rax") _, out("rdi") _, out("rsi") _, out("rdx") _, out("r10") _, out("rcx") _,
            out("r11") _, out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _,
            out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _,
            out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _, out("ymm14") _,
            out("ymm15") _,
        );
    }
    after
}

/// The upper sixteen registers, which only AVX-512 has, and so all 512 bits.
unsafe fn fill_zmm(pattern: &Registers<8>, event: Event) -> Registers<8> {
    let request = [0_u64, 1000];
    let (a, b, kind) = event.plan(&request);
    let mut after = [[0_u64; 8]; 16];
    // SAFETY: as above.
    unsafe {
        asm!(
            ".irp n,0,1,2,3,4,5,6,7",
            "vmovdqu64 zmm\\n, [r12 + 64*\\n]",
            ".endr",
            ".irp n,16,17,18,19,20,21,22,23",
            "vmovdqu64 zmm\\n, [r12 + 64*(\\n-8)]",
            ".endr",
            "kmovw k3, word ptr [r12]",
            between!(),
            ".irp n,0,1,2,3,4,5,6,7",
            "vmovdqu64 [r8 + 64*\\n], zmm\\n",
            ".endr",
            ".irp n,16,17,18,19,20,21,22,23",
            "vmovdqu64 [r8 + 64*(\\n-8)], zmm\\n",
            ".endr",
            "kmovw eax, k3",
            "cmp ax, word ptr [r12]",
            "je 31f",
            "mov qword ptr [r8], 0",
            "31:",
            "vzeroupper",
            in("r12") pattern.as_ptr(), in("r13") a, inout("r14") b => _, in("r15") kind,
            in("r8") after.as_mut_ptr(),
            out("rax") _, out("rdi") _, out("rsi") _, out("rdx") _, out("r10") _, out("rcx") _,
            out("r11") _, out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _,
            out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _,
            out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _, out("ymm14") _,
            out("ymm15") _,
        );
    }
    after
}

#[repr(C)]
struct Action {
    handler: usize,
    mask: [u64; 16],
    flags: i32,
    restorer: usize,
}

unsafe extern "C" {
    fn sigaction(signal: i32, new: *const Action, old: *mut Action) -> i32;
}

const SIGILL: i32 = 4;
const SA_SIGINFO: i32 = 4;

/// Steps over the instruction, after overwriting the registers.
extern "C" fn on_ill(_: i32, _: *const u8, context: *mut u64) {
    // SAFETY: `uc_mcontext.gregs[REG_RIP]` is 40 + 16 * 8 bytes into the context; `ud2` is two long.
    unsafe {
        *context.add(5 + 16) += 2;
        if is_x86_feature_detected!("avx512f") {
            asm!(
                "vpternlogd zmm0, zmm0, zmm0, 0xff", "vpternlogd zmm3, zmm3, zmm3, 0xff",
                "vpternlogd zmm20, zmm20, zmm20, 0xff", "kxnorw k3, k3, k3", "vzeroupper",
                out("ymm0") _, out("ymm3") _,
            );
        }
        if is_x86_feature_detected!("avx") {
            asm!("vzeroall", out("ymm0") _, out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _,
                out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _, out("ymm9") _,
                out("ymm10") _, out("ymm11") _, out("ymm12") _, out("ymm13") _, out("ymm14") _,
                out("ymm15") _);
        }
    }
}

fn handler() {
    handle(SIGILL, on_ill as *const ());
}

/// Has a signal handled by a function that takes what `SA_SIGINFO` gives.
pub(crate) fn handle(signal: i32, by: *const ()) {
    let action = Action {
        handler: by as usize,
        mask: [0; 16],
        flags: SA_SIGINFO,
        restorer: 0,
    };
    // SAFETY: the action lives, and the handler does what one may.
    assert_eq!(unsafe { sigaction(signal, &action, std::ptr::null_mut()) }, 0);
}

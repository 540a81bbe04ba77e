// SPDX-License-Identifier: Apache-2.0

//! What memory does when its rights come and go, and instructions that nobody has rewritten.

use std::arch::asm;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGE: usize = 4096;
const NONE: i32 = 0;
const READ: i32 = 1;
const WRITE: i32 = 2;
const EXEC: i32 = 4;
const FIXED: i32 = 0x10;
const ANONYMOUS: i32 = 0x22;

unsafe extern "C" {
    fn mmap(at: *mut u8, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> *mut u8;
    fn munmap(at: *mut u8, len: usize) -> i32;
    fn mprotect(at: *mut u8, len: usize, prot: i32) -> i32;
    fn madvise(at: *mut u8, len: usize, advice: i32) -> i32;
    fn memfd_create(name: *const u8, flags: u32) -> i32;
    fn ftruncate(fd: i32, len: i64) -> i32;
    fn write(fd: i32, from: *const u8, len: usize) -> isize;
    fn fcntl(fd: i32, command: i32, argument: i32) -> i32;
}

/// Address and code of the last fault.
static FAULT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Notes what happened, and goes on at the address that the code that faulted has in RDX, with 1 in RCX.
extern "C" fn note(_: i32, info: *const i32, context: *mut u64) {
    // SAFETY: `siginfo_t`: the code is the third word, the address is 16 bytes in. `ucontext_t`: the registers
    // begin 40 bytes in, and RDX, RCX and RIP are the 12th, 14th and 16th.
    unsafe {
        FAULT[0].store(info.cast::<u64>().add(2).read(), Ordering::Relaxed);
        FAULT[1].store(u64::from(info.add(2).read() as u32), Ordering::Relaxed);
        let registers = context.add(5);
        registers.add(14).write(1);
        registers.add(16).write(registers.add(12).read());
    }
}

/// Whether the instruction runs; if not, the code of the fault, which must be at `at`.
macro_rules! attempt {
    ($at:expr, $instruction:literal) => { attempt!($at, "", $instruction, "28:") };
    ($at:expr, $before:literal, $instruction:literal, $behind:literal) => {{
        let at = $at;
        let failed: u64;
        // SAFETY: either it runs, or the handler goes on behind it.
        unsafe {
            asm!("xor ecx, ecx", "lea rdx, [rip + 28f]", $before, $instruction, $behind,
                in("rdi") at, out("rcx") failed, out("rdx") _, out("rax") _, clobber_abi("C"));
        }
        if failed == 0 {
            Ok(())
        } else {
            assert_eq!(FAULT[0].load(Ordering::Relaxed), at as u64, "the address of the fault");
            Err(FAULT[1].load(Ordering::Relaxed))
        }
    }};
}

fn load(at: *mut u8) -> Result<(), u64> {
    attempt!(at, "mov al, [rdi]")
}

pub(crate) fn store(at: *mut u8) -> Result<(), u64> {
    attempt!(at, "mov byte ptr [rdi], 7")
}

fn run(at: *mut u8) -> Result<(), u64> {
    // The return address is pushed before the fault.
    attempt!(at, "mov r8, rsp", "call rdi", "28: mov rsp, r8")
}

/// Nothing is mapped there; the rights do not suffice.
const MAPPED: Result<(), u64> = Err(1);
const RIGHTS: Result<(), u64> = Err(2);

fn map(at: *mut u8, len: usize, prot: i32, flags: i32, fd: i32) -> *mut u8 {
    // SAFETY: at an address that the kernel chooses, or over a mapping of ours that nobody uses.
    let at = unsafe { mmap(at, len, prot, flags, fd, 0) };
    assert_ne!(at as isize, -1, "{}", std::io::Error::last_os_error());
    at
}

fn protect(at: *mut u8, len: usize, prot: i32) -> bool {
    // SAFETY: a mapping of ours that nobody uses.
    unsafe { mprotect(at, len, prot) == 0 }
}

fn byte(at: *mut u8) -> u8 {
    // SAFETY: the caller has just loaded from there.
    unsafe { at.read_volatile() }
}

/// Has faults noted from now on.
pub(crate) fn note_faults() {
    crate::vectors::handle(11, note as *const ());
}

pub(crate) fn all() {
    note_faults();
    rights();
    code();
}

fn rights() {
    // As a linear memory grows.
    let len = 64 << 20;
    let base = map(null_mut(), len, NONE, ANONYMOUS, -1);
    let at = |page: usize| base.wrapping_add(page * PAGE);
    assert_eq!(load(base), RIGHTS);
    for grown in 1..=8 {
        assert!(protect(base, grown * 16 * PAGE, READ | WRITE));
        assert_eq!(store(at(grown * 16 - 1)), Ok(()));
        assert_eq!((load(at(grown * 16)), store(at(grown * 16))), (RIGHTS, RIGHTS));
    }
    // Rights go and come back, and the content stays.
    assert!(protect(at(15), PAGE, READ));
    assert_eq!((load(at(15)), store(at(15)), store(at(14))), (Ok(()), RIGHTS, Ok(())));
    assert!(protect(at(14), 4 * PAGE, NONE));
    assert_eq!((load(at(15)), load(at(17)), load(at(18))), (RIGHTS, RIGHTS, Ok(())));
    assert!(protect(at(0), 32 * PAGE, READ | WRITE));
    assert_eq!((load(at(15)), byte(at(15)), byte(at(14))), (Ok(()), 7, 7));
    assert!(!protect(at(0), PAGE, READ | EXEC), "plain memory never runs");
    assert_eq!(run(at(15)), RIGHTS);
    // What is given up is zero afterwards.
    // SAFETY: the mapping is ours.
    assert_eq!(unsafe { madvise(base, 128 * PAGE, 4) }, 0);
    assert_eq!((load(at(15)), byte(at(15)), byte(at(127))), (Ok(()), 0, 0));
    assert_eq!(store(at(20)), Ok(()));
    // SAFETY: likewise.
    assert_eq!(unsafe { munmap(at(16), 16 * PAGE) }, 0);
    assert_eq!(
        (load(at(20)), store(at(16)), load(at(15)), load(at(32))),
        (MAPPED, MAPPED, Ok(()), Ok(()))
    );
    map(at(16), 16 * PAGE, READ | WRITE, ANONYMOUS | FIXED, -1);
    assert_eq!((load(at(20)), byte(at(20)), store(at(20))), (Ok(()), 0, Ok(())));
    // SAFETY: likewise.
    assert_eq!(unsafe { munmap(base, len) }, 0);
    assert_eq!((load(at(20)), load(at(127))), (MAPPED, MAPPED));
    // Often, as instances come and go.
    for _ in 0..50 {
        let base = map(null_mut(), len, NONE, ANONYMOUS, -1);
        assert!(protect(base, 64 * PAGE, READ | WRITE));
        for page in [0, 1, 63] {
            assert_eq!(
                (load(base.wrapping_add(page * PAGE)), byte(base.wrapping_add(page * PAGE))),
                (Ok(()), 0)
            );
            assert_eq!(store(base.wrapping_add(page * PAGE)), Ok(()));
        }
        // SAFETY: likewise.
        assert_eq!(unsafe { munmap(base, len) }, 0);
    }
}

/// A file in memory with code in it, as an artifact is mapped.
fn code() {
    // `ret`, over and over.
    let file = vec![0xc3_u8; 40 * PAGE + 5];
    // SAFETY: the name is a string of C, and the bytes are ours.
    let fd = unsafe {
        let fd = memfd_create(c"code".as_ptr().cast(), 2);
        assert!(fd >= 0 && ftruncate(fd, file.len() as i64) == 0);
        assert_eq!(write(fd, file.as_ptr(), file.len()), file.len() as isize);
        // F_ADD_SEALS: shrink, grow, write.
        assert_eq!(fcntl(fd, 1033, 2 | 4 | 8), 0);
        fd
    };
    let base = map(null_mut(), file.len(), READ | WRITE, 2, fd);
    let at = |page: usize| base.wrapping_add(page * PAGE);
    assert_eq!((load(at(0)), byte(at(0)), byte(at(40))), (Ok(()), 0xc3, 0xc3));
    assert_eq!(byte(at(40).wrapping_add(5)), 0);
    assert!(protect(base, file.len(), READ));
    assert!(protect(at(1), 39 * PAGE, READ | EXEC));
    assert_eq!(
        (run(at(1)), run(at(39)), store(at(1)), store(at(40))),
        (Ok(()), Ok(()), RIGHTS, RIGHTS)
    );
    // Whoever has written to it has a copy, and that never runs.
    assert!(protect(at(0), PAGE, READ | WRITE));
    assert_eq!((store(at(0)), byte(at(0)), byte(at(1))), (Ok(()), 7, 0xc3));
    assert!(!protect(at(0), PAGE, READ | EXEC));
    let other = map(null_mut(), PAGE, READ, 2, fd);
    assert_eq!((load(other), byte(other)), (Ok(()), 0xc3));
    // SAFETY: the mapping is ours.
    assert_eq!(unsafe { munmap(base, file.len()) }, 0);
    assert_eq!(run(at(1)), MAPPED);
}

/// Instructions that hide in others, where nobody finds them to rewrite.
pub(crate) fn raw() {
    for _ in 0..3 {
        let (id, kept): (u64, u64);
        // SAFETY: getpid; the jump goes into the constant, and the one there behind it.
        unsafe {
            asm!("mov eax, 39", "mov r10, 77", "jmp 28f + 2", "28: .byte 0x49, 0xbb, 0x0f, 0x05, 0xeb, 4, 0, 0, 0, 0",
                "mov r9, r10",
                out("rax") id, out("r9") kept, out("r10") _, out("rcx") _, out("r11") _);
        }
        assert_eq!((id != 0, kept), (true, 77));
        let (highest, name): (u32, u64);
        // SAFETY: `cpuid` changes these registers.
        unsafe {
            asm!("mov r9, rbx", "xor eax, eax", "xor ecx, ecx", "jmp 28f + 2",
                "28: .byte 0x49, 0xbb, 0x0f, 0xa2, 0xeb, 4, 0, 0, 0, 0",
                "xchg r9, rbx",
                out("eax") highest, out("r9") name, out("rcx") _, out("rdx") _, out("r11") _);
        }
        let known = std::arch::x86_64::__cpuid(0);
        assert_eq!((highest, name as u32), (known.eax, known.ebx));
    }
}

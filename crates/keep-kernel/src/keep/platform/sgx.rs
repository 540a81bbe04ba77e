// SPDX-License-Identifier: Apache-2.0

//! SGX: an enclave's way to the host, its pages, its exceptions and its reports.
//!
//! What structures look like and what an exception means is in `sgx-guest`, which pages there are in
//! `keep-mm`; here are the instructions and the order of things. Entry and exit are in `enclave.s`.
//!
//! An exception arrives as an entry on top of what was interrupted. There only as much happens as has
//! to: the interrupted state, which the processor has written into the enclave, is handed to the same
//! code that serves exceptions of a virtual machine, by letting the thread go on there. So a handler runs as
//! ordinary code, may itself be interrupted, and leaves the enclave as it likes. None of this has run on
//! hardware; a stand-in that plays it runs the same image.

use alloc::boxed::Box;
use core::ops::Range;
use core::ptr::addr_of;
use core::sync::atomic::{AtomicBool, Ordering};

use keep_kernel::frame::{Exception, Frame};
use keep_kernel::kernel::CLAIM_MAX;
use keep_layout::enclave::{BLOCK, MMAP_END, SIZE, SLOT, SSA, TARGET_INFO, THREADS};
use keep_layout::processor::{EXCEPTION_STACK, PARDONED, SELF, STUB_STACK};
use keep_layout::{
    KERNEL_DATA, KERNEL_TEXT, PAGE, PARK_FOREVER, PORT_PARK, SHARED_SIZE, SHARED_VIRT, StartInfo,
};
use keep_mm::{Config, Enclave, Prot, Source, Space};
use sallyport::Window;
use sgx_guest::attributes::{Attributes, KEEP_XFRM};
use sgx_guest::enclu::{PAGE_ATTRIBUTES_MISMATCH, leaf};
use sgx_guest::exception::{Decision, Exit, Refusal, View, decide, vector};
use sgx_guest::page::{PageType, Rights, SecInfo};
use sgx_guest::report::{REPORT, TARGET, is_target};
use sgx_guest::ssa::{ExInfo, ExitInfo, offset};
use sgx_guest::{Align64, Align128, Align512, seal, ssa};

use super::own::Own;
use super::processor::{self, Answer};

/// What the host is asked for at an exit, and what it does before it enters again.
#[repr(u64)]
enum Operation {
    /// It looks at the shared block.
    Doorbell = 0,
    /// It ends the Keep.
    Fatal = 1,
    /// It resumes what was interrupted.
    Resume = 2,
    /// It leaves pages these rights (`EMODPR`).
    Restrict = 3,
    /// It marks pages as given up (`EMODT`).
    Trim = 4,
    /// It takes them away (`EREMOVE`).
    Remove = 5,
    /// It writes who shall be able to check a report to [`TARGET_INFO`].
    Target = 7,
    /// It lets the processor sleep for so many nanoseconds, or until somebody wakes it.
    Park = 8,
    /// It lets a processor go on, or start.
    Wake = 9,
}

const _: () = {
    // What `enclave.s` takes for granted. That the enclave begins at 0 it checks itself.
    assert!(THREADS + BLOCK == 0x1f00_0000_8000 && KEEP_XFRM == 7);
};

unsafe extern "C" {
    fn keep_leave(operation: u64, first: u64, second: u64, third: u64) -> u64;
    fn keep_enclu(leaf: u32, rbx: u64, rcx: u64, rdx: u64) -> u64;
    fn keep_enclu_at();
    fn keep_enclu_failed();
    fn keep_exception();
    fn keep_syscall_trap();
    fn keep_cpuid();
    fn keep_cpuid_end();
    static keep_entries_end: u8;
}

static INSIDE: AtomicBool = AtomicBool::new(false);

/// Whether this is an enclave.
pub(super) fn inside() -> bool {
    INSIDE.load(Ordering::Relaxed)
}

/// Called from `enclave.s` at the very start, on the thread's stack: brings in what the image leaves out of
/// the kernel's and the program's data.
#[unsafe(no_mangle)]
extern "C" fn keep_enclave_start(start: *const StartInfo) -> *const StartInfo {
    // SAFETY: the image builder put one there, it is measured, and any words are one.
    let info = unsafe { &*start };
    for page in (info.data_start..info.brk_start).step_by(PAGE as usize) {
        // A page that does not wait to be accepted can only be one of the image's.
        let code = accept(page, SecInfo::added());
        if code != 0 && code != PAGE_ATTRIBUTES_MISMATCH {
            fatal();
        }
    }
    INSIDE.store(true, Ordering::Relaxed);
    start
}

/// Finds out what the enclave may do, and lays down what the program is told of the processor.
pub(super) fn start() {
    let own = report(&Align512([0; TARGET]), &[0; 64]);
    let attributes = own.first_chunk::<64>().map_or([0; 16], |body| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&body[48..]);
        bytes
    });
    if let Err(wrong) = Attributes::from_bytes(attributes).check_keep() {
        panic!("this enclave cannot be a Keep: {wrong}");
    }
    for (leaf, subleaf, answer) in CPUID {
        processor::cpuid_is(*leaf, *subleaf, answer);
    }
}

/// What the program is told of the processor, for the host is not to be believed: what every one has that
/// gives enclaves more pages while they run and AVX (the third generation of Xeon and later), with caches of
/// the first of them. Function 1 first: see `keep_cpuid_withdraw`.
const CPUID: &[(u32, u32, Answer)] = &[
    (1, 0, [0x606a6, 0x800, 0x7ed8_3203, 0x0788_8111]),
    (0, 0, [0xd, 0x756e_6547, 0x6c65_746e, 0x4965_6e69]),
    (2, 0, [0x00fe_ff01, 0xf0, 0, 0]),
    (4, 0, [0x121, 0x02c0_003f, 63, 0]),
    (4, 1, [0x122, 0x01c0_003f, 63, 0]),
    (4, 2, [0x143, 0x04c0_003f, 1023, 0]),
    (4, 3, [0x163, 0x02c0_003f, 32767, 0]),
    // FSGSBASE, BMI1, AVX2, BMI2, ERMS, RDSEED, ADX, SHA.
    (7, 0, [0, 0x200c_0329, 0, 0]),
    (0xd, 0, [KEEP_XFRM as u32, 832, 832, 0]),
    (0xd, 2, [256, 576, 0, 0]),
    (0x8000_0000, 0, [0x8000_0008, 0, 0, 0]),
    (0x8000_0001, 0, [0, 0, 0x121, 0x2810_0800]),
    (0x8000_0007, 0, [0, 0, 0, 0x100]),
    (0x8000_0008, 0, [0x3030, 0, 0, 0]),
];

/// Leaves the enclave, and comes back with the host's answer.
fn leave(operation: Operation, pages: Range<u64>, rights: u64) -> u64 {
    // SAFETY: the function is in `enclave.s` and keeps to the rules of C; the host may change the
    // shared block meanwhile, which no Rust reference points into, and the enclave's pages as far as they
    // were named, which the callers do not touch before they have accepted that.
    unsafe { keep_leave(operation as u64, pages.start, pages.end - pages.start, rights) }
}

/// Rings the doorbell.
pub(super) fn ring() {
    // Whatever the host says to that, what counts is in the shared block.
    leave(Operation::Doorbell, 0..0, 0);
}

/// Where the block of a processor is.
pub(super) fn block(number: usize) -> u64 {
    THREADS + number as u64 * SLOT + BLOCK
}

/// Leaves the enclave for what a virtual machine writes to a port for.
pub(super) fn tell(port: u16, value: u32) {
    let (operation, value) = match (port, value) {
        (PORT_PARK, PARK_FOREVER) => (Operation::Park, u64::MAX),
        (PORT_PARK, micros) => (Operation::Park, u64::from(micros) * 1000),
        _ => (Operation::Wake, value.into()),
    };
    leave(operation, value..value, 0);
}

/// Ends the Keep without another word.
pub(super) fn fatal() -> ! {
    loop {
        leave(Operation::Fatal, 0..0, 0);
    }
}

/// What `keep_enclu` gives for a leaf function that faulted.
const FAULTED: u64 = u64::MAX;

fn enclu(leaf: u32, rbx: u64, rcx: u64, rdx: u64) -> u64 {
    // SAFETY: the function is in `enclave.s` and keeps to the rules of C; the callers name memory of the
    // right size and alignment, and pages that nobody uses yet.
    unsafe { keep_enclu(leaf, rbx, rcx, rdx) }
}

/// A leaf function on a page.
fn on_page(leaf: u32, info: SecInfo, page: u64, from: u64) -> u64 {
    let info = Align64(info.to_bytes());
    enclu(leaf, addr_of!(info) as u64, page, from)
}

fn accept(page: u64, info: SecInfo) -> u64 {
    on_page(leaf::EACCEPT, info, page, 0)
}

/// A report of the processor's on this enclave.
fn report(target: &Align512<[u8; TARGET]>, data: &[u8; 64]) -> [u8; REPORT] {
    let (data, mut out) = (Align128(*data), Align512([0; REPORT]));
    let done = enclu(
        leaf::EREPORT,
        core::ptr::from_ref(target) as u64,
        addr_of!(data) as u64,
        core::ptr::from_mut(&mut out) as u64,
    );
    if done == FAULTED {
        panic!("the processor makes no report");
    }
    out.0
}

/// The report for whom the host names. Naming somebody else gains it nothing: then nobody can check it.
pub(super) fn claim(data: &[u8; 64], into: &mut [u8; CLAIM_MAX]) -> Option<usize> {
    if leave(Operation::Target, 0..0, 0) != 0 {
        return None;
    }
    let mut target = Align512([0; TARGET]);
    crate::window().read(TARGET_INFO as usize, &mut target.0);
    // The processor refuses what is reserved by a fault.
    is_target(&target.0).then_some(())?;
    let report = report(&target, data);
    into[..report.len()].copy_from_slice(&report);
    Some(report.len())
}

/// Two keys of the processor's for this enclave, which are half as long as they should be.
pub(super) fn sealing_key(into: &mut [u8; 32]) {
    let own = report(&Align512([0; TARGET]), &[0; 64]);
    for (number, half) in into.chunks_exact_mut(seal::KEY).enumerate() {
        let request = Align512(seal::request(&own, number as u8));
        let mut key = Align64([0; seal::KEY]);
        let (from, to) = (addr_of!(request) as u64, core::ptr::from_mut(&mut key) as u64);
        match enclu(leaf::EGETKEY, from, to, 0) {
            0 => half.copy_from_slice(&key.0),
            code => panic!("the processor gives no key: error {code}"),
        }
        key.0 = [0; seal::KEY];
        core::hint::black_box(&key);
    }
}

/// The enclave's pages: there is nothing to know of them but what the tables say.
#[derive(Debug)]
pub(super) struct Pages;

/// Bytes of addresses for tables, which are accepted as they are needed: enough for all that an enclave may
/// ever have.
const TABLES_ROOM: u64 = 1 << 30;

/// The memory of a Keep in an enclave.
pub(super) fn memory(start: &StartInfo, mut config: Config) -> Space<dyn keep_mm::Pages> {
    let tables = MMAP_END..MMAP_END + TABLES_ROOM;
    config.mmap.end = MMAP_END;
    config.brk_start = start.brk_start.next_multiple_of(PAGE);
    config.brk_mapped_end = config.brk_start;
    for region in &mut config.image {
        region.range.end = region.range.end.min(config.brk_start);
    }
    (config.root, config.tables) = (tables.start, tables.start + PAGE..tables.end);
    let held = tables.end..THREADS;
    let own = Own { tables_at: tables.start, tables, window: 0, c_bit: 0, platform: Pages };
    Space::new(Box::new(Source::accepted(own, &config, held)), config)
}

fn rights(prot: Prot) -> Rights {
    Rights::from_bits(u64::from(prot.bits()))
}

/// Whether a page was accepted; if not, the host has none.
fn accepted(code: u64, page: u64) -> bool {
    match code {
        0 => true,
        FAULTED => false,
        code => panic!("the host lied about the page at {page:#x}: error {code}"),
    }
}

/// Accepts what the host was asked to do to pages.
fn confirm(pages: Range<u64>, info: SecInfo) {
    for page in pages.step_by(PAGE as usize) {
        if !accepted(accept(page, info), page) {
            panic!("the host took the page at {page:#x}");
        }
    }
}

impl Enclave for Own<Pages> {
    fn accept(&mut self, page: u64) -> bool {
        accepted(accept(page, SecInfo::added()), page)
    }

    fn accept_copy(&mut self, page: u64, from: u64, prot: Prot) -> bool {
        let info = SecInfo::reg(rights(prot));
        accepted(on_page(leaf::EACCEPTCOPY, info, page, from), page)
    }

    fn extend(&mut self, page: u64, prot: Prot) {
        if on_page(leaf::EMODPE, SecInfo::reg(rights(prot)), page, 0) == FAULTED {
            panic!("the host took the page at {page:#x}");
        }
    }

    fn restrict(&mut self, pages: Range<u64>, prot: Prot) {
        leave(Operation::Restrict, pages.clone(), rights(prot).bits());
        confirm(pages, SecInfo::restricted(rights(prot)));
    }

    fn trim(&mut self, pages: Range<u64>) {
        leave(Operation::Trim, pages.clone(), 0);
        confirm(pages.clone(), SecInfo::modified(PageType::Trim));
        // If the host keeps them nevertheless, accepting new ones there will fail.
        leave(Operation::Remove, pages, 0);
    }
}

/// Where the processor has saved what it interrupted, from the thread's block on: in the first frame.
const GPRS: u64 = SSA + PAGE - ssa::GPRS as u64;
/// Where the thread block says that the kernel itself has failed.
const LAST_WORDS: u64 = 64;
const EXINFO: u64 = GPRS - ssa::EXINFO as u64;

/// Called from `enclave.s` on the thread's stack, on top of what was interrupted: tells the host what to do,
/// and the thread where to go on.
#[unsafe(no_mangle)]
extern "C" fn keep_enclave_fault() -> u64 {
    let block = |offset: u64| crate::processors::own(offset).load(Ordering::Relaxed);
    let slot = block(SELF) - BLOCK;
    let word = |at: usize| (slot + GPRS + at as u64) as *mut u64;
    // SAFETY: the first frame belongs to the processor and to this function, which runs while it is
    // complete.
    let read = |at: usize| unsafe { word(at).read_volatile() };
    // SAFETY: likewise; the processor takes the words back when the thread goes on.
    let write = |at: usize, value: u64| unsafe { word(at).write_volatile(value) };

    let (info, rip) = (read(offset::EXITINFO), read(offset::RIP));
    // The upper half is AEXNOTIFY's and nothing's.
    let Ok(Some(exit)) = ExitInfo::from_bits(info as u32) else {
        // An interrupt, or the host called without a reason. Whoever was called goes on.
        return Operation::Resume as u64;
    };
    let at = |function: unsafe extern "C" fn()| function as *const () as u64;
    // One exception is served once.
    write(offset::EXITINFO, 0);
    if rip == at(keep_enclu_at) {
        write(offset::RIP, at(keep_enclu_failed));
        return Operation::Resume as u64;
    }
    // In entries and exits, registers and stacks are in between, and to go on anywhere could not be right.
    // Elsewhere the kernel says what happened, if that does not happen again.
    let last_words = || crate::processors::own(LAST_WORDS).swap(1, Ordering::Relaxed) != 0;
    let in_entry = rip < addr_of!(keep_entries_end) as u64;
    if is_kernel(rip) && (in_entry || last_words()) {
        write(offset::EXITINFO, info);
        return Operation::Fatal as u64;
    }
    let (mut cr2, mut code) = (0, 0);
    if matches!(exit.vector, vector::PF | vector::GP) {
        // SAFETY: as above; the processor writes it for these exceptions.
        let more = ExInfo::from_bytes(unsafe { &*((slot + EXINFO) as *const [u8; ssa::EXINFO]) });
        (cr2, code) = (more.address, u64::from(more.error));
    }
    let exception = Exception {
        cr2,
        rax: read(offset::RAX),
        vector: u64::from(exit.vector),
        code,
        rip,
        cs: 3,
        rflags: read(offset::RFLAGS),
        rsp: read(offset::RSP),
        // Nobody looks at it, but `serve`.
        ss: info & u64::from(u32::MAX),
    };
    // SAFETY: the stack is the stub's, which an enclave does not have, and large enough.
    unsafe { (block(STUB_STACK) as *mut Exception).sub(1).write(exception) };
    write(offset::RIP, at(keep_exception));
    write(offset::RSP, block(EXCEPTION_STACK));
    write(offset::RFLAGS, 2);
    Operation::Resume as u64
}

/// Whether code is the kernel's, and not what the program merely calls.
fn is_kernel(rip: u64) -> bool {
    let of_program = keep_cpuid as *const () as u64..keep_cpuid_end as *const () as u64;
    (KERNEL_TEXT..KERNEL_DATA).contains(&rip) && !of_program.contains(&rip)
}

/// Whether a fault on a page that is there may be nobody's fault: another processor may have accepted it
/// after this one had touched it. That cannot go on for ever.
fn is_pardoned(address: u64) -> bool {
    const OFTEN: u64 = 100;
    let page = address & !(PAGE - 1);
    let last = crate::processors::own(PARDONED);
    let before = last.load(Ordering::Relaxed);
    let next = if before & !(PAGE - 1) == page { before + 1 } else { page + 1 };
    last.store(next, Ordering::Relaxed);
    next & (PAGE - 1) < OFTEN
}

/// What an exception is decided by.
struct Seen<'a> {
    memory: &'a Space<dyn keep_mm::Pages>,
    access: keep_mm::Access,
    text: Range<u64>,
}

impl View for Seen<'_> {
    fn is_inside(&self, address: u64) -> bool {
        address < SIZE
    }

    fn accepted(&self, address: u64) -> Option<Rights> {
        self.memory.accepted(address, self.access).map(rights)
    }

    fn is_shared(&self, address: u64) -> bool {
        (SHARED_VIRT..SHARED_VIRT + SHARED_SIZE).contains(&address)
    }

    fn is_stub(&self, rip: u64) -> bool {
        is_kernel(rip)
    }

    fn code(&self, rip: u64) -> &[u8] {
        // All text is in one piece. Compiled workloads have none of these instructions.
        let len = self.text.end.saturating_sub(rip).min(3);
        if !self.text.contains(&rip) {
            return &[];
        }
        // SAFETY: the program's text is there, and never changes.
        unsafe { core::slice::from_raw_parts(rip as *const u8, len as usize) }
    }
}

/// Serves what only an enclave has to; whether that was it. Ends the Keep if the host is at fault.
pub(super) fn serve(exception: &Exception, frame: &mut Frame) -> bool {
    let kernel = crate::kernel();
    // The other may have ended by now.
    let alone = kernel.threads.stacks == 0;
    let access = keep_kernel::kernel::access(exception.code);
    let text = kernel.start.text_start..kernel.start.text_end;
    let Ok(Some(info)) = ExitInfo::from_bits(exception.ss as u32) else { return false };
    let more = ExInfo { address: exception.cr2, error: exception.code as u32 };
    let exit = Exit { info, more, rip: exception.rip };
    match decide(&exit, &Seen { memory: &kernel.space, access, text }) {
        Decision::Cpuid => processor::serve_cpuid(frame),
        // As the instruction would, which has two bytes: the way that a trap takes goes on from there.
        Decision::Syscall => {
            (frame.rcx, frame.r11) = (frame.rip + 2, frame.rflags);
            frame.rip = keep_syscall_trap as *const () as u64;
        }
        Decision::Refuse(Refusal::PageTaken(page)) if !alone && is_pardoned(page) => {}
        Decision::Refuse(why) => {
            panic!("no honest host lets that happen: {why:x?} at {:#x}", exception.rip)
        }
        Decision::Usual => return false,
    }
    true
}

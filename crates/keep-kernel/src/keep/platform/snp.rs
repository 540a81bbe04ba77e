// SPDX-License-Identifier: Apache-2.0

//! SEV-SNP: the ways to hypervisor and firmware, and memory that the processor knows to be the
//! Keep's.
//!
//! What is said and checked is in `snp-guest`; here are the instructions, of which ring 0 executes
//! those that it alone may (see `stub.s`), and the order in which a Keep gets itself into a state where
//! it can speak. None of this has run on hardware; a stand-in that plays it runs the same image.

use core::cell::UnsafeCell;
use core::ops::Range;

use keep_kernel::frame::{Exception, Frame};
use keep_kernel::kernel::CLAIM_MAX;
use keep_layout::snp::{CPUID_PHYS, GHCB_PHYS, MESSAGES_PHYS, SECRETS_PHYS};
use keep_layout::{DIRECT_VIRT, PAGE, SHARED_PHYS, TABLES_PHYS, TABLES_VIRT};
use sallyport::RawWindow;
use snp_guest::cpuid::{CpuidError, Entry, Table};
use snp_guest::firmware::ask;
use snp_guest::ghcb::Ghcb;
use snp_guest::message::{Channel, Kind};
use snp_guest::msr::{Terminate, negotiate, register};
use snp_guest::pages::{Pages, Pvalidate};
use snp_guest::request::{ReportRequest, SEALING_REQUEST, take_derived};
use snp_guest::secrets::take_key;

use super::processor;

/// A Keep under SEV-SNP.
pub(crate) struct Snp {
    pages: Pages,
    channel: Option<Channel>,
}

struct Place(UnsafeCell<Option<Snp>>);

// SAFETY: what is in here is used by the platform's functions alone, which do not call each other while
// they use it, and in the kernel, where one processor is at a time.
unsafe impl Sync for Place {}

static SNP: Place = Place(UnsafeCell::new(None));

/// The way to hypervisor and firmware, if this is a Keep under SEV-SNP.
pub(crate) fn get() -> Option<&'static mut Snp> {
    // SAFETY: see `Place`; references never outlive the platform's function that asked.
    unsafe { (*SNP.0.get()).as_mut() }
}

/// Makes the way to the hypervisor, then the one to the firmware. `c_bit` is the mask of the image's
/// page tables, and the image ends at `image_end`.
pub(crate) fn start(c_bit: u64, image_end: u64) {
    if let Err(why) = negotiate(c_bit, exit).and_then(|()| register(ghcb_at(), exit)) {
        terminate(why);
    }
    // From here on the host can be told what is wrong.
    let snp = Snp { pages: Pages::new(image_end), channel: None };
    // SAFETY: nobody else has a reference yet.
    let snp = unsafe { (*SNP.0.get()).insert(snp) };
    // SAFETY: the launch put that page there, the page tables show it, and nobody writes to it.
    let page = unsafe { &*window_of_tables(CPUID_PHYS).cast_const() };
    if let Err(lie) = believe(page, c_bit) {
        panic!("the host lied about the processor: {lie}");
    }
    // SAFETY: likewise, and nobody else reads it.
    match take_key(unsafe { &mut *window_of_tables(SECRETS_PHYS) }) {
        Ok(key) => snp.channel = Some(Channel::new(key)),
        Err(wrong) => panic!("the firmware's secrets: {wrong}"),
    }
}

/// A page that lies behind the page tables.
fn window_of_tables(phys: u64) -> *mut [u8; PAGE as usize] {
    (TABLES_VIRT + phys - TABLES_PHYS) as *mut [u8; PAGE as usize]
}

/// Makes a further processor ready.
pub(super) fn start_next() {
    if let Err(why) = register(ghcb_at(), exit) {
        terminate(why);
    }
}

/// Where this processor's GHCB is.
fn ghcb_at() -> u64 {
    GHCB_PHYS + crate::processors::number() as u64 * PAGE
}

/// This processor's GHCB.
fn ghcb() -> Ghcb<RawWindow> {
    Ghcb { block: crate::window(), start: SHARED_PHYS, at: (ghcb_at() - SHARED_PHYS) as usize }
}

/// Writes to one of the Keep's ports.
pub(super) fn tell(port: u16, value: u32) {
    if let Err(lie) = ghcb().out(port, value, call) {
        panic!("the host lied about a port: {lie}");
    }
}

/// Lays down what the program is told of the processor: what the firmware has checked.
fn believe(page: &[u8; PAGE as usize], c_bit: u64) -> Result<(), CpuidError> {
    let table = Table::new(page)?;
    table.check(c_bit)?;
    // Function 1 first: see `keep_cpuid_withdraw`.
    let first = |entry: &Entry| (entry.function, entry.index) == (1, 0);
    let others = table.entries().filter(|entry| !first(entry));
    for entry in table.entries().filter(first).chain(others) {
        processor::cpuid_is(entry.function, entry.index, &entry.told());
    }
    Ok(())
}

impl Snp {
    /// Makes memory the Keep's own.
    pub(super) fn acquire(&mut self, range: Range<u64>) {
        let validate = |phys, large| pvalidate(DIRECT_VIRT + phys, large);
        if let Err(lie) = self.pages.acquire(range, &ghcb(), call, validate) {
            panic!("the host lied about memory: {lie}");
        }
    }

    /// A report of the firmware's on this Keep.
    pub(super) fn report(&mut self, data: &[u8; 64], into: &mut [u8; CLAIM_MAX]) -> Option<usize> {
        let request = ReportRequest { report_data: *data, vmpl: 0 };
        let mut page = [0; PAGE as usize];
        match request.read(self.ask(Kind::ReportRequest, &request.to_bytes(), &mut page)?) {
            Ok(report) => *into = *report,
            Err(wrong) => panic!("the firmware's report: {wrong}"),
        }
        Some(into.len())
    }

    /// A key that the firmware derives from the chip's, the launch measurement and the policy. The chip's
    /// is the VCEK, which is made for a version of the firmware: so `TCB_VERSION` need not be mixed in,
    /// and an update makes it another key. `GUEST_SVN` says what a signer likes.
    pub(super) fn sealing_key(&mut self, into: &mut [u8; 32]) -> Option<()> {
        let mut page = [0; PAGE as usize];
        match take_derived(self.ask(Kind::KeyRequest, SEALING_REQUEST, &mut page)?) {
            Ok(key) => *into = *key,
            Err(wrong) => panic!("the firmware's key: {wrong}"),
        }
        Some(())
    }

    /// Asks the firmware; gives its answer.
    fn ask<'a>(
        &mut self,
        kind: Kind,
        payload: &[u8],
        page: &'a mut [u8; PAGE as usize],
    ) -> Option<&'a mut [u8]> {
        let messages = (MESSAGES_PHYS - SHARED_PHYS) as usize;
        match ask(self.channel.as_mut()?, (kind, payload), page, &ghcb(), messages, call) {
            Ok(answer) => Some(answer),
            Err(wrong) => panic!("the way to the firmware: {wrong}"),
        }
    }
}

/// Serves `#VC` (vector 29), by which the processor says that an instruction would leave the Keep;
/// whether it was one that a program may use.
pub(super) fn serve(exception: &Exception, frame: &mut Frame) -> bool {
    const VC: u64 = 29;
    const CPUID: u64 = 0x72;
    let asks = (exception.vector, exception.code) == (VC, CPUID);
    if asks {
        processor::serve_cpuid(frame);
    }
    asks
}

/// Asks for the Keep's end, and waits for it.
pub(super) fn terminate(why: Terminate) -> ! {
    loop {
        exit(why.word());
    }
}

unsafe extern "C" {
    fn keep_vmgexit(msr: u64);
    fn keep_ghcb_msr() -> u64;
    fn keep_pvalidate(address: u64, large: u32, validate: u32) -> u64;
}

/// Leaves the Keep with a word in the GHCB's register, and comes back with another.
fn exit(word: u64) -> u64 {
    // SAFETY: the functions are in `entry.s` and keep to the rules of C; the host may change the
    // shared block meanwhile, which no Rust reference points into.
    unsafe {
        keep_vmgexit(word);
        keep_ghcb_msr()
    }
}

/// Leaves the Keep with what is in the GHCB.
fn call() {
    // SAFETY: as above.
    unsafe { keep_vmgexit(ghcb_at()) }
}

/// Has the processor validate a page.
fn pvalidate(address: u64, large: bool) -> Pvalidate {
    // SAFETY: as above; what the instruction changes is whether the page may be touched, and the
    // caller touches it only if it may.
    let done = unsafe { keep_pvalidate(address, u32::from(large), 1) };
    Pvalidate { code: done as u32, unchanged: done >> 32 != 0 }
}

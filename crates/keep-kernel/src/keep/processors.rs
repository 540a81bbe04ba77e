// SPDX-License-Identifier: Apache-2.0

//! The processors of a Keep: which of them is in the kernel, which wait to get in, which sleep.
//!
//! The kernel is entered by one processor at a time, in the order in which they came. One that
//! sleeps leaves it first. One that waits for the host does not, because there is one way to
//! the host; so it says that it waits ([`Processors::waits`]), and who wants the kernel wakes it.
//!
//! In virtual machines each processor remembers where memory was. Whoever changes that makes the others
//! forget: those that use the program's memory at that moment are interrupted, and it goes on when
//! each has said so; all others (`OUTSIDE`) look for themselves before they use it again.
//! The host carries the interrupts, so it can delay all of this, and nothing else.

use core::hint::spin_loop;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst, fence};

use keep_kernel::kernel::Processors;
use keep_kernel::threads::STACKS;
use keep_layout::processor as at;
use keep_layout::{PARK_FOREVER, PORT_INTERRUPT, PORT_PARK, PORT_WAKE};

use crate::platform::{self, Keep};

/// How much of [`STACKS`] is for exceptions.
const EXCEPTIONS: u64 = 32 << 10;
/// How often to look for what another processor does before the host is given the time to let it.
const PATIENCE: u32 = 4096;
/// How much time that is, in microseconds.
const PAUSE: u32 = 10;

/// Who is in the kernel and who comes next, as numbers that are drawn at the door.
static SERVING: AtomicU32 = AtomicU32::new(0);
static DRAWN: AtomicU32 = AtomicU32::new(0);
/// Who is in the kernel and waits for the host: its number and 1, or 0.
static WAITS: AtomicU32 = AtomicU32::new(0);
/// Who is in the kernel, likewise.
static OWNER: AtomicU32 = AtomicU32::new(0);
/// How many processors have been started.
static STARTED: AtomicU32 = AtomicU32::new(1);
/// How often memory was changed so that all must forget where it was.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// A word of a processor's block.
fn word(number: usize, offset: u64) -> &'static AtomicU64 {
    // SAFETY: each processor has a block, in memory that is there for good; all its words are used
    // by such references, by assembly, and by nobody else.
    unsafe { &*((platform::block(number) + offset) as *const AtomicU64) }
}

/// A word of this processor's block.
pub(crate) fn own(offset: u64) -> &'static AtomicU64 {
    let block: u64;
    // SAFETY: GS points to the block, whose first word is its address.
    unsafe { core::arch::asm!("mov {}, gs:[0]", out(reg) block, options(nostack, readonly)) };
    // SAFETY: as in `word`.
    unsafe { &*((block + offset) as *const AtomicU64) }
}

/// The number of this processor.
pub(crate) fn number() -> usize {
    own(at::NUMBER).load(SeqCst) as usize
}

/// Waits until nobody else is in the kernel.
pub(crate) fn enter() {
    let me = number() as u32;
    own(at::OUTSIDE).store(1, SeqCst);
    let mine = DRAWN.fetch_add(1, SeqCst);
    let mut woken = None;
    let mut patience = PATIENCE;
    loop {
        let serving = SERVING.load(SeqCst);
        if serving == mine {
            break;
        }
        let waits = WAITS.load(SeqCst);
        if waits != 0 && woken != Some(serving) {
            woken = Some(serving);
            wake(waits as usize - 1);
        }
        patience -= 1;
        if patience == 0 {
            // Whoever is woken meanwhile looks for the reason when it is in.
            platform::tell(PORT_PARK, PAUSE);
            patience = PATIENCE;
        }
        spin_loop();
    }
    OWNER.store(me + 1, SeqCst);
    own(at::OUTSIDE).store(0, SeqCst);
    let changes = CHANGES.load(SeqCst);
    let seen = own(at::SEEN).swap(changes, SeqCst);
    if seen != changes && own(at::FLUSHED).load(SeqCst) != changes {
        platform::forget();
    }
}

/// Lets the next one in.
pub(crate) fn leave() {
    OWNER.store(0, SeqCst);
    SERVING.fetch_add(1, SeqCst);
}

/// Whether this processor is in the kernel.
pub(crate) fn is_owner() -> bool {
    OWNER.load(SeqCst) as usize == number() + 1
}

/// Leaves the kernel, sleeps for so many nanoseconds or until somebody wakes it, and comes back.
pub(crate) fn park(nanoseconds: u64) {
    own(at::OUTSIDE).store(1, SeqCst);
    leave();
    if nanoseconds > 0 {
        let micros = nanoseconds.div_ceil(1000).min(PARK_FOREVER.into());
        platform::tell(PORT_PARK, micros as u32);
    }
    enter();
}

/// Lets a processor go on.
pub(crate) fn wake(number: usize) {
    platform::tell(PORT_WAKE, number as u32);
}

impl Processors for Keep {
    fn processor() -> usize {
        number()
    }

    fn wake(number: usize) {
        wake(number);
    }

    fn is_wanted() -> bool {
        DRAWN.load(SeqCst).wrapping_sub(SERVING.load(SeqCst)) > 1
    }

    fn waits(begins: bool) {
        WAITS.store(if begins { number() as u32 + 1 } else { 0 }, SeqCst);
    }

    fn start(number: usize, stacks: u64) {
        if word(number, at::KERNEL_STACK).load(SeqCst) == 0 {
            let stub = own(at::STUB_STACK).load(SeqCst);
            let between = (number as u64).wrapping_sub(self::number() as u64);
            let stub = stub.wrapping_add(between.wrapping_mul(at::STUB_STACK_SIZE));
            word(number, at::OUTSIDE).store(1, SeqCst);
            word(number, at::BUSY).store(1, SeqCst);
            word(number, at::STUB_STACK).store(stub, SeqCst);
            word(number, at::EXCEPTION_STACK).store(stacks + EXCEPTIONS, SeqCst);
            STARTED.fetch_max(number as u32 + 1, SeqCst);
            word(number, at::KERNEL_STACK).store(stacks + STACKS, SeqCst);
        }
        wake(number);
    }
}

/// Makes all processors of a virtual machine forget where memory was. This one has.
pub(crate) fn forget() {
    let others = STARTED.load(SeqCst) as usize;
    if others == 1 {
        return;
    }
    let change = CHANGES.fetch_add(1, SeqCst) + 1;
    own(at::SEEN).store(change, SeqCst);
    fence(SeqCst);
    for other in (0..others).filter(|other| *other != number()) {
        word(other, at::WANTED).store(change, SeqCst);
        let mut patience = 1;
        while word(other, at::OUTSIDE).load(SeqCst) == 0
            && word(other, at::FLUSHED).load(SeqCst) != change
        {
            patience -= 1;
            if patience == 0 {
                platform::tell(PORT_INTERRUPT, other as u32);
                patience = PATIENCE;
            }
            spin_loop();
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! The kernel as one value: what it holds, and how a call and an exception reach it.
//!
//! There is one kernel, entered by one system call or one exception at a time, whichever processor
//! they come from. Nothing in here faults: user memory is made present before it is touched, and what
//! cannot be answered ends the Keep with a message instead of going on.

use core::fmt::{self, Write as _};
use core::marker::PhantomData;

use keep_fs::{Fs, Timespec};
use keep_layout::StartInfo;
use keep_mm::{Access, Denial, Fault, Object, Pages, Space};
use sallyport::{BootInfo, ClockId, Doorbell, ExitKind, Lie, Port, Window};

use crate::clock::Clock;
use crate::files::Files;
use crate::frame::{Exception, Frame};
use crate::net::Net;
use crate::signal::{self, SignalFrame, Signals, VectorArea};
use crate::threads::{BLOCKED, Threads};
use crate::user::UserMemory;

/// The heap is topped up when it holds less than this many bytes at the start of a call; no call
/// allocates more beyond file content, which is provided for apart.
const HEAP_RESERVE: usize = 512 << 10;

/// The most that a platform says of itself, in bytes: a report of SEV-SNP.
pub const CLAIM_MAX: usize = 1184;

/// Instructions without a name in Rust.
pub trait Instructions {
    /// The time stamp counter.
    fn tsc() -> u64;
    /// 64 random bits from the processor; `None` if it has none to give.
    fn random() -> Option<u64>;
    /// Sets the FS base, where the program's thread-local storage hangs.
    fn set_thread_pointer(address: u64);
    /// Control and status of the vector unit.
    fn mxcsr() -> u32;
    /// Sets what [`Instructions::mxcsr`] says.
    fn set_mxcsr(to: u32);
    /// The states of vector registers that a signal handler could change and the kernel never does;
    /// 0 if there are none.
    fn vectors() -> u32;
    /// Saves these states.
    fn save_vectors(area: &mut VectorArea, states: u32);
    /// Restores these states. The header of the area is sound.
    fn restore_vectors(area: &VectorArea, states: u32);
}

/// The processors of a Keep.
pub trait Processors {
    /// The number of the processor that this runs on.
    fn processor() -> usize;
    /// Lets a processor go on, if it sleeps or when it next does.
    fn wake(number: usize);
    /// The same for one that may not have been started yet, and then is. Its stacks are these
    /// [`STACKS`](crate::threads::STACKS) bytes.
    fn start(number: usize, stacks: u64);
    /// Whether another processor waits for the kernel.
    fn is_wanted() -> bool;
    /// Says that the processor is about to wait for the host with the kernel in hand, or has come
    /// back: who wants the kernel then wakes it.
    fn waits(begins: bool);
}

/// What only the platform can do.
pub trait Platform: Instructions + Processors {
    /// The block shared with the host.
    type Window: Window;
    /// The way to call the host.
    type Doorbell: Doorbell;

    /// Whether memory that the host has just given is zero without the kernel clearing it. Where
    /// the host can write to the Keep's memory anyway there is nothing to gain by clearing.
    fn fresh_is_zero() -> bool;
    /// What the platform says of this Keep and of these report data: bytes for the host, which makes
    /// evidence of them. A platform that cannot speak says the report data themselves; `None` if it
    /// should be able to, and is not.
    fn claim(report_data: &[u8; 64], into: &mut [u8; CLAIM_MAX]) -> Option<usize>;
    /// A key that only this platform can give, and only to this very image; `None` if it has none that
    /// would be a secret.
    fn sealing_key(into: &mut [u8; 32]) -> Option<()>;

    /// Lends the one port to the host. Not to be called by `use_it` again.
    fn with_port<R>(use_it: impl FnOnce(&mut Port<Self::Window, Self::Doorbell>) -> R) -> R;
    /// Bytes that the kernel's heap has left.
    fn heap_available() -> usize;
    /// Gives the kernel's heap a chunk of memory at this address.
    fn heap_add(address: u64, len: u64);
}

/// The kernel.
#[derive(Debug)]
pub struct Kernel<P: Platform> {
    /// Where it runs.
    pub platform: PhantomData<P>,
    /// What the image builder placed where.
    pub start: StartInfo,
    /// What the host said at the start, checked.
    pub boot: BootInfo,
    /// The address space.
    pub space: Space<dyn Pages>,
    /// The file system.
    pub fs: Fs,
    /// The descriptors.
    pub files: Files,
    /// The sockets.
    pub net: Net,
    /// When the host is to be shown what the program has sent.
    pub pace: Pace,
    /// Signal handlers.
    pub signals: Signals,
    /// The clocks.
    pub clock: Clock,
    /// The workload's input.
    pub input: Object,
    /// How many memory files were made.
    pub sheets: u8,
    /// The program's threads.
    pub threads: Threads,
}

/// When the host is shown what the program has sent to sockets.
///
/// Leaving the Keep takes long, and a program that has sent mostly waits for something right
/// afterwards, which leaves the Keep anyhow. So showing waits for that; but not for long, and a
/// program that does something else first is not made to wait for a while. Times are those of the
/// counter, of which only the order of magnitude matters.
#[derive(Debug, Default, Clone, Copy)]
pub struct Pace {
    /// When the first and the last bytes were sent that the host was not shown.
    unseen: Option<(u64, u64)>,
    /// How many sends are to be shown at once.
    eager: u32,
    /// When the host was last asked what has happened.
    asked: u64,
}

impl Pace {
    /// A few hundred microseconds: about ten times what leaving the Keep takes where that is slow, and
    /// twice what the cryptography of a TLS handshake takes, so that a program that serves several
    /// handshakes in turn does not leave the Keep for each.
    const LATE: u64 = 1_200_000;
    /// How many sends go out at once after one was late.
    const EAGER: u32 = 64;

    /// Something was sent; whether to show it now.
    pub fn sent(&mut self, now: u64) -> bool {
        let first = self.unseen.map_or(now, |(first, _)| first);
        self.unseen = Some((first, now));
        self.eager = self.eager.saturating_sub(1);
        self.eager > 0
    }

    /// Whether something was sent too long ago.
    pub fn is_late(&self, now: u64) -> bool {
        self.unseen.is_some_and(|(first, _)| now.wrapping_sub(first) > Self::LATE)
    }

    /// Everything is shown now.
    pub fn shown(&mut self, now: u64) {
        // Who has sent much at once is late as well, but was not busy with anything else.
        if self.unseen.take().is_some_and(|(_, last)| now.wrapping_sub(last) > Self::LATE) {
            self.eager = Self::EAGER;
        }
    }

    /// Whether the host was not asked for long.
    pub fn is_due(&self, now: u64) -> bool {
        now.wrapping_sub(self.asked) > Self::LATE
    }

    /// The host is being asked.
    pub fn asks(&mut self, now: u64) {
        self.asked = now;
        self.shown(now);
    }
}

/// What a page fault's error code says of the access: bit 1 is a write, bit 4 an instruction fetch
/// (Intel SDM volume 3, §4.7).
pub fn access(code: u64) -> Access {
    match code & 0b1_0010 {
        0 => Access::Read,
        2 => Access::Write,
        _ => Access::Execute,
    }
}

/// How the program goes on after a call or an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// With the registers that a system call preserves, and the result in RAX.
    Return,
    /// With all registers as they are in the frame.
    Everything,
    /// Not yet: the call is to be made again after so many nanoseconds, or when the processor is woken.
    /// After no time at all that means when others have had their turn.
    Later(u64),
    /// Not at all: the thread has ended.
    Never,
}

impl<P: Platform> Kernel<P> {
    /// Serves one system call.
    pub fn system_call(&mut self, frame: &mut Frame) -> Resume {
        self.provision(HEAP_RESERVE);
        self.signals.select(P::processor());
        if self.pace.is_late(P::tsc()) {
            // Since the Keep is left anyway, it is also asked what has happened.
            self.exchange(0, 0);
        }
        if frame.rax == crate::calls::RT_SIGRETURN {
            self.signal_return(frame);
            return Resume::Everything;
        }
        if frame.rax == crate::calls::EXIT {
            self.exit_thread(frame.rdi as i32);
            return Resume::Never;
        }
        let result = self.dispatch(frame);
        if result == Err(BLOCKED) {
            return Resume::Later(self.threads.wait);
        }
        self.unblock();
        #[cfg(feature = "trace")]
        Self::trace(frame, &result);
        frame.rax = result.unwrap_or_else(|errno| i64::from(-errno.0) as u64);
        Resume::Return
    }

    /// Serves one exception of the program: resolves it, turns it into a signal, or ends the Keep.
    pub fn exception(&mut self, exception: &Exception, frame: &mut Frame) {
        self.signals.select(P::processor());
        let (signal, code) = match exception.vector {
            0 => (signal::SIGFPE, 1),
            3 => (signal::SIGTRAP, 0x80),
            6 => (signal::SIGILL, 2),
            13 | 12 => (signal::SIGSEGV, 0x80),
            14 => {
                self.provision(HEAP_RESERVE);
                match self.space.fault(exception.cr2, access(exception.code)) {
                    Fault::Resolved => return,
                    Fault::OutOfMemory => self.out_of_memory(),
                    Fault::Denied(Denial::MapErr) => (signal::SIGSEGV, 1),
                    Fault::Denied(Denial::AccErr) => (signal::SIGSEGV, 2),
                }
            }
            16 | 19 => (signal::SIGFPE, 7),
            17 => (signal::SIGBUS, 1),
            vector => panic!("unexpected exception {vector} at {:#x}", exception.rip),
        };
        self.deliver(signal, code, exception, frame);
    }

    /// Tells the host of a call: for work on the kernel only, since it reveals all of them.
    #[cfg(feature = "trace")]
    fn trace(frame: &Frame, result: &Result<u64, keep_fs::Errno>) {
        let mut text = Message::new();
        let _ = write!(
            text,
            "call {} ({:#x}, {:#x}, {:#x}, {:#x}) = {result:x?}\n",
            frame.rax, frame.rdi, frame.rsi, frame.rdx, frame.r10
        );
        let _ = P::with_port(|port| port.write(sallyport::Stream::Log, text.as_bytes()));
    }

    /// Enters the program's handler for a signal; without one the Keep ends.
    fn deliver(&mut self, signal: i32, code: i32, exception: &Exception, frame: &mut Frame) {
        let Some(delivery) = self.signals.plan(signal, frame.rsp) else {
            let Exception { vector, code, cr2, .. } = exception;
            let (at, offset) = (frame.rip, frame.rip.wrapping_sub(self.start.program_base));
            panic!(
                "the program crashed: signal {signal} (exception {vector}, code {code:#x}) \
                 at {at:#x} (program + {offset:#x}), address {cr2:#x}"
            );
        };
        let saved = self.signals.build(&delivery, exception, code, frame, P::mxcsr());
        let mut vectors = VectorArea::default();
        let states = P::vectors();
        if states != 0 {
            P::save_vectors(&mut vectors, states);
        }
        let stored = self.space.store(delivery.vectors, &vectors);
        if stored.and_then(|()| self.space.store(delivery.at, &saved)).is_err() {
            panic!("the program has no stack left to handle signal {signal} on");
        }
    }

    /// `rt_sigreturn`: takes the registers back that a handler left on its stack.
    fn signal_return(&mut self, frame: &mut Frame) {
        // The handler has returned through the restorer's address at the start of the frame.
        let at = frame.rsp.wrapping_add(frame.red_zone).wrapping_sub(signal::CONTEXT_OFFSET);
        let Ok(saved) = self.space.load::<SignalFrame>(at) else {
            panic!("the program returned from a signal without a frame at {at:#x}")
        };
        self.signals.restore(&saved, frame);
        let states = P::vectors();
        if states != 0
            && let Ok(mut vectors) = self.space.load::<VectorArea>(saved.vectors())
        {
            vectors.make_sound(states, saved.mxcsr());
            P::restore_vectors(&vectors, states);
        }
        P::set_mxcsr(saved.mxcsr());
    }

    /// Makes sure that the heap has `bytes` left, as far as there is memory.
    ///
    /// File content is taken from the heap fallibly, so it is fine if there is not that much.
    pub fn provision(&mut self, bytes: usize) {
        while P::heap_available() < bytes {
            let missing = (bytes - P::heap_available()) as u64;
            let unit = self.space.unit();
            let len = missing.next_multiple_of(unit);
            // One piece at a time if that many are not to be had next to each other.
            let taken = [len, unit].into_iter().find_map(|len| Some((self.space.alloc(len)?, len)));
            let Some((phys, len)) = taken else {
                if P::heap_available() < HEAP_RESERVE / 4 {
                    self.out_of_memory();
                }
                return;
            };
            P::heap_add(self.space.at(phys) as u64, len);
        }
    }

    /// Ends the Keep because its memory is used up.
    pub fn out_of_memory(&mut self) -> ! {
        let usage = self.space.usage();
        let (limit, files) = (usage.limit >> 20, self.fs.usage().bytes >> 10);
        let message = format_args!("all {limit} MiB are in use, {files} KiB of them by files");
        self.exit(ExitKind::OutOfMemory, message)
    }

    /// Asks the host for something. A lie about that, which is what `about` names, ends the Keep.
    pub fn ask<T>(
        about: &str,
        request: impl FnOnce(&mut Port<P::Window, P::Doorbell>) -> Result<T, Lie>,
    ) -> T {
        match P::with_port(request) {
            Ok(answer) => answer,
            Err(lie) => panic!("the host lied about {about}: {lie}"),
        }
    }

    /// Ends the Keep with a message, of which what does not fit is cut.
    pub fn exit(&mut self, kind: ExitKind, message: fmt::Arguments<'_>) -> ! {
        let mut text = Message::new();
        // Writing it cannot fail.
        let _ = text.write_fmt(message);
        P::with_port(|port| port.exit(kind, text.as_bytes()))
    }

    /// A clock in nanoseconds.
    pub fn time(&mut self, clock: ClockId) -> u64 {
        self.clock.read(clock, P::tsc()).unwrap_or_else(|| {
            let clocks = [ClockId::Realtime, ClockId::Monotonic];
            let said = clocks.map(|clock| Self::ask("the time", |port| port.clock(clock)));
            self.clock.sync(P::tsc(), said);
            self.clock.last(clock)
        })
    }

    /// The monotonic clock in nanoseconds.
    pub fn monotonic(&mut self) -> u64 {
        self.time(ClockId::Monotonic)
    }

    /// The real-time clock as file times have it.
    pub fn now(&mut self) -> Timespec {
        let nanos = self.time(ClockId::Realtime);
        Timespec { sec: (nanos / 1_000_000_000) as i64, nsec: (nanos % 1_000_000_000) as u32 }
    }
}

/// A short text on the stack, for when the heap may be used up.
#[derive(Debug)]
pub struct Message {
    bytes: [u8; 512],
    len: usize,
}

impl Message {
    /// An empty text.
    pub const fn new() -> Self {
        Self { bytes: [0; 512], len: 0 }
    }

    /// What was written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;

    #[test]
    fn a_program_that_is_late_is_not_made_to_wait() {
        let mut pace = Pace::default();
        assert!(!pace.sent(1_000));
        assert!(!pace.is_late(2_000));
        assert!(pace.is_late(2_001_000));
        pace.shown(2_001_000);
        assert!(!pace.is_late(9_001_000), "nothing is left");
        assert!((1..Pace::EAGER).all(|n| pace.sent(10_000_000 + u64::from(n))));
        assert!(!pace.sent(11_000_000));
    }

    #[test]
    fn much_at_once_is_not_lateness() {
        let mut pace = Pace::default();
        assert!((0..100).all(|n| !pace.sent(n * 20_000)));
        assert!(pace.is_late(2_000_000));
        pace.shown(2_000_000);
        assert!(!pace.sent(2_000_001));
    }
}

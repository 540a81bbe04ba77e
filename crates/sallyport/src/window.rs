// SPDX-License-Identifier: Apache-2.0

//! Access to memory that somebody else may change at any moment.
//!
//! No reference to shared memory ever exists: a reference promises the compiler that nobody else
//! writes, and a compiler that believes it may read a byte twice. Words are atomics; bulk data is
//! copied by one machine instruction that the compiler cannot see into.

use core::sync::atomic::{self, AtomicU64, Ordering};

use crate::SHARED_SIZE;

/// A view of the shared block. Offsets come from the caller's own reckoning, never unchecked from
/// the block: one outside the block is a bug of the caller, and implementations panic on it.
pub trait Window {
    /// Loads the word at byte `at` (acquire): what was stored before a matching
    /// [`store`](Self::store) is visible after this.
    fn load(&self, at: usize) -> u64;
    /// Stores the word at byte `at` (release).
    fn store(&self, at: usize, word: u64);
    /// Copies out of the block, reading each byte once.
    fn read(&self, at: usize, into: &mut [u8]);
    /// Copies into the block, writing each byte and reading none.
    fn write(&self, at: usize, from: &[u8]);
    /// A full fence: orders a store before it against a load after it.
    fn fence(&self) {
        atomic::fence(Ordering::SeqCst);
    }
}

impl<W: Window + ?Sized> Window for &W {
    fn load(&self, at: usize) -> u64 {
        (**self).load(at)
    }
    fn store(&self, at: usize, word: u64) {
        (**self).store(at, word);
    }
    fn read(&self, at: usize, into: &mut [u8]) {
        (**self).read(at, into);
    }
    fn write(&self, at: usize, from: &[u8]) {
        (**self).write(at, from);
    }
    fn fence(&self) {
        (**self).fence();
    }
}

/// The shared block where it is mapped: at a fixed address in a Keep, anywhere in the host.
#[derive(Debug, Clone, Copy)]
pub struct RawWindow {
    base: *mut u8,
}

// SAFETY: the block outlives the value and may be touched from any thread (see `new`); all access
// is by atomics or by copies that assume nothing about who else writes.
unsafe impl Send for RawWindow {}
// SAFETY: as above.
unsafe impl Sync for RawWindow {}

impl RawWindow {
    /// A window on the block at `base`.
    ///
    /// # Safety
    ///
    /// `base` is aligned to 8 bytes, and [`SHARED_SIZE`] bytes from it stay mapped, readable and
    /// writable, for as long as this value or a copy of it lives. No Rust reference to any of
    /// those bytes exists in that time.
    pub const unsafe fn new(base: *mut u8) -> Self {
        Self { base }
    }

    /// Where `len` bytes at `at` are mapped, or `None` if they are not inside the block; for
    /// system calls that read or write the block themselves.
    pub fn pointer(&self, at: usize, len: usize) -> Option<*mut u8> {
        (len <= SHARED_SIZE && at <= SHARED_SIZE - len).then(|| self.base.wrapping_add(at))
    }

    fn place(&self, at: usize, len: usize) -> *mut u8 {
        let Some(place) = self.pointer(at, len) else {
            panic!("{len} bytes at {at:#x} are outside the shared block");
        };
        place
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at.is_multiple_of(8), "the word at {at:#x} is not aligned");
        let place = self.place(at, 8).cast();
        // SAFETY: inside the block and aligned, as `base` is; an atomic may be shared with anyone.
        unsafe { AtomicU64::from_ptr(place) }
    }
}

impl Window for RawWindow {
    fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Acquire)
    }

    fn store(&self, at: usize, word: u64) {
        self.word(at).store(word, Ordering::Release);
    }

    fn read(&self, at: usize, into: &mut [u8]) {
        let from = self.place(at, into.len());
        // SAFETY: `from` is inside the block, which begins and ends on a word; `into` is ours, and they
        // cannot overlap since no reference points into the block.
        unsafe { copy_words(into.as_mut_ptr(), from, into.len()) }
    }

    fn write(&self, at: usize, from: &[u8]) {
        let into = self.place(at, from.len());
        // SAFETY: as in `read`, with the roles changed.
        unsafe { copy(into, from.as_ptr(), from.len()) }
    }
}

/// As [`copy`], but reads nothing but aligned words, the two at the ends of the source whole.
///
/// Where the host may map a device in place of memory, as under an enclave, narrower reads can bring stale
/// data of others along on some processors (Intel, "Processor MMIO stale data vulnerabilities").
///
/// # Safety
///
/// As [`copy`]; and all words that hold a byte of the source are mapped.
unsafe fn copy_words(into: *mut u8, from: *const u8, len: usize) {
    let skew = from.addr() % 8;
    let head = if skew == 0 { 0 } else { len.min(8 - skew) };
    let words = (len - head) / 8 * 8;
    let tail = len - head - words;
    // A word's bytes from `at` on, `count` of them, to the target's `to`.
    let part = |word: *const u8, at: usize, count: usize, to: usize| {
        if count > 0 {
            // SAFETY: an aligned word that the caller vouches for; an atomic may be shared.
            let word = unsafe { AtomicU64::from_ptr(word.cast_mut().cast()) };
            let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            // SAFETY: `to + count` is at most `len`, and `at + count` at most 8.
            unsafe { into.add(to).copy_from_nonoverlapping(bytes.as_ptr().add(at), count) }
        }
    };
    part(from.wrapping_sub(skew), skew, head, 0);
    // SAFETY: the caller vouches for both ranges, of which these are parts.
    unsafe { copy_aligned(into.wrapping_add(head), from.wrapping_add(head), words) }
    part(from.wrapping_add(head + words), 0, tail, head + words);
}

/// As [`copy`], with an aligned source and whole words.
///
/// # Safety
///
/// As [`copy`]; `from` and `len` are multiples of 8.
unsafe fn copy_aligned(into: *mut u8, from: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsq",
            inout("rcx") len / 8 => _,
            inout("rdi") into => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: likewise.
    unsafe {
        copy(into, from, len);
    }
}

/// Copies `len` bytes, of which either side may be changing under our feet.
///
/// # Safety
///
/// Both ranges are mapped, the source readable, the target writable, and they do not overlap.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn copy(into: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller vouches for both ranges; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rdi") into => _,
            inout("rsi") from => _,
            options(nostack, preserves_flags),
        );
    }
}

/// As above, byte by byte.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn copy(into: *mut u8, from: *const u8, len: usize) {
    use core::sync::atomic::AtomicU8;
    for i in 0..len {
        // SAFETY: inside the ranges that the caller vouches for; a byte is always aligned.
        let (into, from) = unsafe {
            (AtomicU8::from_ptr(into.add(i)), AtomicU8::from_ptr(from.cast_mut().add(i)))
        };
        into.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

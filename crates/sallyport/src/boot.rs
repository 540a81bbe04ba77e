// SPDX-License-Identifier: Apache-2.0

//! The header of the shared block: what the host tells a Keep before it starts.
//!
//! None of it is measured, so none of it may matter for more than whether the Keep runs at all:
//! sizes to make room by, and a clock rate.

use keep_layout::{CHUNK, IMAGE_PHYS, PROCESSORS, SHARED_PHYS};

use crate::{Lie, Unchecked, Window};

const MAGIC: u64 = u64::from_le_bytes(*b"allyport");
const VERSION: u64 = 4;
const FLAG_SEEDS: u64 = 1;
const FLAG_OUTPUT: u64 = 2;
const FLAG_EVENTS: u64 = 4;
const FLAG_EVIDENCE: u64 = 8;
const FLAG_NETWORK: u64 = 16;
const FLAGS: u64 = FLAG_SEEDS | FLAG_OUTPUT | FLAG_EVENTS | FLAG_EVIDENCE | FLAG_NETWORK;

/// Most private memory a Keep can have: what lies between the page tables and the shared block.
pub const MAX_RAM: u64 = SHARED_PHYS - IMAGE_PHYS;
/// Longest launch message in bytes.
pub const MAX_LAUNCH: u64 = 4 << 20;
/// Longest input in bytes.
pub const MAX_INPUT: u64 = 1 << 30;
/// Slowest and fastest counter that is believed, in kHz.
const TSC_KHZ: core::ops::RangeInclusive<u64> = 100_000..=100_000_000;

/// The header, within its bounds but still the host's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootInfo {
    /// Bytes of private memory at the start; a multiple of 2 MiB, at least one.
    pub ram: u64,
    /// Bytes of private memory that GROW may reach; a multiple of 2 MiB, at least `ram`.
    pub ram_limit: u64,
    /// Frequency of the time stamp counter in kHz, or 0 if it must not be used.
    pub tsc_khz: u64,
    /// Bytes on the stream `input`.
    pub input_len: u64,
    /// Bytes on the stream `launch`.
    pub launch_len: u64,
    /// How many processors the Keep may use, at least one.
    pub processors: u64,
    /// Whether the stream `seed` has an archive.
    pub seeds: bool,
    /// Whether the stream `output` exists.
    pub output: bool,
    /// Whether the stream `events` exists.
    pub events: bool,
    /// Whether the streams `report-data` and `evidence` exist.
    pub evidence: bool,
    /// Whether there are sockets.
    pub network: bool,
}

impl BootInfo {
    /// Copies the header out of the block, once, and checks it.
    ///
    /// # Errors
    ///
    /// A [`Lie`] for the first word that is out of its bounds.
    pub fn read(window: impl Window) -> Result<Self, Lie> {
        let word = |n: usize, what| Unchecked::new(what, window.load(n * 8));
        word(0, "magic").multiple_of(1, MAGIC..=MAGIC).map_err(|_| Lie::Magic)?;
        let version = word(1, "version").at_most(u64::MAX)?;
        if version != VERSION {
            return Err(Lie::Version(version));
        }
        let ram = word(2, "amount of memory").multiple_of(CHUNK, CHUNK..=MAX_RAM)?;
        let ram_limit = word(3, "limit of memory").multiple_of(CHUNK, ram..=MAX_RAM)?;
        let tsc_khz = word(4, "frequency of the counter").at_most(*TSC_KHZ.end())?;
        if tsc_khz != 0 && tsc_khz < *TSC_KHZ.start() {
            return Err(Lie::Value { what: "frequency of the counter", value: tsc_khz });
        }
        let input_len = word(5, "length of the input").at_most(MAX_INPUT)?;
        let launch_len = word(6, "length of the launch message").at_most(MAX_LAUNCH)?;
        let flags = word(7, "flags").subset_of(FLAGS)?;
        let processors = word(8, "number of processors").multiple_of(1, 1..=PROCESSORS)?;
        Ok(Self {
            ram,
            ram_limit,
            tsc_khz,
            input_len,
            launch_len,
            processors,
            seeds: flags & FLAG_SEEDS != 0,
            output: flags & FLAG_OUTPUT != 0,
            events: flags & FLAG_EVENTS != 0,
            evidence: flags & FLAG_EVIDENCE != 0,
            network: flags & FLAG_NETWORK != 0,
        })
    }

    /// Writes the header; for the host, before the Keep starts.
    pub fn write(&self, window: impl Window) {
        let flags = [
            (self.seeds, FLAG_SEEDS),
            (self.output, FLAG_OUTPUT),
            (self.events, FLAG_EVENTS),
            (self.evidence, FLAG_EVIDENCE),
            (self.network, FLAG_NETWORK),
        ];
        let flags = flags.iter().map(|(set, flag)| if *set { *flag } else { 0 }).sum();
        let words = [
            MAGIC,
            VERSION,
            self.ram,
            self.ram_limit,
            self.tsc_khz,
            self.input_len,
            self.launch_len,
            flags,
            self.processors,
        ];
        for (n, word) in words.into_iter().enumerate() {
            window.store(n * 8, word);
        }
    }
}

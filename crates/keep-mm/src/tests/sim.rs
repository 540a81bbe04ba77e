// SPDX-License-Identifier: Apache-2.0

//! A simulated processor with its memory, and an audit of everything the tables say.

use std::boxed::Box;
use std::collections::{HashMap, HashSet};
use std::vec;
use std::vec::Vec;

use keep_layout::{CHUNK, DIRECT_VIRT, PAGE};

use crate::areas::Kind;
use crate::frames::Frames;
use crate::tables::Entry;
use crate::{
    Access, Backing, Config, Denial, Fault, Machine, Object, Place, Prot, Ram, Region, Source,
    Space,
};

pub(super) const MIB: u64 = 1 << 20;
pub(super) const TABLES_END: u64 = 2 * CHUNK;
pub(super) const IMAGE: u64 = 0x1480_0000;
pub(super) const MMAP: u64 = 0x0100_0000_0000;

/// How a test's Keep is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) ram: u64,
    pub(super) limit: u64,
    pub(super) mmap_size: u64,
    pub(super) tables: u64,
    pub(super) fresh_is_zero: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            ram: 16 * MIB,
            limit: 512 * MIB,
            mmap_size: 0x3e00_0000_0000,
            tables: 1000,
            fresh_is_zero: true,
        }
    }
}

/// Why the simulated processor stops.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageFault;

#[derive(Clone, Copy)]
struct Cached {
    phys: u64,
    write: bool,
    exec: bool,
}

/// Processor and memory. Its translation cache is adversarial: it keeps all that it has ever
/// seen, looks ahead over a whole chunk, and remembers tables as well as leaves.
pub(super) struct Sim {
    pub(super) ram: Vec<u8>,
    present: u64,
    limit: u64,
    root: u64,
    table_pool: usize,
    pages: HashMap<u64, Cached>,
    table_of_chunk: HashMap<u64, u64>,
    pub(super) flushes: usize,
    pub(super) grown: Vec<u64>,
    pub(super) stingy: bool,
    pub(super) lie: Option<(u64, u64)>,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

impl Ram for Sim {
    fn read_entry(&self, at: u64) -> u64 {
        assert!(at < TABLES_END && at.is_multiple_of(8), "a table outside of the pool: {at:#x}");
        let at = at as usize;
        u64::from_le_bytes(self.ram[at..at + 8].try_into().unwrap())
    }

    fn write_entry(&mut self, at: u64, value: u64) {
        assert!(at < TABLES_END && at.is_multiple_of(8), "a table outside of the pool: {at:#x}");
        let at = at as usize;
        self.ram[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn zero(&mut self, phys: u64, len: u64) {
        self.direct(phys, len, true).fill(0);
    }

    fn copy(&mut self, from: u64, to: u64, len: u64) {
        let data = self.direct(from, len, false).to_vec();
        self.direct(to, len, true).copy_from_slice(&data);
    }
}

impl Machine for Sim {
    fn adopt(&mut self, start: u64, end: u64) {
        assert!(start < end && end == self.present, "what was just given");
    }

    fn flush(&mut self) {
        self.pages.clear();
        self.table_of_chunk.clear();
        self.flushes += 1;
    }

    fn grow(&mut self, len: u64) -> Option<(u64, u64)> {
        assert!(len > 0 && len.is_multiple_of(CHUNK));
        if self.lie.is_some() {
            return self.lie;
        }
        let len = if self.stingy { CHUNK } else { len };
        if self.present + len > self.limit {
            return None;
        }
        let start = self.present;
        self.present += len;
        self.grown.push(len);
        Some((start, self.present))
    }
}

impl Sim {
    pub(super) fn new(setup: Setup) -> Self {
        let root = 0;
        let mut ram = vec![0; setup.limit as usize];
        if !setup.fresh_is_zero {
            // Whatever was there before: never to be seen.
            ram[TABLES_END as usize..].fill(0xdb);
        }
        let mut sim = Self {
            ram,
            present: setup.ram,
            limit: setup.limit,
            root,
            table_pool: setup.tables as usize,
            pages: HashMap::new(),
            table_of_chunk: HashMap::new(),
            flushes: 0,
            grown: Vec::new(),
            stingy: false,
            lie: None,
        };
        // What the image builder does: one chunk of program data, the direct map.
        let mut next = root + PAGE;
        let mut leaf = |sim: &mut Self, va: u64, entry: u64| {
            let mut table = root;
            for shift in [39, 30] {
                let at = table + ((va >> shift) & 511) * 8;
                if sim.read_entry(at) == 0 {
                    sim.write_entry(at, next | 0x27);
                    next += PAGE;
                }
                table = sim.read_entry(at) & !0xfff;
            }
            sim.write_entry(table + ((va >> 21) & 511) * 8, entry);
        };
        leaf(&mut sim, IMAGE, TABLES_END | 0xe7 | 1 << 63);
        for chunk in (TABLES_END..setup.ram).step_by(CHUNK as usize) {
            leaf(&mut sim, DIRECT_VIRT + chunk, chunk | 0xe7 | 1 << 63);
        }
        assert!(next <= 16 * PAGE);
        sim.ram[TABLES_END as usize..(TABLES_END + CHUNK) as usize].fill(0);
        sim
    }

    /// Memory as seen through the direct map, which must be mapped and writable for writing.
    fn direct(&mut self, phys: u64, len: u64, write: bool) -> &mut [u8] {
        assert!(phys >= TABLES_END && phys + len <= self.present, "{phys:#x} is not memory");
        for chunk in (phys / CHUNK)..=((phys + len - 1) / CHUNK) {
            let entry = self.walk(DIRECT_VIRT + chunk * CHUNK).expect("direct map is mapped");
            assert_eq!(entry.phys, chunk * CHUNK);
            assert!(!write || entry.write, "a sealed object is written");
            assert!(!entry.exec);
        }
        &mut self.ram[phys as usize..(phys + len) as usize]
    }

    fn walk(&self, va: u64) -> Option<Cached> {
        let mut table = self.root;
        for shift in [39, 30, 21, 12] {
            let entry = self.read_entry(table + ((va >> shift) & 511) * 8);
            if entry & 1 == 0 {
                return None;
            }
            assert!(entry & 4 != 0, "everything is for ring 3");
            let phys = entry & 0x000f_ffff_ffff_f000;
            if shift == 12 || entry & 0x80 != 0 {
                let offset = va & ((1 << shift) - 1) & !0xfff;
                let write = entry & 2 != 0;
                let exec = entry >> 63 == 0;
                assert!(!(write && exec), "writable and executable at {va:#x}");
                return Some(Cached { phys: phys + offset, write, exec });
            }
            table = phys;
        }
        None
    }

    /// One access to a byte as the processor makes it.
    pub(super) fn access(&mut self, va: u64, access: Access) -> Result<&mut u8, PageFault> {
        let page = va & !0xfff;
        let chunk = va & !(CHUNK - 1);
        if !self.pages.contains_key(&page) {
            if let Some(&table) = self.table_of_chunk.get(&chunk) {
                // A cached way to a table saves the walk, right or wrong.
                for index in 0..512 {
                    let entry = self.read_entry(table + index * 8);
                    if entry & 1 != 0 {
                        let phys = entry & 0x000f_ffff_ffff_f000;
                        let new = Cached { phys, write: entry & 2 != 0, exec: entry >> 63 == 0 };
                        self.pages.entry(chunk + index * PAGE).or_insert(new);
                    }
                }
            } else {
                for index in 0..512 {
                    if let Some(new) = self.walk(chunk + index * PAGE) {
                        self.pages.entry(chunk + index * PAGE).or_insert(new);
                    }
                }
                if let Some(table) = self.lowest_table(va) {
                    self.table_of_chunk.insert(chunk, table);
                }
            }
        }
        let allowed = self.pages.get(&page).filter(|cached| match access {
            Access::Read => true,
            Access::Write => cached.write,
            Access::Execute => cached.exec,
        });
        match allowed.copied() {
            Some(cached) => Ok(&mut self.ram[(cached.phys + (va & 0xfff)) as usize]),
            None => {
                // A fault makes the processor forget this address, and no other.
                self.pages.remove(&page);
                // It may look ahead again at once, though, and find the table of this chunk.
                match self.lowest_table(va) {
                    Some(table) => self.table_of_chunk.insert(chunk, table),
                    None => self.table_of_chunk.remove(&chunk),
                };
                Err(PageFault)
            }
        }
    }

    fn lowest_table(&self, va: u64) -> Option<u64> {
        let mut table = self.root;
        for shift in [39, 30, 21] {
            let entry = self.read_entry(table + ((va >> shift) & 511) * 8);
            if entry & 1 == 0 || entry & 0x80 != 0 {
                return None;
            }
            table = entry & 0x000f_ffff_ffff_f000;
        }
        Some(table)
    }
}

/// What the tables hold.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audit {
    /// Leaves of chunks outside of image and direct map.
    pub(super) large: usize,
    /// Leaves of pages.
    pub(super) small: usize,
    /// Page tables, all of them.
    pub(super) tables: usize,
}

pub(super) type Keep = Space<Source<Sim, Frames>>;

pub(super) fn keep(setup: Setup) -> Keep {
    let config = Config {
        root: 0,
        tables: 16 * PAGE..(16 + setup.tables) * PAGE,
        free_ram: TABLES_END + CHUNK..setup.ram,
        ram_limit: setup.limit,
        mmap: MMAP..MMAP + setup.mmap_size,
        brk_start: IMAGE + 0x10_0123,
        brk_mapped_end: IMAGE + CHUNK,
        brk_limit: IMAGE + 256 * MIB,
        image: vec![Region { range: IMAGE..IMAGE + CHUNK, prot: Prot::READ_WRITE }],
        fresh_is_zero: setup.fresh_is_zero,
    };
    Space::new(Box::new(Source::framed(Sim::new(setup), &config)), config)
}

impl Keep {
    /// One access as the program makes it, faults included.
    pub(super) fn touch(&mut self, va: u64, access: Access) -> Result<&mut u8, Fault> {
        for _ in 0..3 {
            if self.pages.machine.access(va, access).is_ok() {
                return Ok(self.pages.machine.access(va, access).unwrap());
            }
            match self.fault(va, access) {
                Fault::Resolved => {}
                fault => return Err(fault),
            }
        }
        panic!("{access:?} at {va:#x} faults again and again");
    }

    pub(super) fn load(&mut self, va: u64) -> u8 {
        *self.touch(va, Access::Read).unwrap()
    }

    pub(super) fn store(&mut self, va: u64, value: u8) {
        *self.touch(va, Access::Write).unwrap() = value;
    }

    pub(super) fn denied(&mut self, va: u64, access: Access) -> Denial {
        match self.touch(va, access) {
            Err(Fault::Denied(denial)) => denial,
            other => panic!("{access:?} at {va:#x}: {other:?}"),
        }
    }

    pub(super) fn anonymous(&mut self, len: u64, prot: Prot) -> u64 {
        self.mmap(Place::Anywhere, len, prot, Backing::Anonymous).unwrap()
    }

    /// Makes an object whose byte at each offset is [`object_byte`].
    pub(super) fn object(&mut self, len: u64, executable: bool) -> Object {
        let phys = self.alloc(len).unwrap();
        for offset in 0..len {
            self.pages.machine.ram[(phys + offset) as usize] = object_byte(phys, offset);
        }
        Object { phys, len, executable }
    }

    pub(super) fn direct_is_writable(&self, phys: u64) -> bool {
        self.pages.machine.walk(DIRECT_VIRT + phys).is_some_and(|leaf| leaf.write)
    }

    /// Checks everything that must hold at any time, and counts leaves.
    pub(super) fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        let mut owned = HashSet::new();
        let mut tables = HashSet::new();
        self.audit_table(0, 3, 0, &mut audit, &mut owned, &mut tables);
        audit.tables = tables.len();
        let in_use = self.pages.state.used() - self.taken;
        assert_eq!(owned.len() as u64 * PAGE, in_use, "frames in use and frames in tables differ");
        // One page of the pool is the root, 15 are the builder's.
        let free = self.tables.free() as usize;
        let pool = tables.iter().filter(|&&table| table >= 16 * PAGE).count();
        assert_eq!(pool + free, self.pages.machine.table_pool, "tables are lost");
        for table in &tables {
            let used = (0..512).any(|index| self.pages.machine.read_entry(table + index * 8) != 0);
            assert!(used, "an empty table stays");
        }
        let committed = self.areas.charge(0..u64::MAX);
        assert_eq!(committed, self.areas.committed());
        audit
    }

    fn audit_table(
        &self,
        table: u64,
        level: u32,
        base: u64,
        audit: &mut Audit,
        owned: &mut HashSet<u64>,
        tables: &mut HashSet<u64>,
    ) {
        assert!(tables.insert(table), "a table in two places");
        for index in 0..512 {
            let va = base + (index << (12 + 9 * level));
            let entry = Entry(self.pages.machine.read_entry(table + index * 8));
            if entry == Entry::EMPTY {
                continue;
            }
            if level > 0 && !entry.is_large() {
                assert!(entry.is_present());
                self.audit_table(entry.phys(), level - 1, va, audit, owned, tables);
                continue;
            }
            if va == IMAGE || va >= DIRECT_VIRT {
                continue;
            }
            let pages = if level == 0 { 1 } else { 512 };
            *(if level == 0 { &mut audit.small } else { &mut audit.large }) += 1;
            for page in 0..pages {
                let frame = entry.phys() + page * PAGE;
                if entry.is_owned() {
                    assert!(owned.insert(frame), "frame {frame:#x} has two owners");
                } else {
                    self.audit_object(va + page * PAGE, entry);
                }
            }
        }
    }

    /// A frame of an object is only where the object is mapped, and sealed where it can run.
    fn audit_object(&self, va: u64, entry: Entry) {
        assert!(!entry.permits(Access::Write));
        let chunk = va & !(CHUNK - 1);
        let mut kinds =
            self.areas.within(chunk..chunk + CHUNK).filter_map(|(_, area)| match area.kind {
                Kind::Object { object, shift, .. } => Some((object, shift)),
                _ => None,
            });
        assert!(kinds.any(|(object, shift)| {
            let phys = chunk.wrapping_add(shift);
            entry.is_large() && phys == entry.phys()
                || va.wrapping_add(shift) == entry.phys() && object.phys <= entry.phys()
        }));
        if entry.permits(Access::Execute) {
            let frame = entry.phys() & !(CHUNK - 1);
            assert!(!self.pages.machine.walk(DIRECT_VIRT + frame).unwrap().write, "not sealed");
        }
    }
}

pub(super) fn object_byte(phys: u64, offset: u64) -> u8 {
    (offset / PAGE * 7 + offset % PAGE * 3 + phys / CHUNK * 31 + 1) as u8
}

// SPDX-License-Identifier: Apache-2.0

//! The image itself: pages of memory and the processor's state, ready to be loaded or measured.
//!
//! An [`Image`] is built once, when Enarx is built, and travels as one block of bytes. Whatever is
//! done with it later goes through [`Image::load`], so that a launch and a measurement see the same
//! pages in the same order.
//!
//! A page is part of the image if the ELF files or the builder put at least one byte there, even if
//! all its bytes are zero. Pages that the program only reserves (`.bss`) and whatever pads the
//! regions to whole chunks are not: that memory is fresh and reads as zero.

use std::borrow::Cow;
use std::collections::BTreeMap;

use keep_layout::processor::{STRIDE, STUB_STACK_SIZE};
use keep_layout::{
    CHUNK, KERNEL_DATA, KERNEL_TEXT, KernelHeader, PAGE, PROCESSORS, StartInfo, TABLES_PHYS,
};

use crate::cpu::{self, Start};
use crate::elf::Elf;
use crate::error::BuildError;
use crate::measure::Measurer;
use crate::place::{Place, check_kernel, page_down, page_up};
use crate::rewrite::{Plan, Syscalls};
use crate::settle::Settlement;
use crate::tables::Tables;

/// What a page is for. The page tables say what can be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Page tables.
    Tables,
    /// To be read and executed: text and constants.
    Text,
    /// To be read and written.
    Data,
}

/// A stretch of physical memory whose pages follow each other and are of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First physical address, on a page.
    pub phys: u64,
    /// Length in bytes, whole pages.
    pub len: u64,
    /// What the pages are for.
    pub kind: PageKind,
}

/// Takes an image, to load it or to measure it.
pub trait Sink {
    /// Why it may fail.
    type Error;

    /// Takes a run of pages. Runs come by ascending address and do not overlap.
    ///
    /// # Errors
    ///
    /// If the pages cannot be taken.
    fn pages(&mut self, phys: u64, kind: PageKind, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Takes the processor's state, after all pages.
    ///
    /// # Errors
    ///
    /// If the state cannot be taken.
    fn start(&mut self, start: &Start) -> Result<(), Self::Error>;
}

/// A Keep's initial memory and processor state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image<'a> {
    pub(crate) info: StartInfo,
    pub(crate) start: Start,
    pub(crate) syscalls: Syscalls,
    pub(crate) runs: Vec<Run>,
    /// The bytes of all runs, one after the other.
    pub(crate) pages: Cow<'a, [u8]>,
}

impl Image<'static> {
    /// Builds the image of a program and the kernel under it, from their ELF files.
    ///
    /// Symbols and other sections that are not loaded make no difference.
    ///
    /// # Errors
    ///
    /// If a file cannot be used or the two do not fit together.
    pub fn build(kernel: &[u8], program: &[u8]) -> Result<Self, BuildError> {
        let kernel = Elf::kernel(kernel)?;
        let kernel_data_end = check_kernel(&kernel)?;
        let program = Elf::program(program)?;
        let header = read_header(&kernel)?;
        let plan = Plan::new(&program)?;
        let place = Place::choose(kernel_data_end, &program, plan.end)?;
        let tables = Tables::new(&place);
        let info = StartInfo {
            magic: StartInfo::MAGIC,
            version: StartInfo::VERSION,
            program_base: place.base,
            program_entry: place.base.wrapping_add(program.entry),
            program_phdr: place.base.wrapping_add(program.phdr),
            program_phent: 56,
            program_phnum: program.phnum,
            text_start: place.text_start,
            text_end: KERNEL_DATA,
            text_phys: place.text_phys(),
            data_start: KERNEL_DATA,
            data_end: place.data_end,
            data_phys: place.data_phys(),
            brk_start: place.brk_start,
            image_end: place.image_end(),
            trampolines_start: place.base.wrapping_add(plan.start),
            trampolines_end: place.base.wrapping_add(plan.end),
            tables_root: TABLES_PHYS,
            tables_next: tables.end(),
        };

        let mut memory = Memory::new(&place);
        memory.load(&kernel, 0);
        memory.load(&program, place.base);
        memory.forget_sections(&program, place.base);
        memory.settle(&program, place.base);
        plan.apply(place.base, &header, |at, bytes| {
            memory.put(at, PageKind::Text, bytes);
        });
        let page = cpu::info_page(&info, &header, place.info);
        memory.put(place.info, PageKind::Data, &page);
        memory.put_phys(TABLES_PHYS, PageKind::Tables, &tables.bytes());

        let (runs, pages) = memory.finish();
        Ok(Self {
            info,
            start: Start::new(&header, place.info),
            syscalls: plan.syscalls,
            runs,
            pages: Cow::Owned(pages),
        })
    }
}

impl Image<'_> {
    /// Hands everything to a sink, in the one order that there is.
    ///
    /// # Errors
    ///
    /// As soon as the sink fails.
    pub fn load<S: Sink>(&self, sink: &mut S) -> Result<(), S::Error> {
        for (run, bytes) in self.runs() {
            sink.pages(run.phys, run.kind, bytes)?;
        }
        sink.start(&self.start)
    }

    /// Measures the image.
    pub fn measure(&self) -> Measurer {
        let mut measurer = Measurer::default();
        match self.load(&mut measurer) {
            Ok(()) => measurer,
        }
    }

    /// The runs of pages and their bytes, by ascending physical address.
    pub fn runs(&self) -> impl Iterator<Item = (Run, &[u8])> {
        let mut rest = &*self.pages;
        self.runs.iter().map(move |run| {
            let (bytes, behind) = rest.split_at(run.len as usize);
            rest = behind;
            (*run, bytes)
        })
    }

    /// Where things are in the image.
    pub fn info(&self) -> &StartInfo {
        &self.info
    }

    /// The first processor's state. It tells those of the others.
    pub fn start(&self) -> &Start {
        &self.start
    }

    /// First instruction of the kernel in an enclave; zero if it has none.
    pub fn enclave_entry(&self) -> u64 {
        let text = KERNEL_TEXT.wrapping_sub(self.info.text_start).wrapping_add(self.info.text_phys);
        let word = std::mem::offset_of!(KernelHeader, enclave_entry);
        let inside = |(run, bytes): (Run, &'_ [u8])| {
            let at = usize::try_from(text.checked_sub(run.phys)?).ok()?;
            let bytes = bytes.get(at.checked_add(word)?..)?;
            Some(u64::from_le_bytes(*bytes.first_chunk()?))
        };
        self.runs().filter(|(run, _)| run.kind == PageKind::Text).find_map(inside).unwrap_or(0)
    }

    /// What became of the program's `syscall`s.
    pub fn syscalls(&self) -> Syscalls {
        self.syscalls
    }

    /// Bytes of memory in the image: what is copied at a launch, and measured.
    pub fn size(&self) -> u64 {
        self.pages.len() as u64
    }
}

/// Reads and checks the kernel's header.
fn read_header(kernel: &Elf<'_>) -> Result<KernelHeader, BuildError> {
    let missing = || BuildError::header("it is missing");
    let range = KERNEL_TEXT..KERNEL_TEXT + KernelHeader::WORDS as u64 * 8;
    let bytes = kernel.bytes(range).ok_or_else(missing)?;
    let mut words = [0; KernelHeader::WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    let header = KernelHeader::from_words(&words);
    if header.magic != KernelHeader::MAGIC {
        return Err(missing());
    }
    if header.version != KernelHeader::VERSION {
        return Err(BuildError::header(format!("unknown version {}", header.version)));
    }
    let text = |address: u64| kernel.bytes(address..address.saturating_add(1)).is_some();
    let handlers = header.vectors.iter().chain([&header.enclave_entry]);
    let handlers = handlers.copied().filter(|handler| *handler != 0);
    let entries = [
        header.entry,
        header.entry_next,
        header.lstar,
        header.syscall_entry,
        header.cpuid_entry,
        header.flush,
    ];
    for address in entries.into_iter().chain(handlers) {
        if !text(address) {
            return Err(BuildError::header(format!("{address:#x} is not in the kernel's text")));
        }
    }
    let data = |start: u64, stride: u64| {
        let end = start.saturating_add(PROCESSORS * stride);
        start.is_multiple_of(16)
            && kernel.segments.iter().any(|s| s.writable && s.start <= start && end <= s.end)
    };
    let stack = header.stub_stack_top;
    if !data(stack.saturating_sub(STUB_STACK_SIZE), STUB_STACK_SIZE) {
        return Err(BuildError::header(format!("no stack of the stub can end at {stack:#x}")));
    }
    if !data(header.blocks, STRIDE) {
        return Err(BuildError::header(format!("no processors can be at {:#x}", header.blocks)));
    }
    Ok(header)
}

/// Pages while they are put together, by physical address.
struct Memory<'a> {
    place: &'a Place,
    pages: BTreeMap<u64, (PageKind, Vec<u8>)>,
}

impl<'a> Memory<'a> {
    fn new(place: &'a Place) -> Self {
        Self { place, pages: BTreeMap::new() }
    }

    fn load(&mut self, file: &Elf<'_>, base: u64) {
        for segment in &file.segments {
            let kind = if segment.writable { PageKind::Data } else { PageKind::Text };
            self.put(base.wrapping_add(segment.start), kind, segment.bytes);
        }
    }

    /// Clears what the program's ELF header says about sections. They are not loaded, and the
    /// image shall not depend on how much of them was stripped.
    fn forget_sections(&mut self, program: &Elf<'_>, base: u64) {
        // `e_shoff`; `e_shentsize`, `e_shnum` and `e_shstrndx`.
        for (offset, len) in [(0x28, 8), (0x3a, 6)] {
            if let Some(header) = program.loaded_header() {
                self.put(base.wrapping_add(header + offset), PageKind::Text, &[0; 8][..len]);
            }
        }
    }

    /// Applies relocations, and takes out what nobody reads.
    fn settle(&mut self, program: &Elf<'_>, base: u64) {
        let settlement = Settlement::new(program, base);
        for (at, word) in settlement.words {
            self.put(base.wrapping_add(at), PageKind::Data, &word.to_le_bytes());
        }
        for dead in settlement.dead {
            let start = self.place.phys(base.wrapping_add(dead.start));
            let end = start + (dead.end - dead.start);
            self.put_phys(start, PageKind::Text, &vec![0; (end - start) as usize]);
            // Nobody reads a page that is all of this, so that it need not even be zero.
            for page in (page_up(start)..page_down(end)).step_by(PAGE as usize) {
                self.pages.remove(&page);
            }
        }
    }

    fn put(&mut self, virt: u64, kind: PageKind, bytes: &[u8]) {
        self.put_phys(self.place.phys(virt), kind, bytes);
    }

    fn put_phys(&mut self, phys: u64, kind: PageKind, mut bytes: &[u8]) {
        let mut at = phys;
        while !bytes.is_empty() {
            let page = page_down(at);
            let (now, later) = bytes.split_at(bytes.len().min((page + PAGE - at) as usize));
            let entry = self.pages.entry(page).or_insert_with(|| (kind, vec![0; PAGE as usize]));
            entry.1[(at - page) as usize..][..now.len()].copy_from_slice(now);
            at += now.len() as u64;
            bytes = later;
        }
    }

    fn finish(self) -> (Vec<Run>, Vec<u8>) {
        let mut runs: Vec<Run> = Vec::new();
        let mut bytes = Vec::with_capacity(self.pages.len() * PAGE as usize);
        for (phys, (kind, page)) in self.pages {
            match runs.last_mut() {
                Some(run) if run.kind == kind && run.phys + run.len == phys => run.len += PAGE,
                _ => runs.push(Run { phys, len: PAGE, kind }),
            }
            bytes.extend(page);
        }
        (runs, bytes)
    }
}

const _: () = assert!(KERNEL_DATA.is_multiple_of(CHUNK));

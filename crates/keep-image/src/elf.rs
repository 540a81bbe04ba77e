// SPDX-License-Identifier: Apache-2.0

//! Reads what matters of an ELF file into plain, checked ranges.
//!
//! The rest of the crate computes with addresses from here, so every address is bounded by
//! [`LIMIT`]: sums of a few of them cannot overflow, and nobody behind this module has to check.

use std::ops::Range;

use object::LittleEndian;
use object::elf;
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _};

use crate::error::{BuildError, Part};
use crate::functions::{self, Functions};

/// No address in a file may lie beyond this.
const LIMIT: u64 = 1 << 32;
/// No file may have more segments to load than this.
const MAX_SEGMENTS: usize = 16;

/// One stretch of memory that the file describes.
#[derive(Debug, Clone)]
pub(crate) struct Segment<'a> {
    /// First address.
    pub(crate) start: u64,
    /// What the file says about the first bytes; the others are zero.
    pub(crate) bytes: &'a [u8],
    /// End address.
    pub(crate) end: u64,
    /// Whether it can be written; if not, it may hold code.
    pub(crate) writable: bool,
}

/// A file, reduced to what an image needs.
#[derive(Debug)]
pub(crate) struct Elf<'a> {
    part: Part,
    /// Where the ELF header is in memory, if a segment holds it.
    header: Option<u64>,
    /// First instruction.
    pub(crate) entry: u64,
    /// Where the program headers are in memory, or zero if no segment holds them.
    pub(crate) phdr: u64,
    /// Number of program headers.
    pub(crate) phnum: u64,
    /// What is loaded: ascending, without overlap; all that is writable comes after all that is not.
    pub(crate) segments: Vec<Segment<'a>>,
    /// Sections with code; empty if the file has no section headers.
    pub(crate) code: Vec<Range<u64>>,
    /// What the tables for unwinding say.
    pub(crate) functions: Functions,
    /// The dynamic section's entries.
    dynamic: Vec<(i64, u64)>,
    /// Where the dynamic section is.
    dynamic_start: u64,
}

/// The relocations of one table that need nothing but the program's base.
#[derive(Debug)]
pub(crate) struct Relative {
    /// They are the first of the table, and these its bytes.
    pub(crate) table: Range<u64>,
    /// Where an address goes, and which, in the program's own addresses.
    pub(crate) words: Vec<(u64, u64)>,
    /// What the dynamic section has to say of the table without them: where, and the value in the
    /// program's own addresses.
    pub(crate) dynamic: Vec<(u64, u64)>,
}

impl<'a> Elf<'a> {
    /// Reads the kernel: linked for a fixed address.
    pub(crate) fn kernel(file: &'a [u8]) -> Result<Self, BuildError> {
        Self::read(Part::Kernel, elf::ET_EXEC, file)
    }

    /// Reads the program: static, and relocates itself.
    pub(crate) fn program(file: &'a [u8]) -> Result<Self, BuildError> {
        Self::read(Part::Program, elf::ET_DYN, file)
    }

    fn read(part: Part, kind: u16, file: &'a [u8]) -> Result<Self, BuildError> {
        let wrong = |problem: &str| BuildError::elf(part, problem);
        let broken = |e: object::read::Error| BuildError::elf(part, e.to_string());

        let header = elf::FileHeader64::<LittleEndian>::parse(file).map_err(broken)?;
        let endian = header.endian().map_err(|_| wrong("it is not little-endian"))?;
        if header.e_machine(endian) != elf::EM_X86_64 {
            return Err(wrong("it is not for x86-64"));
        }
        if header.e_type(endian) != kind {
            return Err(wrong(match part {
                Part::Kernel => "it is not linked for a fixed address",
                Part::Program => "it is not a position-independent executable",
            }));
        }
        if usize::from(header.e_phentsize(endian))
            != size_of::<elf::ProgramHeader64<LittleEndian>>()
        {
            return Err(wrong("its program headers have an unknown length"));
        }

        let mut segments: Vec<Segment<'a>> = Vec::new();
        let mut offsets = Vec::new();
        let mut dynamic = Vec::new();
        let mut dynamic_start = 0;
        let mut frames = None;
        let headers = header.program_headers(endian, file).map_err(broken)?;
        for ph in headers {
            let flags = ph.p_flags(endian);
            match ph.p_type(endian) {
                elf::PT_LOAD => {
                    let bytes =
                        ph.data(endian, file).map_err(|()| wrong("a segment is cut off"))?;
                    let start = ph.p_vaddr(endian);
                    let end = start.checked_add(ph.p_memsz(endian)).filter(|end| *end <= LIMIT);
                    let end = end.ok_or_else(|| wrong("a segment lies too high"))?;
                    if bytes.len() as u64 > end - start {
                        return Err(wrong("a segment is longer in the file than in memory"));
                    }
                    let writable = flags & elf::PF_W != 0;
                    if writable && flags & elf::PF_X != 0 {
                        return Err(wrong("a segment is both writable and executable"));
                    }
                    if start == end {
                        continue;
                    }
                    if segments.len() == MAX_SEGMENTS {
                        return Err(wrong("it has too many segments"));
                    }
                    offsets.push(ph.p_offset(endian));
                    segments.push(Segment { start, bytes, end, writable });
                }
                elf::PT_INTERP => return Err(wrong("it is not linked statically")),
                elf::PT_GNU_STACK if flags & elf::PF_X != 0 => {
                    return Err(wrong("it asks for an executable stack"));
                }
                elf::PT_GNU_EH_FRAME => {
                    frames = Some(ph.p_vaddr(endian)).filter(|at| *at <= LIMIT);
                }
                elf::PT_DYNAMIC => {
                    dynamic_start = ph.p_vaddr(endian);
                    if let Some(entries) = ph.dynamic(endian, file).map_err(broken)? {
                        let entry =
                            |d: &elf::Dyn64<LittleEndian>| (d.d_tag(endian), d.d_val(endian));
                        dynamic.extend(entries.iter().map(entry).take_while(|d| d.0 != 0));
                    }
                }
                _ => {}
            }
        }

        let mut last: Option<&Segment<'_>> = None;
        for segment in &segments {
            if let Some(last) = last {
                if segment.start < last.end {
                    return Err(wrong("its segments overlap or are out of order"));
                }
                if last.writable && !segment.writable {
                    return Err(wrong("it has constants or code behind its data"));
                }
            }
            last = Some(segment);
        }
        if segments.first().is_none_or(|s| s.writable) {
            return Err(wrong("it has no code"));
        }

        let loaded = |offset: u64, len: usize| {
            segments.iter().zip(&offsets).find_map(|(segment, segment_offset)| {
                let inside = offset.checked_sub(*segment_offset)?;
                let end = inside.checked_add(len as u64)?;
                (end <= segment.bytes.len() as u64).then_some(segment.start + inside)
            })
        };

        let mut this = Self {
            part,
            entry: header.e_entry(endian),
            header: loaded(0, size_of_val(header)),
            phdr: loaded(header.e_phoff(endian), size_of_val(headers)).unwrap_or(0),
            phnum: headers.len() as u64,
            segments,
            code: Vec::new(),
            functions: Functions::default(),
            dynamic,
            dynamic_start,
        };
        if part == Part::Program && this.phdr == 0 {
            return Err(wrong("its program headers are not loaded"));
        }
        if !this.segments.iter().any(|s| !s.writable && (s.start..s.end).contains(&this.entry)) {
            return Err(wrong("its entry is not in its text"));
        }
        this.read_sections(header, endian, file)?;
        if let Some(frames) = frames {
            this.functions = functions::read(&this, frames);
        }
        Ok(this)
    }

    /// Where the ELF header itself is in memory, if a segment holds it whole.
    pub(crate) fn loaded_header(&self) -> Option<u64> {
        self.header
    }

    /// Finds code by the section headers, if there are any.
    fn read_sections(
        &mut self,
        header: &elf::FileHeader64<LittleEndian>,
        endian: LittleEndian,
        file: &'a [u8],
    ) -> Result<(), BuildError> {
        let part = self.part;
        let broken = |e: object::read::Error| BuildError::elf(part, e.to_string());
        let sections = header.sections(endian, file).map_err(broken)?;
        for section in sections.iter() {
            let flags = section.sh_flags(endian);
            if flags & u64::from(elf::SHF_ALLOC) == 0 {
                continue;
            }
            if section.sh_addralign(endian) > keep_layout::PAGE {
                return Err(BuildError::elf(part, "a section is aligned to more than a page"));
            }
            let start = section.sh_addr(endian);
            let Some(end) = start.checked_add(section.sh_size(endian)) else { continue };
            if flags & u64::from(elf::SHF_EXECINSTR) != 0 && self.bytes(start..end).is_some() {
                self.code.push(start..end);
            }
        }
        self.code.sort_by_key(|range| (range.start, range.end));
        if self.code.iter().zip(self.code.iter().skip(1)).any(|(one, next)| one.end > next.start) {
            return Err(BuildError::elf(part, "its sections of code overlap"));
        }

        Ok(())
    }

    /// Whether the address lies in a section with code.
    pub(crate) fn is_code(&self, address: u64) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }

    /// The bytes of the file at these addresses, if they are all from one read-only segment.
    pub(crate) fn bytes(&self, range: Range<u64>) -> Option<&'a [u8]> {
        self.find(range, false)
    }

    fn find(&self, range: Range<u64>, also_writable: bool) -> Option<&'a [u8]> {
        self.segments.iter().filter(|s| also_writable || !s.writable).find_map(|segment| {
            let start = range.start.checked_sub(segment.start)?;
            let end = range.end.checked_sub(segment.start)?;
            segment.bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
        })
    }

    /// A word of the file.
    fn word(&self, address: u64) -> Option<u64> {
        let bytes = self.find(address..address.checked_add(8)?, true)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The relocations that the program applies to itself: where, and which address it puts there.
    pub(crate) fn relocations(&self) -> Result<Vec<(u64, u64)>, BuildError> {
        let part = self.part;
        let wrong = |problem: &str| BuildError::elf(part, problem);
        let cut = || BuildError::elf(part, "its relocations are cut off");
        let value = |tag: i64| self.dynamic.iter().find(|d| d.0 == tag).map(|d| d.1);
        let table = |start: i64, size: i64| -> Result<&'a [u8], BuildError> {
            let (Some(start), Some(size)) = (value(start), value(size)) else { return Ok(&[]) };
            self.find(start..start.checked_add(size).ok_or_else(cut)?, true).ok_or_else(cut)
        };

        let mut found = Vec::new();
        let tables =
            [table(elf::DT_RELA, elf::DT_RELASZ)?, table(elf::DT_JMPREL, elf::DT_PLTRELSZ)?];
        for entry in tables.iter().flat_map(|table| table.as_chunks::<24>().0) {
            let word = |at: usize| {
                entry.iter().skip(at).take(8).rev().fold(0, |w, b| w << 8 | u64::from(*b))
            };
            let kind = word(8) & 0xffff_ffff;
            if kind == u64::from(elf::R_X86_64_RELATIVE)
                || kind == u64::from(elf::R_X86_64_IRELATIVE)
            {
                found.push((word(0), word(16)));
            } else if kind != u64::from(elf::R_X86_64_NONE) && word(8) >> 32 == 0 {
                // Thread-local and the like: no address of code.
                found.push((word(0), 0));
            } else if kind != u64::from(elf::R_X86_64_NONE) {
                return Err(wrong(
                    "it has relocations against symbols: it is not linked statically",
                ));
            }
        }

        // RELR: an even word is the place of a relocation; an odd one is a bit map of the 63 words
        // that follow.
        let mut next = 0_u64;
        for entry in table(elf::DT_RELR, elf::DT_RELRSZ)?.as_chunks::<8>().0 {
            let entry = u64::from_le_bytes(*entry);
            let mut place = |at: u64| found.push((at, self.word(at).unwrap_or(0)));
            if entry & 1 == 0 {
                place(entry);
                next = entry.wrapping_add(8);
            } else {
                for bit in (1..64).filter(|bit| entry >> bit & 1 != 0) {
                    place(next.wrapping_add((bit - 1) * 8));
                }
                next = next.wrapping_add(63 * 8);
            }
        }

        let text =
            |at: &u64| self.segments.iter().any(|s| !s.writable && (s.start..s.end).contains(at));
        if found.iter().any(|(at, _)| text(at) || text(&at.wrapping_add(7))) {
            return Err(wrong("it has relocations in its text"));
        }
        Ok(found)
    }
    /// Those relocations of the main table that whoever knows the program's base can apply: the
    /// first ones, which linkers sort so. `None` if there are none, or if the dynamic section is
    /// not one of which they could be taken out.
    pub(crate) fn relative(&self) -> Option<Relative> {
        let entry = |tag: i64| {
            let mut found =
                self.dynamic.iter().zip((self.dynamic_start.checked_add(8)?..).step_by(16));
            let one = found.find(|(entry, _)| entry.0 == tag).map(|(entry, at)| (at, entry.1));
            // Of two with one tag nobody says which one counts.
            one.filter(|_| !found.any(|(entry, _)| entry.0 == tag))
        };
        let (rela, size) = (entry(elf::DT_RELA)?, entry(elf::DT_RELASZ)?);
        let bytes = self.find(rela.1..rela.1.checked_add(size.1)?, false)?;
        let mut words = Vec::new();
        for relocation in bytes.as_chunks::<24>().0 {
            let [at, kind, to] = [0, 8, 16].map(|at| {
                relocation.iter().skip(at).take(8).rev().fold(0, |w, b| w << 8 | u64::from(*b))
            });
            let inside =
                |s: &Segment<'_>| s.writable && s.start <= at && at <= s.end.saturating_sub(8);
            if kind != u64::from(elf::R_X86_64_RELATIVE) || !self.segments.iter().any(inside) {
                break;
            }
            words.push((at, to));
        }
        let taken = 24 * words.len() as u64;
        let table = rela.1..rela.1 + taken;
        let mut dynamic = vec![(rela.0, table.end), (size.0, size.1 - taken)];
        if let Some((at, _)) = entry(elf::DT_RELACOUNT) {
            dynamic.push((at, 0));
        }
        let data = |at: &u64| {
            self.find(*at..at.saturating_add(8), true).is_some()
                && self.find(*at..*at + 8, false).is_none()
        };
        (!words.is_empty() && dynamic.iter().all(|(at, _)| data(at))).then_some(Relative {
            table,
            words,
            dynamic,
        })
    }
}

// SPDX-License-Identifier: Apache-2.0

//! An image as one block of bytes.
//!
//! All numbers are little-endian words of 64 bit:
//!
//! | words | content |
//! |---|---|
//! | 1 | `KEEPIMAG` |
//! | 1 | version, 2 |
//! | 19 | the start information, as it is in the image |
//! | 21 | the processor's state |
//! | 2 | `syscall`s rewritten, `syscall`s left |
//! | 1 | number of runs |
//! | 3 for each run | physical address, length in bytes, kind (0 tables, 1 text, 2 data) |
//!
//! Zeros fill up to a whole page; the pages of all runs follow, and nothing behind them. The bytes
//! come from the same build as the code that reads them. They are checked nevertheless, because
//! the addresses decide where a launch writes.

use std::borrow::Cow;

use keep_layout::{PAGE, SHARED_PHYS, StartInfo};

use crate::cpu::Start;
use crate::error::DecodeError;
use crate::image::{Image, PageKind, Run};
use crate::rewrite::Syscalls;

const MAGIC: u64 = u64::from_le_bytes(*b"KEEPIMAG");
const VERSION: u64 = 2;
/// More runs than any two ELF files that the builder takes can give.
const MAX_RUNS: u64 = 256;

impl Image<'_> {
    /// The image as one block of bytes, for [`Image::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let mut words = vec![MAGIC, VERSION];
        words.extend(self.info.to_words());
        words.extend(self.start.to_words());
        words.extend([self.syscalls.rewritten, self.syscalls.left, self.runs.len() as u64]);
        words.extend(self.runs.iter().flat_map(|run| [run.phys, run.len, code(run.kind)]));
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
        bytes.extend_from_slice(&self.pages);
        bytes
    }
}

impl<'a> Image<'a> {
    /// Reads an encoded image without copying its pages.
    ///
    /// # Errors
    ///
    /// If these bytes are not what [`Image::encode`] gives.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut words = Words(bytes);
        if words.next() != Ok(MAGIC) {
            return Err(DecodeError::Magic);
        }
        match words.next()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let info = StartInfo::from_words(&words.take()?);
        let start = Start::from_words(&words.take()?);
        let [rewritten, left, count] = words.take()?;
        if count > MAX_RUNS {
            return Err(DecodeError::Run);
        }
        let mut runs = Vec::new();
        let mut end = 0;
        let mut size = 0;
        for _ in 0..count {
            let [phys, len, kind] = words.take()?;
            let kind = kind_of(kind).ok_or(DecodeError::Run)?;
            let whole = phys.is_multiple_of(PAGE) && len.is_multiple_of(PAGE) && len != 0;
            if !whole || phys < end {
                return Err(DecodeError::Run);
            }
            end =
                phys.checked_add(len).filter(|end| *end <= SHARED_PHYS).ok_or(DecodeError::Run)?;
            size += len;
            runs.push(Run { phys, len, kind });
        }
        if end > info.image_end || info.image_end > SHARED_PHYS {
            return Err(DecodeError::Run);
        }
        let header = (bytes.len() - words.0.len()).next_multiple_of(PAGE as usize);
        let pages = bytes.get(header..).ok_or(DecodeError::Length)?;
        if pages.len() as u64 != size {
            return Err(DecodeError::Length);
        }

        let syscalls = Syscalls { rewritten, left };
        let image = Self { info, start, syscalls, runs, pages: Cow::Borrowed(pages) };
        let measured = image.measured_info().ok_or(DecodeError::Info)?;
        if measured != info || info.magic != StartInfo::MAGIC || info.version != StartInfo::VERSION
        {
            return Err(DecodeError::Info);
        }
        Ok(image)
    }

    /// The start information as the kernel will see it.
    fn measured_info(&self) -> Option<StartInfo> {
        let phys = self.start.rdi.checked_sub(self.info.data_start)?;
        let phys = phys.checked_add(self.info.data_phys)?;
        self.runs().find_map(|(run, bytes)| {
            let at = usize::try_from(phys.checked_sub(run.phys)?).ok()?;
            Words(bytes.get(at..)?).take().ok().map(|words| StartInfo::from_words(&words))
        })
    }
}

/// The words that were not read yet.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> Result<u64, DecodeError> {
        let (word, rest) = self.0.split_first_chunk().ok_or(DecodeError::Length)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*word))
    }

    fn take<const N: usize>(&mut self) -> Result<[u64; N], DecodeError> {
        let mut words = [0; N];
        for word in &mut words {
            *word = self.next()?;
        }
        Ok(words)
    }
}

fn code(kind: PageKind) -> u64 {
    match kind {
        PageKind::Tables => 0,
        PageKind::Text => 1,
        PageKind::Data => 2,
    }
}

fn kind_of(code: u64) -> Option<PageKind> {
    match code {
        0 => Some(PageKind::Tables),
        1 => Some(PageKind::Text),
        2 => Some(PageKind::Data),
        _ => None,
    }
}

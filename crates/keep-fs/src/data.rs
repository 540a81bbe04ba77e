// SPDX-License-Identifier: Apache-2.0

//! The bytes of one file, in chunks.
//!
//! A file is a list of chunks sorted by their place. A chunk that is not there is a hole; a chunk
//! may be shorter than [`CHUNK`] and reads as zeros from there on, so a small file costs little
//! more than its bytes. All memory is asked for fallibly: a full Keep is `ENOSPC`, not an abort.

use alloc::vec::Vec;

use crate::abi::Errno;

/// Bytes that one chunk covers.
pub(crate) const CHUNK: usize = 64 * 1024;
/// What the list pays for a chunk besides its bytes.
const CHUNK_COST: u64 = size_of::<Chunk>() as u64;

/// The bytes that everything in the file system shares.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) used: u64,
    pub(crate) max: u64,
}

impl Budget {
    /// Whether that much more fits.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), Errno> {
        match self.used.checked_add(bytes) {
            Some(sum) if sum <= self.max => Ok(()),
            _ => Err(Errno::ENOSPC),
        }
    }

    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), Errno> {
        self.check(bytes)?;
        self.used += bytes;
        Ok(())
    }

    pub(crate) fn give(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }
}

#[derive(Debug)]
struct Chunk {
    /// Its place: it covers the bytes from `index * CHUNK` on.
    index: u64,
    bytes: Vec<u8>,
}

impl Chunk {
    fn cost(&self) -> u64 {
        self.bytes.capacity() as u64 + CHUNK_COST
    }
}

/// The content of a file.
#[derive(Debug, Default)]
pub(crate) struct Data {
    chunks: Vec<Chunk>,
    size: u64,
}

impl Data {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory that the file holds.
    pub(crate) fn cost(&self) -> u64 {
        self.chunks.iter().map(Chunk::cost).sum()
    }

    /// Where chunk `index` is, or where it would have to go.
    fn find(&self, index: u64) -> Result<usize, usize> {
        // Without holes a chunk's place in the list is its index.
        if let Ok(guess) = usize::try_from(index)
            && self.chunks.get(guess).is_some_and(|chunk| chunk.index == index)
        {
            return Ok(guess);
        }
        self.chunks.binary_search_by_key(&index, |chunk| chunk.index)
    }

    /// Reads at `offset`; short only at the end of the file.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let len = self.size.saturating_sub(offset).min(out.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let (index, start) = split(offset + done as u64);
            let part = &mut out[done..len.min(done + CHUNK - start)];
            let have = match self.find(index) {
                Ok(at) => self.chunks[at].bytes.get(start..).unwrap_or(&[]),
                Err(_) => &[],
            };
            let copied = have.len().min(part.len());
            part[..copied].copy_from_slice(&have[..copied]);
            part[copied..].fill(0);
            done += part.len();
        }
        len
    }

    /// Writes at `offset`; short if the space runs out on the way. The caller has made sure that
    /// the end does not overflow.
    pub(crate) fn write(
        &mut self,
        offset: u64,
        bytes: &[u8],
        budget: &mut Budget,
    ) -> Result<usize, Errno> {
        let mut done = 0;
        while done < bytes.len() {
            let (index, start) = split(offset + done as u64);
            let part = &bytes[done..bytes.len().min(done + CHUNK - start)];
            match self.ensure(index, start + part.len(), budget) {
                Ok(chunk) => chunk[start..start + part.len()].copy_from_slice(part),
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
            done += part.len();
            self.size = self.size.max(offset + done as u64);
        }
        Ok(done)
    }

    /// Makes memory for the range, so that writing there cannot fail for want of space.
    pub(crate) fn reserve(
        &mut self,
        offset: u64,
        len: u64,
        budget: &mut Budget,
    ) -> Result<(), Errno> {
        let end = offset + len;
        // Refuse at once what cannot fit, before memory is touched for it.
        budget.check(len.saturating_sub(self.cost()))?;
        let mut at = offset;
        while at < end {
            let (index, start) = split(at);
            let part = (end - at).min((CHUNK - start) as u64) as usize;
            self.ensure(index, start + part, budget)?;
            at += part as u64;
        }
        Ok(())
    }

    /// Cuts or extends; what is cut off is freed, what is added is a hole.
    pub(crate) fn resize(&mut self, size: u64, budget: &mut Budget) {
        let (index, start) = split(size);
        let keep = match self.find(index) {
            Ok(at) if start > 0 => {
                self.chunks[at].bytes.truncate(start);
                at + 1
            }
            Ok(at) | Err(at) => at,
        };
        for chunk in self.chunks.drain(keep..) {
            budget.give(chunk.cost());
        }
        if self.chunks.is_empty() {
            self.chunks = Vec::new();
        }
        self.size = size;
    }

    /// The first byte of data at or after `offset`.
    pub(crate) fn next_data(&self, offset: u64) -> Option<u64> {
        let (index, start) = split(offset);
        let at = match self.find(index) {
            Ok(at) if start < self.chunks[at].bytes.len() => return Some(offset),
            Ok(at) => at + 1,
            Err(at) => at,
        };
        let next = self.chunks.get(at)?.index * CHUNK as u64;
        (next < self.size).then_some(next)
    }

    /// The first byte of a hole at or after `offset`; the end of the file counts as one.
    pub(crate) fn next_hole(&self, mut offset: u64) -> u64 {
        while offset < self.size {
            let (index, start) = split(offset);
            let end = match self.find(index) {
                Ok(at) => self.chunks[at].bytes.len(),
                Err(_) => 0,
            };
            if end < CHUNK {
                offset += end.saturating_sub(start) as u64;
                break;
            }
            offset += (CHUNK - start) as u64;
        }
        offset.min(self.size)
    }

    /// Chunk `index` with at least its first `end` bytes there.
    fn ensure(&mut self, index: u64, end: usize, budget: &mut Budget) -> Result<&mut [u8], Errno> {
        let at = match self.find(index) {
            Ok(at) => {
                grow(&mut self.chunks[at].bytes, end, budget)?;
                at
            }
            Err(at) => {
                self.chunks.try_reserve(1).map_err(|_| Errno::ENOSPC)?;
                budget.take(CHUNK_COST)?;
                let mut bytes = Vec::new();
                grow(&mut bytes, end, budget).inspect_err(|_| budget.give(CHUNK_COST))?;
                self.chunks.insert(at, Chunk { index, bytes });
                at
            }
        };
        Ok(&mut self.chunks[at].bytes)
    }
}

/// Which chunk holds the byte at `offset`, and where in it.
fn split(offset: u64) -> (u64, usize) {
    (offset / CHUNK as u64, (offset % CHUNK as u64) as usize)
}

/// Lengthens a chunk with zeros. Its memory doubles, so that many small writes cost few copies,
/// unless only the bare need still fits.
fn grow(bytes: &mut Vec<u8>, end: usize, budget: &mut Budget) -> Result<(), Errno> {
    if bytes.len() >= end {
        return Ok(());
    }
    let old = bytes.capacity();
    if old < end {
        let roomy = end.next_power_of_two().clamp(64, CHUNK);
        let want = match budget.check((roomy - old) as u64) {
            Ok(()) => roomy,
            Err(_) => end,
        };
        budget.check((want - old) as u64)?;
        bytes.try_reserve_exact(want - bytes.len()).map_err(|_| Errno::ENOSPC)?;
        // An allocator may give more than was asked for.
        budget.used += (bytes.capacity() - old) as u64;
    }
    bytes.resize(end, 0);
    Ok(())
}

// SPDX-License-Identifier: Apache-2.0

//! The bytes of one file, in chunks.
//!
//! A file is a map of chunks by their place. A chunk that is not there is a hole; a chunk may be
//! shorter than [`CHUNK`] and reads as zeros from there on, so a small file costs little more than
//! its bytes. Their memory is asked for fallibly: a full Keep is `ENOSPC`, not an abort.

use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;

use crate::{Errno, Result};

/// Bytes that one chunk covers.
pub(crate) const CHUNK: usize = 64 * 1024;
/// What the map pays for a chunk besides its bytes, about.
const CHUNK_COST: u64 = 64;

/// The bytes that everything in the file system shares.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) used: u64,
    pub(crate) max: u64,
}

impl Budget {
    /// Whether that much more fits.
    pub(crate) fn check(&self, bytes: u64) -> Result<()> {
        match self.used.checked_add(bytes) {
            Some(sum) if sum <= self.max => Ok(()),
            _ => Err(Errno::ENOSPC),
        }
    }

    pub(crate) fn take(&mut self, bytes: u64) -> Result<()> {
        self.check(bytes)?;
        self.used += bytes;
        Ok(())
    }

    pub(crate) fn give(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }
}

/// The content of a file.
#[derive(Debug, Default)]
pub(crate) struct Data {
    /// By their place: chunk `n` covers the bytes from `n * CHUNK` on.
    chunks: BTreeMap<u64, Vec<u8>>,
    size: u64,
}

impl Data {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory that the file holds.
    pub(crate) fn cost(&self) -> u64 {
        self.chunks.values().map(chunk_cost).sum()
    }

    /// Reads at `offset`; short only at the end of the file.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let len = self.size.saturating_sub(offset).min(out.len() as u64) as usize;
        let mut done = 0;
        while done < len {
            let (index, start) = split(offset + done as u64);
            let part = &mut out[done..len.min(done + CHUNK - start)];
            let have = self.chunks.get(&index).and_then(|chunk| chunk.get(start..)).unwrap_or(&[]);
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
    ) -> Result<usize> {
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

    /// Cuts or extends; what is cut off is freed, what is added is a hole.
    pub(crate) fn resize(&mut self, size: u64, budget: &mut Budget) {
        let (index, start) = split(size);
        let mut gone = self.chunks.split_off(&index);
        if start > 0
            && let Some(mut chunk) = gone.remove(&index)
        {
            chunk.truncate(start);
            self.chunks.insert(index, chunk);
        }
        budget.give(gone.values().map(chunk_cost).sum());
        self.size = size;
    }

    /// Chunk `index` with at least its first `end` bytes there.
    fn ensure(&mut self, index: u64, end: usize, budget: &mut Budget) -> Result<&mut [u8]> {
        match self.chunks.entry(index) {
            Entry::Occupied(entry) => {
                let chunk = entry.into_mut();
                grow(chunk, end, budget)?;
                Ok(chunk)
            }
            Entry::Vacant(entry) => {
                budget.take(CHUNK_COST)?;
                let mut chunk = Vec::new();
                grow(&mut chunk, end, budget).inspect_err(|_| budget.give(CHUNK_COST))?;
                Ok(entry.insert(chunk))
            }
        }
    }
}

/// What a chunk is charged for.
fn chunk_cost(chunk: &Vec<u8>) -> u64 {
    chunk.capacity() as u64 + CHUNK_COST
}

/// Which chunk holds the byte at `offset`, and where in it.
fn split(offset: u64) -> (u64, usize) {
    (offset / CHUNK as u64, (offset % CHUNK as u64) as usize)
}

/// Lengthens a chunk with zeros. Its memory doubles, so that many small writes cost few copies,
/// unless only the bare need still fits.
fn grow(bytes: &mut Vec<u8>, end: usize, budget: &mut Budget) -> Result<()> {
    if bytes.len() >= end {
        return Ok(());
    }
    let old = bytes.capacity();
    if old < end {
        let roomy = end.next_power_of_two().clamp(64, CHUNK);
        let want = if budget.check((roomy - old) as u64).is_ok() { roomy } else { end };
        budget.check((want - old) as u64)?;
        bytes.try_reserve_exact(want - bytes.len()).map_err(|_| Errno::ENOSPC)?;
        // An allocator may give more than was asked for.
        budget.used += (bytes.capacity() - old) as u64;
    }
    bytes.resize(end, 0);
    Ok(())
}

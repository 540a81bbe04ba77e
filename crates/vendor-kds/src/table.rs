// SPDX-License-Identifier: Apache-2.0

//! The certificate table of extended guest requests (AMD 56421, GHCB, 4.1.8.1 of revision 2).
//!
//! A host gives a guest its certificates in one block: entries of 24 bytes (16 of a GUID in the order in
//! which it is written, offset and length in 32 bits each, little-endian), one of zeros at their end, and
//! then what the entries point to. Kernels before 6.11 that AMD patched kept such a block; since then KVM
//! asks the program that runs the guest, and administrators keep the block in a file. Cloud providers put
//! the VLEK there, which nobody but them can fetch.
//!
//! Pure logic: what is in a block is believed by nobody before its signatures are checked.

/// An entry of the table, and its end.
const ENTRY: usize = 24;
/// No table has a reason to have more entries.
const MAX_ENTRIES: usize = 64;
/// Nor more bytes: KVM lets a guest set aside as many pages as it likes, and four certificates need two.
const MAX_SIZE: usize = 256 << 10;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Entry {
    /// The chip's key.
    Vcek,
    /// The cloud provider's key.
    Vlek,
    /// The intermediate authority, ASK or ASVK.
    Ask,
    /// The root.
    Ark,
    /// A revocation list.
    Crl,
}

impl Entry {
    /// All that are known.
    pub const ALL: [Self; 5] = [Self::Vcek, Self::Vlek, Self::Ask, Self::Ark, Self::Crl];

    /// Its GUID, byte by byte as it is in a table.
    #[must_use]
    pub fn guid(self) -> [u8; 16] {
        let guid: u128 = match self {
            Self::Vcek => 0x63da758d_e664_4564_adc5_f4b93be8accd,
            Self::Vlek => 0xa8074bc2_a25a_483e_aae6_39c045a0b8a1,
            Self::Ask => 0x4ab7b379_bbac_4fe4_a02f_05aef327c782,
            Self::Ark => 0xc0b406a4_a803_4952_9743_3fb6014cd0ae,
            Self::Crl => 0x92f81bc3_5811_4d3d_97ff_d19f88dc67ea,
        };
        guid.to_be_bytes()
    }

    fn of(guid: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|entry| entry.guid() == guid)
    }
}

/// Why a block is no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// More than 256 KiB.
    #[error("the certificate table is larger than 256 KiB")]
    TooLarge,
    /// No entry of zeros in the block, or not among the first 65.
    #[error("the certificate table has no end")]
    NoEnd,
    /// An entry points out of the block, or into the entries.
    #[error("entry {0} of the certificate table does not point to something in it")]
    Range(usize),
    /// The same kind of entry twice.
    #[error("the certificate table has two entries of the same kind ({0:?})")]
    Twice(Entry),
}

/// A table, read but not believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table<'a> {
    /// What it holds, in its order.
    pub entries: Vec<(Entry, &'a [u8])>,
    /// How many entries are of kinds that are not known here.
    pub unknown: usize,
}

impl<'a> Table<'a> {
    /// Reads a block. An empty one is an empty table.
    ///
    /// # Errors
    ///
    /// [`TableError`].
    pub fn parse(block: &'a [u8]) -> Result<Self, TableError> {
        if block.len() > MAX_SIZE {
            return Err(TableError::TooLarge);
        }
        if block.is_empty() {
            return Ok(Self::default());
        }
        let (heads, _) = block.as_chunks::<ENTRY>();
        let count = heads
            .iter()
            .take(MAX_ENTRIES + 1)
            .position(|head| head.starts_with(&[0; 16]))
            .ok_or(TableError::NoEnd)?;
        let mut table = Self::default();
        for (number, head) in heads.iter().take(count).enumerate() {
            let (guid, place) = head.split_at(16);
            let (offset, length) = place.split_at(4);
            let number_of = |bytes: &[u8]| {
                bytes.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
            };
            let (offset, length) = (number_of(offset), number_of(length));
            let bytes = offset
                .checked_add(length)
                .filter(|_| offset >= (count + 1) * ENTRY && length > 0)
                .and_then(|end| block.get(offset..end))
                .ok_or(TableError::Range(number))?;
            let Some(entry) = Entry::of(guid) else {
                table.unknown += 1;
                continue;
            };
            if table.get(entry).is_some() {
                return Err(TableError::Twice(entry));
            }
            table.entries.push((entry, bytes));
        }
        Ok(table)
    }

    /// The entry of that kind.
    #[must_use]
    pub fn get(&self, entry: Entry) -> Option<&'a [u8]> {
        self.entries.iter().find(|(one, _)| *one == entry).map(|(_, bytes)| *bytes)
    }

    /// Writes the block, of as many bytes as it needs. Who gives it to a guest fills up the last page.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut heads = Vec::new();
        let mut bodies = Vec::new();
        let start = (self.entries.len() + 1) * ENTRY;
        for (entry, bytes) in &self.entries {
            let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX).to_le_bytes();
            heads.extend_from_slice(&entry.guid());
            heads.extend_from_slice(&place(start + bodies.len()));
            heads.extend_from_slice(&place(bytes.len()));
            bodies.extend_from_slice(bytes);
        }
        heads.extend_from_slice(&[0; ENTRY]);
        heads.append(&mut bodies);
        heads
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_block_by_hand() {
        // GUID of a VCEK, offset 48, length 3; the end; three bytes.
        let mut block = vec![
            0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8,
            0xac, 0xcd, 48, 0, 0, 0, 3, 0, 0, 0,
        ];
        block.extend_from_slice(&[0; 24]);
        block.extend_from_slice(b"abc");
        let table = Table::parse(&block).unwrap();
        assert_eq!(table.entries, [(Entry::Vcek, &b"abc"[..])]);
        assert_eq!(table.to_bytes(), block);
        // Padding of the last page is no part of anything.
        let mut padded = block.clone();
        padded.resize(4096, 0);
        assert_eq!(Table::parse(&padded).unwrap(), table);
        // One byte less, and the entry points out of the block.
        assert_eq!(Table::parse(&block[..50]), Err(TableError::Range(0)));
        // Into the entries.
        let mut inside = block.clone();
        inside[16] = 47;
        assert_eq!(Table::parse(&inside), Err(TableError::Range(0)));
        // Beyond what 32 bits can add up to.
        let mut wrapped = block.clone();
        wrapped[16..24].fill(0xff);
        assert_eq!(Table::parse(&wrapped), Err(TableError::Range(0)));
        // Another GUID is somebody else's business.
        let mut unknown = block.clone();
        unknown[0] ^= 1;
        assert_eq!(Table::parse(&unknown).unwrap(), Table { entries: vec![], unknown: 1 });
        // Without an end.
        assert_eq!(Table::parse(&block[..24]), Err(TableError::NoEnd));
        assert_eq!(Table::parse(&block[..10]), Err(TableError::NoEnd));
        assert_eq!(Table::parse(&[1; 24 * 80]), Err(TableError::NoEnd));
        assert_eq!(Table::parse(&[]), Ok(Table::default()));
        assert_eq!(Table::parse(&vec![0; MAX_SIZE + 1]), Err(TableError::TooLarge));
        let twice = Table { entries: vec![(Entry::Ask, b"1"), (Entry::Ask, b"2")], unknown: 0 };
        assert_eq!(Table::parse(&twice.to_bytes()), Err(TableError::Twice(Entry::Ask)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bodies in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 1..200), 0..=5)
        ) {
            let entries = Entry::ALL.into_iter().zip(bodies.iter().map(Vec::as_slice)).collect();
            let table = Table { entries, unknown: 0 };
            let block = table.to_bytes();
            prop_assert_eq!(Table::parse(&block), Ok(table));
        }

        #[test]
        fn anything_is_survived(
            mut block in prop::collection::vec(any::<u8>(), 0..400),
            heads in prop::collection::vec((0_usize..6, any::<u8>(), any::<u8>()), 0..4),
        ) {
            for (number, (entry, offset, length)) in heads.into_iter().enumerate() {
                let Some(head) = block.get_mut(number * ENTRY..(number + 1) * ENTRY) else { break };
                head.fill(0);
                if let Some(entry) = Entry::ALL.get(entry) {
                    head[..16].copy_from_slice(&entry.guid());
                    (head[16], head[20]) = (offset, length);
                }
            }
            let _ = Table::parse(&block);
        }
    }
}

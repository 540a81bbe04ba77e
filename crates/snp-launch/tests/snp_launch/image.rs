// SPDX-License-Identifier: Apache-2.0

//! Images by hand, in the form that `keep-image` encodes them in.

use keep_layout::{
    IMAGE_PHYS, KERNEL_DATA, PAGE, SHARED_PHYS, STUB_CODE, StartInfo, TABLES_PHYS, TASK_STATE,
    USER_CODE, USER_DATA,
};

/// Bytes at an address, with the kind of page that they are encoded as.
pub(crate) type Piece = (u64, u64, Vec<u8>);

const PRESENT: u64 = 0x27;

/// Where the page of start information is: the first of the data.
pub(crate) const INFO_PHYS: u64 = IMAGE_PHYS + (2 << 20);

/// Two pages of tables: one entry leads to the other table, one is empty, one is the shared block.
fn tables() -> Vec<u8> {
    let mut words = [0_u64; 1024];
    words[0] = (TABLES_PHYS + PAGE) | PRESENT;
    words[512] = IMAGE_PHYS | PRESENT | 0x80;
    words[513] = SHARED_PHYS | PRESENT | 0x80 | 1 << 63;
    words[514] = (IMAGE_PHYS + (2 << 20)) | PRESENT | 1 << 63;
    words[515] = 0x1000;
    words.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// What the other processors start with: their blocks, and their first instruction.
pub(crate) const BLOCKS: u64 = KERNEL_DATA + 0x40;
pub(crate) const NEXT: u64 = 0x1478_0050;

/// An image whose pages are the tables, the start information, and these.
pub(crate) fn encode(pieces: Vec<Piece>, image_end: u64, tables_pages: u64) -> Vec<u8> {
    let info = StartInfo {
        magic: StartInfo::MAGIC,
        version: StartInfo::VERSION,
        program_base: 0,
        program_entry: 0,
        program_phdr: 0,
        program_phent: 56,
        program_phnum: 0,
        text_start: KERNEL_DATA - (2 << 20),
        text_end: KERNEL_DATA,
        text_phys: IMAGE_PHYS,
        data_start: KERNEL_DATA,
        data_end: KERNEL_DATA + (image_end - INFO_PHYS),
        data_phys: INFO_PHYS,
        brk_start: KERNEL_DATA + PAGE,
        image_end,
        trampolines_start: 0,
        trampolines_end: 0,
        tables_root: TABLES_PHYS,
        tables_next: TABLES_PHYS + 2 * PAGE,
    };
    let start = [
        0x1478_0040,
        0,
        KERNEL_DATA,
        2,
        u64::from(USER_CODE),
        u64::from(USER_DATA),
        u64::from(TASK_STATE),
        KERNEL_DATA + 0xa00,
        0x10c,
        KERNEL_DATA + 0x400,
        0x4f,
        KERNEL_DATA + 0x800,
        0x1ff,
        0x8005_0033,
        TABLES_PHYS,
        0x0005_0620,
        0xd01,
        7,
        u64::from(USER_CODE - 16) << 48 | u64::from(STUB_CODE) << 32,
        0x1478_0080,
        0x0004_4700,
        BLOCKS,
        NEXT,
    ];
    let mut page: Vec<u8> = info.to_words().into_iter().flat_map(u64::to_le_bytes).collect();
    page.resize(PAGE as usize, 0);
    let mut table = tables();
    table.resize((tables_pages * PAGE) as usize, 1);
    let mut pieces = pieces;
    pieces.extend([(TABLES_PHYS, 0, table), (INFO_PHYS, 2, page)]);
    pieces.sort_by_key(|(at, ..)| *at);

    let mut words = vec![u64::from_le_bytes(*b"KEEPIMAG"), 2];
    words.extend(info.to_words());
    words.extend(start);
    words.extend([0, 0, pieces.len() as u64]);
    words.extend(pieces.iter().flat_map(|(at, kind, bytes)| [*at, bytes.len() as u64, *kind]));
    let mut out: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    out.resize(out.len().next_multiple_of(PAGE as usize), 0);
    pieces.iter().for_each(|(.., bytes)| out.extend_from_slice(bytes));
    out
}

/// Text with an empty page in the middle, and data behind a gap.
pub(crate) fn simple() -> Vec<u8> {
    let mut text = vec![0xcc; 3 * 4096];
    text[4096..8192].fill(0);
    let data = vec![0xdd; 4096];
    let pieces = vec![(IMAGE_PHYS + 0x10_0000, 1, text), (INFO_PHYS + 0x8000, 2, data)];
    encode(pieces, INFO_PHYS + (2 << 20), 2)
}

// SPDX-License-Identifier: Apache-2.0

//! ELF files made by hand, to say exactly what is in them.

use keep_layout::{KERNEL_DATA, KERNEL_TEXT, KernelHeader, VECTORS};

/// A segment to load: address, length in memory, rights (4 read, 2 write, 1 execute), bytes.
#[derive(Debug, Clone)]
pub(crate) struct Segment(pub(crate) u64, pub(crate) u64, pub(crate) u32, pub(crate) Vec<u8>);

/// An ELF file of these segments; the first is given the headers as its first bytes if asked for.
pub(crate) fn elf(kind: u16, entry: u64, segments: &[Segment], headers_inside: bool) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(kind.to_le_bytes());
    file.extend([0x3e, 0, 1, 0, 0, 0]);
    for word in [entry, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, segments.len() as u8, 0, 64, 0, 0, 0, 0, 0]);
    let headers = 64 + 56 * segments.len() as u64;
    let mut offset = headers;
    for (index, Segment(start, memory, rights, bytes)) in segments.iter().enumerate() {
        let inside = headers_inside && index == 0;
        let len = bytes.len() as u64 + if inside { headers } else { 0 };
        file.extend([1, 0, 0, 0]);
        file.extend(rights.to_le_bytes());
        let begin = if inside { 0 } else { offset };
        for word in [begin, *start, *start, len, *memory, 4096] {
            file.extend(word.to_le_bytes());
        }
        offset += bytes.len() as u64;
    }
    for Segment(.., bytes) in segments {
        file.extend(bytes);
    }
    file
}

/// The header of [`kernel`].
pub(crate) fn kernel_header() -> KernelHeader {
    let code = KERNEL_TEXT + 0x200;
    let mut vectors = [0; VECTORS];
    vectors[3] = code + 0x30;
    vectors[14] = code + 0x40;
    KernelHeader {
        magic: KernelHeader::MAGIC,
        version: KernelHeader::VERSION,
        entry: code,
        lstar: code + 0x10,
        syscall_entry: code + 0x20,
        cpuid_entry: code + 0x28,
        stub_stack_top: KERNEL_DATA + 0x1400,
        enclave_entry: code + 0x50,
        entry_next: code + 0x60,
        flush: code + 0x70,
        blocks: KERNEL_DATA + 0x400,
        vectors,
    }
}

/// A kernel of nonsense with a header.
pub(crate) fn kernel(header: &KernelHeader) -> Vec<u8> {
    let mut text: Vec<u8> = [
        header.magic,
        header.version,
        header.entry,
        header.lstar,
        header.syscall_entry,
        header.cpuid_entry,
        header.stub_stack_top,
        header.enclave_entry,
        header.entry_next,
        header.flush,
        header.blocks,
    ]
    .iter()
    .chain(&header.vectors)
    .flat_map(|word| word.to_le_bytes())
    .collect();
    text.resize(0x1800, 0x4b);
    elf(2, header.entry, &kernel_segments(text), false)
}

/// Text, and data of which a part is not in the file.
pub(crate) fn kernel_segments(text: Vec<u8>) -> Vec<Segment> {
    vec![
        Segment(KERNEL_TEXT, text.len() as u64, 5, text),
        Segment(KERNEL_DATA, 0x3000, 6, vec![0x4d; 0x1100]),
    ]
}

/// The segments of [`program`]: text and constants of almost five chunks, and data.
pub(crate) fn program_segments() -> Vec<Segment> {
    vec![
        Segment(0, 0x2000, 4, vec![0x52; 0x1e00]),
        Segment(0x2000, 0x90_1234, 5, vec![0x54; 0x90_1234]),
        Segment(0xb0_4560, 0x30_0000, 6, vec![0x57; 0x5008]),
    ]
}

/// A program of nonsense.
pub(crate) fn program() -> Vec<u8> {
    elf(3, 0x2010, &program_segments(), true)
}

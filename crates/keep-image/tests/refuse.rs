// SPDX-License-Identifier: Apache-2.0

//! Files that make no image are refused by a sentence, and never by a panic.

mod common;

use common::handmade::{Segment, elf, kernel, kernel_header, program, program_segments};
use keep_image::{BuildError, DecodeError, Image};
use keep_layout::{KERNEL_DATA, KERNEL_TEXT};
use proptest::prelude::*;

fn refused(kernel: &[u8], program: &[u8]) -> String {
    Image::build(kernel, program).unwrap_err().to_string()
}

#[test]
fn programs_that_do_not_fit_are_refused() {
    let good = kernel(&kernel_header());
    let with = |change: &dyn Fn(&mut Vec<Segment>)| {
        let mut segments = program_segments();
        change(&mut segments);
        refused(&good, &elf(3, 0x2010, &segments, true))
    };
    for (problem, message) in [
        ("cannot be used", refused(&good, b"\x7fELF\x02\x01\x01\0nothing at all")),
        ("cannot be used", refused(&good, &program()[..300])),
        ("not little-endian", {
            let mut other = program();
            other[5] = 2;
            refused(&good, &other)
        }),
        ("cannot be used", refused(&good, b"")),
        ("not a position-independent", refused(&good, &elf(2, 0, &program_segments(), true))),
        ("headers are not loaded", refused(&good, &elf(3, 0x2010, &program_segments(), false))),
        ("entry is not in its text", refused(&good, &elf(3, 0xb0_4560, &program_segments(), true))),
        ("both writable and executable", with(&|s| s[2].2 = 7)),
        ("no code", with(&|s| s.drain(..2).for_each(drop))),
        ("out of order", with(&|s| s[1].0 = 0x1000)),
        ("behind its data", with(&|s| s.push(Segment(0x100_0000, 8, 4, vec![0; 8])))),
        ("longer in the file", with(&|s| s[1].1 = 5)),
        ("too high", with(&|s| s[2].1 = u64::MAX)),
        ("too high", with(&|s| s[2].0 = u64::MAX - 5)),
        ("-z max-page-size", with(&|s| s[2].0 = 0x90_4000)),
        ("there is room for 0x4780000", with(&|s| (s[1].1, s[2].0) = (0x500_0000, 0x600_0000))),
        ("beyond 0x40000000", with(&|s| s[2].1 = 0x4000_0000)),
    ] {
        assert!(message.contains(problem), "{problem}: {message}");
    }
}

#[test]
fn kernels_that_do_not_fit_are_refused() {
    let with = |change: &dyn Fn(&mut keep_layout::KernelHeader)| {
        let mut header = kernel_header();
        change(&mut header);
        refused(&kernel(&header), &program())
    };
    let text = |start: u64| {
        let segments = [Segment(start, 16, 5, vec![0x90; 16])];
        refused(&elf(2, start, &segments, false), &program())
    };
    for (problem, message) in [
        ("fixed address", refused(&program(), &program())),
        ("header cannot be used: it is missing", text(KERNEL_TEXT)),
        ("the map has room", text(KERNEL_TEXT - 16)),
        ("the map has room", text(KERNEL_DATA - 8)),
        ("missing", with(&|h| h.magic += 1)),
        ("unknown version 7", with(&|h| h.version = 7)),
        ("not in the kernel's text", with(&|h| h.lstar = KERNEL_DATA)),
        ("not in the kernel's text", with(&|h| h.vectors[31] = u64::MAX)),
        ("not in the kernel's text", with(&|h| h.enclave_entry = KERNEL_DATA)),
        ("no stack", with(&|h| h.stub_stack_top += 8)),
        ("no stack", with(&|h| h.stub_stack_top = KERNEL_DATA)),
        ("no stack", with(&|h| h.stub_stack_top = KERNEL_DATA + 0x2000)),
        ("no processors", with(&|h| h.blocks = KERNEL_DATA + 0x2a00)),
        ("no processors", with(&|h| h.blocks = !15)),
        ("not in the kernel's text", with(&|h| h.entry_next = KERNEL_DATA)),
        ("not in the kernel's text", with(&|h| h.flush = 0)),
    ] {
        assert!(message.contains(problem), "{problem}: {message}");
    }
}

#[test]
fn encoded_images_are_checked() {
    let encoded = Image::build(&kernel(&kernel_header()), &program()).unwrap().encode();
    let with = |at: usize, word: u64| {
        let mut bytes = encoded.clone();
        bytes[at * 8..][..8].copy_from_slice(&word.to_le_bytes());
        Image::decode(&bytes).map(|_| ()).unwrap_err()
    };
    let (info, count) = (2, 2 + 19 + 23 + 2);
    assert_eq!(with(0, 1), DecodeError::Magic);
    assert_eq!(with(1, 9), DecodeError::Version(9));
    assert_eq!(with(info + 2, 9), DecodeError::Info);
    assert_eq!(with(info + 19 + 2, 9), DecodeError::Info);
    assert_eq!(with(count, 1 << 60), DecodeError::Run);
    assert_eq!(with(count + 1, 1), DecodeError::Run);
    assert_eq!(with(count + 2, 0), DecodeError::Run);
    assert_eq!(with(count + 2, u64::MAX - 4095), DecodeError::Run);
    assert_eq!(with(count + 3, 3), DecodeError::Run);
    assert_eq!(with(count + 4, 0), DecodeError::Run);
    assert_eq!(with(count + 2, 4096), DecodeError::Length);
    for len in [0, 7, 8, 100, 4095, 4096, encoded.len() - 4096, encoded.len() - 1] {
        assert!(Image::decode(&encoded[..len]).is_err(), "{len}");
    }
    let mut longer = encoded.clone();
    longer.push(0);
    assert_eq!(Image::decode(&longer), Err(DecodeError::Length));
}

/// A real program if there is a compiler, for it has everything: relocations, unwinding tables.
fn real_program() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = common::build_program(folder.path(), common::NASTY, common::LAYOUTS[1]);
    path.map_or_else(program, |path| std::fs::read(path).unwrap())
}

#[test]
fn damaged_programs_do_not_panic() {
    let (kernel, program) = (kernel(&kernel_header()), real_program());
    let headers = 64 + 12 * 56_usize;
    // Unwinding tables, relocations and the dynamic section, wherever they are.
    let sections = proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 1..200);
    let front = proptest::collection::vec((0..headers, interesting()), 0..4);
    let config = ProptestConfig::with_cases(64);
    let cuts = proptest::option::of(any::<prop::sample::Index>());
    proptest!(config, |(front in front, changes in sections, cut in cuts)| {
        let mut bytes = program.clone();
        for (at, word) in front {
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        for (at, word) in changes {
            let at = at.index(bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        prop_assert!(round_trip(Image::build(&kernel, &bytes)));
    });
}

#[test]
fn damaged_headers_do_not_panic() {
    let (kernel, program) = (kernel(&kernel_header()), elf(3, 0x2010, &small(), true));
    Image::build(&kernel, &program).unwrap();
    let changes = || proptest::collection::vec((0..232_usize, interesting()), 0..3);
    proptest!(ProptestConfig::with_cases(4000), |(k in changes(), p in changes())| {
        let (mut kernel, mut program) = (kernel.clone(), program.clone());
        for (file, changes) in [(&mut kernel, k), (&mut program, p)] {
            for (at, word) in changes {
                file[at..at + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        prop_assert!(round_trip(Image::build(&kernel, &program)));
    });
}

#[test]
fn damaged_images_do_not_panic() {
    let program = elf(3, 0x2010, &small(), true);
    let encoded = Image::build(&kernel(&kernel_header()), &program).unwrap().encode();
    let changes = proptest::collection::vec((0..90_usize, interesting()), 1..4);
    let cuts = proptest::option::of(any::<prop::sample::Index>());
    proptest!(ProptestConfig::with_cases(4000), |(changes in changes, cut in cuts)| {
        let mut bytes = encoded.clone();
        for (at, word) in changes {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(image) = Image::decode(&bytes) {
            prop_assert_eq!(image.measure().size(), image.size());
        }
    });
}

/// Whether an image, if there is one, comes back from its encoding.
fn round_trip(image: Result<Image<'_>, BuildError>) -> bool {
    image.is_err() || image.is_ok_and(|image| Image::decode(&image.encode()) == Ok(image.clone()))
}

/// Segments like those of the other tests, but of few pages.
fn small() -> Vec<Segment> {
    let mut segments = program_segments();
    segments[0].3.truncate(0x100);
    segments[1] = Segment(0x2000, 0x1234, 5, vec![0x54; 0x1234]);
    segments
}

/// Words that break sums and bounds, rather than any.
fn interesting() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..0x1_0000_u64,
        (0..64_u32).prop_map(|bit| 1 << bit),
        (0..0x4000_u64).prop_map(|less| u64::MAX - less),
        (0..0x60_0000_u64).prop_map(|more| KERNEL_TEXT - 0x20_0000 + more),
    ]
}

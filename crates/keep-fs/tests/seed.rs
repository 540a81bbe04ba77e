// SPDX-License-Identifier: Apache-2.0

//! The stream of seeds: what goes in comes out, and a lying host is refused.

use keep_fs::abi::AT_SYMLINK_NOFOLLOW;
use keep_fs::seed::{self, HEAD, MAGIC, MAX_DEPTH, SeedError};
use keep_fs::{Fs, Kind, Limits, OpenHow, Timespec};
use proptest::prelude::*;

const LIMITS: Limits = Limits { bytes: 1 << 20, inodes: 500, file_size: 1 << 40 };
const NOW: Timespec = Timespec { sec: 99, nsec: 0 };
const OLD: Timespec = Timespec { sec: -3, nsec: 999_999_999 };

/// A stream that comes in pieces.
struct Receiver<'a> {
    fs: Fs,
    rest: &'a [u8],
    piece: usize,
}

impl seed::Receiver for Receiver<'_> {
    fn fs(&mut self) -> &mut Fs {
        &mut self.fs
    }

    fn read(&mut self, piece: &mut [u8]) -> usize {
        let (part, rest) = self.rest.split_at(self.rest.len().min(self.piece).min(piece.len()));
        piece[..part.len()].copy_from_slice(part);
        self.rest = rest;
        part.len()
    }
}

/// Decodes in pieces; whatever happens, the file system has to stay in its limits.
fn decode(stream: &[u8], piece: usize) -> (Fs, Result<usize, SeedError>) {
    let mut receiver = Receiver { fs: Fs::new(LIMITS, NOW), rest: stream, piece };
    let result = seed::decode(&mut receiver, NOW);
    let fs = receiver.fs;
    assert!(fs.usage().bytes <= LIMITS.bytes && fs.usage().inodes <= LIMITS.inodes);
    (fs, result)
}

/// A stream with seed 0 open, then what `body` adds, then what it takes to end well.
fn in_seed(body: impl FnOnce(&mut Vec<u8>)) -> Result<usize, SeedError> {
    let mut out = MAGIC.to_vec();
    encode::directory(&mut out, b"0", OLD);
    body(&mut out);
    encode::leave(&mut out);
    encode::end(&mut out);
    let whole = decode(&out, out.len()).1;
    assert_eq!(decode(&out, 1).1, whole);
    whole
}

/// An entry of any kind, honest or not.
fn raw(tag: u8, zero: u8, name: &[u8], nsec: u32, sec: i64, body: u64) -> Vec<u8> {
    let len = (name.len() as u16).to_le_bytes();
    let head = [tag, zero, len[0], len[1]];
    [&head[..], &nsec.to_le_bytes(), &sec.to_le_bytes(), &body.to_le_bytes(), name].concat()
}

/// An honest encoder.
mod encode {
    use super::{Timespec, raw};

    pub(super) fn directory(out: &mut Vec<u8>, name: &[u8], mtime: Timespec) {
        out.extend(raw(1, 0, name, mtime.nsec, mtime.sec, 0));
    }

    pub(super) fn leave(out: &mut Vec<u8>) {
        out.extend(raw(2, 0, b"", 0, 0, 0));
    }

    pub(super) fn file(out: &mut Vec<u8>, name: &[u8], mtime: Timespec, size: u64) {
        out.extend(raw(3, 0, name, mtime.nsec, mtime.sec, size));
    }

    pub(super) fn symlink(out: &mut Vec<u8>, name: &[u8], mtime: Timespec, target: &[u8]) {
        out.extend(raw(4, 0, name, mtime.nsec, mtime.sec, target.len() as u64));
        out.extend(target);
    }

    pub(super) fn end(out: &mut Vec<u8>) {
        out.extend(raw(0, 0, b"", 0, 0, 0));
    }
}

#[test]
fn the_layout_is_as_documented() {
    let head = [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let file = [
        3, 0, 4, 0, 0xff, 0xc9, 0x9a, 0x3b, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0,
        0, 0, 0, 0, 0, 0, b'n', b'a', b'm', b'e', b'x',
    ];
    let mut leave = [0; HEAD];
    leave[0] = 2;
    let stream = [&MAGIC[..], &head, b"0", &file, &leave, &[0; HEAD]].concat();
    let (mut fs, result) = decode(&stream, 5);
    assert_eq!(result, Ok(1));
    check(&mut fs, b"0/name", &Node::File(b"x".to_vec()));
}

#[test]
fn lies_are_refused() {
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'n'; 256]] {
        for (tag, body) in [(1, 0), (3, 0), (4, 1)] {
            let entry = raw(tag, 0, name, 0, 0, body);
            assert_eq!(in_seed(|out| out.extend(entry)), Err(SeedError::NAME), "{name:?}");
        }
    }
    assert_eq!(in_seed(|_| ()), Ok(1));
    assert_eq!(in_seed(|out| out.extend(raw(3, 0, &[b'n'; 255], 0, 0, 0))), Ok(1));
    for entry in [raw(5, 0, b"a", 0, 0, 0), raw(3, 1, b"a", 0, 0, 0), raw(1, 0, b"a", 0, 0, 1)] {
        assert_eq!(in_seed(|out| out.extend(entry)), Err(SeedError::HEAD));
    }
    for entry in [raw(2, 0, b"a", 0, 0, 0), raw(2, 0, b"", 1, 0, 0), raw(0, 0, b"", 0, 1, 0)] {
        assert_eq!(in_seed(|out| out.extend(entry)), Err(SeedError::HEAD));
    }
    assert_eq!(
        in_seed(|out| out.extend(raw(3, 0, b"a", 1_000_000_000, 0, 0))),
        Err(SeedError::TIME)
    );
    for target in [0, 4096, u64::MAX] {
        assert_eq!(
            in_seed(|out| out.extend(raw(4, 0, b"a", 0, 0, target))),
            Err(SeedError::TARGET)
        );
    }
    assert_eq!(in_seed(|out| encode::symlink(out, b"a", NOW, b"x\0")), Err(SeedError::TARGET));
    for second in [raw(1, 0, b"a", 0, 0, 0), raw(3, 0, b"a", 0, 0, 0), raw(4, 0, b"a", 0, 0, 9)] {
        for first in
            [raw(3, 0, b"a", 0, 0, 0), [raw(1, 0, b"a", 0, 0, 0), raw(2, 0, b"", 0, 0, 0)].concat()]
        {
            assert_eq!(
                in_seed(|out| out.extend([first, second.clone()].concat())),
                Err(SeedError::DUPLICATE)
            );
        }
    }
    assert_eq!(in_seed(encode::end), Err(SeedError::NESTING));
    assert_eq!(
        in_seed(|out| {
            encode::leave(out);
            encode::leave(out)
        }),
        Err(SeedError::NESTING)
    );
    assert_eq!(
        in_seed(|out| {
            encode::leave(out);
            encode::file(out, b"1", NOW, 0)
        }),
        Err(SeedError::TOP)
    );
    assert_eq!(
        in_seed(|out| {
            encode::leave(out);
            encode::directory(out, b"2", NOW)
        }),
        Err(SeedError::TOP)
    );
    assert_eq!(
        in_seed(|out| {
            encode::leave(out);
            encode::directory(out, b"01", NOW)
        }),
        Err(SeedError::TOP)
    );
    assert_eq!(
        in_seed(|out| {
            encode::leave(out);
            encode::directory(out, b"1", NOW)
        }),
        Ok(2)
    );
    assert_eq!(
        in_seed(|out| {
            encode::leave(out);
            encode::end(out)
        }),
        Err(SeedError::TRAILING)
    );
    let full = Err(SeedError::FULL);
    assert_eq!(
        in_seed(|out| {
            encode::file(out, b"a", NOW, 1 << 30);
            out.extend(vec![1; 2 << 20])
        }),
        full
    );
    assert_eq!(
        in_seed(|out| (0..600).for_each(|n| encode::file(out, n.to_string().as_bytes(), NOW, 0))),
        full
    );
    assert_eq!(decode(b"KeepSd\0\x02", 1).1, Err(SeedError::MAGIC));
    assert_eq!(decode(b"", 1).1, Err(SeedError::TRUNCATED));
}

#[test]
fn depth_is_bounded() {
    let deep = |levels: usize| {
        in_seed(|out| {
            (1..levels).for_each(|_| encode::directory(out, b"d", NOW));
            (1..levels).for_each(|_| encode::leave(out));
        })
    };
    assert_eq!(deep(MAX_DEPTH), Ok(1));
    assert_eq!(deep(MAX_DEPTH + 1), Err(SeedError::DEPTH));
}

#[derive(Debug, Clone)]
enum Node {
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Directory(Vec<(Vec<u8>, Node)>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 1..20)
        .prop_filter("plain", |n| !n.contains(&b'/') && !n.contains(&0) && n != b"." && n != b"..")
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..2000).prop_map(Node::File),
        prop::collection::vec(1..=255_u8, 1..200).prop_map(Node::Symlink),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop::collection::btree_map(name(), inner, 0..6)
            .prop_map(|entries| Node::Directory(entries.into_iter().collect()))
    })
}

fn write(out: &mut Vec<u8>, name: &[u8], node: &Node) {
    match node {
        Node::File(bytes) => {
            encode::file(out, name, OLD, bytes.len() as u64);
            out.extend(bytes);
        }
        Node::Symlink(target) => encode::symlink(out, name, OLD, target),
        Node::Directory(entries) => {
            encode::directory(out, name, OLD);
            entries.iter().for_each(|(name, node)| write(out, name, node));
            encode::leave(out);
        }
    }
}

/// Checks that a tree is there, and counts its inodes.
fn check(fs: &mut Fs, path: &[u8], node: &Node) -> u64 {
    let inode = fs.lookup(fs.root(), path, AT_SYMLINK_NOFOLLOW).unwrap();
    let stat = fs.stat(inode).unwrap();
    assert_eq!((stat.mtime, stat.atime), (OLD, OLD));
    let mut buffer = [0; 4096];
    match node {
        Node::File(bytes) => {
            assert_eq!((stat.kind, stat.size), (Kind::File, bytes.len() as u64));
            let file = fs.open(fs.root(), path, OpenHow::default(), true, NOW).unwrap();
            let len = fs.pread(&file, &mut buffer, 0).unwrap();
            assert_eq!(&buffer[..len], bytes);
            fs.close(file);
            1
        }
        Node::Symlink(target) => {
            let len = fs.readlink(inode, b"", &mut buffer).unwrap();
            assert_eq!(&buffer[..len], target);
            1
        }
        Node::Directory(entries) => {
            assert_eq!(stat.kind, Kind::Directory);
            let inner =
                |entry: &(Vec<u8>, Node)| check(fs, &[path, b"/", &entry.0].concat(), &entry.1);
            1 + entries.iter().map(inner).sum::<u64>()
        }
    }
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        seeds in prop::collection::vec(prop::collection::btree_map(name(), node(), 0..5), 0..3),
        piece in 1..3000_usize,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut out = MAGIC.to_vec();
        let seeds: Vec<_> = seeds.into_iter().map(|s| Node::Directory(s.into_iter().collect())).collect();
        for (index, seed) in seeds.iter().enumerate() {
            write(&mut out, index.to_string().as_bytes(), seed);
        }
        encode::end(&mut out);
        let (mut fs, result) = decode(&out, piece);
        prop_assert_eq!(result, Ok(seeds.len()));
        let mut inodes = 1;
        for (index, seed) in seeds.iter().enumerate() {
            inodes += check(&mut fs, index.to_string().as_bytes(), seed);
        }
        prop_assert_eq!(fs.usage().inodes, inodes);
        // No part of a stream passes for a whole one.
        prop_assert_eq!(decode(&out[..cut.index(out.len())], piece).1, Err(SeedError::TRUNCATED));
    }

    #[test]
    fn anything_is_taken_or_refused(
        entries in prop::collection::vec(
            (0..6_u8, prop_oneof![9 => Just(0_u8), 1 => any::<u8>()],
             prop_oneof![3 => prop::sample::select(vec!["0", "1", "a", "b", ""]).prop_map(|n| n.as_bytes().to_vec()),
                         1 => prop::collection::vec(any::<u8>(), 0..300)],
             any::<u32>(), any::<i64>(),
             prop_oneof![4 => 0..50_u64, 1 => any::<u64>()],
             prop::collection::vec(any::<u8>(), 0..60)),
            0..30),
        seeded in any::<bool>(),
        piece in 1..100_usize,
    ) {
        let mut out = MAGIC.to_vec();
        if seeded {
            encode::directory(&mut out, b"0", NOW);
        }
        for (tag, zero, name, nsec, sec, body, bytes) in entries {
            // Mostly close to right, because a stream that is wrong at once tests little.
            let bare = matches!(tag, 0 | 2) && bytes.len() % 4 != 0;
            let entry = match bare {
                true => raw(tag, 0, b"", 0, 0, 0),
                false => raw(tag, zero, &name, nsec % 1_100_000_000, sec, if tag == 1 { 0 } else { body }),
            };
            out.extend(entry);
            out.extend(&bytes[..bytes.len().min(body as usize)]);
        }
        let whole = decode(&out, out.len()).1;
        prop_assert_eq!(decode(&out, piece).1, whole);
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), piece in 1..50_usize) {
        let stream = [&MAGIC[..], &bytes].concat();
        prop_assert!(decode(&stream, piece).1.is_err());
        prop_assert!(decode(&bytes, piece).1.is_err());
    }
}

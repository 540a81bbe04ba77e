// SPDX-License-Identifier: Apache-2.0

//! The calls that are compared, what they answer, and how they are chosen.

use std::collections::BTreeMap;

use keep_fs::Timespec;
use keep_fs::abi::*;
use proptest::prelude::*;

pub(crate) const SLOTS: usize = 4;
/// How much of a file is compared.
pub(crate) const PEEK: usize = 1 << 20;

/// A directory to start from: the root, or what is open in a slot.
pub(crate) type Start = Option<usize>;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Path(pub(crate) Vec<u8>);

impl std::ops::Deref for Path {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.len() {
            0..60 => write!(f, "\"{}\"", self.0.escape_ascii()),
            len => write!(f, "\"{}…\" ({len})", self.0[..20].escape_ascii()),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Open(usize, Start, Path, u32, u64, bool),
    Close(usize),
    Read(usize, usize),
    Write(usize, usize, u8),
    Pread(usize, usize, i64),
    Pwrite(usize, usize, u8, i64),
    Append(usize, usize, u8),
    Seek(usize, i64, u32),
    Truncate(usize, i64),
    Flags(usize),
    SetFlags(usize, u32),
    List(usize),
    Fstat(usize),
    Mkdir(Start, Path),
    Unlink(Start, Path, u32),
    Rename(Start, Path, Start, Path, u32),
    Link(Start, Path, Start, Path, u32),
    Symlink(Path, Start, Path),
    Readlink(Start, Path, usize),
    Stat(Start, Path, u32),
    Touch(Start, Path, u32, i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Number(u64),
    Bytes(Vec<u8>),
    /// Mode, links, size, whole seconds of a time that a test set.
    Stat(u32, u64, u64, Option<i64>),
    Names(BTreeMap<Vec<u8>, u8>),
}
use Answer::*;

pub(crate) trait World {
    fn run(&mut self, op: &Op) -> Result<Answer, i32>;

    /// Everything there is.
    fn tree(&mut self) -> Vec<(Path, Answer, Answer)> {
        let mut out = Vec::new();
        let mut todo = vec![Path(b".".to_vec())];
        while let Some(path) = todo.pop() {
            let stat = self.run(&Op::Stat(None, path.clone(), AT_SYMLINK_NOFOLLOW)).unwrap();
            let Stat(mode, ..) = stat else { panic!("no stat") };
            let content = match mode & 0o170000 {
                S_IFDIR => {
                    let open = Op::Open(0, None, path.clone(), O_DIRECTORY | O_NOFOLLOW, 0, false);
                    self.run(&open).unwrap();
                    let names = self.run(&Op::List(0)).unwrap();
                    let Names(entries) = &names else { panic!("no names") };
                    for name in entries.keys().filter(|n| *n != b"." && *n != b"..") {
                        todo.push(Path([&path[..], b"/", name].concat()));
                    }
                    names
                }
                S_IFLNK => self.run(&Op::Readlink(None, path.clone(), 5000)).unwrap(),
                _ => {
                    self.run(&Op::Open(0, None, path.clone(), O_NOFOLLOW, 0, false)).unwrap();
                    self.run(&Op::Read(0, PEEK)).unwrap()
                }
            };
            out.push((path, stat, content));
        }
        out
    }
}

pub(crate) const NOW: Timespec = Timespec { sec: 1_800_000_000, nsec: 5 };

/// Times from before this are set by a test, others by a clock.
pub(crate) fn set_by_test(sec: i64) -> Option<i64> {
    (sec < 1_000_000).then_some(sec)
}

pub(crate) fn parse_dirents(mut bytes: &[u8], names: &mut BTreeMap<Vec<u8>, u8>) {
    while !bytes.is_empty() {
        let len = usize::from(u16::from_le_bytes([bytes[16], bytes[17]]));
        let name = bytes[19..len].split(|b| *b == 0).next().unwrap();
        assert!(names.insert(name.to_vec(), bytes[18]).is_none(), "a name was listed twice");
        bytes = &bytes[len..];
    }
}

/// Few names, so that calls meet each other; and every form that a path can take.
pub(crate) fn path() -> impl Strategy<Value = Path> {
    let name = prop_oneof![
        30 => prop::sample::select(vec!["a", "b", "c", "l", "m"]).prop_map(str::to_owned),
        3 => Just(".".to_owned()),
        4 => Just("..".to_owned()),
        1 => Just(String::new()),
        1 => (254_usize..258).prop_map(|n| "n".repeat(n)),
    ];
    let names = prop_oneof![
        6 => prop::collection::vec(name.clone(), 1..2),
        6 => prop::collection::vec(name.clone(), 2..4),
        1 => prop::collection::vec(name, 4..8),
    ];
    let ends = prop::sample::select(vec!["", "", "", "", "", "", "", "/", "//", "/."]);
    let starts = prop::sample::select(vec!["", "", "", "", "", "", "", "/", "//", "./"]);
    let path = prop_oneof![
        60 => (starts, names, ends).prop_map(|(s, n, e)| [s, &n.join("/"), e].concat().into_bytes()),
        1 => (4090_usize..4100).prop_map(|n| "a/".repeat(n).into_bytes()[..n].to_vec()),
        1 => (4090_usize..4100).prop_map(|n| "./".repeat(n).into_bytes()[..n].to_vec()),
        1 => Just(Vec::new()),
    ];
    path.prop_map(Path)
}

pub(crate) fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![
        10 => 0..200_000_i64,
        5 => (0..4_i64, -2..3_i64).prop_map(|(n, d)| n * 65_536 + d),
        2 => prop::sample::select(vec![i64::MAX, i64::MAX - 1, i64::MAX - 4096, i64::MIN, -1, 1 << 40]),
    ]
}

pub(crate) fn length() -> impl Strategy<Value = usize> {
    prop_oneof![5 => 0..100_usize, 2 => 0..150_000_usize]
}

pub(crate) fn start() -> impl Strategy<Value = Start> {
    prop_oneof![3 => Just(None), 1 => (0..SLOTS).prop_map(Some)]
}

pub(crate) fn open() -> impl Strategy<Value = Op> {
    let mode =
        prop_oneof![8 => Just(O_RDWR), 3 => Just(O_RDONLY), 2 => Just(O_WRONLY), 1 => Just(3)];
    let often = prop_oneof![Just(0), Just(O_CREAT), Just(O_CREAT | O_EXCL), Just(O_DIRECTORY)];
    let more = prop::sample::subsequence(
        vec![O_CREAT, O_TRUNC, O_APPEND, O_NOFOLLOW, O_PATH, O_EXCL, O_DIRECTORY, O_NONBLOCK],
        0..3,
    );
    let resolve = prop_oneof![
        4 => Just(0),
        3 => prop::sample::select(vec![
            RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_MAGICLINKS,
            RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS, 1 << 30,
        ]),
    ];
    (0..SLOTS, start(), path(), mode, often, more, resolve, any::<bool>()).prop_map(
        |(slot, start, path, mode, often, more, resolve, strict)| {
            // Only a directory opened plainly, not by chance, makes a useful start.
            let mode = if often == O_DIRECTORY && more.is_empty() { O_RDONLY } else { mode };
            let flags = more.into_iter().fold(mode | often, |all, flag| all | flag);
            Op::Open(slot, start, path, flags, resolve, strict || resolve != 0)
        },
    )
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let s = || 0..SLOTS;
    let at = || prop::sample::select(vec![0, 0, 0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH]);
    let rm = prop::sample::select(vec![
        0,
        0,
        0,
        0,
        0,
        AT_REMOVEDIR,
        AT_REMOVEDIR,
        AT_REMOVEDIR,
        AT_REMOVEDIR,
        1,
    ]);
    let link_at = prop::sample::select(vec![
        0,
        0,
        0,
        0,
        AT_SYMLINK_FOLLOW,
        AT_SYMLINK_FOLLOW,
        AT_SYMLINK_NOFOLLOW,
    ]);
    let nsec =
        prop::sample::select(vec![0, 7, 999_999_999, 1_000_000_000, -1, UTIME_NOW, UTIME_OMIT]);
    prop_oneof![
        20 => open(),
        2 => s().prop_map(Op::Close),
        4 => (s(), length()).prop_map(|(s, n)| Op::Read(s, n)),
        6 => (s(), length(), 1..255_u8).prop_map(|(s, n, b)| Op::Write(s, n, b)),
        4 => (s(), length(), offset()).prop_map(|(s, n, o)| Op::Pread(s, n, o)),
        6 => (s(), length(), 1..255_u8, offset()).prop_map(|(s, n, b, o)| Op::Pwrite(s, n, b, o)),
        2 => (s(), length(), 1..255_u8).prop_map(|(s, n, b)| Op::Append(s, n, b)),
        4 => (s(), offset(), prop::sample::select(vec![0, 1, 2, 9])).prop_map(|(s, o, w)| Op::Seek(s, o, w)),
        4 => (s(), offset()).prop_map(|(s, o)| Op::Truncate(s, o)),
        1 => s().prop_map(Op::Flags),
        1 => (s(), prop::sample::select(vec![0, O_APPEND, O_NONBLOCK, O_RDWR | O_CREAT]))
            .prop_map(|(s, f)| Op::SetFlags(s, f)),
        4 => s().prop_map(Op::List),
        4 => s().prop_map(Op::Fstat),
        12 => (start(), path()).prop_map(|(s, p)| Op::Mkdir(s, p)),
        10 => (start(), path(), rm).prop_map(|(s, p, at)| Op::Unlink(s, p, at)),
        14 => (start(), path(), start(), path()).prop_map(|(a, b, c, d)| Op::Rename(a, b, c, d, 0)),
        6 => (start(), path(), start(), path(), link_at).prop_map(|(a, b, c, d, e)| Op::Link(a, b, c, d, e)),
        8 => (path(), start(), path()).prop_map(|(t, s, p)| Op::Symlink(t, s, p)),
        3 => (start(), path(), 0..100_usize).prop_map(|(s, p, n)| Op::Readlink(s, p, n)),
        8 => (start(), path(), at()).prop_map(|(s, p, at)| Op::Stat(s, p, at)),
        3 => (start(), path(), at(), 0..1000_i64, nsec).prop_map(|(s, p, at, t, n)| Op::Touch(s, p, at, t, n)),
    ]
}

/// Calls, mostly on a tree that has something of everything.
pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let p = |path: &str| Path(path.into());
    let file = |slot, path| Op::Open(slot, None, p(path), O_CREAT | O_RDWR, 0, false);
    let begin = vec![
        Op::Mkdir(None, p("a")),
        Op::Mkdir(None, p("b")),
        Op::Mkdir(None, p("a/b")),
        Op::Mkdir(None, p("a/b/c")),
        file(0, "c"),
        file(1, "a/c"),
        Op::Write(1, 1000, 1),
        Op::Symlink(p("a"), None, p("l")),
        Op::Symlink(p("../c"), None, p("a/m")),
        Op::Symlink(p("b/"), None, p("a/l")),
        Op::Symlink(p("m"), None, p("m")),
        Op::Link(None, p("a/c"), None, p("b/m"), 0),
        Op::Open(2, None, p("a"), O_DIRECTORY, 0, false),
        Op::Open(3, None, p("a/b"), O_PATH, 0, false),
    ];
    let random = prop::collection::vec(op(), 1..60);
    (prop_oneof![1 => Just(Vec::new()), 5 => Just(begin)], random)
        .prop_map(|(begin, random)| [begin, random].concat())
}

/// Whether a call could leave the folder where the test cannot make that its root.
pub(crate) fn escapes(op: &Op) -> bool {
    let wild = |path: &Path| path.starts_with(b"/") || path.windows(2).any(|w| w == b"..");
    match op {
        Op::Open(_, _, p, ..)
        | Op::Mkdir(_, p)
        | Op::Unlink(_, p, _)
        | Op::Readlink(_, p, _)
        | Op::Stat(_, p, _)
        | Op::Touch(_, p, ..) => wild(p),
        Op::Rename(_, p, _, q, _) | Op::Link(_, p, _, q, _) | Op::Symlink(p, _, q) => {
            wild(p) || wild(q)
        }
        _ => false,
    }
}

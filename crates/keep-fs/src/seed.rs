// SPDX-License-Identifier: Apache-2.0

//! The byte format in which host folders travel into the Keep.
//!
//! The host writes the stream, so everything in it may be a lie. [`decode`] reads it in pieces of
//! any size, keeps no more of it than one name and one link target, and leaves counts and sizes to
//! the file system's [`Limits`](crate::Limits). A stream has no paths, only names inside the
//! directory that is open, so there is no way to name anything outside. What writes it is no part
//! of the Keep, so it is not here.
//!
//! The stream is the 8 bytes of [`MAGIC`], then entries, then nothing. All integers are little
//! endian. An entry is a head of [`HEAD`] bytes, its name, its body:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | tag: 0 end of the stream, 1 directory, 2 end of directory, 3 file, 4 symbolic link |
//! | 1 | zero |
//! | 2–3 | length of the name in bytes, 1 to 255; with tags 0 and 2 zero |
//! | 4–7 | nanoseconds of the modification time, below 1,000,000,000; with tags 0 and 2 zero |
//! | 8–15 | seconds of the modification time, signed; with tags 0 and 2 zero |
//! | 16–23 | length of the body in bytes; with tags 0, 1 and 2 zero |
//! | 24… | the name: no `/`, no NUL, not `.` or `..`, not given before in this directory |
//! | … | the body: a file's bytes, or the link's target, 1 to 4,095 bytes without NUL |
//!
//! What follows a directory is in it, up to its "end of directory"; at most [`MAX_DEPTH`] are open
//! at a time. On the outermost level stand the seeds and nothing else: directories named `0`, `1`,
//! … in this order.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::abi::{NAME_MAX, PATH_MAX};
use crate::data::Data;
use crate::dir::Directory;
use crate::fs::Content;
use crate::{Errno, Fs, InodeId, SetTime, Timespec};

/// How a stream begins: its name and the version of the format.
pub const MAGIC: [u8; 8] = *b"KeepSd\0\x01";
/// Bytes of the head of an entry.
pub const HEAD: usize = 24;
/// Directories that may be open at a time, the seed's own included.
pub const MAX_DEPTH: usize = 256;
/// Bytes that are asked for at a time.
pub const PIECE: usize = 64 << 10;

/// The end of the stream.
pub const TAG_END: u8 = 0;
/// A directory begins.
pub const TAG_DIRECTORY: u8 = 1;
/// The directory that began last ends.
pub const TAG_LEAVE: u8 = 2;
/// A file.
pub const TAG_FILE: u8 = 3;
/// A symbolic link.
pub const TAG_SYMLINK: u8 = 4;

/// Why a stream was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedError(&'static str);

impl SeedError {
    /// It does not begin with [`MAGIC`].
    pub const MAGIC: Self = Self("the stream of files is not of this format and version");
    /// A head has an unknown tag, or a value where zero has to be.
    pub const HEAD: Self = Self("the stream of files has a malformed entry");
    /// The nanoseconds are not below 1,000,000,000.
    pub const TIME: Self = Self("the stream of files has an impossible time");
    /// A name is empty, too long, special, or has a forbidden byte.
    pub const NAME: Self = Self("the stream of files has a forbidden name");
    /// A name is there already.
    pub const DUPLICATE: Self = Self("the stream of files has a name twice");
    /// The outermost level holds something else than the next seed.
    pub const TOP: Self = Self("the stream of files has more than the seeds");
    /// Directories lie too deep in each other.
    pub const DEPTH: Self = Self("the folders lie too deep in each other");
    /// A link's target is empty, too long, or has a forbidden byte.
    pub const TARGET: Self = Self("the stream of files has an impossible symbolic link");
    /// An end without a beginning, or the end of the stream with a directory open.
    pub const NESTING: Self = Self("the folders in the stream of files do not nest");
    /// Bytes follow the end.
    pub const TRAILING: Self = Self("the stream of files goes on after its end");
    /// The stream stopped before its end.
    pub const TRUNCATED: Self = Self("the stream of files stops before its end");
    /// The file system is full.
    pub const FULL: Self = Self("the files do not fit into the Keep");
}

impl fmt::Display for SeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl From<Errno> for SeedError {
    fn from(_: Errno) -> Self {
        // Names, depth and targets are checked before; what is left to be wrong is space.
        Self::FULL
    }
}

/// Who has a file system and the stream to fill it from.
pub trait Receiver {
    /// The file system, which has to be the same every time.
    fn fs(&mut self) -> &mut Fs;

    /// Reads the next bytes of the stream, as many as are there; 0 at its end.
    fn read(&mut self, piece: &mut [u8]) -> usize;
}

/// A stream, of which the last piece is kept until all of it was used.
struct Stream<'a, R> {
    receiver: &'a mut R,
    piece: Vec<u8>,
    /// What of the piece is still to be used.
    rest: Range<usize>,
}

impl<R: Receiver> Stream<'_, R> {
    /// Where in the piece the next bytes are: one at least, and at most so many.
    fn next(&mut self, most: u64) -> Result<Range<usize>, SeedError> {
        if self.rest.is_empty() {
            self.rest = 0..self.receiver.read(&mut self.piece);
        }
        let len = most.min(self.rest.len() as u64) as usize;
        let part = self.rest.start..self.rest.start + len;
        self.rest.start = part.end;
        if part.is_empty() { Err(SeedError::TRUNCATED) } else { Ok(part) }
    }

    /// The next `len` bytes, which is always a small number.
    fn take(&mut self, len: usize) -> Result<Vec<u8>, SeedError> {
        let mut taken = Vec::with_capacity(len);
        while taken.len() < len {
            let part = self.next((len - taken.len()) as u64)?;
            taken.extend_from_slice(&self.piece[part]);
        }
        Ok(taken)
    }

    /// Makes an entry in `dir`, with its body.
    fn make(
        &mut self,
        dir: InodeId,
        name: &[u8],
        head: &Head,
        now: Timespec,
    ) -> Result<InodeId, SeedError> {
        if self.receiver.fs().child(dir, name)?.is_some() {
            return Err(SeedError::DUPLICATE);
        }
        let (content, mode) = match head.tag {
            TAG_DIRECTORY => (Content::Directory(Directory::new(dir)), 0o755),
            TAG_FILE => (Content::File(Data::default()), 0o644),
            _ => {
                // The length was checked with the head.
                let target = self.take(head.body as usize)?;
                if target.contains(&0) {
                    return Err(SeedError::TARGET);
                }
                (Content::Symlink(target.into()), 0o777)
            }
        };
        let inode = self.receiver.fs().create(dir, name, content, mode, now)?;
        let mut done = 0;
        while head.tag == TAG_FILE && done < head.body {
            let bytes = self.next(head.body - done)?;
            let (fs, bytes) = (self.receiver.fs(), &self.piece[bytes]);
            let (_, written) = fs.write_inode(inode, bytes, Some(done), now)?;
            if written < bytes.len() {
                return Err(SeedError::FULL);
            }
            done += written as u64;
        }
        Ok(inode)
    }
}

/// The head of an entry.
struct Head {
    tag: u8,
    name: usize,
    mtime: Timespec,
    body: u64,
}

/// Fills a file system from a stream, and says how many seeds there were. They appear in its root;
/// everything is born at `now`.
///
/// # Errors
///
/// [`SeedError`]; what came before has been made then.
pub fn decode(receiver: &mut impl Receiver, now: Timespec) -> Result<usize, SeedError> {
    let mut stream = Stream { receiver, piece: alloc::vec![0; PIECE], rest: 0..0 };
    if stream.take(MAGIC.len())? != MAGIC {
        return Err(SeedError::MAGIC);
    }
    // The directories that are open, with the time that each gets when it is left.
    let mut open = Vec::new();
    let mut seeds = 0;
    loop {
        let head = parse(&stream.take(HEAD)?)?;
        let (inode, mtime) = match (head.tag, open.len()) {
            (TAG_END, 0) => break,
            (TAG_END, _) => return Err(SeedError::NESTING),
            // Its time comes last, because what was put into it changed the time.
            (TAG_LEAVE, _) => open.pop().ok_or(SeedError::NESTING)?,
            (TAG_DIRECTORY, MAX_DEPTH..) => return Err(SeedError::DEPTH),
            (TAG_FILE | TAG_SYMLINK, 0) => return Err(SeedError::TOP),
            (tag, depth) => {
                let name = stream.take(head.name)?;
                check_name(&name)?;
                if depth == 0 && name != seeds.to_string().as_bytes() {
                    return Err(SeedError::TOP);
                }
                let root = stream.receiver.fs().root();
                let dir = open.last().map_or(root, |open: &(InodeId, Timespec)| open.0);
                let inode = stream.make(dir, &name, &head, now)?;
                if tag == TAG_DIRECTORY {
                    seeds += usize::from(depth == 0);
                    open.push((inode, head.mtime));
                    continue;
                }
                (inode, head.mtime)
            }
        };
        stream.receiver.fs().set_times(inode, SetTime::At(mtime), SetTime::At(mtime), now)?;
    }
    if stream.next(1).is_ok() { Err(SeedError::TRAILING) } else { Ok(seeds) }
}

/// Reads a head and checks all of it that can be checked alone.
fn parse(bytes: &[u8]) -> Result<Head, SeedError> {
    let ([[tag, zero, name @ .., n0, n1, n2, n3], sec, body], []) = bytes.as_chunks::<8>() else {
        return Err(SeedError::HEAD);
    };
    let (sec, body) = (i64::from_le_bytes(*sec), u64::from_le_bytes(*body));
    let name = usize::from(u16::from_le_bytes(*name));
    let nsec = u32::from_le_bytes([*n0, *n1, *n2, *n3]);
    let well_formed = match *tag {
        TAG_END | TAG_LEAVE => bytes[1..].iter().all(|byte| *byte == 0),
        TAG_DIRECTORY => *zero == 0 && body == 0,
        TAG_FILE | TAG_SYMLINK => *zero == 0,
        _ => false,
    };
    if !well_formed {
        return Err(SeedError::HEAD);
    }
    if *tag == TAG_SYMLINK && !(1..PATH_MAX as u64).contains(&body) {
        return Err(SeedError::TARGET);
    }
    if !matches!(*tag, TAG_END | TAG_LEAVE) && !(1..=NAME_MAX).contains(&name) {
        return Err(SeedError::NAME);
    }
    if nsec >= 1_000_000_000 {
        return Err(SeedError::TIME);
    }
    Ok(Head { tag: *tag, name, mtime: Timespec { sec, nsec }, body })
}

/// Refuses what is no plain name.
fn check_name(name: &[u8]) -> Result<(), SeedError> {
    let plain = !name.contains(&b'/') && !name.contains(&0) && name != b"." && name != b"..";
    if plain { Ok(()) } else { Err(SeedError::NAME) }
}

// SPDX-License-Identifier: Apache-2.0

//! The byte format in which host folders travel into the Keep.
//!
//! The host writes the stream, so everything in it may be a lie. [`Decoder`] takes it in pieces of
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

use crate::abi::{AT_SYMLINK_NOFOLLOW, NAME_MAX, O_CREAT, O_EXCL, PATH_MAX};
use crate::{Errno, Fs, InodeId, SetTime, Timespec};

/// How a stream begins: its name and the version of the format.
pub const MAGIC: [u8; 8] = *b"KeepSd\0\x01";
/// Bytes of the head of an entry.
pub const HEAD: usize = 24;
/// Directories that may be open at a time, the seed's own included.
pub const MAX_DEPTH: usize = 256;

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
    fn from(errno: Errno) -> Self {
        // Names, depth and targets are checked before; what is left to be wrong is space.
        if errno == Errno::EEXIST { Self::DUPLICATE } else { Self::FULL }
    }
}

/// The head of the entry that is being read.
#[derive(Debug, Clone, Copy)]
struct Head {
    tag: u8,
    name: usize,
    mtime: Timespec,
    body: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Magic,
    Head,
    Name(Head),
    Target(Head),
    /// The file, where its next byte goes, and where it ends.
    File(InodeId, u64, Head),
    End,
}

/// Fills a file system from a stream that arrives in pieces.
#[derive(Debug)]
pub struct Decoder {
    now: Timespec,
    state: State,
    failed: Option<SeedError>,
    /// The part of a magic, head, name or target that has arrived.
    partial: Vec<u8>,
    name: Vec<u8>,
    /// The directories that are open, with the time that each gets when it is left.
    open: Vec<(InodeId, Timespec)>,
    seeds: usize,
}

impl Decoder {
    /// A decoder at the start of a stream. Everything is born at `now`.
    pub fn new(now: Timespec) -> Self {
        Self {
            now,
            state: State::Magic,
            failed: None,
            partial: Vec::new(),
            name: Vec::new(),
            open: Vec::new(),
            seeds: 0,
        }
    }

    /// Takes the next piece of the stream; the seeds appear in the root of `fs`, which has to be
    /// the same every time.
    ///
    /// # Errors
    ///
    /// [`SeedError`]; from then on the decoder says the same for ever.
    pub fn push(&mut self, fs: &mut Fs, mut bytes: &[u8]) -> Result<(), SeedError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        while !bytes.is_empty() {
            if let Err(error) = self.step(fs, &mut bytes) {
                self.failed = Some(error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether the end of the stream has arrived.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::End) && self.failed.is_none()
    }

    /// Says how many seeds there were.
    ///
    /// # Errors
    ///
    /// What [`push`](Self::push) said, or that the end is missing.
    pub fn finish(self) -> Result<usize, SeedError> {
        match (self.failed, self.state) {
            (Some(error), _) => Err(error),
            (None, State::End) => Ok(self.seeds),
            (None, _) => Err(SeedError::TRUNCATED),
        }
    }

    fn step(&mut self, fs: &mut Fs, bytes: &mut &[u8]) -> Result<(), SeedError> {
        match self.state {
            State::Magic => {
                let Some(magic) = self.collect(bytes, MAGIC.len())? else { return Ok(()) };
                if magic != MAGIC {
                    return Err(SeedError::MAGIC);
                }
                self.state = State::Head;
            }
            State::Head => {
                let Some(head) = self.collect(bytes, HEAD)? else { return Ok(()) };
                self.state = self.head(fs, parse(&head)?)?;
            }
            State::Name(head) => {
                let Some(name) = self.collect(bytes, head.name)? else { return Ok(()) };
                check_name(&name)?;
                self.name = name;
                self.state = self.named(fs, head)?;
            }
            State::Target(head) => {
                // The length was checked with the head.
                let Some(target) = self.collect(bytes, head.body as usize)? else { return Ok(()) };
                if target.contains(&0) {
                    return Err(SeedError::TARGET);
                }
                let inode = fs.symlink(&target, self.here(fs), &self.name, self.now)?;
                self.state = self.done(fs, inode, head.mtime)?;
            }
            State::File(inode, at, head) => {
                let rest = usize::try_from(head.body - at).unwrap_or(usize::MAX);
                let (part, _) = bytes.split_at(rest.min(bytes.len()));
                let (_, done) = fs.write_inode(inode, part, Some(at), self.now)?;
                *bytes = &bytes[done..];
                let at = at + done as u64;
                self.state = if at == head.body {
                    self.done(fs, inode, head.mtime)?
                } else {
                    State::File(inode, at, head)
                };
            }
            State::End => return Err(SeedError::TRAILING),
        }
        Ok(())
    }

    /// Acts on a head as far as it can be without a name.
    fn head(&mut self, fs: &mut Fs, head: Head) -> Result<State, SeedError> {
        match (head.tag, self.open.len()) {
            (TAG_END, 0) => Ok(State::End),
            (TAG_END, _) => Err(SeedError::NESTING),
            (TAG_LEAVE, _) => {
                // Its time comes last, because what was put into it changed the time.
                let (inode, mtime) = self.open.pop().ok_or(SeedError::NESTING)?;
                self.done(fs, inode, mtime)
            }
            (TAG_DIRECTORY, MAX_DEPTH..) => Err(SeedError::DEPTH),
            (TAG_FILE | TAG_SYMLINK, 0) => Err(SeedError::TOP),
            _ => Ok(State::Name(head)),
        }
    }

    /// Makes what can be made now that the name is there.
    fn named(&mut self, fs: &mut Fs, head: Head) -> Result<State, SeedError> {
        let here = self.here(fs);
        match head.tag {
            TAG_DIRECTORY => {
                if self.open.is_empty() {
                    if self.name != self.seeds.to_string().as_bytes() {
                        return Err(SeedError::TOP);
                    }
                    self.seeds += 1;
                }
                let inode = fs.mkdir(here, &self.name, 0o755, self.now)?;
                self.open.push((inode, head.mtime));
                Ok(State::Head)
            }
            TAG_FILE => {
                let flags = O_CREAT | O_EXCL;
                let (inode, _) = fs.open_inode(here, &self.name, flags, 0o644, 0, self.now)?;
                if head.body == 0 {
                    return self.done(fs, inode, head.mtime);
                }
                Ok(State::File(inode, 0, head))
            }
            _ => match fs.lookup(here, &self.name, AT_SYMLINK_NOFOLLOW) {
                // Said before the target arrives; it would be found then as well.
                Ok(_) => Err(SeedError::DUPLICATE),
                Err(_) => Ok(State::Target(head)),
            },
        }
    }

    /// Ends an entry.
    fn done(&self, fs: &mut Fs, inode: InodeId, mtime: Timespec) -> Result<State, SeedError> {
        fs.set_times(inode, SetTime::At(mtime), SetTime::At(mtime), self.now)?;
        Ok(State::Head)
    }

    /// The directory that entries go into.
    fn here(&self, fs: &Fs) -> InodeId {
        self.open.last().map_or(fs.root(), |open| open.0)
    }

    /// Gathers `len` bytes, which is always a small number, over as many pieces as it takes.
    fn collect(&mut self, bytes: &mut &[u8], len: usize) -> Result<Option<Vec<u8>>, SeedError> {
        let (part, rest) = bytes.split_at(bytes.len().min(len - self.partial.len()));
        self.partial.try_reserve_exact(part.len()).map_err(|_| Errno::ENOSPC)?;
        self.partial.extend_from_slice(part);
        *bytes = rest;
        Ok((self.partial.len() == len).then(|| core::mem::take(&mut self.partial)))
    }
}

/// Reads a head and checks all of it that can be checked alone.
fn parse(bytes: &[u8]) -> Result<Head, SeedError> {
    let Ok([tag, zero, name0, name1, n0, n1, n2, n3, rest @ ..]) = <[u8; HEAD]>::try_from(bytes)
    else {
        return Err(SeedError::HEAD);
    };
    let [s0, s1, s2, s3, s4, s5, s6, s7, b0, b1, b2, b3, b4, b5, b6, b7] = rest;
    let name = usize::from(u16::from_le_bytes([name0, name1]));
    let nsec = u32::from_le_bytes([n0, n1, n2, n3]);
    let sec = i64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let body = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7]);
    let well_formed = match tag {
        TAG_END | TAG_LEAVE => bytes[1..].iter().all(|byte| *byte == 0),
        TAG_DIRECTORY => zero == 0 && body == 0,
        TAG_FILE | TAG_SYMLINK => zero == 0,
        _ => false,
    };
    let has_name = !matches!(tag, TAG_END | TAG_LEAVE);
    if !well_formed {
        return Err(SeedError::HEAD);
    }
    if tag == TAG_SYMLINK && !(1..PATH_MAX as u64).contains(&body) {
        return Err(SeedError::TARGET);
    }
    if has_name && !(1..=NAME_MAX).contains(&name) {
        return Err(SeedError::NAME);
    }
    if nsec >= 1_000_000_000 {
        return Err(SeedError::TIME);
    }
    Ok(Head { tag, name, mtime: Timespec { sec, nsec }, body })
}

/// Refuses what is no plain name.
fn check_name(name: &[u8]) -> Result<(), SeedError> {
    let plain = !name.contains(&b'/') && !name.contains(&0) && name != b"." && name != b"..";
    if plain { Ok(()) } else { Err(SeedError::NAME) }
}

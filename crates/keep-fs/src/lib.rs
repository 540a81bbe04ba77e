// SPDX-License-Identifier: Apache-2.0

//! The file system that lives in the Keep's memory.
//!
//! Nothing of it ever reaches the host. It is pure logic: the Keep's kernel parses a Linux system
//! call, calls one method of [`Fs`] and returns what that says, result or [`Errno`], so the rules
//! here are those of Linux's own memory file system, error for error.
//!
//! * Flags and modes come as the kernel ABI has them; [`abi`] names them.
//! * A path is bytes, together with the directory that it starts from. [`Fs::lookup`] turns one
//!   into an [`InodeId`]; there is one user and no other thread, so nothing changes in between.
//! * There is no clock: what changes a time takes the present one as `now`. Reading does not
//!   change access times, as on a file system mounted with `noatime`.
//! * The one user is root: permission bits are kept and shown, the access mode of a descriptor is
//!   enforced.
//! * Everything counts against [`Limits`]: file data, and a flat charge for each inode and name.
//!   File data is allocated fallibly, so that the end of the memory is `ENOSPC`.
//! * An inode lives while it has a name or an [`OpenFile`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod abi;
mod data;
mod dir;
mod file;
mod fs;
mod namei;
mod path;
pub mod seed;

pub use abi::Errno;
pub use file::OpenFile;
pub use fs::{Fs, Limits, Usage};

/// What calls answer: as [`core::result::Result`], with a Linux error number.
pub type Result<T> = core::result::Result<T, Errno>;

/// Names an inode; never used twice in the life of an [`Fs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(u64);

/// A point in time since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds, less than 1,000,000,000.
    pub nsec: u32,
}

/// What a time is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The present time.
    Now,
    /// As it is.
    Omit,
    /// This time.
    At(Timespec),
}

impl SetTime {
    /// Reads one `timespec` of `utimensat`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the nanoseconds are neither a special value nor below 1,000,000,000.
    pub fn from_raw(sec: i64, nsec: i64) -> Result<Self> {
        match nsec {
            abi::UTIME_NOW => Ok(Self::Now),
            abi::UTIME_OMIT => Ok(Self::Omit),
            0..1_000_000_000 => Ok(Self::At(Timespec { sec, nsec: nsec as u32 })),
            _ => Err(Errno::EINVAL),
        }
    }
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device. The file system has none; the kernel describes its own streams by it.
    Device(u32),
}

impl Kind {
    /// The type bits of `st_mode`.
    pub fn mode_bits(self) -> u32 {
        match self {
            Self::File => abi::S_IFREG,
            Self::Directory => abi::S_IFDIR,
            Self::Symlink => abi::S_IFLNK,
            Self::Device(_) => abi::S_IFCHR,
        }
    }

    /// The `d_type` of a directory record.
    fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// What `stat` and `statx` need. Owner and group are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Inode number.
    pub ino: u64,
    /// What it is.
    pub kind: Kind,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of names; directories count as Linux counts them.
    pub nlink: u32,
    /// Bytes.
    pub size: u64,
    /// Memory that the content holds, in units of 512 bytes.
    pub blocks: u64,
    /// Last access; only ever set by hand.
    pub atime: Timespec,
    /// Last change of the content.
    pub mtime: Timespec,
    /// Last change of anything.
    pub ctime: Timespec,
    /// Birth.
    pub btime: Timespec,
}

/// How to open: `struct open_how`, or the flags and mode of `openat`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenHow {
    /// `O_…`
    pub flags: u32,
    /// Permission bits of a new file.
    pub mode: u32,
    /// `RESOLVE_…`
    pub resolve: u64,
}

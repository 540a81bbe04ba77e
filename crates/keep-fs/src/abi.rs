// SPDX-License-Identifier: Apache-2.0

//! The numbers of the Linux x86-64 ABI that callers of this crate speak.
//!
//! The system call layer passes flags through as they came, so they are plain integers with the
//! kernel's values instead of types of our own that would have to be translated twice.

/// A Linux error number; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $value:literal, $text:literal;)*) => {
        impl Errno { $(#[doc = $text] pub const $name: Self = Self($value);)* }
    };
}

errnos! {
    EPERM = 1, "Operation not permitted.";
    ENOENT = 2, "No such file or directory.";
    EBADF = 9, "Bad descriptor.";
    EAGAIN = 11, "Try again.";
    EBUSY = 16, "In use.";
    EEXIST = 17, "Exists already.";
    EXDEV = 18, "Leaves the tree it must stay in.";
    ENODEV = 19, "Not possible on this kind of file.";
    ENOTDIR = 20, "Not a directory.";
    EISDIR = 21, "Is a directory.";
    EINVAL = 22, "Invalid argument.";
    EFBIG = 27, "File too large.";
    ENOSPC = 28, "No space left.";
    EMLINK = 31, "Too many links.";
    ENAMETOOLONG = 36, "Name too long.";
    ENOTEMPTY = 39, "Directory not empty.";
    ELOOP = 40, "Too many symbolic links.";
    EOPNOTSUPP = 95, "Operation not supported.";
    ESTALE = 116, "The inode is gone.";
}

macro_rules! flags {
    ($($name:ident: $ty:ty = $value:expr, $text:literal;)*) => {
        $(#[doc = $text] pub const $name: $ty = $value;)*
    };
}

flags! {
    O_ACCMODE: u32 = 0o3, "The bits of the access mode.";
    O_RDONLY: u32 = 0o0, "Open for reading.";
    O_WRONLY: u32 = 0o1, "Open for writing.";
    O_RDWR: u32 = 0o2, "Open for both.";
    O_CREAT: u32 = 0o100, "Make the file if it is not there.";
    O_EXCL: u32 = 0o200, "With `O_CREAT`: it must not be there.";
    O_TRUNC: u32 = 0o1000, "Cut the file to nothing.";
    O_APPEND: u32 = 0o2000, "Every write goes to the end.";
    O_NONBLOCK: u32 = 0o4000, "Kept, without meaning here.";
    O_LARGEFILE: u32 = 0o100000, "Always set.";
    O_DIRECTORY: u32 = 0o200000, "It must be a directory.";
    O_NOFOLLOW: u32 = 0o400000, "Do not follow a symbolic link at the end of the path.";
    O_CLOEXEC: u32 = 0o2000000, "Kept by the descriptor table, not here.";
    O_SYNC: u32 = 0o4010000, "Kept, without meaning here: there is no disk.";
    O_PATH: u32 = 0o10000000, "Only name the file, do not open it.";

    RESOLVE_NO_MAGICLINKS: u64 = 0x02, "Do not follow magic links; there are none.";
    RESOLVE_NO_SYMLINKS: u64 = 0x04, "Do not follow symbolic links.";
    RESOLVE_BENEATH: u64 = 0x08, "Refuse to leave the starting directory.";

    AT_SYMLINK_NOFOLLOW: u32 = 0x100, "Do not follow a symbolic link at the end of the path.";
    AT_REMOVEDIR: u32 = 0x200, "Remove a directory.";
    AT_SYMLINK_FOLLOW: u32 = 0x400, "Follow a symbolic link at the end of the path.";
    AT_EMPTY_PATH: u32 = 0x1000, "An empty path names the starting inode.";

    SEEK_SET: u32 = 0, "From the start.";
    SEEK_CUR: u32 = 1, "From where we are.";
    SEEK_END: u32 = 2, "From the end.";

    UTIME_NOW: i64 = 0x3fff_ffff, "Nanoseconds that stand for the present time.";
    UTIME_OMIT: i64 = 0x3fff_fffe, "Nanoseconds that stand for no change.";

    S_IFCHR: u32 = 0o020000, "Type bits of a device.";
    S_IFDIR: u32 = 0o040000, "Type bits of a directory.";
    S_IFREG: u32 = 0o100000, "Type bits of a regular file.";
    S_IFLNK: u32 = 0o120000, "Type bits of a symbolic link.";

    NAME_MAX: usize = 255, "Longest name in bytes.";
    PATH_MAX: usize = 4096, "Paths are shorter than this many bytes.";
    SYMLINKS_MAX: u32 = 40, "Symbolic links that one path may lead through.";
}

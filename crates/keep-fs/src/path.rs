// SPDX-License-Identifier: Apache-2.0

//! From a path to an inode, by Linux's rules.
//!
//! One loop walks the components; a symbolic link replaces the part of the path that has been
//! walked by its target and starts over from there. Nothing recurses, and the number of links is
//! bounded, so any path ends.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::abi::*;
use crate::fs::{Content, Fs};
use crate::{Errno, InodeId, Kind, Result};

/// What the walk does with the last component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Find what it names, following a link if `follow`.
    Find { follow: bool },
    /// The same for a file that may be made: a trailing slash or a dot is refused.
    Create { follow: bool },
    /// Find only the directory of a name that is to be added or removed.
    Name,
}

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// The directory that the last component is looked up in.
    pub(crate) dir: InodeId,
    /// The last component: a name, `.`, `..`, or nothing if the path is of slashes alone.
    pub(crate) name: Cow<'a, [u8]>,
    /// Whether slashes follow the last component.
    pub(crate) slash: bool,
    /// What is there; not looked up with [`Goal::Name`].
    pub(crate) inode: Option<InodeId>,
}

impl Found<'_> {
    /// Whether the last component is no name that could be made or removed.
    pub(crate) fn is_special(&self) -> bool {
        matches!(&*self.name, b"" | b"." | b"..")
    }
}

impl Fs {
    /// Walks `path` from `start`. `resolve` holds checked `RESOLVE_` flags.
    pub(crate) fn walk<'a>(
        &self,
        start: InodeId,
        path: &'a [u8],
        goal: Goal,
        resolve: u64,
    ) -> Result<Found<'a>> {
        check_path(path)?;
        let beneath = resolve & RESOLVE_BENEATH != 0;
        let top = if beneath { start } else { self.root() };
        let (mut here, mut links, mut path) = (start, 0, Cow::Borrowed(path));
        loop {
            if path[0] == b'/' {
                if beneath {
                    return Err(Errno::EXDEV);
                }
                here = top;
            }
            // Each round of this loop walks one component; a link breaks out of it.
            let mut at = skip_slashes(&path, 0);
            let (target, rest) = loop {
                let dir = self.directory(here)?;
                let end = path[at..].iter().position(|b| *b == b'/').map_or(path.len(), |n| at + n);
                let next = skip_slashes(&path, end);
                let (is_last, slash) = (next == path.len(), end < path.len());
                let inode = match &path[at..end] {
                    b"" | b"." => Some(here),
                    b".." if here != top => Some(dir.parent),
                    b".." if beneath => return Err(Errno::EXDEV),
                    b".." => Some(here),
                    name => {
                        let inode = match goal {
                            Goal::Name if is_last => None,
                            Goal::Create { .. } if is_last && slash => return Err(Errno::EISDIR),
                            _ => self.child(here, name)?,
                        };
                        let asked = Goal::Find { follow: true } == goal
                            || Goal::Create { follow: true } == goal;
                        match inode.map(|id| self.content(id)).transpose()? {
                            Some(Content::Symlink(target)) if asked || slash => {
                                break (target, end);
                            }
                            _ => inode,
                        }
                    }
                };
                if is_last {
                    if let (true, Goal::Find { .. }, Some(inode)) = (slash, goal, inode) {
                        self.directory(inode)?;
                    }
                    let name = match path {
                        Cow::Borrowed(path) => Cow::Borrowed(&path[at..end]),
                        Cow::Owned(path) => Cow::Owned(path[at..end].to_vec()),
                    };
                    return Ok(Found { dir: here, name, slash, inode });
                }
                (here, at) = (inode.ok_or(Errno::ENOENT)?, next);
            };
            links += 1;
            if resolve & RESOLVE_NO_SYMLINKS != 0 || links > SYMLINKS_MAX {
                return Err(Errno::ELOOP);
            }
            let mut longer = Vec::new();
            longer.try_reserve(target.len() + path.len() - rest).map_err(|_| Errno::ENOSPC)?;
            longer.extend_from_slice(target);
            longer.extend_from_slice(&path[rest..]);
            path = Cow::Owned(longer);
        }
    }

    /// The inode that a path names, for calls that only look; `at` holds `AT_SYMLINK_NOFOLLOW` and
    /// `AT_EMPTY_PATH`, other bits mean nothing here.
    ///
    /// # Errors
    ///
    /// As `stat`.
    pub fn lookup(&self, dir: InodeId, path: &[u8], at: u32) -> Result<InodeId> {
        if path.is_empty() && at & AT_EMPTY_PATH != 0 {
            self.content(dir)?;
            return Ok(dir);
        }
        let follow = at & AT_SYMLINK_NOFOLLOW == 0;
        self.walk(dir, path, Goal::Find { follow }, 0)?.inode.ok_or(Errno::ENOENT)
    }

    /// What `name` is in `dir`.
    pub(crate) fn child(&self, dir: InodeId, name: &[u8]) -> Result<Option<InodeId>> {
        let directory = self.directory(dir)?;
        if self.inode(dir)?.nlink == 0 {
            return Err(Errno::ENOENT);
        }
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        Ok(directory.get(name))
    }

    /// Whether `inode` is `dir` or one of the directories above it.
    pub(crate) fn is_above(&self, inode: InodeId, mut dir: InodeId) -> Result<bool> {
        loop {
            if dir == inode {
                return Ok(true);
            }
            let parent = self.directory(dir)?.parent;
            if parent == dir {
                return Ok(false);
            }
            dir = parent;
        }
    }

    pub(crate) fn is_directory(&self, inode: InodeId) -> bool {
        matches!(self.kind(inode), Ok(Kind::Directory))
    }
}

fn skip_slashes(path: &[u8], from: usize) -> usize {
    path[from..].iter().position(|b| *b != b'/').map_or(path.len(), |n| from + n)
}

/// Refuses what is no path, and so no target of a link.
pub(crate) fn check_path(path: &[u8]) -> Result<()> {
    match path.len() {
        0 => Err(Errno::ENOENT),
        PATH_MAX.. => Err(Errno::ENAMETOOLONG),
        // C strings cannot hold it, so it is no path that Linux has a rule for.
        _ if path.contains(&0) => Err(Errno::EINVAL),
        _ => Ok(()),
    }
}

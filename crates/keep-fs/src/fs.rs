// SPDX-License-Identifier: Apache-2.0

//! The table of inodes, what they cost and when they end.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use crate::data::{Budget, Data};
use crate::dir::Directory;
use crate::{Errno, InodeId, Kind, Result, SetTime, Stat, Timespec};

/// Flat charge in bytes for an inode, about what it takes.
const INODE_COST: u64 = 256;
/// Flat charge in bytes for a name in a directory, on top of its length.
const NAME_COST: u64 = 128;
const ROOT: InodeId = InodeId(1);

/// How far the file system may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory for everything together.
    pub bytes: u64,
    /// Inodes, the root included.
    pub inodes: u64,
    /// Longest file in bytes; beyond is `EFBIG`. At most `i64::MAX`.
    pub file_size: u64,
}

/// How far the file system has grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of memory that everything together is charged for.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// What an inode holds.
#[derive(Debug)]
pub(crate) enum Content {
    File(Data),
    Directory(Directory),
    Symlink(Box<[u8]>),
}

#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) content: Content,
    /// Permission bits.
    mode: u32,
    pub(crate) nlink: u32,
    /// Open files, and directories inside.
    pub(crate) holds: u64,
    atime: Timespec,
    mtime: Timespec,
    pub(crate) ctime: Timespec,
    btime: Timespec,
}

impl Inode {
    /// Notes a change of the content.
    pub(crate) fn modified(&mut self, now: Timespec) {
        (self.mtime, self.ctime) = (now, now);
    }
}

/// A file system in memory.
#[derive(Debug)]
pub struct Fs {
    pub(crate) inodes: BTreeMap<InodeId, Inode>,
    next: u64,
    pub(crate) budget: Budget,
    max_inodes: u64,
    pub(crate) max_file: u64,
}

impl Fs {
    /// An empty file system; its root is made at `now`.
    pub fn new(limits: Limits, now: Timespec) -> Self {
        let mut fs = Self {
            inodes: BTreeMap::new(),
            next: ROOT.0,
            budget: Budget { used: 0, max: limits.bytes },
            max_inodes: limits.inodes,
            max_file: limits.file_size.min(i64::MAX as u64),
        };
        fs.insert(Content::Directory(Directory::new(ROOT)), 0o755, now);
        fs
    }

    /// The root directory; it lives as long as the file system.
    pub fn root(&self) -> InodeId {
        ROOT
    }

    /// What is used of the limits.
    pub fn usage(&self) -> Usage {
        Usage { bytes: self.budget.used, inodes: self.inodes.len() as u64 }
    }

    /// What an inode is.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is gone.
    pub fn kind(&self, inode: InodeId) -> Result<Kind> {
        Ok(match self.content(inode)? {
            Content::File(_) => Kind::File,
            Content::Directory(_) => Kind::Directory,
            Content::Symlink(_) => Kind::Symlink,
        })
    }

    /// All that `stat` shows.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the inode is gone.
    pub fn stat(&self, id: InodeId) -> Result<Stat> {
        let (inode, kind) = (self.inode(id)?, self.kind(id)?);
        let (size, memory) = match &inode.content {
            Content::File(data) => (data.size(), data.cost()),
            Content::Symlink(target) => (target.len() as u64, 0),
            Content::Directory(_) => (4096, 0),
        };
        Ok(Stat {
            ino: id.0,
            kind,
            mode: kind.mode_bits() | inode.mode,
            nlink: inode.nlink,
            size,
            blocks: memory.div_ceil(512),
            atime: inode.atime,
            mtime: inode.mtime,
            ctime: inode.ctime,
            btime: inode.btime,
        })
    }

    /// Sets the times of an inode.
    ///
    /// # Errors
    ///
    /// `ESTALE` if the inode is gone.
    pub fn set_times(
        &mut self,
        inode: InodeId,
        atime: SetTime,
        mtime: SetTime,
        now: Timespec,
    ) -> Result<()> {
        let inode = self.inode_mut(inode)?;
        for (time, to) in [(&mut inode.atime, atime), (&mut inode.mtime, mtime)] {
            match to {
                SetTime::Omit => continue,
                SetTime::Now => *time = now,
                SetTime::At(at) => *time = at,
            }
            inode.ctime = now;
        }
        Ok(())
    }

    /// Ends one hold on an inode, which ends with the last if it has no name.
    pub(crate) fn release(&mut self, inode: InodeId) {
        if let Some(found) = self.inodes.get_mut(&inode) {
            found.holds = found.holds.saturating_sub(1);
            self.reap(inode);
        }
    }

    pub(crate) fn inode(&self, inode: InodeId) -> Result<&Inode> {
        self.inodes.get(&inode).ok_or(Errno::ESTALE)
    }

    pub(crate) fn inode_mut(&mut self, inode: InodeId) -> Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or(Errno::ESTALE)
    }

    pub(crate) fn content(&self, inode: InodeId) -> Result<&Content> {
        Ok(&self.inode(inode)?.content)
    }

    /// An inode as a directory.
    pub(crate) fn directory(&self, inode: InodeId) -> Result<&Directory> {
        match self.content(inode)? {
            Content::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    pub(crate) fn directory_mut(&mut self, inode: InodeId) -> Result<&mut Directory> {
        match &mut self.inode_mut(inode)?.content {
            Content::Directory(directory) => Ok(directory),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// Makes an inode and gives it its name.
    pub(crate) fn create(
        &mut self,
        dir: InodeId,
        name: &[u8],
        content: Content,
        mode: u32,
        now: Timespec,
    ) -> Result<InodeId> {
        if self.inodes.len() as u64 >= self.max_inodes {
            return Err(Errno::ENOSPC);
        }
        self.budget.check(inode_cost(&content) + name_cost(name))?;
        let is_dir = matches!(content, Content::Directory(_));
        if is_dir && self.inode(dir)?.nlink == u32::MAX {
            return Err(Errno::EMLINK);
        }
        let inode = self.insert(content, mode & 0o7777, now);
        self.add_name(dir, name, inode, now)?;
        if is_dir {
            let parent = self.inode_mut(dir)?;
            (parent.nlink, parent.holds) = (parent.nlink + 1, parent.holds + 1);
        }
        Ok(inode)
    }

    /// Puts an inode into the table. It has no name yet, but the count of it.
    fn insert(&mut self, content: Content, mode: u32, now: Timespec) -> InodeId {
        let id = InodeId(self.next);
        self.next += 1;
        self.budget.used += inode_cost(&content);
        let nlink = if matches!(content, Content::Directory(_)) { 2 } else { 1 };
        let [atime, mtime, ctime, btime] = [now; 4];
        self.inodes
            .insert(id, Inode { content, mode, nlink, holds: 0, atime, mtime, ctime, btime });
        id
    }

    /// Adds a name that is not there, and pays for it.
    pub(crate) fn add_name(
        &mut self,
        dir: InodeId,
        name: &[u8],
        inode: InodeId,
        now: Timespec,
    ) -> Result<()> {
        self.budget.take(name_cost(name))?;
        self.directory_mut(dir)?.set(name, inode);
        self.inode_mut(dir)?.modified(now);
        Ok(())
    }

    /// Takes a name away, but leaves the inode's count of names alone.
    pub(crate) fn remove_name(&mut self, dir: InodeId, name: &[u8], now: Timespec) -> Result<()> {
        self.directory_mut(dir)?.remove(name);
        self.inode_mut(dir)?.modified(now);
        self.budget.give(name_cost(name));
        Ok(())
    }

    /// Notes that an inode lost a name; a directory has one only, in `dir`.
    pub(crate) fn drop_link(&mut self, dir: InodeId, inode: InodeId, now: Timespec) -> Result<()> {
        let is_dir = self.is_directory(inode);
        let gone = self.inode_mut(inode)?;
        gone.nlink = if is_dir { 0 } else { gone.nlink.saturating_sub(1) };
        gone.ctime = now;
        if is_dir {
            // It goes on holding its parent, which its `..` still leads to, until it ends.
            let parent = self.inode_mut(dir)?;
            parent.nlink = parent.nlink.saturating_sub(1);
        }
        self.reap(inode);
        Ok(())
    }

    /// Tells a directory, that has a new name in `to`, where its `..` leads now.
    pub(crate) fn reparent(&mut self, inode: InodeId, from: InodeId, to: InodeId) -> Result<()> {
        self.directory_mut(inode)?.parent = to;
        let new = self.inode_mut(to)?;
        (new.nlink, new.holds) = (new.nlink.saturating_add(1), new.holds + 1);
        let old = self.inode_mut(from)?;
        old.nlink = old.nlink.saturating_sub(1);
        self.release(from);
        Ok(())
    }

    /// Frees an inode that nothing needs any more, then the directories that only it needed.
    fn reap(&mut self, mut id: InodeId) {
        while let Some(inode) = self.inodes.get(&id)
            && inode.nlink == 0
            && inode.holds == 0
            && let Some(inode) = self.inodes.remove(&id)
        {
            self.budget.give(inode_cost(&inode.content));
            let Content::Directory(directory) = inode.content else { return };
            id = directory.parent;
            if let Some(parent) = self.inodes.get_mut(&id) {
                parent.holds = parent.holds.saturating_sub(1);
            }
        }
    }
}

/// What an inode is charged for.
fn inode_cost(content: &Content) -> u64 {
    INODE_COST
        + match content {
            Content::File(data) => data.cost(),
            Content::Symlink(target) => target.len() as u64,
            Content::Directory(_) => 0,
        }
}

/// What a name in a directory is charged for.
fn name_cost(name: &[u8]) -> u64 {
    NAME_COST + name.len() as u64
}

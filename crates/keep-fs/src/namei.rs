// SPDX-License-Identifier: Apache-2.0

//! What changes names: make, link, rename, remove.
//!
//! The checks stand in the order in which Linux makes them, because where two things are wrong
//! the order decides which error the program sees.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::abi::*;
use crate::data::Data;
use crate::dir::Directory;
use crate::fs::{Content, Fs};
use crate::path::{Goal, check_path};
use crate::{Errno, InodeId, OpenHow, Result, Timespec};

impl Fs {
    /// `mkdirat`.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn mkdir(
        &mut self,
        dir: InodeId,
        path: &[u8],
        mode: u32,
        now: Timespec,
    ) -> Result<InodeId> {
        let (dir, name) = self.vacant(dir, path, true)?;
        let content = Content::Directory(Directory::new(dir));
        self.create(dir, &name, content, mode & 0o1777, now)
    }

    /// `symlinkat`.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn symlink(
        &mut self,
        target: &[u8],
        dir: InodeId,
        path: &[u8],
        now: Timespec,
    ) -> Result<InodeId> {
        check_path(target)?;
        let (dir, name) = self.vacant(dir, path, false)?;
        self.create(dir, &name, Content::Symlink(Box::from(target)), 0o777, now)
    }

    /// `readlinkat`; an empty path names `dir` itself, which then has to be a link.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn readlink(&self, dir: InodeId, path: &[u8], out: &mut [u8]) -> Result<usize> {
        if out.is_empty() {
            return Err(Errno::EINVAL);
        }
        let inode = self.lookup(dir, path, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)?;
        match self.content(inode)? {
            Content::Symlink(target) => {
                let len = target.len().min(out.len());
                out[..len].copy_from_slice(&target[..len]);
                Ok(len)
            }
            _ if path.is_empty() => Err(Errno::ENOENT),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `linkat`; `at` holds `AT_SYMLINK_FOLLOW` and `AT_EMPTY_PATH`.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn link(
        &mut self,
        old_dir: InodeId,
        old: &[u8],
        new_dir: InodeId,
        new: &[u8],
        at: u32,
        now: Timespec,
    ) -> Result<()> {
        if at & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL);
        }
        let follow = if at & AT_SYMLINK_FOLLOW != 0 { 0 } else { AT_SYMLINK_NOFOLLOW };
        let inode = self.lookup(old_dir, old, follow | at & AT_EMPTY_PATH)?;
        let (dir, name) = self.vacant(new_dir, new, false)?;
        if self.is_directory(inode) {
            return Err(Errno::EPERM);
        }
        match self.inode(inode)?.nlink {
            0 => return Err(Errno::ENOENT),
            u32::MAX => return Err(Errno::EMLINK),
            _ => {}
        }
        self.add_name(dir, &name, inode, now)?;
        let inode = self.inode_mut(inode)?;
        inode.nlink += 1;
        inode.ctime = now;
        Ok(())
    }

    /// `unlinkat`, with `AT_REMOVEDIR` or 0.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn unlink(&mut self, dir: InodeId, path: &[u8], at: u32, now: Timespec) -> Result<()> {
        let rmdir = match at {
            0 => false,
            AT_REMOVEDIR => true,
            _ => return Err(Errno::EINVAL),
        };
        let found = self.walk(dir, path, Goal::Name, 0)?;
        match &*found.name {
            b"" | b"." | b".." if !rmdir => return Err(Errno::EISDIR),
            b"" => return Err(Errno::EBUSY),
            b"." => return Err(Errno::EINVAL),
            b".." => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        let inode = self.child(found.dir, &found.name)?.ok_or(Errno::ENOENT)?;
        self.may_go(inode, rmdir)?;
        if !rmdir && found.slash {
            return Err(Errno::ENOTDIR);
        }
        self.remove_name(found.dir, &found.name, now)?;
        self.drop_link(found.dir, inode, now)
    }

    /// `renameat2`, without flags.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn rename(
        &mut self,
        old_dir: InodeId,
        old: &[u8],
        new_dir: InodeId,
        new: &[u8],
        flags: u32,
        now: Timespec,
    ) -> Result<()> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        // Both paths up to their last components come before a look at those.
        let (from, to) =
            (self.walk(old_dir, old, Goal::Name, 0), self.walk(new_dir, new, Goal::Name, 0));
        let (from, to) = (from?, to?);
        if from.is_special() || to.is_special() {
            return Err(Errno::EBUSY);
        }
        let source = self.child(from.dir, &from.name)?.ok_or(Errno::ENOENT)?;
        let target = self.child(to.dir, &to.name)?;
        let is_dir = self.is_directory(source);
        if !is_dir && (from.slash || to.slash) {
            return Err(Errno::ENOTDIR);
        }
        if is_dir && self.is_above(source, to.dir)? {
            return Err(Errno::EINVAL);
        }
        match target {
            Some(target) => {
                if self.is_directory(target) && self.is_above(target, from.dir)? {
                    return Err(Errno::ENOTEMPTY);
                }
                if target == source {
                    return Ok(());
                }
                self.may_go(target, is_dir)?;
                // The name keeps its place and gets another inode: nobody sees it missing.
                self.directory_mut(to.dir)?.set(&to.name, source);
                self.inode_mut(to.dir)?.modified(now);
                self.remove_name(from.dir, &from.name, now)?;
                self.drop_link(to.dir, target, now)?;
            }
            None => {
                self.add_name(to.dir, &to.name, source, now)?;
                self.remove_name(from.dir, &from.name, now)?;
            }
        }
        self.inode_mut(source)?.ctime = now;
        if is_dir && from.dir != to.dir {
            self.reparent(source, from.dir, to.dir)?;
        }
        Ok(())
    }

    /// Whether an inode may lose its name where a directory, or none, is expected.
    fn may_go(&self, inode: InodeId, as_dir: bool) -> Result<()> {
        match (as_dir, self.content(inode)?) {
            (true, Content::Directory(directory)) if !directory.is_empty() => Err(Errno::ENOTEMPTY),
            (true, Content::File(_) | Content::Symlink(_)) => Err(Errno::ENOTDIR),
            (false, Content::Directory(_)) => Err(Errno::EISDIR),
            _ => Ok(()),
        }
    }

    /// The directory and the name for something new.
    fn vacant(&self, dir: InodeId, path: &[u8], is_dir: bool) -> Result<(InodeId, Vec<u8>)> {
        let found = self.walk(dir, path, Goal::Name, 0)?;
        if found.is_special() || self.child(found.dir, &found.name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        if found.slash && !is_dir {
            return Err(Errno::ENOENT);
        }
        Ok((found.dir, found.name.into_owned()))
    }

    /// Finds or makes the file that `open` was asked for.
    pub(crate) fn open_inode(
        &mut self,
        dir: InodeId,
        path: &[u8],
        how: OpenHow,
        now: Timespec,
    ) -> Result<InodeId> {
        let create = how.flags & O_CREAT != 0;
        let exclusive = create && how.flags & O_EXCL != 0;
        let follow = how.flags & O_NOFOLLOW == 0 && !exclusive;
        let goal = if create { Goal::Create { follow } } else { Goal::Find { follow } };
        let found = self.walk(dir, path, goal, how.resolve)?;
        match found.inode {
            Some(_) if exclusive => Err(Errno::EEXIST),
            Some(inode) => match self.is_directory(inode) {
                true if create => Err(Errno::EISDIR),
                false if how.flags & O_DIRECTORY != 0 => Err(Errno::ENOTDIR),
                _ => Ok(inode),
            },
            None if create => {
                let content = Content::File(Data::default());
                self.create(found.dir, &found.name, content, how.mode, now)
            }
            None => Err(Errno::ENOENT),
        }
    }
}

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
use crate::path::{Goal, Last};
use crate::{Errno, InodeId, Kind, Timespec};

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
    ) -> Result<InodeId, Errno> {
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
    ) -> Result<InodeId, Errno> {
        match target.len() {
            0 => return Err(Errno::ENOENT),
            PATH_MAX.. => return Err(Errno::ENAMETOOLONG),
            _ if target.contains(&0) => return Err(Errno::EINVAL),
            _ => {}
        }
        let (dir, name) = self.vacant(dir, path, false)?;
        self.create(dir, &name, Content::Symlink(Box::from(target)), 0o777, now)
    }

    /// `readlinkat`; an empty path names `dir` itself, which then has to be a link.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn readlink(&self, dir: InodeId, path: &[u8], out: &mut [u8]) -> Result<usize, Errno> {
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
    ) -> Result<(), Errno> {
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
        inode.changed(now);
        Ok(())
    }

    /// `unlinkat`, with `AT_REMOVEDIR` or 0.
    ///
    /// # Errors
    ///
    /// As the system call.
    pub fn unlink(
        &mut self,
        dir: InodeId,
        path: &[u8],
        at: u32,
        now: Timespec,
    ) -> Result<(), Errno> {
        let rmdir = match at {
            0 => false,
            AT_REMOVEDIR => true,
            _ => return Err(Errno::EINVAL),
        };
        let found = self.walk(dir, path, Goal::Name, 0)?;
        let name = match found.last {
            Last::Name(name) => name,
            _ if !rmdir => return Err(Errno::EISDIR),
            Last::Dot => return Err(Errno::EINVAL),
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Root => return Err(Errno::EBUSY),
        };
        let inode = self.child(found.dir, &name)?.ok_or(Errno::ENOENT)?;
        self.may_go(inode, rmdir)?;
        if !rmdir && found.slash {
            return Err(Errno::ENOTDIR);
        }
        self.remove_name(found.dir, &name, now)?;
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
    ) -> Result<(), Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        // Both paths up to their last components come before a look at those.
        let (from, to) =
            (self.walk(old_dir, old, Goal::Name, 0), self.walk(new_dir, new, Goal::Name, 0));
        let (from, to) = (from?, to?);
        let Last::Name(from_name) = from.last else { return Err(Errno::EBUSY) };
        let Last::Name(to_name) = to.last else { return Err(Errno::EBUSY) };
        let source = self.child(from.dir, &from_name)?.ok_or(Errno::ENOENT)?;
        let target = self.child(to.dir, &to_name)?;
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
                self.directory_mut(to.dir)?.set(&to_name, source);
                self.inode_mut(to.dir)?.modified(now);
                self.remove_name(from.dir, &from_name, now)?;
                self.drop_link(to.dir, target, now)?;
            }
            None => {
                self.add_name(to.dir, &to_name, source, now)?;
                self.remove_name(from.dir, &from_name, now)?;
            }
        }
        self.inode_mut(source)?.changed(now);
        if is_dir && from.dir != to.dir {
            self.reparent(source, from.dir, to.dir)?;
        }
        Ok(())
    }

    /// Whether an inode may lose its name where a directory, or none, is expected.
    fn may_go(&self, inode: InodeId, as_dir: bool) -> Result<(), Errno> {
        match (as_dir, self.content(inode)?) {
            (true, Content::Directory(directory)) if !directory.is_empty() => Err(Errno::ENOTEMPTY),
            (true, Content::File(_) | Content::Symlink(_)) => Err(Errno::ENOTDIR),
            (false, Content::Directory(_)) => Err(Errno::EISDIR),
            _ => Ok(()),
        }
    }

    /// The directory and the name for something new.
    fn vacant(&self, dir: InodeId, path: &[u8], is_dir: bool) -> Result<(InodeId, Vec<u8>), Errno> {
        let found = self.walk(dir, path, Goal::Name, 0)?;
        let Last::Name(name) = found.last else { return Err(Errno::EEXIST) };
        match self.child(found.dir, &name)? {
            Some(_) => Err(Errno::EEXIST),
            None if found.slash && !is_dir => Err(Errno::ENOENT),
            None => Ok((found.dir, name.into_owned())),
        }
    }

    /// Finds or makes the file that `open` was asked for; says whether it is new.
    pub(crate) fn open_inode(
        &mut self,
        dir: InodeId,
        path: &[u8],
        flags: u32,
        mode: u32,
        resolve: u64,
        now: Timespec,
    ) -> Result<(InodeId, bool), Errno> {
        let create = flags & O_CREAT != 0;
        let exclusive = create && flags & O_EXCL != 0;
        let follow = flags & O_NOFOLLOW == 0 && !exclusive;
        let goal = if create { Goal::Create { follow } } else { Goal::Find { follow } };
        let found = self.walk(dir, path, goal, resolve)?;
        match (found.inode, found.last) {
            (Some(_), _) if exclusive => Err(Errno::EEXIST),
            (Some(inode), _) => match self.kind(inode)? {
                Kind::Directory if create => Err(Errno::EISDIR),
                Kind::Directory => Ok((inode, false)),
                _ if flags & O_DIRECTORY != 0 => Err(Errno::ENOTDIR),
                _ => Ok((inode, false)),
            },
            (None, Last::Name(name)) if create => {
                let content = Content::File(Data::default());
                Ok((self.create(found.dir, &name, content, mode, now)?, true))
            }
            (None, _) => Err(Errno::ENOENT),
        }
    }
}

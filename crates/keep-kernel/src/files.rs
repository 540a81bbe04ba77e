// SPDX-License-Identifier: Apache-2.0

//! The descriptor table: what the program's small numbers stand for.
//!
//! As in Linux a number names a *description*, and several numbers can name one. The kinds of
//! descriptions are few, and none of them is chosen by the host: streams that the host carries,
//! files of the Keep's own file system, the workload's input, and the event objects that the
//! runtime's reactor waits on.

use alloc::vec::Vec;

use keep_fs::{Errno, OpenFile};
use sallyport::{Handle, Stream};

use crate::calls::Sheet;
use crate::epoll::Epoll;
use crate::errno::{EBADF, EMFILE};

/// Most descriptors at a time.
const LIMIT: usize = 4096;

/// What a description is.
#[derive(Debug)]
pub enum Object {
    /// Bytes that the host carries.
    Stream(Stream),
    /// The artifact or module, at this offset.
    Input(u64),
    /// A file or directory of the Keep's file system.
    File(OpenFile),
    /// The counter of an `eventfd`.
    Event(u64),
    /// A set of descriptors to wait for.
    Epoll(Epoll),
    /// A socket: see [`crate::net`].
    Socket(Handle),
    /// A memory file.
    Sheet(Sheet),
}

/// One description.
#[derive(Debug)]
pub struct Description {
    /// What it is.
    pub object: Object,
    /// `O_…` flags for kinds that have none of their own.
    pub flags: u32,
    /// How often the program has used it; sockets count their own events instead.
    pub generation: u64,
    names: u32,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    description: usize,
    close_on_exec: bool,
}

/// The table.
#[derive(Debug, Default)]
pub struct Files {
    names: Vec<Option<Name>>,
    descriptions: Vec<Option<Description>>,
}

impl Files {
    /// Opens a new description under the lowest free number.
    ///
    /// # Errors
    ///
    /// `EMFILE`; the object is given back, since it may have to be closed.
    pub fn insert(
        &mut self,
        object: Object,
        flags: u32,
        close_on_exec: bool,
    ) -> Result<i32, (Errno, Object)> {
        self.insert_from(0, object, flags, close_on_exec)
    }

    /// As [`Files::insert`], under the lowest free number that is at least `from`.
    ///
    /// # Errors
    ///
    /// As [`Files::insert`].
    pub fn insert_from(
        &mut self,
        from: usize,
        object: Object,
        flags: u32,
        close_on_exec: bool,
    ) -> Result<i32, (Errno, Object)> {
        let Ok(number) = self.free_number(from) else { return Err((EMFILE, object)) };
        let free = self.descriptions.iter().position(Option::is_none);
        let index = free.unwrap_or(self.descriptions.len());
        if index == self.descriptions.len() {
            self.descriptions.push(None);
        }
        let description = Description { object, flags, generation: 0, names: 1 };
        self.descriptions[index] = Some(description);
        self.names[number] = Some(Name { description: index, close_on_exec });
        Ok(number as i32)
    }

    /// The description behind a number.
    ///
    /// # Errors
    ///
    /// `EBADF`.
    pub fn get(&self, fd: i32) -> Result<&Description, Errno> {
        self.descriptions[self.index(fd)?].as_ref().ok_or(EBADF)
    }

    /// The description behind a number, to change it.
    ///
    /// # Errors
    ///
    /// `EBADF`.
    pub fn get_mut(&mut self, fd: i32) -> Result<&mut Description, Errno> {
        let index = self.index(fd)?;
        self.descriptions[index].as_mut().ok_or(EBADF)
    }

    /// The identity of the description behind a number.
    ///
    /// # Errors
    ///
    /// `EBADF`.
    pub fn index(&self, fd: i32) -> Result<usize, Errno> {
        Ok(self.name(fd)?.description)
    }

    /// A description by its identity.
    pub fn by_index(&self, index: usize) -> Option<&Description> {
        self.descriptions.get(index)?.as_ref()
    }

    /// Whether a number is closed when another program is started (none ever is).
    ///
    /// # Errors
    ///
    /// `EBADF`.
    pub fn close_on_exec(&self, fd: i32) -> Result<bool, Errno> {
        Ok(self.name(fd)?.close_on_exec)
    }

    /// Sets what [`Files::close_on_exec`] says.
    ///
    /// # Errors
    ///
    /// `EBADF`.
    pub fn set_close_on_exec(&mut self, fd: i32, to: bool) -> Result<(), Errno> {
        let mut name = self.name(fd)?;
        name.close_on_exec = to;
        self.names[fd as usize] = Some(name);
        Ok(())
    }

    /// Gives a description a further number: the lowest free one that is at least `from`.
    ///
    /// # Errors
    ///
    /// `EBADF`, `EMFILE`.
    pub fn duplicate(&mut self, fd: i32, from: usize, close_on_exec: bool) -> Result<i32, Errno> {
        let description = self.index(fd)?;
        let number = self.free_number(from)?;
        self.get_mut(fd)?.names += 1;
        self.names[number] = Some(Name { description, close_on_exec });
        Ok(number as i32)
    }

    /// Closes a number, and the description with its last number: what it was is answered, since it
    /// may have to be closed too.
    ///
    /// # Errors
    ///
    /// `EBADF`.
    pub fn close(&mut self, fd: i32) -> Result<Option<Object>, Errno> {
        let index = self.index(fd)?;
        self.names[fd as usize] = None;
        let slot = &mut self.descriptions[index];
        let Some(description) = slot else { return Err(EBADF) };
        description.names -= 1;
        if description.names > 0 {
            return Ok(None);
        }
        let gone = slot.take().map(|description| description.object);
        // A set that waits for the closed description forgets it, as in Linux.
        for other in self.descriptions.iter_mut().flatten() {
            if let Object::Epoll(epoll) = &mut other.object {
                epoll.forget(index);
            }
        }
        Ok(gone)
    }

    fn name(&self, fd: i32) -> Result<Name, Errno> {
        let number = usize::try_from(fd).map_err(|_| EBADF)?;
        self.names.get(number).copied().flatten().ok_or(EBADF)
    }

    /// The lowest free number that is at least `from`; the table has a place for it afterwards.
    fn free_number(&mut self, from: usize) -> Result<usize, Errno> {
        let taken = self.names.iter().skip(from).position(Option::is_none);
        let number = taken.map_or(self.names.len().max(from), |offset| from + offset);
        if number >= LIMIT {
            return Err(EMFILE);
        }
        if number >= self.names.len() {
            self.names.resize(number + 1, None);
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_lowest_free_ones() {
        let mut files = Files::default();
        for expected in 0..3 {
            assert_eq!(files.insert(Object::Event(0), 0, false).unwrap(), expected);
        }
        files.close(1).unwrap();
        assert_eq!(files.insert(Object::Event(0), 0, false).unwrap(), 1);
        assert_eq!(files.duplicate(0, 10, true), Ok(10));
        assert_eq!(files.close_on_exec(10), Ok(true));
        assert_eq!(files.close_on_exec(0), Ok(false));
        assert_eq!(files.close(7).err(), Some(EBADF));
        assert_eq!(files.close(-1).err(), Some(EBADF));
    }

    #[test]
    fn a_description_lives_until_its_last_number_is_closed() {
        let mut files = Files::default();
        let first = files.insert(Object::Event(5), 0, false).unwrap();
        let second = files.duplicate(first, 0, false).unwrap();
        assert!(files.close(first).unwrap().is_none());
        assert!(matches!(files.get(second).unwrap().object, Object::Event(5)));
        let index = files.index(second).unwrap();
        assert!(matches!(files.close(second), Ok(Some(Object::Event(5)))));
        assert!(files.by_index(index).is_none());
    }

    #[test]
    fn the_table_is_bounded() {
        let mut files = Files::default();
        for _ in 0..LIMIT {
            assert!(files.insert(Object::Event(0), 0, false).is_ok());
        }
        assert!(matches!(files.insert(Object::Event(0), 0, false), Err((EMFILE, _))));
        assert_eq!(files.duplicate(0, 0, false), Err(EMFILE));
    }
}

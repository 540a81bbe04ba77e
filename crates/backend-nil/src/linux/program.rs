// SPDX-License-Identifier: Apache-2.0

//! A program as a file that can be executed: on disk where that works, else in memory.
//!
//! A file on disk is in the page cache from the second launch on and nothing is copied any more. It
//! is trusted by where it lies and whom it belongs to, like the `enarx` program itself: a folder of
//! the user, closed to others, and a file that only the user could have written. Whoever can change
//! it can change the user's programs as well. Reading it anew at each launch would take longer than
//! the copy that it saves.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{MemfdFlags, OFlags};

use crate::Image;

/// An open file that holds a program.
#[derive(Debug)]
pub(super) enum Executable {
    /// On disk.
    File(File),
    /// In memory.
    Memory(OwnedFd),
}

impl Executable {
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }
}

impl AsFd for Executable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::File(file) => file.as_fd(),
            Self::Memory(fd) => fd.as_fd(),
        }
    }
}

/// Opens the program's file in `folder`, making it first if need be.
pub(super) fn open(image: &Image, folder: Option<&Path>) -> io::Result<Executable> {
    if let Some(folder) = folder {
        let path = folder.join(file_name(image));
        if let Some(file) = open_sound(&path, image) {
            return Ok(Executable::File(file));
        }
        let installed = install(image, folder, &path).ok();
        if let Some(file) = installed.and_then(|()| open_sound(&path, image)) {
            return Ok(Executable::File(file));
        }
    }
    in_memory(image)
}

/// Copies the program into an anonymous file.
pub(super) fn in_memory(image: &Image) -> io::Result<Executable> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::EXEC;
    let fd = rustix::fs::memfd_create(image.program.name(), flags)
        // Before Linux 6.3 every such file could be executed and the flag was unknown.
        .or_else(|_| rustix::fs::memfd_create(image.program.name(), MemfdFlags::CLOEXEC))?;
    let mut file = File::from(fd);
    file.write_all(image.elf)?;
    Ok(Executable::Memory(file.into()))
}

fn file_name(image: &Image) -> String {
    format!("{}-{}", image.program.name(), image.id)
}

/// Rights of a program file: complete as soon as it has its name, and never written again.
const MODE: u32 = 0o500;

fn open_sound(path: &Path, image: &Image) -> Option<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok()?;
    let sound = metadata.is_file()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o7777 == MODE
        && metadata.len() == image.elf.len() as u64;
    sound.then_some(file)
}

fn install(image: &Image, folder: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = fs::symlink_metadata(folder)?;
    let private = metadata.is_dir()
        && metadata.uid() == rustix::process::geteuid().as_raw()
        && metadata.mode() & 0o022 == 0;
    if !private {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let temporary = folder.join(format!(".{}-{}", file_name(image), std::process::id()));
    let _ = fs::remove_file(&temporary);
    let written = write(image, &temporary).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    remove_others(folder, path);
    Ok(())
}

fn write(image: &Image, path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    file.write_all(image.elf)?;
    // The rights say "complete", so the bytes must be on disk before the name is.
    file.sync_all()
}

/// Removes programs of other versions that nobody has installed lately, and what a crash left.
fn remove_others(folder: &Path, keep: &Path) {
    const OLD: Duration = Duration::from_secs(7 * 24 * 3600);
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.path() != keep) {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        if age.is_ok_and(|age| age > OLD) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use keep_backend::Program;

    use super::*;

    fn image() -> Image {
        Image { program: Program::Runtime, elf: b"an ELF file", id: "1".into() }
    }

    fn content(executable: &Executable) -> Vec<u8> {
        fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&executable.as_fd())))
            .unwrap()
    }

    #[test]
    fn is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("programs");
        let first = open(&image(), Some(&folder)).unwrap();
        assert!(first.is_file());
        assert_eq!(content(&first), b"an ELF file");
        let inode = fs::metadata(folder.join("runtime-1")).unwrap().ino();
        assert!(open(&image(), Some(&folder)).unwrap().is_file());
        assert_eq!(fs::metadata(folder.join("runtime-1")).unwrap().ino(), inode);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_file_that_others_could_write_or_that_is_cut_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runtime-1");
        for (bytes, mode) in [(&b"an ELF file"[..], 0o722), (b"an ELF", 0o500), (b"", 0o500)] {
            let _ = fs::remove_file(&path);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let opened = open(&image(), Some(dir.path())).unwrap();
            assert_eq!(content(&opened), b"an ELF file", "{bytes:?} {mode:o}");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, MODE);
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, b"an evil one").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(MODE)).unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join("runtime-1")).unwrap();
        let opened = open(&image(), Some(dir.path())).unwrap();
        assert_eq!(content(&opened), b"an ELF file");
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let opened = open(&image(), Some(dir.path())).unwrap();
        assert!(!opened.is_file());
        assert_eq!(content(&opened), b"an ELF file");
    }
}

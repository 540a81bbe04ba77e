// SPDX-License-Identifier: Apache-2.0

//! Files that are named on the command line: bounded when read, and but for one kind never
//! overwritten when written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use evidence_pki::Certificate;
use zeroize::Zeroizing;

use crate::{Codes, Failure, OrExit, output};

/// No file that this program reads has a reason to be larger: 4 MiB.
const MAX_SIZE: u64 = 4 << 20;

/// Reads a file. What is in it is wiped from memory after use, because it may be a key.
///
/// # Errors
///
/// [`Codes::INPUT`].
pub fn read<C: Codes>(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure<C>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut bytes))
        .and_then(|length| match length as u64 > MAX_SIZE {
            true => Err(io::Error::other("the file has more than 4 MiB")),
            false => Ok(()),
        })
        .or_exit_with(C::INPUT, || format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

/// Reads a file with a secret in it, and says so if others can do that as well.
///
/// # Errors
///
/// [`Codes::INPUT`].
pub fn read_secret<C: Codes>(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure<C>> {
    #[cfg(unix)]
    if let Ok(metadata) = fs::metadata(path) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if metadata.is_file() && mode & 0o007 != 0 {
            output::warn(format_args!(
                "{} can be read by everybody on this machine; `chmod o= {0}` changes that",
                path.display()
            ));
        }
    }
    read(path)
}

/// Reads a file of text.
///
/// # Errors
///
/// [`Codes::INPUT`].
pub fn read_text<C: Codes>(path: &Path) -> Result<Zeroizing<String>, Failure<C>> {
    text(path, read(path)?)
}

/// Reads a file of text with a secret in it, see [`read_secret`].
///
/// # Errors
///
/// [`Codes::INPUT`].
pub fn read_secret_text<C: Codes>(path: &Path) -> Result<Zeroizing<String>, Failure<C>> {
    text(path, read_secret(path)?)
}

fn text<C: Codes>(path: &Path, bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, Failure<C>> {
    let text = std::str::from_utf8(&bytes)
        .or_exit_with(C::INPUT, || format!("{} is not a text in UTF-8", path.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads certificates, PEM or DER, of which there is at least one.
///
/// # Errors
///
/// [`Codes::INPUT`].
pub fn read_certificates<C: Codes>(path: &Path) -> Result<Vec<Vec<u8>>, Failure<C>> {
    let bytes = read(path)?;
    let list = evidence_pki::certificates(&bytes)
        .or_exit_with(C::INPUT, || format!("{} has no certificates in it", path.display()))?;
    for (number, der) in list.iter().enumerate() {
        Certificate::parse(der).or_exit_with(C::INPUT, || {
            format!("certificate {} of {} cannot be read", number + 1, path.display())
        })?;
    }
    Ok(list.into_iter().map(std::borrow::Cow::into_owned).collect())
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody, as far as the user's mask allows.
    Public,
    /// Its owner alone.
    Secret,
}

/// Writes files of which none may be there yet: all of them, or none.
///
/// # Errors
///
/// [`Codes::INPUT`].
pub fn create_all<C: Codes>(files: &[(&Path, &[u8], Access)]) -> Result<(), Failure<C>> {
    check_absent(&files.iter().map(|(path, ..)| *path).collect::<Vec<_>>())?;
    for (count, (path, bytes, access)) in files.iter().enumerate() {
        if let Err(error) = create(path, bytes, *access) {
            // A key without its certificate is of no use, and would stand in the way of the next try. A
            // file that somebody else made in the meantime is not ours to remove.
            let mine = if error.kind() == io::ErrorKind::AlreadyExists { count } else { count + 1 };
            for (path, ..) in files.iter().take(mine) {
                let _ = fs::remove_file(path);
            }
            return Err(error)
                .or_exit_with(C::INPUT, || format!("cannot write {}", path.display()));
        }
    }
    Ok(())
}

fn create(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if access == Access::Secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = access;
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Refuses to go on if one of these files is there, before the first of them is written.
///
/// # Errors
///
/// [`Codes::INPUT`].
pub fn check_absent<C: Codes>(paths: &[&Path]) -> Result<(), Failure<C>> {
    match paths.iter().find(|path| fs::symlink_metadata(path).is_ok()) {
        Some(path) => Err(Failure::msg(
            C::INPUT,
            format!("{} is there already, and nothing is overwritten", path.display()),
        )),
        None => Ok(()),
    }
}

/// Writes what others wait for: renamed into its place, so that nobody reads half of it, and over what was
/// there from the last time.
///
/// # Errors
///
/// [`Codes::INPUT`].
pub fn publish<C: Codes>(path: &Path, text: &str) -> Result<(), Failure<C>> {
    let part = path.with_extension("part");
    fs::write(&part, text)
        .and_then(|()| fs::rename(&part, path))
        .or_exit_with(C::INPUT, || format!("cannot write {}", path.display()))
}

/// Makes a folder that only its owner may enter, if it is not there.
///
/// # Errors
///
/// [`Codes::INPUT`].
pub fn create_folder<C: Codes>(path: &Path) -> Result<(), Failure<C>> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(path)
        .or_exit_with(C::INPUT, || format!("cannot make the folder {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::tests::Code;

    #[test]
    fn of_several_files_all_are_written_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("a"), folder.path().join("not there/b"));
        let list: [(&Path, &[u8], Access); 2] =
            [(&one, b"1", Access::Secret), (&two, b"2", Access::Public)];
        assert!(create_all::<Code>(&list).is_err());
        assert!(!one.exists());
        create_folder::<Code>(two.parent().unwrap()).unwrap();
        create_all::<Code>(&list).unwrap();
        assert_eq!(read::<Code>(&two).unwrap().as_slice(), b"2");
        // The one that is there stays, and so does the one beside it that was not reached.
        fs::remove_file(&one).unwrap();
        assert!(create_all::<Code>(&list).is_err());
        assert!(!one.exists() && two.exists());
    }

    #[test]
    fn a_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create(&path, b"1", Access::Secret).unwrap();
        assert!(create(&path, b"2", Access::Secret).is_err());
        assert!(check_absent::<Code>(&[&folder.path().join("b"), &path]).is_err());
        assert_eq!(read::<Code>(&path).unwrap().as_slice(), b"1");
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions())
                & 0o777,
            0o600
        );
    }
}

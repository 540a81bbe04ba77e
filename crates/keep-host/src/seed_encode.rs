// SPDX-License-Identifier: Apache-2.0

//! Writes the byte format of [`keep_fs::seed`]: one function for each kind of entry.
//!
//! The format is defined where it is read, inside the Keep. Writing it is the host's business
//! alone, so it is not among what a tenant has to trust.

use keep_fs::Timespec;
use keep_fs::seed::{HEAD, TAG_DIRECTORY, TAG_END, TAG_FILE, TAG_LEAVE, TAG_SYMLINK};

fn entry(out: &mut Vec<u8>, tag: u8, name: &[u8], mtime: Timespec, body: u64) {
    // A name that is too long for the field is one that the decoder refuses.
    let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
    out.reserve(HEAD + name.len());
    out.extend_from_slice(&[tag, 0]);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&mtime.nsec.to_le_bytes());
    out.extend_from_slice(&mtime.sec.to_le_bytes());
    out.extend_from_slice(&body.to_le_bytes());
    out.extend_from_slice(name);
}

/// Begins a directory.
pub(super) fn directory(out: &mut Vec<u8>, name: &[u8], mtime: Timespec) {
    entry(out, TAG_DIRECTORY, name, mtime, 0);
}

/// Ends the directory that was begun last.
pub(super) fn leave(out: &mut Vec<u8>) {
    entry(out, TAG_LEAVE, b"", Timespec::default(), 0);
}

/// Begins a file; exactly `size` bytes of content have to follow.
pub(super) fn file(out: &mut Vec<u8>, name: &[u8], mtime: Timespec, size: u64) {
    entry(out, TAG_FILE, name, mtime, size);
}

/// A symbolic link.
pub(super) fn symlink(out: &mut Vec<u8>, name: &[u8], mtime: Timespec, target: &[u8]) {
    entry(out, TAG_SYMLINK, name, mtime, target.len() as u64);
    out.extend_from_slice(target);
}

/// Ends the stream.
pub(super) fn end(out: &mut Vec<u8>) {
    entry(out, TAG_END, b"", Timespec::default(), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_as_documented() {
        let old = Timespec { sec: -3, nsec: 999_999_999 };
        let mut out = Vec::new();
        file(&mut out, b"name", old, 0x0102_0304_0506_0708);
        let want = [
            3, 0, 4, 0, 0xff, 0xc9, 0x9a, 0x3b, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 8,
            7, 6, 5, 4, 3, 2, 1, b'n', b'a', b'm', b'e',
        ];
        assert_eq!(out, want);
        assert_eq!(out.len(), HEAD + 4);
        out.clear();
        directory(&mut out, b"d", Timespec { sec: 1, nsec: 2 });
        let want = [1, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'd'];
        assert_eq!(out, want);
        out.clear();
        symlink(&mut out, b"l", Timespec::default(), b"to");
        let want = [
            4, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'l', b't',
            b'o',
        ];
        assert_eq!(out, want);
        out.clear();
        leave(&mut out);
        end(&mut out);
        let mut want = [0; 2 * HEAD];
        want[0] = 2;
        assert_eq!(out, want);
    }
}

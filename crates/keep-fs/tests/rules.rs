// SPDX-License-Identifier: Apache-2.0

//! Rules that a comparison with Linux cannot check: times, space, listings that go on while names
//! come and go, holes, and what lives without a name.

use keep_fs::abi::*;
use keep_fs::{Errno, Fs, InodeId, Kind, Limits, OpenFile, OpenHow, SetTime, Timespec, Usage};

const LIMITS: Limits = Limits { bytes: 1 << 24, inodes: 1000, file_size: 1 << 40 };

fn t(sec: i64) -> Timespec {
    Timespec { sec, nsec: 7 }
}

fn new() -> (Fs, InodeId) {
    let fs = Fs::new(LIMITS, t(0));
    let root = fs.root();
    (fs, root)
}

fn open(fs: &mut Fs, path: &str, flags: u32, now: i64) -> Result<OpenFile, Errno> {
    let how = OpenHow { flags, mode: 0o644, resolve: 0 };
    fs.open(fs.root(), path.as_bytes(), how, false, t(now))
}

fn create(fs: &mut Fs, path: &str) -> OpenFile {
    open(fs, path, O_CREAT | O_RDWR, 0).unwrap()
}

/// Access, modification, change and birth time in seconds.
fn times(fs: &Fs, path: &str) -> [i64; 4] {
    let inode = fs.lookup(fs.root(), path.as_bytes(), AT_SYMLINK_NOFOLLOW).unwrap();
    let stat = fs.stat(inode).unwrap();
    [stat.atime.sec, stat.mtime.sec, stat.ctime.sec, stat.btime.sec]
}

#[test]
fn times_follow_what_changed() {
    let (mut fs, root) = new();
    fs.mkdir(root, b"d", 0o755, t(1)).unwrap();
    assert_eq!((times(&fs, "d"), times(&fs, ".")), ([1; 4], [0, 1, 1, 0]));
    let mut file = open(&mut fs, "d/f", O_CREAT | O_RDWR, 2).unwrap();
    assert_eq!((times(&fs, "d/f"), times(&fs, "d")), ([2; 4], [1, 2, 2, 1]));
    fs.write(&mut file, b"x", t(3)).unwrap();
    fs.write(&mut file, b"", t(4)).unwrap();
    assert_eq!((times(&fs, "d/f"), times(&fs, "d")), ([2, 3, 3, 2], [1, 2, 2, 1]));
    fs.read(&mut file, &mut [0]).unwrap();
    fs.truncate(&file, 1, t(5)).unwrap();
    assert_eq!(times(&fs, "d/f"), [2, 5, 5, 2]);
    fs.link(root, b"d/f", root, b"g", 0, t(6)).unwrap();
    assert_eq!((times(&fs, "g"), times(&fs, ".")), ([2, 5, 6, 2], [0, 6, 6, 0]));
    fs.rename(root, b"g", root, b"d/g", 0, t(7)).unwrap();
    assert_eq!(
        (times(&fs, "d/g"), times(&fs, "."), times(&fs, "d")),
        ([2, 5, 7, 2], [0, 7, 7, 0], [1, 7, 7, 1])
    );
    fs.unlink(root, b"d/g", 0, t(8)).unwrap();
    assert_eq!((times(&fs, "d/f"), times(&fs, "d")), ([2, 5, 8, 2], [1, 8, 8, 1]));
    let trunc = open(&mut fs, "d/f", O_TRUNC | O_RDONLY, 9).unwrap();
    assert_eq!(times(&fs, "d/f"), [2, 9, 9, 2]);
    fs.set_times(file.inode(), SetTime::At(t(-5)), SetTime::Omit, t(10)).unwrap();
    assert_eq!(times(&fs, "d/f"), [-5, 9, 10, 2]);
    fs.set_times(file.inode(), SetTime::Omit, SetTime::Omit, t(11)).unwrap();
    assert_eq!(times(&fs, "d/f"), [-5, 9, 10, 2]);
    fs.set_times(file.inode(), SetTime::Now, SetTime::Now, t(12)).unwrap();
    assert_eq!(times(&fs, "d/f"), [12, 12, 12, 2]);
    fs.close(file);
    fs.close(trunc);
}

#[test]
fn holes_are_free_and_read_as_zeros() {
    let (mut fs, _) = new();
    let file = create(&mut fs, "f");
    let before = fs.usage().bytes;
    fs.truncate(&file, 1 << 40, t(0)).unwrap();
    assert_eq!(fs.usage().bytes, before);
    assert_eq!(fs.truncate(&file, (1 << 40) + 1, t(0)), Err(Errno::EFBIG));
    let place = (1 << 30) + 5;
    fs.pwrite(&file, b"data", place, t(0)).unwrap();
    assert!(fs.usage().bytes - before < 1024);
    let mut buffer = [9; 8];
    fs.pread(&file, &mut buffer, place - 2).unwrap();
    assert_eq!(&buffer, b"\0\0data\0\0");
    // What was cut off does not come back.
    fs.truncate(&file, place + 1, t(0)).unwrap();
    fs.truncate(&file, place + 9, t(0)).unwrap();
    fs.pread(&file, &mut buffer, place - 1).unwrap();
    assert_eq!(&buffer, b"\0d\0\0\0\0\0\0");
    fs.truncate(&file, 0, t(0)).unwrap();
    assert_eq!(fs.usage().bytes, before);
    fs.close(file);
}

#[test]
fn the_end_of_the_space_is_an_error_and_gives_back_what_is_freed() {
    let (mut fs, root) = new();
    let mut file = create(&mut fs, "f");
    let (piece, mut written) = ([1; 100_000], 0);
    let error = loop {
        match fs.write(&mut file, &piece, t(0)) {
            Ok(n) => written += n as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(error, Errno::ENOSPC);
    assert!(written > LIMITS.bytes * 9 / 10 && fs.usage().bytes <= LIMITS.bytes);
    assert_eq!(fs.stat(file.inode()).unwrap().size, written);
    // What is in use already can be written again.
    assert_eq!(fs.pwrite(&file, &piece, 0, t(0)), Ok(piece.len()));
    // The file lives on without its name, then ends.
    fs.unlink(root, b"f", 0, t(0)).unwrap();
    assert_eq!(fs.stat(file.inode()).unwrap().nlink, 0);
    assert_eq!(fs.pread(&file, &mut [0; 9], 0), Ok(9));
    let inode = file.inode();
    fs.close(file);
    assert_eq!(fs.stat(inode), Err(Errno::ESTALE));
    assert_eq!(fs.usage(), Fs::new(LIMITS, t(0)).usage());
}

#[test]
fn inodes_and_names_are_counted() {
    let mut fs = Fs::new(Limits { inodes: 3, ..LIMITS }, t(0));
    let root = fs.root();
    fs.mkdir(root, b"a", 0o755, t(0)).unwrap();
    fs.symlink(b"x", root, b"b", t(0)).unwrap();
    assert_eq!(fs.mkdir(root, b"c", 0o755, t(0)), Err(Errno::ENOSPC));
    assert_eq!(open(&mut fs, "c", O_CREAT, 0).unwrap_err(), Errno::ENOSPC);
    assert_eq!(fs.lookup(root, b"c", 0), Err(Errno::ENOENT));
    let used = fs.usage().bytes;
    let mut fs = Fs::new(Limits { bytes: used, ..LIMITS }, t(0));
    fs.mkdir(root, b"a", 0o755, t(0)).unwrap();
    fs.symlink(b"x", root, b"b", t(0)).unwrap();
    assert_eq!(fs.link(root, b"b", root, b"d", 0, t(0)), Err(Errno::ENOSPC));
    assert_eq!(fs.usage(), Usage { bytes: used, inodes: 3 });
}

/// One call of `getdents64` with room for a few records: name and `d_off` of each.
fn list(fs: &Fs, file: &mut OpenFile, room: usize) -> Vec<(String, i64)> {
    let mut buffer = vec![0; room];
    let len = fs.getdents(file, &mut buffer).unwrap();
    let (mut rest, mut out) = (&buffer[..len], Vec::new());
    while !rest.is_empty() {
        let len = usize::from(u16::from_le_bytes([rest[16], rest[17]]));
        let name = rest[19..len].split(|b| *b == 0).next().unwrap();
        let place = i64::from_le_bytes(rest[8..16].try_into().unwrap());
        out.push((String::from_utf8(name.into()).unwrap(), place));
        rest = &rest[len..];
    }
    out
}

#[test]
fn a_listing_survives_changes() {
    let (mut fs, root) = new();
    for name in ["a", "b", "c", "d", "e"] {
        fs.mkdir(root, name.as_bytes(), 0o755, t(0)).unwrap();
    }
    let mut dir = open(&mut fs, "/", O_DIRECTORY, 0).unwrap();
    let first = list(&fs, &mut dir, 24 * 4);
    let names: Vec<_> = first.iter().map(|entry| entry.0.as_str()).collect();
    assert_eq!(names, [".", "..", "a", "b"]);
    // One that was shown and one that was not go; new ones come, but not into this listing.
    fs.unlink(root, b"a", AT_REMOVEDIR, t(0)).unwrap();
    fs.unlink(root, b"d", AT_REMOVEDIR, t(0)).unwrap();
    fs.mkdir(root, b"new", 0o755, t(0)).unwrap();
    // A name that is replaced keeps its place.
    fs.mkdir(root, b"other", 0o755, t(0)).unwrap();
    fs.rename(root, b"other", root, b"e", 0, t(0)).unwrap();
    let rest: Vec<_> = list(&fs, &mut dir, 1000).into_iter().map(|entry| entry.0).collect();
    assert_eq!(rest, ["c", "e"]);
    assert_eq!(list(&fs, &mut dir, 1000), []);
    // From a place that was given out, also of a name that is gone by now.
    fs.seek(&mut dir, first[2].1, SEEK_SET).unwrap();
    let again: Vec<_> = list(&fs, &mut dir, 1000).into_iter().map(|entry| entry.0).collect();
    assert_eq!(again, ["b", "c", "e"]);
    fs.seek(&mut dir, 0, SEEK_SET).unwrap();
    assert_eq!(list(&fs, &mut dir, 1000).len(), 6);
    fs.seek(&mut dir, i64::MAX, SEEK_SET).unwrap();
    assert_eq!(list(&fs, &mut dir, 1000), []);
    fs.seek(&mut dir, 0, SEEK_SET).unwrap();
    assert_eq!(fs.getdents(&mut dir, &mut [0; 23]), Err(Errno::EINVAL));
    fs.close(dir);
}

#[test]
fn a_loop_that_renames_what_it_lists_ends() {
    let (mut fs, root) = new();
    fs.mkdir(root, b"0", 0o755, t(0)).unwrap();
    let mut dir = open(&mut fs, "/", O_DIRECTORY, 0).unwrap();
    let mut shown = 0;
    loop {
        let names = list(&fs, &mut dir, 24);
        let Some((name, _)) = names.first() else { break };
        if !name.starts_with('.') {
            let next = format!("{}", name.parse::<u32>().unwrap() + 1);
            fs.rename(root, name.as_bytes(), root, next.as_bytes(), 0, t(0)).unwrap();
            shown += 1;
        }
        assert!(shown < 5);
    }
    fs.close(dir);
}

#[test]
fn a_removed_directory_still_leads_up() {
    let (mut fs, root) = new();
    fs.mkdir(root, b"a", 0o755, t(0)).unwrap();
    fs.mkdir(root, b"a/b", 0o755, t(0)).unwrap();
    let mut dir = open(&mut fs, "a/b", O_DIRECTORY, 0).unwrap();
    fs.unlink(root, b"a/b", AT_REMOVEDIR, t(0)).unwrap();
    let a = fs.lookup(root, b"a", 0).unwrap();
    fs.unlink(root, b"a", AT_REMOVEDIR, t(0)).unwrap();
    assert_eq!(fs.lookup(dir.inode(), b"..", 0), Ok(a));
    assert_eq!(fs.lookup(dir.inode(), b"../..", 0), Ok(root));
    assert_eq!(fs.mkdir(dir.inode(), b"x", 0o755, t(0)), Err(Errno::ENOENT));
    assert_eq!(fs.getdents(&mut dir, &mut [0; 100]), Err(Errno::ENOENT));
    assert_eq!(fs.stat(dir.inode()).unwrap().nlink, 0);
    fs.close(dir);
    assert_eq!(fs.stat(a), Err(Errno::ESTALE));
    assert_eq!(fs.usage().inodes, 1);
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let (mut fs, root) = new();
    let file = create(&mut fs, "l0");
    fs.close(file);
    for n in 1..=41 {
        let (target, name) = (format!("l{}", n - 1), format!("l{n}"));
        fs.symlink(target.as_bytes(), root, name.as_bytes(), t(0)).unwrap();
    }
    assert_eq!(fs.lookup(root, b"l40", 0), fs.lookup(root, b"l0", 0));
    assert_eq!(fs.lookup(root, b"l41", 0), Err(Errno::ELOOP));
    assert_eq!(open(&mut fs, "l1", O_NOFOLLOW, 0).unwrap_err(), Errno::ELOOP);
    assert_eq!(open(&mut fs, "l1", O_NOFOLLOW | O_DIRECTORY, 0).unwrap_err(), Errno::ENOTDIR);
    let link = open(&mut fs, "l1", O_NOFOLLOW | O_PATH, 0).unwrap();
    assert_eq!(fs.kind(link.inode()), Ok(Kind::Symlink));
    assert_eq!(fs.readlink(link.inode(), b"", &mut [0; 9]), Ok(2));
    fs.close(link);
}

#[test]
fn what_is_not_offered_is_refused() {
    let (mut fs, root) = new();
    // Files without a name: Linux chose the flag such that a system without it opens a directory.
    let tmpfile = 0o20000000 | O_DIRECTORY;
    assert_eq!(open(&mut fs, ".", tmpfile | O_RDWR, 0).unwrap_err(), Errno::EISDIR);
    let how = OpenHow { flags: tmpfile | O_RDWR, ..OpenHow::default() };
    assert_eq!(fs.open(root, b".", how, true, t(0)).unwrap_err(), Errno::EINVAL);
    for resolve in [0x01, 0x10, 0x20, 1 << 40] {
        let how = OpenHow { resolve, ..OpenHow::default() };
        assert_eq!(fs.open(root, b".", how, true, t(0)).unwrap_err(), Errno::EINVAL);
    }
    let mut file = create(&mut fs, "f");
    for whence in 3..6 {
        assert_eq!(fs.seek(&mut file, 0, whence), Err(Errno::EINVAL));
    }
    fs.close(file);
    for flags in [1, 2, 4] {
        assert_eq!(fs.rename(root, b"f", root, b"b", flags, t(0)), Err(Errno::EINVAL));
    }
    assert_eq!(fs.lookup(root, b"a\0b", 0), Err(Errno::EINVAL));
}

#[test]
fn an_open_inode_lives() {
    let (mut fs, root) = new();
    fs.symlink(b"x", root, b"l", t(0)).unwrap();
    let link = open(&mut fs, "l", O_PATH | O_NOFOLLOW, 0).unwrap();
    let inode = link.inode();
    fs.unlink(root, b"l", 0, t(0)).unwrap();
    assert!(fs.stat(inode).is_ok());
    assert_eq!(fs.link(inode, b"", root, b"m", AT_EMPTY_PATH, t(0)), Err(Errno::ENOENT));
    fs.close(link);
    assert_eq!(fs.stat(inode), Err(Errno::ESTALE));
}

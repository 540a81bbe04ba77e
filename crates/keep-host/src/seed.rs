// SPDX-License-Identifier: Apache-2.0

//! Carries host folders into a Keep's file system, or into a scratch folder.
//!
//! Both ways use one walk, so that a workload finds the same tree whatever backend it runs on:
//! folders in the order of their names, regular files, symbolic links as links. The folder that
//! the user named may be a link and is followed; no other link ever is, and a file that turns into
//! one while we look is not opened. Sockets, pipes and devices have no content that could be
//! carried and are left out with a warning. Host folders are opened for reading only.
//!
//! The host's files may change while they are read. A file's size is announced before its bytes,
//! so one that shrinks is filled up with zeros and one that grows is cut, with a warning.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use keep_backend::{BackendError, Seed, seed_name};
use keep_fs::Timespec;
use keep_fs::seed::{MAGIC, MAX_DEPTH};
use tracing::warn;

#[path = "seed_encode.rs"]
mod encode;

/// One step of the walk through a folder.
#[derive(Debug)]
enum Step {
    /// A folder begins; what follows is in it.
    Enter { path: PathBuf, modified: Option<SystemTime> },
    /// The folder that began last ends.
    Leave { modified: Option<SystemTime> },
    /// A regular file, opened.
    File { path: PathBuf, file: File, size: u64, modified: Option<SystemTime> },
    /// A symbolic link.
    Symlink { path: PathBuf, target: PathBuf, modified: Option<SystemTime> },
}

/// A folder that the walk is in.
#[derive(Debug)]
struct Level {
    path: PathBuf,
    modified: Option<SystemTime>,
    /// The names that are still to come, the next one last.
    names: Vec<OsString>,
}

/// Walks one folder, lazily: in memory are the names of the folders that it is in.
#[derive(Debug)]
struct Walk {
    /// The folder itself, until it has begun.
    top: Option<Level>,
    levels: Vec<Level>,
    /// A folder to pass by: the one that is copied to, if it lies in the one that is copied.
    except: Option<PathBuf>,
}

impl Walk {
    fn new(top: &Path) -> Result<Self, BackendError> {
        let metadata = fs::metadata(top).map_err(at(top))?;
        if !metadata.is_dir() {
            return Err(at(top)(io::Error::new(io::ErrorKind::NotADirectory, "not a folder")));
        }
        Ok(Self {
            top: Some(Level::open(top.into(), &metadata)?),
            levels: Vec::new(),
            except: None,
        })
    }

    fn enter(&mut self, level: Level) -> Result<Step, BackendError> {
        if self.levels.len() >= MAX_DEPTH {
            let deep = format!("the folders lie more than {MAX_DEPTH} deep in each other");
            return Err(at(&level.path)(io::Error::other(deep)));
        }
        let step = Step::Enter { path: level.path.clone(), modified: level.modified };
        self.levels.push(level);
        Ok(step)
    }

    fn next(&mut self) -> Result<Option<Step>, BackendError> {
        if let Some(top) = self.top.take() {
            return self.enter(top).map(Some);
        }
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.names.pop() else {
                let modified = level.modified;
                self.levels.pop();
                return Ok(Some(Step::Leave { modified }));
            };
            let path = level.path.join(name);
            if self.except.as_ref() == Some(&path) {
                continue;
            }
            let step = self.visit(&path);
            match step {
                Ok(Some(step)) => return Ok(Some(step)),
                Ok(None) => {}
                // The folder was listed a moment ago; what is gone since then is not missed.
                Err(BackendError::Seed { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    warn!(path = %path.display(), "left out: it vanished while it was read");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Looks at one name; there is nothing to say of what cannot be carried.
    fn visit(&mut self, path: &Path) -> Result<Option<Step>, BackendError> {
        let metadata = fs::symlink_metadata(path).map_err(at(path))?;
        let (kind, modified) = (metadata.file_type(), metadata.modified().ok());
        if kind.is_dir() {
            let level = Level::open(path.into(), &metadata)?;
            return self.enter(level).map(Some);
        }
        let path = path.to_path_buf();
        if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(at(&path))?;
            return Ok(Some(Step::Symlink { path, target, modified }));
        }
        if !kind.is_file() {
            return Ok(skip(&path, kind));
        }
        let file = open(&path).map_err(at(&path))?;
        // Only now is it certain what was opened.
        let metadata = file.metadata().map_err(at(&path))?;
        if !metadata.is_file() {
            return Ok(skip(&path, metadata.file_type()));
        }
        let modified = metadata.modified().ok();
        Ok(Some(Step::File { path, file, size: metadata.len(), modified }))
    }
}

impl Level {
    fn open(path: PathBuf, metadata: &Metadata) -> Result<Self, BackendError> {
        let entries = fs::read_dir(&path).map_err(at(&path))?;
        let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>();
        let mut names: Vec<OsString> = names.map_err(at(&path))?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self { path, modified: metadata.modified().ok(), names })
    }
}

/// Leaves something out.
fn skip(path: &Path, kind: FileType) -> Option<Step> {
    warn!(path = %path.display(), ?kind, "left out: neither a file, a folder nor a link");
    None
}

/// Opens a file for reading, but no link; does not wait if it turned into a pipe.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY,
    );
    options.open(path)
}

/// Says which file an error is about.
fn at(path: &Path) -> impl FnOnce(io::Error) -> BackendError {
    let path = path.to_path_buf();
    move |source| BackendError::Seed { path, source }
}

/// The same for what is written.
fn write(path: &Path) -> impl FnOnce(io::Error) -> BackendError {
    let what = format!("write {}", path.display());
    move |source| BackendError::Host { what, source }
}

fn timespec(time: Option<SystemTime>) -> Timespec {
    let Some(time) = time else { return Timespec::default() };
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timespec { sec: after.as_secs() as i64, nsec: after.subsec_nanos() },
        Err(before) => {
            // The nanoseconds count forwards from the second before.
            let before = before.duration();
            match (before.as_secs() as i64, before.subsec_nanos()) {
                (sec, 0) => Timespec { sec: -sec, nsec: 0 },
                (sec, nsec) => Timespec { sec: -sec - 1, nsec: 1_000_000_000 - nsec },
            }
        }
    }
}

/// A name or a link's target as it is on the host; elsewhere than on Unix as UTF-8.
fn bytes(name: &OsStr) -> &[u8] {
    #[cfg(unix)]
    return std::os::unix::ffi::OsStrExt::as_bytes(name);
    #[cfg(not(unix))]
    return name.to_str().unwrap_or("\u{fffd}").as_bytes();
}

/// The bytes of a file that are still to come.
#[derive(Debug)]
struct Body {
    path: PathBuf,
    file: File,
    rest: u64,
    /// Nothing more came from the file before its announced end.
    shrunk: bool,
}

/// The stream of [`keep_fs::seed`] made from host folders, read as it is asked for.
///
/// Its errors are [`BackendError`]s; [`error`] gets them back out of the [`io::Error`].
#[derive(Debug)]
pub struct Stream {
    /// The seeds that are still to come, the next one last.
    walks: Vec<(usize, Walk)>,
    /// What has been encoded and not been read yet, and how far it has been read.
    encoded: Vec<u8>,
    at: usize,
    body: Option<Body>,
    ended: bool,
}

impl Stream {
    /// Opens the folders, so that one that is missing is known at once.
    ///
    /// # Errors
    ///
    /// [`BackendError::Seed`], or [`BackendError::Unsupported`] if the seeds are not numbered from
    /// 0 on without gaps.
    pub fn new(seeds: &[Seed]) -> Result<Self, BackendError> {
        let mut walks = Vec::new();
        for seed in seeds {
            walks.push((seed.index, Walk::new(&seed.host)?));
        }
        walks.sort_by_key(|walk| std::cmp::Reverse(walk.0));
        if !walks.iter().rev().map(|walk| walk.0).eq(0..walks.len()) {
            let problem = "the folders for the Keep are not numbered from 0 on";
            return Err(BackendError::Unsupported(problem.into()));
        }
        Ok(Self { walks, encoded: MAGIC.to_vec(), at: 0, body: None, ended: false })
    }

    /// Encodes the next step.
    fn advance(&mut self) -> Result<(), BackendError> {
        self.encoded.clear();
        self.at = 0;
        let out = &mut self.encoded;
        let Some((index, walk)) = self.walks.last_mut() else {
            encode::end(out);
            self.ended = true;
            return Ok(());
        };
        let is_top = walk.levels.is_empty();
        let name = |path: &Path| path.file_name().map(bytes).unwrap_or_default().to_vec();
        match walk.next()? {
            Some(Step::Enter { modified, .. }) if is_top => {
                encode::directory(out, seed_name(*index).as_bytes(), timespec(modified));
            }
            Some(Step::Enter { path, modified }) => {
                encode::directory(out, &name(&path), timespec(modified));
            }
            Some(Step::Leave { .. }) => encode::leave(out),
            Some(Step::File { path, file, size, modified }) => {
                encode::file(out, &name(&path), timespec(modified), size);
                self.body = Some(Body { path, file, rest: size, shrunk: false });
            }
            Some(Step::Symlink { path, target, modified }) => {
                encode::symlink(out, &name(&path), timespec(modified), bytes(target.as_os_str()));
            }
            None => {
                self.walks.pop();
            }
        }
        Ok(())
    }
}

impl Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.rest).unwrap_or(usize::MAX).min(out.len());
        let out = &mut out[..len];
        let mut done = if self.shrunk { 0 } else { self.file.read(out)? };
        if done == 0 && len > 0 {
            if !self.shrunk {
                warn!(path = %self.path.display(), "filled up with zeros: it shrank while it was read");
                self.shrunk = true;
            }
            out.fill(0);
            done = len;
        }
        self.rest -= done as u64;
        Ok(done)
    }

    /// Called at the announced end: says so if there is more.
    fn end(mut self) {
        if !self.shrunk && self.file.read(&mut [0]).is_ok_and(|more| more > 0) {
            warn!(path = %self.path.display(), "cut: it grew while it was read");
        }
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let encoded = &self.encoded[self.at..];
            if !encoded.is_empty() {
                let len = encoded.len().min(out.len());
                out[..len].copy_from_slice(&encoded[..len]);
                self.at += len;
                return Ok(len);
            }
            match &mut self.body {
                Some(body) if body.rest > 0 => match body.read(out) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(io::Error::other(at(&body.path)(error))),
                    done => return done,
                },
                Some(_) => {
                    if let Some(body) = self.body.take() {
                        body.end();
                    }
                }
                None if self.ended => return Ok(0),
                None => self.advance().map_err(io::Error::other)?,
            }
        }
    }
}

/// The error of a [`Stream`] with the file that it is about.
pub fn error(error: io::Error) -> BackendError {
    error.downcast::<BackendError>().unwrap_or_else(|source| BackendError::Host {
        what: "read the folders for the Keep".into(),
        source,
    })
}

/// Copies the content of the folder `from` into the folder `to`, which is made if need be and
/// should be empty. If it lies inside `from`, it is left out of the copy.
///
/// # Errors
///
/// [`BackendError::Seed`] about what cannot be read, [`BackendError::Host`] about what cannot be
/// written.
pub fn copy_tree(from: &Path, to: &Path) -> Result<(), BackendError> {
    let mut walk = Walk::new(from)?;
    let mut here = to.to_path_buf();
    fs::create_dir_all(to).map_err(write(to))?;
    let real =
        (fs::canonicalize(from).map_err(at(from))?, fs::canonicalize(to).map_err(write(to))?);
    walk.except = real.1.strip_prefix(&real.0).ok().map(|inside| from.join(inside));
    loop {
        let is_top = walk.levels.is_empty();
        let Some(step) = walk.next()? else { return Ok(()) };
        let target_of = |path: &Path| path.file_name().map_or(here.clone(), |name| here.join(name));
        match step {
            Step::Enter { .. } if is_top => {}
            Step::Enter { path, .. } => {
                here = target_of(&path);
                fs::create_dir(&here).map_err(write(&here))?;
            }
            Step::Leave { modified } => {
                // Not everywhere can a folder's time be set, and nothing depends on it.
                if let (Some(time), Ok(folder)) = (modified, File::open(&here)) {
                    let _ = folder.set_modified(time);
                }
                if !walk.levels.is_empty() {
                    here.pop();
                }
            }
            Step::File { path, file, modified, .. } => {
                let target = target_of(&path);
                copy_file(&path, file, &target, modified)?;
            }
            Step::Symlink { path, target, .. } => {
                let link = target_of(&path);
                symlink(&target, &link).map_err(write(&link))?;
            }
        }
    }
}

fn copy_file(
    path: &Path,
    mut file: File,
    to: &Path,
    modified: Option<SystemTime>,
) -> Result<(), BackendError> {
    let made = OpenOptions::new().write(true).create_new(true).open(to);
    let mut copy = made
        .map_err(|source| BackendError::Host { what: format!("write {}", to.display()), source })?;
    // On Linux this is `copy_file_range`, which shares blocks where the file system can.
    io::copy(&mut file, &mut copy).map_err(at(path))?;
    if let Some(time) = modified {
        copy.set_modified(time).map_err(write(to))?;
    }
    Ok(())
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_target: &Path, link: &Path) -> io::Result<()> {
    warn!(path = %link.display(), "left out: symbolic links cannot be made on this system");
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use keep_fs::abi::AT_SYMLINK_NOFOLLOW;
    use keep_fs::seed::{self, Receiver};
    use keep_fs::{Fs, Kind, Limits, OpenHow};

    use super::*;

    fn seed(index: usize, host: &Path) -> Seed {
        Seed { host: host.into(), index }
    }

    /// Everything in a folder: path, kind, content.
    fn host_tree(top: &Path) -> Vec<(PathBuf, char, Vec<u8>, i64)> {
        let (mut out, mut todo) = (Vec::new(), vec![top.to_path_buf()]);
        while let Some(path) = todo.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(top).unwrap().to_path_buf();
            let kind = metadata.file_type();
            if kind.is_dir() {
                todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                out.push((name, 'd', Vec::new(), metadata.mtime()));
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                out.push((name, 'l', bytes(target.as_os_str()).to_vec(), 0));
            } else if kind.is_file() {
                out.push((name, 'f', fs::read(&path).unwrap(), metadata.mtime()));
            }
        }
        out.sort();
        out
    }

    /// The same of a seed in a Keep's file system.
    fn keep_tree(fs: &mut Fs, top: &str) -> Vec<(PathBuf, char, Vec<u8>, i64)> {
        let (mut out, mut todo) = (Vec::new(), vec![PathBuf::from(top)]);
        while let Some(path) = todo.pop() {
            let raw = bytes(path.as_os_str()).to_vec();
            let inode = fs.lookup(fs.root(), &raw, AT_SYMLINK_NOFOLLOW).unwrap();
            let stat = fs.stat(inode).unwrap();
            let name = path.strip_prefix(top).unwrap().to_path_buf();
            let mut buffer = vec![0; 1 << 20];
            match stat.kind {
                Kind::Symlink => {
                    let len = fs.readlink(fs.root(), &raw, &mut buffer).unwrap();
                    out.push((name, 'l', buffer[..len].to_vec(), 0));
                }
                kind => {
                    let (root, now) = (fs.root(), Timespec::default());
                    let mut file = fs.open(root, &raw, OpenHow::default(), false, now).unwrap();
                    if kind == Kind::File {
                        let len = fs.read(&mut file, &mut buffer).unwrap();
                        out.push((name, 'f', buffer[..len].to_vec(), stat.mtime.sec));
                    } else {
                        let len = fs.getdents(&mut file, &mut buffer).unwrap();
                        let mut records = &buffer[..len];
                        while !records.is_empty() {
                            let len = usize::from(u16::from_le_bytes([records[16], records[17]]));
                            let entry = records[19..len].split(|b| *b == 0).next().unwrap();
                            let entry = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(entry);
                            if entry != "." && entry != ".." {
                                todo.push(path.join(entry));
                            }
                            records = &records[len..];
                        }
                        out.push((name, 'd', Vec::new(), stat.mtime.sec));
                    }
                    fs.close(file);
                }
            }
        }
        out.sort();
        out
    }

    fn decode(stream: &mut dyn Read, piece: usize) -> Result<Fs, String> {
        let limits = Limits { bytes: 1 << 28, inodes: 10_000, file_size: 1 << 30 };
        let fs = Fs::new(limits, Timespec::default());
        let mut keep = Keep { fs, stream, piece, failed: None };
        let result = seed::decode(&mut keep, Timespec::default());
        keep.failed.map_or(Ok(()), Err)?;
        result.map(|_| keep.fs).map_err(|e| e.to_string())
    }

    /// A Keep that reads a stream in pieces.
    struct Keep<'a> {
        fs: Fs,
        stream: &'a mut dyn Read,
        piece: usize,
        failed: Option<String>,
    }

    impl Receiver for Keep<'_> {
        fn fs(&mut self) -> &mut Fs {
            &mut self.fs
        }

        fn read(&mut self, piece: &mut [u8]) -> usize {
            let len = piece.len().min(self.piece);
            self.stream.read(&mut piece[..len]).unwrap_or_else(|e| {
                self.failed = Some(error(e).to_string());
                0
            })
        }
    }

    /// A folder with one of everything.
    fn sample(top: &Path) {
        fs::create_dir_all(top.join("sub/empty")).unwrap();
        fs::write(top.join("hello"), "hello\n").unwrap();
        fs::write(top.join("none"), "").unwrap();
        fs::write(top.join("sub/big"), vec![3; 200_001]).unwrap();
        fs::write(top.join(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff")), "x")
            .unwrap();
        symlink(Path::new("/etc/passwd"), &top.join("absolute")).unwrap();
        symlink(Path::new("sub"), &top.join("folder")).unwrap();
        symlink(Path::new("nowhere"), &top.join("sub/dangling")).unwrap();
        let old = File::options().write(true).open(top.join("hello")).unwrap();
        old.set_modified(UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 5)).unwrap();
        std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    }

    #[test]
    fn keep_and_copy_see_what_is_in_the_folder() {
        let temp = tempfile::tempdir().unwrap();
        let host = temp.path().join("host");
        sample(&host);
        let want = host_tree(&host);
        for piece in [1, 7, 65_536] {
            let seeds = [seed(1, &host.join("sub")), seed(0, &host)];
            let mut fs = decode(&mut Stream::new(&seeds).unwrap(), piece).unwrap();
            assert_eq!(keep_tree(&mut fs, "0"), want);
            assert_eq!(keep_tree(&mut fs, "1"), host_tree(&host.join("sub")));
        }
        let copy = temp.path().join("copy");
        copy_tree(&host, &copy).unwrap();
        assert_eq!(host_tree(&copy), want);
        assert_eq!(host_tree(&host), want);
    }

    #[test]
    fn the_named_folder_may_be_a_link() {
        let temp = tempfile::tempdir().unwrap();
        sample(&temp.path().join("host"));
        let link = temp.path().join("link");
        symlink(Path::new("host"), &link).unwrap();
        let mut fs = decode(&mut Stream::new(&[seed(0, &link)]).unwrap(), 999).unwrap();
        assert_eq!(keep_tree(&mut fs, "0"), host_tree(&temp.path().join("host")));
        copy_tree(&link, &temp.path().join("copy")).unwrap();
        assert_eq!(host_tree(&temp.path().join("copy")), host_tree(&temp.path().join("host")));
    }

    #[test]
    fn a_copy_into_the_folder_itself_ends() {
        let temp = tempfile::tempdir().unwrap();
        sample(&temp.path().join("host"));
        let scratch = temp.path().join("host/sub/scratch/0");
        fs::create_dir_all(&scratch).unwrap();
        copy_tree(&temp.path().join("host"), &scratch).unwrap();
        assert!(scratch.join("sub/big").exists());
        assert!(scratch.join("sub/scratch").exists());
        assert!(!scratch.join("sub/scratch/0").exists());
    }

    #[test]
    fn nothing_to_carry_is_a_stream_too() {
        assert!(decode(&mut Stream::new(&[]).unwrap(), 5).is_ok());
    }

    #[test]
    fn a_missing_folder_and_a_file_are_named() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        for name in ["missing", "file"] {
            let path = temp.path().join(name);
            let refused = Stream::new(&[seed(0, &path)]).unwrap_err();
            assert!(matches!(&refused, BackendError::Seed { path: at, .. } if *at == path));
            let refused = copy_tree(&path, &temp.path().join("copy")).unwrap_err();
            assert!(refused.to_string().contains(path.to_str().unwrap()), "{refused}");
        }
        assert!(!temp.path().join("copy").exists());
    }

    #[test]
    fn gaps_in_the_numbers_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        for numbers in [&[1][..], &[0, 2], &[0, 0]] {
            let seeds: Vec<_> = numbers.iter().map(|index| seed(*index, temp.path())).collect();
            assert!(matches!(Stream::new(&seeds), Err(BackendError::Unsupported(_))));
        }
    }

    #[test]
    fn files_that_change_keep_their_announced_size() {
        let temp = tempfile::tempdir().unwrap();
        for (name, size) in [("grows", 1000), ("shrinks", 1000)] {
            fs::write(temp.path().join(name), vec![1; size]).unwrap();
        }
        let mut stream = Stream::new(&[seed(0, temp.path())]).unwrap();
        // Read up to the middle of the first file's bytes, then change it; the same for the second.
        let mut taken = Vec::new();
        let mut take = |stream: &mut Stream, len: usize| {
            let mut buffer = vec![0; len];
            stream.read_exact(&mut buffer).unwrap();
            taken.extend(buffer);
        };
        take(&mut stream, 8 + (24 + 1) + (24 + 5) + 500);
        let mut file = File::options().append(true).open(temp.path().join("grows")).unwrap();
        file.write_all(&[2; 1000]).unwrap();
        take(&mut stream, 500 + (24 + 7) + 500);
        let file = File::options().write(true).open(temp.path().join("shrinks")).unwrap();
        file.set_len(600).unwrap();
        file.write_at(&[1], 0).unwrap();
        let mut fs = decode(&mut io::Cursor::new(taken).chain(stream), 64).unwrap();
        let tree = keep_tree(&mut fs, "0");
        assert_eq!(tree[1].2, vec![1; 1000]);
        assert_eq!(tree[2].2, [vec![1; 600], vec![0; 400]].concat());
    }

    #[test]
    fn too_deep_a_folder_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let mut path = temp.path().to_path_buf();
        for _ in 0..MAX_DEPTH - 1 {
            path.push("d");
        }
        fs::create_dir_all(&path).unwrap();
        assert!(decode(&mut Stream::new(&[seed(0, temp.path())]).unwrap(), 4096).is_ok());
        path.push("deeper");
        fs::create_dir(&path).unwrap();
        let refused = decode(&mut Stream::new(&[seed(0, temp.path())]).unwrap(), 4096);
        assert!(refused.is_err_and(|error| error.contains(path.to_str().unwrap())));
    }

    #[test]
    fn times_before_the_epoch_count_forwards() {
        let before = UNIX_EPOCH - std::time::Duration::new(2, 300_000_000);
        assert_eq!(timespec(Some(before)), Timespec { sec: -3, nsec: 700_000_000 });
    }
}

// SPDX-License-Identifier: Apache-2.0

//! A cache that changes as a whole.
//!
//! What belongs together (a signed text, the certificates of who signed it, the lists that might revoke
//! them) has to be replaced together, and a machine can lose its power between any two writes. So a change
//! makes a new folder beside the old one, a *generation*, completes it, has it written to disk, and only then
//! lets the symbolic link `current` point to it, in one step. Until then the old one is there, untouched,
//! and after that the new one. What an accident leaves behind is no part of anything, and the next change
//! removes it. Whoever only reads needs no lock.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// The link to the generation that counts.
const CURRENT: &str = "current";
/// How the names of generations begin.
const PREFIX: &str = "generation-";
/// How long to wait for somebody else who changes the same cache.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// No file of a cache has a reason to be larger.
const MAX_FILE: u64 = 1 << 20;
/// Nor does a cache have more files.
const MAX_FILES: usize = 256;

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// A file or folder could not be read or written.
    #[error("cannot {what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody else is changing it, and does not come to an end.
    #[error("another process is changing {}", .0.display())]
    Busy(PathBuf),
    /// Too many files, or too large a one: not something that was made here.
    #[error("{} is larger than anything that is kept in such a cache", .0.display())]
    TooLarge(PathBuf),
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    move |source| CacheError::Io { what, path: path.to_owned(), source }
}

/// A folder with generations. It need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

/// A file of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name in the cache, with `/` between folder and file.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// When it was fetched.
    pub since: SystemTime,
}

impl Stored {
    /// How long ago it was fetched; zero if that lies in the future.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.since).unwrap_or_default()
    }
}

impl Cache {
    /// The cache in that folder.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a part of it can be found by other programs, whatever the generation.
    #[must_use]
    pub fn path(&self, part: &str) -> PathBuf {
        self.folder.join(CURRENT).join(part)
    }

    /// All that it holds, of one generation, sorted by name. Nothing if there is no cache.
    ///
    /// # Errors
    ///
    /// [`CacheError`].
    pub fn read(&self) -> Result<Generation, CacheError> {
        // A generation can be replaced and removed while it is read; then the next one counts.
        let mut tries = 0;
        loop {
            tries += 1;
            let Some(folder) = self.current()? else { return Ok(Generation::default()) };
            match read_folder(&folder) {
                Err(CacheError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && tries < 10 => {}
                other => return other,
            }
        }
    }

    fn current(&self) -> Result<Option<PathBuf>, CacheError> {
        let link = self.folder.join(CURRENT);
        match fs::read_link(&link) {
            // Only to a generation beside it: a link elsewhere was not made here.
            Ok(target) => match (target.components().next(), target.components().count()) {
                (Some(Component::Normal(_)), 1) => Ok(Some(self.folder.join(target))),
                _ => {
                    let source = io::Error::other("it does not lead to a folder beside it");
                    Err(CacheError::Io { what: "use", path: link, source })
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io("read", &link)(error)),
        }
    }

    /// Begins a change. Only one process at a time can be at it; this waits up to 30 seconds.
    ///
    /// # Errors
    ///
    /// [`CacheError`].
    pub fn update(&self) -> Result<Update, CacheError> {
        fs::create_dir_all(&self.folder).map_err(io("make the folder", &self.folder))?;
        let lock = self.lock()?;
        let current = self.current()?;
        self.remove_leftovers(current.as_deref());
        let generation = self.read()?;
        Ok(Update { cache: self.clone(), files: generation.files, _lock: lock })
    }

    fn lock(&self) -> Result<File, CacheError> {
        let path = self.folder.join(".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("lock", &path))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(io("lock", &path)(error)),
                Err(TryLockError::WouldBlock) if start.elapsed() > LOCK_TIMEOUT => {
                    return Err(CacheError::Busy(self.folder.clone()));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Removes what changes left behind that did not come to their end. With the lock there is nobody
    /// who is still at it; a reader that holds on to an old generation reads the new one instead.
    fn remove_leftovers(&self, current: Option<&Path>) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with(PREFIX) && Some(&*path) != current {
                // What cannot be removed takes up space and does no other harm.
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }
}

/// What a cache held at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generation {
    files: Vec<Stored>,
}

impl Generation {
    /// All files, sorted by name.
    #[must_use]
    pub fn files(&self) -> &[Stored] {
        &self.files
    }

    /// The file of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.files.iter().find(|file| file.name == name)
    }
}

fn read_folder(folder: &Path) -> Result<Generation, CacheError> {
    let mut files = Vec::new();
    let mut size = 0;
    let mut folders = vec![(String::new(), folder.to_owned())];
    while let Some((prefix, folder)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(io("read", &folder))? {
            let entry = entry.map_err(io("read", &folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(io("look at", &path))?;
            // Names that are made here are ASCII, and there is one level of folders.
            let Some(name) = entry.file_name().to_str().map(|name| format!("{prefix}{name}"))
            else {
                continue;
            };
            if kind.is_dir() && prefix.is_empty() {
                folders.push((format!("{name}/"), path));
            } else if kind.is_file() {
                let (bytes, since) = read_file(&path)?;
                size += bytes.len() as u64;
                if files.len() >= MAX_FILES || size > 8 * MAX_FILE {
                    return Err(CacheError::TooLarge(folder));
                }
                files.push(Stored { name, bytes, since });
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Generation { files })
}

fn read_file(path: &Path) -> Result<(Vec<u8>, SystemTime), CacheError> {
    let mut file = File::open(path).map_err(io("open", path))?;
    let since =
        file.metadata().and_then(|metadata| metadata.modified()).map_err(io("look at", path))?;
    let mut bytes = Vec::new();
    (&mut file).take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CacheError::TooLarge(path.to_owned()));
    }
    Ok((bytes, since))
}

/// A change in the making. Without [`Update::commit`] nothing happens.
#[derive(Debug)]
pub struct Update {
    cache: Cache,
    files: Vec<Stored>,
    _lock: File,
}

impl Update {
    /// What there is so far.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.files.iter().find(|file| file.name == name)
    }

    /// All names there are so far.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.name.as_str())
    }

    /// Puts a file in, or in the place of another.
    pub fn put(&mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>, since: SystemTime) {
        let name = name.into();
        self.remove(&name);
        self.files.push(Stored { name, bytes: bytes.into(), since });
    }

    /// Takes a file out.
    pub fn remove(&mut self, name: &str) {
        self.files.retain(|file| file.name != name);
    }

    /// Makes the change, all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`CacheError`]; the cache is as it was then.
    pub fn commit(self) -> Result<(), CacheError> {
        let Self { cache, files, _lock } = self;
        let folder = fresh_name(&cache.folder);
        let made = write_generation(&folder, &files)
            .and_then(|()| point_to(&cache.folder, &folder))
            .inspect_err(|_| {
                let _ = fs::remove_dir_all(&folder);
            });
        made?;
        cache.remove_leftovers(Some(&folder));
        Ok(())
    }
}

/// A name that no generation has, also none that is gone: a reader must not take it for the same.
fn fresh_name(folder: &Path) -> PathBuf {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    folder.join(format!("{PREFIX}{}-{}", clock.as_nanos(), std::process::id()))
}

fn write_generation(folder: &Path, files: &[Stored]) -> Result<(), CacheError> {
    fs::create_dir(folder).map_err(io("make the folder", folder))?;
    for file in files {
        let path = folder.join(&file.name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(io("make the folder", parent))?;
        }
        let write = || -> io::Result<()> {
            let mut out = OpenOptions::new().write(true).create_new(true).open(&path)?;
            out.write_all(&file.bytes)?;
            out.set_modified(file.since)?;
            out.sync_all()
        };
        write().map_err(io("write", &path))?;
    }
    let folders = files.iter().filter_map(|file| file.name.split_once('/')).map(|(name, _)| name);
    for name in folders.chain([""]) {
        sync_folder(&folder.join(name))?;
    }
    Ok(())
}

/// Lets `current` point to a generation, in one step.
fn point_to(cache: &Path, generation: &Path) -> Result<(), CacheError> {
    let target = generation.file_name().unwrap_or_default();
    // It begins as generations do, so that one that stays behind is removed with them.
    let mut name = target.to_owned();
    name.push("-link");
    let link = cache.join(name);
    let current = cache.join(CURRENT);
    symlink(Path::new(target), &link).map_err(io("make the link", &link))?;
    let renamed = fs::rename(&link, &current).map_err(io("replace", &current));
    if renamed.is_err() {
        let _ = fs::remove_file(&link);
    }
    renamed?;
    sync_folder(cache)
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no symbolic links for it"))
}

/// Names of new files are on the disk only when their folder is.
fn sync_folder(folder: &Path) -> Result<(), CacheError> {
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("write", folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn names(cache: &Cache) -> Vec<String> {
        cache.read().unwrap().files().iter().map(|file| file.name.clone()).collect()
    }

    #[test]
    fn a_change_is_made_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("not/there"));
        assert_eq!(cache.read().unwrap(), Generation::default());
        let mut update = cache.update().unwrap();
        update.put("lists/a.crl", b"1", at(5));
        update.put("b.der", b"2", at(6));
        assert_eq!(names(&cache), [""; 0]);
        update.commit().unwrap();
        assert_eq!(names(&cache), ["b.der", "lists/a.crl"]);
        let found = cache.read().unwrap();
        assert_eq!(found.get("lists/a.crl").unwrap().bytes, b"1");
        assert_eq!(found.get("b.der").unwrap().age(at(10)), Duration::from_secs(4));
        assert_eq!(fs::read(cache.path("lists").join("a.crl")).unwrap(), b"1");
        // The next one has what it does not change, with its age.
        let mut update = cache.update().unwrap();
        update.remove("b.der");
        update.put("lists/c.crl", b"3", at(9));
        update.commit().unwrap();
        assert_eq!(names(&cache), ["lists/a.crl", "lists/c.crl"]);
        assert_eq!(cache.read().unwrap().get("lists/a.crl").unwrap().since, at(5));
        // One generation is left, the link to it and the lock.
        assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 3);
    }

    #[test]
    fn what_an_accident_leaves_behind_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let mut update = cache.update().unwrap();
        update.put("a", b"old", at(1));
        update.commit().unwrap();
        // Half a generation, and a link to it that never became the current one.
        let half = folder.path().join("generation-1");
        fs::create_dir(&half).unwrap();
        fs::write(half.join("a"), b"ne").unwrap();
        symlink(Path::new("generation-1"), &folder.path().join("generation-1-link")).unwrap();
        assert_eq!(cache.read().unwrap().get("a").unwrap().bytes, b"old");
        drop(cache.update().unwrap());
        assert_eq!(cache.read().unwrap().get("a").unwrap().bytes, b"old");
        assert!(!half.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_change_that_fails_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let mut update = cache.update().unwrap();
        update.put("a", b"old", at(1));
        update.commit().unwrap();
        let mut update = cache.update().unwrap();
        update.put("a", b"new", at(2));
        // A file cannot be made below a file.
        update.put("a/b", b"new", at(2));
        assert!(matches!(update.commit(), Err(CacheError::Io { .. })));
        assert_eq!(cache.read().unwrap().get("a").unwrap().bytes, b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        std::thread::scope(|scope| {
            for number in 0..8 {
                let cache = cache.clone();
                scope.spawn(move || {
                    let mut update = cache.update().unwrap();
                    update.put(format!("{number}"), [number], at(1));
                    update.commit().unwrap();
                });
                scope.spawn(|| cache_is_whole(folder.path()));
            }
        });
        assert_eq!(names(&cache).len(), 8);
    }

    fn cache_is_whole(folder: &Path) {
        for _ in 0..50 {
            let found = Cache::new(folder).read().unwrap();
            assert!(found.files().iter().all(|file| file.bytes.len() == 1));
        }
    }

    #[test]
    fn what_was_not_made_here_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        symlink(Path::new("/etc"), &folder.path().join("current")).unwrap();
        assert!(cache.read().is_err());
        let mut update = Cache::new(folder.path().join("other")).update().unwrap();
        update.put("big", vec![0; MAX_FILE as usize + 1], at(1));
        update.commit().unwrap();
        let error = Cache::new(folder.path().join("other")).read().unwrap_err();
        assert!(matches!(error, CacheError::TooLarge(_)), "{error}");
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Tests of what the cache promises.

use std::io::{Read, Write};

use super::*;

fn cache(limit: u64) -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("a/b"), limit).unwrap();
    (dir, cache)
}

fn key(number: u8) -> Key {
    Key::new(&[&[number]])
}

fn insert(cache: &Cache, number: u8, bytes: &[u8]) -> Option<io::Error> {
    let pending = cache.begin().unwrap();
    pending.output().unwrap().write_all(bytes).unwrap();
    let (file, unstored) = pending.commit(cache, &key(number)).unwrap();
    assert_eq!(content(file), bytes);
    unstored
}

fn content(mut file: File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Pretends that the artifact was last used so many hours ago.
fn age(cache: &Cache, number: u8, hours: u64) {
    let time = SystemTime::now() - Duration::from_secs(hours * 3600);
    let file = File::options().write(true).open(cache.path(&key(number))).unwrap();
    file.set_times(FileTimes::new().set_modified(time)).unwrap();
}

fn files(cache: &Cache) -> usize {
    fs::read_dir(cache.root().join(ARTIFACTS)).unwrap().count()
}

#[test]
fn what_was_stored_is_found() {
    let (_dir, cache) = cache(1000);
    assert!(cache.lookup(&key(1)).is_none());
    assert!(insert(&cache, 1, b"one").is_none());
    assert_eq!(content(cache.lookup(&key(1)).unwrap()), b"one");
    assert!(cache.lookup(&key(2)).is_none());
    assert!(insert(&cache, 1, b"another").is_none());
    assert_eq!(content(cache.lookup(&key(1)).unwrap()), b"another");
    assert_eq!(files(&cache), 1);
}

#[test]
fn parts_of_a_key_do_not_run_together() {
    assert_ne!(Key::new(&[b"ab", b"c"]), Key::new(&[b"a", b"bc"]));
    assert_ne!(Key::new(&[b"ab"]), Key::new(&[b"ab", b""]));
}

#[test]
fn is_closed_to_others() {
    let (_dir, cache) = cache(1000);
    insert(&cache, 1, b"one");
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(cache.root()), 0o700);
    assert_eq!(mode(&cache.path(&key(1))), 0o600);
    fs::set_permissions(cache.root(), fs::Permissions::from_mode(0o755)).unwrap();
    Cache::open(cache.root(), 1000).unwrap();
    assert_eq!(mode(cache.root()), 0o700, "an open folder was not closed");
}

#[test]
fn the_longest_unused_go_first() {
    let (_dir, cache) = cache(100);
    for number in 1..=4 {
        insert(&cache, number, &[0; 25]);
        age(&cache, number, 10 - u64::from(number));
    }
    // Used now, so it is no longer the oldest.
    assert!(cache.lookup(&key(1)).is_some());
    insert(&cache, 5, &[0; 25]);
    let found: Vec<u8> = (1..=5).filter(|number| cache.lookup(&key(*number)).is_some()).collect();
    assert_eq!(found, [1, 4, 5]);
    assert!(cache.info().bytes <= 100);
}

#[test]
fn what_is_larger_than_the_cache_is_not_stored_and_evicts_nothing() {
    let (_dir, cache) = cache(100);
    insert(&cache, 1, &[0; 60]);
    assert!(insert(&cache, 2, &[0; 101]).is_some());
    assert!(cache.lookup(&key(2)).is_none());
    assert!(cache.lookup(&key(1)).is_some());
    assert_eq!(files(&cache), 1, "a temporary file is left");
}

#[test]
fn an_open_artifact_outlives_its_removal() {
    let (_dir, cache) = cache(1000);
    insert(&cache, 1, b"one");
    let file = cache.lookup(&key(1)).unwrap();
    let info = cache.clear().unwrap();
    assert_eq!((info.artifacts, info.bytes), (1, 3));
    assert!(cache.lookup(&key(1)).is_none());
    assert_eq!(content(file), b"one");
    // And the cache works on.
    insert(&cache, 1, b"two");
    assert!(cache.lookup(&key(1)).is_some());
}

#[test]
fn only_the_refused_artifact_is_removed() {
    let (_dir, cache) = cache(1000);
    insert(&cache, 1, b"bad");
    let refused = cache.lookup(&key(1)).unwrap();
    insert(&cache, 1, b"good");
    cache.remove(&key(1), &refused);
    let good = cache.lookup(&key(1)).expect("another program's artifact was removed");
    cache.remove(&key(1), &good);
    assert!(cache.lookup(&key(1)).is_none());
}

#[test]
fn unfinished_work_is_removed_when_its_writer_is_gone() {
    let (_dir, cache) = cache(1000);
    let living = cache.begin().unwrap();
    let old = FileTimes::new().set_modified(SystemTime::now() - 2 * YOUNG);
    living.output().unwrap().set_times(old).unwrap();
    let dead = File::create(cache.root().join(ARTIFACTS).join(".new-dead")).unwrap();
    dead.set_times(old).unwrap();
    drop(dead);
    insert(&cache, 1, b"one");
    assert_eq!(files(&cache), 2, "the living one and the artifact");
    let (_, unstored) = living.commit(&cache, &key(2)).unwrap();
    assert!(unstored.is_none());
    drop(cache.begin().unwrap());
    assert_eq!(files(&cache), 2);
}

#[test]
fn many_writers_and_readers_see_whole_artifacts_only() {
    let (_dir, cache) = cache(10_000);
    std::thread::scope(|scope| {
        for byte in 1..=4 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..50u8 {
                    insert(cache, round % 5, &[byte; 3000]);
                    if let Some(file) = cache.lookup(&key(round % 5)) {
                        let bytes = content(file);
                        assert_eq!(bytes.len(), 3000);
                        assert!(bytes.iter().all(|other| *other == bytes[0]));
                    }
                }
            });
        }
    });
    assert!(cache.info().bytes <= 10_000);
    assert_eq!(files(&cache), cache.info().artifacts);
}

#[test]
fn a_folder_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
    assert!(matches!(Cache::open(dir.path(), 1), Err(CacheError::Foreign { .. })));
}

#[test]
fn a_file_in_the_place_of_the_folder_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(Cache::open(file.path(), 1), Err(CacheError::Folder { .. })));
}

#[test]
fn anonymous_ones_can_be_written_and_read() {
    let pending = Pending::anonymous().unwrap();
    assert!(pending.is_anonymous());
    pending.output().unwrap().write_all(b"one").unwrap();
    assert_eq!(content(pending.into_reader().unwrap()), b"one");
}

mod identities {
    use super::*;

    /// A file that was last changed long ago as far as the file's times tell.
    fn settled(file: &File) -> Identity {
        // The time of change cannot be set, so the clock has to come to the file.
        loop {
            let identity = Identity::of(file).unwrap();
            let changed = file.metadata().unwrap().ctime();
            let now = SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            if now as i64 - changed > 3 {
                return identity;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    #[test]
    fn a_digest_is_remembered_until_the_file_changes() {
        let (dir, cache) = cache(1000);
        let path = dir.path().join("module");
        fs::write(&path, b"first").unwrap();
        let file = File::open(&path).unwrap();

        let young = Identity::of(&file).unwrap();
        cache.remember(&young, [1; 32]);
        assert_eq!(cache.digest(&young), None, "a young file was remembered");

        let old = settled(&file);
        assert_eq!(cache.digest(&old), None);
        cache.remember(&old, [1; 32]);
        assert_eq!(cache.digest(&old), Some([1; 32]));
        assert_eq!(cache.digest(&Identity::of(&file).unwrap()), Some([1; 32]));

        // Same size, and the time of modification put back.
        let times = FileTimes::new().set_modified(file.metadata().unwrap().modified().unwrap());
        fs::write(&path, b"other").unwrap();
        File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
        assert_eq!(cache.digest(&Identity::of(&file).unwrap()), None);
        assert_eq!(cache.digest(&settled(&file)), None);
    }

    #[test]
    fn a_damaged_record_is_none() {
        let (dir, cache) = cache(1000);
        let path = dir.path().join("module");
        fs::write(&path, b"first").unwrap();
        let identity = settled(&File::open(&path).unwrap());
        cache.remember(&identity, [1; 32]);
        let record = fs::read_dir(cache.root().join(DIGESTS)).unwrap().next().unwrap().unwrap();
        let whole = fs::read(record.path()).unwrap();
        for damaged in [&whole[..whole.len() - 1], &[&whole[..], &[0]].concat(), &[], &[0; 80]] {
            fs::write(record.path(), damaged).unwrap();
            assert_eq!(cache.digest(&identity), None, "{} bytes", damaged.len());
        }
    }
}

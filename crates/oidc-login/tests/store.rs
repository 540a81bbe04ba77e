// SPDX-License-Identifier: Apache-2.0

//! Tokens in helpers that are real programs, and in files that others would like to read.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oidc_login::{Credential, Key, Place, StoreError, TokenStore, Url};

fn key() -> Key {
    Key::new(&Url::parse("https://auth.example.com/").unwrap(), "store.example.com")
}

fn credential(text: &str) -> Credential {
    Credential::bare(text).unwrap()
}

/// Held by every test that writes a program and runs it: a child that another thread starts in between
/// would inherit the open file for a moment, and what is open for writing cannot be run.
static PROGRAMS: Mutex<()> = Mutex::new(());

fn programs() -> MutexGuard<'static, ()> {
    PROGRAMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A credential helper in shell, which keeps its secrets in a folder.
fn helper(folder: &Path, body: &str) -> PathBuf {
    let path = folder.join("helper");
    let script = format!("#!/bin/sh\nset -e\nfolder={}\n{body}\n", folder.display());
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// What the documentation of the published program shows, with a file for `pass`.
const PUBLISHED: &str = r#"
if [ "$1" = insert ]; then exec cat > "$folder/$2"
elif [ "$1" = show ]; then exec cat "$folder/$2"
else echo "Unknown command $1"; exit 1
fi"#;

#[test]
fn a_published_helper_works() {
    let _guard = programs();
    let folder = tempfile::tempdir().unwrap();
    let helper = helper(folder.path(), PUBLISHED);
    let file = folder.path().join("tokens.json");
    let store = TokenStore::new(Some(&helper), &file);
    assert_eq!(store.show(&key()).unwrap(), None);
    let place = store.insert(&key(), &credential("token")).unwrap();
    assert_eq!(place, Place::Helper(helper.clone()));
    let kept = folder.path().join("auth.example.com-store.example.com");
    assert_eq!(fs::read_to_string(kept).unwrap(), "token");
    assert_eq!(store.show(&key()).unwrap(), Some(credential("token")));
    // It does not know how to forget.
    assert!(!store.erase(&key()).unwrap());
    assert!(!file.exists());
}

#[test]
fn a_helper_may_file_by_issuer_alone() {
    let _guard = programs();
    let folder = tempfile::tempdir().unwrap();
    let helper = helper(folder.path(), PUBLISHED);
    fs::write(folder.path().join("auth.example.com"), "token\n").unwrap();
    let store = TokenStore::new(Some(&helper), &folder.path().join("tokens.json"));
    assert_eq!(store.show(&key()).unwrap(), Some(credential("token")));
}

#[test]
fn a_helper_may_know_how_to_erase() {
    let _guard = programs();
    let folder = tempfile::tempdir().unwrap();
    let body = format!("if [ \"$1\" = erase ]; then exec rm \"$folder/$2\"; fi\n{PUBLISHED}");
    let helper = helper(folder.path(), &body);
    let store = TokenStore::new(Some(&helper), &folder.path().join("tokens.json"));
    store.insert(&key(), &credential("token")).unwrap();
    assert!(store.erase(&key()).unwrap());
    assert_eq!(store.show(&key()).unwrap(), None);
}

#[test]
fn a_helper_that_fails_is_an_error() {
    let _guard = programs();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    for body in ["exit 3", "kill -9 $$", "exec yes"] {
        let helper = helper(folder.path(), body);
        let store = TokenStore::new(Some(&helper), &file);
        let error = store.insert(&key(), &credential("secret-token")).unwrap_err();
        assert!(matches!(error, StoreError::Helper { .. }), "{body}: {error}");
        assert!(!format!("{error} {error:?}").contains("secret-token"));
    }
    let store = TokenStore::new(Some(&folder.path().join("missing")), &file);
    assert!(matches!(store.show(&key()), Err(StoreError::Helper { .. })));
    assert!(!file.exists(), "a token went into a file although a helper was named");
}

#[test]
fn the_file_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a/b/tokens.json");
    let store = TokenStore::only_file(&file);
    assert_eq!(store.show(&key()).unwrap(), None);
    assert!(store.erase(&key()).unwrap());
    assert!(!file.exists());
    let place = store.insert(&key(), &credential("token")).unwrap();
    assert_eq!(place, Place::File(file.clone()));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    assert_eq!(store.show(&key()).unwrap(), Some(credential("token")));
    assert!(store.erase(&key()).unwrap());
    assert_eq!(store.show(&key()).unwrap(), None);
}

#[test]
fn a_file_that_others_can_read_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    let store = TokenStore::only_file(&file);
    store.insert(&key(), &credential("token")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(store.show(&key()), Err(StoreError::Permissions(_))));
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    fs::write(&file, "important").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let store = TokenStore::only_file(&file);
    let error = store.insert(&key(), &credential("token")).unwrap_err();
    assert!(matches!(error, StoreError::NotOurs(_)), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "important");
}

#[test]
fn logins_at_the_same_time_do_not_lose_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.json");
    let key = |number: usize| {
        Key::new(&Url::parse("https://auth.example.com/").unwrap(), &format!("store{number}"))
    };
    std::thread::scope(|scope| {
        for number in 0..16 {
            let file = &file;
            scope.spawn(move || {
                let store = TokenStore::only_file(file);
                store.insert(&key(number), &credential(&format!("token{number}"))).unwrap();
            });
        }
    });
    let store = TokenStore::only_file(&file);
    for number in 0..16 {
        let found = store.show(&key(number)).unwrap();
        assert_eq!(found, Some(credential(&format!("token{number}"))));
    }
}

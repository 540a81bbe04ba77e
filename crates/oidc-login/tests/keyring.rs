// SPDX-License-Identifier: Apache-2.0

//! Tokens in a real keyring: GNOME's, on a session bus of its own, behind libsecret's `secret-tool`.
//!
//! The test starts itself once more under `dbus-run-session`, with a home of its own, so that nobody's
//! keyring is touched. Where one of the programs is missing, it says so and does nothing.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::{Command, Stdio};

use oidc_login::{Credential, Key, Place, TokenStore, Url};

/// Set for the second start.
const INSIDE: &str = "OIDC_LOGIN_TEST_KEYRING";

const NAME: &str = "a_keyring_keeps_tokens";

#[test]
fn a_keyring_keeps_tokens() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    for program in ["dbus-run-session", "gnome-keyring-daemon", "secret-tool"] {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|f| f.join(program).is_file()));
        if !found {
            eprintln!("skipped: {program} is not installed");
            return;
        }
    }
    let home = tempfile::tempdir().unwrap();
    // The daemon takes the password of its new keyring from stdin, and goes into the background.
    let script = "printf password | gnome-keyring-daemon --unlock --components=secrets >/dev/null \
                  && exec \"$0\" --exact \"$1\" --nocapture";
    let out = Command::new("dbus-run-session")
        .args(["--", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(NAME)
        .env(INSIDE, "1")
        .env("HOME", home.path())
        .env("XDG_DATA_HOME", home.path().join("data"))
        .env("XDG_RUNTIME_DIR", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

fn inside() {
    let home = std::env::var("HOME").unwrap();
    let file = Path::new(&home).join("tokens.json");
    let key = Key::new(&Url::parse("https://auth.example.com/").unwrap(), "store.example.com");
    let other = Key::new(&Url::parse("https://auth.example.com/").unwrap(), "other.example.com");
    let credential = Credential::bare("first-token").unwrap();
    // What an earlier login left in the file is found, and goes away with the next.
    TokenStore::only_file(&file).insert(&key, &credential).unwrap();
    let store = TokenStore::new(None, &file);
    assert_eq!(store.show(&key).unwrap(), Some(credential));
    let credential = Credential::bare("second-token").unwrap();
    assert_eq!(store.insert(&key, &credential).unwrap(), Place::Keyring);
    assert_eq!(TokenStore::only_file(&file).show(&key).unwrap(), None);
    assert_eq!(store.show(&key).unwrap(), Some(credential));
    assert_eq!(store.show(&other).unwrap(), None);
    let credential = Credential::bare("third-token").unwrap();
    store.insert(&key, &credential).unwrap();
    assert_eq!(store.show(&key).unwrap(), Some(credential));
    assert!(store.erase(&key).unwrap());
    assert_eq!(store.show(&key).unwrap(), None);
    assert!(store.erase(&key).unwrap());
}

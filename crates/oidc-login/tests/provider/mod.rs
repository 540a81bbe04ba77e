// SPDX-License-Identifier: Apache-2.0

//! The other issuer, npm's `oidc-provider`, and a person at a browser, for the tests of more than one
//! package.

#![allow(dead_code, reason = "each test program uses another part of this module")]
#![allow(unreachable_pub, reason = "a module of a program has nobody outside")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// So long may anything take that is to end soon.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with the scripts and their packages; none, with the reason printed, if that cannot be.
pub async fn scripts() -> Option<&'static Path> {
    static FOLDER: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    let folder = FOLDER.get_or_init(|| async {
        match install().await {
            Ok(folder) => Some(folder),
            Err(reason) => {
                eprintln!("skipped: {reason}");
                // Where everything was prepared, a test that does nothing is a failure.
                assert!(std::env::var_os("CI").is_none() || !reason.contains("npm ci"), "{reason}");
                None
            }
        }
    });
    folder.await.as_deref()
}

async fn install() -> Result<PathBuf, String> {
    let node = Command::new("node").arg("--version").output().await;
    let node = node.map_err(|_| "Node.js is not installed")?;
    let version = String::from_utf8_lossy(&node.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|n| n.parse().ok());
    if major.is_none_or(|major: u32| major < 20) {
        return Err(format!("Node.js is {version}; oidc-provider needs 20 or later"));
    }
    // Of this package or another one, two levels below the root of the repository.
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/oidc-login/tests/provider");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oidc-provider");
    fs::create_dir_all(&folder).unwrap();
    let lock = fs::read(source.join("package-lock.json")).unwrap();
    for name in ["package.json", "package-lock.json", "provider.mjs", "browser.mjs"] {
        fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    let installed = folder.join("installed-lock.json");
    if fs::read(&installed).is_ok_and(|installed| installed == lock) {
        return Ok(folder);
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(&folder)
        .output();
    let npm = timeout(PATIENCE, npm).await.map_err(|_| "npm ci does not end")?;
    let npm = npm.map_err(|_| "npm is not installed")?;
    if !npm.status.success() {
        return Err(format!("npm ci failed: {}", String::from_utf8_lossy(&npm.stderr)));
    }
    fs::write(&installed, lock).unwrap();
    Ok(folder)
}

pub fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .flat_map(|folder| [folder.join("chromium"), folder.join("chromium-browser")])
        .find(|program| program.is_file());
    if found.is_none() {
        eprintln!("skipped: Chromium is not installed");
    }
    found
}

/// The other issuer, which ends with this.
pub struct Provider {
    /// Its URL.
    pub issuer: String,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
}

impl Provider {
    pub async fn start(folder: &Path) -> Self {
        let mut process = Command::new("node")
            .arg("provider.mjs")
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let commands = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut provider = Self { issuer: String::new(), commands, answers, _process: process };
        let first = provider.answer().await;
        provider.issuer = first["issuer"].as_str().unwrap().to_owned();
        provider
    }

    async fn answer(&mut self) -> serde_json::Value {
        loop {
            let line = timeout(PATIENCE, self.answers.next_line()).await;
            // The package itself has things to say, too.
            match line.unwrap().unwrap() {
                Some(line) if line.starts_with('{') => return serde_json::from_str(&line).unwrap(),
                Some(_) => {}
                None => panic!("the issuer has ended"),
            }
        }
    }

    pub async fn command(&mut self, command: &str) {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        assert_eq!(self.answer().await["done"], command);
    }
}

/// A person who does as asked, and what headings of pages were seen.
///
/// `url` is the page with the code in it, as the program prints it.
pub async fn browse(
    folder: &Path,
    chromium: &Path,
    url: &str,
    code: &str,
    decision: &str,
) -> String {
    let browser = Command::new("node")
        .arg("browser.mjs")
        .arg(chromium)
        .args([url, code, "alice", decision])
        .current_dir(folder)
        .kill_on_drop(true)
        .output();
    let output = timeout(PATIENCE, browser).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

// SPDX-License-Identifier: Apache-2.0

//! Credential helpers: a program that is called `<helper> insert|show|erase <key>`, reads a secret from
//! stdin or writes it to stdout; and how any such program is run.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::StoreError;
use crate::credential::MAX_TEXT;

/// A helper may have to ask a person for a password.
const PATIENCE: Duration = Duration::from_secs(300);

/// A program that the user has chosen.
#[derive(Debug)]
pub(crate) struct Helper(PathBuf);

impl Helper {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// What is kept under a key. That there is nothing, helpers say by an exit code other than 0.
    pub(crate) fn show(&self, key: &str) -> Result<Option<Zeroizing<String>>, StoreError> {
        let (status, text) = self.call("show", key, None)?;
        Ok((status.success() && !text.trim().is_empty()).then_some(text))
    }

    pub(crate) fn insert(&self, key: &str, secret: &str) -> Result<(), StoreError> {
        match self.call("insert", key, Some(secret))? {
            (status, _) if status.success() => Ok(()),
            (status, _) => Err(self.failed("insert", status.to_string())),
        }
    }

    /// The published helpers do not know this verb, which is no error.
    pub(crate) fn erase(&self, key: &str) -> Result<bool, StoreError> {
        Ok(self.call("erase", key, None)?.0.success())
    }

    fn call(
        &self,
        verb: &'static str,
        key: &str,
        input: Option<&str>,
    ) -> Result<(ExitStatus, Zeroizing<String>), StoreError> {
        let mut command = Command::new(&self.0);
        command.arg(verb).arg(key).stderr(Stdio::inherit());
        run(command, input, PATIENCE).map_err(|error| self.failed(verb, error.to_string()))
    }

    fn failed(&self, verb: &'static str, why: String) -> StoreError {
        StoreError::Helper { path: self.0.clone(), verb, why }
    }
}

/// Runs a program to its end, for a limited time and with a limited output.
pub(crate) fn run(
    mut command: Command,
    input: Option<&str>,
    patience: Duration,
) -> io::Result<(ExitStatus, Zeroizing<String>)> {
    command.stdout(Stdio::piped());
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.spawn()?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take();
    let input = input.map(|text| Zeroizing::new(text.to_owned()));
    // In threads of their own, because a program may write before it reads, or do neither.
    thread::spawn(move || {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that does not want it all says so by its exit code.
            let _ = stdin.write_all(input.as_bytes());
        }
    });
    let reader = thread::spawn(move || {
        let mut text = Zeroizing::new(String::with_capacity(4096));
        let limit = MAX_TEXT as u64 + 1;
        match stdout {
            Some(stdout) => stdout.take(limit).read_to_string(&mut text).map(|_| text),
            None => Ok(text),
        }
    });
    let end = Instant::now() + patience;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not end"));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    };
    // A process that it left behind may hold the pipe; that one is not waited for.
    while !reader.is_finished() {
        if Instant::now() >= end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "its output does not end"));
        }
        thread::sleep(pause);
    }
    let text = reader.join().map_err(|_| io::Error::other("its output cannot be read"))??;
    match text.len() > MAX_TEXT {
        true => Err(io::Error::other("it writes too much")),
        false => Ok((status, text)),
    }
}

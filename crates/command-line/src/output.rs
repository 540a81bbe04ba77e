// SPDX-License-Identifier: Apache-2.0

//! Output on stdout, and what is said on stderr that is no error.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Codes, Failure, OrExit, Style};

/// Writes to stdout; whoever stops reading has read enough.
///
/// # Errors
///
/// [`Codes::FAILED`] if that is impossible for another reason.
pub fn print<C: Codes>(text: &str) -> Result<(), Failure<C>> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to stdout, see [`print`].
///
/// # Errors
///
/// See there.
pub fn print_bytes<C: Codes>(bytes: &[u8]) -> Result<(), Failure<C>> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).or_exit_with(C::FAILED, || "cannot write to stdout")
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON for people and programs.
///
/// # Errors
///
/// See [`print`].
pub fn print_json<C: Codes>(value: &serde_json::Value) -> Result<(), Failure<C>> {
    print(&format!("{value:#}\n"))
}

/// Whether warnings are part of the log, whose lines have one form.
static IN_LOG: AtomicBool = AtomicBool::new(false);

/// Sends warnings to the log from now on.
pub(crate) fn warn_in_log() {
    IN_LOG.store(true, Ordering::Relaxed);
}

/// Says something on stderr that is no error; in a service, in the log.
pub fn warn(message: impl fmt::Display) {
    if IN_LOG.load(Ordering::Relaxed) {
        return tracing::warn!("{message}");
    }
    let _ = writeln!(io::stderr(), "{}: {message}", Style::stderr().yellow("warning"));
}

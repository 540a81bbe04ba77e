// SPDX-License-Identifier: Apache-2.0

//! How a Keep ended by its own word, and what the person who started it may be shown of it.

use keep_backend::BackendError;
use sallyport::{ExitKind, MAX_MESSAGE, RawWindow, Window};

/// How a Keep ended by its own word. Messages are cut, and clean enough to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The program ended; [`Server::report`](crate::Server::report) has what it wrote.
    Finished,
    /// The Keep's kernel stopped itself.
    Panic(String),
    /// There was no more memory.
    OutOfMemory(String),
    /// The Keep's kernel ended the program.
    Killed(String),
}

impl Ended {
    pub(crate) fn new(window: RawWindow, kind: ExitKind, at: usize, len: usize) -> Self {
        let mut message = [0; MAX_MESSAGE];
        let message = &mut message[..len.min(MAX_MESSAGE)];
        window.read(at, message);
        let message = clean(message);
        match kind {
            ExitKind::Finished => Self::Finished,
            ExitKind::Panic => Self::Panic(message),
            ExitKind::OutOfMemory => Self::OutOfMemory(message),
            ExitKind::Killed => Self::Killed(message),
        }
    }

    /// As an error, unless the Keep finished.
    ///
    /// # Errors
    ///
    /// What the Keep said, for all but [`Ended::Finished`].
    pub fn into_result(self) -> Result<(), BackendError> {
        Err(match self {
            Self::Finished => return Ok(()),
            Self::Panic(m) => BackendError::Keep { cause: format!("its kernel stopped: {m}") },
            Self::OutOfMemory(detail) => BackendError::OutOfMemory { detail },
            Self::Killed(cause) => BackendError::Keep { cause },
        })
    }
}

/// Text from a Keep, without anything by which it could drive or deceive a terminal.
pub(crate) fn clean(bytes: &[u8]) -> String {
    let harmless = |c: char| match c {
        '\n' | '\t' => c,
        // Marks that reorder text, or that nobody sees.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    let mut text: String = String::from_utf8_lossy(bytes).chars().map(harmless).collect();
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_cannot_drive_a_terminal() {
        assert_eq!(clean(b"a\x1b[2Jb\tc\nd\r\x07\n"), "a\u{fffd}[2Jb\tc\nd\u{fffd}\u{fffd}");
        assert_eq!(clean("x\u{202e}y\u{85}".as_bytes()), "x\u{fffd}y\u{fffd}");
        assert_eq!(clean(&[0xff, b'a']), "\u{fffd}a");
    }
}

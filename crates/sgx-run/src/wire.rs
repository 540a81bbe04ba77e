// SPDX-License-Identifier: Apache-2.0

//! What the process of an enclave and the host agent say to each other: few words, and in turns.
//!
//! | socket | from | message | when |
//! |---|---|---|---|
//! | the process's | process | [`Word::Ready`] or [`Word::Refused`] | once |
//! | | process | [`Word::Broken`] | at most once, last |
//! | a processor's | host agent | result, 8 bytes | first, which starts the processor; then after each word |
//! | | process | [`Word::Doorbell`], [`Word::Target`], [`Word::Park`], [`Word::Wake`] | in turn |
//!
//! A word is its number and the length of what follows, 4 bytes each, and then a text or a number of 8 bytes. Both
//! sides are the same executable, so the form is not for keeping. But the process shares its memory with the
//! enclave, so all that comes from it is the Keep's word: it is bounded, and shown as text only.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

/// Most bytes of a text.
pub const MAX_TEXT: usize = 1024;

/// From the process of an enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// The enclave is launched.
    Ready,
    /// It cannot be launched, and why.
    Refused(String),
    /// The Keep rang.
    Doorbell,
    /// The Keep is broken, and why.
    Broken(String),
    /// The Keep wants to know for whom to make a report.
    Target,
    /// The processor parks for at most so many nanoseconds; `u64::MAX`: for ever.
    Park(u64),
    /// The processor with this number is to wake up.
    Wake(u64),
}

impl Word {
    fn parts(&self) -> (u32, &[u8], [u8; 8]) {
        let none = [0; 8];
        match self {
            Self::Ready => (1, &[], none),
            Self::Refused(text) => (2, text.as_bytes(), none),
            Self::Doorbell => (3, &[], none),
            Self::Broken(text) => (4, text.as_bytes(), none),
            Self::Target => (5, &[], none),
            Self::Park(value) => (6, &[], value.to_le_bytes()),
            Self::Wake(value) => (7, &[], value.to_le_bytes()),
        }
    }

    /// To park for so much time at most; `None`: for ever.
    #[must_use]
    pub fn park(time: Option<Duration>) -> Self {
        let nanoseconds = time.and_then(|time| u64::try_from(time.as_nanos()).ok());
        Self::Park(nanoseconds.unwrap_or(u64::MAX))
    }

    /// Sends it.
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn write(&self, mut to: impl Write) -> io::Result<()> {
        let (kind, text, value) = self.parts();
        let content = match self {
            Self::Park(_) | Self::Wake(_) => &value,
            _ => text.get(..MAX_TEXT).unwrap_or(text),
        };
        let mut bytes = Vec::with_capacity(8 + content.len());
        bytes.extend(kind.to_le_bytes());
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(content);
        to.write_all(&bytes)
    }

    /// Receives one.
    ///
    /// # Errors
    ///
    /// Those of the reader; `InvalidData` for what is no word.
    pub fn read(mut from: impl Read) -> io::Result<Self> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut head = [0; 8];
        from.read_exact(&mut head)?;
        let [kind, length] = {
            let (words, _) = head.as_chunks::<4>();
            [0, 1].map(|n| words.get(n).copied().map_or(0, u32::from_le_bytes))
        };
        let length = usize::try_from(length).ok().filter(|n| *n <= MAX_TEXT).ok_or_else(bad)?;
        let mut content = [0; MAX_TEXT];
        let content = content.get_mut(..length).ok_or_else(bad)?;
        from.read_exact(content)?;
        let content: &[u8] = content;
        let value = || content.try_into().map(u64::from_le_bytes).map_err(|_| bad());
        // It is shown on terminals, which it must not drive.
        let harmless =
            |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
        let text = || content.iter().map(harmless).collect();
        match kind {
            1 => Ok(Self::Ready),
            2 => Ok(Self::Refused(text())),
            3 => Ok(Self::Doorbell),
            4 => Ok(Self::Broken(text())),
            5 => Ok(Self::Target),
            6 => Ok(Self::Park(value()?)),
            7 => Ok(Self::Wake(value()?)),
            _ => Err(bad()),
        }
    }
}

/// Answers a word: 0, or an error number for the Keep. The first answer of all starts the processor.
///
/// # Errors
///
/// Those of the socket.
pub fn answer(mut socket: &File, result: u64) -> io::Result<()> {
    socket.write_all(&result.to_le_bytes())
}

/// Waits for an answer.
///
/// # Errors
///
/// Those of the socket.
pub fn answered(mut socket: &File) -> io::Result<u64> {
    let mut result = [0; 8];
    socket.read_exact(&mut result)?;
    Ok(u64::from_le_bytes(result))
}

/// Sends a word and waits for its answer.
///
/// # Errors
///
/// Those of the socket.
pub fn ask(socket: &File, word: &Word) -> io::Result<u64> {
    word.write(socket)?;
    answered(socket)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_come_back() {
        let words = [
            Word::Ready,
            Word::Refused("a".into()),
            Word::Doorbell,
            Word::Broken("b c".into()),
            Word::Target,
            Word::Park(u64::MAX),
            Word::Wake(6),
        ];
        for word in words {
            let mut bytes = Vec::new();
            word.write(&mut bytes).unwrap();
            assert_eq!(Word::read(&bytes[..]).unwrap(), word);
            assert!(Word::read(&bytes[..bytes.len() - 1]).is_err());
        }
        let mut bytes = Vec::new();
        Word::Broken("a\x1b[2J\n".into()).write(&mut bytes).unwrap();
        assert_eq!(Word::read(&bytes[..]).unwrap(), Word::Broken("a?[2J?".into()));
        let mut bytes = Vec::new();
        Word::Broken("x".repeat(10_000)).write(&mut bytes).unwrap();
        assert_eq!(Word::read(&bytes[..]).unwrap(), Word::Broken("x".repeat(MAX_TEXT)));
        assert!(Word::read(&[4, 0, 0, 0, 0xff, 0xff, 0, 0][..]).is_err(), "too long");
        assert!(Word::read(&[9, 0, 0, 0, 0, 0, 0, 0][..]).is_err(), "unknown");
        assert!(Word::read(&[7, 0, 0, 0, 1, 0, 0, 0, 5][..]).is_err(), "no number");
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes: Vec<u8>) {
            let _ = Word::read(&*bytes);
        }
    }
}

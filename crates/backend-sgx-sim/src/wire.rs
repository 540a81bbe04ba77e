// SPDX-License-Identifier: Apache-2.0

//! What the machine of a Keep and the backend say to each other: few words, and in turns.
//!
//! The machine shares its memory with the enclave, so all that comes from it is the Keep's word.

use std::io::{self, Read, Write};

/// Most bytes of a text.
pub(crate) const MAX_TEXT: usize = 1024;

/// From the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// The enclave is launched.
    Ready,
    /// It cannot be launched.
    Refused(String),
    /// The Keep rang.
    Doorbell,
    /// The Keep is broken: why.
    Broken(String),
}

impl Word {
    fn parts(&self) -> (u32, &str) {
        match self {
            Self::Ready => (1, ""),
            Self::Refused(text) => (2, text),
            Self::Doorbell => (3, ""),
            Self::Broken(text) => (4, text),
        }
    }

    /// Sends it.
    pub(crate) fn write(&self, mut to: impl Write) -> io::Result<()> {
        let (kind, text) = self.parts();
        let text = text.as_bytes();
        let text = text.get(..MAX_TEXT).unwrap_or(text);
        let mut bytes = Vec::with_capacity(8 + text.len());
        bytes.extend(kind.to_le_bytes());
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text);
        to.write_all(&bytes)
    }

    /// Receives one.
    pub(crate) fn read(mut from: impl Read) -> io::Result<Self> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        let mut head = [0; 8];
        from.read_exact(&mut head)?;
        let [kind, length] = {
            let (words, _) = head.as_chunks::<4>();
            [0, 1].map(|n| words.get(n).copied().map_or(0, u32::from_le_bytes))
        };
        let length = usize::try_from(length).ok().filter(|n| *n <= MAX_TEXT).ok_or_else(bad)?;
        let mut text = [0; MAX_TEXT];
        let text = text.get_mut(..length).ok_or_else(bad)?;
        from.read_exact(text)?;
        // It is shown on terminals, which it must not drive.
        let harmless =
            |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
        let text: String = text.iter().map(harmless).collect();
        match kind {
            1 => Ok(Self::Ready),
            2 => Ok(Self::Refused(text)),
            3 => Ok(Self::Doorbell),
            4 => Ok(Self::Broken(text)),
            _ => Err(bad()),
        }
    }
}

/// To the machine: go on.
pub(crate) const GO: [u8; 1] = [1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back() {
        let words =
            [Word::Ready, Word::Refused("a".into()), Word::Doorbell, Word::Broken("b c".into())];
        for word in words {
            let mut bytes = Vec::new();
            word.write(&mut bytes).unwrap();
            assert_eq!(Word::read(&bytes[..]).unwrap(), word);
            assert!(Word::read(&bytes[..bytes.len() - 1]).is_err());
        }
        let mut bytes = Vec::new();
        Word::Broken("a\x1b[2J\n".into()).write(&mut bytes).unwrap();
        assert_eq!(Word::read(&bytes[..]).unwrap(), Word::Broken("a?[2J?".into()));
        assert!(Word::read(&[4, 0, 0, 0, 0xff, 0xff, 0, 0][..]).is_err(), "too long");
        assert!(Word::read(&[9, 0, 0, 0, 0, 0, 0, 0][..]).is_err(), "unknown");
    }
}

// SPDX-License-Identifier: Apache-2.0

//! What host agent and carrier say to each other, over a pair of sockets.
//!
//! | from | message | length | when |
//! |---|---|---|---|
//! | host agent | [`Setup`] | fixed | once, first |
//! | carrier | [`Word`] | 1 byte, and for the last two 4 bytes of length and text | at each turn |
//! | host agent | result: 0, or an error number for the Keep | 8 bytes | after each word but the last two |
//!
//! Both are the same executable, so the form is not for keeping. But the carrier shares its memory with the Keep,
//! so all that comes from it counts as the Keep's word: it is bounded, and shown as text only.

use std::io::{self, Read, Write};

use keep_backend::Program;

/// Bytes of a SIGSTRUCT.
pub(crate) const SIGSTRUCT: usize = 1808;
/// Longest text that a carrier may send.
const MAX_TEXT: u32 = 4096;
const MAGIC: [u8; 8] = *b"SGXKEEP1";

/// What a carrier is to launch. The image it has itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) program: Program,
    pub(crate) config_id: [u8; 64],
    pub(crate) signature: [u8; SIGSTRUCT],
}

impl Setup {
    const SIZE: usize = 8 + 1 + 64 + SIGSTRUCT;

    pub(crate) fn send(&self, mut to: impl Write) -> io::Result<()> {
        let program = [u8::from(self.program == Program::Compiler)];
        let parts: [&[u8]; 4] = [&MAGIC, &program, &self.config_id, &self.signature];
        to.write_all(&parts.concat())
    }

    pub(crate) fn receive(mut from: impl Read) -> io::Result<Self> {
        let mut bytes = [0; Self::SIZE];
        from.read_exact(&mut bytes)?;
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let (magic, rest) = bytes.split_first_chunk().ok_or_else(malformed)?;
        let (program, rest) = rest.split_first().ok_or_else(malformed)?;
        let (config_id, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let signature = rest.first_chunk().ok_or_else(malformed)?;
        if *magic != MAGIC {
            return Err(malformed());
        }
        let program = if *program == 1 { Program::Compiler } else { Program::Runtime };
        Ok(Self { program, config_id: *config_id, signature: *signature })
    }
}

/// What a carrier says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// The enclave is loaded; it is entered as soon as there is an answer.
    Ready,
    /// The Keep rang.
    Doorbell,
    /// The Keep wants to know for whom to make a report.
    Target,
    /// There is no enclave, and why.
    Failed(String),
    /// The enclave is not entered again, and why.
    Broken(String),
}

impl Word {
    pub(crate) fn send(&self, mut to: impl Write) -> io::Result<()> {
        let (number, text) = match self {
            Self::Ready => (1, None),
            Self::Doorbell => (2, None),
            Self::Target => (3, None),
            Self::Failed(text) => (4, Some(text)),
            Self::Broken(text) => (5, Some(text)),
        };
        let mut bytes = vec![number];
        if let Some(text) = text {
            let text: Vec<u8> = text.bytes().take(MAX_TEXT as usize).collect();
            bytes.extend((text.len() as u32).to_le_bytes());
            bytes.extend(text);
        }
        to.write_all(&bytes)
    }

    pub(crate) fn receive(mut from: impl Read) -> io::Result<Self> {
        let mut number = [0];
        from.read_exact(&mut number)?;
        Ok(match number {
            [1] => Self::Ready,
            [2] => Self::Doorbell,
            [3] => Self::Target,
            [4] => Self::Failed(text(from)?),
            [5] => Self::Broken(text(from)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

fn text(mut from: impl Read) -> io::Result<String> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_TEXT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    let shown = |char: char| if char.is_control() { ' ' } else { char };
    Ok(String::from_utf8_lossy(&bytes).chars().map(shown).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_come_as_they_were_sent() {
        let words = [
            Word::Ready,
            Word::Doorbell,
            Word::Target,
            Word::Failed("no device".into()),
            Word::Broken(String::new()),
        ];
        let mut bytes = Vec::new();
        words.iter().for_each(|word| word.send(&mut bytes).unwrap());
        let mut rest = bytes.as_slice();
        for word in words {
            assert_eq!(Word::receive(&mut rest).unwrap(), word);
        }
        assert!(rest.is_empty());
        let mut long = Vec::new();
        Word::Failed("x".repeat(10_000)).send(&mut long).unwrap();
        assert_eq!(Word::receive(&*long).unwrap(), Word::Failed("x".repeat(4096)));
        let shown = [4, 3, 0, 0, 0, b'a', 0x1b, b'\n'];
        assert_eq!(Word::receive(&shown[..]).unwrap(), Word::Failed("a  ".into()));
    }

    #[test]
    fn a_setup_comes_as_it_was_sent() {
        let mut signature = [3; SIGSTRUCT];
        signature[SIGSTRUCT - 1] = 4;
        for program in Program::ALL {
            let setup = Setup { program, config_id: [5; 64], signature };
            let mut bytes = Vec::new();
            setup.send(&mut bytes).unwrap();
            assert_eq!(Setup::receive(&*bytes).unwrap(), setup);
            assert!(Setup::receive(&bytes[1..]).is_err());
        }
    }

    proptest! {
        #[test]
        fn anything_is_survived(bytes: Vec<u8>) {
            let _ = Word::receive(&*bytes);
        }
    }
}

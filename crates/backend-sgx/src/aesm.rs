// SPDX-License-Identifier: Apache-2.0

//! Asks Intel's service for quotes.
//!
//! A report of an enclave can be checked on the same processor alone. A *quoting enclave* of Intel's does that
//! and signs a quote over it, which everybody can check. It belongs to a service of the host (`aesmd`), which
//! is asked over a socket: one message there, one back, each after its length in four bytes (little-endian),
//! in the encoding of protocol buffers (`psw/ae/common/proto/messages.proto` of Intel's `linux-sgx`).
//!
//! | request | number | fields | answer |
//! |---|---|---|---|
//! | `InitQuoteEx` | 15 | 1 key, 3 whether the key's id is wanted, 4 room for it, 9 timeout | 2 `TARGETINFO`, 3 room for the id |
//! | `GetQuoteSizeEx` | 16 | 1 key, 9 timeout | 2 bytes of a quote |
//! | `GetQuoteEx` | 17 | 1 report, 2 key, 4 room for the quote, 9 timeout | 2 the quote |
//! | `GetSupportedAttKeyIDNum` | 21 | 9 timeout | 2 how many keys |
//! | `GetSupportedAttKeyIDs` | 22 | 1 room for them, 9 timeout | 2 the keys, 256 bytes each |
//!
//! Field 1 of each answer is an error number, 0 if all is well. The host is not trusted with any of this: a
//! quote that is not genuine is found out by who verifies it.
//!
//! **It has never met Intel's service.** The messages are tested against a service that is played.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the service listens.
pub const SOCKET: &str = "/var/run/aesmd/aesm.socket";

/// Bytes of a `TARGETINFO`.
pub const TARGET_INFO: usize = 512;
/// Bytes of a report.
pub const REPORT: usize = 432;

/// The service may have to fetch certificates.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest answer that is read: a quote has some 5 KiB.
const MAX_ANSWER: usize = 1 << 20;
/// Bytes of a key's id.
const KEY_ID: usize = 256;
/// Keys that there are at most: there are two kinds.
const MAX_KEYS: u64 = 64;
/// Where a key's id has the algorithm (`sgx_ql_att_key_id_t`), and ECDSA on P-256 among them.
const ALGORITHM: std::ops::Range<usize> = 154..158;
const ECDSA_P256: u32 = 2;

const INIT_QUOTE: u64 = 15;
const QUOTE_SIZE: u64 = 16;
const GET_QUOTE: u64 = 17;
const KEY_COUNT: u64 = 21;
const KEYS: u64 = 22;
/// The answer to a request that the service does not know.
const UNSUPPORTED: u64 = 20;

/// Why there is no quote.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AesmError {
    /// The service is not there, or not ours to ask.
    #[error("cannot ask the service for quotes at {path}")]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// What the host says.
        source: io::Error,
    },
    /// It broke off.
    #[error("the service for quotes does not answer")]
    Broken(#[source] io::Error),
    /// It answered something else.
    #[error("the answer of the service for quotes cannot be read")]
    Malformed,
    /// It refuses.
    #[error("the service for quotes refuses: {name} ({code})", name = error_name(*.code))]
    Refused {
        /// Its error number (`aesm_error_t`).
        code: u64,
    },
    /// It has no key for quotes that everybody can check.
    #[error("the service for quotes has no key for ECDSA: its DCAP parts are not installed")]
    NoKey,
}

/// Those that a person can do something about (`aesm_error.h` of Intel's `linux-sgx`).
fn error_name(code: u64) -> &'static str {
    match code {
        1 => "an unexpected error",
        2 => "there is no device",
        3 => "a parameter is wrong",
        8 => "network error",
        10 => "network busy",
        12 => "out of memory",
        14 => "timeout",
        20 => "SGX is not available",
        34 => "a service is not available: its package is not installed",
        _ => "an error that has no name here",
    }
}

/// The service.
#[derive(Debug, Clone)]
pub struct Aesm {
    path: PathBuf,
}

impl Default for Aesm {
    fn default() -> Self {
        Self::at(SOCKET)
    }
}

/// A key that quotes are signed with, as the service names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Vec<u8>);

impl Aesm {
    /// At another socket.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key for quotes of the ECDSA kind, and what reports for its enclave are made for.
    ///
    /// # Errors
    ///
    /// [`AesmError`].
    pub fn target(&self) -> Result<(Key, Box<[u8; TARGET_INFO]>), AesmError> {
        let count = self.ask(KEY_COUNT, &timed())?.number(2).unwrap_or(0).min(MAX_KEYS);
        let mut request = timed();
        request.put_number(1, count * KEY_ID as u64);
        let keys = self.ask(KEYS, &request)?;
        let keys = keys.bytes(2).ok_or(AesmError::Malformed)?;
        let is_ecdsa =
            |key: &&[u8; KEY_ID]| key.get(ALGORITHM) == Some(ECDSA_P256.to_le_bytes().as_slice());
        let key = keys.as_chunks().0.iter().find(is_ecdsa).ok_or(AesmError::NoKey)?;
        // First how long the key's id is, and then all of it; only then is the enclave there.
        let mut request = timed();
        request.put_bytes(1, key);
        request.put_number(3, 0);
        let room = self.ask(INIT_QUOTE, &request)?.number(3).ok_or(AesmError::Malformed)?;
        let mut request = timed();
        request.put_bytes(1, key);
        request.put_number(3, 1);
        request.put_number(4, room.min(MAX_ANSWER as u64));
        let answer = self.ask(INIT_QUOTE, &request)?;
        let target = answer.bytes(2).and_then(|bytes| bytes.try_into().ok());
        Ok((Key(key.to_vec()), Box::new(target.ok_or(AesmError::Malformed)?)))
    }

    /// A quote over a report that was made for this key's enclave.
    ///
    /// # Errors
    ///
    /// [`AesmError`].
    pub fn quote(&self, key: &Key, report: &[u8; REPORT]) -> Result<Vec<u8>, AesmError> {
        let mut request = timed();
        request.put_bytes(1, &key.0);
        let room = self.ask(QUOTE_SIZE, &request)?.number(2).ok_or(AesmError::Malformed)?;
        let mut request = timed();
        request.put_bytes(1, report);
        request.put_bytes(2, &key.0);
        request.put_number(4, room.min(MAX_ANSWER as u64));
        let answer = self.ask(GET_QUOTE, &request)?;
        match answer.bytes(2) {
            Some(quote) if !quote.is_empty() => Ok(quote.to_vec()),
            _ => Err(AesmError::Malformed),
        }
    }

    /// One question, and its answer without the envelope.
    fn ask(&self, number: u64, request: &Message) -> Result<Message, AesmError> {
        let mut envelope = Message::default();
        envelope.put_bytes(number, &request.0);
        let path = self.path.clone();
        let mut socket = UnixStream::connect(&self.path)
            .map_err(|source| AesmError::Connect { path, source })?;
        let answer = exchange(&mut socket, &envelope.0).map_err(AesmError::Broken)?;
        let answer = Message(answer);
        if let Some(refusal) = answer.bytes(UNSUPPORTED) {
            return Err(refused(&Message(refusal.to_vec())));
        }
        let answer = Message(answer.bytes(number).ok_or(AesmError::Malformed)?.to_vec());
        match answer.number(1) {
            Some(0) => Ok(answer),
            _ => Err(refused(&answer)),
        }
    }
}

fn refused(answer: &Message) -> AesmError {
    // An answer without a number is an error that was not named.
    AesmError::Refused { code: answer.number(1).unwrap_or(1) }
}

fn exchange(socket: &mut UnixStream, request: &[u8]) -> io::Result<Vec<u8>> {
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    socket.write_all(&[&length.to_le_bytes(), request].concat())?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length as usize > MAX_ANSWER {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    let mut answer = Vec::new();
    socket.take(length.into()).read_to_end(&mut answer)?;
    if answer.len() != length as usize {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    Ok(answer)
}

/// A request with the time that the service may take for it, in microseconds.
fn timed() -> Message {
    let mut message = Message::default();
    message.put_number(9, PATIENCE.as_micros() as u64);
    message
}

/// A message in the encoding of protocol buffers: fields, each a number with a kind, and a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Message(Vec<u8>);

/// Kinds of values: a number of variable length, and bytes after their length.
const NUMBER: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn put_number(&mut self, field: u64, value: u64) {
        self.varint(field << 3 | NUMBER);
        self.varint(value);
    }

    fn put_bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(field << 3 | BYTES);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// The number of a field; the last one counts if it is there twice.
    fn number(&self, field: u64) -> Option<u64> {
        let found = self.fields().filter_map(|(number, value)| match value {
            Value::Number(value) if number == field => Some(value),
            _ => None,
        });
        found.last()
    }

    fn bytes(&self, field: u64) -> Option<&[u8]> {
        let found = self.fields().filter_map(|(number, value)| match value {
            Value::Bytes(value) if number == field => Some(value),
            _ => None,
        });
        found.last()
    }

    /// All fields, up to the first one that is none.
    fn fields(&self) -> impl Iterator<Item = (u64, Value<'_>)> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let tag = take_varint(&mut rest)?;
            let value = match tag & 7 {
                NUMBER => Value::Number(take_varint(&mut rest)?),
                BYTES => {
                    let length = usize::try_from(take_varint(&mut rest)?).ok()?;
                    Value::Bytes(take(&mut rest, length)?)
                }
                FIXED_64 => take(&mut rest, 8).map(|_| Value::Other)?,
                FIXED_32 => take(&mut rest, 4).map(|_| Value::Other)?,
                _ => return None,
            };
            Some((tag >> 3, value))
        })
    }
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests;

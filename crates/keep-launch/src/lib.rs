// SPDX-License-Identifier: Apache-2.0

//! What the host agent tells a Keep program at its start, and what the program reports at its end.
//!
//! A Keep program (the compiler or the runtime) is a static Linux ELF. Under the `nil` backend it
//! is a process and Linux serves its calls; in every other Keep our own kernel does. Either way it
//! finds the same open descriptors and nothing else:
//!
//! | descriptor | constant | what it is | access |
//! |---|---|---|---|
//! | 0, 1, 2 | | the workload's stdin, stdout, stderr | stream |
//! | 3 | [`FD_LAUNCH`] | one encoded [`Launch`], then end of file | read |
//! | 4 | [`FD_INPUT`] | compiler: the module as the user gave it; runtime: the artifact | read, map |
//! | 5 | [`FD_REPORT`] | one encoded [`Report`], written once, last | write |
//! | 6 | [`FD_OUTPUT`] | compiler only: the artifact | write |
//! | 7 | [`FD_EVENTS`] | what has happened so far, as frames of [`Event`] | write |
//! | 8 | [`FD_REPORT_DATA`] | asks for evidence: 64 bytes of report data at a time | write |
//! | 9 | [`FD_EVIDENCE`] | the answers, as frames of [`Evidence`] | read |
//!
//! A frame is the length of an encoding in four bytes, little endian, and the encoding; see
//! [`frame`]. Sockets are made by Linux's calls like any others.
//!
//! The program's exit status carries no meaning beyond "0 after a report was written"; everything
//! the host agent needs is in the report. **All of `Launch` comes from the untrusted host**; a
//! program checks what it relies on, and what a tenant must be able to trust is bound by evidence.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

mod deploy;

pub use deploy::{CompileService, Deploy, Event, Evidence, Network, Platform, Sockets, Source};

/// Descriptor on which a program reads its [`Launch`].
pub const FD_LAUNCH: i32 = 3;
/// Descriptor of the program's input: module (compiler) or artifact (runtime).
pub const FD_INPUT: i32 = 4;
/// Descriptor to which a program writes its one [`Report`].
pub const FD_REPORT: i32 = 5;
/// Descriptor to which the compiler writes the artifact.
pub const FD_OUTPUT: i32 = 6;
/// Descriptor to which a program writes frames of [`Event`].
pub const FD_EVENTS: i32 = 7;
/// Descriptor to which a program writes the 64 bytes of report data that evidence is to contain.
pub const FD_REPORT_DATA: i32 = 8;
/// Descriptor from which a program reads one frame of [`Evidence`] for each report data.
pub const FD_EVIDENCE: i32 = 9;

/// Number of the one system call that is not Linux's: writes 32 bytes to the address that is its only
/// argument, a key that the platform gives to this program alone. `ENOSYS` where there is none that would be
/// a secret, which is also what Linux answers.
pub const CALL_SEALING_KEY: i64 = 0x5ea1;

/// Longest accepted encoding of a [`Launch`] in bytes.
pub const MAX_LAUNCH: usize = 4 << 20;
/// Longest accepted encoding of a [`Report`] in bytes.
pub const MAX_REPORT: usize = 1 << 20;
/// Longest accepted encoding of an [`Event`] in bytes.
pub const MAX_EVENT: usize = 16 << 10;
/// Longest accepted encoding of [`Evidence`] in bytes.
pub const MAX_EVIDENCE: usize = 1 << 20;
/// Longest module or artifact in bytes.
pub const MAX_INPUT: u64 = 1 << 30;

/// The first byte of each encoding: the version of this crate's format.
const VERSION: u8 = 3;

/// What a program is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Launch {
    /// For the compiler: turn the input into an artifact.
    Compile(Compile),
    /// For the runtime: check the artifact on the input and run it.
    Run(Run),
    /// For the runtime: become somebody, fetch a workload, check it and run it.
    Deploy(Deploy),
    /// For the compiler: become somebody and compile what a runtime Keep sends.
    CompileService(CompileService),
}

/// What the compiler needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compile {
    /// Seed of the Ed25519 key that authenticates the artifact (RFC 8032 §5.1.5).
    pub signing_key: [u8; 32],
    /// Threads that may compile. Without processors for them, one does.
    pub threads: u32,
}

/// What the runtime needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// SHA-256 of the module, as the user gave it, that the artifact must have been made from.
    pub module_digest: [u8; 32],
    /// Ed25519 public keys whose artifacts are accepted.
    pub compiler_keys: Vec<[u8; 32]>,
    /// The workload's arguments, its name first.
    pub args: Vec<String>,
    /// The workload's environment, in order.
    pub env: Vec<(String, String)>,
    /// What the workload's descriptors 0, 1 and 2 are.
    pub stdio: [Stdio; 3],
    /// Directories the workload starts with.
    pub preopens: Vec<Preopen>,
    /// Upper bound in bytes for each of the workload's linear memories, taken together.
    pub max_memory: u64,
    /// For a workload with sockets.
    pub sockets: Option<Sockets>,
    /// Threads that may serve requests, if the workload is a component that handles some.
    pub threads: u32,
}

/// What stands behind one of the workload's standard descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stdio {
    /// Reads give end of file, writes are swallowed.
    Null,
    /// The program's own descriptor 0.
    Stdin,
    /// The program's own descriptor 1.
    Stdout,
    /// The program's own descriptor 2.
    Stderr,
}

/// A directory that the workload starts with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preopen {
    /// Its path as the program sees it, relative to the program's current directory (in a Keep:
    /// the root of the kernel's file system; under `nil`: a scratch folder).
    pub path: String,
    /// Its name as the workload sees it.
    pub guest: String,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The artifact was written to [`FD_OUTPUT`], that many bytes.
    Compiled {
        /// Length of the artifact in bytes.
        len: u64,
    },
    /// The workload ended by itself with this exit code.
    Exited {
        /// As given to `proc_exit`, or 0; an error returned by `wasi:cli/run` is 1.
        code: i32,
    },
    /// The workload trapped.
    Trapped {
        /// Wasmtime's message with the Wasm backtrace; may hold several lines.
        message: String,
    },
    /// The workload never ran.
    Refused {
        /// Why, for a program to act on.
        reason: Refusal,
        /// Why, for a person: the cause chain, one cause a line.
        message: String,
    },
}

/// Why a program refused its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The launch could not be decoded or contradicts itself.
    Launch,
    /// The artifact is truncated, changed, or signed by a key that is not accepted: compile anew.
    Artifact,
    /// The artifact is sound but made for another module, engine configuration or CPU: compile anew.
    Mismatch,
    /// The input is not a valid module or component.
    Invalid,
    /// The module imports what this world does not offer, or the component is of another world.
    Unsupported,
    /// The module asks for more memory than is allowed.
    Memory,
    /// The workload's configuration is faulty or asks for what is not there.
    Config,
    /// A socket could not be made or a peer not be reached.
    Network,
    /// There is no evidence, or not of the kind that is needed.
    Evidence,
    /// The Steward could not be reached, refused, or answered with what is not to be believed.
    Steward,
    /// The Drawbridge could not be reached, refused, or sent something else than it said.
    Drawbridge,
    /// The workload is not the one whose digest was pinned.
    Workload,
    /// The compiler Keep could not be reached, or is not one that the workload accepts.
    Compiler,
    /// Something else failed inside the program.
    Internal,
}

/// Why bytes are not a [`Launch`] or a [`Report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Longer than [`MAX_LAUNCH`] or [`MAX_REPORT`].
    TooLong,
    /// The first byte names another version of the format.
    Version,
    /// The rest is not a valid encoding, or something follows it.
    Malformed,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the message is longer than its format allows",
            Self::Version => "the message is of another version of the launch format",
            Self::Malformed => "the message is malformed",
        })
    }
}

impl core::error::Error for DecodeError {}

impl Launch {
    /// Encodes as read on [`FD_LAUNCH`]: one byte of version, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes; total, and bounded by [`MAX_LAUNCH`].
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, MAX_LAUNCH)
    }

    /// SHA-256 of what is going to run, as hardware's reports name it (`HOST_DATA`, `CONFIGID`): the module
    /// of [`Launch::Run`], the workload of the two that are deployed. A compiler that serves nobody in
    /// particular has none, which is zeros. A digest that is not written as one is none either; the program
    /// refuses it.
    #[must_use]
    pub fn workload(&self) -> [u8; 32] {
        match self {
            Self::Compile(_) => None,
            Self::Run(run) => Some(run.module_digest),
            Self::Deploy(deploy) => deploy.workload(),
            Self::CompileService(service) => sha256(&service.digest),
        }
        .unwrap_or_default()
    }
}

/// The bytes of `sha256:` and 64 hexadecimal digits.
fn sha256(digest: &str) -> Option<[u8; 32]> {
    let digits = digest.strip_prefix("sha256:")?.as_bytes();
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks().0) {
        *byte = (value(*high)? << 4 | value(*low)?) as u8;
    }
    Some(bytes)
}

impl Report {
    /// Encodes as written to [`FD_REPORT`]: one byte of version, then postcard.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes; total, and bounded by [`MAX_REPORT`].
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, MAX_REPORT)
    }
}

/// An encoding with its length before it, as [`FD_EVENTS`] and [`FD_EVIDENCE`] carry it.
pub fn frame(encoding: &[u8]) -> Vec<u8> {
    let len = u32::try_from(encoding.len()).unwrap_or(u32::MAX);
    [&len.to_le_bytes(), encoding].concat()
}

impl Event {
    /// Encodes; to be framed.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes what was in a frame; total, and bounded by [`MAX_EVENT`].
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, MAX_EVENT)
    }
}

impl Evidence {
    /// Encodes; to be framed.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes what was in a frame; total, and bounded by [`MAX_EVIDENCE`].
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes, MAX_EVIDENCE)
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::from([VERSION]);
    // Serialising plain owned data into memory that grows has no way to fail in postcard.
    if let Ok(body) = postcard::to_allocvec(value) {
        out.extend_from_slice(&body);
    }
    out
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], max: usize) -> Result<T, DecodeError> {
    if bytes.len() > max {
        return Err(DecodeError::TooLong);
    }
    let (version, body) = bytes.split_first().ok_or(DecodeError::Malformed)?;
    if *version != VERSION {
        return Err(DecodeError::Version);
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(DecodeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn digests_are_read_as_they_are_written() {
        let mut bytes = [0xab; 32];
        bytes[0] = 0x01;
        let digits = String::from("01") + &"aB".repeat(31);
        assert_eq!(sha256(&(String::from("sha256:") + &digits)), Some(bytes));
        assert_eq!(sha256(&digits), None);
        assert_eq!(sha256(&(String::from("sha256:0g") + &digits[2..])), None);
        assert_eq!(sha256(&(String::from("sha256:") + &digits[2..])), None);
        let compile = Compile { signing_key: [1; 32], threads: 1 };
        assert_eq!(Launch::Compile(compile).workload(), [0; 32]);
    }

    fn sample() -> Launch {
        Launch::Run(Run {
            module_digest: [7; 32],
            compiler_keys: vec![[1; 32]],
            args: vec!["main.wasm".into(), "x".into()],
            env: vec![("FD_COUNT".into(), "3".into())],
            stdio: [Stdio::Stdin, Stdio::Stdout, Stdio::Null],
            preopens: vec![Preopen { path: "/0".into(), guest: "/data".into() }],
            max_memory: 4 << 30,
            sockets: None,
            threads: 2,
        })
    }

    #[test]
    fn launch_survives_the_trip() {
        assert_eq!(Launch::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn every_truncation_and_every_extension_is_refused() {
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(Launch::decode(&bytes[..len]).is_err(), "{len} bytes were accepted");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Launch::decode(&longer), Err(DecodeError::Malformed));
    }

    #[test]
    fn another_version_is_named() {
        let mut bytes = sample().encode();
        bytes[0] = 9;
        assert_eq!(Launch::decode(&bytes), Err(DecodeError::Version));
    }
}

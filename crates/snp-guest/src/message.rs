// SPDX-License-Identifier: Apache-2.0

//! The channel to the firmware: messages that the hypervisor carries and can neither read nor
//! change, drop or repeat unnoticed.
//!
//! A message is a header of 0x60 bytes and up to 4000 bytes that are encrypted with AES-256-GCM
//! under a key that firmware and guest share (firmware ABI, SNP_GUEST_REQUEST):
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0x00 | 32 | `AUTHTAG`: 16 bytes, then zeros |
//! | 0x20 | 8 | `MSG_SEQNO` |
//! | 0x30 | 1 | `ALGO`: 1, AES-256-GCM; authenticated from here on |
//! | 0x31 | 1 | `HDR_VERSION`: 1 |
//! | 0x32 | 2 | `HDR_SIZE`: 0x60 |
//! | 0x34 | 1 | `MSG_TYPE` |
//! | 0x35 | 1 | `MSG_VERSION` |
//! | 0x36 | 2 | `MSG_SIZE` |
//! | 0x3c | 1 | `MSG_VMPCK` |
//!
//! All else is zero. The sequence number, with four zero bytes behind it, is the nonce. The first
//! request has 1, its answer 2, and so on: requests are odd, answers even. A nonce that is used
//! twice gives the key's authentication away, so [`Channel`] never encrypts a second message with a
//! number: while it waits it encrypts nothing, and whatever goes wrong ends it and wipes the key.
//! Sending the same bytes once more is always allowed.

use core::fmt;

use aes_gcm::aead::Tag;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};
use zeroize::{Zeroize as _, Zeroizing};

use crate::PAGE;
use crate::bytes;
use crate::secrets::KEY;

/// Bytes of the header.
pub const HEADER: usize = 0x60;
/// Bytes that a message carries at most.
pub const PAYLOAD: usize = PAGE - HEADER;

const SEQUENCE: usize = 0x20;
const AUTHENTICATED: core::ops::Range<usize> = 0x30..HEADER;
const TAG: usize = 16;

/// What a message is (firmware ABI, `MSG_TYPE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are those of the specification")]
pub enum Kind {
    KeyRequest = 3,
    KeyAnswer = 4,
    ReportRequest = 5,
    ReportAnswer = 6,
}

reasons! {
    /// Why there is no message.
    ChannelError:
    /// The channel is at its end.
    Dead = "the channel to the firmware was given up";
    /// The channel waits for an answer; only the same message may be sent again.
    Waiting = "the firmware has not answered yet";
    /// The channel does not wait for an answer.
    NotWaiting = "the firmware was not asked";
    /// There are no numbers left. The channel is at its end.
    Exhausted = "the channel to the firmware has no numbers left";
    /// The message is too long.
    Length = "a message to the firmware is too long";
    /// The answer has another number than the next; which it should have, and which it has. The
    /// channel is at its end.
    Sequence(wanted: u64, got: u64) =
        "the firmware's answer has number {got}, not {wanted}: it was repeated";
    /// The answer's header is not that of an answer to this message. The channel is at its end.
    Header = "the firmware's answer is to something else";
    /// The answer is not from the firmware, or was changed. The channel is at its end.
    Forged = "the firmware's answer was changed on its way";
}

/// What is authenticated of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The sequence number, which is authenticated as the nonce.
    pub sequence: u64,
    /// `MSG_TYPE`: see [`Kind`].
    pub kind: u8,
    /// `MSG_VERSION`.
    pub version: u8,
    /// `MSG_SIZE`.
    pub size: u16,
    /// `MSG_VMPCK`: the number of the key.
    pub key: u8,
}

impl Header {
    /// Reads the header of a page; none if it is of another form than this crate knows. What is
    /// reserved is not looked at: it is authenticated or it means nothing.
    #[must_use]
    pub fn read(page: &[u8; PAGE]) -> Option<Self> {
        let [algorithm, version] = bytes::get(page, 0x30);
        let [kind, message_version] = bytes::get(page, 0x34);
        let [key] = bytes::get(page, 0x3c);
        let size = bytes::u16(page, 0x36);
        let known = (algorithm, version, bytes::u16(page, 0x32)) == (1, 1, HEADER as u16);
        (known && usize::from(size) <= PAYLOAD).then(|| Self {
            sequence: bytes::u64(page, SEQUENCE),
            kind,
            version: message_version,
            size,
            key,
        })
    }

    /// The header without its tag.
    fn to_bytes(self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        bytes::put(&mut out, SEQUENCE, self.sequence.to_le_bytes());
        // AES-256-GCM, and the version of the header.
        bytes::put(&mut out, 0x30, [1, 1]);
        bytes::put(&mut out, 0x32, (HEADER as u16).to_le_bytes());
        bytes::put(&mut out, 0x34, [self.kind, self.version]);
        bytes::put(&mut out, 0x36, self.size.to_le_bytes());
        bytes::put(&mut out, 0x3c, [self.key]);
        out
    }

    fn nonce(self) -> [u8; 12] {
        let mut nonce = [0; 12];
        bytes::put(&mut nonce, 0, self.sequence.to_le_bytes());
        nonce
    }
}

/// Encrypts a message into a page. The caller answers for the number: [`Channel`] does.
///
/// # Errors
///
/// [`ChannelError::Length`] if the payload has not the header's length or is too long.
pub fn seal(
    key: &[u8; KEY],
    header: Header,
    payload: &[u8],
    page: &mut [u8; PAGE],
) -> Result<(), ChannelError> {
    if payload.len() != usize::from(header.size) {
        return Err(ChannelError::Length);
    }
    let head = header.to_bytes();
    page.fill(0);
    bytes::put(page, 0, head);
    let body = page.get_mut(HEADER..).and_then(|body| body.get_mut(..payload.len()));
    let body = body.ok_or(ChannelError::Length)?;
    let body = InOutBuf::new(payload, body).map_err(|_| ChannelError::Length)?;
    let tag = Aes256Gcm::new(key.into())
        .encrypt_inout_detached(&header.nonce().into(), &head[AUTHENTICATED], body)
        .map_err(|_| ChannelError::Length)?;
    bytes::put::<TAG>(page, 0, tag.into());
    Ok(())
}

/// Decrypts a message from a private copy of a page; gives the header. The payload is the first
/// `size` bytes of `into`.
///
/// # Errors
///
/// [`ChannelError::Header`] if there is no header, [`ChannelError::Forged`] if the message was not made
/// with this key, header and payload. Then `into` holds nothing.
pub fn open(
    key: &[u8; KEY],
    page: &[u8; PAGE],
    into: &mut [u8; PAYLOAD],
) -> Result<Header, ChannelError> {
    let header = Header::read(page).ok_or(ChannelError::Header)?;
    let size = usize::from(header.size);
    let body = page.get(HEADER..).and_then(|body| body.get(..size)).ok_or(ChannelError::Length)?;
    let out = into.get_mut(..size).ok_or(ChannelError::Length)?;
    let tag: Tag<Aes256Gcm> = bytes::get::<TAG>(page, 0).into();
    let (nonce, authenticated) = (header.nonce().into(), &page[AUTHENTICATED]);
    let buffer = InOutBuf::new(body, &mut *out).map_err(|_| ChannelError::Length)?;
    let opened =
        Aes256Gcm::new(key.into()).decrypt_inout_detached(&nonce, authenticated, buffer, &tag);
    if opened.is_err() {
        out.zeroize();
    }
    opened.map(|()| header).map_err(|_| ChannelError::Forged)
}

/// The number of a Keep's key: that of privilege level 0.
const VMPCK: u8 = 0;

/// The Keep's end of a channel.
pub struct Channel {
    /// None when the channel is at its end.
    key: Option<Zeroizing<[u8; KEY]>>,
    /// The number of the last message of either side.
    sequence: u64,
    /// Kind and version of the answer that is awaited.
    waiting: Option<(u8, u8)>,
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl Channel {
    /// With the key of privilege level 0, fresh from a launch.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; KEY]>) -> Self {
        Self { key: Some(key), sequence: 0, waiting: None }
    }

    #[cfg(feature = "host")]
    /// With a key under which the last answer had that number; an even one.
    #[must_use]
    pub fn after(key: Zeroizing<[u8; KEY]>, sequence: u64) -> Self {
        Self { sequence: sequence & !1, ..Self::new(key) }
    }

    #[cfg(feature = "host")]
    /// Whether messages can be sent.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.key.is_some()
    }

    /// Ends the channel and wipes the key: for a request that failed in a way that leaves unknown
    /// whether the firmware has seen it.
    pub fn end(&mut self) {
        self.key = None;
        self.waiting = None;
    }

    /// Encrypts the next request into a page of private memory, to be copied to a shared one.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Dead`], [`ChannelError::Waiting`], [`ChannelError::Exhausted`],
    /// [`ChannelError::Length`].
    pub fn seal(
        &mut self,
        kind: Kind,
        version: u8,
        payload: &[u8],
        page: &mut [u8; PAGE],
    ) -> Result<(), ChannelError> {
        let key = self.key.as_ref().ok_or(ChannelError::Dead)?;
        if self.waiting.is_some() {
            return Err(ChannelError::Waiting);
        }
        // The answer needs a number, too, and the last one is never used.
        if self.sequence.checked_add(3).is_none() {
            self.end();
            return Err(ChannelError::Exhausted);
        }
        let sequence = self.sequence + 1;
        let size = u16::try_from(payload.len()).map_err(|_| ChannelError::Length)?;
        let header = Header { sequence, kind: kind as u8, version, size, key: VMPCK };
        seal(key, header, payload, page)?;
        self.sequence = sequence;
        // The number behind a request's is that of its answer.
        self.waiting = Some((kind as u8 + 1, version));
        Ok(())
    }

    /// Decrypts the answer from a private copy of a shared page; gives the length of the payload.
    ///
    /// # Errors
    ///
    /// [`ChannelError::Dead`], [`ChannelError::NotWaiting`]; and [`ChannelError::Sequence`],
    /// [`ChannelError::Header`], [`ChannelError::Forged`] if this is not the answer: then somebody is
    /// at work, and the channel is at its end.
    pub fn open(
        &mut self,
        page: &[u8; PAGE],
        into: &mut [u8; PAYLOAD],
    ) -> Result<usize, ChannelError> {
        let key = self.key.as_ref().ok_or(ChannelError::Dead)?;
        let (kind, version) = self.waiting.take().ok_or(ChannelError::NotWaiting)?;
        let wanted = self.sequence + 1;
        let opened = Header::read(page).ok_or(ChannelError::Header).and_then(|header| {
            if header.sequence != wanted {
                return Err(ChannelError::Sequence(wanted, header.sequence));
            }
            if header != (Header { kind, version, key: VMPCK, ..header }) {
                return Err(ChannelError::Header);
            }
            open(key, page, into)
        });
        match opened {
            Ok(_) => self.sequence = wanted,
            Err(_) => self.end(),
        }
        opened.map(|header| header.size.into())
    }
}

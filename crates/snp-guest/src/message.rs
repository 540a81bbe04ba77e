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
//! number: it asks and is answered in one go, and whatever goes wrong ends it and wipes the key.
//! Sending the same bytes once more is always allowed.

use core::fmt;

use aes_gcm::{AeadInOut as _, Aes256Gcm, KeyInit as _};
use zeroize::{Zeroize as _, Zeroizing};

use crate::PAGE;
use crate::bytes;
use crate::ghcb::GhcbError;
use crate::secrets::KEY;

/// Bytes of the header.
const HEADER: usize = 0x60;
/// Bytes that a message carries at most.
const PAYLOAD: usize = PAGE - HEADER;

const SEQUENCE: usize = 0x20;
const AUTHENTICATED: core::ops::Range<usize> = 0x30..HEADER;
const TAG: usize = 16;
/// `ALGO`, `HDR_VERSION` and `HDR_SIZE`.
const FORM: [u8; 4] = [1, 1, HEADER as u8, 0];
/// `MSG_VERSION` of all that a Keep sends.
pub const VERSION: u8 = 1;
/// The number of a Keep's key: that of privilege level 0.
const VMPCK: u8 = 0;

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
    /// Why there is no answer. The channel is at its end.
    ChannelError:
    /// It was before.
    Dead = "the channel to the firmware was given up";
    /// There are no numbers left.
    Exhausted = "the channel to the firmware has no numbers left";
    /// The message is too long.
    Length = "a message to the firmware is too long";
    /// The event failed.
    Ghcb(error: GhcbError) = "{error}";
    /// Firmware or hypervisor refused; the firmware's code is in the lower half, the hypervisor's in
    /// the upper.
    Refused(code: u64) = "firmware or hypervisor refuse: {code:#x}";
    /// The hypervisor was busy for as long as a Keep waits.
    Busy = "the hypervisor is busy and remains so";
    /// The answer has another number than the next; which it should have, and which it has.
    Sequence(wanted: u64, got: u64) =
        "the firmware's answer has number {got}, not {wanted}: it was repeated";
    /// The answer's header is not that of an answer to this message.
    Header = "the firmware's answer is to something else";
    /// The answer is not from the firmware, or was changed.
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
        let [kind, version] = bytes::get(page, 0x34);
        let [key] = bytes::get(page, 0x3c);
        let size = u16::from_le_bytes(bytes::get(page, 0x36));
        let known = bytes::get(page, 0x30) == FORM && usize::from(size) <= PAYLOAD;
        known.then(|| Self { sequence: bytes::u64(page, SEQUENCE), kind, version, size, key })
    }

    /// The header without its tag.
    fn to_bytes(self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        bytes::put(&mut out, SEQUENCE, self.sequence.to_le_bytes());
        bytes::put(&mut out, 0x30, FORM);
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
    let head = header.to_bytes();
    page.fill(0);
    bytes::put(page, 0, head);
    let body = page.get_mut(HEADER..HEADER + usize::from(header.size));
    let body = body.filter(|body| body.len() == payload.len()).ok_or(ChannelError::Length)?;
    body.copy_from_slice(payload);
    let tag = Aes256Gcm::new(key.into())
        .encrypt_inout_detached(&header.nonce().into(), &head[AUTHENTICATED], body.into())
        .map_err(|_| ChannelError::Length)?;
    bytes::put::<TAG>(page, 0, tag.into());
    Ok(())
}

/// Decrypts a message in a private copy of a page; gives header and payload.
///
/// # Errors
///
/// [`ChannelError::Header`] if there is no header, [`ChannelError::Forged`] if the message was not made
/// with this key, header and payload. Then nothing is left of the latter.
pub fn open<'a>(
    key: &[u8; KEY],
    page: &'a mut [u8; PAGE],
) -> Result<(Header, &'a mut [u8]), ChannelError> {
    let header = Header::read(page).ok_or(ChannelError::Header)?;
    let head: [u8; HEADER] = bytes::get(page, 0);
    let body = page.get_mut(HEADER..HEADER + usize::from(header.size));
    let body = body.ok_or(ChannelError::Length)?;
    let (nonce, tag) = (header.nonce().into(), bytes::get::<TAG>(&head, 0).into());
    let (cipher, head) = (Aes256Gcm::new(key.into()), &head[AUTHENTICATED]);
    let opened = cipher.decrypt_inout_detached(&nonce, head, (&mut *body).into(), &tag);
    if opened.is_err() {
        body.zeroize();
        return Err(ChannelError::Forged);
    }
    Ok((header, body))
}

/// The Keep's end of a channel.
pub struct Channel {
    /// None when the channel is at its end.
    key: Option<Zeroizing<[u8; KEY]>>,
    /// The number of the last answer.
    sequence: u64,
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
        Self { key: Some(key), sequence: 0 }
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

    /// Asks: encrypts a message in `page`, which is private memory, has it exchanged for the firmware's
    /// by `carry`, and decrypts that; gives the payload of the answer.
    ///
    /// # Errors
    ///
    /// [`ChannelError`], also that of `carry`. The channel is at its end then, and the key is wiped: if
    /// this was not the answer somebody is at work, and if there was none nobody knows whether the
    /// firmware has seen the message.
    pub fn ask<'a>(
        &mut self,
        kind: Kind,
        payload: &[u8],
        page: &'a mut [u8; PAGE],
        carry: impl FnOnce(&mut [u8; PAGE]) -> Result<(), ChannelError>,
    ) -> Result<&'a mut [u8], ChannelError> {
        let key = self.key.as_ref().ok_or(ChannelError::Dead)?;
        // The number of the answer; the last number of all is never used.
        let sequence = self.sequence.checked_add(2).ok_or(ChannelError::Exhausted);
        let asked = sequence.and_then(|sequence| {
            let size = u16::try_from(payload.len()).map_err(|_| ChannelError::Length)?;
            let (kind, version) = (kind as u8, VERSION);
            let header = Header { sequence: sequence - 1, kind, version, size, key: VMPCK };
            seal(key, header, payload, page)?;
            carry(page)?;
            let answer = Header::read(page).ok_or(ChannelError::Header)?;
            if answer.sequence != sequence {
                return Err(ChannelError::Sequence(sequence, answer.sequence));
            }
            // The number behind a request's is that of its answer.
            if answer != (Header { sequence, kind: kind + 1, size: answer.size, ..header }) {
                return Err(ChannelError::Header);
            }
            open(key, page)
        });
        match &asked {
            Ok((answer, _)) => self.sequence = answer.sequence,
            Err(_) => self.key = None,
        }
        asked.map(|(_, payload)| payload)
    }
}

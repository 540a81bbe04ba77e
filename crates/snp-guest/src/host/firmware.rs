// SPDX-License-Identifier: Apache-2.0

//! The firmware's side of the channel.

use zeroize::Zeroizing;

use crate::PAGE;
use crate::bytes;
use crate::message::{self, ChannelError, Header, Kind};
use crate::request::{KeyRequest, REPORT, ReportRequest};
use crate::secrets::{KEY, KEYS};

/// Why the firmware does not take a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirmwareError {
    /// It is no message, or not under this key.
    Message(ChannelError),
    /// It has not the next number.
    Sequence(u64),
}

/// The firmware's end of a channel.
#[derive(Debug)]
pub struct Firmware {
    key: Zeroizing<[u8; KEY]>,
    sequence: u64,
}

impl Firmware {
    /// With the key that went into the secrets page.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; KEY]>) -> Self {
        Self { key, sequence: 0 }
    }

    /// Takes a request and writes what `answer` makes of it: of the header and the payload, kind
    /// and payload of the answer. A message that is refused changes nothing, so that the hypervisor
    /// cannot use up a number; its repetition is refused, too.
    ///
    /// # Errors
    ///
    /// [`FirmwareError`].
    pub fn serve<'a>(
        &mut self,
        request: &[u8; PAGE],
        into: &mut [u8; PAGE],
        answer: impl FnOnce(Header, &[u8]) -> (Kind, &'a [u8]),
    ) -> Result<(), FirmwareError> {
        let mut page = Zeroizing::new(*request);
        let header = Header::read(request).ok_or(FirmwareError::Message(ChannelError::Header))?;
        if Some(header.sequence) != self.sequence.checked_add(1) {
            return Err(FirmwareError::Sequence(header.sequence));
        }
        let (_, payload) = message::open(&self.key, &mut page).map_err(FirmwareError::Message)?;
        let (kind, body) = answer(header, payload);
        let sequence = header
            .sequence
            .checked_add(1)
            .ok_or(FirmwareError::Message(ChannelError::Exhausted))?;
        let size =
            u16::try_from(body.len()).map_err(|_| FirmwareError::Message(ChannelError::Length))?;
        let reply = Header { sequence, kind: kind as u8, size, ..header };
        message::seal(&self.key, reply, body, into).map_err(FirmwareError::Message)?;
        self.sequence = sequence;
        Ok(())
    }
}

/// The payload of an answer with a report.
#[must_use]
pub fn report_answer(report: &[u8; REPORT]) -> [u8; ReportRequest::ANSWER] {
    let mut out = [0; ReportRequest::ANSWER];
    bytes::put(&mut out, 4, (REPORT as u32).to_le_bytes());
    bytes::put(&mut out, 0x20, *report);
    out
}

/// The payload of an answer with a derived key.
#[must_use]
pub fn key_answer(key: &[u8; 32]) -> [u8; KeyRequest::ANSWER] {
    let mut out = [0; KeyRequest::ANSWER];
    bytes::put(&mut out, 0x20, *key);
    out
}

/// A secrets page of version 3 with the keys of all four privilege levels.
#[must_use]
pub fn secrets_page(keys: &[[u8; KEY]; 4], signature: u32) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    bytes::put(&mut page, 0, 3_u32.to_le_bytes());
    bytes::put(&mut page, 8, signature.to_le_bytes());
    for (number, key) in keys.iter().enumerate() {
        bytes::put(&mut page, KEYS.start + number * KEY, *key);
    }
    page
}

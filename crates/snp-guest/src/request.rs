// SPDX-License-Identifier: Apache-2.0

//! What a Keep asks the firmware for: attestation reports and derived keys.
//!
//! Requests and answers are the payload of a [`crate::message`]. A report comes back as its 1184
//! bytes; who verifies reports has a parser for them. Here only that is looked at which tells
//! whether it is the report that was asked for.

use zeroize::{Zeroize as _, Zeroizing};

use crate::bytes;

/// Bytes of a report, in all versions.
pub const REPORT: usize = 1184;
/// Bytes before the report, or the key, in an answer.
const ANSWER: usize = 0x20;

reasons! {
    /// Why an answer is of no use.
    RequestError:
    /// It is too short.
    Length(length: usize) = "the firmware's answer has {length} bytes";
    /// The firmware refused; its status: 0x16 for bad parameters, 0x27 for a key that is not there.
    Refused(status: u32) = "the firmware refuses with status {status:#x}";
    /// The report has another size.
    Size(size: u32) = "the firmware's report has {size} bytes";
    /// The report is not the one that was asked for.
    WrongReport(field: &'static str) = "the firmware's report is another one: {field} differs";
    /// The key consists of zeros.
    NoKey = "the firmware's key consists of zeros";
}

/// Asks for a report (`MSG_REPORT_REQ`; firmware ABI, section 7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportRequest {
    /// What the report shall bind.
    pub report_data: [u8; 64],
    /// The privilege level that it shall name: a Keep's is 0.
    pub vmpl: u32,
}

impl ReportRequest {
    /// Bytes of the request.
    pub const SIZE: usize = 96;
    /// Bytes of the answer, at the least.
    pub const ANSWER: usize = ANSWER + REPORT;

    /// The payload. At 0x44 stands whose key shall sign: 0, that of the cloud's operator (VLEK) if
    /// there is one, else the chip's.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        bytes::put(&mut out, 0, self.report_data);
        bytes::put(&mut out, 0x40, self.vmpl.to_le_bytes());
        out
    }

    /// The report in an answer (`MSG_REPORT_RSP`).
    ///
    /// # Errors
    ///
    /// [`RequestError`], also if the report does not bind what it was asked to bind.
    pub fn read<'a>(&self, payload: &'a [u8]) -> Result<&'a [u8; REPORT], RequestError> {
        let length = RequestError::Length(payload.len());
        let head: &[u8; ANSWER] = payload.first_chunk().ok_or(length)?;
        let (status, size) = (bytes::u32(head, 0), bytes::u32(head, 4));
        if status != 0 {
            return Err(RequestError::Refused(status));
        }
        if size as usize != REPORT {
            return Err(RequestError::Size(size));
        }
        let report: &[u8; REPORT] =
            payload.get(ANSWER..).and_then(|rest| rest.first_chunk()).ok_or(length)?;
        if bytes::get(report, 0x50) != self.report_data {
            return Err(RequestError::WrongReport("REPORT_DATA"));
        }
        if bytes::u32(report, 0x30) != self.vmpl {
            return Err(RequestError::WrongReport("VMPL"));
        }
        Ok(report)
    }
}

#[cfg(feature = "host")]
/// What a derived key is derived from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// The chip's key: the same on this chip only. Or the VLEK, where there is one.
    Chip = 0,
    /// The guest's own root, which a migration agent may carry along.
    Migration = 1,
}

#[cfg(feature = "host")]
/// Asks for a derived key (`MSG_KEY_REQ`; firmware ABI, section 7.2).
///
/// **Always bound to the launch measurement and to the policy**: another image, or the same one
/// launched so that it can be debugged, gets another key. The firmware cannot bind the workload
/// (`HOST_DATA` is none of the fields it can mix in), so who seals data derives a key of the
/// workload's own from this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRequest {
    root: Root,
    fields: u64,
    svn: u32,
    tcb: [u8; 8],
    mitigations: Option<u64>,
}

#[cfg(feature = "host")]
/// `GUEST_FIELD_SELECT`.
mod mix {
    pub(super) const POLICY: u64 = 1 << 0;
    pub(super) const IMAGE_ID: u64 = 1 << 1;
    pub(super) const FAMILY_ID: u64 = 1 << 2;
    pub(super) const MEASUREMENT: u64 = 1 << 3;
    pub(super) const SVN: u64 = 1 << 4;
    pub(super) const TCB: u64 = 1 << 5;
    pub(super) const MITIGATIONS: u64 = 1 << 6;
}

#[cfg(feature = "host")]
impl KeyRequest {
    /// Bytes of the request; the last eight are of version 2.
    pub const SIZE: usize = 0x28;
    /// Bytes of the answer.
    pub const ANSWER: usize = ANSWER + 32;

    /// Bound to measurement and policy.
    #[must_use]
    pub fn new(root: Root) -> Self {
        let fields = mix::POLICY | mix::MEASUREMENT;
        Self { root, fields, svn: 0, tcb: [0; 8], mitigations: None }
    }

    /// Bound to `FAMILY_ID` and `IMAGE_ID` of the ID block, too.
    #[must_use]
    pub fn ids(self) -> Self {
        Self { fields: self.fields | mix::FAMILY_ID | mix::IMAGE_ID, ..self }
    }

    /// Bound to a `GUEST_SVN`, too; not above that of the launch.
    #[must_use]
    pub fn svn(self, svn: u32) -> Self {
        Self { fields: self.fields | mix::SVN, svn, ..self }
    }

    /// Bound to a `TCB_VERSION`, too; not above the committed one. Older firmware cannot derive the
    /// key of newer, newer that of older can: who seals data keeps the version with it.
    #[must_use]
    pub fn tcb(self, tcb: [u8; 8]) -> Self {
        Self { fields: self.fields | mix::TCB, tcb, ..self }
    }

    /// Bound to mitigations that were on at the launch, too; needs firmware of ABI 1.58.
    #[must_use]
    pub fn mitigations(self, vector: u64) -> Self {
        Self { fields: self.fields | mix::MITIGATIONS, mitigations: Some(vector), ..self }
    }

    /// `MSG_VERSION` of this request.
    #[must_use]
    pub fn version(&self) -> u8 {
        if self.mitigations.is_some() { 2 } else { 1 }
    }

    /// The payload: the first [`KeyRequest::length`] bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        bytes::put(&mut out, 0, (self.root as u32).to_le_bytes());
        bytes::put(&mut out, 8, self.fields.to_le_bytes());
        // At 0x10 the privilege level: a Keep's is 0.
        bytes::put(&mut out, 0x14, self.svn.to_le_bytes());
        bytes::put(&mut out, 0x18, self.tcb);
        bytes::put(&mut out, 0x20, self.mitigations.unwrap_or(0).to_le_bytes());
        out
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn length(&self) -> usize {
        if self.mitigations.is_some() { Self::SIZE } else { 0x20 }
    }

    /// [`take_derived`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn take(&self, payload: &mut [u8]) -> Result<Zeroizing<[u8; 32]>, RequestError> {
        take_derived(payload)
    }
}

/// Asks for the one key that a Keep asks for: derived from the chip's, and from policy and launch measurement
/// (firmware ABI, section 7.2; bits 0 and 3 of `GUEST_FIELD_SELECT`).
pub const SEALING_REQUEST: &[u8; 0x20] =
    b"\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Takes the key out of an answer (`MSG_KEY_RSP`), of which nothing is left.
///
/// # Errors
///
/// [`RequestError`].
pub fn take_derived(payload: &mut [u8]) -> Result<Zeroizing<[u8; 32]>, RequestError> {
    let key = match payload.first_chunk::<{ ANSWER + 32 }>() {
        None => Err(RequestError::Length(payload.len())),
        Some(answer) => match bytes::u32(answer, 0) {
            0 => Ok(Zeroizing::new(bytes::get(answer, ANSWER))),
            status => Err(RequestError::Refused(status)),
        },
    };
    payload.zeroize();
    key.and_then(|key| if bytes::is_zero(&key[..]) { Err(RequestError::NoKey) } else { Ok(key) })
}

// SPDX-License-Identifier: Apache-2.0

//! Reports and their targets as whoever plays the processor or checks a report needs them, and the MAC.

use aes::Aes128;
use cmac::{Cmac, KeyInit as _, Mac as _};

use crate::attributes::Attributes;
use crate::bytes::{LayoutError, get, is_zero, put};
use crate::report::{REPORT, TARGET, is_target};

/// `TARGETINFO`, 512 bytes, aligned to 512: who shall be able to check a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetInfo {
    /// `MEASUREMENT`: MRENCLAVE of the target.
    pub measurement: [u8; 32],
    /// `ATTRIBUTES` of the target.
    pub attributes: Attributes,
    /// `CET_ATTRIBUTES` of the target.
    pub cet: u8,
    /// `CONFIGSVN` of the target.
    pub config_svn: u16,
    /// `MISCSELECT` of the target.
    pub misc_select: u32,
    /// `CONFIGID` of the target.
    pub config_id: [u8; 64],
}

impl TargetInfo {
    /// Its length.
    pub const SIZE: usize = TARGET;

    /// The 512 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<0, 32, 512>(&mut bytes, self.measurement);
        put::<32, 16, 512>(&mut bytes, self.attributes.to_bytes());
        put::<48, 1, 512>(&mut bytes, [self.cet]);
        put::<50, 2, 512>(&mut bytes, self.config_svn.to_le_bytes());
        put::<52, 4, 512>(&mut bytes, self.misc_select.to_le_bytes());
        put::<64, 64, 512>(&mut bytes, self.config_id);
        bytes
    }

    /// From 512 bytes, which the host brings: whatever they say, a wrong target only makes a report that
    /// nobody can check.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Reserved`].
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self, LayoutError> {
        if !is_target(bytes) {
            return Err(LayoutError::Reserved("TARGETINFO"));
        }
        let [cet] = get::<48, 1, 512>(bytes);
        Ok(Self {
            measurement: get::<0, 32, 512>(bytes),
            attributes: Attributes::from_bytes(get::<32, 16, 512>(bytes)),
            cet,
            config_svn: u16::from_le_bytes(get::<50, 2, 512>(bytes)),
            misc_select: u32::from_le_bytes(get::<52, 4, 512>(bytes)),
            config_id: get::<64, 64, 512>(bytes),
        })
    }

    /// The enclave that a report is of, as the target of another one.
    #[must_use]
    pub fn of(body: &ReportBody) -> Self {
        Self {
            measurement: body.measurement,
            attributes: body.attributes,
            cet: body.cet,
            config_svn: body.config_svn,
            misc_select: body.misc_select,
            config_id: body.config_id,
        }
    }
}

/// The part of a report that the MAC is over, and the body of a quote: 384 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBody {
    /// `CPUSVN`: the processor's security version.
    pub cpu_svn: [u8; 16],
    /// `MISCSELECT`.
    pub misc_select: u32,
    /// `CET_ATTRIBUTES`.
    pub cet: u8,
    /// `ISVEXTNPRODID`.
    pub ext_product: [u8; 16],
    /// `ATTRIBUTES`.
    pub attributes: Attributes,
    /// `MRENCLAVE`.
    pub measurement: [u8; 32],
    /// `MRSIGNER`.
    pub signer: [u8; 32],
    /// `CONFIGID`: the workload's digest.
    pub config_id: [u8; 64],
    /// `ISVPRODID`.
    pub product: u16,
    /// `ISVSVN`.
    pub svn: u16,
    /// `CONFIGSVN`.
    pub config_svn: u16,
    /// `ISVFAMILYID`.
    pub family: [u8; 16],
    /// `REPORTDATA`.
    pub data: [u8; 64],
}

impl ReportBody {
    /// Its length.
    pub const SIZE: usize = 384;

    /// From 384 bytes.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Reserved`].
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self, LayoutError> {
        let free = [(21, 32), (96, 128), (160, 192), (262, 304)];
        if !free.into_iter().all(|(from, to)| is_zero(bytes, from, to)) {
            return Err(LayoutError::Reserved("REPORT"));
        }
        let [cet] = get::<20, 1, 384>(bytes);
        Ok(Self {
            cpu_svn: get::<0, 16, 384>(bytes),
            misc_select: u32::from_le_bytes(get::<16, 4, 384>(bytes)),
            cet,
            ext_product: get::<32, 16, 384>(bytes),
            attributes: Attributes::from_bytes(get::<48, 16, 384>(bytes)),
            measurement: get::<64, 32, 384>(bytes),
            signer: get::<128, 32, 384>(bytes),
            config_id: get::<192, 64, 384>(bytes),
            product: u16::from_le_bytes(get::<256, 2, 384>(bytes)),
            svn: u16::from_le_bytes(get::<258, 2, 384>(bytes)),
            config_svn: u16::from_le_bytes(get::<260, 2, 384>(bytes)),
            family: get::<304, 16, 384>(bytes),
            data: get::<320, 64, 384>(bytes),
        })
    }
}

impl ReportBody {
    /// The 384 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<0, 16, 384>(&mut bytes, self.cpu_svn);
        put::<16, 4, 384>(&mut bytes, self.misc_select.to_le_bytes());
        put::<20, 1, 384>(&mut bytes, [self.cet]);
        put::<32, 16, 384>(&mut bytes, self.ext_product);
        put::<48, 16, 384>(&mut bytes, self.attributes.to_bytes());
        put::<64, 32, 384>(&mut bytes, self.measurement);
        put::<128, 32, 384>(&mut bytes, self.signer);
        put::<192, 64, 384>(&mut bytes, self.config_id);
        put::<256, 2, 384>(&mut bytes, self.product.to_le_bytes());
        put::<258, 2, 384>(&mut bytes, self.svn.to_le_bytes());
        put::<260, 2, 384>(&mut bytes, self.config_svn.to_le_bytes());
        put::<304, 16, 384>(&mut bytes, self.family);
        put::<320, 64, 384>(&mut bytes, self.data);
        bytes
    }
}

/// `REPORT`, 432 bytes, aligned to 512.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// What the MAC is over.
    pub body: ReportBody,
    /// `KEYID`: of the report key, to be asked for by [`KeyRequest::report`](crate::key::KeyRequest::report).
    pub key_id: [u8; 32],
    /// `MAC`: AES-CMAC under the report key.
    pub mac: [u8; 16],
}

impl Report {
    /// Its length.
    pub const SIZE: usize = REPORT;

    /// The 432 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<0, 384, 432>(&mut bytes, self.body.to_bytes());
        put::<384, 32, 432>(&mut bytes, self.key_id);
        put::<416, 16, 432>(&mut bytes, self.mac);
        bytes
    }

    /// From 432 bytes; the MAC is not looked at.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Reserved`].
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self, LayoutError> {
        Ok(Self {
            body: ReportBody::from_bytes(&get::<0, 384, 432>(bytes))?,
            key_id: get::<384, 32, 432>(bytes),
            mac: get::<416, 16, 432>(bytes),
        })
    }
}

impl Report {
    /// A report as `EREPORT` makes it, under a report key.
    #[must_use]
    pub fn new(body: ReportBody, key_id: [u8; 32], key: &[u8; 16]) -> Self {
        let mac = mac(&body.to_bytes(), key).finalize().into_bytes().into();
        Self { body, key_id, mac }
    }

    /// Whether an enclave on this machine made the report for the enclave that has this report key. Takes the
    /// same time for each wrong MAC.
    #[must_use]
    pub fn is_by(&self, key: &[u8; 16]) -> bool {
        mac(&self.body.to_bytes(), key).verify(&self.mac.into()).is_ok()
    }
}

/// AES-CMAC (NIST SP 800-38B) over a body.
fn mac(body: &[u8; ReportBody::SIZE], key: &[u8; 16]) -> Cmac<Aes128> {
    let mut mac = Cmac::<Aes128>::new(&(*key).into());
    mac.update(body);
    mac
}

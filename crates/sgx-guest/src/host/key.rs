// SPDX-License-Identifier: Apache-2.0

//! Keys that an enclave asks its processor for (SDM, "KEYREQUEST" and `EGETKEY`).
//!
//! A workload's data are sealed under a key that is **bound to MRENCLAVE**: another program, be it of the same
//! signer, of a later version or under debug, gets another key. The workload's digest is part of it too, as
//! `CONFIGID`, so that two workloads in the same Keep program cannot read each other's data. A Keep makes its
//! request by `seal`.

use crate::attributes::{Attributes, flag};
use crate::bytes::{LayoutError, get, is_zero, put};
use crate::report::{Report, ReportBody};

/// `KEYNAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum KeyName {
    /// The launch key.
    EinitToken = 0,
    /// The key that names the platform.
    Provision = 1,
    /// A sealing key that outlives an owner of the platform.
    ProvisionSeal = 2,
    /// The key under reports for this enclave.
    Report = 3,
    /// A sealing key.
    Seal = 4,
}

impl KeyName {
    /// The name with this number.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Field`].
    pub fn from_number(number: u16) -> Result<Self, LayoutError> {
        Ok(match number {
            0 => Self::EinitToken,
            1 => Self::Provision,
            2 => Self::ProvisionSeal,
            3 => Self::Report,
            4 => Self::Seal,
            _ => return Err(LayoutError::Field("KEYREQUEST.KEYNAME")),
        })
    }
}

/// Bits of `KEYPOLICY`: what a sealing key depends on.
pub mod policy {
    /// On MRENCLAVE.
    pub const MRENCLAVE: u16 = 1 << 0;
    /// On MRSIGNER.
    pub const MRSIGNER: u16 = 1 << 1;
    /// **Not** on ISVPRODID. With KSS only.
    pub const NO_ISVPRODID: u16 = 1 << 2;
    /// On CONFIGID and CONFIGSVN. With KSS only.
    pub const CONFIGID: u16 = 1 << 3;
    /// On ISVFAMILYID. With KSS only.
    pub const ISVFAMILYID: u16 = 1 << 4;
    /// On ISVEXTPRODID. With KSS only.
    pub const ISVEXTPRODID: u16 = 1 << 5;
    /// Those that an enclave without KSS must not ask for.
    pub const NEED_KSS: u16 = NO_ISVPRODID | CONFIGID | ISVFAMILYID | ISVEXTPRODID;
    /// All that have a meaning.
    pub const KNOWN: u16 = MRENCLAVE | MRSIGNER | NEED_KSS;
}

/// `KEYREQUEST`, 512 bytes, aligned to 512.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRequest {
    /// `KEYNAME`.
    pub name: KeyName,
    /// `KEYPOLICY`: bits of [`policy`].
    pub policy: u16,
    /// `ISVSVN`: not above the enclave's own.
    pub svn: u16,
    /// `CET_ATTRIBUTES_MASK`.
    pub cet_mask: u8,
    /// `CPUSVN`: not above the processor's own.
    pub cpu_svn: [u8; 16],
    /// `ATTRIBUTEMASK`: which attributes the key depends on, besides INIT and DEBUG.
    pub attribute_mask: Attributes,
    /// `KEYID`: one key for each.
    pub key_id: [u8; 32],
    /// `MISCMASK`: which bits of MISCSELECT the key depends on.
    pub misc_mask: u32,
    /// `CONFIGSVN`: not above the enclave's own.
    pub config_svn: u16,
}

impl KeyRequest {
    /// Its length.
    pub const SIZE: usize = 512;

    /// The report key with which the enclave checks a report that was made for it.
    #[must_use]
    pub fn report(report: &Report) -> Self {
        Self {
            name: KeyName::Report,
            policy: 0,
            svn: 0,
            cet_mask: 0,
            cpu_svn: [0; 16],
            attribute_mask: Attributes::default(),
            key_id: report.key_id,
            misc_mask: 0,
            config_svn: 0,
        }
    }

    /// The sealing key of the enclave whose own report this is, at the versions that it runs with now.
    ///
    /// It depends on MRENCLAVE, on the workload (`CONFIGID`) and on every attribute, not on who signed; `key_id`
    /// tells several such keys apart. Who keeps `key_id`, `CPUSVN`, `ISVSVN` and `CONFIGSVN` beside the sealed
    /// bytes can ask for the same key after the processor got a new version: [`KeyRequest::again`].
    ///
    /// # Errors
    ///
    /// [`LayoutError::Field`] if it is no Keep's report ([`Attributes::check_keep`]): such an enclave must not
    /// seal anything.
    pub fn sealing(own: &ReportBody, key_id: [u8; 32]) -> Result<Self, LayoutError> {
        own.attributes.check_keep()?;
        Ok(Self {
            name: KeyName::Seal,
            policy: policy::MRENCLAVE | policy::CONFIGID,
            svn: own.svn,
            // A Keep has no CET, which is among the attributes; elsewhere the byte may be reserved.
            cet_mask: 0,
            cpu_svn: own.cpu_svn,
            attribute_mask: Attributes::ALL,
            key_id,
            misc_mask: !0,
            config_svn: own.config_svn,
        })
    }

    /// The sealing key of earlier versions of processor and enclave, which were kept beside what it sealed.
    ///
    /// Only the versions and the key's identity come from there, for the host keeps them: what the key is bound
    /// to is said here. The processor refuses versions above its own.
    ///
    /// # Errors
    ///
    /// As [`KeyRequest::sealing`].
    pub fn again(own: &ReportBody, kept: &Kept) -> Result<Self, LayoutError> {
        let now = Self::sealing(own, kept.key_id)?;
        Ok(Self { svn: kept.svn, cpu_svn: kept.cpu_svn, config_svn: kept.config_svn, ..now })
    }

    /// What has to be kept beside sealed bytes. It is no secret.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept {
            key_id: self.key_id,
            cpu_svn: self.cpu_svn,
            svn: self.svn,
            config_svn: self.config_svn,
        }
    }

    /// The 512 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<0, 2, 512>(&mut bytes, (self.name as u16).to_le_bytes());
        put::<2, 2, 512>(&mut bytes, self.policy.to_le_bytes());
        put::<4, 2, 512>(&mut bytes, self.svn.to_le_bytes());
        put::<6, 1, 512>(&mut bytes, [self.cet_mask]);
        put::<8, 16, 512>(&mut bytes, self.cpu_svn);
        put::<24, 16, 512>(&mut bytes, self.attribute_mask.to_bytes());
        put::<40, 32, 512>(&mut bytes, self.key_id);
        put::<72, 4, 512>(&mut bytes, self.misc_mask.to_le_bytes());
        put::<76, 2, 512>(&mut bytes, self.config_svn.to_le_bytes());
        bytes
    }

    /// From 512 bytes, as `EGETKEY` reads them.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Reserved`]: a general protection fault there. [`LayoutError::Field`] of the name:
    /// `SGX_INVALID_KEYNAME`.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self, LayoutError> {
        let policy = u16::from_le_bytes(get::<2, 2, 512>(bytes));
        if policy & !policy::KNOWN != 0 || !is_zero(bytes, 7, 8) || !is_zero(bytes, 78, Self::SIZE)
        {
            return Err(LayoutError::Reserved("KEYREQUEST"));
        }
        let [cet_mask] = get::<6, 1, 512>(bytes);
        Ok(Self {
            name: KeyName::from_number(u16::from_le_bytes(get::<0, 2, 512>(bytes)))?,
            policy,
            svn: u16::from_le_bytes(get::<4, 2, 512>(bytes)),
            cet_mask,
            cpu_svn: get::<8, 16, 512>(bytes),
            attribute_mask: Attributes::from_bytes(get::<24, 16, 512>(bytes)),
            key_id: get::<40, 32, 512>(bytes),
            misc_mask: u32::from_le_bytes(get::<72, 4, 512>(bytes)),
            config_svn: u16::from_le_bytes(get::<76, 2, 512>(bytes)),
        })
    }

    /// Whether an enclave with these flags may ask so: without KSS, the new bits of the policy and a
    /// `CONFIGSVN` are a general protection fault.
    #[must_use]
    pub fn fits(&self, flags: u64) -> bool {
        flags & flag::KSS != 0 || (self.policy & policy::NEED_KSS == 0 && self.config_svn == 0)
    }
}

/// What is kept beside sealed bytes, so that the same key can be had again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// `KEYID`.
    pub key_id: [u8; 32],
    /// `CPUSVN`.
    pub cpu_svn: [u8; 16],
    /// `ISVSVN`.
    pub svn: u16,
    /// `CONFIGSVN`.
    pub config_svn: u16,
}

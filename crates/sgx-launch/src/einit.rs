// SPDX-License-Identifier: Apache-2.0

//! What `EINIT` does: holds an enclave against the signature that it is launched with (SDM, `EINIT`).
//!
//! In the processor's order, with the processor's errors, for a stand-in to play it and for a host to know
//! before. Launch tokens are left out: Linux runs on processors with flexible launch control alone, where the
//! signer's hash in the launch control registers takes their place.

use launch_keys::Sigstruct;
use sgx_guest::attributes::{Attributes, flag};
use sgx_guest::enclu::ErrorCode;
use sgx_guest::report::ReportBody;

use crate::secs::Secs;

/// Who an initialised enclave is: what its reports say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The control structure.
    pub secs: Secs,
    /// `MRENCLAVE`.
    pub measurement: [u8; 32],
    /// `MRSIGNER`.
    pub signer: [u8; 32],
    /// `ISVPRODID`.
    pub product: u16,
    /// `ISVSVN`.
    pub svn: u16,
    /// `ISVFAMILYID`.
    pub family: [u8; 16],
    /// `ISVEXTPRODID`.
    pub ext_product: [u8; 16],
}

/// Initialises an enclave.
///
/// `measurement` is the `MRENCLAVE` of what was loaded. `allowed` is the signer in the launch control registers
/// (`IA32_SGXLEPUBKEYHASH`); Linux puts each enclave's own signer there, so `None` stands for that.
///
/// # Errors
///
/// What the processor would answer. Beyond the processor's own rules, a debug enclave gets this far: policy
/// is [`crate::sign`]'s.
pub fn einit(
    secs: &Secs,
    measurement: &[u8; 32],
    signature: &Sigstruct,
    allowed: Option<&[u8; 32]>,
) -> Result<Identity, ErrorCode> {
    if !signature.is_well_formed() {
        return Err(ErrorCode::InvalidSigStruct);
    }
    signature.verify().map_err(|_| ErrorCode::InvalidSignature)?;
    let signed = signature.enclave();
    if signed.family != [0; 16] && secs.attributes.flags & flag::KSS == 0 {
        return Err(ErrorCode::InvalidSigStruct);
    }
    if signed.measurement != *measurement {
        return Err(ErrorCode::InvalidMeasurement);
    }
    let signer = signature.mrsigner();
    let may = allowed.is_none_or(|allowed| *allowed == signer);
    if secs.attributes.flags & flag::EINITTOKEN_KEY != 0 && !may {
        return Err(ErrorCode::InvalidAttribute);
    }
    let (attributes, mask) = signed.attributes;
    let (attributes, mask) = (Attributes::from_bytes(attributes), Attributes::from_bytes(mask));
    if secs.attributes.and(mask) != attributes.and(mask) {
        return Err(ErrorCode::InvalidAttribute);
    }
    let (misc, misc_mask) = signed.misc;
    if secs.misc_select & misc_mask != misc & misc_mask {
        return Err(ErrorCode::InvalidAttribute);
    }
    // The enclave's CET_ATTRIBUTES are zero.
    let (cet, cet_mask) = signed.cet;
    if cet & cet_mask != 0 {
        return Err(ErrorCode::InvalidAttribute);
    }
    if !may {
        return Err(ErrorCode::InvalidEinitToken);
    }
    Ok(Identity {
        secs: *secs,
        measurement: *measurement,
        signer,
        product: signed.product,
        svn: signed.version,
        family: signed.family,
        ext_product: signed.ext_product,
    })
}

impl Identity {
    /// What a report of this enclave says.
    #[must_use]
    pub fn report(&self, cpu_svn: [u8; 16], data: [u8; 64]) -> ReportBody {
        let Attributes { flags, xfrm } = self.secs.attributes;
        ReportBody {
            cpu_svn,
            misc_select: self.secs.misc_select,
            cet: 0,
            ext_product: self.ext_product,
            attributes: Attributes { flags: flags | flag::INIT, xfrm },
            measurement: self.measurement,
            signer: self.signer,
            config_id: self.secs.config_id,
            product: self.product,
            svn: self.svn,
            config_svn: self.secs.config_svn,
            family: self.family,
            data,
        }
    }
}

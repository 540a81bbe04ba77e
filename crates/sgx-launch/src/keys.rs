// SPDX-License-Identifier: Apache-2.0

//! What keys and reports of an enclave depend on (SDM, `EGETKEY`, `EREPORT`), for who plays the processor.
//!
//! A processor derives each key from a secret of its own and from a list of dependencies. The secret is not
//! ours; the list, and who may ask for what, is the rule that makes sealing and local attestation what they
//! are. [`egetkey`] and [`ereport`] follow it up to the derivation, which a stand-in brings.
//!
//! Two things are told from the bytes of a `CPUSVN` here that a processor alone can tell: it is taken as sixteen
//! versions of which none may be above the platform's. The padding of the enclave's signature, another
//! dependency, is the same for all signatures that verify.

use sgx_guest::LayoutError;
use sgx_guest::attributes::{Attributes, flag};
use sgx_guest::enclu::ErrorCode;
use sgx_guest::key::{KeyName, KeyRequest, policy};
use sgx_guest::report::{Report, TargetInfo};

use crate::einit::Identity;
use crate::epcm::Refused;

/// Attributes that every sealing key depends on, whatever the mask says.
const REQUIRED: u64 = flag::INIT | flag::DEBUG;

/// What a key depends on besides the processor's own secret.
///
/// [`Dependencies::to_bytes`] is an encoding of this crate's: a processor's own is not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependencies {
    /// `KEYNAME`.
    pub name: KeyName,
    /// `KEYPOLICY`.
    pub policy: u16,
    /// `ISVFAMILYID`, or zeros.
    pub family: [u8; 16],
    /// `ISVEXTPRODID`, or zeros.
    pub ext_product: [u8; 16],
    /// `ISVPRODID`, or zero.
    pub product: u16,
    /// `ISVSVN`.
    pub svn: u16,
    /// `ATTRIBUTES` under the mask.
    pub attributes: Attributes,
    /// `ATTRIBUTEMASK`.
    pub attribute_mask: Attributes,
    /// `MRENCLAVE`, or zeros.
    pub measurement: [u8; 32],
    /// `MRSIGNER`, or zeros.
    pub signer: [u8; 32],
    /// `KEYID`.
    pub key_id: [u8; 32],
    /// `CPUSVN`.
    pub cpu_svn: [u8; 16],
    /// `MISCSELECT` under the mask.
    pub misc_select: u32,
    /// `MISCMASK`.
    pub misc_mask: u32,
    /// `CONFIGID`, or zeros.
    pub config_id: [u8; 64],
    /// `CONFIGSVN`, or zero.
    pub config_svn: u16,
}

impl Dependencies {
    /// All fields, one after the other; each has a fixed length, so two lists have the same bytes only if they
    /// are the same.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [
            &(self.name as u16).to_le_bytes()[..],
            &self.policy.to_le_bytes(),
            &self.family,
            &self.ext_product,
            &self.product.to_le_bytes(),
            &self.svn.to_le_bytes(),
            &self.attributes.to_bytes(),
            &self.attribute_mask.to_bytes(),
            &self.measurement,
            &self.signer,
            &self.key_id,
            &self.cpu_svn,
            &self.misc_select.to_le_bytes(),
            &self.misc_mask.to_le_bytes(),
            &self.config_id,
            &self.config_svn.to_le_bytes(),
        ]
        .concat()
    }

    /// The report key of an enclave.
    fn report(target: &TargetInfo, key_id: [u8; 32], cpu_svn: [u8; 16]) -> Self {
        Self {
            name: KeyName::Report,
            policy: 0,
            family: [0; 16],
            ext_product: [0; 16],
            product: 0,
            svn: 0,
            attributes: target.attributes,
            attribute_mask: Attributes::default(),
            measurement: target.measurement,
            signer: [0; 32],
            key_id,
            cpu_svn,
            misc_select: target.misc_select,
            misc_mask: 0,
            config_id: target.config_id,
            config_svn: target.config_svn,
        }
    }
}

/// `EGETKEY`: what the key depends on that an enclave asks for with these 512 bytes.
///
/// Sealing and report keys alone; provisioning and launch keys are for Intel's enclaves.
///
/// # Errors
///
/// [`Refused::Protection`]: reserved bits, or KSS without having it. [`ErrorCode::InvalidKeyName`],
/// [`ErrorCode::InvalidCpuSvn`], [`ErrorCode::InvalidIsvSvn`]; [`ErrorCode::InvalidAttribute`] for a key that is
/// not for this enclave.
pub fn egetkey(
    identity: &Identity,
    cpu_svn: [u8; 16],
    request: &[u8; KeyRequest::SIZE],
) -> Result<Dependencies, Refused> {
    let request = KeyRequest::from_bytes(request).map_err(|error| match error {
        LayoutError::Field(_) => Refused::Error(ErrorCode::InvalidKeyName),
        _ => Refused::Protection,
    })?;
    let own = identity.report(cpu_svn, [0; 64]);
    if !request.fits(own.attributes.flags) {
        return Err(Refused::Protection);
    }
    match request.name {
        KeyName::Report => {
            return Ok(Dependencies::report(&TargetInfo::of(&own), request.key_id, cpu_svn));
        }
        KeyName::Seal => {}
        KeyName::EinitToken | KeyName::Provision | KeyName::ProvisionSeal => {
            return Err(ErrorCode::InvalidAttribute.into());
        }
    }
    if request.cpu_svn.iter().zip(&cpu_svn).any(|(asked, has)| asked > has) {
        return Err(ErrorCode::InvalidCpuSvn.into());
    }
    if request.svn > own.svn || request.config_svn > own.config_svn {
        return Err(ErrorCode::InvalidIsvSvn.into());
    }
    let on = |bit: u16| request.policy & bit != 0;
    let mask = request.attribute_mask;
    let effective = Attributes { flags: mask.flags | REQUIRED, ..mask };
    let configured = on(policy::CONFIGID);
    Ok(Dependencies {
        name: KeyName::Seal,
        policy: request.policy,
        family: if on(policy::ISVFAMILYID) { own.family } else { [0; 16] },
        ext_product: if on(policy::ISVEXTPRODID) { own.ext_product } else { [0; 16] },
        product: if on(policy::NO_ISVPRODID) { 0 } else { own.product },
        svn: request.svn,
        attributes: own.attributes.and(effective),
        attribute_mask: mask,
        measurement: if on(policy::MRENCLAVE) { own.measurement } else { [0; 32] },
        signer: if on(policy::MRSIGNER) { own.signer } else { [0; 32] },
        key_id: request.key_id,
        cpu_svn: request.cpu_svn,
        misc_select: own.misc_select & request.misc_mask,
        misc_mask: request.misc_mask,
        config_id: if configured { own.config_id } else { [0; 64] },
        config_svn: if configured { request.config_svn } else { 0 },
    })
}

/// `EREPORT`: a report of one enclave for another, under the key that only that one gets.
///
/// `key_id` is the platform's, new at each start of it; `derive` is its secret at work.
pub fn ereport(
    identity: &Identity,
    cpu_svn: [u8; 16],
    target: &TargetInfo,
    data: [u8; 64],
    key_id: [u8; 32],
    derive: impl FnOnce(&Dependencies) -> [u8; 16],
) -> Report {
    let key = derive(&Dependencies::report(target, key_id, cpu_svn));
    Report::new(identity.report(cpu_svn, data), key_id, &key)
}

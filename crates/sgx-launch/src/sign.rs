// SPDX-License-Identifier: Apache-2.0

//! What a signature over a Keep covers, and whether one does.
//!
//! The processor lets a signer leave things open: attributes that the mask does not cover are the host's to
//! choose, `DEBUG` first of all. A Keep's signature covers every bit. [`check`] refuses, before a launch, what
//! a processor would refuse, and also what it would not: a signature that leaves something open, and a debug
//! enclave.

use launch_keys::{Enclave, Sigstruct};
use sgx_guest::attributes::Attributes;
use sgx_guest::enclu::ErrorCode;

use crate::einit::{Identity, einit};
use crate::plan::Plan;

/// What the signer of a Keep says of it, besides what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// The day, of [`launch_keys::sigstruct_date`].
    pub date: u32,
    /// `ISVPRODID`.
    pub product: u16,
    /// `ISVSVN`: goes up when an older Keep must no longer be trusted.
    pub svn: u16,
    /// `ISVFAMILYID`.
    pub family: [u8; 16],
    /// `ISVEXTPRODID`.
    pub ext_product: [u8; 16],
}

/// Why a Keep is not launched with a signature, or not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The enclave's own attributes, or content that is not measured.
    #[error("the enclave is not a Keep's: it could be under debug, or not all of it is measured")]
    NotAKeep,
    /// The signature would also launch something else.
    #[error("the signature leaves attributes open, the debug bit perhaps among them")]
    Open,
    /// The signature is over an enclave under debug.
    #[error("the signature is over an enclave under debug")]
    Debug,
    /// Signed as Intel's own.
    #[error("the signature says that the enclave is Intel's own")]
    Vendor,
    /// `DATE` is no day.
    #[error("the signature has no date")]
    Date,
    /// Headers or reserved bytes, or family without KSS.
    #[error("the SIGSTRUCT is not one")]
    Malformed,
    /// It is not by the key in it.
    #[error("the signature does not verify")]
    Signature,
    /// Over another enclave.
    #[error("the signature is over another enclave")]
    Measurement,
    /// Over an enclave with other attributes.
    #[error("the signature is over an enclave with other attributes")]
    Attributes,
    /// The processor would refuse for another reason.
    #[error("the processor would refuse the signature ({0:?})")]
    Processor(ErrorCode),
}

impl SignError {
    /// A stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAKeep => "sgx.not-a-keep",
            Self::Open => "sgx.signature-open",
            Self::Debug => "sgx.debug",
            Self::Vendor => "sgx.vendor",
            Self::Date => "sgx.date",
            Self::Malformed => "sgx.sigstruct",
            Self::Signature => "sgx.signature",
            Self::Measurement => "sgx.measurement",
            Self::Attributes => "sgx.attributes",
            Self::Processor(_) => "sgx.processor",
        }
    }
}

/// What is to be signed of a Keep.
///
/// # Errors
///
/// [`SignError::NotAKeep`], [`SignError::Date`].
pub fn describe(plan: &Plan<'_>, terms: &Terms) -> Result<Enclave, SignError> {
    if !plan.is_keep() {
        return Err(SignError::NotAKeep);
    }
    if !is_date(terms.date) {
        return Err(SignError::Date);
    }
    Ok(Enclave {
        measurement: plan.measure(),
        date: terms.date,
        software: 0,
        misc: (plan.secs().misc_select, !0),
        cet: (0, !0),
        attributes: (plan.secs().attributes.to_bytes(), Attributes::ALL.to_bytes()),
        product: terms.product,
        version: terms.svn,
        family: terms.family,
        ext_product: terms.ext_product,
    })
}

/// Whether a Keep may be launched with a signature; who it would be.
///
/// Whose key may sign is for the caller, who finds it in [`Identity::signer`].
///
/// # Errors
///
/// The first thing that is wrong.
pub fn check(plan: &Plan<'_>, signature: &Sigstruct) -> Result<Identity, SignError> {
    if !plan.is_keep() {
        return Err(SignError::NotAKeep);
    }
    let signed = signature.enclave();
    let (attributes, mask) = signed.attributes;
    if Attributes::from_bytes(attributes).is_debug() {
        return Err(SignError::Debug);
    }
    if Attributes::from_bytes(mask) != Attributes::ALL || signed.misc.1 != !0 {
        return Err(SignError::Open);
    }
    if signature.vendor() != 0 {
        return Err(SignError::Vendor);
    }
    if !is_date(signed.date) {
        return Err(SignError::Date);
    }
    einit(plan.secs(), &plan.measure(), signature, None).map_err(|code| match code {
        ErrorCode::InvalidSigStruct => SignError::Malformed,
        ErrorCode::InvalidSignature => SignError::Signature,
        ErrorCode::InvalidMeasurement => SignError::Measurement,
        ErrorCode::InvalidAttribute => SignError::Attributes,
        other => SignError::Processor(other),
    })
}

/// Whether binary-coded decimals are a day.
fn is_date(date: u32) -> bool {
    let [day, month, low, high] = date.to_le_bytes();
    let decimal = |bcd: u8| bcd >> 4 << 1 | bcd >> 4 << 3;
    let number = |bcd: u8| decimal(bcd).saturating_add(bcd & 0xf);
    let year = u16::from(number(high)) * 100 + u16::from(number(low));
    launch_keys::sigstruct_date(year, number(month), number(day)) == Some(date)
}

// SPDX-License-Identifier: Apache-2.0

//! Intel's certificates: which may issue which, and that each keeps to its role.
//!
//! There are only two shapes: root, PCK authority, PCK certificate; and root, signing certificate. So
//! there is no path building. Each certificate is held against the one above it, and the topmost against
//! the pinned root, which is never taken from what a peer sends.

use std::borrow::Cow;

use evidence_crypto::Crypto;
use evidence_pki::{Certificate, Crl, PkiError, PublicKey, certificates, oid};

use crate::refusal::{List, Part};
use crate::vendor::Vendor;
use crate::{DcapRefusal, Time};

/// Reads a chain whose lowest part is `part`, and which has `length` certificates below the root. The
/// root itself may be at its end; it must be the pinned one then, by name and key.
///
/// # Errors
///
/// [`DcapRefusal::Certificate`], [`DcapRefusal::ChainLength`], [`DcapRefusal::Root`].
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    part: Part,
    length: usize,
    root: &Certificate<'_>,
) -> Result<Vec<Cow<'a, [u8]>>, DcapRefusal> {
    let mut list =
        certificates(bytes).map_err(|problem| DcapRefusal::Certificate(part, problem))?;
    if list.len() == length + 1 {
        let last = list.pop().unwrap_or_default();
        let last = parse(&last, Part::Root)?;
        if last.subject != root.subject || last.spki != root.spki {
            return Err(DcapRefusal::Root(part));
        }
    }
    if list.len() != length {
        return Err(DcapRefusal::ChainLength(part, list.len()));
    }
    Ok(list)
}

/// Reads a certificate.
///
/// # Errors
///
/// [`DcapRefusal::Certificate`].
pub(crate) fn parse(raw: &[u8], part: Part) -> Result<Certificate<'_>, DcapRefusal> {
    Certificate::parse(raw).map_err(|problem| DcapRefusal::Certificate(part, problem))
}

/// A point on P-256, if that is the certificate's key.
pub(crate) fn p256<'a>(certificate: &Certificate<'a>, part: Part) -> Result<&'a [u8], DcapRefusal> {
    match certificate.key {
        PublicKey::P256(point) => Ok(point),
        _ => Err(DcapRefusal::Certificate(part, PkiError::UnsupportedAlgorithm("public key"))),
    }
}

/// Checks a certificate by itself: its name, its role, critical extensions.
///
/// # Errors
///
/// [`DcapRefusal::CertificateName`], [`DcapRefusal::CertificateRole`], [`DcapRefusal::Certificate`].
pub(crate) fn check_role(
    certificate: &Certificate<'_>,
    part: Part,
    vendor: &Vendor,
) -> Result<(), DcapRefusal> {
    let unreadable = |problem| DcapRefusal::Certificate(part, problem);
    let role = |what| Err(DcapRefusal::CertificateRole(part, what));
    certificate.check_critical(&[oid::BASIC_CONSTRAINTS, oid::KEY_USAGE]).map_err(unreadable)?;
    let constraints = certificate.basic_constraints().map_err(unreadable)?;
    let is_authority = constraints.is_some_and(|constraints| constraints.authority);
    let Some(usage) = certificate.key_usage().map_err(unreadable)? else {
        return role("it does not say what its key is for");
    };
    match part {
        Part::Root | Part::PckAuthority => {
            if !is_authority {
                return role("it is no authority");
            }
            if !usage.may_sign_certificates() || !usage.may_sign_crls() {
                return role("it may not sign certificates and revocation lists");
            }
            // Below the root is one authority, and below that none.
            let below = if part == Part::Root { 1 } else { 0 };
            let allowed = constraints.and_then(|constraints| constraints.path_length);
            if allowed.is_some_and(|allowed| allowed < below) {
                return role("it may not have that many authorities below it");
            }
        }
        Part::Pck | Part::TcbSigner | Part::QeIdentitySigner => {
            if is_authority || usage.may_sign_certificates() {
                return role("it is an authority");
            }
            if !usage.may_sign() {
                return role("it may not sign");
            }
        }
    }
    let names: &[&str] = match part {
        Part::Root => return Ok(()),
        Part::PckAuthority => &[vendor.platform_authority, vendor.processor_authority],
        Part::Pck => &[vendor.pck],
        Part::TcbSigner | Part::QeIdentitySigner => &[vendor.signer],
    };
    match certificate.common_name() {
        Some(name) if names.contains(&name) => Ok(()),
        _ => Err(DcapRefusal::CertificateName(part)),
    }
}

/// Whether a certificate is valid at that time.
///
/// # Errors
///
/// [`DcapRefusal::CertificateExpired`], [`DcapRefusal::CertificateNotYetValid`].
pub(crate) fn check_time(
    certificate: &Certificate<'_>,
    part: Part,
    now: Time,
) -> Result<(), DcapRefusal> {
    certificate.check_time(now).map_err(|problem| of_certificate(part, problem))
}

/// Whether `issuer` issued a certificate.
///
/// # Errors
///
/// [`DcapRefusal::CertificateIssuer`], [`DcapRefusal::CertificateRole`],
/// [`DcapRefusal::CertificateSignature`].
pub(crate) fn check_issued(
    crypto: &dyn Crypto,
    certificate: &Certificate<'_>,
    part: Part,
    issuer: &Certificate<'_>,
) -> Result<(), DcapRefusal> {
    certificate.check_issued_by(crypto, issuer).map_err(|problem| of_certificate(part, problem))
}

/// Whether `issuer` issued a list, and it is the list for that time.
///
/// # Errors
///
/// [`DcapRefusal::CrlExpired`], [`DcapRefusal::CrlNotYetValid`], [`DcapRefusal::CrlSignature`].
pub(crate) fn check_list(
    crypto: &dyn Crypto,
    list: &Crl<'_>,
    which: List,
    issuer: &Certificate<'_>,
    now: Time,
) -> Result<(), DcapRefusal> {
    list.check_time(now).and_then(|()| list.check_issued_by(crypto, issuer)).map_err(|problem| {
        match problem {
            PkiError::Expired(at) => DcapRefusal::CrlExpired(which, at),
            PkiError::NotYetValid(at) => DcapRefusal::CrlNotYetValid(which, at),
            PkiError::BadSignature | PkiError::UnsupportedAlgorithm(_) => {
                DcapRefusal::CrlSignature(which)
            }
            PkiError::WrongIssuer | PkiError::NotAnAuthority => DcapRefusal::CrlIssuer(which),
            other => DcapRefusal::Crl(other),
        }
    })
}

fn of_certificate(part: Part, problem: PkiError) -> DcapRefusal {
    match problem {
        PkiError::Expired(at) => DcapRefusal::CertificateExpired(part, at),
        PkiError::NotYetValid(at) => DcapRefusal::CertificateNotYetValid(part, at),
        PkiError::WrongIssuer => DcapRefusal::CertificateIssuer(part),
        PkiError::NotAnAuthority => {
            DcapRefusal::CertificateRole(part, "its issuer is no authority")
        }
        PkiError::BadSignature | PkiError::UnsupportedAlgorithm(_) => {
            DcapRefusal::CertificateSignature(part)
        }
        other => DcapRefusal::Certificate(part, other),
    }
}

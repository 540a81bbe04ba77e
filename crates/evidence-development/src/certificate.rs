// SPDX-License-Identifier: Apache-2.0

//! Certificates and revocation lists that a development root and the authorities below it sign
//! (RFC 5280).

use aws_lc_rs::digest;
use aws_lc_rs::rand;
use evidence_pki::{PublicKey, Signer, Time, encode, oid, tag};

use crate::{DevelopmentError, Key};

/// Bits of `keyUsage` (RFC 5280, 4.2.1.3), as its first octet.
pub(crate) mod usage {
    /// `digitalSignature` and `nonRepudiation`.
    pub(crate) const SIGN: u8 = 0xc0;
    /// `keyCertSign`.
    pub(crate) const CERTIFICATES: u8 = 0x04;
    /// `keyCertSign` and `cRLSign`.
    pub(crate) const CERTIFICATES_AND_LISTS: u8 = 0x06;
}

/// What a certificate is made of.
pub(crate) struct CertificateParts<'a> {
    pub(crate) serial: &'a [u8],
    /// Common name.
    pub(crate) issuer: &'a str,
    /// Common name.
    pub(crate) subject: &'a str,
    pub(crate) validity: (Time, Time),
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: &'a [Vec<u8>],
    pub(crate) issuer_key: &'a Key,
}

/// A certificate of version 3 (RFC 5280, 4.1), signed.
pub(crate) fn certificate(parts: &CertificateParts<'_>) -> Result<Vec<u8>, DevelopmentError> {
    let signed = encode::sequence(&[
        &encode::element(tag::context_constructed(0), &[&encode::integer(&[2])]),
        &encode::integer(parts.serial),
        &parts.issuer_key.algorithm().identifier(),
        &name(parts.issuer),
        &encode::sequence(&[&parts.validity.0.to_der(), &parts.validity.1.to_der()]),
        &name(parts.subject),
        parts.spki,
        &encode::element(tag::context_constructed(3), &[&encode::sequence_of(parts.extensions)]),
    ]);
    Ok(parts.issuer_key.seal(&signed)?)
}

/// A revocation list of version 2 (RFC 5280, 5.1) that names nobody, signed.
pub(crate) fn empty_list(
    issuer: &str,
    key: &Key,
    (this_update, next_update): (Time, Time),
) -> Result<Vec<u8>, DevelopmentError> {
    let extensions = encode::sequence(&[
        &encode::extension(oid::CRL_NUMBER, false, &encode::integer(&[1])),
        &authority_key_id(key),
    ]);
    let signed = encode::sequence(&[
        &encode::integer(&[1]),
        &key.algorithm().identifier(),
        &name(issuer),
        &this_update.to_der(),
        &next_update.to_der(),
        &encode::element(tag::context_constructed(0), &[&extensions]),
    ]);
    Ok(key.seal(&signed)?)
}

/// `basicConstraints` of who is an authority, critical; with the number of authorities below it if that is
/// bounded.
pub(crate) fn authority(path_length: Option<u8>) -> Vec<u8> {
    let length = path_length.map(|length| encode::integer(&[length])).unwrap_or_default();
    let value = encode::sequence(&[&encode::boolean(true), &length]);
    encode::extension(oid::BASIC_CONSTRAINTS, true, &value)
}

/// `basicConstraints` of who is none, critical.
pub(crate) fn no_authority() -> Vec<u8> {
    encode::extension(oid::BASIC_CONSTRAINTS, true, &encode::sequence(&[]))
}

/// `keyUsage` with these bits, see [`usage`], critical.
pub(crate) fn key_usage(bits: u8) -> Vec<u8> {
    let unused = u8::try_from(bits.trailing_zeros().min(7)).unwrap_or(0);
    let value = encode::element(tag::BIT_STRING, &[&[unused, bits]]);
    encode::extension(oid::KEY_USAGE, true, &value)
}

/// `subjectKeyIdentifier`.
pub(crate) fn subject_key_id(key: &Key) -> Vec<u8> {
    encode::extension(oid::SUBJECT_KEY_ID, false, &encode::octets(&key_identifier(key)))
}

/// `authorityKeyIdentifier`: whose key signed.
pub(crate) fn authority_key_id(key: &Key) -> Vec<u8> {
    let identifier = encode::element(tag::context(0), &[&key_identifier(key)]);
    encode::extension(oid::AUTHORITY_KEY_ID, false, &encode::sequence(&[&identifier]))
}

/// 126 random bits after `01`, so that all serial numbers are of the same length.
pub(crate) fn random_serial() -> Result<[u8; 16], DevelopmentError> {
    let mut serial: [u8; 16] = random()?;
    let [first, ..] = &mut serial;
    *first = (*first & 0x3f) | 0x40;
    Ok(serial)
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], DevelopmentError> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| DevelopmentError::Library("make a random number"))?;
    Ok(bytes)
}

/// Key identifier: SHA-256 of the public key, cut to 20 bytes (RFC 7093, 2, method 1).
fn key_identifier(key: &Key) -> Vec<u8> {
    let spki = key.spki();
    let bits = match PublicKey::from_spki(&spki) {
        Ok(PublicKey::P256(bits) | PublicKey::P384(bits)) => bits,
        _ => &[],
    };
    digest::digest(&digest::SHA256, bits).as_ref().iter().take(20).copied().collect()
}

fn name(common_name: &str) -> Vec<u8> {
    encode::name(&[(oid::COMMON_NAME, common_name)])
}

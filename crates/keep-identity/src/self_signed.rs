// SPDX-License-Identifier: Apache-2.0

//! A certificate for where there is no Steward. It says who signed it, the Keep itself, and so proves nothing.

use std::net::IpAddr;
use std::sync::Arc;

use evidence_crypto::{Crypto as _, Graviola};
use evidence_pki::encode::{self, extension};
use evidence_pki::{Signer as _, Time, oid, tag};

use crate::{Identity, IdentityError, Key};

/// For how many seconds such a certificate is valid: 30 days.
pub const SELF_SIGNED_LIFETIME: u64 = 30 * 24 * 60 * 60;
/// Its validity begins so many seconds early, for clients whose clocks are late.
const EARLY: u64 = 60 * 60;

/// A certificate for `key`, signed by it, with these names in the DNS and addresses.
///
/// # Errors
///
/// [`IdentityError::Sign`].
pub fn self_signed(
    key: Arc<Key>,
    names: &[String],
    addresses: &[IpAddr],
    now: Time,
) -> Result<Identity, IdentityError> {
    let (not_before, not_after) = (now.minus(EARLY), now.plus(SELF_SIGNED_LIFETIME));
    // No two of one key are made in the same second, so key and time give a number of its own.
    let hash = Graviola.sha256(&[key.spki(), &now.unix().to_be_bytes()]);
    let mut serial = [0; 16];
    serial.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    serial[0] = serial[0] & 0x7f | 0x40;

    let name = encode::name(&[(oid::COMMON_NAME, "Enarx Keep (self-signed)")]);
    let algorithm = key.algorithm().identifier();
    let tbs = encode::sequence(&[
        &encode::element(tag::context_constructed(0), &[&encode::integer(&[2])]),
        &encode::integer(&serial),
        &algorithm,
        &name,
        &encode::sequence(&[&not_before.to_der(), &not_after.to_der()]),
        &name,
        key.spki(),
        &encode::element(tag::context_constructed(3), &[&extensions(names, addresses)]),
    ]);
    let leaf = key.seal(&tbs).map_err(|_| IdentityError::Sign)?;
    Ok(Identity::new(vec![leaf], key, not_before, not_after, None))
}

fn extensions(names: &[String], addresses: &[IpAddr]) -> Vec<u8> {
    let usage = encode::sequence(&[&encode::oid(oid::SERVER_AUTH), &encode::oid(oid::CLIENT_AUTH)]);
    let mut list = vec![
        // `cA` is false by default and thus absent in DER.
        extension(oid::BASIC_CONSTRAINTS, true, &encode::sequence(&[])),
        // The first bit: digitalSignature (0).
        extension(oid::KEY_USAGE, true, &[tag::BIT_STRING, 2, 7, 0x80]),
        extension(oid::EXT_KEY_USAGE, false, &usage),
    ];
    // dNSName is [2] and iPAddress [7] (RFC 5280, 4.2.1.6).
    let names = names.iter().map(|name| encode::element(tag::context(2), &[name.as_bytes()]));
    let addresses = addresses.iter().map(|address| match address {
        IpAddr::V4(address) => encode::element(tag::context(7), &[&address.octets()]),
        IpAddr::V6(address) => encode::element(tag::context(7), &[&address.octets()]),
    });
    let all: Vec<Vec<u8>> = names.chain(addresses).collect();
    // A sequence of names must not be empty.
    if !all.is_empty() {
        list.push(extension(oid::SUBJECT_ALT_NAME, false, &encode::sequence_of(&all)));
    }
    encode::sequence_of(&list)
}

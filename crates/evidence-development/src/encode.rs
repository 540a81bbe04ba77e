// SPDX-License-Identifier: Apache-2.0

//! Writes DER (X.690): as much of it as development evidence takes.

use evidence_pki::{ObjectIdentifier, tag};

/// An element with that identifier octet whose contents are the concatenation of `parts`.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length.saturating_add(6));
    out.push(tag);
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let octets = octets.iter().skip_while(|octet| **octet == 0);
            out.push(0x80 | u8::try_from(octets.clone().count()).unwrap_or(0));
            out.extend(octets);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A `SEQUENCE` of these elements.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, parts)
}

/// An `OCTET STRING`.
pub(crate) fn octets(value: &[u8]) -> Vec<u8> {
    element(tag::OCTET_STRING, &[value])
}

/// A `BIT STRING` of whole octets.
pub(crate) fn bits(value: &[u8]) -> Vec<u8> {
    element(tag::BIT_STRING, &[&[0], value])
}

/// A `UTF8String`.
pub(crate) fn text(value: &str) -> Vec<u8> {
    element(tag::UTF8_STRING, &[value.as_bytes()])
}

/// An `OBJECT IDENTIFIER`.
pub(crate) fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    element(tag::OID, &[oid.as_bytes()])
}

/// An `INTEGER` from 0 up, of these octets (big-endian).
pub(crate) fn integer(octets: &[u8]) -> Vec<u8> {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    match octets.get(zeros..).unwrap_or_default() {
        [] => element(tag::INTEGER, &[&[0]]),
        octets @ [0x80..=0xff, ..] => element(tag::INTEGER, &[&[0], octets]),
        octets => element(tag::INTEGER, &[octets]),
    }
}

/// An `Extension` (RFC 5280, 4.1).
pub(crate) fn extension(kind: ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { element(tag::BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    sequence(&[&oid(kind), &critical, &octets(value)])
}

/// A `Name` of one common name.
pub(crate) fn name(common_name: &str) -> Vec<u8> {
    let pair = sequence(&[&oid(evidence_pki::oid::COMMON_NAME), &text(common_name)]);
    sequence(&[&element(tag::SET, &[&pair])])
}

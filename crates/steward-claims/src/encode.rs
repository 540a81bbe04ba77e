// SPDX-License-Identifier: Apache-2.0

//! The few forms of DER that claims are made of (X.690, clauses 8 and 10).

use evidence_pki::{Time, tag};

/// One element.
pub(crate) fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(value.len()) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let length = value.len().to_be_bytes();
            let octets = without_leading_zeros(&length);
            out.push(0x80 | octets.len() as u8);
            out.extend_from_slice(octets);
        }
    }
    out.extend_from_slice(value);
    out
}

/// An element that is made of others.
pub(crate) fn constructed(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    element(tag, &parts.concat())
}

/// An INTEGER, or what has its contents under another tag.
pub(crate) fn unsigned(tag: u8, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let mut octets = without_leading_zeros(&bytes).to_vec();
    // The first bit is the sign; 0 takes one octet.
    if octets.first().is_none_or(|first| *first >= 0x80) {
        octets.insert(0, 0);
    }
    element(tag, &octets)
}

/// A BOOLEAN.
pub(crate) fn boolean(value: bool) -> Vec<u8> {
    element(tag::BOOLEAN, &[if value { 0xff } else { 0 }])
}

/// A `GeneralizedTime` whatever the year is: `Validity` alone changes its form in 2050.
pub(crate) fn generalized_time(time: Time) -> Vec<u8> {
    let digits: Vec<u8> = time.to_string().bytes().filter(u8::is_ascii_digit).collect();
    element(tag::GENERALIZED_TIME, &[&digits, b"Z".as_slice()].concat())
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

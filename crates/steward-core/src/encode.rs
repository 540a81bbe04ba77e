// SPDX-License-Identifier: Apache-2.0

//! Writes DER (X.690): as much of it as certificates take.
//!
//! What is written here is put together from parts that are DER already, some of them bytes of other
//! certificates that have to stay as they are. Concatenating is all that this takes.

use evidence_pki::{ObjectIdentifier, tag};

/// An element with that identifier octet whose contents are the concatenation of `parts`.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap_or(0));
    } else {
        let octets = length.to_be_bytes();
        let zeros = octets.iter().take_while(|octet| **octet == 0).count();
        let octets = octets.get(zeros..).unwrap_or_default();
        out.push(0x80 | u8::try_from(octets.len()).unwrap_or(0));
        out.extend_from_slice(octets);
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

/// A `SEQUENCE` of these elements.
pub(crate) fn sequence_of<T: AsRef<[u8]>>(items: &[T]) -> Vec<u8> {
    let parts: Vec<&[u8]> = items.iter().map(AsRef::as_ref).collect();
    sequence(&parts)
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

#[cfg(test)]
mod tests {
    use evidence_pki::Cursor;

    use super::*;

    #[test]
    fn what_is_written_reads_back_at_each_size() {
        for size in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0x12_3456] {
            let value = vec![0x5a; size];
            let der = octets(&value);
            let mut cursor = Cursor::new(&der, "test");
            assert_eq!(cursor.expect(tag::OCTET_STRING).unwrap().value, value);
            assert!(cursor.is_done());
        }
    }

    #[test]
    fn integers_are_minimal_and_never_negative() {
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 1, 0]), [2, 2, 1, 0]);
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Writes DER (X.690): as much of it as certificates, requests and statements take.
//!
//! What is written is put together from parts that are DER already, some of them bytes of other certificates
//! that have to stay as they are. Concatenating is all that this takes.

use der::asn1::ObjectIdentifier;

use crate::{Time, tag};

/// An element with that identifier octet whose contents are the concatenation of `parts`.
#[must_use]
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length.saturating_add(6));
    out.push(tag);
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let octets = length.to_be_bytes();
            let octets = without_leading_zeros(&octets);
            out.push(0x80 | u8::try_from(octets.len()).unwrap_or(0));
            out.extend_from_slice(octets);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A `SEQUENCE` of these elements.
#[must_use]
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, parts)
}

/// A `SEQUENCE` of these elements, which somebody owns.
#[must_use]
pub fn sequence_of<T: AsRef<[u8]>>(items: &[T]) -> Vec<u8> {
    let parts: Vec<&[u8]> = items.iter().map(AsRef::as_ref).collect();
    sequence(&parts)
}

/// An `OCTET STRING`.
#[must_use]
pub fn octets(value: &[u8]) -> Vec<u8> {
    element(tag::OCTET_STRING, &[value])
}

/// A `BIT STRING` of whole octets.
#[must_use]
pub fn bits(value: &[u8]) -> Vec<u8> {
    element(tag::BIT_STRING, &[&[0], value])
}

/// A `UTF8String`.
#[must_use]
pub fn text(value: &str) -> Vec<u8> {
    element(tag::UTF8_STRING, &[value.as_bytes()])
}

/// An `OBJECT IDENTIFIER`.
#[must_use]
pub fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    element(tag::OID, &[oid.as_bytes()])
}

/// A `BOOLEAN`.
#[must_use]
pub fn boolean(value: bool) -> Vec<u8> {
    element(tag::BOOLEAN, &[&[if value { 0xff } else { 0 }]])
}

/// An `INTEGER` from 0 up, of these octets (big-endian).
#[must_use]
pub fn integer(octets: &[u8]) -> Vec<u8> {
    unsigned(tag::INTEGER, octets)
}

/// What has the contents of an [`integer`], under another identifier octet.
#[must_use]
pub fn unsigned(tag: u8, octets: &[u8]) -> Vec<u8> {
    match without_leading_zeros(octets) {
        [] => element(tag, &[&[0]]),
        // The first bit is the sign.
        octets @ [0x80..=0xff, ..] => element(tag, &[&[0], octets]),
        octets => element(tag, &[octets]),
    }
}

/// A `GeneralizedTime` whatever the year is: `Validity` alone changes its form in 2050, see
/// [`Time::to_der`].
#[must_use]
pub fn generalized_time(time: Time) -> Vec<u8> {
    let digits: Vec<u8> = time.to_string().bytes().filter(u8::is_ascii_digit).collect();
    element(tag::GENERALIZED_TIME, &[&digits, b"Z"])
}

/// An `Extension` (RFC 5280, 4.1), whose value is DER.
#[must_use]
pub fn extension(kind: ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    // FALSE is the default and thus absent in DER.
    let critical = if critical { boolean(true) } else { Vec::new() };
    sequence(&[&oid(kind), &critical, &octets(value)])
}

/// A `Name` (RFC 5280, 4.1.2.4) of these attributes, each a `UTF8String` and alone in its set.
#[must_use]
pub fn name(attributes: &[(ObjectIdentifier, &str)]) -> Vec<u8> {
    let sets: Vec<Vec<u8>> = attributes
        .iter()
        .map(|(kind, value)| element(tag::SET, &[&sequence(&[&oid(*kind), &text(value)])]))
        .collect();
    sequence_of(&sets)
}

fn without_leading_zeros(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    octets.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cursor, oid as kinds};

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
        assert_eq!(unsigned(tag::context(4), &300_u32.to_be_bytes()), [0x84, 2, 1, 0x2c]);
    }

    #[test]
    fn times_have_one_form_on_both_sides_of_2050() {
        for text in ["1970-01-01T00:00:00Z", "2049-12-31T23:59:59Z", "9999-12-31T23:59:59Z"] {
            let time: Time = text.parse().unwrap();
            let der = generalized_time(time);
            assert_eq!(der.get(..2), Some(&[tag::GENERALIZED_TIME, 15][..]), "{text}");
            assert_eq!(Cursor::new(&der, "time").time(), Ok(time));
        }
    }

    #[test]
    fn extensions_leave_out_their_default() {
        let kind = kinds::KEY_USAGE;
        assert_eq!(extension(kind, false, b"x"), b"\x30\x08\x06\x03\x55\x1d\x0f\x04\x01x");
        assert_eq!(
            extension(kind, true, b"x"),
            b"\x30\x0b\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x01x"
        );
        assert_eq!(boolean(false), [1, 1, 0]);
    }

    #[test]
    fn names_have_their_attributes_in_order() {
        assert_eq!(name(&[]), [0x30, 0]);
        assert_eq!(
            name(&[(kinds::ORGANIZATION, "A"), (kinds::COMMON_NAME, "bc")]),
            b"\x30\x19\
              \x31\x0a\x30\x08\x06\x03\x55\x04\x0a\x0c\x01A\
              \x31\x0b\x30\x09\x06\x03\x55\x04\x03\x0c\x02bc"
        );
    }

    #[test]
    fn bits_and_texts_and_kinds_read_back() {
        let der = sequence(&[&oid(kinds::P256), &bits(b"point"), &text("text"), &boolean(true)]);
        let mut cursor = Cursor::whole(&der, tag::SEQUENCE, "test").unwrap();
        assert_eq!(cursor.oid(), Ok(kinds::P256));
        assert_eq!(cursor.bits(), Ok(&b"point"[..]));
        assert_eq!(cursor.expect(tag::UTF8_STRING).unwrap().value, b"text");
        assert_eq!(cursor.boolean(), Ok(true));
        cursor.finish().unwrap();
    }
}

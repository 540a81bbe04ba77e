// SPDX-License-Identifier: Apache-2.0

//! Whatever comes in, reading it ends, and without a panic.

use evidence_pki::{Certificate, Crl, Cursor, PublicKey, Request, certificates, pem_blocks, tag};
use proptest::prelude::*;

/// Bytes that look like DER more often than chance would have it.
fn der_like() -> impl Strategy<Value = Vec<u8>> {
    let leaf = (
        prop::sample::select(vec![
            0x01_u8, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x17, 0x18, 0x80,
        ]),
        prop::collection::vec(any::<u8>(), 0..20),
    )
        .prop_map(|(tag, value)| tlv(tag, &value));
    leaf.prop_recursive(6, 96, 8, |inner| {
        (
            prop::sample::select(vec![0x30_u8, 0x31, 0xa0, 0xa1, 0xa3]),
            prop::collection::vec(inner, 0..8),
        )
            .prop_map(|(tag, parts)| tlv(tag, &parts.concat()))
    })
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match value.len() {
        short @ 0..128 => out.push(u8::try_from(short).unwrap()),
        long => {
            out.push(0x82);
            out.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(value);
    out
}

fn read_everything(bytes: &[u8]) {
    if let Ok(certificate) = Certificate::parse(bytes) {
        let _ =
            (certificate.common_name(), certificate.basic_constraints(), certificate.key_usage());
        let _ = (certificate.extensions().count(), certificate.key.bits());
    }
    if let Ok(list) = Crl::parse(bytes) {
        let _ = list.serials().count();
    }
    if let Ok(request) = Request::parse(bytes) {
        let _ = request.extensions();
    }
    let _ = PublicKey::from_spki(bytes).map(|key| key.bits());
    let _ = certificates(bytes);
    let _ = pem_blocks(bytes, "CERTIFICATE");
    let mut cursor = Cursor::new(bytes, "test");
    while let Ok(item) = cursor.next() {
        assert!(item.raw.ends_with(item.value));
        let again = Cursor::new(item.raw, "test").next();
        assert_eq!(again, Ok(item));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_everything(&bytes);
    }

    #[test]
    fn nested_elements(bytes in der_like()) {
        read_everything(&bytes);
    }

    #[test]
    fn text(text in "(-----(BEGIN|END) CERTIFICATE-----|[A-Za-z0-9+/=\n\r -]{0,70}\n?){0,8}") {
        read_everything(text.as_bytes());
    }

    #[test]
    fn integers_have_one_encoding(value in any::<u64>()) {
        let bytes = value.to_be_bytes();
        let skip = bytes.iter().take(7).take_while(|byte| **byte == 0).count();
        let mut minimal = bytes[skip..].to_vec();
        if minimal[0] >= 0x80 {
            minimal.insert(0, 0);
        }
        let encoded = tlv(tag::INTEGER, &minimal);
        prop_assert_eq!(Cursor::new(&encoded, "test").unsigned(), Ok(value));
        minimal.insert(0, 0);
        let longer = tlv(tag::INTEGER, &minimal);
        prop_assert!(Cursor::new(&longer, "test").unsigned().is_err());
    }
}

#[test]
fn negative_and_empty_integers_are_refused() {
    for value in [&[][..], &[0x80], &[0xff, 0xff], &[0, 0x7f]] {
        let encoded = tlv(tag::INTEGER, value);
        assert!(Cursor::new(&encoded, "test").integer().is_err(), "{value:02x?}");
    }
}

#[test]
fn lengths_have_one_encoding() {
    for bytes in
        [&[0x04, 0x81, 0x01, 0][..], &[0x04, 0x80, 0, 0], &[0x04, 0x82, 0, 1, 0], &[0x04, 2, 0]]
    {
        assert!(Cursor::new(bytes, "test").next().is_err(), "{bytes:02x?}");
    }
}

#[test]
fn pem_reads_back() {
    for length in [1, 2, 3, 47, 48, 49, 200] {
        let der: Vec<u8> = (0..length).collect();
        let text = evidence_pki::to_pem("TEST", &der);
        assert_eq!(pem_blocks(text.as_bytes(), "TEST"), Ok(vec![der]));
        assert!(text.ends_with("-----END TEST-----\n"));
        assert!(text.lines().all(|line| line.len() <= 64));
    }
}

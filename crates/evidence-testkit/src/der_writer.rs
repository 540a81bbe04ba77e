// SPDX-License-Identifier: Apache-2.0

//! A writer of DER (X.690) that is its own, so that a fault of the reader under test is not also in what
//! it reads. It writes whatever it is told, also what is no valid DER.

use der::Encode;
use der::asn1::ObjectIdentifier;
use evidence_pki::Time;

/// Bytes of DER in the making. Each method appends one element.
///
/// ```
/// use evidence_testkit::der_writer::Der;
///
/// let der = Der::build(|der| {
///     der.sequence(|der| {
///         der.number(1).octets(b"x");
///     });
/// });
/// assert_eq!(der, [0x30, 6, 2, 1, 1, 4, 1, b'x']);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Der(Vec<u8>);

impl Der {
    /// The bytes that `fill` appends.
    pub fn build(fill: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut der = Self::default();
        fill(&mut der);
        der.0
    }

    /// Appends an element with that tag and those contents.
    pub fn element(&mut self, tag: u8, contents: &[u8]) -> &mut Self {
        self.0.push(tag);
        let length = contents.len();
        match length {
            0..=0x7f => self.0.push(length as u8),
            _ => {
                let bytes = length.to_be_bytes();
                let skip = bytes.iter().take_while(|byte| **byte == 0).count();
                self.0.push(0x80 | (bytes.len() - skip) as u8);
                self.0.extend_from_slice(&bytes[skip..]);
            }
        }
        self.raw(contents)
    }

    /// Appends an element whose contents `fill` appends.
    pub fn nested(&mut self, tag: u8, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let contents = Self::build(fill);
        self.element(tag, &contents)
    }

    /// Appends a `SEQUENCE`.
    pub fn sequence(&mut self, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nested(0x30, fill)
    }

    /// Appends a `SET`, in the order given.
    pub fn set(&mut self, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nested(0x31, fill)
    }

    /// Appends a constructed context-specific element, `[number]`.
    pub fn context(&mut self, number: u8, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nested(0xa0 | number, fill)
    }

    /// Appends a primitive context-specific element, `[number] IMPLICIT`.
    pub fn implicit(&mut self, number: u8, contents: &[u8]) -> &mut Self {
        self.element(0x80 | number, contents)
    }

    /// Appends an `OBJECT IDENTIFIER`, given as numbers with dots.
    pub fn oid(&mut self, text: &str) -> &mut Self {
        let der = ObjectIdentifier::new(text).expect("an OID").to_der().expect("DER of an OID");
        self.raw(&der)
    }

    /// Appends an `INTEGER` of that magnitude, big-endian.
    pub fn integer(&mut self, magnitude: &[u8]) -> &mut Self {
        let skip = magnitude.iter().take_while(|byte| **byte == 0).count();
        let mut contents = magnitude[skip..].to_vec();
        if contents.first().is_none_or(|first| *first >= 0x80) {
            contents.insert(0, 0);
        }
        self.element(2, &contents)
    }

    /// Appends an `INTEGER`.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.integer(&number.to_be_bytes())
    }

    /// Appends a `BOOLEAN`.
    pub fn boolean(&mut self, value: bool) -> &mut Self {
        self.element(1, &[if value { 0xff } else { 0 }])
    }

    /// Appends an `ENUMERATED`.
    pub fn enumerated(&mut self, value: u8) -> &mut Self {
        self.element(10, &[value])
    }

    /// Appends a `NULL`.
    pub fn null(&mut self) -> &mut Self {
        self.element(5, &[])
    }

    /// Appends an `OCTET STRING`.
    pub fn octets(&mut self, bytes: &[u8]) -> &mut Self {
        self.element(4, bytes)
    }

    /// Appends a `BIT STRING` of whole bytes.
    pub fn bits(&mut self, bytes: &[u8]) -> &mut Self {
        self.nested(3, |der| {
            der.raw(&[0]).raw(bytes);
        })
    }

    /// Appends a `UTF8String`.
    pub fn utf8(&mut self, text: &str) -> &mut Self {
        self.element(0x0c, text.as_bytes())
    }

    /// Appends a `PrintableString`.
    pub fn printable(&mut self, text: &str) -> &mut Self {
        self.element(0x13, text.as_bytes())
    }

    /// Appends an `IA5String`.
    pub fn ia5(&mut self, text: &str) -> &mut Self {
        self.element(0x16, text.as_bytes())
    }

    /// Appends a `UTCTime` or `GeneralizedTime`, whichever RFC 5280 wants.
    pub fn time(&mut self, time: Time) -> &mut Self {
        self.raw(&time.to_der())
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// PEM (RFC 7468) of one structure, lines of 64 characters.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let mut group = [0; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let group = u32::from_be_bytes(group);
        for position in 0..4 {
            let digit = (group >> (18 - 6 * position)) & 63;
            let is_padding = position > chunk.len();
            text.push(if is_padding { '=' } else { ALPHABET[digit as usize] as char });
        }
    }
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(str::from_utf8(line).expect("base64 is ASCII"));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// PEM of certificates, in their order.
#[must_use]
pub fn pem_chain(certificates: &[&[u8]]) -> String {
    certificates.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

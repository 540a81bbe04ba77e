// SPDX-License-Identifier: Apache-2.0

//! A walk through DER, element by element, that keeps the bytes of each element.

use crate::{PkiError, Time};

/// Identifier octets of the elements that occur here (X.690, 8.1.2).
pub mod tag {
    #![allow(missing_docs, reason = "the names are those of X.680")]
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OID: u8 = 0x06;
    pub const ENUMERATED: u8 = 0x0a;
    pub const UTF8_STRING: u8 = 0x0c;
    pub const PRINTABLE_STRING: u8 = 0x13;
    pub const IA5_STRING: u8 = 0x16;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    /// Context-specific, primitive, by number.
    #[must_use]
    pub const fn context(number: u8) -> u8 {
        0x80 | number
    }
    /// Context-specific, constructed, by number.
    #[must_use]
    pub const fn context_constructed(number: u8) -> u8 {
        0xa0 | number
    }
}

/// Identifier octet, and lengths of header and contents (X.690, 8.1, 10.1): one definite length in its
/// shortest form. By hand, because long revocation lists consist of little else.
fn header(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (&tag, rest) = bytes.split_first()?;
    // Tag numbers above 30 take further octets and do not occur here; number 0 is the end of contents of
    // an indefinite length, which is no DER.
    if tag == 0 || tag & 0x1f == 0x1f {
        return None;
    }
    match *rest {
        [length @ 0..=0x7f, ..] => Some((tag, 2, usize::from(length))),
        [0x81, length @ 0x80..=0xff, ..] => Some((tag, 3, usize::from(length))),
        [0x82, high @ 1..=0xff, low, ..] => {
            Some((tag, 4, usize::from(u16::from_be_bytes([high, low]))))
        }
        // Nothing that is read here is larger than 16 MiB.
        [0x83, high @ 1..=0xff, middle, low, ..] => {
            Some((tag, 5, usize::try_from(u32::from_be_bytes([0, high, middle, low])).ok()?))
        }
        _ => None,
    }
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its identifier octet, see [`tag`].
    pub tag: u8,
    /// Its contents.
    pub value: &'a [u8],
    /// All of it, identifier and length included.
    pub raw: &'a [u8],
}

/// A place in a sequence of elements.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Cursor<'a> {
    /// Begins at the first element in `bytes`; `what` is what a malformed element is called.
    #[must_use]
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }

    /// The contents of the one element in `bytes`, which must have that tag and nothing after it.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn whole(bytes: &'a [u8], tag: u8, what: &'static str) -> Result<Self, PkiError> {
        let mut outer = Self::new(bytes, what);
        let item = outer.expect(tag)?;
        outer.finish()?;
        Ok(Self::new(item.value, what))
    }

    /// The next element.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`] at the end, and if the next bytes are no DER.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator would go on after an error, and this is to stop there"
    )]
    pub fn next(&mut self) -> Result<Item<'a>, PkiError> {
        let malformed = PkiError::Malformed(self.what);
        let (tag, header, length) = header(self.rest).ok_or(malformed)?;
        let end = header.checked_add(length).ok_or(malformed)?;
        let (raw, rest) = self.rest.split_at_checked(end).ok_or(malformed)?;
        let value = raw.get(header..).ok_or(malformed)?;
        self.rest = rest;
        Ok(Item { tag, value, raw })
    }

    /// The next element, which must have that tag.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn expect(&mut self, tag: u8) -> Result<Item<'a>, PkiError> {
        let item = self.next()?;
        if item.tag == tag { Ok(item) } else { Err(PkiError::Malformed(self.what)) }
    }

    /// The next element if it has that tag.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn optional(&mut self, tag: u8) -> Result<Option<Item<'a>>, PkiError> {
        if self.rest.first() == Some(&tag) { self.next().map(Some) } else { Ok(None) }
    }

    /// Goes into the next element, which must have that tag.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn enter(&mut self, tag: u8) -> Result<Self, PkiError> {
        Ok(Self::new(self.expect(tag)?.value, self.what))
    }

    /// The next element as an object identifier.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn oid(&mut self) -> Result<der::asn1::ObjectIdentifier, PkiError> {
        let item = self.expect(tag::OID)?;
        der::asn1::ObjectIdentifier::from_bytes(item.value)
            .map_err(|_| PkiError::Malformed(self.what))
    }

    /// The next element as an integer from 0 to 2^64 - 1.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn unsigned(&mut self) -> Result<u64, PkiError> {
        let malformed = PkiError::Malformed(self.what);
        let octets = self.integer()?;
        if octets.len() > 8 {
            return Err(malformed);
        }
        Ok(octets.iter().fold(0, |sum, octet| (sum << 8) | u64::from(*octet)))
    }

    /// The octets of the next element, which must be an integer of 0 or more, without a leading zero
    /// (none at all for 0).
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn integer(&mut self) -> Result<&'a [u8], PkiError> {
        let malformed = PkiError::Malformed(self.what);
        match self.expect(tag::INTEGER)?.value {
            [0] => Ok(&[]),
            [0, rest @ ..] if rest.first().is_some_and(|first| *first >= 0x80) => Ok(rest),
            octets @ [first, ..] if (1..0x80).contains(first) => Ok(octets),
            _ => Err(malformed),
        }
    }

    /// The next element as a boolean (DER: 0x00 or 0xff).
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn boolean(&mut self) -> Result<bool, PkiError> {
        match self.expect(tag::BOOLEAN)?.value {
            [0] => Ok(false),
            [0xff] => Ok(true),
            _ => Err(PkiError::Malformed(self.what)),
        }
    }

    /// The octets of the next element, which must be a bit string of whole octets.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn bits(&mut self) -> Result<&'a [u8], PkiError> {
        match self.expect(tag::BIT_STRING)?.value {
            [0, octets @ ..] => Ok(octets),
            _ => Err(PkiError::Malformed(self.what)),
        }
    }

    /// The next element as a `Time` (RFC 5280, 4.1.2.5).
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn time(&mut self) -> Result<Time, PkiError> {
        let item = self.next()?;
        Time::from_der(item).ok_or(PkiError::Malformed(self.what))
    }

    /// Whether there is nothing left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Makes sure that there is nothing left.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn finish(&self) -> Result<(), PkiError> {
        if self.is_done() { Ok(()) } else { Err(PkiError::Malformed(self.what)) }
    }
}

#[cfg(test)]
mod tests {
    use der::{Decode, SliceReader};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_are_what_the_der_crate_reads(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), 0..4u8, 0x7e..0x86u8, prop::sample::select(vec![0x30, 0xa0])],
                0..8,
            ),
        ) {
            let mut reader = SliceReader::new(&bytes).unwrap();
            let theirs = der::Header::decode(&mut reader).ok();
            let ours = header(&bytes);
            if let Some((tag, length, contents)) = ours {
                // That crate knows a list of universal tags, and no others.
                if let Some(theirs) = theirs {
                    prop_assert_eq!(tag, bytes[0]);
                    prop_assert_eq!(contents, usize::try_from(theirs.length()).unwrap());
                    prop_assert_eq!(length, usize::try_from(der::Reader::position(&reader)).unwrap());
                } else {
                    prop_assert!(der::Tag::from_der(&[tag]).is_err(), "{bytes:?}");
                }
            } else if let Some(theirs) = theirs {
                let large = usize::try_from(theirs.length()).unwrap() >= 1 << 24;
                prop_assert!(large || bytes[0] & 0x1f == 0x1f, "{bytes:?}");
            }
        }
    }
}

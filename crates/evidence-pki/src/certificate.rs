// SPDX-License-Identifier: Apache-2.0

//! X.509 certificates (RFC 5280, 4.1).

use der::asn1::ObjectIdentifier;
use evidence_crypto::Crypto;

use crate::cursor::{Cursor, tag};
use crate::key::{self, PublicKey, Signature};
use crate::{PkiError, Time, oid};

const WHAT: &str = "certificate";

/// A certificate, read but not believed.
#[derive(Debug, Clone)]
pub struct Certificate<'a> {
    /// All of it.
    pub raw: &'a [u8],
    /// The serial number, big-endian, without leading zeros. AMD's is 0, thus empty.
    pub serial: &'a [u8],
    /// DER `Name` of the issuer.
    pub issuer: &'a [u8],
    /// DER `Name` of the subject.
    pub subject: &'a [u8],
    /// Beginning of its validity.
    pub not_before: Time,
    /// End of its validity, inclusive.
    pub not_after: Time,
    /// DER `SubjectPublicKeyInfo`.
    pub spki: &'a [u8],
    /// The key in it.
    pub key: PublicKey<'a>,
    /// The signature over it.
    pub signature: Signature<'a>,
    extensions: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// No certificate may be larger: 64 KiB.
    pub const MAX_SIZE: usize = 64 << 10;

    /// Reads a certificate of version 3. Checks structure only.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`], [`PkiError::TooLarge`].
    pub fn parse(raw: &'a [u8]) -> Result<Self, PkiError> {
        if raw.len() > Self::MAX_SIZE {
            return Err(PkiError::TooLarge(WHAT));
        }
        let (mut tbs, outer_algorithm, signature) = key::split(raw, WHAT)?;
        let mut version = tbs.enter(tag::context_constructed(0))?;
        if version.unsigned()? != 2 {
            return Err(PkiError::Malformed(WHAT));
        }
        version.finish()?;
        let serial = tbs.integer()?;
        // The algorithm stands twice and has to be the same (RFC 5280, 4.1.1.2).
        if tbs.expect(tag::SEQUENCE)?.raw != outer_algorithm {
            return Err(PkiError::Malformed(WHAT));
        }
        let issuer = tbs.expect(tag::SEQUENCE)?.raw;
        let mut validity = tbs.enter(tag::SEQUENCE)?;
        let (not_before, not_after) = (validity.time()?, validity.time()?);
        validity.finish()?;
        let subject = tbs.expect(tag::SEQUENCE)?.raw;
        let spki = tbs.expect(tag::SEQUENCE)?.raw;
        tbs.optional(tag::context(1))?;
        tbs.optional(tag::context(2))?;
        let extensions = match tbs.optional(tag::context_constructed(3))? {
            Some(item) => Cursor::whole(item.value, tag::SEQUENCE, WHAT)?.rest(),
            None => &[],
        };
        tbs.finish()?;
        let certificate = Self {
            raw,
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            spki,
            key: PublicKey::from_spki(spki)?,
            signature,
            extensions,
        };
        certificate.check_extensions()?;
        Ok(certificate)
    }

    /// Each extension is well-formed, and there is at most one of a kind (RFC 5280, 4.2).
    fn check_extensions(&self) -> Result<(), PkiError> {
        let mut seen = Vec::new();
        let mut cursor = Cursor::new(self.extensions, WHAT);
        while !cursor.is_done() {
            let extension = Extension::read(cursor.enter(tag::SEQUENCE)?)?;
            if seen.len() >= 64 || seen.contains(&extension.oid) {
                return Err(PkiError::Malformed("certificate extensions"));
            }
            seen.push(extension.oid);
        }
        Ok(())
    }

    /// All extensions, in order.
    pub fn extensions(&self) -> impl Iterator<Item = Extension<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.extensions, WHAT);
        core::iter::from_fn(move || cursor.enter(tag::SEQUENCE).and_then(Extension::read).ok())
    }

    /// The extension of that kind.
    #[must_use]
    pub fn extension(&self, oid: ObjectIdentifier) -> Option<Extension<'a>> {
        self.extensions().find(|extension| extension.oid == oid)
    }

    /// The common name of the subject, if it has exactly one.
    #[must_use]
    pub fn common_name(&self) -> Option<&'a str> {
        name_part(self.subject, oid::COMMON_NAME)
    }

    /// The common name of the issuer, if it has exactly one.
    #[must_use]
    pub fn issuer_common_name(&self) -> Option<&'a str> {
        name_part(self.issuer, oid::COMMON_NAME)
    }

    /// `basicConstraints`; `None` if there are none.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn basic_constraints(&self) -> Result<Option<BasicConstraints>, PkiError> {
        let Some(extension) = self.extension(oid::BASIC_CONSTRAINTS) else { return Ok(None) };
        let mut value = Cursor::whole(extension.value, tag::SEQUENCE, "basicConstraints")?;
        let authority =
            if value.rest().first() == Some(&tag::BOOLEAN) { value.boolean()? } else { false };
        let path_length = if value.is_done() { None } else { Some(value.unsigned()?) };
        value.finish()?;
        Ok(Some(BasicConstraints { authority, path_length }))
    }

    /// `keyUsage`; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`].
    pub fn key_usage(&self) -> Result<Option<KeyUsage>, PkiError> {
        let Some(extension) = self.extension(oid::KEY_USAGE) else { return Ok(None) };
        let mut cursor = Cursor::new(extension.value, "keyUsage");
        let bits = cursor.expect(tag::BIT_STRING)?.value;
        cursor.finish()?;
        match bits {
            [unused, bits @ ..] if *unused < 8 && bits.len() <= 2 => {
                Ok(Some(KeyUsage(bits.first().copied().unwrap_or(0))))
            }
            _ => Err(PkiError::Malformed("keyUsage")),
        }
    }

    /// Refuses critical extensions other than those that the caller looks at (RFC 5280, 4.2).
    ///
    /// # Errors
    ///
    /// [`PkiError::UnknownCritical`].
    pub fn check_critical(&self, known: &[ObjectIdentifier]) -> Result<(), PkiError> {
        match self.extensions().find(|one| one.critical && !known.contains(&one.oid)) {
            Some(unknown) => Err(PkiError::UnknownCritical(unknown.oid)),
            None => Ok(()),
        }
    }

    /// Whether it is valid at that time, both ends included.
    ///
    /// # Errors
    ///
    /// [`PkiError::NotYetValid`], [`PkiError::Expired`].
    pub fn check_time(&self, now: Time) -> Result<(), PkiError> {
        now.check_within(self.not_before, self.not_after)
    }

    /// Whether `issuer` issued it: names, the issuer's right to sign certificates, and the signature.
    /// Times are not looked at.
    ///
    /// # Errors
    ///
    /// [`PkiError::WrongIssuer`], [`PkiError::NotAnAuthority`], [`PkiError::BadSignature`],
    /// [`PkiError::UnsupportedAlgorithm`].
    pub fn check_issued_by(
        &self,
        crypto: &dyn Crypto,
        issuer: &Certificate<'_>,
    ) -> Result<(), PkiError> {
        if self.issuer != issuer.subject {
            return Err(PkiError::WrongIssuer);
        }
        if !issuer.basic_constraints()?.is_some_and(|constraints| constraints.authority)
            || issuer.key_usage()?.is_some_and(|usage| !usage.may_sign_certificates())
        {
            return Err(PkiError::NotAnAuthority);
        }
        self.signature.verify(crypto, &issuer.key)
    }
}

/// An extension of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its kind.
    pub oid: ObjectIdentifier,
    /// Whether who does not know it must refuse the certificate.
    pub critical: bool,
    /// What is in its OCTET STRING.
    pub value: &'a [u8],
}

impl<'a> Extension<'a> {
    /// Reads the contents of an `Extension`.
    pub(crate) fn read(mut cursor: Cursor<'a>) -> Result<Self, PkiError> {
        let oid = cursor.oid()?;
        let critical =
            if cursor.rest().first() == Some(&tag::BOOLEAN) { cursor.boolean()? } else { false };
        let value = cursor.expect(tag::OCTET_STRING)?.value;
        cursor.finish()?;
        Ok(Self { oid, critical, value })
    }
}

/// `BasicConstraints` (RFC 5280, 4.2.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasicConstraints {
    /// `cA`.
    pub authority: bool,
    /// `pathLenConstraint`.
    pub path_length: Option<u64>,
}

/// `KeyUsage` (RFC 5280, 4.2.1.3), its first eight bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage(u8);

impl KeyUsage {
    /// `digitalSignature`.
    #[must_use]
    pub fn may_sign(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// `keyCertSign`.
    #[must_use]
    pub fn may_sign_certificates(self) -> bool {
        self.0 & 0x04 != 0
    }

    /// `cRLSign`.
    #[must_use]
    pub fn may_sign_crls(self) -> bool {
        self.0 & 0x02 != 0
    }
}

/// The text of an attribute that occurs exactly once in a name.
pub(crate) fn name_part(name: &[u8], kind: ObjectIdentifier) -> Option<&str> {
    let mut found = None;
    let mut sets = Cursor::whole(name, tag::SEQUENCE, "name").ok()?;
    while !sets.is_done() {
        let mut set = sets.enter(tag::SET).ok()?;
        while !set.is_done() {
            let mut pair = set.enter(tag::SEQUENCE).ok()?;
            if pair.oid().ok()? == kind {
                let text = pair.next().ok()?;
                let is_text =
                    matches!(text.tag, tag::UTF8_STRING | tag::PRINTABLE_STRING | tag::IA5_STRING);
                if found.is_some() || !is_text {
                    return None;
                }
                found = Some(core::str::from_utf8(text.value).ok()?);
            }
        }
    }
    found
}

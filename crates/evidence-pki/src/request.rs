// SPDX-License-Identifier: Apache-2.0

//! Certificate requests, PKCS#10 (RFC 2986).

use der::asn1::ObjectIdentifier;
use evidence_crypto::Crypto;

use crate::certificate::Extension;
use crate::cursor::{Cursor, Item, tag};
use crate::key::{self, PublicKey, Signature};
use crate::{PkiError, oid};

const WHAT: &str = "certificate request";

/// A certificate request, read but not believed.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// All of it.
    pub raw: &'a [u8],
    /// DER `Name` that the requester wishes.
    pub subject: &'a [u8],
    /// DER `SubjectPublicKeyInfo`.
    pub spki: &'a [u8],
    /// The key in it.
    pub key: PublicKey<'a>,
    /// The signature over it, by that key.
    pub signature: Signature<'a>,
    /// The attributes, in order; each kind at most once.
    pub attributes: Vec<Attribute<'a>>,
}

/// An attribute of a request.
#[derive(Debug, Clone)]
pub struct Attribute<'a> {
    /// Its kind.
    pub oid: ObjectIdentifier,
    /// Its values; at least one.
    pub values: Vec<Item<'a>>,
}

impl<'a> Request<'a> {
    /// No request may be larger: 1 MiB.
    pub const MAX_SIZE: usize = 1 << 20;

    /// Reads a request of version 1. Checks structure only.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`], [`PkiError::TooLarge`].
    pub fn parse(raw: &'a [u8]) -> Result<Self, PkiError> {
        if raw.len() > Self::MAX_SIZE {
            return Err(PkiError::TooLarge(WHAT));
        }
        let (mut info, _, signature) = key::split(raw, WHAT)?;
        if info.unsigned()? != 0 {
            return Err(PkiError::Malformed(WHAT));
        }
        let subject = info.expect(tag::SEQUENCE)?.raw;
        let spki = info.expect(tag::SEQUENCE)?.raw;
        let mut list = info.enter(tag::context_constructed(0))?;
        info.finish()?;
        let mut attributes: Vec<Attribute<'a>> = Vec::new();
        while !list.is_done() {
            let mut attribute = list.enter(tag::SEQUENCE)?;
            let oid = attribute.oid()?;
            let mut set = attribute.enter(tag::SET)?;
            attribute.finish()?;
            let mut values = Vec::new();
            while !set.is_done() {
                if values.len() >= 16 {
                    return Err(PkiError::TooLarge("attribute of a certificate request"));
                }
                values.push(set.next()?);
            }
            if values.is_empty()
                || attributes.len() >= 16
                || attributes.iter().any(|other| other.oid == oid)
            {
                return Err(PkiError::Malformed("attributes of a certificate request"));
            }
            attributes.push(Attribute { oid, values });
        }
        let key = PublicKey::from_spki(spki)?;
        Ok(Self { raw, subject, spki, key, signature, attributes })
    }

    /// Whether the requester holds the key: checks the request's own signature (RFC 2986, 3).
    ///
    /// # Errors
    ///
    /// [`PkiError::BadSignature`], [`PkiError::UnsupportedAlgorithm`].
    pub fn check_signature(&self, crypto: &dyn Crypto) -> Result<(), PkiError> {
        self.signature.verify(crypto, &self.key)
    }

    /// The attribute of that kind.
    #[must_use]
    pub fn attribute(&self, oid: ObjectIdentifier) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.oid == oid)
    }

    /// The extensions in `extensionRequest` (RFC 2985, 5.4.2); none if there is no such attribute.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`], also if there is one extension twice.
    pub fn extensions(&self) -> Result<Vec<Extension<'a>>, PkiError> {
        let malformed = PkiError::Malformed("extensionRequest");
        let Some(attribute) = self.attribute(oid::EXTENSION_REQUEST) else { return Ok(Vec::new()) };
        let [value] = attribute.values.as_slice() else { return Err(malformed) };
        let mut list = Cursor::whole(value.raw, tag::SEQUENCE, "extensionRequest")?;
        let mut extensions: Vec<Extension<'a>> = Vec::new();
        while !list.is_done() {
            let extension = Extension::read(list.enter(tag::SEQUENCE)?)?;
            if extensions.len() >= 32 || extensions.iter().any(|one| one.oid == extension.oid) {
                return Err(malformed);
            }
            extensions.push(extension);
        }
        Ok(extensions)
    }
}

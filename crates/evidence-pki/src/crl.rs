// SPDX-License-Identifier: Apache-2.0

//! Certificate revocation lists (RFC 5280, 5.1).

use evidence_crypto::Crypto;

use crate::certificate::{Certificate, name_part};
use crate::cursor::{Cursor, tag};
use crate::key::{self, Signature};
use crate::{PkiError, Time, oid};

const WHAT: &str = "revocation list";

/// A revocation list, read but not believed.
#[derive(Debug, Clone)]
pub struct Crl<'a> {
    /// All of it.
    pub raw: &'a [u8],
    /// DER `Name` of the issuer.
    pub issuer: &'a [u8],
    /// When it was issued.
    pub this_update: Time,
    /// When the next one is due. A list without that date never expires, and is therefore refused.
    pub next_update: Time,
    /// `cRLNumber` as far as it fits; a later list has a greater one.
    pub number: Option<u64>,
    /// The signature over it.
    pub signature: Signature<'a>,
    revoked: &'a [u8],
}

impl<'a> Crl<'a> {
    /// No list may be larger: 512 KiB.
    pub const MAX_SIZE: usize = 512 << 10;

    /// Reads a list of version 2. Each entry is looked at, so that [`Crl::revokes`] cannot fail.
    ///
    /// # Errors
    ///
    /// [`PkiError::Malformed`], [`PkiError::TooLarge`], [`PkiError::UnknownCritical`]: a list that is
    /// not complete (a delta, or for some reasons only) says so in a critical extension.
    pub fn parse(raw: &'a [u8]) -> Result<Self, PkiError> {
        if raw.len() > Self::MAX_SIZE {
            return Err(PkiError::TooLarge(WHAT));
        }
        let (mut tbs, outer_algorithm, signature) = key::split(raw, WHAT)?;
        if tbs.unsigned()? != 1 {
            return Err(PkiError::Malformed(WHAT));
        }
        if tbs.expect(tag::SEQUENCE)?.raw != outer_algorithm {
            return Err(PkiError::Malformed(WHAT));
        }
        let issuer = tbs.expect(tag::SEQUENCE)?.raw;
        let (this_update, next_update) = (tbs.time()?, tbs.time()?);
        let revoked = tbs.optional(tag::SEQUENCE)?.map_or(&[][..], |item| item.value);
        let mut number = None;
        if let Some(item) = tbs.optional(tag::context_constructed(0))? {
            let mut extensions = Cursor::whole(item.value, tag::SEQUENCE, WHAT)?;
            while !extensions.is_done() {
                let extension =
                    crate::certificate::Extension::read(extensions.enter(tag::SEQUENCE)?)?;
                if extension.oid == oid::CRL_NUMBER {
                    number = Cursor::new(extension.value, WHAT).unsigned().ok();
                } else if extension.critical {
                    return Err(PkiError::UnknownCritical(extension.oid));
                }
            }
        }
        tbs.finish()?;
        let crl = Self { raw, issuer, this_update, next_update, number, signature, revoked };
        crl.check_entries()?;
        Ok(crl)
    }

    fn check_entries(&self) -> Result<(), PkiError> {
        let mut entries = Cursor::new(self.revoked, WHAT);
        while !entries.is_done() {
            let mut entry = entries.enter(tag::SEQUENCE)?;
            entry.integer()?;
            entry.time()?;
            if let Some(item) = entry.optional(tag::SEQUENCE)? {
                let mut extensions = Cursor::new(item.value, WHAT);
                while !extensions.is_done() {
                    let extension =
                        crate::certificate::Extension::read(extensions.enter(tag::SEQUENCE)?)?;
                    if extension.critical {
                        return Err(PkiError::UnknownCritical(extension.oid));
                    }
                }
            }
            entry.finish()?;
        }
        Ok(())
    }

    /// The common name of the issuer, if it has exactly one.
    #[must_use]
    pub fn issuer_common_name(&self) -> Option<&'a str> {
        name_part(self.issuer, oid::COMMON_NAME)
    }

    /// The serial numbers on the list, as [`Certificate::serial`] has them.
    pub fn serials(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut entries = Cursor::new(self.revoked, WHAT);
        core::iter::from_fn(move || {
            entries.enter(tag::SEQUENCE).and_then(|mut entry| entry.integer()).ok()
        })
    }

    /// Whether the list names that serial number.
    #[must_use]
    pub fn revokes(&self, serial: &[u8]) -> bool {
        self.serials().any(|revoked| revoked == serial)
    }

    /// Whether it is the list for that time, both ends included.
    ///
    /// # Errors
    ///
    /// [`PkiError::NotYetValid`], [`PkiError::Expired`].
    pub fn check_time(&self, now: Time) -> Result<(), PkiError> {
        now.check_within(self.this_update, self.next_update)
    }

    /// Whether `issuer` issued it: names, the issuer's right to sign lists, and the signature.
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
        if issuer.key_usage()?.is_some_and(|usage| !usage.may_sign_crls()) {
            return Err(PkiError::NotAnAuthority);
        }
        self.signature.verify(crypto, &issuer.key)
    }
}

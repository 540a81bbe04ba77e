// SPDX-License-Identifier: Apache-2.0

//! Certificates that sign others: what of them is needed once they have been read.

use std::sync::OnceLock;

use evidence_claims::{SigningKey, SnpProduct};
use evidence_crypto::Crypto;
use evidence_pki::{Certificate, PkiError, PublicKey, Signature, Time, oid};

use crate::snp::ProductRoots;
use crate::{Part, SnpRefusal};

/// Critical extensions that are looked at.
pub(crate) const CRITICAL: &[evidence_pki::ObjectIdentifier] =
    &[oid::BASIC_CONSTRAINTS, oid::KEY_USAGE];

/// An authority's certificate, without the borrow of its bytes.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    pub(crate) subject: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) not_before: Time,
    pub(crate) not_after: Time,
    key: AuthorityKey,
    may_sign_lists: bool,
}

/// The kinds of keys that authorities have: AMD's the first, development roots the second.
#[derive(Debug, Clone)]
enum AuthorityKey {
    Rsa(Vec<u8>),
    P384(Vec<u8>),
}

impl Authority {
    /// Takes what is needed from the certificate of one of AMD's authorities.
    pub(crate) fn amd(part: Part, certificate: &Certificate<'_>) -> Result<Self, SnpRefusal> {
        match certificate.key {
            PublicKey::Rsa(key) if certificate.key.bits() == 4096 => {
                Self::read(part, certificate, AuthorityKey::Rsa(key.to_vec()))
            }
            _ => Err(SnpRefusal::AuthorityKey(part)),
        }
    }

    /// Takes what is needed from the certificate of a development root.
    pub(crate) fn development(certificate: &Certificate<'_>) -> Result<Self, SnpRefusal> {
        match certificate.key {
            PublicKey::P384(key) => {
                Self::read(Part::Ark, certificate, AuthorityKey::P384(key.to_vec()))
            }
            _ => Err(SnpRefusal::AuthorityKey(Part::Ark)),
        }
    }

    fn read(
        part: Part,
        certificate: &Certificate<'_>,
        key: AuthorityKey,
    ) -> Result<Self, SnpRefusal> {
        let wrong = |error| SnpRefusal::Certificate(part, error);
        certificate.check_critical(CRITICAL).map_err(wrong)?;
        let constraints = certificate.basic_constraints().map_err(wrong)?;
        let usage = certificate.key_usage().map_err(wrong)?;
        let is_authority = constraints.is_some_and(|constraints| constraints.authority)
            && usage.is_some_and(|usage| usage.may_sign_certificates());
        if !is_authority {
            return Err(wrong(PkiError::NotAnAuthority));
        }
        Ok(Self {
            subject: certificate.subject.to_vec(),
            serial: certificate.serial.to_vec(),
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            key,
            may_sign_lists: usage.is_some_and(|usage| usage.may_sign_crls()),
        })
    }

    /// Whether it issued what has that issuer and signature.
    pub(crate) fn check_issued(
        &self,
        crypto: &dyn Crypto,
        issuer: &[u8],
        signature: &Signature<'_>,
    ) -> Result<(), PkiError> {
        if issuer != self.subject {
            return Err(PkiError::WrongIssuer);
        }
        let key = match &self.key {
            AuthorityKey::Rsa(key) => PublicKey::Rsa(key),
            AuthorityKey::P384(key) => PublicKey::P384(key),
        };
        signature.verify(crypto, &key)
    }

    /// As [`Authority::check_issued`], for a revocation list.
    pub(crate) fn check_issued_list(
        &self,
        crypto: &dyn Crypto,
        list: &evidence_pki::Crl<'_>,
    ) -> Result<(), PkiError> {
        if !self.may_sign_lists {
            return Err(PkiError::NotAnAuthority);
        }
        self.check_issued(crypto, list.issuer, &list.signature)
    }

    /// Whether it is valid at that time.
    pub(crate) fn check_time(&self, now: Time) -> Result<(), PkiError> {
        if now < self.not_before {
            return Err(PkiError::NotYetValid(self.not_before));
        }
        if now > self.not_after {
            return Err(PkiError::Expired(self.not_after));
        }
        Ok(())
    }
}

/// The authorities of one product, read once.
#[derive(Debug)]
pub(crate) struct Roots {
    pub(crate) product: SnpProduct,
    raw: Vec<u8>,
    ark: Result<Authority, SnpRefusal>,
    ask: BuiltIn,
    asvk: BuiltIn,
}

/// An intermediate authority that came with the root.
#[derive(Debug)]
struct BuiltIn {
    raw: Vec<u8>,
    /// Whether the root issued it, and what it is. Neither depends on the time, so it is found out once.
    checked: OnceLock<Result<Authority, SnpRefusal>>,
}

impl Roots {
    pub(crate) fn new(roots: ProductRoots) -> Self {
        let ark = Certificate::parse(&roots.ark)
            .map_err(|error| SnpRefusal::Certificate(Part::Ark, error))
            .and_then(|ark| Authority::amd(Part::Ark, &ark));
        let built_in = |raw| BuiltIn { raw, checked: OnceLock::new() };
        let (ask, asvk) = (built_in(roots.ask), built_in(roots.asvk));
        Self { product: roots.product, ark, ask, asvk, raw: roots.ark }
    }

    /// The root.
    pub(crate) fn ark(&self) -> Result<&Authority, SnpRefusal> {
        self.ark.as_ref().map_err(Clone::clone)
    }

    /// Whether these are the bytes of the root.
    pub(crate) fn is_ark(&self, raw: &[u8]) -> bool {
        self.raw == raw
    }

    /// The built-in intermediate of that kind, if the root issued it.
    pub(crate) fn built_in(
        &self,
        crypto: &dyn Crypto,
        kind: SigningKey,
    ) -> Result<&Authority, SnpRefusal> {
        let built_in = self.of_kind(kind);
        let checked = built_in.checked.get_or_init(|| {
            let certificate = Certificate::parse(&built_in.raw)
                .map_err(|error| SnpRefusal::Certificate(Part::Ask, error))?;
            intermediate(crypto, self.ark()?, &certificate)
        });
        checked.as_ref().map_err(Clone::clone)
    }

    /// Whether these are the bytes of the built-in intermediate of that kind.
    pub(crate) fn is_built_in(&self, kind: SigningKey, raw: &[u8]) -> bool {
        self.of_kind(kind).raw == raw
    }

    fn of_kind(&self, kind: SigningKey) -> &BuiltIn {
        match kind {
            SigningKey::Vcek => &self.ask,
            SigningKey::Vlek => &self.asvk,
        }
    }
}

/// An intermediate authority, if the root issued it.
pub(crate) fn intermediate(
    crypto: &dyn Crypto,
    ark: &Authority,
    certificate: &Certificate<'_>,
) -> Result<Authority, SnpRefusal> {
    ark.check_issued(crypto, certificate.issuer, &certificate.signature)
        .map_err(|error| SnpRefusal::Certificate(Part::Ask, error))?;
    Authority::amd(Part::Ask, certificate)
}

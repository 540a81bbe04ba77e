// SPDX-License-Identifier: Apache-2.0

//! Certificate requests, PKCS#10 (RFC 2986), with evidence in them or without.

use crate::certificate::{name, sign};
use crate::der_writer::Der;
use crate::keys::Key;

/// OIDs of attributes, as numbers with dots.
pub mod attribute {
    /// `extensionRequest` (RFC 2985, 5.4.2).
    pub const EXTENSION_REQUEST: &str = "1.2.840.113549.1.9.14";
    /// `id-aa-attestation` (draft-ietf-lamps-csr-attestation).
    pub const ATTESTATION: &str = "1.2.840.113549.1.9.16.2.59";
    /// `challengePassword` (RFC 2985, 5.4.1).
    pub const CHALLENGE_PASSWORD: &str = "1.2.840.113549.1.9.7";
}

/// A request in the making. Setters replace or add; nothing is checked.
#[derive(Debug, Clone, Default)]
pub struct RequestBuilder {
    version: u64,
    subject: Option<Vec<u8>>,
    extensions: Vec<(String, bool, Vec<u8>)>,
    statements: Vec<(String, Vec<u8>)>,
    certificates: Vec<Vec<u8>>,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
    algorithm: Option<Vec<u8>>,
    spoil: bool,
}

impl RequestBuilder {
    /// A request of version 1 without attributes, for the common name `keep`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number in the version field (0 for version 1).
    #[must_use]
    pub fn version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    /// DER `Name` of the subject.
    #[must_use]
    pub fn subject(mut self, name: &[u8]) -> Self {
        self.subject = Some(name.into());
        self
    }

    /// An extension in `extensionRequest`.
    #[must_use]
    pub fn extension(mut self, oid: &str, critical: bool, value: &[u8]) -> Self {
        self.extensions.push((oid.into(), critical, value.into()));
        self
    }

    /// A statement, DER of some kind, in `id-aa-attestation`.
    #[must_use]
    pub fn attestation(mut self, oid: &str, statement: &[u8]) -> Self {
        self.statements.push((oid.into(), statement.into()));
        self
    }

    /// A certificate besides the statements in `id-aa-attestation`.
    #[must_use]
    pub fn attestation_certificate(mut self, certificate: &[u8]) -> Self {
        self.certificates.push(certificate.into());
        self
    }

    /// An attribute with those values, each DER.
    #[must_use]
    pub fn attribute(mut self, oid: &str, values: &[&[u8]]) -> Self {
        self.attributes.push((oid.into(), values.iter().map(|value| value.to_vec()).collect()));
        self
    }

    /// DER `AlgorithmIdentifier` of the signature, whatever made it.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Vec<u8>) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// A signature that does not verify.
    #[must_use]
    pub fn spoiled(mut self) -> Self {
        self.spoil = true;
        self
    }

    /// DER of the request for a new key on P-384, and the key.
    #[must_use]
    pub fn p384(&self) -> (Vec<u8>, Key) {
        let key = Key::p384();
        (self.sign(&key), key)
    }

    /// DER of the request for a new key on P-256, and the key.
    #[must_use]
    pub fn p256(&self) -> (Vec<u8>, Key) {
        let key = Key::p256();
        (self.sign(&key), key)
    }

    /// DER of the request for that key, signed by it.
    #[must_use]
    pub fn sign(&self, key: &Key) -> Vec<u8> {
        self.sign_for(&key.spki(), key)
    }

    /// DER of the request for one key, signed by another.
    #[must_use]
    pub fn sign_for(&self, spki: &[u8], key: &Key) -> Vec<u8> {
        let subject = self.subject.clone().unwrap_or_else(|| name(&[("2.5.4.3", "keep", false)]));
        let info = Der::build(|der| {
            der.sequence(|der| {
                der.number(self.version).raw(&subject).raw(spki);
                der.context(0, |der| self.write_attributes(der));
            });
        });
        let algorithm = self.algorithm.clone().unwrap_or_else(|| key.algorithm(false));
        sign(&info, &algorithm, key, self.spoil)
    }

    fn write_attributes(&self, der: &mut Der) {
        if !self.extensions.is_empty() {
            write_attribute(der, attribute::EXTENSION_REQUEST, |der| {
                der.sequence(|der| {
                    for (oid, critical, value) in &self.extensions {
                        der.sequence(|der| {
                            der.oid(oid);
                            if *critical {
                                der.boolean(true);
                            }
                            der.octets(value);
                        });
                    }
                });
            });
        }
        if !self.statements.is_empty() || !self.certificates.is_empty() {
            write_attribute(der, attribute::ATTESTATION, |der| {
                der.raw(&self.bundle());
            });
        }
        for (oid, values) in &self.attributes {
            write_attribute(der, oid, |der| {
                for value in values {
                    der.raw(value);
                }
            });
        }
    }

    /// DER `AttestationBundle` of the statements, for a test that puts it into an attribute itself.
    #[must_use]
    pub fn bundle(&self) -> Vec<u8> {
        Der::build(|der| {
            der.sequence(|der| {
                der.sequence(|der| {
                    for (oid, statement) in &self.statements {
                        der.sequence(|der| {
                            der.oid(oid).raw(statement);
                        });
                    }
                });
                if !self.certificates.is_empty() {
                    der.sequence(|der| {
                        for certificate in &self.certificates {
                            der.raw(certificate);
                        }
                    });
                }
            });
        })
    }
}

fn write_attribute(der: &mut Der, oid: &str, fill: impl FnOnce(&mut Der)) {
    der.sequence(|der| {
        der.oid(oid).set(fill);
    });
}

// SPDX-License-Identifier: Apache-2.0

//! Certificates and revocation lists of which a test chooses each part.

use evidence_pki::Time;

use crate::der_writer::Der;
use crate::keys::Key;

/// OIDs of extensions, as numbers with dots.
pub mod extension {
    /// `subjectKeyIdentifier`.
    pub const SUBJECT_KEY_ID: &str = "2.5.29.14";
    /// `keyUsage`.
    pub const KEY_USAGE: &str = "2.5.29.15";
    /// `basicConstraints`.
    pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
    /// `cRLNumber`.
    pub const CRL_NUMBER: &str = "2.5.29.20";
    /// `cRLDistributionPoints`.
    pub const CRL_DISTRIBUTION_POINTS: &str = "2.5.29.31";
    /// `authorityKeyIdentifier`.
    pub const AUTHORITY_KEY_ID: &str = "2.5.29.35";
}

/// Bits of `keyUsage`, its first byte.
pub mod usage {
    /// `digitalSignature` and `nonRepudiation`, as Intel's leaves have them.
    pub const SIGN: u8 = 0xc0;
    /// `keyCertSign` and `cRLSign`.
    pub const CERTIFICATES_AND_CRLS: u8 = 0x06;
    /// `keyCertSign` alone.
    pub const CERTIFICATES: u8 = 0x04;
}

type Extensions = Vec<(String, bool, Vec<u8>)>;

fn write_extensions(der: &mut Der, number: u8, extensions: &Extensions) {
    if extensions.is_empty() {
        return;
    }
    der.context(number, |der| {
        der.sequence(|der| {
            for (oid, critical, value) in extensions {
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

fn put_extension(extensions: &mut Extensions, oid: &str, critical: bool, value: Vec<u8>) {
    match extensions.iter_mut().find(|one| one.0 == oid) {
        Some(one) => (one.1, one.2) = (critical, value),
        None => extensions.push((oid.into(), critical, value)),
    }
}

/// The outer form of certificates, lists and requests.
pub(crate) fn sign(tbs: &[u8], algorithm: &[u8], key: &Key, spoil: bool) -> Vec<u8> {
    let mut signature = key.sign(tbs);
    if spoil {
        *signature.last_mut().expect("a signature has bytes") ^= 1;
    }
    Der::build(|der| {
        der.sequence(|der| {
            der.raw(tbs).raw(algorithm).bits(&signature);
        });
    })
}

/// A certificate in the making. Setters replace; nothing is checked.
#[derive(Debug, Clone)]
pub struct CertificateBuilder {
    version: Option<u64>,
    serial: Vec<u8>,
    issuer: Vec<u8>,
    subject: Vec<u8>,
    validity: (Time, Time),
    spki: Vec<u8>,
    extensions: Extensions,
    trailer: bool,
    algorithm: Option<Vec<u8>>,
    inner_algorithm: Option<Vec<u8>>,
    spoil: bool,
}

impl CertificateBuilder {
    /// A certificate of version 3 with the serial number 1, without extensions, valid from 1970 to 9999.
    #[must_use]
    pub fn new(issuer: &[u8], subject: &[u8], spki: Vec<u8>) -> Self {
        Self {
            version: Some(2),
            serial: vec![1],
            issuer: issuer.into(),
            subject: subject.into(),
            validity: (Time::from_unix(0), Time::MAX),
            spki,
            extensions: Vec::new(),
            trailer: false,
            algorithm: None,
            inner_algorithm: None,
            spoil: false,
        }
    }

    /// The number in the version field (2 for version 3), or none.
    #[must_use]
    pub fn version(mut self, version: Option<u64>) -> Self {
        self.version = version;
        self
    }

    /// The serial number, big-endian.
    #[must_use]
    pub fn serial(mut self, serial: &[u8]) -> Self {
        self.serial = serial.into();
        self
    }

    /// DER `Name` of the issuer.
    #[must_use]
    pub fn issuer(mut self, name: &[u8]) -> Self {
        self.issuer = name.into();
        self
    }

    /// DER `Name` of the subject.
    #[must_use]
    pub fn subject(mut self, name: &[u8]) -> Self {
        self.subject = name.into();
        self
    }

    /// Validity, both ends included.
    #[must_use]
    pub fn validity(mut self, not_before: Time, not_after: Time) -> Self {
        self.validity = (not_before, not_after);
        self
    }

    /// DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(mut self, spki: Vec<u8>) -> Self {
        self.spki = spki;
        self
    }

    /// An extension, in place of one of the same kind if there is one.
    #[must_use]
    pub fn extension(mut self, oid: &str, critical: bool, value: Vec<u8>) -> Self {
        put_extension(&mut self.extensions, oid, critical, value);
        self
    }

    /// An extension, although there is one of the same kind already.
    #[must_use]
    pub fn second_extension(mut self, oid: &str, critical: bool, value: Vec<u8>) -> Self {
        self.extensions.push((oid.into(), critical, value));
        self
    }

    /// No extension of that kind.
    #[must_use]
    pub fn without(mut self, oid: &str) -> Self {
        self.extensions.retain(|one| one.0 != oid);
        self
    }

    /// `basicConstraints`, critical.
    #[must_use]
    pub fn basic_constraints(self, authority: bool, path_length: Option<u64>) -> Self {
        let value = Der::build(|der| {
            der.sequence(|der| {
                if authority {
                    der.boolean(true);
                }
                if let Some(length) = path_length {
                    der.number(length);
                }
            });
        });
        self.extension(extension::BASIC_CONSTRAINTS, true, value)
    }

    /// `keyUsage`, critical, with those bits (see [`usage`]).
    #[must_use]
    pub fn key_usage(self, bits: u8) -> Self {
        let unused = bits.trailing_zeros().min(7) as u8;
        self.extension(extension::KEY_USAGE, true, vec![3, 2, unused, bits])
    }

    /// `subjectKeyIdentifier`.
    #[must_use]
    pub fn subject_key_id(self, identifier: &[u8]) -> Self {
        let value = Der::build(|der| {
            der.octets(identifier);
        });
        self.extension(extension::SUBJECT_KEY_ID, false, value)
    }

    /// `authorityKeyIdentifier`.
    #[must_use]
    pub fn authority_key_id(self, identifier: &[u8]) -> Self {
        self.extension(extension::AUTHORITY_KEY_ID, false, authority_key_id(identifier))
    }

    /// `cRLDistributionPoints` with one address.
    #[must_use]
    pub fn crl_at(self, url: &str) -> Self {
        let value = Der::build(|der| {
            der.sequence(|der| {
                der.sequence(|der| {
                    der.context(0, |der| {
                        der.context(0, |der| {
                            der.implicit(6, url.as_bytes());
                        });
                    });
                });
            });
        });
        self.extension(extension::CRL_DISTRIBUTION_POINTS, false, value)
    }

    /// Whether the parameters of RSASSA-PSS name their default trailer field, as AMD's older ones do.
    #[must_use]
    pub fn explicit_trailer(mut self, explicit: bool) -> Self {
        self.trailer = explicit;
        self
    }

    /// DER `AlgorithmIdentifier` of the signature, whatever made it.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Vec<u8>) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Another algorithm inside the signed part than outside.
    #[must_use]
    pub fn inner_algorithm(mut self, algorithm: Vec<u8>) -> Self {
        self.inner_algorithm = Some(algorithm);
        self
    }

    /// A signature that does not verify.
    #[must_use]
    pub fn spoiled(mut self) -> Self {
        self.spoil = true;
        self
    }

    /// DER of the certificate, signed by that key.
    #[must_use]
    pub fn sign(&self, key: &Key) -> Vec<u8> {
        let algorithm = self.algorithm.clone().unwrap_or_else(|| key.algorithm(self.trailer));
        let tbs = Der::build(|der| {
            der.sequence(|der| {
                if let Some(version) = self.version {
                    der.context(0, |der| {
                        der.number(version);
                    });
                }
                der.integer(&self.serial)
                    .raw(self.inner_algorithm.as_ref().unwrap_or(&algorithm))
                    .raw(&self.issuer)
                    .sequence(|der| {
                        der.time(self.validity.0).time(self.validity.1);
                    })
                    .raw(&self.subject)
                    .raw(&self.spki);
                write_extensions(der, 3, &self.extensions);
            });
        });
        sign(&tbs, &algorithm, key, self.spoil)
    }
}

fn authority_key_id(identifier: &[u8]) -> Vec<u8> {
    Der::build(|der| {
        der.sequence(|der| {
            der.implicit(0, identifier);
        });
    })
}

/// A revocation list in the making. Setters replace; nothing is checked.
#[derive(Debug, Clone)]
pub struct CrlBuilder {
    issuer: Vec<u8>,
    this_update: Time,
    next_update: Option<Time>,
    revoked: Vec<(Vec<u8>, Time)>,
    extensions: Extensions,
    spoil: bool,
}

impl CrlBuilder {
    /// An empty list of version 2 with the number 1.
    #[must_use]
    pub fn new(issuer: &[u8], this_update: Time, next_update: Time) -> Self {
        Self {
            issuer: issuer.into(),
            this_update,
            next_update: Some(next_update),
            revoked: Vec::new(),
            extensions: Vec::new(),
            spoil: false,
        }
        .number(1)
    }

    /// DER `Name` of the issuer.
    #[must_use]
    pub fn issuer(mut self, name: &[u8]) -> Self {
        self.issuer = name.into();
        self
    }

    /// No date of the next list.
    #[must_use]
    pub fn without_next_update(mut self) -> Self {
        self.next_update = None;
        self
    }

    /// Names a serial number, big-endian, as revoked, from the list's own date on.
    #[must_use]
    pub fn revoke(mut self, serial: &[u8]) -> Self {
        self.revoked.push((serial.into(), self.this_update));
        self
    }

    /// `cRLNumber`.
    #[must_use]
    pub fn number(self, number: u64) -> Self {
        let value = Der::build(|der| {
            der.number(number);
        });
        self.extension(extension::CRL_NUMBER, false, value)
    }

    /// `authorityKeyIdentifier`.
    #[must_use]
    pub fn authority_key_id(self, identifier: &[u8]) -> Self {
        self.extension(extension::AUTHORITY_KEY_ID, false, authority_key_id(identifier))
    }

    /// An extension, in place of one of the same kind if there is one.
    #[must_use]
    pub fn extension(mut self, oid: &str, critical: bool, value: Vec<u8>) -> Self {
        put_extension(&mut self.extensions, oid, critical, value);
        self
    }

    /// A signature that does not verify.
    #[must_use]
    pub fn spoiled(mut self) -> Self {
        self.spoil = true;
        self
    }

    /// DER of the list, signed by that key.
    #[must_use]
    pub fn sign(&self, key: &Key) -> Vec<u8> {
        let algorithm = key.algorithm(false);
        let tbs = Der::build(|der| {
            der.sequence(|der| {
                der.number(1).raw(&algorithm).raw(&self.issuer).time(self.this_update);
                if let Some(next_update) = self.next_update {
                    der.time(next_update);
                }
                if !self.revoked.is_empty() {
                    der.sequence(|der| {
                        for (serial, date) in &self.revoked {
                            der.sequence(|der| {
                                der.integer(serial).time(*date);
                            });
                        }
                    });
                }
                write_extensions(der, 0, &self.extensions);
            });
        });
        sign(&tbs, &algorithm, key, self.spoil)
    }
}

/// A DER `Name`: each part an OID, a text, and whether it is a `PrintableString` instead of a `UTF8String`.
pub(crate) fn name(parts: &[(&str, &str, bool)]) -> Vec<u8> {
    Der::build(|der| {
        der.sequence(|der| {
            for (oid, text, printable) in parts {
                der.set(|der| {
                    der.sequence(|der| {
                        der.oid(oid);
                        if *printable {
                            der.printable(text)
                        } else {
                            der.utf8(text)
                        };
                    });
                });
            }
        });
    })
}

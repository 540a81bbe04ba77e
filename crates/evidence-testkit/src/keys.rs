// SPDX-License-Identifier: Apache-2.0

//! Keys of the three kinds that vendors have, made anew in each process.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PSS_SHA384, RsaKeyPair,
};

use crate::der_writer::{Der, pem};

/// A key pair.
pub struct Key(Kind);

enum Kind {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    /// A new key on P-256, which signs with SHA-256.
    #[must_use]
    pub fn p256() -> Self {
        Self(Kind::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key")))
    }

    /// A new key on P-384, which signs with SHA-384.
    #[must_use]
    pub fn p384() -> Self {
        Self(Kind::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key")))
    }

    /// A new RSA key of 4096 bits, which signs by RSASSA-PSS with SHA-384. Takes about a second.
    #[must_use]
    pub fn rsa() -> Self {
        Self(Kind::Rsa(RsaKeyPair::generate(KeySize::Rsa4096).expect("a key")))
    }

    /// The public key: an uncompressed point, or DER `RSAPublicKey`.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        match &self.0 {
            Kind::P256(key) | Kind::P384(key) => key.public_key().as_ref(),
            Kind::Rsa(key) => key.public_key().as_ref(),
        }
    }

    /// DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        Der::build(|der| {
            der.sequence(|der| {
                der.sequence(|der| {
                    match &self.0 {
                        Kind::P256(_) => der.oid("1.2.840.10045.2.1").oid("1.2.840.10045.3.1.7"),
                        Kind::P384(_) => der.oid("1.2.840.10045.2.1").oid("1.3.132.0.34"),
                        Kind::Rsa(_) => der.oid("1.2.840.113549.1.1.1").null(),
                    };
                });
                der.bits(self.public());
            });
        })
    }

    /// Key identifier: SHA-1 of the public key (RFC 5280, 4.2.1.2).
    #[must_use]
    pub fn identifier(&self) -> Vec<u8> {
        digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, self.public()).as_ref().to_vec()
    }

    /// DER `AlgorithmIdentifier` of its signatures. With `trailer` the parameters of RSASSA-PSS name
    /// their default trailer field, as AMD's older certificates do.
    #[must_use]
    pub fn algorithm(&self, trailer: bool) -> Vec<u8> {
        let sha384 = |der: &mut Der| {
            der.sequence(|der| {
                der.oid("2.16.840.1.101.3.4.2.2").null();
            });
        };
        Der::build(|der| {
            der.sequence(|der| match &self.0 {
                Kind::P256(_) => {
                    der.oid("1.2.840.10045.4.3.2");
                }
                Kind::P384(_) => {
                    der.oid("1.2.840.10045.4.3.3");
                }
                Kind::Rsa(_) => {
                    der.oid("1.2.840.113549.1.1.10").sequence(|der| {
                        der.context(0, sha384);
                        der.context(1, |der| {
                            der.sequence(|der| {
                                der.oid("1.2.840.113549.1.1.8");
                                sha384(der);
                            });
                        });
                        der.context(2, |der| {
                            der.number(48);
                        });
                        if trailer {
                            der.context(3, |der| {
                                der.number(1);
                            });
                        }
                    });
                }
            });
        })
    }

    /// A signature as certificates hold it: DER `Ecdsa-Sig-Value`, or the bytes of RSASSA-PSS.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.0 {
            Kind::P256(_) | Kind::P384(_) => {
                let fixed = self.sign_fixed(message);
                let (r, s) = fixed.split_at(fixed.len() / 2);
                Der::build(|der| {
                    der.sequence(|der| {
                        der.integer(r).integer(s);
                    });
                })
            }
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), message, &mut signature)
                    .expect("a signature");
                signature
            }
        }
    }

    /// An ECDSA signature as quotes hold it: `r ‖ s`, big-endian, each as long as the curve.
    ///
    /// # Panics
    ///
    /// For an RSA key.
    #[must_use]
    pub fn sign_fixed(&self, message: &[u8]) -> Vec<u8> {
        match &self.0 {
            Kind::P256(key) | Kind::P384(key) => {
                key.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
            }
            Kind::Rsa(_) => panic!("an RSA key makes no ECDSA signature"),
        }
    }

    /// The private key of a curve in PEM, PKCS#8, for programs that read keys from files.
    ///
    /// # Panics
    ///
    /// For an RSA key.
    #[must_use]
    pub fn to_pem(&self) -> String {
        match &self.0 {
            Kind::P256(key) | Kind::P384(key) => {
                pem("PRIVATE KEY", key.to_pkcs8v1().expect("PKCS#8").as_ref())
            }
            Kind::Rsa(_) => panic!("RSA keys are the vendor's alone"),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::P256(_) => "Key(P-256)",
            Kind::P384(_) => "Key(P-384)",
            Kind::Rsa(_) => "Key(RSA-4096)",
        })
    }
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

/// SHA-384.
#[must_use]
pub fn sha384(bytes: &[u8]) -> [u8; 48] {
    digest::digest(&digest::SHA384, bytes).as_ref().try_into().expect("48 bytes")
}

/// SHA-512.
#[must_use]
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    digest::digest(&digest::SHA512, bytes).as_ref().try_into().expect("64 bytes")
}

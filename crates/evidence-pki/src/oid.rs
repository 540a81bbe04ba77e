// SPDX-License-Identifier: Apache-2.0

//! Object identifiers that certificates, lists and requests have in common.

use der::asn1::ObjectIdentifier as Oid;

/// Builds the list, each with the words of its specification.
macro_rules! oids {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Oid = Oid::new_unwrap($text);)*
    };
}

oids! {
    /// `id-ecPublicKey` (RFC 5480).
    EC_PUBLIC_KEY = "1.2.840.10045.2.1";
    /// `secp256r1` (RFC 5480).
    P256 = "1.2.840.10045.3.1.7";
    /// `secp384r1` (RFC 5480).
    P384 = "1.3.132.0.34";
    /// `rsaEncryption` (RFC 8017).
    RSA = "1.2.840.113549.1.1.1";
    /// `id-RSASSA-PSS` (RFC 8017).
    RSA_PSS = "1.2.840.113549.1.1.10";
    /// `id-mgf1` (RFC 8017).
    MGF1 = "1.2.840.113549.1.1.8";
    /// `id-sha384` (RFC 5754).
    SHA384 = "2.16.840.1.101.3.4.2.2";
    /// `ecdsa-with-SHA256` (RFC 5758).
    ECDSA_SHA256 = "1.2.840.10045.4.3.2";
    /// `ecdsa-with-SHA384` (RFC 5758).
    ECDSA_SHA384 = "1.2.840.10045.4.3.3";
    /// `id-at-commonName` (RFC 5280).
    COMMON_NAME = "2.5.4.3";
    /// `id-at-organizationName` (RFC 5280).
    ORGANIZATION = "2.5.4.10";
    /// `id-ce-subjectKeyIdentifier` (RFC 5280, 4.2.1.2).
    SUBJECT_KEY_ID = "2.5.29.14";
    /// `id-ce-keyUsage` (RFC 5280, 4.2.1.3).
    KEY_USAGE = "2.5.29.15";
    /// `id-ce-subjectAltName` (RFC 5280, 4.2.1.6).
    SUBJECT_ALT_NAME = "2.5.29.17";
    /// `id-ce-basicConstraints` (RFC 5280, 4.2.1.9).
    BASIC_CONSTRAINTS = "2.5.29.19";
    /// `id-ce-cRLNumber` (RFC 5280, 5.2.3).
    CRL_NUMBER = "2.5.29.20";
    /// `id-ce-nameConstraints` (RFC 5280, 4.2.1.10).
    NAME_CONSTRAINTS = "2.5.29.30";
    /// `id-ce-cRLDistributionPoints` (RFC 5280, 4.2.1.13).
    CRL_DISTRIBUTION_POINTS = "2.5.29.31";
    /// `id-ce-certificatePolicies` (RFC 5280, 4.2.1.4).
    CERTIFICATE_POLICIES = "2.5.29.32";
    /// `id-ce-authorityKeyIdentifier` (RFC 5280, 4.2.1.1).
    AUTHORITY_KEY_ID = "2.5.29.35";
    /// `id-ce-extKeyUsage` (RFC 5280, 4.2.1.12).
    EXT_KEY_USAGE = "2.5.29.37";
    /// `id-kp-serverAuth` (RFC 5280, 4.2.1.12).
    SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
    /// `id-kp-clientAuth` (RFC 5280, 4.2.1.12).
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
    /// `pkcs-9-at-extensionRequest` (RFC 2985, 5.4.2).
    EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
    /// `id-aa-attestation` (draft-ietf-lamps-csr-attestation).
    ATTESTATION = "1.2.840.113549.1.9.16.2.59";
}

// SPDX-License-Identifier: Apache-2.0

//! What a Steward verified, written into the certificate that it issues.
//!
//! A certificate of a Keep is an ordinary one: any TLS peer can check its chain and its names. But a chain
//! says only *that* a Steward let a Keep in. Which processor, which code, how old a firmware, under which
//! policy: that stands in one extension, [`OID`], which is not critical, so that who does not know it is
//! not disturbed. Who does know it ([`CertificateClaims::from_der`]) can ask for more than the Steward
//! did.
//!
//! The extension's value is the DER of `KeepClaims`:
//!
//! ```text
//! EnarxKeepClaims { iso(1) identified-organization(3) dod(6) internet(1) private(4) enterprise(1)
//!                   58270 steward(2) keep-claims(1) }
//! DEFINITIONS IMPLICIT TAGS ::= BEGIN
//!
//! KeepClaims ::= SEQUENCE {
//!   version           INTEGER { v1(1) },
//!   platform          UTF8String (SIZE (1..32)),      -- snp, sgx, tdx, development
//!   product           UTF8String (SIZE (1..64)),      -- Milan; FMSPC 00606a000000; development; snp-sim
//!   measurement       OCTET STRING (SIZE (32 | 48)),  -- MRENCLAVE; MEASUREMENT or MRTD
//!   debug             ENUMERATED { no(0) },
//!   fresh             BOOLEAN,                        -- a nonce of the Steward was bound
//!   verifiedAt        GeneralizedTime,                -- YYYYMMDDHHMMSSZ
//!   policy            OCTET STRING (SIZE (32)),       -- SHA-256 of the policy's text
//!   svns              SEQUENCE SIZE (0..64) OF Svn,
//!   advisories        SEQUENCE SIZE (0..128) OF UTF8String (SIZE (1..64)),
//!   signer            [0] OCTET STRING (SIZE (32 | 48)) OPTIONAL,
//!   tcbStatus         [1] UTF8String (SIZE (1..64)) OPTIONAL,
//!   workload          [2] Workload OPTIONAL,
//!   policyUrl         [3] UTF8String (SIZE (1..512)) OPTIONAL,
//!   evaluationNumber  [4] INTEGER (0..4294967295) OPTIONAL
//! }
//!
//! Svn ::= SEQUENCE { name UTF8String (SIZE (1..64)), value INTEGER (0..18446744073709551615) }
//!
//! Workload ::= SEQUENCE {
//!   digest            UTF8String,                     -- sha256:, sha384: or sha512:, and lower hex
//!   slug              [0] UTF8String (SIZE (1..512)) OPTIONAL
//! }
//! END
//! ```
//!
//! Every text is printable ASCII, so it can be shown on a terminal as it is. `debug` is an enumeration of
//! one value rather than a BOOLEAN, whose FALSE might one day be left out as a default: the certificate
//! has to *say* no, and there is no way to say yes. The whole value has at most
//! [`CertificateClaims::MAX_SIZE`] bytes, and exactly one encoding for given claims.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod claims;
mod workload;

pub use claims::{CertificateClaims, ClaimsError};
pub use evidence_pki::{ObjectIdentifier, Time};
pub use workload::{Workload, WorkloadError};

/// The extension's kind.
pub const OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.58270.2.1");

// SPDX-License-Identifier: Apache-2.0

//! Sigstore bundles, verified offline against a trusted root that the caller gives.
//!
//! What is proven, in this order:
//!
//! 1. The bundle is about the workload: its message digest is the workload digest.
//! 2. A log of the trusted root took the signature in at a certain time: its *signed entry timestamp* covers
//!    entry and time, and the entry names digest, signature and certificate of the bundle.
//! 3. The entry is in the log: a Merkle proof (RFC 6962, 2.1.1) leads to a checkpoint that the log signed.
//! 4. At that time, the certificate was valid and led to a certificate authority of the trusted root. The
//!    key in it lived for minutes, so no other time will do.
//! 5. The certificate names one of the identities that count.
//! 6. The key in it signed the digest.
//!
//! Understood are bundles of version 0.3 with a message signature by ECDSA over P-256 and entries of the kind
//! `hashedrekord` 0.0.1, which is what `cosign sign-blob` makes with Rekor's first interface. Attestations
//! (DSSE), time stamp authorities (RFC 3161), Rekor's second interface and the certificate's own transparency
//! (SCT) are not looked at; a bundle that has nothing else to show is refused.

mod bundle;
mod log;
mod root;

use aws_lc_rs::digest::{Digest, SHA256};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use evidence_crypto::AwsLc;
use evidence_pki::{Certificate, Cursor, ObjectIdentifier, PkiError, Time, oid, tag};

use crate::SignatureError;
use root::Authority;

pub use bundle::MAX_BUNDLE;
pub use root::TrustedRoot;

const WHAT: &str = "the bundle";
/// `id-kp-codeSigning` (RFC 5280, 4.2.1.12).
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
/// Fulcio's "Issuer (V2)": a DER UTF8String.
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");

/// Somebody whose signatures count: who vouches for them, and what they are called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// URL of the OpenID Connect issuer.
    pub issuer: String,
    /// The subject alternative name of the certificate: a mail address or URI.
    pub subject: String,
}

/// What a bundle proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who signed.
    pub identity: Identity,
    /// When the log took it in, in seconds since 1970.
    pub time: u64,
}

/// Checks that a bundle (`application/vnd.dev.sigstore.bundle.v0.3+json`) signs the content with that
/// SHA-256 digest, by one of `identities`.
///
/// # Errors
///
/// [`SignatureError`]; of several entries in logs, the reason of the last.
pub fn verify_sigstore(
    bundle: &[u8],
    digest: &[u8; 32],
    identities: &[Identity],
    root: &TrustedRoot,
) -> Result<Verified, SignatureError> {
    let bundle = bundle::Bundle::from_json(bundle)?;
    if bundle.digest != digest {
        return Err(SignatureError::OtherContent);
    }
    let mut last = SignatureError::Log("there is no entry of a log");
    for entry in &bundle.entries {
        match log::verify(entry, &bundle, root)
            .and_then(|time| Ok((time, certificate(&bundle.certificate, time, &root.authorities)?)))
        {
            Ok((time, identity)) => {
                if !identities.contains(&identity) {
                    let Identity { issuer, subject } = identity;
                    return Err(SignatureError::OtherIdentity { issuer, subject });
                }
                signature(&bundle, digest)?;
                return Ok(Verified { identity, time: time.unix() });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether the certificate leads to one of the authorities at that time; whom it names.
fn certificate(
    der: &[u8],
    time: Time,
    authorities: &[Authority],
) -> Result<Identity, SignatureError> {
    let malformed = |error| SignatureError::malformed("the signer's certificate", error);
    let leaf = Certificate::parse(der).map_err(malformed)?;
    let mut last = PkiError::WrongIssuer;
    let mut is_good = false;
    for authority in authorities.iter().filter(|one| one.validity.contains(time)) {
        match chain(&leaf, time, authority) {
            Ok(()) => {
                is_good = true;
                break;
            }
            Err(error) => last = error,
        }
    }
    if !is_good {
        return Err(SignatureError::Chain(last));
    }
    let subject = subject(&leaf).map_err(malformed)?;
    let issuer = issuer(&leaf).map_err(malformed)?;
    Ok(Identity { issuer, subject })
}

fn chain(leaf: &Certificate<'_>, time: Time, authority: &Authority) -> Result<(), PkiError> {
    leaf.check_critical(&[
        oid::KEY_USAGE,
        oid::EXT_KEY_USAGE,
        oid::SUBJECT_ALT_NAME,
        oid::BASIC_CONSTRAINTS,
    ])?;
    leaf.check_time(time)?;
    let is_authority = leaf.basic_constraints()?.is_some_and(|constraints| constraints.authority);
    let may_sign = leaf.key_usage()?.is_some_and(|usage| usage.may_sign());
    if is_authority || !may_sign || !is_for_code(leaf)? {
        return Err(PkiError::Malformed("leaf: not for signing code"));
    }
    let mut last = leaf.clone();
    for (below, der) in authority.chain.iter().enumerate() {
        let issuer = Certificate::parse(der)?;
        issuer.check_critical(&[oid::KEY_USAGE, oid::BASIC_CONSTRAINTS, oid::EXT_KEY_USAGE])?;
        issuer.check_time(time)?;
        last.check_issued_by(&AwsLc, &issuer)?;
        let limit = issuer.basic_constraints()?.and_then(|constraints| constraints.path_length);
        if limit.is_some_and(|limit| limit < below as u64) {
            return Err(PkiError::NotAnAuthority);
        }
        last = issuer;
    }
    Ok(())
}

fn is_for_code(leaf: &Certificate<'_>) -> Result<bool, PkiError> {
    let Some(usage) = leaf.extension(oid::EXT_KEY_USAGE) else { return Ok(false) };
    let mut list = Cursor::whole(usage.value, tag::SEQUENCE, "extKeyUsage")?;
    let mut found = false;
    while !list.is_done() {
        found |= list.oid()? == CODE_SIGNING;
    }
    Ok(found)
}

/// The only subject alternative name: `rfc822Name` or `uniformResourceIdentifier` (RFC 5280, 4.2.1.6).
fn subject(leaf: &Certificate<'_>) -> Result<String, PkiError> {
    const NAME: PkiError = PkiError::Malformed("subjectAltName");
    let extension = leaf.extension(oid::SUBJECT_ALT_NAME).ok_or(NAME)?;
    let mut names = Cursor::whole(extension.value, tag::SEQUENCE, "subjectAltName")?;
    let name = names.next()?;
    names.finish()?;
    if ![tag::context(1), tag::context(6)].contains(&name.tag) {
        return Err(NAME);
    }
    text(name.value).ok_or(NAME)
}

fn issuer(leaf: &Certificate<'_>) -> Result<String, PkiError> {
    const NAME: PkiError = PkiError::Malformed("issuer extension");
    let extension = leaf.extension(ISSUER).ok_or(NAME)?;
    let mut cursor = Cursor::new(extension.value, "issuer extension");
    let value = cursor.expect(tag::UTF8_STRING)?.value;
    cursor.finish()?;
    text(value).ok_or(NAME)
}

/// Text that can be shown and compared: no controls.
fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn signature(bundle: &bundle::Bundle, digest: &[u8; 32]) -> Result<(), SignatureError> {
    let leaf = Certificate::parse(&bundle.certificate)
        .map_err(|error| SignatureError::malformed("the signer's certificate", error))?;
    let evidence_pki::PublicKey::P256(point) = leaf.key else {
        return Err(SignatureError::Unsupported("a bundle by a key that is not of P-256".into()));
    };
    let bad = |_| SignatureError::BadSignature("the bundle");
    let digest = Digest::import_less_safe(digest, &SHA256).map_err(bad)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
        .verify_digest(&digest, &bundle.signature)
        .map_err(bad)
}

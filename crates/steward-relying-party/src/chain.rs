// SPDX-License-Identifier: Apache-2.0

//! From a Keep's certificate to a root that is trusted (RFC 5280, section 6.1, as far as the chains of
//! Stewards go).
//!
//! A Steward's chain has no name constraints, no policies and no revocation: leaves are short-lived. An
//! authority that has a critical extension beyond the two that are looked at here is refused.

use evidence_crypto::Crypto;
use evidence_pki::{Certificate, Cursor, PkiError, Time, oid, tag};

use crate::{MAX_CHAIN, PartyRefusal};

/// Authorities between a leaf and its root: more than any Steward has.
const MAX_DEPTH: usize = 4;

/// The leaf, if it leads to a root.
pub(crate) fn verify<'l>(
    leaf: &'l [u8],
    chain: &[&[u8]],
    now: Time,
    crypto: &dyn Crypto,
    roots: &[&[u8]],
) -> Result<Certificate<'l>, PartyRefusal> {
    if chain.len() > MAX_CHAIN {
        return Err(PartyRefusal::ChainTooLong);
    }
    let leaf = parse(leaf, "certificate of the Keep")?;
    check_leaf(&leaf)?;
    check_time(&leaf, now, "certificate of the Keep")?;
    let chain = parse_all(chain, "chain")?;
    let roots = parse_all(roots, "root")?;

    let mut current = &leaf;
    // Every step up is one more authority that the next one must allow below itself.
    for depth in 0..=MAX_DEPTH {
        if let Some(root) = issuer(current, &roots, crypto)? {
            check_authority(root, depth, now, "root")?;
            return Ok(leaf);
        }
        let Some(next) = issuer(current, &chain, crypto)? else {
            return Err(PartyRefusal::UntrustedRoot);
        };
        check_authority(next, depth, now, "authority")?;
        current = next;
    }
    Err(PartyRefusal::ChainTooLong)
}

fn parse<'a>(bytes: &'a [u8], which: &'static str) -> Result<Certificate<'a>, PartyRefusal> {
    Certificate::parse(bytes).map_err(|error| PartyRefusal::Malformed { which, error })
}

fn parse_all<'a>(
    list: &[&'a [u8]],
    which: &'static str,
) -> Result<Vec<Certificate<'a>>, PartyRefusal> {
    list.iter().map(|bytes| parse(bytes, which)).collect()
}

/// Who issued a certificate, by name and signature. That somebody has the name and did not sign is an error
/// only if nobody else did: roots of one name may have different keys.
fn issuer<'c, 'a>(
    certificate: &Certificate<'_>,
    candidates: &'c [Certificate<'a>],
    crypto: &dyn Crypto,
) -> Result<Option<&'c Certificate<'a>>, PartyRefusal> {
    let mut refusal = None;
    for candidate in candidates.iter().filter(|one| one.subject == certificate.issuer) {
        match certificate.check_issued_by(crypto, candidate) {
            // A certificate that issued itself leads nowhere.
            Ok(()) if candidate.raw != certificate.raw => return Ok(Some(candidate)),
            Ok(()) => {}
            Err(PkiError::NotAnAuthority) => refusal = Some(PartyRefusal::Authority),
            Err(_) => {
                refusal.get_or_insert(PartyRefusal::Signature);
            }
        }
    }
    refusal.map_or(Ok(None), Err)
}

/// Whether an authority may have issued what is below it, `depth` authorities among that.
fn check_authority(
    authority: &Certificate<'_>,
    depth: usize,
    now: Time,
    which: &'static str,
) -> Result<(), PartyRefusal> {
    check_time(authority, now, which)?;
    authority
        .check_critical(&[oid::BASIC_CONSTRAINTS, oid::KEY_USAGE])
        .map_err(|error| PartyRefusal::Critical { error })?;
    let constraints = authority
        .basic_constraints()
        .map_err(|error| PartyRefusal::Malformed { which, error })?
        .ok_or(PartyRefusal::Authority)?;
    match constraints.path_length {
        Some(allowed) if u64::try_from(depth).is_ok_and(|depth| depth > allowed) => {
            Err(PartyRefusal::Authority)
        }
        _ => Ok(()),
    }
}

fn check_time(
    certificate: &Certificate<'_>,
    now: Time,
    which: &'static str,
) -> Result<(), PartyRefusal> {
    certificate.check_time(now).map_err(|error| PartyRefusal::Time { which, error })
}

/// Whether a leaf is one that a Steward issues to Keeps (`docs/certificate-profile.md`).
fn check_leaf(leaf: &Certificate<'_>) -> Result<(), PartyRefusal> {
    let known = [oid::BASIC_CONSTRAINTS, oid::KEY_USAGE, oid::EXT_KEY_USAGE, oid::SUBJECT_ALT_NAME];
    leaf.check_critical(&known).map_err(|error| PartyRefusal::Critical { error })?;
    let malformed = |error| PartyRefusal::Malformed { which: "certificate of the Keep", error };
    let is_leaf = leaf.basic_constraints().map_err(malformed)?.is_some_and(|it| !it.authority);
    let may_sign = leaf
        .key_usage()
        .map_err(malformed)?
        .is_some_and(|usage| usage.may_sign() && !usage.may_sign_certificates());
    let usages = extended_usages(leaf).map_err(malformed)?;
    let for_tls = usages.contains(&oid::SERVER_AUTH) && usages.contains(&oid::CLIENT_AUTH);
    if is_leaf && may_sign && for_tls { Ok(()) } else { Err(PartyRefusal::Profile) }
}

fn extended_usages(
    leaf: &Certificate<'_>,
) -> Result<Vec<evidence_pki::ObjectIdentifier>, PkiError> {
    let mut out = Vec::new();
    let Some(extension) = leaf.extension(oid::EXT_KEY_USAGE) else { return Ok(out) };
    let mut list = Cursor::whole(extension.value, tag::SEQUENCE, "extKeyUsage")?;
    while !list.is_done() {
        out.push(list.oid()?);
    }
    Ok(out)
}

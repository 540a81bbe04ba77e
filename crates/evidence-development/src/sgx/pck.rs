// SPDX-License-Identifier: Apache-2.0

//! What the PCK certificate says of the platform ("Intel SGX PCK Certificate and Certificate Revocation List
//! Profile Specification", 1.3.5).

use evidence_pki::{ObjectIdentifier, encode, oid, tag};

use super::SgxPlatform;

/// The extension.
const EXTENSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
/// `FMSPC`: a kind of platform that Intel has not.
pub(super) const FMSPC: [u8; 6] = *b"Enarx\0";
/// `PCE-ID`.
pub(super) const PCE_ID: [u8; 2] = [0; 2];
/// `PCESVN`.
pub(super) const PCE_SVN: u16 = 13;

/// The extension of the platform with that identity. It has one package, no keys that others know, and runs
/// one thread on a core.
pub(super) fn extension(id: &[u8; 16]) -> Vec<u8> {
    let value = encode::sequence(&[
        // PPID.
        &part(&[1], &encode::octets(id)),
        &part(&[2], &tcb()),
        &part(&[3], &encode::octets(&PCE_ID)),
        &part(&[4], &encode::octets(&FMSPC)),
        // SGXType: scalable.
        &part(&[5], &encode::element(tag::ENUMERATED, &[&[1]])),
        // PlatformInstanceID.
        &part(&[6], &encode::octets(id)),
        &part(&[7], &configuration()),
    ]);
    encode::extension(EXTENSION, false, &value)
}

/// `TCB`: the 16 components, `PCESVN`, `CPUSVN`.
fn tcb() -> Vec<u8> {
    let cpu_svn = SgxPlatform::CPU_SVN;
    let mut parts: Vec<Vec<u8>> = (1..)
        .zip(cpu_svn)
        .map(|(number, svn)| part(&[2, number], &encode::integer(&[svn])))
        .collect();
    parts.push(part(&[2, 17], &encode::integer(&PCE_SVN.to_be_bytes())));
    parts.push(part(&[2, 18], &encode::octets(&cpu_svn)));
    encode::sequence_of(&parts)
}

/// `Configuration`: dynamic platform, cached keys, SMT.
fn configuration() -> Vec<u8> {
    encode::sequence_of(&[1, 2, 3].map(|number| part(&[7, number], &encode::boolean(false))))
}

/// A part by its number below the extension's own.
fn part(numbers: &[u8], value: &[u8]) -> Vec<u8> {
    // Numbers below 128 are one octet each.
    encode::sequence(&[&encode::element(tag::OID, &[EXTENSION.as_bytes(), numbers]), value])
}

/// `cRLDistributionPoints`, as Intel's certificates have it. There is nobody to ask: the list comes along.
pub(super) fn crl_distribution_point(issuer: &str) -> Vec<u8> {
    let url = format!("urn:enarx:development:{}", issuer.replace(' ', "-"));
    let name = encode::element(tag::context(6), &[url.as_bytes()]);
    let full = encode::element(tag::context_constructed(0), &[&name]);
    let point = encode::element(tag::context_constructed(0), &[&full]);
    let value = encode::sequence(&[&encode::sequence(&[&point])]);
    encode::extension(oid::CRL_DISTRIBUTION_POINTS, false, &value)
}

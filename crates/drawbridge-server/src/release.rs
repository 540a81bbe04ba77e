// SPDX-License-Identifier: Apache-2.0

//! Whether a workload is released to the Keep at the other end.
//!
//! What counts is the certificate of its TLS connection: that it has the key was proven in the handshake.
//! The chain has to lead to a root of the Steward that the repository's owner named, and the certificate
//! has to state what the owner demands and the digest of this very workload.

use std::time::SystemTime;

use drawbridge_signatures::{Identity, PublicKey, verify_jws, verify_sigstore, workload_of};
use drawbridge_store::{TagId, TagRecord};
use drawbridge_types::{Release, Repository, media};
use evidence_crypto::AwsLc;
use evidence_pki::Certificate;
use steward_relying_party::{Demands, Time, check};
use tracing::info;

use crate::Service;
use crate::call::Call;
use crate::problem::{Code, Refusal};

/// Most values of each kind that a policy may list.
const MAX_VALUES: usize = 256;
/// Longest list of roots in bytes of PEM, and longest URL.
const MAX_ROOTS: usize = 64 << 10;
const MAX_URL: usize = 2048;
/// What certificates call platforms.
const PLATFORMS: [&str; 4] = ["development", "sgx", "snp", "tdx"];

/// Whether the workload is released to who has the certificate of this connection.
pub(crate) async fn decide(
    service: &Service,
    call: &Call,
    repository: &Repository,
    tag: &TagId,
    record: &TagRecord,
) -> Result<(), Refusal> {
    let result = match check_certificate(call, repository, record) {
        Ok(()) => check_signature(service, repository, tag, record).await,
        Err(refusal) => Err(refusal),
    };
    let workload = record.entry.meta.digest.workload();
    match &result {
        Ok(()) => {
            service.metrics.released();
            info!(user = %tag.repo.user, repo = %tag.repo.repo, tag = %tag.tag, workload, "released");
        }
        Err(refusal) => {
            service.metrics.refused(refusal.code());
            info!(
                user = %tag.repo.user,
                repo = %tag.repo.repo,
                tag = %tag.tag,
                workload,
                code = refusal.code(),
                "not released"
            );
        }
    }
    result
}

fn check_certificate(
    call: &Call,
    repository: &Repository,
    record: &TagRecord,
) -> Result<(), Refusal> {
    let Some((leaf, chain)) = call.peer.0.as_deref().and_then(<[_]>::split_first) else {
        return Err(Code::CertificateMissing.into());
    };
    let internal = |_| Refusal::from(Code::Internal);
    let release = repository.release.as_ref().ok_or_else(|| internal(()))?;
    let workload = record.entry.meta.digest.workload().ok_or_else(|| internal(()))?;
    let demands = demands(release).map_err(|_| internal(()))?.workloads([workload]);
    let roots = evidence_pki::certificates(release.roots.as_bytes()).map_err(|_| internal(()))?;
    let roots: Vec<&[u8]> = roots.iter().map(AsRef::as_ref).collect();
    let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = Time::from_unix(now.as_secs());
    match check(leaf, &chain, &demands, now, &AwsLc, &roots) {
        Ok(_) => Ok(()),
        Err(refusal) => Err(Refusal::from(&refusal)),
    }
}

/// What a policy demands, without the workload.
fn demands(release: &Release) -> Result<Demands, String> {
    let mut demands = Demands::new();
    if !release.platforms.is_empty() {
        demands = demands.platforms(release.platforms.clone());
    }
    if !release.measurements.is_empty() {
        demands = demands.measurements(all_bytes("measurement", &release.measurements)?);
    }
    if !release.signers.is_empty() {
        demands = demands.signers(all_bytes("signer", &release.signers)?);
    }
    if !release.tcb_statuses.is_empty() {
        demands = demands.tcb_statuses(release.tcb_statuses.clone());
    }
    if release.allow_development {
        demands = demands.allow_development();
    }
    if let Some(seconds) = release.max_age {
        demands = demands.max_age(seconds);
    }
    Ok(demands)
}

fn all_bytes(what: &str, list: &[String]) -> Result<Vec<Vec<u8>>, String> {
    list.iter()
        .map(|text| {
            let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_hex || !matches!(text.len(), 64 | 96) {
                return Err(format!("a {what} has 64 or 96 hexadecimal digits"));
            }
            let pairs = text.as_bytes().chunks(2);
            let bytes = pairs.map(|pair| {
                std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
            });
            bytes.collect::<Option<_>>().ok_or_else(|| format!("a {what} is hexadecimal"))
        })
        .collect()
}

/// Whether a repository's policy can be carried out.
pub(crate) fn check_policy(repository: &Repository) -> Result<(), String> {
    if repository.signers.len() > MAX_VALUES || repository.identities.len() > MAX_VALUES {
        return Err(format!("there are at most {MAX_VALUES} signers and identities"));
    }
    keys(repository)?;
    let Some(release) = &repository.release else { return Ok(()) };
    if repository.public {
        return Err("`public` and `release` exclude each other".into());
    }
    if !release.steward.starts_with("https://") || release.steward.len() > MAX_URL {
        return Err("`steward` is a URL that begins with https://".into());
    }
    if release.roots.len() > MAX_ROOTS {
        return Err(format!("`roots` has at most {MAX_ROOTS} bytes"));
    }
    let roots = evidence_pki::certificates(release.roots.as_bytes())
        .map_err(|error| format!("`roots` is no PEM: {error}"))?;
    if roots.is_empty() {
        return Err("`roots` has no certificate in it".into());
    }
    for root in &roots {
        Certificate::parse(root).map_err(|error| format!("a root is no certificate: {error}"))?;
    }
    let lists =
        [&release.platforms, &release.measurements, &release.signers, &release.tcb_statuses];
    if lists.iter().any(|list| list.len() > MAX_VALUES) {
        return Err(format!("a list has at most {MAX_VALUES} values"));
    }
    if let Some(other) = release.platforms.iter().find(|one| !PLATFORMS.contains(&one.as_str())) {
        let other: String = other.chars().filter(|one| !one.is_control()).take(32).collect();
        return Err(format!("`{other}` is not one of the platforms {}", PLATFORMS.join(", ")));
    }
    demands(release).map(drop)
}

fn keys(repository: &Repository) -> Result<Vec<PublicKey>, String> {
    let keys = repository.signers.iter().map(|pem| PublicKey::from_pem(pem));
    keys.collect::<Result<_, _>>().map_err(|error| format!("a signer is no public key: {error}"))
}

/// Whether a tag is signed as its repository demands at this moment.
pub(crate) async fn check_signature(
    service: &Service,
    repository: &Repository,
    tag: &TagId,
    record: &TagRecord,
) -> Result<(), Refusal> {
    if repository.signers.is_empty() && repository.identities.is_empty() {
        return Ok(());
    }
    if record.kind == media::JWS && check_jws(repository, record.body.as_bytes()).is_ok() {
        return Ok(());
    }
    if !repository.identities.is_empty()
        && let Some(bundle) = service.store.signature(tag).await?
        && check_bundle(service, repository, record, &bundle).is_ok()
    {
        return Ok(());
    }
    Err(Code::SignatureRequired.into())
}

/// Whether a tag is signed by one of the keys that count.
pub(crate) fn check_jws(repository: &Repository, jws: &[u8]) -> Result<(), Refusal> {
    let keys = keys(repository).map_err(|_| Refusal::from(Code::Internal))?;
    match verify_jws(jws, &keys) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::new(Code::SignatureInvalid, error.to_string())),
    }
}

/// Whether a bundle signs the workload as one of the identities that count.
pub(crate) fn check_bundle(
    service: &Service,
    repository: &Repository,
    record: &TagRecord,
    bundle: &[u8],
) -> Result<(), Refusal> {
    let invalid = |detail: String| Refusal::new(Code::SignatureInvalid, detail);
    let Some(root) = &service.sigstore else {
        return Err(invalid("this Drawbridge has no trusted root for sigstore".into()));
    };
    let identities: Vec<Identity> = repository
        .identities
        .iter()
        .map(|(issuer, subject)| Identity { issuer: issuer.clone(), subject: subject.clone() })
        .collect();
    let digest = workload_of(&record.entry).map_err(|error| invalid(error.to_string()))?;
    verify_sigstore(bundle, &digest, &identities, root)
        .map(drop)
        .map_err(|error| invalid(error.to_string()))
}

// SPDX-License-Identifier: Apache-2.0

//! Trusted roots (`dev.sigstore.trustroot.v1.TrustedRoot` as JSON).

use evidence_pki::{Certificate, PublicKey, Time};
use serde::Deserialize;

use super::bundle::{KeyId, RawBytes, base64};
use crate::SignatureError;

/// Longest trusted root in bytes.
const MAX_ROOT: usize = 1 << 20;
const WHAT: &str = "the trusted root";

/// Certificate authorities and transparency logs that count: `trusted_root.json`, as sigstore publishes it
/// by TUF. It has to come from somewhere that is trusted; nothing in it is signed.
#[derive(Debug, Clone)]
pub struct TrustedRoot {
    pub(super) authorities: Vec<Authority>,
    pub(super) logs: Vec<Log>,
}

/// A certificate authority: DER certificates from the one that issues to the root.
#[derive(Debug, Clone)]
pub(super) struct Authority {
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) validity: Validity,
}

/// A transparency log that signs by ECDSA over P-256.
#[derive(Debug, Clone)]
pub(super) struct Log {
    /// SHA-256 of its key.
    pub(super) id: Vec<u8>,
    /// Its name in checkpoints: the host of its URL.
    pub(super) name: String,
    /// An uncompressed point.
    pub(super) key: Vec<u8>,
    pub(super) validity: Validity,
}

/// When something counts, both ends included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    from: Time,
    until: Time,
}

impl Validity {
    pub(super) fn contains(&self, time: Time) -> bool {
        self.from <= time && time <= self.until
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonRoot {
    media_type: String,
    #[serde(default)]
    tlogs: Vec<JsonLog>,
    #[serde(default)]
    certificate_authorities: Vec<JsonAuthority>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonLog {
    base_url: String,
    public_key: JsonKey,
    log_id: KeyId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonKey {
    raw_bytes: String,
    key_details: String,
    valid_for: Option<Span>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonAuthority {
    cert_chain: Chain,
    valid_for: Option<Span>,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<RawBytes>,
}

#[derive(Deserialize)]
struct Span {
    start: Option<String>,
    end: Option<String>,
}

impl TrustedRoot {
    /// Reads `application/vnd.dev.sigstore.trustedroot+json;version=0.1`. Logs with other keys than P-256 are
    /// left out.
    ///
    /// # Errors
    ///
    /// [`SignatureError::Malformed`], [`SignatureError::Unsupported`].
    pub fn from_json(json: &[u8]) -> Result<Self, SignatureError> {
        if json.len() > MAX_ROOT {
            return Err(SignatureError::TooLong { what: WHAT, limit: MAX_ROOT });
        }
        let root: JsonRoot =
            serde_json::from_slice(json).map_err(|error| SignatureError::malformed(WHAT, error))?;
        if !root.media_type.starts_with("application/vnd.dev.sigstore.trustedroot") {
            return Err(SignatureError::Unsupported("a trusted root of another form".into()));
        }
        let authorities =
            root.certificate_authorities.into_iter().map(authority).collect::<Result<Vec<_>, _>>();
        let logs = root
            .tlogs
            .into_iter()
            .filter(|log| log.public_key.key_details == "PKIX_ECDSA_P256_SHA_256")
            .map(log)
            .collect::<Result<Vec<_>, _>>();
        Ok(Self { authorities: authorities?, logs: logs? })
    }
}

fn authority(json: JsonAuthority) -> Result<Authority, SignatureError> {
    let chain: Vec<Vec<u8>> = json
        .cert_chain
        .certificates
        .iter()
        .map(|one| base64(&one.raw_bytes))
        .collect::<Result<_, _>>()?;
    if chain.is_empty() || chain.len() > 4 {
        return Err(SignatureError::malformed(WHAT, "an authority has one to four certificates"));
    }
    for der in &chain {
        Certificate::parse(der).map_err(|error| SignatureError::malformed(WHAT, error))?;
    }
    Ok(Authority { chain, validity: validity(json.valid_for)? })
}

fn log(json: JsonLog) -> Result<Log, SignatureError> {
    let spki = base64(&json.public_key.raw_bytes)?;
    let Ok(PublicKey::P256(point)) = PublicKey::from_spki(&spki) else {
        return Err(SignatureError::malformed(WHAT, "the key of a log is not what it says"));
    };
    let host = json.base_url.split_once("://").map_or(json.base_url.as_str(), |(_, rest)| rest);
    Ok(Log {
        id: base64(&json.log_id.key_id)?,
        name: host.trim_end_matches('/').to_owned(),
        key: point.to_vec(),
        validity: validity(json.public_key.valid_for)?,
    })
}

/// Without a beginning it counts at no time: that is a fault and no licence.
fn validity(span: Option<Span>) -> Result<Validity, SignatureError> {
    let Some(Span { start: Some(start), end }) = span else {
        return Err(SignatureError::malformed(WHAT, "something has no beginning of its validity"));
    };
    let until = end.as_deref().map(time).transpose()?.unwrap_or(Time::MAX);
    Ok(Validity { from: time(&start)?, until })
}

/// RFC 3339 in UTC; fractions of a second are dropped.
fn time(text: &str) -> Result<Time, SignatureError> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, "Z"));
    let fraction = rest.strip_suffix('Z');
    if !fraction.is_some_and(|digits| digits.bytes().all(|one| one.is_ascii_digit())) {
        return Err(SignatureError::malformed(WHAT, "a time is not in UTC"));
    }
    let whole = format!("{}Z", whole.trim_end_matches('Z'));
    whole.parse().map_err(|error| SignatureError::malformed(WHAT, error))
}

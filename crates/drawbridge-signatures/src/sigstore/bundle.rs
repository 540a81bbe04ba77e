// SPDX-License-Identifier: Apache-2.0

//! The form of a bundle (`dev.sigstore.bundle.v1.Bundle` as JSON).
//!
//! Fields that do not matter here are skipped, as readers of protocol buffers do; numbers of 64 bits are
//! strings there, and bytes are base64.

use base64ct::{Base64, Encoding as _};
use serde::Deserialize;

use super::WHAT;
use crate::SignatureError;

/// Longest bundle in bytes.
pub const MAX_BUNDLE: usize = 256 << 10;
/// Most entries of logs in one bundle.
const MAX_ENTRIES: usize = 4;
/// The media types of version 0.3.
const MEDIA_TYPES: [&str; 2] = [
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
];

/// What of a bundle matters, decoded.
#[derive(Debug)]
pub(super) struct Bundle {
    /// DER.
    pub(super) certificate: Vec<u8>,
    /// SHA-256.
    pub(super) digest: Vec<u8>,
    /// DER `Ecdsa-Sig-Value`.
    pub(super) signature: Vec<u8>,
    pub(super) entries: Vec<Entry>,
}

/// An entry of a log, decoded.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) log_id: Vec<u8>,
    pub(super) kind: (String, String),
    pub(super) index: u64,
    pub(super) time: u64,
    pub(super) promise: Vec<u8>,
    pub(super) proof: Proof,
    pub(super) body: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Proof {
    pub(super) index: u64,
    pub(super) size: u64,
    pub(super) root: Vec<u8>,
    pub(super) hashes: Vec<Vec<u8>>,
    pub(super) checkpoint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonBundle {
    media_type: String,
    verification_material: Material,
    message_signature: Option<MessageSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<RawBytes>,
    #[serde(default)]
    tlog_entries: Vec<JsonEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawBytes {
    pub(super) raw_bytes: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageSignature {
    message_digest: MessageDigest,
    signature: String,
}

#[derive(Deserialize)]
struct MessageDigest {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonEntry {
    log_index: String,
    log_id: KeyId,
    kind_version: KindVersion,
    #[serde(default)]
    integrated_time: Option<String>,
    inclusion_promise: Option<Promise>,
    inclusion_proof: Option<JsonProof>,
    canonicalized_body: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyId {
    pub(super) key_id: String,
}

#[derive(Deserialize)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Promise {
    signed_entry_timestamp: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonProof {
    // Zero is left out in this form of JSON.
    #[serde(default)]
    log_index: Option<String>,
    root_hash: String,
    tree_size: String,
    #[serde(default)]
    hashes: Vec<String>,
    checkpoint: Checkpoint,
}

#[derive(Deserialize)]
struct Checkpoint {
    envelope: String,
}

impl Bundle {
    pub(super) fn from_json(json: &[u8]) -> Result<Self, SignatureError> {
        if json.len() > MAX_BUNDLE {
            return Err(SignatureError::TooLong { what: WHAT, limit: MAX_BUNDLE });
        }
        let bundle: JsonBundle =
            serde_json::from_slice(json).map_err(|error| SignatureError::malformed(WHAT, error))?;
        if !MEDIA_TYPES.contains(&bundle.media_type.as_str()) {
            return Err(SignatureError::Unsupported("a bundle of another version than 0.3".into()));
        }
        let Some(message) = bundle.message_signature else {
            return Err(SignatureError::Unsupported(
                "a bundle without a message signature, such as an attestation,".into(),
            ));
        };
        if message.message_digest.algorithm != "SHA2_256" {
            return Err(SignatureError::Unsupported("a digest other than SHA-256".into()));
        }
        let material = bundle.verification_material;
        let Some(certificate) = material.certificate else {
            return Err(SignatureError::Unsupported(
                "a bundle by a key without a certificate".into(),
            ));
        };
        if material.tlog_entries.len() > MAX_ENTRIES {
            return Err(SignatureError::malformed(WHAT, "it has more than 4 entries of logs"));
        }
        Ok(Self {
            certificate: base64(&certificate.raw_bytes)?,
            digest: base64(&message.message_digest.digest)?,
            signature: base64(&message.signature)?,
            entries: material.tlog_entries.into_iter().map(entry).collect::<Result<_, _>>()?,
        })
    }
}

fn entry(entry: JsonEntry) -> Result<Entry, SignatureError> {
    let Some(promise) = entry.inclusion_promise else {
        return Err(SignatureError::Log("the entry has no signed timestamp"));
    };
    let Some(proof) = entry.inclusion_proof else {
        return Err(SignatureError::Log("the entry has no proof"));
    };
    Ok(Entry {
        log_id: base64(&entry.log_id.key_id)?,
        kind: (entry.kind_version.kind, entry.kind_version.version),
        index: number(&entry.log_index)?,
        time: number(entry.integrated_time.as_deref().unwrap_or("0"))?,
        promise: base64(&promise.signed_entry_timestamp)?,
        proof: Proof {
            index: number(proof.log_index.as_deref().unwrap_or("0"))?,
            size: number(&proof.tree_size)?,
            root: base64(&proof.root_hash)?,
            hashes: proof.hashes.iter().map(|hash| base64(hash)).collect::<Result<_, _>>()?,
            checkpoint: proof.checkpoint.envelope,
        },
        body: base64(&entry.canonicalized_body)?,
    })
}

pub(super) fn base64(text: &str) -> Result<Vec<u8>, SignatureError> {
    Base64::decode_vec(text).map_err(|error| SignatureError::malformed("base64", error))
}

fn number(text: &str) -> Result<u64, SignatureError> {
    text.parse().map_err(|error| SignatureError::malformed("a number of the bundle", error))
}

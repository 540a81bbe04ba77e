// SPDX-License-Identifier: Apache-2.0

//! JSON Web Signatures around entries (RFC 7515).
//!
//! Only what a signature of ours needs is understood: the JSON serialization, flattened or general, with
//! everything that counts in the protected header. A header that names extensions (`crit`) is refused, as the
//! RFC demands of who does not know them; `alg` has to be the one that the key makes.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use drawbridge_types::Entry;
use serde::{Deserialize, Serialize};

use crate::{PublicKey, SignatureError, SigningKey};

/// Longest signed tag in bytes.
pub const MAX_JWS: usize = 64 << 10;
/// Most signatures of one tag.
const MAX_SIGNATURES: usize = 16;
const WHAT: &str = "the signed tag";

/// Both serializations in one: `signatures`, or `protected` and `signature`.
#[derive(Serialize, Deserialize)]
struct Jws {
    payload: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protected: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signatures: Option<Vec<One>>,
}

#[derive(Serialize, Deserialize)]
struct One {
    protected: String,
    signature: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    /// Which key: [`PublicKey::id`]. A hint, which is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cty: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// Signs an entry: a flattened JWS, `application/jose+json`.
///
/// # Errors
///
/// [`SignatureError::Signing`].
pub fn sign_jws(entry: &Entry, key: &SigningKey) -> Result<Vec<u8>, SignatureError> {
    let header = Header {
        alg: key.public_key().kind().name().to_owned(),
        kid: Some(key.public_key().id()),
        cty: Some("vnd.drawbridge.entry.v1+json".to_owned()),
        crit: None,
    };
    let failed = |_| SignatureError::Signing;
    let protected = Base64UrlUnpadded::encode_string(&serde_json::to_vec(&header).map_err(failed)?);
    let payload = Base64UrlUnpadded::encode_string(&serde_json::to_vec(entry).map_err(failed)?);
    let signature = key.sign(format!("{protected}.{payload}").as_bytes())?;
    let jws = Jws {
        payload,
        protected: Some(protected),
        signature: Some(Base64UrlUnpadded::encode_string(&signature)),
        signatures: None,
    };
    serde_json::to_vec(&jws).map_err(failed)
}

/// The entry that is signed, whoever signed it.
///
/// # Errors
///
/// [`SignatureError::TooLong`], [`SignatureError::Malformed`].
pub fn entry_of(jws: &[u8]) -> Result<Entry, SignatureError> {
    let (jws, _) = read(jws)?;
    entry(&jws.payload)
}

/// The entry that is signed, if one of the signatures is by one of `keys`.
///
/// # Errors
///
/// [`SignatureError::NoTrustedKey`]; [`SignatureError::TooLong`], [`SignatureError::Malformed`].
pub fn verify_jws(jws: &[u8], keys: &[PublicKey]) -> Result<Entry, SignatureError> {
    let (jws, signatures) = read(jws)?;
    for one in &signatures {
        let header: Header = serde_json::from_slice(&decode(&one.protected)?)
            .map_err(|error| SignatureError::malformed(WHAT, error))?;
        if header.crit.is_some() {
            return Err(SignatureError::Unsupported("a header with extensions (`crit`)".into()));
        }
        let signature = decode(&one.signature)?;
        let message = format!("{}.{}", one.protected, jws.payload);
        let is_by = |key: &PublicKey| {
            // RFC 9864 gives EdDSA over Ed25519 its own name.
            let is_named = header.alg == key.kind().name()
                || (header.alg == "Ed25519" && key.kind() == crate::KeyKind::Ed25519);
            is_named && key.verify(message.as_bytes(), &signature)
        };
        if keys.iter().any(is_by) {
            return entry(&jws.payload);
        }
    }
    Err(SignatureError::NoTrustedKey(keys.len()))
}

fn read(bytes: &[u8]) -> Result<(Jws, Vec<One>), SignatureError> {
    if bytes.len() > MAX_JWS {
        return Err(SignatureError::TooLong { what: WHAT, limit: MAX_JWS });
    }
    let mut jws: Jws =
        serde_json::from_slice(bytes).map_err(|error| SignatureError::malformed(WHAT, error))?;
    let signatures = match (jws.signatures.take(), jws.protected.take(), jws.signature.take()) {
        (Some(all), None, None) if !all.is_empty() => all,
        (None, Some(protected), Some(signature)) => vec![One { protected, signature }],
        _ => {
            let why = "it has neither `protected` and `signature`, nor `signatures`";
            return Err(SignatureError::malformed(WHAT, why));
        }
    };
    if signatures.len() > MAX_SIGNATURES {
        return Err(SignatureError::malformed(WHAT, "it has more than 16 signatures"));
    }
    Ok((jws, signatures))
}

fn entry(payload: &str) -> Result<Entry, SignatureError> {
    serde_json::from_slice(&decode(payload)?)
        .map_err(|error| SignatureError::malformed(WHAT, error))
}

fn decode(text: &str) -> Result<Vec<u8>, SignatureError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|error| SignatureError::malformed(WHAT, error))
}

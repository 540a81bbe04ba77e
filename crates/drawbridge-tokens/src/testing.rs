// SPDX-License-Identifier: Apache-2.0

//! For fuzz targets: what strangers send, read without an issuer that has to be asked first.

use std::time::{Duration, SystemTime};

use crate::claims::Expected;
use crate::keys::{Document, Keys};
use crate::token::Token;

/// Reads a token and its claims, as if it were signed, and holds them against what is expected. Says whether
/// the token would be taken.
pub fn token(text: &str, issuer: &str, audience: &str, now: SystemTime) -> bool {
    let leeway = Duration::from_secs(60);
    let expected = Expected { issuer, audience, now, leeway };
    let claims = Token::read(text).and_then(|token| token.claims());
    claims.and_then(|claims| claims.check(&expected)).is_ok()
}

/// Reads the keys of an issuer, and has each verify a signature that is none. Says how many there are.
///
/// # Panics
///
/// If a key takes that signature.
pub fn keys(json: &[u8]) -> usize {
    let Ok(document) = serde_json::from_slice::<Document>(json) else { return 0 };
    let keys = Keys::read(&document);
    for algorithm in crate::Algorithm::ALL {
        if let Some(key) = keys.find(None, algorithm) {
            assert!(!key.verifies(algorithm, b"message", &"A".repeat(86)), "{algorithm}");
        }
    }
    keys.len()
}

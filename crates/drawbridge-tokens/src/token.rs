// SPDX-License-Identifier: Apache-2.0

//! The three parts of a signed token in compact form (RFC 7515, §7.1).

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::claims::Raw;
use crate::{Algorithm, TokenError};

/// The most bytes of a token: what HTTP servers take for all headers together.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

/// A token of which nothing is known to be true yet.
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    /// What is signed.
    pub(crate) message: &'a str,
    pub(crate) signature: &'a str,
    claims: &'a str,
}

impl<'a> Token<'a> {
    pub(crate) fn read(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > MAX_TOKEN {
            return Err(TokenError::Malformed("it is too long"));
        }
        let parts = || {
            let (message, signature) = text.rsplit_once('.')?;
            let (header, claims) = message.split_once('.')?;
            (!claims.contains('.')).then_some((message, header, claims, signature))
        };
        let (message, header, claims, signature) =
            parts().ok_or(TokenError::Malformed("it does not have three parts"))?;
        let header: Header =
            decode(header).ok_or(TokenError::Malformed("its header cannot be read"))?;
        let algorithm = Algorithm::from_name(&header.alg)
            .ok_or_else(|| TokenError::Algorithm(header.alg.chars().take(20).collect()))?;
        if header.crit.is_some() {
            return Err(TokenError::Malformed("its header demands an extension"));
        }
        // Other kinds of signed tokens of the same issuer (logout tokens, proofs) are no access tokens.
        let typ = header.typ.map(|typ| typ.to_ascii_lowercase());
        if !matches!(typ.as_deref(), None | Some("jwt" | "at+jwt" | "application/at+jwt")) {
            return Err(TokenError::Malformed("it is not an access token"));
        }
        Ok(Self { algorithm, kid: header.kid, message, signature, claims })
    }

    /// What it says; to be read after the signature was found to be right.
    pub(crate) fn claims(&self) -> Result<Raw, TokenError> {
        decode(self.claims).ok_or(TokenError::Malformed("its claims cannot be read"))
    }
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str) -> String {
        let header = Base64UrlUnpadded::encode_string(header.as_bytes());
        format!("{header}.e30.c2lnbmF0dXJl")
    }

    fn read(text: &str) -> Result<(), TokenError> {
        Token::read(text).map(drop)
    }

    #[test]
    fn symmetric_and_absent_signatures_are_none() {
        for alg in ["none", "None", "HS256", "HS512", "RS1", "rs256", "ES512", ""] {
            let error = read(&token(&format!(r#"{{"alg":"{alg}"}}"#))).unwrap_err();
            assert_eq!(error.code(), "algorithm-not-allowed", "{alg}");
        }
        for alg in ["RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"] {
            read(&token(&format!(r#"{{"alg":"{alg}"}}"#))).unwrap();
        }
    }

    #[test]
    fn critical_extensions_and_other_kinds_are_refused() {
        for bad in [
            r#"{"alg":"ES256","crit":["b64"],"b64":false}"#,
            r#"{"alg":"ES256","typ":"logout+jwt"}"#,
            r#"{"alg":"ES256","typ":"dpop+jwt"}"#,
            r#"{"alg":"ES256","alg":"none"}"#,
            r#"{"typ":"JWT"}"#,
        ] {
            assert_eq!(read(&token(bad)).unwrap_err().code(), "malformed-token", "{bad}");
        }
        read(&token(r#"{"alg":"ES256","typ":"at+JWT"}"#)).unwrap();
    }

    #[test]
    fn there_are_three_parts() {
        for bad in ["", ".", "..", "a.b", "a.b.c.d", "a.b.c"] {
            assert_eq!(read(bad).unwrap_err().code(), "malformed-token", "{bad}");
        }
        let long = token(r#"{"alg":"ES256"}"#) + &"A".repeat(MAX_TOKEN);
        assert_eq!(read(&long).unwrap_err().code(), "malformed-token");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", header in ".{0,100}") {
            let _ = read(&text);
            if let Ok(token) = Token::read(&token(&header)) {
                let _ = token.claims();
            }
        }
    }
}

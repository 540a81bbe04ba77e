// SPDX-License-Identifier: Apache-2.0

//! Lists of certificates: PEM (RFC 7468) or a DER `SEQUENCE OF Certificate`.

use std::borrow::Cow;

use crate::PkiError;
use crate::cursor::{Cursor, tag};

/// More than any chain here has.
const MAX_CERTIFICATES: usize = 8;

/// The certificates in `bytes`, in their order, each in DER: PEM, one certificate in DER, or several in a
/// DER `SEQUENCE`. A PEM text may end in zeros, as it does in quotes.
///
/// # Errors
///
/// [`PkiError::Malformed`], [`PkiError::TooLarge`] if there are more than eight. That each one is a
/// certificate is not looked at.
pub fn certificates(bytes: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, PkiError> {
    if bytes.first() != Some(&tag::SEQUENCE) {
        let blocks = pem_blocks(bytes, "CERTIFICATE")?;
        return Ok(blocks.into_iter().map(Cow::Owned).collect());
    }
    let mut list = Cursor::whole(bytes, tag::SEQUENCE, "list of certificates")?;
    let mut out = Vec::new();
    while !list.is_done() {
        let item = list.expect(tag::SEQUENCE)?;
        // A certificate begins with two sequences and a bit string; a list of them with three sequences at
        // most. The first element of a TBSCertificate is its version, which no certificate begins with.
        if out.is_empty() && item.value.first() == Some(&tag::context_constructed(0)) {
            return Ok(vec![Cow::Borrowed(bytes)]);
        }
        if out.len() >= MAX_CERTIFICATES {
            return Err(PkiError::TooLarge("list of certificates"));
        }
        out.push(Cow::Borrowed(item.raw));
    }
    Ok(out)
}

/// PEM (RFC 7468) with that label, and a newline at its end.
#[must_use]
pub fn to_pem(label: &'static str, der: &[u8]) -> String {
    // Labels are constants of ours, and nothing else can be wrong with the input.
    der::pem::encode_string(label, der::pem::LineEnding::LF, der).unwrap_or_default()
}

/// The contents of all PEM blocks with that label. Text between blocks is skipped, as is a block of
/// another kind.
///
/// # Errors
///
/// [`PkiError::Malformed`], [`PkiError::TooLarge`] if there are more than eight.
pub fn pem_blocks(bytes: &[u8], label: &str) -> Result<Vec<Vec<u8>>, PkiError> {
    let malformed = PkiError::Malformed("PEM");
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let text = core::str::from_utf8(bytes.get(..end).unwrap_or_default()).map_err(|_| malformed)?;
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(&begin) {
        let block = rest.get(at..).ok_or(malformed)?;
        let length = block.find(&end).ok_or(malformed)? + end.len();
        let (block, after) = block.split_at_checked(length).ok_or(malformed)?;
        if out.len() >= MAX_CERTIFICATES {
            return Err(PkiError::TooLarge("PEM"));
        }
        let (_, der) = der::pem::decode_vec(block.as_bytes()).map_err(|_| malformed)?;
        out.push(der);
        rest = after;
    }
    if out.is_empty() { Err(malformed) } else { Ok(out) }
}

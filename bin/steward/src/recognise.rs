// SPDX-License-Identifier: Apache-2.0

//! What a file of evidence is: a report, a quote, or a certificate request with one of them in it.

use std::path::Path;

use command_line::files;
use evidence_claims::statement;
use evidence_pki::ObjectIdentifier;
use steward_core::AttestedRequest;

use crate::exit::{Code, Failure};

/// An SNP attestation report has so many bytes (AMD 56860, table 23).
const REPORT_SIZE: usize = 1184;

/// What was recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Evidence alone, of that type.
    Evidence(ObjectIdentifier),
    /// A certificate request with evidence in it.
    Request,
}

/// A recognised file.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    /// A request is in DER, whatever it was.
    pub(crate) bytes: Vec<u8>,
}

impl Subject {
    /// Reads a file. Evidence of hardware and of development is alike, so it has to be said which to expect.
    pub(crate) fn read(path: &Path, development: bool) -> Result<Self, Failure> {
        let bytes = files::read(path)?.to_vec();
        if let Some(kind) = recognise(&bytes, development) {
            return Ok(Self { kind, bytes });
        }
        for label in ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"] {
            let blocks = evidence_pki::pem_blocks(&bytes, label).unwrap_or_default();
            if let [der] = blocks.as_slice() {
                return Ok(Self { kind: Kind::Request, bytes: der.clone() });
            }
        }
        Err(Failure::msg(
            Code::Input,
            format!(
                "{} is no report of SEV-SNP, no quote of SGX or TDX, and no certificate request",
                path.display()
            ),
        ))
    }

    /// The request in it, if it is one.
    pub(crate) fn request(&self) -> Result<Option<AttestedRequest<'_>>, Failure> {
        match self.kind {
            Kind::Evidence(_) => Ok(None),
            Kind::Request => AttestedRequest::parse(&self.bytes).map(Some).map_err(|refusal| {
                let reason: &dyn evidence_claims::Reason = &refusal;
                Failure::msg(
                    Code::Check,
                    format!("{refusal} [{}]\n  what to do: {}", reason.code(), reason.remedy()),
                )
            }),
        }
    }
}

fn recognise(bytes: &[u8], development: bool) -> Option<Kind> {
    if bytes.len() == REPORT_SIZE {
        let kind = if development { statement::DEVELOPMENT } else { statement::SNP };
        return Some(Kind::Evidence(kind));
    }
    // A quote begins with its version and, from version 4, has the type of environment at 4 (Intel DCAP,
    // quote header). DER begins with 0x30, and no version is that large.
    match *bytes {
        [3, 0, ..] | [4 | 5, 0, _, _, 0, 0, 0, 0, ..] => {
            let kind = if development { statement::DEVELOPMENT_SGX } else { statement::SGX };
            Some(Kind::Evidence(kind))
        }
        [4 | 5, 0, _, _, 0x81, 0, 0, 0, ..] => Some(Kind::Evidence(statement::TDX)),
        [0x30, ..] => Some(Kind::Request),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        let report = vec![2; REPORT_SIZE];
        assert_eq!(recognise(&report, false), Some(Kind::Evidence(statement::SNP)));
        assert_eq!(recognise(&report, true), Some(Kind::Evidence(statement::DEVELOPMENT)));
        for (start, kind) in [
            (&[3, 0, 2, 0, 0, 0, 0, 0][..], statement::SGX),
            (&[4, 0, 2, 0, 0, 0, 0, 0], statement::SGX),
            (&[5, 0, 2, 0, 0x81, 0, 0, 0], statement::TDX),
        ] {
            assert_eq!(recognise(start, false), Some(Kind::Evidence(kind)));
        }
        assert_eq!(recognise(&[0x30, 0x82], false), Some(Kind::Request));
        assert_eq!(recognise(b"", false), None);
        assert_eq!(recognise(b"hello", false), None);
    }
}

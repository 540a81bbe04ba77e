// SPDX-License-Identifier: Apache-2.0

//! The quoting enclave's local part: only a report that an enclave of this platform made for it becomes evidence.

use keep_backend::{Claim, EvidenceSource, ReportSigner};
use keep_launch::Evidence;
use sgx_guest::report::Report;

use crate::platform::Platform;

const REFUSED: &str =
    "the quoting enclave refuses the report: it was not made for it, or not on this platform";

/// Checks reports before a source makes evidence of them.
pub(crate) fn quoting(
    platform: Platform,
    source: Box<dyn EvidenceSource>,
) -> Box<dyn EvidenceSource> {
    Box::new(Quoting { platform, source })
}

struct Quoting {
    platform: Platform,
    source: Box<dyn EvidenceSource>,
}

impl EvidenceSource for Quoting {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        let Claim::SgxReport(bytes) = claim else {
            return Evidence::Refused { message: "the enclave made no report".into() };
        };
        match Report::from_bytes(bytes) {
            Ok(report) if self.platform.is_genuine(&report) => self.source.evidence(claim),
            _ => Evidence::Refused { message: REFUSED.into() },
        }
    }

    fn report_signer(&self) -> Option<ReportSigner> {
        self.source.report_signer()
    }

    fn machine_secret(&self) -> Option<[u8; 32]> {
        self.source.machine_secret()
    }
}

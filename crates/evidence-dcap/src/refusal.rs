// SPDX-License-Identifier: Apache-2.0

//! Why a quote is refused.

use evidence_claims::Reason;

/// Why a quote is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DcapRefusal {
    /// The quote cannot be read.
    #[error("malformed quote: {0}")]
    Malformed(&'static str),
}

impl DcapRefusal {
    /// Every code.
    pub const ALL_CODES: &[&str] = &["dcap.malformed"];
}

impl Reason for DcapRefusal {
    fn code(&self) -> &'static str {
        "dcap.malformed"
    }

    fn reference(&self) -> &'static str {
        "Intel DCAP Quoting Library API, A.4"
    }

    fn remedy(&self) -> &'static str {
        "Send the quote as the quoting library returned it."
    }
}

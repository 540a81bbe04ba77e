// SPDX-License-Identifier: Apache-2.0

//! Problems as a Drawbridge reports them (RFC 9457).

use serde::{Deserialize, Serialize};

/// A problem. `code` is stable, everything else is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `about:blank`, or the URL of a page about the code.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    #[serde(default)]
    pub detail: String,
    /// For programs: `area.what`.
    pub code: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({})",
            if self.detail.is_empty() { &self.title } else { &self.detail },
            self.code
        )
    }
}

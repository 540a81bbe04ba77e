// SPDX-License-Identifier: Apache-2.0

//! The file with the signatures of one image, `enarx.sig`, in its published form.

use serde::{Deserialize, Serialize};

/// Signatures of one image for all kinds of hardware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signatures {
    /// The version of Enarx that the image is of; signatures for another one are of no use.
    pub version: String,
    /// For SEV-SNP.
    pub sev: SevSignature,
    /// For SGX: a SIGSTRUCT, 1808 bytes.
    pub sgx: Vec<u8>,
}

/// What a launch on SEV-SNP takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SevSignature {
    /// 96 bytes: [`crate::IdBlock`].
    pub id_block: Vec<u8>,
    /// 4096 bytes: [`crate::id_auth`].
    pub id_auth: Vec<u8>,
}

impl Signatures {
    /// The file.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Numbers and strings have no way to fail in serde_json.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the file; none if it has not the form.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let read: Self = serde_json::from_slice(json).ok()?;
        let lengths = (read.sev.id_block.len(), read.sev.id_auth.len(), read.sgx.len());
        (lengths == (96, 4096, crate::SIGSTRUCT)).then_some(read)
    }
}

// SPDX-License-Identifier: Apache-2.0

//! The synthetic platform: its secrets, what it derives from them, and its quoting enclave.
//!
//! A processor has a secret that never leaves it, and derives from it the key of each enclave and each purpose.
//! Here the secret is a number that is drawn when the backend is made, or given to it. The machine of a Keep
//! knows it, to play EREPORT and EGETKEY; the backend knows it too, to play the quoting enclave, which checks a
//! report by the key that only the report's target can have.
//!
//! All of it protects nothing: the Keep's machine is a process of the host, and so is whoever reads its memory.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sgx_guest::attributes::{Attributes, flag, xfrm};
use sgx_guest::key::KeyRequest;
use sgx_guest::report::{Report, ReportBody, TargetInfo};
use sgx_launch::keys::{self, Dependencies};
use sgx_launch::{Identity, Secs};
use sha2::{Digest as _, Sha256};

/// Security version of the synthetic processor.
pub(crate) const CPU_SVN: [u8; 16] = [1; 16];

/// Secrets of a synthetic platform.
#[derive(Clone, Copy)]
pub(crate) struct Platform {
    /// What all keys are derived from.
    pub(crate) root: [u8; 32],
    /// `KEYID` of reports: new at each start of a platform.
    pub(crate) key_id: [u8; 32],
}

impl Platform {
    /// Its length in bytes.
    pub(crate) const SIZE: usize = 64;

    pub(crate) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        let (root, key_id) = bytes.split_at_mut(32);
        root.copy_from_slice(&self.root);
        key_id.copy_from_slice(&self.key_id);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let (halves, _) = bytes.as_chunks();
        let half = |n: usize| halves.get(n).copied().unwrap_or_default();
        Self { root: half(0), key_id: half(1) }
    }

    /// A key: the first half of HMAC-SHA-256 over all that it depends on.
    pub(crate) fn derive(&self, dependencies: &Dependencies) -> [u8; 16] {
        // A shorter key is filled up with zeros.
        let mut key = [0; 64];
        for (to, from) in key.iter_mut().zip(self.root) {
            *to = from;
        }
        let mut mac = Hmac::<Sha256>::new(&key.into());
        mac.update(&dependencies.to_bytes());
        let bytes: [u8; 32] = mac.finalize().into_bytes().into();
        let (halves, _) = bytes.as_chunks();
        halves.first().copied().unwrap_or_default()
    }

    /// Whether an enclave of this platform made the report for the quoting enclave.
    pub(crate) fn is_genuine(&self, report: &Report) -> bool {
        let request = KeyRequest::report(report).to_bytes();
        let key = keys::egetkey(&quoting_enclave(), CPU_SVN, &request);
        key.is_ok_and(|dependencies| report.is_by(&self.derive(&dependencies)))
    }
}

/// The quoting enclave, as if it had been launched.
fn quoting_enclave() -> Identity {
    let name = |what: &str| Sha256::digest(what.as_bytes()).into();
    let attributes =
        Attributes { flags: flag::MODE64BIT | flag::PROVISION_KEY, xfrm: xfrm::X87 | xfrm::SSE };
    Identity {
        secs: Secs {
            size: 1 << 20,
            base: 0,
            frame: sgx_guest::ssa::Frame { pages: 1 },
            misc_select: 0,
            attributes,
            config_id: [0; 64],
            config_svn: 0,
        },
        measurement: name("synthetic quoting enclave"),
        signer: name("signer of the synthetic quoting enclave"),
        product: 1,
        svn: 1,
        family: [0; 16],
        ext_product: [0; 16],
    }
}

/// For whom reports are that are to become quotes.
pub(crate) fn target() -> TargetInfo {
    let body: ReportBody = quoting_enclave().report(CPU_SVN, [0; 64]);
    TargetInfo::of(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_reports_are_genuine() {
        let one = Platform { root: [1; 32], key_id: [3; 32] };
        let other = Platform { root: [2; 32], key_id: [3; 32] };
        let identity = quoting_enclave();
        let make = |target, by: Platform| {
            keys::ereport(&identity, CPU_SVN, &target, [7; 64], by.key_id, |d| by.derive(d))
        };
        let report = make(target(), one);
        assert!(one.is_genuine(&report));
        assert!(!other.is_genuine(&report), "of another platform");
        let mut changed = report;
        changed.body.data[0] ^= 1;
        assert!(!one.is_genuine(&changed), "changed");
        let stranger = TargetInfo { measurement: [9; 32], ..target() };
        assert!(!one.is_genuine(&make(stranger, one)), "for another enclave");
        assert_eq!(Platform::from_bytes(&one.to_bytes()).root, one.root);
    }
}

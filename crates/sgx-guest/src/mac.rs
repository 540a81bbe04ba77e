// SPDX-License-Identifier: Apache-2.0

//! The MAC of a report. The processor makes it, and whoever plays the processor or checks a report has to
//! know how; a Keep itself never does.

use aes::Aes128;
use cmac::{Cmac, KeyInit as _, Mac as _};

use crate::report::{Report, ReportBody};

impl Report {
    /// A report as `EREPORT` makes it, under a report key.
    #[must_use]
    pub fn new(body: ReportBody, key_id: [u8; 32], key: &[u8; 16]) -> Self {
        let mac = mac(&body.to_bytes(), key).finalize().into_bytes().into();
        Self { body, key_id, mac }
    }

    /// Whether an enclave on this machine made the report for the enclave that has this report key. Takes the
    /// same time for each wrong MAC.
    #[must_use]
    pub fn is_by(&self, key: &[u8; 16]) -> bool {
        mac(&self.body.to_bytes(), key).verify(&self.mac.into()).is_ok()
    }
}

/// AES-CMAC (NIST SP 800-38B) over a body.
fn mac(body: &[u8; ReportBody::SIZE], key: &[u8; 16]) -> Cmac<Aes128> {
    let mut mac = Cmac::<Aes128>::new(&(*key).into());
    mac.update(body);
    mac
}

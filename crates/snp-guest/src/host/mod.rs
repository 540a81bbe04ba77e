// SPDX-License-Identifier: Apache-2.0

//! What firmware and hypervisor say in turn: for stand-ins that play them, and for tests.
//!
//! To these, the guest is the attacker: whatever it writes is decoded in full or refused.

mod firmware;
mod hostile;
mod hypervisor;

pub use firmware::{Firmware, FirmwareError, key_answer, report_answer, secrets_page};
pub use hostile::{HostPage, hostile};
pub use hypervisor::{
    Entry, GHCB_MSR, GhcbAnswer, GhcbRequest, GuestRequest, HostError, MsrAnswer, MsrRequest,
    Owner, PageList, SevInfo, Width, read_entry,
};

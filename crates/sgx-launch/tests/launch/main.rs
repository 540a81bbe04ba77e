// SPDX-License-Identifier: Apache-2.0

//! Launches on paper: plans, measurements, signatures, pages over time, and the driver's numbers.

mod create;
mod driver;
mod images;
mod pages;
mod plans;
mod secrets;
mod signatures;

use sgx_guest::page::{Rights, SecInfo, Tcs};
use sgx_launch::{Content, Plan, Region, Secs};

/// Pages whose bytes all differ from each other's.
pub(crate) static TEXT: [u8; 3 * 4096] = {
    let mut bytes = [0; 3 * 4096];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = (at / 4096 * 31 + at % 251) as u8;
        at += 1;
    }
    bytes
};

/// A thread whose state save areas are behind it.
pub(crate) const THREAD: Tcs =
    Tcs { flags: 0, ssa: 0x5000, ssa_count: 2, entry: 0x10, fs: 0x7000, gs: 0 };

/// A small Keep with a page of each kind.
pub(crate) fn keep(thread: &[u8; 4096]) -> Plan<'_> {
    let mut plan = Plan::new(Secs::keep(0x10_0000, 0x1_0000, [0x77; 64]).unwrap());
    let text = SecInfo::reg(Rights::RX);
    let data = SecInfo::reg(Rights::RW);
    for region in [
        Region::measured(0, text, Content::Bytes(&TEXT)),
        Region::measured(0x3000, SecInfo::reg(Rights::R), Content::Zeros(0x1000)),
        Region::measured(0x4000, SecInfo::tcs(), Content::Bytes(thread)),
        Region::measured(0x5000, data, Content::Zeros(0x3000)),
    ] {
        plan.push(region).unwrap();
    }
    plan
}

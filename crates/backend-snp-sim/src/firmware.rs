// SPDX-License-Identifier: Apache-2.0

//! The firmware: what it knows of the guest, and its answers to the guest's messages (AMD 56860).

use std::fs::File;
use std::io::{self, Read as _};

use keep_backend::ReportSigner;
use launch_keys::IdSigners;
use sha2::{Digest as _, Sha256};
use snp_guest::PAGE;
use snp_guest::host::{self, FirmwareError, key_answer, report_answer, secrets_page};
use snp_guest::message::Kind;
use snp_guest::request::{KeyRequest, REPORT, ReportRequest};
use snp_launch::Parameters;
use zeroize::Zeroizing;

use crate::cpuid::SIGNATURE;

/// Versions of the parts of a trusted computing base, as Milan's reports have them: boot loader, TEE,
/// four reserved, SNP, microcode.
const TCB: [u8; 8] = [4, 0, 0, 0, 0, 0, 24, 219];
/// Version of the firmware's ABI: build, minor, major.
const FIRMWARE: [u8; 3] = [0, 55, 1];

/// Offsets in a report (`ATTESTATION_REPORT`).
mod field {
    pub(super) const VERSION: usize = 0x000;
    pub(super) const GUEST_SVN: usize = 0x004;
    pub(super) const POLICY: usize = 0x008;
    pub(super) const FAMILY_ID: usize = 0x010;
    pub(super) const IMAGE_ID: usize = 0x020;
    pub(super) const VMPL: usize = 0x030;
    pub(super) const SIGNATURE_ALGO: usize = 0x034;
    pub(super) const CURRENT_TCB: usize = 0x038;
    pub(super) const PLATFORM_INFO: usize = 0x040;
    pub(super) const AUTHOR_KEY_EN: usize = 0x048;
    pub(super) const REPORT_DATA: usize = 0x050;
    pub(super) const MEASUREMENT: usize = 0x090;
    pub(super) const HOST_DATA: usize = 0x0c0;
    pub(super) const ID_KEY_DIGEST: usize = 0x0e0;
    pub(super) const AUTHOR_KEY_DIGEST: usize = 0x110;
    pub(super) const REPORT_ID: usize = 0x140;
    pub(super) const REPORT_ID_MA: usize = 0x160;
    pub(super) const REPORTED_TCB: usize = 0x180;
    pub(super) const CPUID_FAMILY: usize = 0x188;
    pub(super) const COMMITTED_TCB: usize = 0x1e0;
    pub(super) const CURRENT_VERSION: usize = 0x1e8;
    pub(super) const COMMITTED_VERSION: usize = 0x1ec;
    pub(super) const LAUNCH_TCB: usize = 0x1f0;
}

/// Status of an answer: a parameter is wrong.
const INVALID_PARAM: u32 = 0x16;

/// What the firmware has of a guest.
pub(crate) struct Firmware {
    channel: host::Firmware,
    secrets: Box<[u8; PAGE]>,
    /// A report without report data, VMPL and signature.
    report: [u8; REPORT],
    /// What derived keys come from. If nobody keeps it, it lasts as long as the guest.
    chip: Zeroizing<[u8; 32]>,
    signer: Option<ReportSigner>,
}

/// Random bytes.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

impl Firmware {
    /// After a launch with that digest. Reports are signed by `signer`; without one the field stays
    /// empty, and nobody believes them. Keys are derived from `chip`, or from a secret of the moment.
    pub(crate) fn new(
        measurement: &[u8; 48],
        parameters: &Parameters,
        signers: Option<&IdSigners>,
        signer: Option<ReportSigner>,
        chip: Option<[u8; 32]>,
    ) -> io::Result<Self> {
        let keys: [[u8; 32]; 4] = [random()?, random()?, random()?, random()?];
        let secrets = Box::new(secrets_page(&keys, SIGNATURE));
        let mut report = [0; REPORT];
        let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
        put(field::VERSION, &3_u32.to_le_bytes());
        put(field::POLICY, &parameters.policy.bits().to_le_bytes());
        put(field::SIGNATURE_ALGO, &1_u32.to_le_bytes());
        for at in [field::CURRENT_TCB, field::REPORTED_TCB, field::COMMITTED_TCB, field::LAUNCH_TCB]
        {
            put(at, &TCB);
        }
        // Two threads a core, as on most machines.
        put(field::PLATFORM_INFO, &1_u64.to_le_bytes());
        put(field::MEASUREMENT, measurement);
        put(field::HOST_DATA, &parameters.host_data);
        if let Some(id) = &parameters.id {
            put(field::FAMILY_ID, &id.block.family);
            put(field::IMAGE_ID, &id.block.image);
            put(field::GUEST_SVN, &id.block.svn.to_le_bytes());
        }
        if let Some(signers) = signers {
            put(field::ID_KEY_DIGEST, &signers.id_key);
            if let Some(author) = &signers.author_key {
                put(field::AUTHOR_KEY_DIGEST, author);
                put(field::AUTHOR_KEY_EN, &1_u32.to_le_bytes());
            }
        }
        put(field::REPORT_ID, &random::<32>()?);
        // There is no migration agent.
        put(field::REPORT_ID_MA, &[0xff; 32]);
        put(field::CPUID_FAMILY, &[0x19, 1, 1]);
        put(field::CURRENT_VERSION, &FIRMWARE);
        put(field::COMMITTED_VERSION, &FIRMWARE);
        Ok(Self {
            channel: host::Firmware::new(Zeroizing::new(keys[0])),
            secrets,
            report,
            chip: Zeroizing::new(chip.map_or_else(random, Ok)?),
            signer,
        })
    }

    /// The page with the keys of the channel, which the launch puts into the guest.
    pub(crate) fn secrets(&self) -> &[u8; PAGE] {
        &self.secrets
    }

    /// Takes a message and makes the answer.
    pub(crate) fn serve(
        &mut self,
        request: &[u8; PAGE],
        into: &mut [u8; PAGE],
    ) -> Result<(), FirmwareError> {
        let Self { channel, report, chip, signer, .. } = self;
        let mut said = Vec::new();
        channel.serve(request, into, |header, payload| {
            if header.kind == Kind::KeyRequest as u8 {
                said = derived(chip, report, payload);
                return (Kind::KeyAnswer, &said);
            }
            said = reported(report, signer.as_ref(), payload);
            (Kind::ReportAnswer, &said)
        })
    }
}

/// The answer to `MSG_REPORT_REQ`.
fn reported(report: &[u8; REPORT], signer: Option<&ReportSigner>, payload: &[u8]) -> Vec<u8> {
    let mut report = *report;
    // Report data, the privilege level, and the key that shall sign.
    let (data, rest) = payload.split_at_checked(0x40).unwrap_or_default();
    let vmpl = rest.first_chunk().copied().map_or(u32::MAX, u32::from_le_bytes);
    if payload.len() != ReportRequest::SIZE || vmpl > 3 {
        return refused(ReportRequest::ANSWER);
    }
    report[field::REPORT_DATA..][..0x40].copy_from_slice(data);
    report[field::VMPL..][..4].copy_from_slice(&vmpl.to_le_bytes());
    if let Some(signer) = signer {
        signer(&mut report);
    }
    report_answer(&report).to_vec()
}

/// Bits of `GUEST_FIELD_SELECT` that stand for a field of the report, and the field.
const SELECTED: [(u64, std::ops::Range<usize>); 4] = [
    (1 << 0, field::POLICY..field::FAMILY_ID),
    (1 << 1, field::IMAGE_ID..field::VMPL),
    (1 << 2, field::FAMILY_ID..field::IMAGE_ID),
    (1 << 3, field::MEASUREMENT..field::HOST_DATA),
];

/// The answer to `MSG_KEY_REQ`: bound to the chip and to what the request selects. That the versions which
/// it names are none of the future is not looked at: a Keep names none.
fn derived(chip: &[u8; 32], report: &[u8; REPORT], payload: &[u8]) -> Vec<u8> {
    if payload.len() < 0x20 || payload.len() > KeyRequest::SIZE {
        return refused(KeyRequest::ANSWER);
    }
    let select = payload.get(8..).and_then(|rest| rest.first_chunk()).copied();
    let select = select.map_or(0, u64::from_le_bytes);
    let mut key = Sha256::new()
        .chain_update(b"stand-in for MSG_KEY_REQ")
        .chain_update(chip)
        .chain_update(payload);
    for (bit, field) in SELECTED {
        if select & bit != 0 {
            key.update(&report[field]);
        }
    }
    key_answer(&key.finalize().into()).to_vec()
}

fn refused(len: usize) -> Vec<u8> {
    let mut answer = vec![0; len];
    answer[..4].copy_from_slice(&INVALID_PARAM.to_le_bytes());
    answer
}

#[cfg(test)]
mod tests {
    use snp_guest::request::Root;

    use super::*;

    fn key(chip: u8, report: &[u8; REPORT], request: &KeyRequest) -> [u8; 32] {
        let mut answer = derived(&[chip; 32], report, &request.to_bytes()[..request.length()]);
        *request.take(&mut answer).unwrap()
    }

    #[test]
    fn a_derived_key_is_bound_to_what_was_selected() {
        let (request, report) = (KeyRequest::new(Root::Chip), [0; REPORT]);
        let first = key(1, &report, &request);
        assert_eq!(key(1, &report, &request), first);
        assert_ne!(key(2, &report, &request), first, "another chip");
        assert_ne!(key(1, &report, &KeyRequest::new(Root::Migration)), first, "another root");
        for (at, is_bound) in [
            (field::POLICY + 2, true),
            (field::MEASUREMENT + 47, true),
            (field::HOST_DATA, false),
            (field::FAMILY_ID, false),
            (field::IMAGE_ID, false),
            (field::REPORT_DATA, false),
            (field::REPORT_ID, false),
        ] {
            let mut other = report;
            other[at] ^= 1;
            assert_eq!(key(1, &other, &request) != first, is_bound, "{at:#x}");
            let selects_ids = (field::FAMILY_ID..field::VMPL).contains(&at);
            let with_ids = request.ids();
            let changed = key(1, &other, &with_ids) != key(1, &report, &with_ids);
            assert_eq!(changed, is_bound || selects_ids, "{at:#x}, with IDs");
        }
    }

    #[test]
    fn what_is_no_request_for_a_key_is_refused() {
        let request = KeyRequest::new(Root::Chip);
        let mut answer = derived(&[1; 32], &[0; REPORT], &[0; 0x1f]);
        assert!(request.take(&mut answer).is_err());
    }
}

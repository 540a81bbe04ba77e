// SPDX-License-Identifier: Apache-2.0

//! Development evidence: of the host agent, of a stand-in of SEV-SNP, and of one of SGX.

mod evidence;
mod layout;
mod sgx;
mod snp;

use core::time::Duration;

use evidence_claims::Endorsements;
use evidence_development::{REPORT_SIZE, Root, STAND_IN_TCB, SgxPlatform};
use evidence_pki::Time;

const NOW: Time = Time::from_unix(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);

fn root() -> Root {
    Root::create(NOW, 30 * DAY).unwrap()
}

fn put(to: &mut [u8], at: usize, bytes: &[u8]) {
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A report as the firmware of a stand-in composes it (AMD 56860, `ATTESTATION_REPORT`), before it is
/// signed; of an ID block with an author key.
fn composed(version: u32) -> [u8; REPORT_SIZE] {
    let mut report = [0; REPORT_SIZE];
    put(&mut report, 0x000, &version.to_le_bytes());
    put(&mut report, 0x004, &3u32.to_le_bytes());
    // At least ABI 1.51, SMT is allowed.
    put(&mut report, 0x008, &0x3_0133u64.to_le_bytes());
    put(&mut report, 0x010, &[0xfa; 16]);
    put(&mut report, 0x020, &[0x1a; 16]);
    put(&mut report, 0x038, &STAND_IN_TCB);
    // SMT is on; AUTHOR_KEY_EN.
    put(&mut report, 0x040, &1u64.to_le_bytes());
    put(&mut report, 0x048, &1u32.to_le_bytes());
    put(&mut report, 0x050, &[0xda; 64]);
    put(&mut report, 0x090, &[0x3e; 48]);
    put(&mut report, 0x0c0, &[0x40; 32]);
    put(&mut report, 0x0e0, &[0x1d; 48]);
    put(&mut report, 0x110, &[0xa0; 48]);
    put(&mut report, 0x140, &[0x77; 32]);
    put(&mut report, 0x160, &[0xff; 32]);
    if version >= 3 {
        put(&mut report, 0x188, &[0x19, 0x01, 0x01]);
    }
    put(&mut report, 0x1e0, &STAND_IN_TCB);
    put(&mut report, 0x1e8, &[5, 55, 1, 0]);
    put(&mut report, 0x1ec, &[5, 55, 1, 0]);
    put(&mut report, 0x1f0, &STAND_IN_TCB);
    if version >= 5 {
        put(&mut report, 0x1f8, &3u64.to_le_bytes());
        put(&mut report, 0x200, &7u64.to_le_bytes());
    }
    report
}

/// What an enclave's report says before key identifier and MAC (Intel SDM volume 3D, `REPORT`).
fn enclave() -> [u8; 384] {
    let mut report = [0; 384];
    put(&mut report, 0, &SgxPlatform::CPU_SVN);
    put(&mut report, 16, &1u32.to_le_bytes());
    put(&mut report, 32, &[0xe1; 16]);
    // INIT, MODE64BIT, KSS; x87, SSE, AVX, AVX-512.
    put(&mut report, 48, &[0x85, 0, 0, 0, 0, 0, 0, 0, 0xe7]);
    put(&mut report, 64, &[0x3e; 32]);
    put(&mut report, 128, &[0x51; 32]);
    put(&mut report, 192, &[0xc0; 64]);
    put(&mut report, 256, &7u16.to_le_bytes());
    put(&mut report, 258, &9u16.to_le_bytes());
    put(&mut report, 260, &2u16.to_le_bytes());
    put(&mut report, 304, &[0xfa; 16]);
    put(&mut report, 320, &[0xda; 64]);
    report
}

fn collateral(platform: &SgxPlatform) -> Endorsements<'_> {
    let mut endorsements = Endorsements::new();
    for (kind, value) in platform.endorsements() {
        endorsements.push(*kind, value.as_slice()).unwrap();
    }
    endorsements
}

// SPDX-License-Identifier: Apache-2.0

//! What a verified report claims.

use evidence_claims::{Claims, Detail, Platform, SnpDetail, Svn, TcbVersion, Time};

use crate::chain::Chain;
use crate::report::{Report, offset};
use crate::{development, policy_bits};

/// The names of the parts of a `TCB_VERSION` in claims: FMC, boot loader, TEE, SNP, microcode.
type Names = [&'static str; 5];

const CURRENT: Names =
    ["current.fmc", "current.bootloader", "current.tee", "current.snp", "current.microcode"];
const REPORTED: Names =
    ["reported.fmc", "reported.bootloader", "reported.tee", "reported.snp", "reported.microcode"];
const COMMITTED: Names = [
    "committed.fmc",
    "committed.bootloader",
    "committed.tee",
    "committed.snp",
    "committed.microcode",
];
const LAUNCH: Names =
    ["launch.fmc", "launch.bootloader", "launch.tee", "launch.snp", "launch.microcode"];

/// The claims of a report for which each rule was found to hold.
pub(crate) fn of(report: &Report<'_>, chain: &Chain, now: Time) -> Claims {
    let layout = chain.layout();
    let tcb = |at| layout.split(report.tcb(at)).0;
    let detail = SnpDetail {
        report_version: report.version(),
        guest_svn: report.guest_svn(),
        policy: report.policy(),
        vmpl: report.vmpl(),
        platform_info: report.platform_info(),
        family_id: report.family_id(),
        image_id: report.image_id(),
        host_data: report.host_data(),
        id_key_digest: report.id_key_digest(),
        author_key_digest: report.author_key_digest(),
        author_key_enabled: report.author_key_enabled(),
        chip_id: report.chip_id(),
        signing_key: chain.kind,
        product: chain.product,
        cpuid: report.cpuid(),
        current_tcb: tcb(offset::CURRENT_TCB),
        reported_tcb: tcb(offset::REPORTED_TCB),
        committed_tcb: tcb(offset::COMMITTED_TCB),
        launch_tcb: tcb(offset::LAUNCH_TCB),
        current_firmware: report.current_firmware(),
        committed_firmware: report.committed_firmware(),
        launch_mitigations: report.launch_mitigations(),
        current_mitigations: report.current_mitigations(),
        csp_id: chain.extensions.csp_id.clone(),
    };
    let mut svns = Vec::with_capacity(21);
    svns.push(Svn { name: "guest_svn", value: u64::from(detail.guest_svn) });
    for (names, tcb) in [
        (CURRENT, detail.current_tcb),
        (REPORTED, detail.reported_tcb),
        (COMMITTED, detail.committed_tcb),
        (LAUNCH, detail.launch_tcb),
    ] {
        push_tcb(&mut svns, names, tcb);
    }
    let (platform, product) = match chain.product {
        Some(product) => (Platform::Snp, product.as_str()),
        None => (Platform::Development, development::product(&chain.extensions)),
    };
    let signer = report.author_key_enabled().then(|| report.author_key_digest().to_vec());
    let debug = report.policy() & policy_bits::DEBUG != 0;
    let mut claims = Claims::new(
        platform,
        product,
        report.measurement(),
        report.report_data(),
        now,
        chain.valid_until,
        Detail::Snp(Box::new(detail)),
    );
    claims.signer = signer;
    claims.debug = debug;
    claims.svns = svns;
    claims
}

fn push_tcb(svns: &mut Vec<Svn>, names: Names, tcb: TcbVersion) {
    let values = [tcb.fmc, Some(tcb.bootloader), Some(tcb.tee), Some(tcb.snp), Some(tcb.microcode)];
    for (name, value) in names.into_iter().zip(values) {
        if let Some(value) = value {
            svns.push(Svn { name, value: u64::from(value) });
        }
    }
}

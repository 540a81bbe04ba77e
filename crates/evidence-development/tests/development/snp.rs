// SPDX-License-Identifier: Apache-2.0

//! What a stand-in of SEV-SNP signs.

use std::sync::Arc;

use evidence_claims::{Claims, Detail, Endorsements, Outcome, Platform, Reason, kind};
use evidence_crypto::{AwsLc, RustCrypto};
use evidence_development::{Attester, REPORT_SIZE, Root, STAND_IN_TCB};
use evidence_snp::{Development, Snp, SnpRefusal};

use crate::{NOW, composed, put, root};

fn verify(
    root: &Root,
    attester: &Attester,
    report: &[u8; REPORT_SIZE],
) -> Result<Claims, SnpRefusal> {
    let mut endorsements = Endorsements::new();
    endorsements.push(kind::VEK, attester.vek_der()).unwrap();
    let roots = || vec![root.certificate_der().to_vec()];
    let rust = Development::new(Arc::new(RustCrypto), roots());
    let aws = Development::new(Arc::new(AwsLc), roots());
    let verdict = aws.verify_report(report, &endorsements, NOW);
    let other = rust.verify_report(report, &endorsements, NOW);
    assert_eq!(format!("{verdict:?}"), format!("{other:?}"));
    let checks = evidence_claims::Format::examine(&aws, report, &endorsements, NOW);
    let failed = checks.iter().any(|check| matches!(check.outcome, Outcome::Fail(_)));
    assert_eq!(failed, verdict.is_err());
    let amd = Snp::new(Arc::new(AwsLc));
    assert!(amd.verify_report(report, &endorsements, NOW).is_err());
    verdict
}

#[test]
fn a_report_of_each_version_is_taken_under_its_root_alone() {
    let (root, other) = (root(), root());
    let attester = root.snp_stand_in(NOW).unwrap();
    for version in 2..=5 {
        let before = composed(version);
        let mut report = before;
        attester.sign_report(&mut report).unwrap();
        let claims = verify(&root, &attester, &report).unwrap();
        assert_eq!((claims.platform, &*claims.product), (Platform::Development, "snp-sim"));
        assert_eq!(claims.signer, Some(vec![0xa0; 48]));
        assert!(!claims.debug);
        let Detail::Snp(detail) = &claims.detail else { panic!("the format is SNP's") };
        assert_eq!(detail.reported_tcb, detail.current_tcb);
        assert_eq!((detail.reported_tcb.snp, detail.reported_tcb.microcode), (24, 219));
        assert_eq!(detail.chip_id, *attester.chip_id());
        assert_eq!(detail.host_data, [0x40; 32]);
        let refused = verify(&other, &attester, &report).unwrap_err();
        assert_eq!(refused.code(), "development.root-not-accepted");

        // Nothing else was touched.
        put(&mut report, 0x034, &before[0x034..0x038]);
        put(&mut report, 0x180, &before[0x180..0x188]);
        put(&mut report, 0x1a0, &before[0x1a0..0x1e0]);
        put(&mut report, 0x2a0, &before[0x2a0..]);
        assert!(report == before);
    }
}

#[test]
fn each_byte_of_a_report_counts() {
    let root = root();
    let attester = root.snp_stand_in(NOW).unwrap();
    let mut good = composed(5);
    attester.sign_report(&mut good).unwrap();
    let mut endorsements = Endorsements::new();
    endorsements.push(kind::VEK, attester.vek_der()).unwrap();
    let development = Development::new(Arc::new(AwsLc), vec![root.certificate_der().to_vec()]);
    development.verify_report(&good, &endorsements, NOW).unwrap();
    for at in 0..REPORT_SIZE {
        let mut report = good;
        report[at] ^= 1 << (at % 8);
        assert!(development.verify_report(&report, &endorsements, NOW).is_err(), "{at:#x}");
    }
}

#[test]
fn what_was_in_the_places_of_the_key_does_not_matter() {
    let root = root();
    let attester = root.snp_stand_in(NOW).unwrap();
    let mut report = composed(3);
    put(&mut report, 0x034, &[9; 4]);
    // SIGNING_KEY: none.
    report[0x048] |= 0x1c;
    put(&mut report, 0x180, &[9; 8]);
    put(&mut report, 0x1a0, &[9; 64]);
    put(&mut report, 0x2a0, &[9; 0x200]);
    attester.sign_report(&mut report).unwrap();
    verify(&root, &attester, &report).unwrap();
    assert_eq!(report[0x180..0x188], STAND_IN_TCB);

    // A chip that hides itself has no identity in its reports.
    report[0x048] |= 2;
    attester.sign_report(&mut report).unwrap();
    assert_eq!(report[0x1a0..0x1e0], [0; 64]);
    verify(&root, &attester, &report).unwrap();
}

#[test]
fn what_firmware_may_not_compose_is_refused_though_it_is_signed() {
    let root = root();
    let attester = root.snp_stand_in(NOW).unwrap();
    for (code, at, bytes) in [
        ("snp.version", 0x000, &[6, 0, 0, 0][..]),
        ("snp.reserved", 0x04c, &[1]),
        ("snp.reserved", 0x18b, &[1]),
        ("snp.reserved", 0x208, &[1]),
        ("snp.policy", 0x008, &[0; 8]),
        ("snp.abi", 0x008, &[0xff, 1, 3, 0, 0, 0, 0, 0]),
    ] {
        let mut report = composed(5);
        put(&mut report, at, bytes);
        attester.sign_report(&mut report).unwrap();
        assert_eq!(verify(&root, &attester, &report).unwrap_err().code(), code, "{at:#x}");
    }
}

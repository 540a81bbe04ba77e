// SPDX-License-Identifier: Apache-2.0

//! Reports of real processors, and what becomes of them when they are tampered with.

mod support;

use evidence_claims::{
    Detail, Endorsements, Format, Outcome, Platform, SigningKey, SnpDetail, SnpProduct, TcbVersion,
    Time, kind,
};
use evidence_snp::{REPORT_SIZE, Report, Snp};
use support::{at, aws, backends, bag, code, first_failure, vector};

const NOW: &str = "2026-09-01T00:00:00Z";

struct Case {
    name: &'static str,
    product: SnpProduct,
    version: u32,
    debug: bool,
    policy: u64,
    reported: TcbVersion,
    vek_end: &'static str,
}

const fn tcb(bootloader: u8, tee: u8, snp: u8, microcode: u8) -> TcbVersion {
    TcbVersion { fmc: None, bootloader, tee, snp, microcode }
}

const CASES: [Case; 8] = [
    Case {
        name: "milan-v2-virtee",
        product: SnpProduct::Milan,
        version: 2,
        debug: false,
        policy: 0x3_0000,
        reported: tcb(3, 0, 8, 115),
        vek_end: "2030-04-03T19:23:43Z",
    },
    Case {
        name: "milan-v2-debug-gsg",
        product: SnpProduct::Milan,
        version: 2,
        debug: true,
        policy: 0xb_0000,
        reported: tcb(2, 0, 5, 68),
        vek_end: "2029-09-24T00:55:28Z",
    },
    Case {
        name: "milan-v2-trustee",
        product: SnpProduct::Milan,
        version: 2,
        debug: false,
        policy: 0x3_001f,
        reported: tcb(3, 0, 8, 115),
        vek_end: "2030-01-24T17:58:26Z",
    },
    Case {
        name: "milan-v3-oak-oc-staging",
        product: SnpProduct::Milan,
        version: 3,
        debug: false,
        policy: 0x3_0000,
        reported: tcb(4, 0, 24, 219),
        vek_end: "2032-01-15T21:21:54Z",
    },
    Case {
        name: "milan-v3-oak-rk-staging",
        product: SnpProduct::Milan,
        version: 3,
        debug: false,
        policy: 0x3_0000,
        reported: tcb(4, 0, 24, 219),
        vek_end: "2032-01-15T23:04:19Z",
    },
    Case {
        name: "genoa-v5-lunal",
        product: SnpProduct::Genoa,
        version: 5,
        debug: false,
        policy: 0x3_0000,
        reported: tcb(10, 0, 27, 27),
        vek_end: "2033-02-17T23:01:36Z",
    },
    Case {
        name: "genoa-v3-microsoft",
        product: SnpProduct::Genoa,
        version: 3,
        debug: false,
        policy: 0x3_001f,
        reported: tcb(10, 0, 23, 84),
        vek_end: "2033-02-05T02:05:07Z",
    },
    Case {
        name: "turin-v5-microsoft",
        product: SnpProduct::Turin,
        version: 5,
        debug: false,
        policy: 0x3_001f,
        reported: TcbVersion { fmc: Some(1), bootloader: 1, tee: 1, snp: 4, microcode: 81 },
        vek_end: "2033-02-05T01:04:33Z",
    },
];

fn crl(product: SnpProduct) -> Option<Vec<u8>> {
    vector(&format!("snp/_roots/{}/crl-2026-08-19.der", product.as_str().to_lowercase()))
}

fn snp_detail(detail: Detail) -> SnpDetail {
    match detail {
        Detail::Snp(detail) => *detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn genuine_reports_verify() {
    for case in CASES {
        let name = case.name;
        let Some(report) = vector(&format!("snp/{name}/report.bin")) else { return };
        let vek = vector(&format!("snp/{name}/vek.der")).unwrap();
        let crl = crl(case.product).unwrap();
        let bag = bag(&[(kind::VEK, &vek), (kind::CRL, &crl)]);
        for crypto in backends() {
            let snp = Snp::new(crypto);
            let checks = snp.examine(&report, &bag, at(NOW));
            assert!(checks.iter().all(|one| matches!(one.outcome, Outcome::Pass(_))), "{checks:?}");
            // From memory the second time.
            for _ in 0..2 {
                let claims = snp
                    .verify_report(&report, &bag, at(NOW))
                    .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
                assert_eq!(claims.platform, Platform::Snp);
                assert_eq!(claims.product, case.product.as_str());
                assert_eq!(claims.debug, case.debug, "{name}");
                assert_eq!(claims.measurement, report[0x90..0xc0]);
                assert_eq!(claims.report_data, report[0x50..0x90]);
                assert_eq!(claims.signer, None);
                assert_eq!(claims.verified_at, at(NOW));
                // The list ends before any certificate does.
                assert_eq!(claims.valid_until, at("2026-10-04T00:00:00Z"));
                let reported: Vec<_> = claims
                    .svns
                    .iter()
                    .filter(|svn| svn.name.starts_with("reported."))
                    .map(|svn| (svn.name, svn.value))
                    .collect();
                assert_eq!(reported.len(), if case.reported.fmc.is_some() { 5 } else { 4 });
                let snp_svn = u64::from(case.reported.snp);
                assert!(reported.contains(&("reported.snp", snp_svn)), "{reported:?}");
                let detail = snp_detail(claims.detail);
                assert_eq!(detail.report_version, case.version);
                assert_eq!(detail.policy, case.policy);
                assert_eq!(detail.reported_tcb, case.reported);
                assert_eq!(detail.product, Some(case.product));
                assert_eq!(detail.signing_key, SigningKey::Vcek);
                assert_eq!(detail.chip_id, report[0x1a0..0x1e0]);
                assert_eq!(detail.cpuid.is_some(), case.version >= 3);
                assert_eq!(detail.launch_mitigations.is_some(), case.version >= 5);
                assert_eq!(detail.current_firmware.major, 1);
                assert_eq!(detail.csp_id, None);
            }
            // Nothing verifies without the list, nor outside of its time, nor with the VEK alone.
            let refused = |bag: &Endorsements<'_>, now: Time| {
                code(&snp.verify_report(&report, bag, now).unwrap_err())
            };
            let lone = support::bag(&[(kind::VEK, &vek)]);
            assert_eq!(refused(&lone, at(NOW)), "snp.crl-missing");
            assert_eq!(refused(&bag, at("2026-10-04T00:00:01Z")), "snp.crl-expired");
            assert_eq!(refused(&bag, at("2026-08-19T00:00:00Z")), "snp.crl-not-yet-valid");
            assert_eq!(refused(&bag, at(case.vek_end).plus(1)), "snp.vek-expired");
        }
    }
}

#[test]
fn fields_cover_the_whole_report_in_order() {
    let snp = Snp::new(aws());
    for case in CASES {
        let Some(report) = vector(&format!("snp/{}/report.bin", case.name)) else { return };
        let fields = snp.fields(&report).unwrap();
        // Parts (with a dot) lie inside of their field; the rest is a partition of the report.
        let mut end = 0;
        for field in fields.iter().filter(|one| !one.name.contains('.')) {
            assert_eq!(field.offset, end, "{}", field.name);
            end = field.offset + field.length;
            if field.name == "RESERVED" {
                assert_eq!(field.meaning.as_deref(), Some("zero, as it should be"));
            }
            // The numbers r and s are parts without a field around them.
            if end == 0x2a0 {
                end = 0x330;
            }
        }
        assert_eq!(end, REPORT_SIZE);
        let value = |name| &fields.iter().find(|field| field.name == name).unwrap().value;
        assert_eq!(*value("VERSION"), case.version.to_string());
        assert_eq!(*value("POLICY"), format!("{:#x}", case.policy));
        assert_eq!(*value("REPORTED_TCB.snp"), case.reported.snp.to_string());
        let policy = fields.iter().find(|field| field.name == "POLICY").unwrap();
        let debug = policy.meaning.as_deref().unwrap().contains("DEBUG");
        assert_eq!(debug, case.debug);
    }
}

#[test]
fn a_vlek_is_genuine_in_its_year_but_the_list_is_of_another() {
    let Some(report) = vector("snp/milan-v3-vlek-aws/report.bin") else { return };
    let vek = vector("snp/milan-v3-vlek-aws/vek.der").unwrap();
    let crl = crl(SnpProduct::Milan).unwrap();
    let bag = bag(&[(kind::VEK, &vek), (kind::CRL, &crl)]);
    for crypto in backends() {
        let snp = Snp::new(crypto);
        let refused = |now| code(&snp.verify_report(&report, &bag, at(now)).unwrap_err());
        assert_eq!(refused("2025-06-01T00:00:00Z"), "snp.crl-not-yet-valid");
        assert_eq!(refused("2025-12-10T22:14:21Z"), "snp.crl-not-yet-valid");
        assert_eq!(refused("2025-12-10T22:14:22Z"), "snp.vek-expired");
        assert_eq!(refused("2024-12-10T22:14:20Z"), "snp.vek-not-yet-valid");

        // In its year, each check that does not concern the list passes.
        for check in snp.examine(&report, &bag, at("2025-06-01T00:00:00Z")) {
            let is_list = check.what.contains("revocation list");
            let depends = check.what == "the VEK's issuer is not revoked";
            match check.outcome {
                Outcome::Pass(_) => assert!(!is_list, "{}", check.what),
                Outcome::Fail(refusal) => {
                    assert!(is_list);
                    assert_eq!(refusal.code(), "snp.crl-not-yet-valid");
                }
                Outcome::Skipped(_) => assert!(depends, "{}", check.what),
            }
        }
        let checks = snp.examine(&report, &bag, at("2026-01-01T00:00:00Z"));
        assert_eq!(first_failure(&checks), Some("snp.vek-expired"));
    }
    let report = Report::new(&report).unwrap();
    assert_eq!((report.signing_key(), report.vmpl(), report.chip_id()), (1, 1, [0; 64]));
}

#[test]
fn tampered_reports_are_refused_for_the_right_reason() {
    let cases = [
        ("milan-report-data-bit", "snp.signature"),
        ("milan-measurement-bit", "snp.signature"),
        ("milan-policy-debug-set", "snp.signature"),
        ("milan-reported-tcb-raised", "snp.tcb"),
        ("milan-chip-id-bit", "snp.chip-id"),
        ("milan-sig-r-bit", "snp.signature"),
        ("milan-sig-s-bit", "snp.signature"),
        ("milan-vek-of-other-chip", "snp.chip-id"),
        ("milan-sig-zero", "snp.signature"),
        ("milan-sig-high-bytes", "snp.signature-encoding"),
        ("milan-version-99", "snp.version"),
        ("milan-sigalgo-2", "snp.signature-algorithm"),
        // The bit makes something else of the issuer's common name.
        ("milan-vek-tbs-bit", "snp.vek-name"),
        ("milan-truncated", "snp.length"),
        ("milan-empty", "snp.length"),
        ("milan-trailing-byte", "snp.length"),
    ];
    for (name, expected) in cases {
        let Some(report) = vector(&format!("derived/snp/{name}/report.bin")) else { return };
        let vek = vector(&format!("derived/snp/{name}/vek.der")).unwrap();
        let crl = crl(SnpProduct::Milan).unwrap();
        let bag = bag(&[(kind::VEK, &vek), (kind::CRL, &crl)]);
        for crypto in backends() {
            let snp = Snp::new(crypto);
            let refusal = snp.verify_report(&report, &bag, at(NOW)).unwrap_err();
            assert_eq!(code(&refusal), expected, "{name}: {refusal}");
            let checks = snp.examine(&report, &bag, at(NOW));
            assert_eq!(first_failure(&checks), Some(expected), "{name}");
        }
    }
}

#[test]
fn an_impostor_with_amds_names_is_refused() {
    let Some(report) = vector("derived/snp/impostor-milan/report.bin") else { return };
    let file = |name: &str| vector(&format!("derived/snp/impostor-milan/{name}.der")).unwrap();
    let (vek, ask, crl) = (file("vek"), file("ask"), crl(SnpProduct::Milan).unwrap());
    for crypto in backends() {
        let snp = Snp::new(crypto);
        let cases = [
            (vec![(kind::VEK, &vek), (kind::CRL, &crl)], "snp.vek-signature"),
            (vec![(kind::VEK, &vek), (kind::ASK, &ask), (kind::CRL, &crl)], "snp.ask-signature"),
        ];
        for (list, expected) in cases {
            let list: Vec<(_, &[u8])> = list.into_iter().map(|(k, b)| (k, &b[..])).collect();
            let refusal = snp.verify_report(&report, &bag(&list), at(NOW)).unwrap_err();
            assert_eq!(code(&refusal), expected, "{refusal}");
        }
    }
}

/// Certificates that another project made for its own tests: AMD's names, another signature.
#[test]
fn forged_veks_are_refused() {
    let Some(report) = vector("snp/milan-v2-trustee/report.bin") else { return };
    let crl = crl(SnpProduct::Milan).unwrap();
    for (name, expected) in [
        ("vcek-invalid-legacy", "snp.vek-signature"),
        // Its hwID is a DER OCTET STRING, which AMD's never is.
        ("vcek-invalid-new", "snp.vek-extension"),
    ] {
        let vek = vector(&format!("snp/milan-v2-trustee/{name}.der")).unwrap();
        let bag = bag(&[(kind::VEK, &vek), (kind::CRL, &crl)]);
        let refusal = Snp::new(aws()).verify_report(&report, &bag, at(NOW)).unwrap_err();
        assert_eq!(code(&refusal), expected, "{refusal}");
    }
}

/// Without a report of its own there is still a chain to check.
#[test]
fn the_chain_of_a_lone_turin_vcek_is_good() {
    let Some(vek) = vector("snp/turin-vcek-only-virtee/vek.der") else { return };
    let crl = crl(SnpProduct::Turin).unwrap();
    let report = vector("snp/turin-v5-microsoft/report.bin").unwrap();
    let bag = bag(&[(kind::VEK, &vek), (kind::CRL, &crl)]);
    let snp = Snp::new(aws());
    let refusal = snp.verify_report(&report, &bag, at(NOW)).unwrap_err();
    assert!(matches!(code(&refusal), "snp.tcb" | "snp.chip-id"), "{refusal}");
    let checks = snp.examine(&report, &bag, at(NOW));
    let good = checks.iter().take_while(|one| matches!(one.outcome, Outcome::Pass(_))).count();
    assert!(good >= 16, "{checks:?}");
}

/// AMD revoked Genoa's first ASK; whoever still has it pinned gets no verdict.
#[test]
fn lists_of_other_products_do_not_count() {
    let Some(report) = vector("snp/genoa-v5-lunal/report.bin") else { return };
    let vek = vector("snp/genoa-v5-lunal/vek.der").unwrap();
    let (milan, genoa) = (crl(SnpProduct::Milan).unwrap(), crl(SnpProduct::Genoa).unwrap());
    let snp = Snp::new(aws());
    let other = bag(&[(kind::VEK, &vek), (kind::CRL, &milan)]);
    let refusal = snp.verify_report(&report, &other, at(NOW)).unwrap_err();
    assert_eq!(code(&refusal), "snp.crl-missing");
    let both = bag(&[(kind::VEK, &vek), (kind::CRL, &milan), (kind::CRL, &genoa)]);
    assert!(snp.verify_report(&report, &both, at(NOW)).is_ok());
    // The list with its signature spoiled, and one with a byte too many.
    let mut spoiled = genoa.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    let mut longer = genoa;
    longer.push(0);
    for (list, expected) in [(spoiled, "snp.crl-signature"), (longer, "snp.crl-malformed")] {
        let bag = bag(&[(kind::VEK, &vek), (kind::CRL, &list)]);
        let refusal = snp.verify_report(&report, &bag, at(NOW)).unwrap_err();
        assert_eq!(code(&refusal), expected);
    }
}

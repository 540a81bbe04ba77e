// SPDX-License-Identifier: Apache-2.0

//! TCB statuses, alone and converged, and what else goes into claims; by quotes of a synthetic Intel.

use std::sync::Arc;

use evidence_claims::{
    Claims, Detail, Endorsements, PckAuthority, QuotePlatform, TcbStatus, Time, kind,
};
use evidence_crypto::{AwsLc, Crypto};
use evidence_dcap::{DcapRefusal, Sgx, Tdx, collateral_json};
use evidence_testkit::intel::{
    Authority, Collateral, Document, Intel, Level, PckBuilder, QuoteBuilder, QuoteKind, qe_offset,
    sgx_offset, td_offset,
};
use evidence_testkit::{DAY, NOW};

fn crypto() -> Arc<dyn Crypto> {
    Arc::new(AwsLc)
}

fn verify_with(
    kind: QuoteKind,
    quote: &[u8],
    endorsements: &Endorsements<'_>,
) -> Result<Claims, DcapRefusal> {
    let root = Intel::get().root_der();
    if kind.is_tdx() {
        Tdx::with_root(crypto(), &root)?.verify_quote(quote, endorsements, NOW)
    } else {
        Sgx::with_root(crypto(), &root)?.verify_quote(quote, endorsements, NOW)
    }
}

fn verify(kind: QuoteKind, quote: QuoteBuilder, all: &Collateral) -> Result<Claims, DcapRefusal> {
    let quote = Intel::get().sign_quote(&quote);
    verify_with(kind, &quote, &collateral_json(all.to_json().as_bytes())?)
}

fn platform(claims: &Claims) -> &QuotePlatform {
    match &claims.detail {
        Detail::Sgx(detail) => &detail.platform,
        Detail::Tdx(detail) => &detail.platform,
        _ => panic!("foreign detail"),
    }
}

fn info(kind: QuoteKind) -> Document {
    if kind.is_tdx() { Document::tdx_tcb_info() } else { Document::sgx_tcb_info() }
}

fn identity(kind: QuoteKind) -> Document {
    if kind.is_tdx() { Document::tdx_qe_identity() } else { Document::sgx_qe_identity() }
}

const PLATFORM: [TcbStatus; 7] = [
    TcbStatus::UpToDate,
    TcbStatus::SWHardeningNeeded,
    TcbStatus::ConfigurationNeeded,
    TcbStatus::ConfigurationAndSWHardeningNeeded,
    TcbStatus::OutOfDate,
    TcbStatus::OutOfDateConfigurationNeeded,
    TcbStatus::Revoked,
];
const PART: [TcbStatus; 3] = [TcbStatus::UpToDate, TcbStatus::OutOfDate, TcbStatus::Revoked];

/// What Intel's rules make of three statuses, said another way than the verifier says it.
fn expected(platform: TcbStatus, parts: &[TcbStatus]) -> TcbStatus {
    if platform == TcbStatus::Revoked || parts.contains(&TcbStatus::Revoked) {
        return TcbStatus::Revoked;
    }
    if !parts.contains(&TcbStatus::OutOfDate) {
        return platform;
    }
    if platform.as_str().contains("Configuration") {
        TcbStatus::OutOfDateConfigurationNeeded
    } else {
        TcbStatus::OutOfDate
    }
}

#[test]
fn every_combination_of_statuses_converges_as_intel_says() {
    let intel = Intel::get();
    let mut count = 0;
    for kind in QuoteKind::ALL {
        // TD 1.5 may come out as "relaunch advised", which has a test of its own.
        let modules: &[TcbStatus] = match kind {
            QuoteKind::TdxV4 | QuoteKind::Tdx10V5 => &PART,
            _ => &[TcbStatus::UpToDate],
        };
        for (status, qe) in PLATFORM.into_iter().flat_map(|one| PART.map(|qe| (one, qe))) {
            for module in modules {
                let document = info(kind).status(0, status.as_str()).edit(|value| {
                    if kind.is_tdx() {
                        value["tdxModuleIdentities"][1]["tcbLevels"][0]["tcbStatus"] =
                            module.as_str().into();
                    }
                });
                let identity = identity(kind).svn_levels(&[(8, qe.as_str(), &[])]);
                let all = intel
                    .collateral(kind)
                    .with_tcb_info(intel, &document.text())
                    .with_qe_identity(intel, &identity.text());
                let verdict = verify(kind, intel.quote(kind), &all);
                let expected = expected(status, &[qe, *module]);
                match verdict {
                    Err(refusal) => {
                        assert_eq!(refusal, DcapRefusal::TcbRevoked(TcbStatus::Revoked));
                        assert_eq!(expected, TcbStatus::Revoked, "{kind:?} {status} {qe} {module}");
                    }
                    Ok(claims) => {
                        let text = format!("{kind:?} {status} {qe} {module}");
                        assert_eq!(claims.tcb_status, Some(expected), "{text}");
                        assert_eq!(platform(&claims).platform_status, status, "{text}");
                        assert_eq!(platform(&claims).qe_status, Some(qe), "{text}");
                    }
                }
                count += 1;
            }
        }
    }
    assert_eq!(count, 4 * 21 + 2 * 63);
}

#[test]
fn the_first_level_that_fits_counts_and_lists_advisories_of_all_parts() {
    let intel = Intel::get();
    let level = |first: u8, pce_svn, status: TcbStatus, advisory: &str| {
        let mut sgx = [0; 16];
        sgx[0] = first;
        Level {
            sgx,
            pce_svn,
            tdx: None,
            status: status.as_str().into(),
            advisories: vec![advisory.into(), "INTEL-SA-00500".into()],
        }
    };
    let levels = [
        level(6, 1, TcbStatus::UpToDate, "INTEL-SA-00006"),
        level(5, 14, TcbStatus::UpToDate, "INTEL-SA-00005"),
        level(5, 13, TcbStatus::ConfigurationNeeded, "INTEL-SA-00013"),
        level(5, 12, TcbStatus::UpToDate, "INTEL-SA-00012"),
    ];
    let kind = QuoteKind::SgxV3;
    let document = info(kind).levels(&levels).set("tcbEvaluationDataNumber", 30);
    let identity = identity(kind).svn_levels(&[
        (9, "UpToDate", &[]),
        (8, "OutOfDate", &["INTEL-SA-00900", "INTEL-SA-00500"]),
    ]);
    let all = intel
        .collateral(kind)
        .with_tcb_info(intel, &document.text())
        .with_qe_identity(intel, &identity.text());
    let claims = verify(kind, intel.quote(kind), &all).unwrap();
    assert_eq!(platform(&claims).platform_status, TcbStatus::ConfigurationNeeded);
    assert_eq!(claims.tcb_status, Some(TcbStatus::OutOfDateConfigurationNeeded));
    assert_eq!(claims.advisories, ["INTEL-SA-00013", "INTEL-SA-00500", "INTEL-SA-00900"]);
    assert_eq!(claims.evaluation_number, Some(21), "the lower of the two");
    assert_eq!(platform(&claims).tcb_date.to_string(), "2026-05-13T00:00:00Z");

    // Each component counts: one below, and the level is not reached.
    for index in 0..16 {
        let mut sgx = PckBuilder::COMPONENTS;
        sgx[index] += 1;
        let above =
            Level { sgx, pce_svn: 0, tdx: None, status: "UpToDate".into(), advisories: Vec::new() };
        let all = intel.collateral(kind).with_tcb_info(intel, &info(kind).levels(&[above]).text());
        assert_eq!(verify(kind, intel.quote(kind), &all).unwrap_err(), DcapRefusal::TcbLevel);
    }
}

#[test]
fn components_of_a_td_count_from_the_third_on_if_its_module_has_an_identity() {
    let intel = Intel::get();
    let kind = QuoteKind::TdxV4;
    let quote = |tcb_svn: &[u8; 16]| intel.quote(kind).patch_body(td_offset::TEE_TCB_SVN, tcb_svn);
    let info = |tdx: [u8; 16]| {
        let level = Level {
            sgx: [0; 16],
            pce_svn: 0,
            tdx: Some(tdx),
            status: "UpToDate".into(),
            advisories: Vec::new(),
        };
        let text = Document::tdx_tcb_info().levels(&[level]).text();
        intel.collateral(kind).with_tcb_info(intel, &text)
    };
    for index in 0..16 {
        let mut above = [0; 16];
        above[index] = 6;
        let with_identity =
            verify(kind, quote(&[5, 1, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]), &info(above));
        assert_eq!(with_identity.is_ok(), index < 2, "{index}: {with_identity:?}");
        let without =
            verify(kind, quote(&[5, 0, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]), &info(above));
        assert_eq!(without.unwrap_err(), DcapRefusal::TcbLevel, "{index}");
        let mut equal = [0; 16];
        equal[index] = if index == 1 { 0 } else { 5 };
        let claims =
            verify(kind, quote(&[5, 0, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]), &info(equal))
                .unwrap();
        let Detail::Tdx(detail) = &claims.detail else { panic!("no TDX") };
        assert_eq!(detail.module_status, None);
    }
}

/// A TD 1.5 that started on a module of the second level, with what ran at the quote.
fn relaunch(
    change: impl FnOnce(Document) -> Document,
    tcb_svn: [u8; 3],
    now: [u8; 3],
    qe: u8,
) -> Result<Claims, DcapRefusal> {
    let intel = Intel::get();
    let kind = QuoteKind::Tdx15V5;
    let text = change(Document::tdx_tcb_info()).text();
    let all = intel.collateral(kind).with_tcb_info(intel, &text);
    let quote = intel
        .quote(kind)
        .patch_body(td_offset::TEE_TCB_SVN, &tcb_svn)
        .patch_body(td_offset::TEE_TCB_SVN_2, &now)
        .patch_qe_report(qe_offset::SVN, &[qe]);
    verify(kind, quote, &all)
}

#[test]
fn a_td_on_an_old_module_is_advised_to_relaunch_if_the_new_one_runs() {
    use TcbStatus::{
        OutOfDate, OutOfDateConfigurationNeeded, TDRelaunchAdvised,
        TDRelaunchAdvisedConfigurationNeeded, UpToDate,
    };
    let same = |document| document;
    let configuration = |document: Document| document.status(0, "ConfigurationNeeded");
    let hardening = |document: Document| document.status(0, "SWHardeningNeeded");
    let old = |document: Document| document.status(0, "OutOfDate");
    // The first level asks for late microcode 3 of TDX, and for 5 of a module of generation 0.
    type Row = (fn(Document) -> Document, [u8; 3], [u8; 3], u8, TcbStatus);
    let rows: [Row; 13] = [
        (same, [5, 1, 3], [5, 1, 3], 8, UpToDate),
        (same, [2, 1, 3], [5, 1, 3], 8, TDRelaunchAdvised),
        (same, [2, 1, 3], [6, 1, 4], 8, TDRelaunchAdvised),
        (same, [2, 1, 3], [3, 3, 3], 8, TDRelaunchAdvised),
        (same, [2, 1, 3], [5, 0, 3], 8, TDRelaunchAdvised),
        (same, [2, 1, 3], [4, 0, 3], 8, OutOfDate),
        (same, [2, 1, 3], [4, 1, 3], 8, OutOfDate),
        (same, [2, 1, 3], [5, 1, 2], 8, OutOfDate),
        (same, [2, 1, 3], [5, 1, 3], 5, OutOfDate),
        (hardening, [2, 1, 3], [5, 1, 3], 8, TDRelaunchAdvised),
        (configuration, [2, 1, 3], [5, 1, 3], 8, TDRelaunchAdvisedConfigurationNeeded),
        (configuration, [2, 1, 3], [4, 1, 3], 8, OutOfDateConfigurationNeeded),
        (old, [2, 1, 3], [5, 1, 3], 8, OutOfDate),
    ];
    for (change, tcb_svn, now, qe, status) in rows {
        let claims = relaunch(change, tcb_svn, now, qe).unwrap();
        assert_eq!(claims.tcb_status, Some(status), "{tcb_svn:?} {now:?} QE {qe}");
        let Detail::Tdx(detail) = &claims.detail else { panic!("no TDX") };
        let module = if tcb_svn[0] == 2 { OutOfDate } else { UpToDate };
        assert_eq!(detail.module_status, Some(module));
        assert_eq!(claims.advisories.contains(&"INTEL-SA-00002".to_owned()), module == OutOfDate);
    }
    // To start again helps only if what runs now is good itself.
    let newest = |status: &'static str| {
        move |document: Document| {
            document.edit(|value| {
                for identity in value["tdxModuleIdentities"].as_array_mut().unwrap() {
                    identity["tcbLevels"][0]["tcbStatus"] = status.into();
                }
            })
        }
    };
    let claims = relaunch(newest("OutOfDate"), [2, 1, 3], [5, 1, 3], 8).unwrap();
    assert_eq!(claims.tcb_status, Some(OutOfDate));
    for start in [[2, 1, 3], [5, 1, 3]] {
        let refusal = relaunch(newest("Revoked"), start, [5, 1, 3], 8).unwrap_err();
        assert_eq!(refusal, DcapRefusal::TcbRevoked(TcbStatus::Revoked), "{start:?}");
    }
    // A quote that does not say what runs now cannot be better than out of date.
    let intel = Intel::get();
    let kind = QuoteKind::TdxV4;
    let quote = intel.quote(kind).patch_body(td_offset::TEE_TCB_SVN, &[2, 1, 3]);
    let claims = verify(kind, quote, &intel.collateral(kind)).unwrap();
    assert_eq!(claims.tcb_status, Some(OutOfDate));
}

#[test]
fn without_a_qe_identity_the_status_of_the_quoting_enclave_is_unknown() {
    let intel = Intel::get();
    for kind in QuoteKind::ALL {
        let mut all = intel.collateral(kind);
        all.qe_identity.clear();
        all.qe_identity_signature.clear();
        all.qe_identity_issuer_chain.clear();
        let claims = verify(kind, intel.quote(kind), &all).unwrap();
        assert_eq!(platform(&claims).qe_status, None);
        assert_eq!(claims.tcb_status, Some(TcbStatus::UpToDate));
        assert_eq!(claims.evaluation_number, Some(21));
        // What is known of Intel's quoting enclaves is still checked.
        for (offset, byte, refusal) in [
            (qe_offset::MRSIGNER, 1, DcapRefusal::QeSigner),
            (qe_offset::PRODUCT_ID, 7, DcapRefusal::QeProduct(7)),
            (qe_offset::ATTRIBUTES, 0x17, DcapRefusal::QeDebug),
        ] {
            let quote = intel.quote(kind).patch_qe_report(offset, &[byte]);
            assert_eq!(verify(kind, quote, &all).unwrap_err(), refusal);
        }
    }
}

#[test]
fn debug_mode_is_a_claim() {
    let intel = Intel::get();
    for kind in QuoteKind::ALL {
        let rows: &[(u8, bool)] = match kind.is_tdx() {
            false => &[(5, false), (7, true)],
            true => &[(0, false), (1, true), (2, true), (0x80, true)],
        };
        for (byte, debug) in rows {
            let offset =
                if kind.is_tdx() { td_offset::TD_ATTRIBUTES } else { sgx_offset::ATTRIBUTES };
            let quote = intel.quote(kind).patch_body(offset, &[*byte]);
            let claims = verify(kind, quote, &intel.collateral(kind)).unwrap();
            assert_eq!(claims.debug, *debug, "{kind:?} {byte}");
        }
    }
}

#[test]
fn a_quote_without_a_chain_takes_one_that_comes_along() {
    let intel = Intel::get();
    for quote_kind in QuoteKind::ALL {
        let authority = quote_kind.authority();
        let chain = intel.pck_chain(authority, &intel.pck(authority));
        let collateral = intel.collateral(quote_kind);
        let mut endorsements = collateral_json(collateral.to_json().as_bytes()).unwrap();
        endorsements.push(kind::PCK_CHAIN, chain.into_bytes()).unwrap();
        let mut data = [0; 404];
        let good = intel.quote(quote_kind).certification_data(3, &data);
        let claims = verify_with(quote_kind, &intel.sign_quote(&good), &endorsements).unwrap();
        assert_eq!(claims.tcb_status, Some(TcbStatus::UpToDate));
        data[403] = 1;
        let other = intel.quote(quote_kind).certification_data(3, &data);
        let refusal =
            verify_with(quote_kind, &intel.sign_quote(&other), &endorsements).unwrap_err();
        assert_eq!(refusal, DcapRefusal::PceId);
    }
}

#[test]
fn claims_say_what_quote_and_certificate_say() {
    let intel = Intel::get();
    let kind = QuoteKind::SgxV3;
    let quote = intel
        .quote(kind)
        .patch_body(sgx_offset::SVN, &[1, 2])
        .patch_body(sgx_offset::CONFIG_SVN, &[3, 4])
        .patch_body(sgx_offset::PRODUCT_ID, &[5, 6])
        .patch_body(sgx_offset::CONFIG_ID, &[7; 64])
        .patch_body(sgx_offset::FAMILY_ID, &[8; 16])
        .patch_body(sgx_offset::EXTENDED_PRODUCT_ID, &[9; 16])
        .patch_body(sgx_offset::MISC_SELECT, &[1]);
    let claims = verify(kind, quote, &intel.collateral(kind)).unwrap();
    let svns: Vec<(&str, u64)> = claims.svns.iter().map(|svn| (svn.name, svn.value)).collect();
    assert_eq!(svns, [("isv_svn", 0x201), ("config_svn", 0x403), ("pce_svn", 13), ("qe_svn", 8)]);
    assert_eq!(claims.product, "FMSPC 00706e470000");
    assert_eq!(claims.measurement, QuoteBuilder::MRENCLAVE);
    assert_eq!(claims.signer.as_deref(), Some(&QuoteBuilder::MRSIGNER[..]));
    let Detail::Sgx(detail) = &claims.detail else { panic!("no SGX") };
    assert_eq!(detail.isv_prod_id, 0x605);
    assert_eq!(detail.config_id, [7; 64]);
    assert_eq!(detail.isv_family_id, [8; 16]);
    assert_eq!(detail.isv_ext_prod_id, [9; 16]);
    assert_eq!(detail.misc_select, 1);
    assert_eq!((detail.attributes, detail.xfrm), (5, 0xe7));
    assert_eq!(detail.platform.pck_authority, PckAuthority::Processor);
    assert_eq!(detail.platform.smt_enabled, None);
    assert_eq!(detail.platform.pck_svns, PckBuilder::COMPONENTS);

    let kind = QuoteKind::Tdx15V5;
    let flags = intel.pck(Authority::Platform).configuration(&[(1, false), (2, true), (3, false)]);
    let quote = intel
        .quote(kind)
        .pck_chain(&intel.pck_chain(Authority::Platform, &flags))
        .patch_body(td_offset::MRCONFIGID, &[1; 48])
        .patch_body(td_offset::MROWNER, &[2; 48])
        .patch_body(td_offset::MROWNERCONFIG, &[3; 48])
        .patch_body(td_offset::MRSERVICETD, &[4; 48])
        .patch_body(td_offset::TD_ATTRIBUTES + 3, &[0xd0]);
    let claims = verify(kind, quote, &intel.collateral(kind)).unwrap();
    let svns: Vec<(&str, u64)> = claims.svns.iter().map(|svn| (svn.name, svn.value)).collect();
    assert_eq!(svns, [("tee_tcb_svn.0", 5), ("tee_tcb_svn.1", 1), ("pce_svn", 13), ("qe_svn", 8)]);
    assert_eq!((claims.measurement.len(), claims.signer), (48, None));
    let Detail::Tdx(detail) = &claims.detail else { panic!("no TDX") };
    assert_eq!(detail.mr_config_id, [1; 48]);
    assert_eq!(detail.mr_owner, [2; 48]);
    assert_eq!(detail.mr_owner_config, [3; 48]);
    assert_eq!(detail.mr_service_td, Some([4; 48]));
    assert_eq!(detail.tee_tcb_svn_2, Some(QuoteBuilder::TEE_TCB_SVN));
    assert_eq!(detail.td_attributes, 0xd000_0000);
    assert_eq!(detail.rtmrs.map(|register| register[0]), [0xa0, 0xa1, 0xa2, 0xa3]);
    assert_eq!(detail.platform.pck_authority, PckAuthority::Platform);
    assert_eq!(detail.platform.dynamic_platform, Some(false));
    assert_eq!(detail.platform.cached_keys, Some(true));
    assert_eq!(detail.platform.smt_enabled, Some(false));
}

#[test]
fn claims_end_with_the_first_part_of_the_collateral() {
    let intel = Intel::get();
    let kind = QuoteKind::SgxV4;
    let authority = kind.authority();
    let (from, soon) = (NOW.minus(DAY), NOW.plus(7));
    let end = |change: &dyn Fn(&mut Collateral), quote: QuoteBuilder| -> Time {
        let mut all = intel.collateral(kind);
        change(&mut all);
        verify(kind, quote, &all).unwrap().valid_until
    };
    let quote = || intel.quote(kind);
    assert_eq!(end(&|_| (), quote()), NOW.plus(20 * DAY));
    let changes: [&dyn Fn(&mut Collateral); 5] = [
        &|all| all.root_ca_crl = intel.root_crl(from, soon).sign(intel.root_key()),
        &|all| {
            all.pck_crl = intel.pck_crl(authority, from, soon).sign(intel.pck_ca_key(authority));
        },
        &|all| {
            let text = info(kind).dates(from, soon).text();
            *all = all.clone().with_tcb_info(intel, &text);
        },
        &|all| {
            let text = identity(kind).dates(from, soon).text();
            *all = all.clone().with_qe_identity(intel, &text);
        },
        &|all| {
            let signer = intel.tcb_signing().validity(from, soon).sign(intel.root_key());
            all.qe_identity_issuer_chain = evidence_testkit::der_writer::pem_chain(&[&signer]);
        },
    ];
    for change in changes {
        assert_eq!(end(change, quote()), soon);
    }
    let pck = intel.pck(authority).validity(from, soon);
    let chain = intel.pck_chain(authority, &pck);
    assert_eq!(end(&|_| (), quote().pck_chain(&chain)), soon);
    let short = intel.pck_ca(authority).validity(from, soon).sign(intel.root_key());
    let leaf = intel.pck(authority).sign(intel.pck_ca_key(authority));
    let chain = evidence_testkit::der_writer::pem_chain(&[&leaf, &short]);
    assert_eq!(end(&|_| (), quote().pck_chain(&chain)), soon);
}

#[test]
fn memory_changes_no_verdict() {
    let intel = Intel::get();
    for kind in QuoteKind::ALL {
        let sample = intel.sample(kind);
        let good = collateral_json(sample.collateral.to_json().as_bytes()).unwrap();
        let mut stale = sample.collateral.clone();
        stale.pck_crl = intel
            .pck_crl(kind.authority(), NOW.minus(DAY), NOW.plus(DAY))
            .revoke(&PckBuilder::SERIAL)
            .sign(intel.pck_ca_key(kind.authority()));
        let revoked = collateral_json(stale.to_json().as_bytes()).unwrap();
        let mut tampered = sample.quote.clone();
        tampered[kind.body_offset() + 70] ^= 1;
        let foreign = intel.sign_quote(&intel.quote(kind).pck_chain(
            &intel.pck_chain(kind.authority(), &intel.pck(kind.authority()).fmspc(&[1; 6])),
        ));
        let sgx = Sgx::with_root(crypto(), &sample.root).unwrap();
        let tdx = Tdx::with_root(crypto(), &sample.root).unwrap();
        let fresh = |quote: &[u8], with: &Endorsements<'_>, now| {
            let verdict = if kind.is_tdx() {
                let tdx = Tdx::with_root(crypto(), &sample.root).unwrap().forgetful();
                tdx.verify_quote(quote, with, now)
            } else {
                let sgx = Sgx::with_root(crypto(), &sample.root).unwrap().forgetful();
                sgx.verify_quote(quote, with, now)
            };
            format!("{verdict:?}")
        };
        let mut good_ones = 0;
        for _ in 0..2 {
            for quote in [&sample.quote, &tampered, &foreign] {
                for with in [&good, &revoked] {
                    for days in [0, 24, 26, 40, 400] {
                        let now = NOW.plus(days * DAY);
                        let verdict = if kind.is_tdx() {
                            tdx.verify_quote(quote, with, now)
                        } else {
                            sgx.verify_quote(quote, with, now)
                        };
                        good_ones += u32::from(verdict.is_ok());
                        assert_eq!(format!("{verdict:?}"), fresh(quote, with, now));
                    }
                }
            }
        }
        assert_eq!(good_ones, 2);
    }
}

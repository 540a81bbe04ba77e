// SPDX-License-Identifier: Apache-2.0

//! Each rule of a policy, once satisfied and once not.

mod common;

use std::collections::BTreeSet;

use common::{PUBLISHED, bytes, detail_sgx, detail_snp, detail_tdx, development, sgx, snp, tdx};
use evidence_claims::{Claims, Detail, Platform, Reason, SigningKey, SnpProduct, TcbStatus};
use steward_policy::{Admitted, Policy, PolicyRefusal, Workload, appraise};

const DIGEST: &str = "sha256:4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15";
/// A certificate for the tests of `[development]`: only its form matters here.
const ROOT: &str = include_str!("data/root.pem");

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap_or_else(|error| panic!("{}\n{text}", error.in_file("policy.toml")))
}

fn verdict(claims: &Claims, text: &str) -> Result<Admitted, Vec<PolicyRefusal>> {
    appraise(claims, None, false, &policy(text))
}

/// One rule: where it holds and where it does not.
struct Case {
    /// The code of the only refusal.
    code: &'static str,
    claims: fn() -> Claims,
    /// A policy that lets the claims in.
    policy: String,
    /// Makes the claims such that the policy refuses them.
    spoil: fn(&mut Claims),
}

fn case(
    code: &'static str,
    claims: fn() -> Claims,
    policy: impl Into<String>,
    spoil: fn(&mut Claims),
) -> Case {
    Case { code, claims, policy: policy.into(), spoil }
}

fn sgx_any(keys: &str) -> String {
    format!("[sgx]\nany_code = true\n{keys}")
}

fn snp_any(keys: &str) -> String {
    format!("[snp]\nany_code = true\n{keys}")
}

fn tdx_any(keys: &str) -> String {
    format!("[tdx]\nany_code = true\n{keys}")
}

fn zeros(count: usize) -> String {
    "00".repeat(count)
}

fn cases() -> Vec<Case> {
    let development_policy = format!("[development]\nroot = '''{ROOT}'''\n");
    let blacklist = format!("[snp]\nhash_blacklist = [\"{}\"]", "ee".repeat(48));
    let id_blacklist = snp_any(&format!("id_key_digest_blacklist = [\"{}\"]", "ee".repeat(48)));
    let list = |key: &str, bytes: usize| format!("{key} = [\"{}\"]", zeros(bytes));
    vec![
        // What no policy lets in.
        case("policy.debug", sgx, PUBLISHED, |c| c.debug = true),
        case("policy.debug", snp, PUBLISHED, |c| c.debug = true),
        case("policy.debug", tdx, tdx_any(""), |c| c.debug = true),
        case("policy.debug", development, development_policy.clone(), |c| c.debug = true),
        // The bits count, whatever the claims say.
        case("policy.debug", sgx, PUBLISHED, |c| detail_sgx(c).attributes |= 2),
        case("policy.debug", snp, snp_any("policy_flags = [\"SMT\", \"Debug\"]"), |c| {
            detail_snp(c).policy |= 1 << 19;
        }),
        case("policy.debug", tdx, tdx_any(""), |c| detail_tdx(c).td_attributes |= 1),
        case("policy.migration", snp, snp_any("policy_flags = [\"SMT\", \"MigrateMA\"]"), |c| {
            detail_snp(c).policy |= 1 << 18;
        }),
        case("policy.migration", development, development_policy.clone(), |c| {
            detail_snp(c).policy |= 1 << 18;
        }),
        case("policy.migration", tdx, tdx_any(""), |c| detail_tdx(c).td_attributes |= 1 << 29),
        // A service TD that is none does not make a TD that can be migrated any better.
        case("policy.migration", tdx, tdx_any(&list("mr_service_td", 48)), |c| {
            detail_tdx(c).td_attributes |= 1 << 29;
        }),
        // Sections.
        case("policy.platform", snp, PUBLISHED, |c| *c = tdx()),
        case("policy.platform", snp, PUBLISHED, |c| *c = development()),
        case("policy.platform", development, development_policy, |c| *c = snp()),
        case("policy.format", sgx, PUBLISHED, |c| c.detail = snp().detail),
        case("policy.format", snp, PUBLISHED, |c| c.detail = sgx().detail),
        // Code.
        case("policy.hash", sgx, PUBLISHED, |c| c.measurement[0] ^= 1),
        case("policy.hash", snp, PUBLISHED, |c| c.measurement[47] ^= 1),
        case("policy.hash-blacklist", snp, blacklist, |c| c.measurement = vec![0xee; 48]),
        case("policy.signer", sgx, PUBLISHED, |c| c.signer = Some(vec![0; 32])),
        case("policy.signer", snp, PUBLISHED, |c| c.signer = None),
        case("policy.id-key-digest", snp, PUBLISHED, |c| detail_snp(c).id_key_digest[0] ^= 1),
        case("policy.id-key-digest-blacklist", snp, id_blacklist, |c| {
            detail_snp(c).id_key_digest = [0xee; 48];
        }),
        // Intel's platforms.
        case("policy.tcb-status", sgx, PUBLISHED, |c| c.tcb_status = Some(TcbStatus::OutOfDate)),
        case("policy.tcb-status", sgx, PUBLISHED, |c| c.tcb_status = None),
        case("policy.tcb-status", tdx, tdx_any("accepted_tcb_statuses = [\"UpToDate\"]"), |c| {
            c.tcb_status = Some(TcbStatus::TDRelaunchAdvised);
        }),
        case("policy.advisories", sgx, PUBLISHED, |c| {
            c.advisories = vec!["INTEL-SA-00615".to_owned(), "INTEL-SA-99999".to_owned()];
        }),
        case("policy.advisories", sgx, sgx_any("allowed_advisories = []"), |c| {
            c.advisories = vec!["INTEL-SA-00615".to_owned()];
        }),
        case(
            "policy.evaluation-number",
            sgx,
            sgx_any("min_tcb_evaluation_data_number = 20"),
            |c| c.evaluation_number = Some(19),
        ),
        case(
            "policy.evaluation-number",
            tdx,
            tdx_any("min_tcb_evaluation_data_number = 20"),
            |c| c.evaluation_number = None,
        ),
        case("policy.qe-identity", sgx, PUBLISHED, |c| detail_sgx(c).platform.qe_status = None),
        case("policy.qe-identity", tdx, tdx_any(""), |c| detail_tdx(c).platform.qe_status = None),
        case("policy.smt", sgx, sgx_any("allow_smt = false"), |c| {
            detail_sgx(c).platform.smt_enabled = Some(true);
        }),
        case("policy.smt", sgx, sgx_any("allow_smt = false"), |c| {
            detail_sgx(c).platform.smt_enabled = None;
        }),
        case("policy.cached-keys", sgx, sgx_any("allow_cached_keys = false"), |c| {
            detail_sgx(c).platform.cached_keys = Some(true);
        }),
        case("policy.dynamic-platform", tdx, tdx_any("allow_dynamic_platform = false"), |c| {
            detail_tdx(c).platform.dynamic_platform = Some(true);
        }),
        // SGX.
        case("policy.features", sgx, PUBLISHED, |c| detail_sgx(c).attributes |= 1 << 6),
        case("policy.features", sgx, sgx_any("features = [\"KSS\"]"), |c| {
            detail_sgx(c).attributes |= 1 << 33;
        }),
        case("policy.enclave-product-id", sgx, PUBLISHED, |c| detail_sgx(c).isv_prod_id = 1),
        case("policy.misc-select", sgx, sgx_any("misc_select = [\"EXINFO\"]"), |c| {
            detail_sgx(c).misc_select = 3;
        }),
        case("policy.config-id", sgx, sgx_any(&format!("config_id = \"{}\"", zeros(64))), |c| {
            detail_sgx(c).config_id[63] = 1;
        }),
        case(
            "policy.ext-prod-id",
            sgx,
            sgx_any(&format!("ext_prod_id = \"{}\"", zeros(16))),
            |c| {
                detail_sgx(c).isv_ext_prod_id[0] = 1;
            },
        ),
        case("policy.family-id", sgx, sgx_any(&format!("family_id = \"{}\"", zeros(16))), |c| {
            detail_sgx(c).isv_family_id[0] = 1;
        }),
        // SNP.
        case("policy.family-id", snp, snp_any(&list("family_id", 16)), |c| {
            detail_snp(c).family_id[0] = 1;
        }),
        case("policy.image-id", snp, snp_any(&list("image_id", 16)), |c| {
            detail_snp(c).image_id[0] = 1;
        }),
        case("policy.host-data", snp, snp_any(&list("host_data", 32)), |c| {
            detail_snp(c).host_data[0] = 1;
        }),
        case("policy.product", snp, snp_any("products = [\"Milan\", \"Turin\"]"), |c| {
            detail_snp(c).product = Some(SnpProduct::Genoa);
        }),
        case("policy.vlek", snp, snp_any("allow_vlek = false"), |c| {
            detail_snp(c).signing_key = SigningKey::Vlek;
        }),
        case(
            "policy.chip-id",
            snp,
            snp_any(&format!("chip_ids = [\"{}\"]", "11".repeat(64))),
            |c| {
                detail_snp(c).chip_id[5] = 0;
            },
        ),
        // A masked chip is not known, even if somebody lists zeros.
        case(
            "policy.chip-id",
            snp,
            snp_any(&format!("chip_ids = [\"{}\", \"{}\"]", "11".repeat(64), zeros(64))),
            |c| detail_snp(c).chip_id = [0; 64],
        ),
        case(
            "policy.csp-id",
            snp,
            snp_any(&format!("chip_ids = [\"{}\"]", "11".repeat(64))),
            |c| detail_snp(c).signing_key = SigningKey::Vlek,
        ),
        case("policy.abi", snp, PUBLISHED, |c| detail_snp(c).current_firmware.minor = 50),
        case("policy.abi", snp, snp_any("abi = \"~1.55.20\""), |c| {
            detail_snp(c).current_firmware.build = 19;
        }),
        case("policy.minimum-tcb", snp, snp_any("[snp.minimum_tcb.milan]\nsnp = 24"), |c| {
            detail_snp(c).reported_tcb.snp = 23;
        }),
        case("policy.minimum-tcb", snp, snp_any("[snp.minimum_tcb.milan]\nmicrocode = 219"), |c| {
            detail_snp(c).committed_tcb.microcode = 218;
        }),
        case("policy.minimum-tcb", snp, snp_any("[snp.minimum_tcb.milan]\nbootloader = 4"), |c| {
            detail_snp(c).launch_tcb.bootloader = 3;
        }),
        case("policy.minimum-tcb", snp, snp_any("[snp.minimum_tcb.turin]\nfmc = 1"), |c| {
            detail_snp(c).product = Some(SnpProduct::Turin);
            detail_snp(c).committed_tcb.fmc = Some(1);
            detail_snp(c).launch_tcb.fmc = Some(1);
        }),
        case("policy.policy-flag-set", snp, PUBLISHED, |c| detail_snp(c).policy |= 1 << 21),
        case("policy.platform-info", snp, PUBLISHED, |c| detail_snp(c).platform_info = 0x27),
        case("policy.platform-info", snp, PUBLISHED, |c| detail_snp(c).platform_info = 0x24),
        case("policy.platform-info", snp, snp_any("platform_info_flags = [\"ECC\"]"), |c| {
            detail_snp(c).platform_info = 0x21;
        }),
        case("policy.vmpl", snp, PUBLISHED, |c| detail_snp(c).vmpl = 1),
        case("policy.vmpl", snp, snp_any("vmpl = [0, 2]"), |c| detail_snp(c).vmpl = u32::MAX),
        // TDX.
        case("policy.hash", tdx, format!("[tdx]\nhash = [\"{}\"]", "7d".repeat(48)), |c| {
            c.measurement[0] = 0;
        }),
        case(
            "policy.mr-seam",
            tdx,
            tdx_any(&format!("mr_seam = [\"{}\"]", "5e".repeat(48))),
            |c| {
                detail_tdx(c).mr_seam[0] = 0;
            },
        ),
        case("policy.mr-config-id", tdx, tdx_any(&list("mr_config_id", 48)), |c| {
            detail_tdx(c).mr_config_id[0] = 1;
        }),
        case("policy.mr-owner", tdx, tdx_any(&list("mr_owner", 48)), |c| {
            detail_tdx(c).mr_owner[0] = 1;
        }),
        case("policy.mr-owner-config", tdx, tdx_any(&list("mr_owner_config", 48)), |c| {
            detail_tdx(c).mr_owner_config[0] = 1;
        }),
        case("policy.rtmr", tdx, tdx_any(&list("rtmr0", 48)), |c| detail_tdx(c).rtmrs[0][0] = 1),
        case("policy.rtmr", tdx, tdx_any(&format!("rtmr3 = [\"{}\"]", "03".repeat(48))), |c| {
            detail_tdx(c).rtmrs[3][0] = 1;
        }),
        case("policy.service-td", tdx, tdx_any(""), |c| {
            detail_tdx(c).mr_service_td = Some([1; 48]);
        }),
        case("policy.service-td", tdx, tdx_any(&list("mr_service_td", 48)), |c| {
            detail_tdx(c).mr_service_td = Some([1; 48]);
        }),
        case("policy.sept-ve", tdx, tdx_any(""), |c| detail_tdx(c).td_attributes = 0),
        case("policy.pks", tdx, tdx_any(""), |c| detail_tdx(c).td_attributes |= 1 << 30),
        case("policy.key-locker", tdx, tdx_any(""), |c| detail_tdx(c).td_attributes |= 1 << 31),
        case("policy.xfam", tdx, tdx_any("xfam = 0xe7"), |c| detail_tdx(c).xfam |= 1 << 18),
        case(
            "policy.tee-tcb-svn",
            tdx,
            tdx_any("min_tee_tcb_svn = \"05010500000000000000000000000000\""),
            |c| detail_tdx(c).tee_tcb_svn = bytes("05010400000000000000000000000000"),
        ),
    ]
}

/// Rules whose policy has to differ, because the claims are at the least possible already, and those of
/// the workload.
fn other_refusals() -> Vec<PolicyRefusal> {
    let workload = Workload::new(None, DIGEST).unwrap();
    let mut out = Vec::new();
    let mut refuse = |claims: Claims, workload: Option<&Workload>, fresh, text: &str| {
        let refusals = appraise(&claims, workload, fresh, &policy(text)).unwrap_err();
        assert_eq!(refusals.len(), 1, "{text}: {refusals:?}");
        out.extend(refusals);
    };
    refuse(sgx(), None, false, &sgx_any("enclave_security_version = 1"));
    refuse(sgx(), None, false, &sgx_any("config_svn = 1"));
    refuse(snp(), None, false, &snp_any("min_guest_svn = 1"));
    refuse(snp(), None, false, &snp_any("policy_flags = [\"SMT\", \"SingleSocket\"]"));
    refuse(snp(), None, false, &snp_any("csp_ids = [\"example\"]"));
    refuse(snp(), None, false, &snp_any("[certificate]\nrequire_nonce = true"));
    refuse(snp(), None, true, &snp_any("[certificate]\nrequire_workload = true"));
    let other = DIGEST.replace("4046", "4047");
    refuse(snp(), None, true, &snp_any(&format!("[[workload]]\ndigest = \"{DIGEST}\"")));
    refuse(snp(), Some(&workload), true, &snp_any(&format!("[[workload]]\ndigest = \"{other}\"")));
    out
}

/// A policy for hardware, as one for stand-ins.
fn for_stand_ins(policy: &str) -> String {
    let mut text = format!("[development]\nroot = '''{ROOT}'''\n");
    for line in policy.lines() {
        match line.strip_prefix("[sgx").or_else(|| line.strip_prefix("[snp")) {
            Some(_) => text += &line.replacen('[', "[development.", 1),
            None => text += line,
        }
        text.push('\n');
    }
    text
}

/// The very rules for hardware hold for evidence of stand-ins, and say the same of it.
#[test]
fn rules_for_stand_ins_are_those_for_hardware() {
    let mut compared = 0;
    for case in cases() {
        let mut claims = (case.claims)();
        let is_hardware = matches!(claims.platform, Platform::Sgx | Platform::Snp);
        if !is_hardware || matches!(case.code, "policy.platform" | "policy.format") {
            continue;
        }
        claims.platform = Platform::Development;
        let text = for_stand_ins(&case.policy);
        verdict(&claims, &text).unwrap_or_else(|refusals| panic!("{refusals:?}\n{text}"));
        (case.spoil)(&mut claims);
        let codes: Vec<_> =
            verdict(&claims, &text).unwrap_err().iter().map(|refusal| refusal.code()).collect();
        assert_eq!(codes, [case.code], "{text}");
        compared += 1;
    }
    assert!(compared > 30, "{compared}");
}

/// What is let in as a stand-in is not let in as hardware, nor the other way round.
#[test]
fn a_stand_in_is_no_hardware_and_hardware_no_stand_in() {
    for (claims, section) in [(sgx(), "sgx"), (snp(), "snp")] {
        let hardware = format!("[{section}]\nany_code = true");
        let stand_in = for_stand_ins(&hardware);
        let mut of_stand_in = claims.clone();
        of_stand_in.platform = Platform::Development;
        assert!(verdict(&claims, &hardware).is_ok());
        assert!(verdict(&of_stand_in, &stand_in).is_ok());
        for (claims, policy) in [(&claims, &stand_in), (&of_stand_in, &hardware)] {
            let refusals = verdict(claims, policy).unwrap_err();
            let codes: Vec<_> = refusals.iter().map(|refusal| refusal.code()).collect();
            assert_eq!(codes, ["policy.platform"], "{policy}");
        }
    }
}

/// Without a section of its own a format is under the rules for code of `[development]`.
#[test]
fn code_of_stand_ins_is_named_by_hashes_of_either_length() {
    let mut enclave = sgx();
    enclave.platform = Platform::Development;
    let guest = development();
    let named = |claims: &Claims| evidence_pki::hex(&claims.measurement);
    let policy =
        |hashes: &[String]| format!("[development]\nroot = '''{ROOT}'''\nhash = {hashes:?}\n");
    for (hashes, enclaves, guests) in [
        (vec![named(&enclave)], true, false),
        (vec![named(&guest)], false, true),
        (vec![named(&enclave), named(&guest)], true, true),
    ] {
        assert_eq!(verdict(&enclave, &policy(&hashes)).is_ok(), enclaves);
        assert_eq!(verdict(&guest, &policy(&hashes)).is_ok(), guests);
    }
    let with_signer = |signer: &[u8]| {
        let signer = evidence_pki::hex(signer);
        format!("[development]\nroot = '''{ROOT}'''\nsigner = [{signer:?}]\n")
    };
    let signer = enclave.signer.clone().unwrap();
    assert!(verdict(&enclave, &with_signer(&signer)).is_ok());
    assert!(verdict(&enclave, &with_signer(&[7; 32])).is_err());
}

#[test]
fn each_rule_holds_and_is_enforced() {
    let mut reached: BTreeSet<&str> = BTreeSet::new();
    for case in cases() {
        let mut claims = (case.claims)();
        assert_eq!(verdict(&claims, &case.policy).err(), None, "{}\n{}", case.code, case.policy);
        (case.spoil)(&mut claims);
        let refusals = verdict(&claims, &case.policy).unwrap_err();
        let codes: Vec<_> = refusals.iter().map(Reason::code).collect();
        assert_eq!(codes[0], case.code, "{refusals:?}\n{}", case.policy);
        if !matches!(case.code, "policy.debug" | "policy.platform") {
            assert!(codes.iter().all(|code| *code == case.code), "{codes:?}\n{}", case.policy);
        }
        reached.insert(case.code);
    }
    reached.extend(other_refusals().iter().map(Reason::code));
    let all: BTreeSet<&str> = PolicyRefusal::ALL_CODES.iter().copied().collect();
    assert_eq!(all.len(), PolicyRefusal::ALL_CODES.len(), "a code is given twice");
    assert_eq!(reached, all);
}

#[test]
fn refusals_say_what_to_do() {
    let mut claims = snp();
    detail_snp(&mut claims).current_firmware.minor = 50;
    let refusals = verdict(&claims, PUBLISHED).unwrap_err();
    let abi = &refusals[0];
    assert_eq!(abi.to_string(), "the firmware's version is 1.50.21, and >=1.51 is wanted");
    assert_eq!(abi.reference(), "docs/steward-policy.md, [snp] abi");
    assert!(abi.remedy().ends_with('.'));
}

#[test]
fn all_violations_are_listed_and_the_gravest_is_first() {
    let mut claims = snp();
    claims.measurement[0] ^= 1;
    claims.signer = None;
    claims.debug = true;
    let detail = detail_snp(&mut claims);
    detail.vmpl = 3;
    detail.policy |= 1 << 18 | 1 << 19;
    let codes: Vec<_> = verdict(&claims, PUBLISHED).unwrap_err().iter().map(Reason::code).collect();
    assert_eq!(
        codes,
        [
            "policy.debug",
            "policy.migration",
            "policy.hash",
            "policy.signer",
            "policy.policy-flag-set",
            "policy.vmpl",
        ]
    );
}

#[test]
fn an_empty_policy_refuses_everything() {
    for (claims, platform) in [
        (sgx(), Platform::Sgx),
        (snp(), Platform::Snp),
        (tdx(), Platform::Tdx),
        (development(), Platform::Development),
    ] {
        assert_eq!(verdict(&claims, "").unwrap_err(), [PolicyRefusal::Platform { platform }]);
    }
}

#[test]
fn debug_in_features_lets_no_debug_enclave_in() {
    let mut claims = sgx();
    claims.debug = true;
    detail_sgx(&mut claims).attributes |= 2;
    assert_eq!(verdict(&claims, PUBLISHED).unwrap_err(), [PolicyRefusal::Debug]);
    // Where `features` does not name it, both rules speak.
    let refusals = verdict(&claims, &sgx_any("features = [\"KSS\"]")).unwrap_err();
    let found = "Debug".to_owned();
    assert_eq!(refusals, [PolicyRefusal::Debug, PolicyRefusal::Features { found }]);
}

#[test]
fn allowed_advisories_never_turn_off_the_status() {
    let mut claims = sgx();
    claims.tcb_status = Some(TcbStatus::OutOfDate);
    claims.advisories = vec!["INTEL-SA-00615".to_owned()];
    let codes: Vec<_> = verdict(&claims, PUBLISHED).unwrap_err().iter().map(Reason::code).collect();
    assert_eq!(codes, ["policy.tcb-status"]);
    // And without the key, advisories alone do not keep anybody out.
    claims.tcb_status = Some(TcbStatus::UpToDate);
    claims.advisories = vec!["INTEL-SA-99999".to_owned()];
    assert!(verdict(&claims, &sgx_any("")).is_ok());
}

#[test]
fn revoked_platforms_are_never_accepted() {
    let mut claims = sgx();
    claims.tcb_status = Some(TcbStatus::Revoked);
    let all = "accepted_tcb_statuses = [\"UpToDate\", \"SWHardeningNeeded\", \"ConfigurationNeeded\", \
               \"ConfigurationAndSWHardeningNeeded\", \"TDRelaunchAdvised\", \
               \"TDRelaunchAdvisedConfigurationNeeded\", \"OutOfDate\", \
               \"OutOfDateConfigurationNeeded\"]\ntcb_grace_days = 3650";
    assert_eq!(verdict(&claims, &sgx_any(all)).unwrap_err()[0].code(), "policy.tcb-status");
    for status in TcbStatus::ALL {
        claims.tcb_status = Some(status);
        assert_eq!(verdict(&claims, &sgx_any(all)).is_ok(), status != TcbStatus::Revoked);
    }
    let error = Policy::parse(&sgx_any("accepted_tcb_statuses = [\"Revoked\"]")).unwrap_err();
    assert_eq!(error.message, "a revoked platform is never accepted");
}

#[test]
fn grace_excuses_a_late_platform_and_nothing_else() {
    let late = |days: u64, status: TcbStatus| {
        let mut claims = sgx();
        claims.tcb_status = Some(status);
        let platform = &mut detail_sgx(&mut claims).platform;
        platform.platform_status = status;
        platform.tcb_date = common::NOW.minus(days * 86_400);
        claims
    };
    let grace = sgx_any("tcb_grace_days = 90");
    let both = sgx_any(
        "tcb_grace_days = 90\naccepted_tcb_statuses = [\"UpToDate\", \"ConfigurationNeeded\"]",
    );
    assert!(verdict(&late(90, TcbStatus::OutOfDate), &grace).is_ok());
    assert!(verdict(&late(91, TcbStatus::OutOfDate), &grace).is_err());
    assert!(verdict(&late(1, TcbStatus::OutOfDate), &sgx_any("")).is_err());
    assert!(verdict(&late(1, TcbStatus::SWHardeningNeeded), &grace).is_err());
    // The other half of this status is a matter of its own.
    assert!(verdict(&late(1, TcbStatus::OutOfDateConfigurationNeeded), &grace).is_err());
    assert!(verdict(&late(1, TcbStatus::OutOfDateConfigurationNeeded), &both).is_ok());
    // The platform is up to date and the quoting enclave is not: its age is not known.
    let mut claims = late(1, TcbStatus::OutOfDate);
    detail_sgx(&mut claims).platform.platform_status = TcbStatus::UpToDate;
    assert!(verdict(&claims, &grace).is_err());
    let mut claims = late(1, TcbStatus::OutOfDate);
    detail_sgx(&mut claims).platform.qe_status = Some(TcbStatus::OutOfDate);
    assert!(verdict(&claims, &grace).is_err());
    // The same for a TDX module.
    let mut claims = tdx();
    claims.tcb_status = Some(TcbStatus::OutOfDate);
    detail_tdx(&mut claims).platform.platform_status = TcbStatus::OutOfDate;
    assert!(verdict(&claims, &tdx_any("tcb_grace_days = 90")).is_ok());
    detail_tdx(&mut claims).module_status = Some(TcbStatus::OutOfDate);
    assert!(verdict(&claims, &tdx_any("tcb_grace_days = 90")).is_err());
}

#[test]
fn evidence_without_a_qe_identity_needs_a_word() {
    let mut claims = sgx();
    detail_sgx(&mut claims).platform.qe_status = None;
    assert!(verdict(&claims, &sgx_any("require_qe_identity = false")).is_ok());
}

#[test]
fn what_a_policy_allows_gets_in() {
    let mut claims = tdx();
    detail_tdx(&mut claims).td_attributes = 1 << 29 | 1 << 30 | 1 << 31;
    detail_tdx(&mut claims).mr_service_td = Some([9; 48]);
    let lax = tdx_any(&format!(
        "require_sept_ve_disable = false\nallow_pks = true\nallow_key_locker = true\n\
         mr_service_td = [\"{}\"]",
        "09".repeat(48)
    ));
    assert_eq!(verdict(&claims, &lax).err(), None);
    // A body of the first generation cannot have a service TD.
    let mut claims = tdx();
    detail_tdx(&mut claims).mr_service_td = None;
    assert!(verdict(&claims, &tdx_any("")).is_ok());

    let mut claims = sgx();
    detail_sgx(&mut claims).misc_select = 1;
    assert!(verdict(&claims, &sgx_any("misc_select = [\"EXINFO\"]")).is_ok());

    let mut claims = snp();
    detail_snp(&mut claims).policy |= 1 << 20;
    let demanding = snp_any("policy_flags = [\"SMT\", \"SingleSocket\"]");
    assert!(verdict(&claims, &demanding).is_ok());
    detail_snp(&mut claims).platform_info = 2;
    assert!(verdict(&claims, &snp_any("platform_info_flags = \"TSME\"")).is_ok());
    assert!(verdict(&claims, &snp_any("platform_info_flags = []")).is_ok());
    assert!(verdict(&claims, &snp_any("platform_info_flags = \"SME\"")).is_err());
}

#[test]
fn chips_and_providers_are_named_apart() {
    let both = snp_any(&format!("chip_ids = [\"{}\"]\ncsp_ids = [\"example\"]", "11".repeat(64)));
    assert!(verdict(&snp(), &both).is_ok());
    let mut cloud = snp();
    let detail = detail_snp(&mut cloud);
    detail.signing_key = SigningKey::Vlek;
    detail.chip_id = [0; 64];
    detail.csp_id = Some("example".to_owned());
    assert!(verdict(&cloud, &both).is_ok());
    detail_snp(&mut cloud).csp_id = Some("elsewhere".to_owned());
    assert_eq!(verdict(&cloud, &both).unwrap_err()[0].code(), "policy.csp-id");
    // The eight bytes of a Turin are filled up with zeros.
    let mut turin = snp();
    let detail = detail_snp(&mut turin);
    detail.chip_id = [0; 64];
    detail.chip_id[..8].copy_from_slice(&[7; 8]);
    assert!(verdict(&turin, &snp_any("chip_ids = [\"0707070707070707\"]")).is_ok());
}

#[test]
fn minimum_tcb_is_of_a_product() {
    let text = snp_any("[snp.minimum_tcb.genoa]\nsnp = 99");
    assert!(verdict(&snp(), &text).is_ok());
    let mut claims = snp();
    detail_snp(&mut claims).product = Some(SnpProduct::Genoa);
    let refusals = verdict(&claims, &text).unwrap_err();
    assert_eq!(refusals.len(), 3, "reported, committed and launch TCB each");
    assert_eq!(
        refusals[0].to_string(),
        "the reported TCB is bootloader 4, tee 0, snp 24, microcode 219, and the least is bootloader 0, \
         tee 0, snp 99, microcode 0"
    );
}

#[test]
fn workloads_bring_their_names() {
    let text = snp_any(&format!(
        "[certificate]\nlifetime = \"12h\"\nbackdate = \"5m\"\ndns_names = [\"keep.example.com\"]\n\
         [[workload]]\ndigest = \"{DIGEST}\"\nslug = \"user/repo:1.0.0\"\n\
         dns_names = [\"keep.example.com\", \"shop.example.com\"]\n\
         [[workload]]\ndigest = \"{}\"",
        DIGEST.replace("4046", "4047")
    ));
    let policy = policy(&text);
    let admit = |slug: Option<&str>, digest: &str| {
        let workload = Workload::new(slug, digest).unwrap();
        appraise(&snp(), Some(&workload), false, &policy)
    };
    let named = admit(Some("user/repo:1.0.0"), DIGEST).unwrap();
    assert_eq!(named.dns_names, ["keep.example.com", "shop.example.com"]);
    assert_eq!((named.lifetime, named.backdate), (12 * 3600, 300));
    // The slug is part of the rule.
    assert_eq!(admit(None, DIGEST).unwrap_err()[0].code(), "policy.workload");
    assert_eq!(admit(Some("user/other:1.0.0"), DIGEST).unwrap_err()[0].code(), "policy.workload");
    // Where the rule names none, it does not matter.
    let second = DIGEST.replace("4046", "4047");
    assert_eq!(admit(Some("user/x"), &second).unwrap().dns_names, ["keep.example.com"]);
    assert_eq!(admit(None, &second).unwrap().dns_names, ["keep.example.com"]);
}

#[test]
fn a_workload_can_be_demanded_without_naming_one() {
    let demanded = policy(&snp_any("[certificate]\nrequire_workload = true"));
    let workload = Workload::new(None, DIGEST).unwrap();
    assert!(appraise(&snp(), Some(&workload), false, &demanded).is_ok());
    let fresh = policy(&snp_any("[certificate]\nrequire_nonce = true"));
    assert!(appraise(&snp(), None, true, &fresh).is_ok());
}

#[test]
fn development_is_never_hardware() {
    let section = format!("[development]\nroot = '''{ROOT}'''\n");
    let both = format!("{section}\n{PUBLISHED}");
    assert_eq!(policy(&section).development_roots().len(), 1);
    assert_eq!(policy(PUBLISHED).development_roots().len(), 0);
    // What `[snp]` lets in is not what `[development]` does, and the other way round.
    assert!(verdict(&development(), &both).is_ok());
    let hash = format!("{section}hash = [\"{}\"]\n{PUBLISHED}", zeros(48));
    assert_eq!(verdict(&development(), &hash).unwrap_err()[0].code(), "policy.hash");
    assert!(verdict(&snp(), &hash).is_ok());
    let mut confused = development();
    confused.detail = Detail::Tdx(Box::new(detail_tdx(&mut tdx()).clone()));
    assert_eq!(verdict(&confused, &both).unwrap_err()[0].code(), "policy.format");
}

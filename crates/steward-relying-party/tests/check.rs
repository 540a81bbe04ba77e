// SPDX-License-Identifier: Apache-2.0

//! Certificates as a Steward issues them, and as it would not.

mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;

use common::{Steward, claims, leaf};
use evidence_claims::Reason;
use evidence_crypto::AwsLc;
use evidence_testkit::certificate::{CertificateBuilder, extension, usage};
use evidence_testkit::der_writer::Der;
use evidence_testkit::keys::Key;
use evidence_testkit::{DAY, NOW};
use proptest::prelude::*;
use steward_relying_party::{
    CertificateClaims, Demands, MAX_CHAIN, PartyRefusal, Time, Workload, check,
};

thread_local! {
    static REACHED: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

fn verdict(
    leaf: &[u8],
    chain: &[&[u8]],
    demands: &Demands,
    now: Time,
    roots: &[&[u8]],
) -> Result<CertificateClaims, &'static str> {
    check(leaf, chain, demands, now, &AwsLc, roots).map_err(|refusal| {
        assert!(!refusal.to_string().is_empty() && refusal.remedy().ends_with('.'));
        assert!(!refusal.reference().is_empty());
        REACHED.with_borrow_mut(|reached| reached.insert(refusal.code()));
        refusal.code()
    })
}

fn good_chains() {
    let steward = Steward::new();
    let key = Key::p384();
    let leaf = leaf(&steward, &key, &claims()).sign(&steward.key);
    let all = Demands::new();
    let root = steward.root.as_slice();
    // With and without the root in the chain, in whatever order, and with a root that is of no use.
    let other = Steward::new();
    for chain in [
        vec![steward.certificate.as_slice()],
        vec![&steward.certificate, root],
        vec![root, &steward.certificate],
        vec![&other.certificate, &steward.certificate],
    ] {
        for roots in [vec![root], vec![other.root.as_slice(), root]] {
            assert_eq!(verdict(&leaf, &chain, &all, NOW, &roots), Ok(claims()));
        }
    }
    // The Steward's own certificate can be what one trusts.
    assert_eq!(verdict(&leaf, &[], &all, NOW, &[&steward.certificate]), Ok(claims()));
}

fn bad_chains() {
    let (steward, other) = (Steward::new(), Steward::new());
    let key = Key::p256();
    let good = leaf(&steward, &key, &claims());
    let leaf_der = good.sign(&steward.key);
    let chain = [steward.certificate.as_slice()];
    let (all, root) = (Demands::new(), steward.root.as_slice());
    let verify = |leaf: &[u8]| verdict(leaf, &chain, &all, NOW, &[root]);
    let with = |certificate: &[u8]| verdict(&leaf_der, &[certificate], &all, NOW, &[root]);

    assert_eq!(verify(&leaf_der[1..]), Err("party.malformed"));
    assert_eq!(with(b"x"), Err("party.malformed"));
    let many = vec![steward.certificate.as_slice(); MAX_CHAIN + 1];
    assert_eq!(verdict(&leaf_der, &many, &all, NOW, &[root]), Err("party.chain-too-long"));
    // An impostor has all the names.
    assert_eq!(verdict(&leaf_der, &[], &all, NOW, &[root]), Err("party.untrusted-root"));
    assert_eq!(verdict(&leaf_der, &chain, &all, NOW, &[]), Err("party.untrusted-root"));
    assert_eq!(verdict(&leaf_der, &chain, &all, NOW, &[&other.root]), Err("party.signature"));
    assert_eq!(with(&other.certificate), Err("party.signature"));
    assert_eq!(verify(&good.clone().spoiled().sign(&steward.key)), Err("party.signature"));
    // A leaf that signed itself and sends itself along.
    let own = good.clone().issuer(&common::name("snp Keep")).sign(&key);
    assert_eq!(verdict(&own, &[&own], &all, NOW, &[root]), Err("party.authority"));

    let late = NOW.plus(400 * DAY);
    assert_eq!(verdict(&leaf_der, &chain, &all, late, &[root]), Err("party.time"));
    let early = NOW.minus(2 * DAY);
    assert_eq!(verdict(&leaf_der, &chain, &all, early, &[root]), Err("party.time"));
    let expired = steward.intermediate().validity(Time::from_unix(0), NOW.minus(1));
    assert_eq!(with(&expired.sign(&steward.root_key)), Err("party.time"));
    let old_root = steward.root_builder().validity(Time::from_unix(0), NOW.minus(1));
    let old_root = old_root.sign(&steward.root_key);
    assert_eq!(verdict(&leaf_der, &chain, &all, NOW, &[&old_root]), Err("party.time"));

    // Who may issue what.
    let root_key = &steward.root_key;
    let powerless = steward.intermediate().basic_constraints(false, None).sign(root_key);
    assert_eq!(with(&powerless), Err("party.authority"));
    let no_constraints = steward.intermediate().without(extension::BASIC_CONSTRAINTS);
    assert_eq!(with(&no_constraints.sign(root_key)), Err("party.authority"));
    let no_signer = steward.intermediate().key_usage(usage::SIGN).sign(root_key);
    assert_eq!(with(&no_signer), Err("party.authority"));
    let narrow = steward.root_builder().basic_constraints(true, Some(0)).sign(root_key);
    assert_eq!(verdict(&leaf_der, &chain, &all, NOW, &[&narrow]), Err("party.authority"));
    let unknown = steward.intermediate().extension("2.5.29.30", true, vec![0x30, 0]);
    assert_eq!(with(&unknown.sign(root_key)), Err("party.critical"));

    // Authorities in a row, each with its own key.
    let mut row = Vec::new();
    let (mut above, mut above_key) = (common::name("Row root"), Key::p384());
    let row_root = CertificateBuilder::new(&above, &above, above_key.spki())
        .basic_constraints(true, None)
        .sign(&above_key);
    for number in 0..6 {
        let (name, key) = (common::name(&format!("Row {number}")), Key::p384());
        let builder = CertificateBuilder::new(&above, &name, key.spki());
        row.push(builder.basic_constraints(true, None).sign(&above_key));
        (above, above_key) = (name, key);
    }
    let low = good.clone().issuer(&above).sign(&above_key);
    let row: Vec<&[u8]> = row.iter().map(Vec::as_slice).collect();
    assert_eq!(verdict(&low, &row, &all, NOW, &[&row_root]), Err("party.chain-too-long"));

    // Leaves that are none.
    for (leaf, code) in [
        (good.clone().basic_constraints(true, None), "party.profile"),
        (good.clone().without(extension::BASIC_CONSTRAINTS), "party.profile"),
        (good.clone().key_usage(usage::CERTIFICATES_AND_CRLS), "party.profile"),
        (good.clone().without(extension::KEY_USAGE), "party.profile"),
        (good.clone().without("2.5.29.37"), "party.profile"),
        (
            good.clone().extension("2.5.29.37", false, common::usages(&["1.3.6.1.5.5.7.3.1"])),
            "party.profile",
        ),
        (good.clone().extension("1.2.3.4", true, vec![5, 0]), "party.critical"),
        (good.clone().without(common::CLAIMS), "party.no-claims"),
        (good.clone().extension(common::CLAIMS, false, vec![5, 0]), "party.claims"),
    ] {
        assert_eq!(verify(&leaf.sign(&steward.key)), Err(code));
    }
    // The Steward's own certificate is not that of a Keep.
    assert_eq!(verdict(&steward.certificate, &[], &all, NOW, &[root]), Err("party.profile"));
}

fn demands() {
    let steward = Steward::new();
    let key = Key::p384();
    let verify = |claims: &CertificateClaims, demands: &Demands| {
        let leaf = leaf(&steward, &key, claims).sign(&steward.key);
        verdict(&leaf, &[&steward.certificate], demands, NOW, &[&steward.root]).err()
    };
    let amd = claims();
    let intel = CertificateClaims {
        platform: "tdx".to_owned(),
        tcb_status: Some("OutOfDate".to_owned()),
        advisories: vec!["INTEL-SA-00615".to_owned()],
        ..claims()
    };
    let silent = CertificateClaims { tcb_status: None, ..intel.clone() };
    let bare = CertificateClaims { signer: None, workload: None, fresh: false, ..claims() };
    let development = CertificateClaims { platform: "development".to_owned(), ..claims() };
    let digest = claims().workload.unwrap().digest().to_owned();
    let new = Demands::new;
    for (claims, demands, expected) in [
        (&amd, new(), None),
        (&development, new(), Some("party.development")),
        (&development, new().platforms(["development"]), Some("party.development")),
        (&development, new().allow_development(), None),
        (&development, new().allow_development().platforms(["snp"]), Some("party.platform")),
        (&amd, new().platforms(["sgx", "snp"]), None),
        (&amd, new().platforms(["sgx", "tdx"]), Some("party.platform")),
        (&amd, new().platforms([""; 0]), Some("party.platform")),
        (&amd, new().measurements([[0xbb; 48], [0xaa; 48]]), None),
        (&amd, new().measurements([[0xbb; 48]]), Some("party.measurement")),
        (&amd, new().measurements([[0xaa; 32]]), Some("party.measurement")),
        (&amd, new().signers([[0x51; 48]]), None),
        (&amd, new().signers([[0x52; 48]]), Some("party.signer")),
        (&bare, new().signers([[0x51; 48]]), Some("party.signer")),
        (&amd, new().tcb_statuses(["UpToDate"]), None),
        (&intel, new().tcb_statuses(["UpToDate"]), Some("party.tcb-status")),
        (&intel, new().tcb_statuses(["UpToDate", "OutOfDate"]), None),
        (&silent, new().tcb_statuses(["UpToDate"]), Some("party.tcb-status")),
        (&intel, new().allowed_advisories(["INTEL-SA-00615"]), None),
        (&intel, new().allowed_advisories([""; 0]), Some("party.advisory")),
        (&amd, new().minimum_svn("reported.snp", 24), None),
        (&amd, new().minimum_svn("reported.snp", 25), Some("party.svn")),
        (&amd, new().minimum_svn("reported.snp", 24).minimum_svn("x", 0), Some("party.svn")),
        (&amd, new().workloads([digest.clone()]), None),
        (&amd, new().workloads([digest.replace("40", "41")]), Some("party.workload")),
        (&bare, new().workloads([digest]), Some("party.workload")),
        (&amd, new().policies([[0x55; 32]]), None),
        (&amd, new().policies([[0x56; 32]]), Some("party.policy")),
        (&amd, new().max_age(3600), None),
        (&amd, new().max_age(3599), Some("party.age")),
        (&amd, new().fresh(), None),
        (&bare, new().fresh(), Some("party.not-fresh")),
    ] {
        assert_eq!(verify(claims, &demands), expected, "{demands:?}");
    }
}

#[test]
fn each_refusal_is_reached() {
    good_chains();
    bad_chains();
    demands();
    let all: BTreeSet<&str> = PartyRefusal::ALL_CODES.iter().copied().collect();
    assert_eq!(all.len(), PartyRefusal::ALL_CODES.len(), "a code is given twice");
    REACHED.with_borrow(|reached| assert_eq!(*reached, all));
}

/// A chain of authorities that sign each other in a circle ends.
#[test]
fn circles_end() {
    let (a, b) = (Key::p384(), Key::p384());
    let (name_a, name_b) = (common::name("A"), common::name("B"));
    let authority = |issuer: &[u8], subject: &[u8], key: &Key, signer: &Key| {
        CertificateBuilder::new(issuer, subject, key.spki())
            .basic_constraints(true, None)
            .sign(signer)
    };
    let by_b = authority(&name_b, &name_a, &a, &b);
    let by_a = authority(&name_a, &name_b, &b, &a);
    let steward = Steward::new();
    let leaf = leaf(&steward, &Key::p384(), &claims()).issuer(&name_a).sign(&a);
    let code = verdict(&leaf, &[&by_a, &by_b], &Demands::new(), NOW, &[&steward.root]);
    assert_eq!(code, Err("party.chain-too-long"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn changed_certificates_are_refused(at in any::<prop::sample::Index>(), bit in 0..8u32) {
        thread_local! {
            static CHAIN: (Steward, Vec<u8>) = {
                let steward = Steward::new();
                let leaf = leaf(&steward, &Key::p384(), &claims()).sign(&steward.key);
                (steward, leaf)
            };
        }
        CHAIN.with(|(steward, leaf)| {
            let mut changed = leaf.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1 << bit;
            let chain = [steward.certificate.as_slice()];
            let found = check(&changed, &chain, &Demands::new(), NOW, &AwsLc, &[&steward.root]);
            prop_assert!(found.is_err());
            Ok(())
        })?;
    }
}

#[test]
fn the_builder_makes_what_the_profile_says() {
    // The tests above would prove little if their leaf were not a Steward's.
    let steward = Steward::new();
    let der = leaf(&steward, &Key::p256(), &claims()).sign(&steward.key);
    let leaf = evidence_pki::Certificate::parse(&der).unwrap();
    let critical: Vec<_> =
        leaf.extensions().filter(|one| one.critical).map(|one| one.oid.to_string()).collect();
    assert_eq!(critical, [extension::BASIC_CONSTRAINTS, extension::KEY_USAGE]);
    let uri = Workload::new(None, claims().workload.unwrap().digest()).unwrap().digest_uri();
    let names = Der::build(|der| {
        der.sequence(|der| {
            der.implicit(2, b"keep.example.com").implicit(6, uri.as_bytes());
        });
    });
    let found = leaf.extension(evidence_pki::oid::SUBJECT_ALT_NAME).unwrap();
    assert_eq!(found.value, names);
}

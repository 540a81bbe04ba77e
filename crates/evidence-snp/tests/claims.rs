// SPDX-License-Identifier: Apache-2.0

//! What claims say, and what is left to the policy: genuine evidence verifies, welcome or not.

mod support;

use evidence_claims::{
    Claims, Detail, Endorsements, Format, Platform, SigningKey, SnpDetail, kind, statement,
};
use evidence_snp::{Development, platform_bits, policy_bits};
use evidence_testkit::amd::{Amd, Product, ReportBuilder, Tcb, kds};
use evidence_testkit::certificate::{CertificateBuilder, usage};
use evidence_testkit::keys::Key;
use evidence_testkit::{DAY, NOW};
use support::{aws, bag, of, synthetic};

fn detail(claims: &Claims) -> &SnpDetail {
    match &claims.detail {
        Detail::Snp(detail) => detail,
        other => panic!("{other:?}"),
    }
}

fn claims(
    product: Product,
    version: u32,
    change: impl Fn(ReportBuilder) -> ReportBuilder,
) -> Claims {
    let amd = Amd::get();
    let sample = amd.sample(product, version);
    let report = change(amd.report(product, version)).sign(amd.vek_key());
    synthetic(aws()).verify_report(&report, &of(&sample), NOW).unwrap()
}

#[test]
fn every_field_arrives_in_its_place() {
    let lower = Tcb { fmc: 9, bootloader: 8, tee: 7, snp: 6, microcode: 5 };
    let claims = claims(Product::Turin, 5, |report| {
        report
            .guest_svn(0x0102_0304)
            .family_id(&[1; 16])
            .image_id(&[2; 16])
            .host_data(&[3; 32])
            .id_key_digest(&[4; 48])
            .author_key_digest(&[5; 48])
            .key_info(1)
            .vmpl(2)
            .current_tcb(lower)
            .firmware([1, 58, 7])
            .policy(0x3_0137 | policy_bits::PAGE_SWAP_DISABLE | policy_bits::MIGRATE_MA)
            .platform_info(0xffff_ffff_ffff_ffff)
    });
    assert_eq!(claims.platform, Platform::Snp);
    assert_eq!(claims.product, "Turin");
    assert_eq!(claims.measurement, ReportBuilder::MEASUREMENT);
    assert_eq!(claims.report_data, ReportBuilder::REPORT_DATA);
    assert_eq!(claims.signer.as_deref(), Some(&[5; 48][..]));
    assert!(!claims.debug);
    assert_eq!((claims.verified_at, claims.valid_until), (NOW, NOW.plus(35 * DAY)));
    let svns: Vec<_> = claims.svns.iter().map(|svn| (svn.name, svn.value)).collect();
    assert_eq!(
        svns[..3],
        [("guest_svn", 0x0102_0304), ("current.fmc", 9), ("current.bootloader", 8)]
    );
    let of = Tcb::of(Product::Turin);
    for part in ["reported", "committed", "launch"] {
        for (name, value) in [
            ("fmc", of.fmc),
            ("bootloader", of.bootloader),
            ("tee", of.tee),
            ("snp", of.snp),
            ("microcode", of.microcode),
        ] {
            let name = format!("{part}.{name}");
            assert!(svns.iter().any(|one| one.0 == name && one.1 == u64::from(value)), "{name}");
        }
    }
    assert_eq!(svns.len(), 21);
    let detail = detail(&claims);
    assert_eq!((detail.family_id, detail.image_id), ([1; 16], [2; 16]));
    assert_eq!((detail.host_data, detail.id_key_digest), ([3; 32], [4; 48]));
    assert!(detail.author_key_enabled);
    assert_eq!((detail.vmpl, detail.guest_svn), (2, 0x0102_0304));
    assert_eq!(detail.cpuid, Some((0x1a, 2, 1)));
    assert_eq!((detail.current_tcb.fmc, detail.current_tcb.microcode), (Some(9), 5));
    assert_eq!(detail.current_firmware.minor, 58);
    assert_eq!(detail.current_firmware.build, 7);
    assert_eq!(detail.launch_mitigations, Some(0x0b));
    assert_eq!(detail.platform_info, u64::MAX);
    assert_eq!(detail.policy & policy_bits::MIGRATE_MA, policy_bits::MIGRATE_MA);
}

/// A policy refuses these; the verifier only says so.
#[test]
fn what_is_unwelcome_is_genuine_all_the_same() {
    let debug = claims(Product::Milan, 3, |report| report.policy(0xb_0000));
    assert!(debug.debug);
    let host = claims(Product::Milan, 3, |report| report.vmpl(u32::MAX));
    assert_eq!(detail(&host).vmpl, u32::MAX);
    // Without an author key its digest says nothing.
    let none = claims(Product::Genoa, 3, |report| report.author_key_digest(&[5; 48]));
    assert_eq!(none.signer, None);
    // The lowest ABI is met exactly.
    claims(Product::Milan, 3, |report| report.policy(0x3_0137));
    // A chip that hides itself.
    let hidden = claims(Product::Milan, 3, |report| report.key_info(2).chip_id(&[0; 64]));
    assert_eq!(detail(&hidden).chip_id, [0; 64]);
}

#[test]
fn a_vlek_names_its_provider() {
    for product in Product::ALL {
        let sample = Amd::get().sample_vlek(product, 5);
        let claims = synthetic(aws()).verify_report(&sample.report, &of(&sample), NOW).unwrap();
        let detail = detail(&claims);
        assert_eq!(detail.signing_key, SigningKey::Vlek);
        assert_eq!(detail.csp_id.as_deref(), Some("CN=cc-eu-test-1.example"));
        assert_eq!(detail.chip_id, [0; 64]);
    }
}

/// A list that names the serial number 0 does not revoke all VCEKs: those the root does not issue.
#[test]
fn the_number_zero_on_the_roots_list_means_no_vcek() {
    let amd = Amd::get();
    let sample = amd.sample(Product::Milan, 3);
    let crl = amd.crl_builder(Product::Milan).revoke(&[0]).sign(amd.ark_key());
    let bag = bag(&[(kind::VEK, &sample.vek), (kind::CRL, &crl)]);
    assert!(synthetic(aws()).verify_report(&sample.report, &bag, NOW).is_ok());
}

/// AMD has replaced an ASK before.
#[test]
fn a_new_intermediate_needs_no_new_verifier() {
    let amd = Amd::get();
    let (sample, key) = (amd.sample(Product::Genoa, 3), Key::rsa());
    let ask = amd
        .ask(Product::Genoa)
        .spki(key.spki())
        .serial(&[2, 0, 7])
        .validity(NOW, NOW.plus(DAY))
        .sign(amd.ark_key());
    let vek = amd.vcek(Product::Genoa).sign(&key);
    let milan = amd.ask_der(Product::Milan);
    let crl = amd.crl_builder(Product::Genoa).revoke(&amd.ask_serial(Product::Genoa));
    let crl = crl.sign(amd.ark_key());
    let bag = bag(&[(kind::ASK, &milan), (kind::ASK, &ask), (kind::VEK, &vek), (kind::CRL, &crl)]);
    let claims = synthetic(aws()).verify_report(&sample.report, &bag, NOW).unwrap();
    assert_eq!(claims.valid_until, NOW.plus(DAY));
    let checks = synthetic(aws()).examine(&sample.report, &bag, NOW);
    assert_eq!(support::first_failure(&checks), None);
}

#[test]
fn development_evidence_is_never_taken_for_hardware() {
    let amd = Amd::get();
    let (root, vek) = (Key::p384(), Key::p384());
    let name = evidence_testkit::amd::amd_name("SEV-Milan");
    let root_der = CertificateBuilder::new(&name, &name, root.spki())
        .basic_constraints(true, None)
        .key_usage(usage::CERTIFICATES)
        .validity(NOW.minus(DAY), NOW.plus(DAY))
        .sign(&root);
    let local = |product: &str| amd.vcek(Product::Milan).product_name(product).key(&vek);
    let report = amd.report(Product::Milan, 3).policy(0xb_0000).sign(&vek);
    let crl = amd.crl_der(Product::Milan);
    let development = Development::new(aws(), vec![root_der.clone()]);
    assert_eq!(development.statement_type(), statement::DEVELOPMENT);

    let own = local("Development").sign(&root);
    let claims = development.verify_report(&report, &bag(&[(kind::VEK, &own)]), NOW).unwrap();
    assert_eq!(claims.platform, Platform::Development);
    assert_eq!(claims.product, "development");
    assert_eq!(detail(&claims).product, None);
    assert_eq!(claims.valid_until, NOW.plus(DAY));
    assert!(claims.debug);
    let fields = development.fields(&report).unwrap();
    assert!(fields.iter().any(|field| field.name == "POLICY"));
    assert_eq!(development.fields(&[]).unwrap_err().code(), "development.empty");

    // AMD's path: the names are right, the signature is another, with and without the root as ASK.
    let snp = synthetic(aws());
    assert_eq!(snp.statement_type(), statement::SNP);
    assert_ne!(snp.name(), development.name());
    for product in ["Development", "Milan"] {
        let own = local(product).sign(&root);
        let mut list: Vec<(_, &[u8])> = vec![(kind::VEK, &own), (kind::CRL, &crl)];
        assert!(snp.verify_report(&report, &bag(&list), NOW).is_err());
        list.push((kind::ASK, &root_der));
        assert!(snp.verify_report(&report, &bag(&list), NOW).is_err());
    }
    // The development path: a chain of AMD's.
    let sample = amd.sample(Product::Milan, 3);
    let refusal = development.verify_report(&sample.report, &of(&sample), NOW).unwrap_err();
    assert_eq!(support::code(&refusal), "development.root-not-accepted");
}

#[test]
fn fields_spell_flags_out() {
    let amd = Amd::get();
    let report = amd
        .report(Product::Turin, 5)
        .policy(0xb_0137 | 1 << 40)
        .platform_info(platform_bits::ECC_EN | platform_bits::TIO_EN | 1 << 50)
        .key_info(3 | 7 << 2 | 1 << 9)
        .vmpl(u32::MAX)
        .patch(0x1eb, &[1])
        .sign(amd.vek_key());
    let fields = synthetic(aws()).fields(&report).unwrap();
    let of = |name| fields.iter().find(|field| field.name == name).unwrap();
    let meaning = |name| of(name).meaning.as_deref().unwrap();
    assert_eq!(meaning("POLICY"), "SMT, DEBUG, unknown 0x10000000000");
    assert_eq!((&*of("POLICY.ABI_MAJOR").value, &*of("POLICY.ABI_MINOR").value), ("1", "55"));
    assert_eq!(meaning("PLATFORM_INFO"), "ECC_EN, TIO_EN, unknown 0x4000000000000");
    assert_eq!(
        meaning("KEY_INFO"),
        "not signed, AUTHOR_KEY_EN, MASK_CHIP_KEY, reserved bits should be zero"
    );
    assert_eq!(meaning("VMPL"), "requested by the host");
    assert_eq!(meaning("CPUID_FAM_ID"), "Turin");
    assert_eq!((of("REPORTED_TCB.fmc").offset, &*of("REPORTED_TCB.fmc").value), (0x180, "1"));
    assert!(fields.iter().any(|field| field.meaning.as_deref() == Some("should be zero")));
    // Fields can be read of what would not verify.
    let odd = [0xff; 1184];
    let fields = synthetic(aws()).fields(&odd).unwrap();
    assert!(fields.iter().any(|field| field.meaning.as_deref() == Some("not known")));
    assert_eq!(synthetic(aws()).fields(&odd[1..]).unwrap_err().code(), "snp.length");
}

/// SPLs from 128 take two octets in DER.
#[test]
fn high_patch_levels_are_read() {
    let amd = Amd::get();
    let sample = amd.sample(Product::Milan, 3);
    let tcb = Tcb { microcode: 255, ..Tcb::of(Product::Milan) };
    let vek = amd.vcek(Product::Milan).number(kds::MICROCODE, 255).sign(amd.ask_key());
    let report = amd.report(Product::Milan, 3).reported_tcb(tcb).sign(amd.vek_key());
    let mut bag = Endorsements::new();
    bag.push(kind::VEK, &vek[..]).unwrap();
    bag.push(kind::CRL, &sample.crl[..]).unwrap();
    let claims = synthetic(aws()).verify_report(&report, &bag, NOW).unwrap();
    assert_eq!(detail(&claims).reported_tcb.microcode, 255);
}

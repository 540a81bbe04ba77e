// SPDX-License-Identifier: Apache-2.0

//! Every reason to refuse is reached, by evidence of a synthetic AMD that is good but for that one thing.

mod support;

use std::collections::BTreeSet;

use evidence_claims::{Endorsements, Format, SnpProduct, Time, kind};
use evidence_snp::{Development, ProductRoots, Snp, SnpRefusal};
use evidence_testkit::amd::{Amd, Product, ReportBuilder, Tcb, VekBuilder, amd_name, kds, offset};
use evidence_testkit::certificate::{CertificateBuilder, CrlBuilder, usage};
use evidence_testkit::der_writer::Der;
use evidence_testkit::keys::Key;
use evidence_testkit::{DAY, NOW};
use support::{backends, code, first_failure, product, roots_of};

use Product::{Genoa, Milan, Turin};

/// Evidence with one thing wrong.
struct Case {
    code: &'static str,
    report: Vec<u8>,
    vek: Option<Vec<u8>>,
    crl: Option<Vec<u8>>,
    more: Vec<(&'static str, Vec<u8>)>,
    roots: Vec<ProductRoots>,
    now: Time,
}

impl Case {
    /// Nothing is wrong yet.
    fn of(code: &'static str, product: Product, version: u32) -> Self {
        let sample = Amd::get().sample(product, version);
        Self {
            code,
            report: sample.report,
            vek: Some(sample.vek),
            crl: Some(sample.crl),
            more: Vec::new(),
            roots: roots_of(Amd::get()),
            now: NOW,
        }
    }

    fn new(code: &'static str) -> Self {
        Self::of(code, Milan, 3)
    }

    fn vlek(code: &'static str) -> Self {
        let sample = Amd::get().sample_vlek(Milan, 3);
        Self { report: sample.report, vek: Some(sample.vek), ..Self::new(code) }
    }

    fn raw_report(self, report: Vec<u8>) -> Self {
        Self { report, ..self }
    }

    fn report(self, report: ReportBuilder) -> Self {
        self.raw_report(report.sign(Amd::get().vek_key()))
    }

    fn vek(self, vek: VekBuilder) -> Self {
        self.raw_vek(vek.sign(Amd::get().ask_key()))
    }

    fn raw_vek(self, vek: Vec<u8>) -> Self {
        Self { vek: Some(vek), ..self }
    }

    fn crl(self, crl: CrlBuilder) -> Self {
        Self { crl: Some(crl.sign(Amd::get().ark_key())), ..self }
    }

    fn without_crl(self) -> Self {
        Self { crl: None, ..self }
    }

    fn without_vek(self) -> Self {
        Self { vek: None, ..self }
    }

    fn with(mut self, kind: &'static str, bytes: Vec<u8>) -> Self {
        self.more.push((kind, bytes));
        self
    }

    fn with_ask(self, ask: CertificateBuilder) -> Self {
        self.with(kind::ASK, ask.sign(Amd::get().ark_key()))
    }

    fn root(mut self, ark: Vec<u8>) -> Self {
        self.roots[0].ark = ark;
        self
    }

    fn at(self, now: Time) -> Self {
        Self { now, ..self }
    }

    fn bag(&self) -> Endorsements<'_> {
        let mut bag = Endorsements::new();
        if let Some(vek) = &self.vek {
            bag.push(kind::VEK, vek).unwrap();
        }
        if let Some(crl) = &self.crl {
            bag.push(kind::CRL, crl).unwrap();
        }
        for (kind, bytes) in &self.more {
            bag.push(*kind, bytes).unwrap();
        }
        bag
    }
}

/// DER `Name` with that common name and nothing else.
fn common_name(name: &str) -> Vec<u8> {
    Der::build(|der| {
        der.sequence(|der| {
            der.set(|der| {
                der.sequence(|der| {
                    der.oid("2.5.4.3").utf8(name);
                });
            });
        });
    })
}

fn report(version: u32) -> ReportBuilder {
    Amd::get().report(Milan, version)
}

fn vcek() -> VekBuilder {
    Amd::get().vcek(Milan)
}

/// An ASK with another serial number than the built-in one.
fn ask() -> CertificateBuilder {
    Amd::get().ask(Milan).serial(&[1, 0, 9])
}

/// An ASK that may sign lists.
fn listing_ask() -> CertificateBuilder {
    ask().key_usage(usage::CERTIFICATES_AND_CRLS)
}

/// A list of the ASK.
fn ask_list() -> CrlBuilder {
    CrlBuilder::new(&amd_name("SEV-Milan"), NOW.minus(DAY), NOW.plus(DAY))
}

/// A time long ago.
fn never() -> (Time, Time) {
    (Time::from_unix(0), Time::from_unix(3_600))
}

fn report_cases() -> Vec<Case> {
    let good = report(3).sign(Amd::get().vek_key());
    let mut longer = good.clone();
    longer.push(0);
    let impostor = report(3).sign(Amd::impostor().vek_key());
    let chip = [0xaa; 64];
    let mut turin_chip = [0; 64];
    turin_chip[..8].copy_from_slice(&[0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7]);
    turin_chip[63] = 1;
    vec![
        Case::new("snp.length").raw_report(good[..1183].to_vec()),
        Case::new("snp.length").raw_report(longer),
        Case::new("snp.length").raw_report(Vec::new()),
        Case::new("snp.version").report(report(3).version(1)),
        Case::new("snp.version").report(report(3).version(6)),
        Case::new("snp.signature-algorithm").report(report(3).signature_algo(0)),
        Case::new("snp.signing-key").report(report(3).key_info(2 << 2)),
        Case::new("snp.signing-key").report(report(3).key_info(7 << 2)),
        Case::new("snp.product").report(report(3).cpuid([0x19, 0x20, 0])),
        // Venice, of which no root is built in.
        Case::new("snp.product").report(report(3).cpuid([0x1a, 0x50, 0])),
        Case::new("snp.product-mismatch").report(report(3).cpuid(Genoa.cpuid())),
        Case::new("snp.tcb").report(report(3).reported_tcb(Tcb { snp: 25, ..Tcb::of(Milan) })),
        // A byte that the layout does not use.
        Case::new("snp.tcb").report(report(3).patch(offset::REPORTED_TCB + 2, &[1])),
        Case::of("snp.tcb", Turin, 5)
            .report(Amd::get().report(Turin, 5).reported_tcb(Tcb { fmc: 0, ..Tcb::of(Turin) })),
        Case::new("snp.chip-id").report(report(3).chip_id(&chip)),
        Case::new("snp.chip-id").report(report(3).chip_id(&[0; 64])),
        // The platform says that it hides the chip, and does not.
        Case::new("snp.chip-id").report(report(3).key_info(1 << 1)),
        Case::of("snp.chip-id", Turin, 5).report(Amd::get().report(Turin, 5).chip_id(&turin_chip)),
        Case::vlek("snp.chip-id").report(report(3).vlek().chip_id(&chip)),
        Case::new("snp.signature").raw_report(impostor),
        Case::new("snp.signature").report(
            report(3)
                .patch_after(offset::SIGNATURE, &[0; 72])
                .patch_after(offset::SIGNATURE_S, &[0; 72]),
        ),
        Case::new("snp.signature-encoding").report(report(3).patch_after(0x2a0 + 48, &[1])),
        Case::new("snp.signature-encoding").report(report(3).patch_after(0x2e8 + 71, &[1])),
        Case::new("snp.signature-encoding").report(report(3).patch_after(1183, &[1])),
        Case::new("snp.reserved").report(report(3).key_info(1 << 5)),
        Case::new("snp.reserved").report(report(3).patch(0x4c, &[1])),
        Case::of("snp.reserved", Milan, 2).report(report(2).patch(0x188, &[0x19])),
        Case::new("snp.reserved").report(report(3).patch(0x18b, &[1])),
        Case::new("snp.reserved").report(report(3).patch(0x1eb, &[1])),
        Case::new("snp.reserved").report(report(3).patch(0x1ef, &[1])),
        // The mitigation vectors are of version 5.
        Case::of("snp.reserved", Milan, 4).report(report(4).mitigations(1)),
        Case::of("snp.reserved", Milan, 5).report(report(5).patch(0x29f, &[1])),
        Case::new("snp.reserved").report(report(3).patch(offset::CURRENT_TCB + 3, &[1])),
        Case::new("snp.reserved").report(report(3).patch(offset::LAUNCH_TCB + 5, &[1])),
        Case::of("snp.reserved", Turin, 5)
            .report(Amd::get().report(Turin, 5).patch(offset::COMMITTED_TCB + 6, &[1])),
        Case::new("snp.policy").report(report(3).policy(0x1_0000)),
        Case::new("snp.policy").report(report(3).policy(0x3_0000 | 1 << 25)),
        Case::of("snp.policy", Milan, 5).report(report(5).policy(0x3_0000 | 1 << 26)),
        Case::new("snp.abi").report(report(3).policy(0x3_0138)),
        Case::new("snp.abi").report(report(3).policy(0x3_0200)),
    ]
}

fn vek_cases() -> Vec<Case> {
    let amd = Amd::get();
    let p256 = Key::p256();
    let ext = "snp.vek-extension";
    let unknown = |vek: CertificateBuilder| vek.extension("2.5.29.99", true, vec![5, 0]);
    let other_name = |vek: CertificateBuilder| vek.issuer(&common_name("SEV-Milan"));
    let (begin, end) = never();
    vec![
        Case::new("snp.vek-missing").without_vek(),
        Case::new("snp.vek-ambiguous").with(kind::VEK, vcek().sign(amd.ask_key())),
        Case::new("snp.vek-malformed").raw_vek(vec![0x30, 0]),
        Case::new("snp.vek-malformed").vek(vcek().change(unknown)),
        Case::new("snp.vek-name").vek(vcek().subject("SEV-VLEK")),
        Case::new("snp.vek-name").vek(vcek().issuer("SEV-Rome")),
        Case::new("snp.vek-name").vek(vcek().issuer("SEV-VLEK-Milan")),
        Case::new("snp.vek-name").raw_vek(amd.sample_vlek(Milan, 3).vek),
        Case::vlek("snp.vek-name").raw_vek(amd.sample(Milan, 3).vek),
        Case::new("snp.product-mismatch").raw_vek(amd.sample(Turin, 5).vek),
        Case::new("snp.vek-key").vek(vcek().key(&p256)),
        Case::new(ext).vek(vcek().without(kds::STRUCT_VERSION)),
        Case::new(ext).vek(vcek().without(kds::PRODUCT_NAME)),
        Case::new(ext).vek(vcek().without(kds::BOOTLOADER)),
        Case::new(ext).vek(vcek().without(kds::TEE)),
        Case::new(ext).vek(vcek().without(kds::SNP)),
        Case::new(ext).vek(vcek().without(kds::MICROCODE)),
        Case::new(ext).vek(vcek().without(kds::HARDWARE_ID)),
        Case::new(ext).vek(vcek().number(kds::SNP, 256)),
        // A negative number, and a number with something after it.
        Case::new(ext).vek(vcek().extension(kds::SNP, vec![2, 1, 0x98])),
        Case::new(ext).vek(vcek().extension(kds::SNP, vec![2, 1, 24, 0])),
        Case::new(ext).vek(vcek().extension(kds::SNP, vec![4, 1, 24])),
        Case::new(ext).vek(vcek().number(kds::SPL4, 1)),
        Case::new(ext).vek(vcek().number(kds::SPL5, 1)),
        Case::new(ext).vek(vcek().number(kds::SPL6, 1)),
        Case::new(ext).vek(vcek().number(kds::SPL7, 1)),
        Case::new(ext).vek(vcek().number(kds::FMC, 1)),
        Case::new(ext).vek(vcek().hardware_id(&[0xc0; 63])),
        Case::new(ext).vek(vcek().hardware_id(&[0xc0; 8])),
        Case::new(ext).vek(vcek().csp_id("CN=nobody")),
        Case::new(ext).vek(vcek().extension(kds::PRODUCT_NAME, vec![0x16, 1, 0x80])),
        Case::new(ext).vek(vcek().extension(kds::PRODUCT_NAME, vec![0x16, 0])),
        Case::new(ext).vek(vcek().extension(kds::PRODUCT_NAME, b"Milan".to_vec())),
        Case::of(ext, Turin, 5).vek(amd.vcek(Turin).without(kds::FMC)),
        Case::of(ext, Turin, 5).vek(amd.vcek(Turin).hardware_id(&[0xc0; 64])),
        Case::vlek(ext).raw_vek(amd.vlek(Milan).without(kds::CSP_ID).sign(amd.asvk_key())),
        Case::vlek(ext).raw_vek(amd.vlek(Milan).hardware_id(&[0; 64]).sign(amd.asvk_key())),
        Case::new("snp.vek-struct-version").vek(vcek().struct_version(1)),
        Case::of("snp.vek-struct-version", Turin, 5).vek(amd.vcek(Turin).struct_version(0)),
        Case::new("snp.vek-product-name").vek(vcek().product_name("Genoa")),
        Case::new("snp.vek-product-name").vek(vcek().product_name("Milano")),
        Case::new("snp.vek-issuer").vek(vcek().change(other_name)),
        Case::new("snp.vek-signature").raw_vek(vcek().sign(Amd::impostor().ask_key())),
        // Issued by the root itself, past the intermediate.
        Case::new("snp.vek-signature").raw_vek(vcek().sign(amd.ark_key())),
        Case::new("snp.vek-signature").raw_vek(vcek().sign(amd.vek_key())),
        Case::new("snp.vek-not-yet-valid").at(NOW.minus(101 * DAY)),
        Case::new("snp.vek-expired").vek(vcek().change(|vek| vek.validity(begin, end))),
    ]
}

fn authority_cases() -> Vec<Case> {
    let amd = Amd::get();
    let p384 = Key::p384();
    let (begin, end) = never();
    let none = "snp.ask-not-an-authority";
    let only_genoa = roots_of(amd).split_off(1);
    let mut no_ask = Case::new("snp.ask-malformed");
    no_ask.roots[0].ask = vec![1, 2, 3];
    vec![
        Case { roots: only_genoa, ..Case::new("snp.no-root") },
        Case::new("snp.ask-malformed").with(kind::ASK, vec![0x30, 0]),
        no_ask,
        Case::new("snp.ask-malformed").with_ask(ask().extension("2.5.29.99", true, vec![5, 0])),
        Case::new("snp.ask-issuer").with_ask(ask().issuer(&amd_name("ARK-Genoa"))),
        Case::new("snp.ask-signature").with(kind::ASK, ask().sign(Amd::impostor().ark_key())),
        // A root's name does not make an intermediate of a self-signed certificate.
        Case::new("snp.ask-issuer")
            .with(kind::ASK, ask().issuer(&amd_name("SEV-Milan")).sign(amd.ask_key())),
        Case::new(none).with_ask(ask().basic_constraints(false, None)),
        Case::new(none).with_ask(ask().without("2.5.29.19")),
        Case::new(none).with_ask(ask().key_usage(usage::SIGN)),
        Case::new(none).with_ask(ask().without("2.5.29.15")),
        Case::new(none).with_ask(ask().spki(p384.spki())).raw_vek(vcek().sign(&p384)),
        Case::new("snp.ask-not-yet-valid").with_ask(ask().validity(NOW.plus(1), Time::MAX)),
        Case::new("snp.ask-expired").with_ask(ask().validity(begin, end)),
        Case::new("snp.ark-unusable").root(vec![0x30, 0]),
        Case::new("snp.ark-unusable").root(amd.ark(Milan).spki(p384.spki()).sign(&p384)),
        Case::new("snp.ark-unusable")
            .root(amd.ark(Milan).basic_constraints(false, None).sign(amd.ark_key())),
        Case::new("snp.ark-not-yet-valid")
            .root(amd.ark(Milan).validity(NOW.plus(1), Time::MAX).sign(amd.ark_key())),
        Case::new("snp.ark-expired").root(amd.ark(Milan).validity(begin, end).sign(amd.ark_key())),
    ]
}

fn list_cases() -> Vec<Case> {
    let amd = Amd::get();
    let root_list = || amd.crl_builder(Milan);
    let newer = |revoked: &[&[u8]]| {
        let mut list = root_list().number(11);
        for serial in revoked {
            list = list.revoke(serial);
        }
        list.sign(amd.ark_key())
    };
    let ask_serial = amd.ask_serial(Milan);
    let with_list = |code, list: CrlBuilder| {
        Case::new(code).with_ask(listing_ask()).with(kind::CRL, list.sign(amd.ask_key()))
    };
    let name = amd_name("SEV-Milan");
    vec![
        Case::new("snp.crl-missing").without_crl(),
        // A list that says it is complete for some reasons only, and one that never ends.
        Case::new("snp.crl-malformed").crl(root_list().extension("2.5.29.28", true, vec![0x30, 0])),
        Case::new("snp.crl-malformed").crl(root_list().without_next_update()),
        Case::new("snp.crl-missing").crl(root_list().issuer(&amd_name("ARK-Genoa"))),
        Case::new("snp.crl-signature").crl(root_list().spoiled()),
        Case {
            crl: Some(root_list().sign(Amd::impostor().ark_key())),
            ..Case::new("snp.crl-signature")
        },
        // A root that may not sign lists.
        Case::new("snp.crl-signature")
            .root(amd.ark(Milan).key_usage(usage::CERTIFICATES).sign(amd.ark_key())),
        Case::new("snp.crl-not-yet-valid").at(NOW.minus(11 * DAY)),
        Case::new("snp.crl-expired").at(NOW.plus(36 * DAY)),
        Case::new("snp.ask-revoked").crl(root_list().revoke(&[9]).revoke(&ask_serial)),
        Case::vlek("snp.ask-revoked").crl(root_list().revoke(&amd.asvk_serial(Milan))),
        // Of two lists the newer one counts, in whatever order they come.
        Case::new("snp.ask-revoked").with(kind::CRL, newer(&[&ask_serial])),
        Case::new("snp.ask-revoked").with_ask(ask()).crl(root_list().revoke(&[1, 0, 9])),
        with_list("snp.vek-revoked", ask_list().revoke(&[0])),
        with_list("snp.vek-crl-signature", ask_list().spoiled()),
        // The built-in ASK may not sign lists.
        Case::new("snp.vek-crl-signature").with(kind::CRL, ask_list().sign(amd.ask_key())),
        with_list("snp.vek-crl-not-yet-valid", CrlBuilder::new(&name, NOW.plus(1), NOW.plus(DAY))),
        with_list("snp.vek-crl-expired", CrlBuilder::new(&name, NOW.minus(DAY), NOW.minus(1))),
    ]
}

/// Development evidence: report, VEK, roots.
struct Local {
    root: Key,
    vek: Key,
}

impl Local {
    fn new() -> Self {
        Self { root: Key::p384(), vek: Key::p384() }
    }

    fn name() -> Vec<u8> {
        common_name("Development root")
    }

    fn root(&self) -> CertificateBuilder {
        CertificateBuilder::new(&Self::name(), &Self::name(), self.root.spki())
            .validity(NOW.minus(DAY), NOW.plus(DAY))
            .basic_constraints(true, Some(0))
            .key_usage(usage::CERTIFICATES)
    }

    fn root_der(&self) -> Vec<u8> {
        self.root().sign(&self.root)
    }

    fn vek(&self) -> VekBuilder {
        vcek()
            .key(&self.vek)
            .product_name("Development")
            .change(|vek| vek.issuer(&Self::name()).validity(NOW.minus(DAY), NOW.plus(2 * DAY)))
    }
}

/// Code (none if it is good), report, VEK, roots, time.
type LocalCase = (&'static str, Vec<u8>, Option<Vec<u8>>, Vec<Vec<u8>>, Time);

fn development_cases() -> Vec<LocalCase> {
    let (local, other) = (Local::new(), Local::new());
    let good = || report(3).sign(&local.vek);
    let vek = || Some(local.vek().sign(&local.root));
    let of = |vek: VekBuilder| Some(vek.sign(&local.root));
    let roots = || vec![other.root_der(), local.root_der()];
    let none = "development.root-not-accepted";
    let amd = Amd::get().sample(Milan, 3);
    vec![
        ("", good(), vek(), roots(), NOW),
        ("development.empty", Vec::new(), vek(), roots(), NOW),
        ("snp.length", vec![0; 2], vek(), roots(), NOW),
        (none, good(), vek(), Vec::new(), NOW),
        (none, good(), vek(), vec![other.root_der()], NOW),
        (none, good(), Some(local.vek().sign(&other.root)), vec![local.root_der()], NOW),
        // AMD's chain is none here, not even under AMD's root or intermediate.
        (none, amd.report, Some(amd.vek), vec![amd.ark, amd.issuer], NOW),
        (
            none,
            report(3).sign(Amd::get().vek_key()),
            Some(vcek().product_name("Development").sign(Amd::get().ask_key())),
            vec![Amd::get().ask_der(Milan), Amd::get().ark_der(Milan)],
            NOW,
        ),
        ("snp.vek-missing", good(), None, roots(), NOW),
        ("snp.vek-malformed", good(), Some(vec![0x30, 0]), roots(), NOW),
        ("snp.vek-key", good(), of(local.vek().key(&Key::p256())), roots(), NOW),
        ("snp.vek-struct-version", good(), of(local.vek().struct_version(1)), roots(), NOW),
        ("snp.vek-product-name", good(), of(local.vek().product_name("Milan")), roots(), NOW),
        ("snp.vek-extension", good(), of(local.vek().hardware_id(&[0; 8])), roots(), NOW),
        ("snp.vek-extension", good(), of(local.vek().csp_id("CN=nobody")), roots(), NOW),
        ("snp.vek-extension", good(), of(local.vek().number(kds::FMC, 0)), roots(), NOW),
        ("snp.vek-not-yet-valid", good(), vek(), roots(), NOW.minus(2 * DAY)),
        ("snp.ark-expired", good(), vek(), roots(), NOW.plus(DAY + 1)),
        ("snp.vek-expired", good(), vek(), roots(), NOW.plus(2 * DAY + 1)),
        ("snp.version", report(3).version(9).sign(&local.vek), vek(), roots(), NOW),
        ("snp.signing-key", report(3).vlek().sign(&local.vek), vek(), roots(), NOW),
        (
            "snp.signature-algorithm",
            report(3).signature_algo(2).sign(&local.vek),
            vek(),
            roots(),
            NOW,
        ),
        ("snp.tcb", report(3).reported_tcb(Tcb::default()).sign(&local.vek), vek(), roots(), NOW),
        ("snp.chip-id", report(3).chip_id(&[1; 64]).sign(&local.vek), vek(), roots(), NOW),
        ("snp.signature", report(3).sign(&other.vek), vek(), roots(), NOW),
        ("snp.reserved", report(3).patch(0x1eb, &[1]).sign(&local.vek), vek(), roots(), NOW),
        ("snp.policy", report(3).policy(0).sign(&local.vek), vek(), roots(), NOW),
        ("snp.abi", report(3).policy(0x3_ffff).sign(&local.vek), vek(), roots(), NOW),
    ]
}

#[test]
fn every_code_is_reached_for_the_right_reason() {
    let mut reached = BTreeSet::new();
    let cases = [report_cases(), vek_cases(), authority_cases(), list_cases()];
    for case in cases.iter().flatten() {
        for crypto in backends() {
            let snp = Snp::with_roots(crypto, case.roots.clone());
            let bag = case.bag();
            let refusal = match snp.verify_report(&case.report, &bag, case.now) {
                Ok(_) => panic!("verified, but expected {}", case.code),
                Err(refusal) => refusal,
            };
            assert_eq!(code(&refusal), case.code, "{refusal}");
            let checks = snp.examine(&case.report, &bag, case.now);
            assert_eq!(first_failure(&checks), Some(case.code), "{checks:?}");
        }
        reached.insert(case.code);
    }
    for (expected, report, vek, roots, now) in development_cases() {
        for crypto in backends() {
            let development = Development::new(crypto, roots.clone());
            let mut bag = Endorsements::new();
            if let Some(vek) = &vek {
                bag.push(kind::VEK, vek).unwrap();
            }
            let checks = development.examine(&report, &bag, now);
            match development.verify_report(&report, &bag, now) {
                Ok(_) => {
                    assert_eq!(expected, "");
                    assert_eq!(first_failure(&checks), None, "{checks:?}");
                }
                Err(refusal) => {
                    assert_eq!(code(&refusal), expected, "{refusal}");
                    assert_eq!(first_failure(&checks), Some(expected), "{checks:?}");
                    reached.insert(expected);
                }
            }
        }
    }
    let all: BTreeSet<_> = SnpRefusal::ALL_CODES.iter().copied().collect();
    assert_eq!(all.len(), SnpRefusal::ALL_CODES.len(), "a code is there twice");
    assert_eq!(reached, all);
}

/// The cases above are good but for one thing: without it they verify.
#[test]
fn nothing_else_is_wrong_with_the_cases() {
    for version in 2..=5 {
        for one in Product::ALL {
            let case = Case::of("", one, version);
            for crypto in backends() {
                let snp = Snp::with_roots(crypto, case.roots.clone());
                let claims = snp.verify_report(&case.report, &case.bag(), NOW).unwrap();
                assert_eq!(claims.product, product(one).as_str());
            }
        }
    }
    let case = Case::vlek("").with_ask(ask()).with_ask(listing_ask());
    let snp = Snp::with_roots(support::aws(), case.roots.clone());
    assert!(snp.verify_report(&case.report, &case.bag(), NOW).is_ok());
    let case = Case::new("")
        .with_ask(listing_ask())
        .with(kind::CRL, ask_list().revoke(&[7]).sign(Amd::get().ask_key()));
    let snp = Snp::with_roots(support::aws(), case.roots.clone());
    let claims = snp.verify_report(&case.report, &case.bag(), NOW).unwrap();
    let checks = snp.examine(&case.report, &case.bag(), NOW);
    assert_eq!(first_failure(&checks), None);
    // The ASK's list ends first.
    assert_eq!(claims.valid_until, NOW.plus(DAY));
}

#[test]
fn roots_of_development_are_checked() {
    let local = Local::new();
    let amd = Amd::get();
    for crypto in backends() {
        let check = |der: &[u8]| Development::check_root(crypto.as_ref(), der);
        assert_eq!(check(&local.root_der()), Ok(()));
        for bad in [
            vec![],
            amd.ark_der(Milan),
            local.root().spoiled().sign(&local.root),
            local.root().sign(&Key::p384()),
            local.root().basic_constraints(false, None).sign(&local.root),
            local.root().key_usage(usage::SIGN).sign(&local.root),
            local.root().subject(&amd_name("another")).sign(&local.root),
        ] {
            assert_eq!(code(&check(&bad).unwrap_err()), "snp.ark-unusable");
        }
    }
    assert_eq!(SnpProduct::ALL.len(), Product::ALL.len());
}

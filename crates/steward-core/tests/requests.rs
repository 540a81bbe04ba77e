// SPDX-License-Identifier: Apache-2.0

//! Everything that can be wrong with a request, one request for each, and that none was forgotten.

mod common;

use std::collections::BTreeSet;

use common::{Library, P256, POLICY, SLUG, WORKLOAD, authority, bound, bound_statement, setup};
use evidence_testkit::amd::{Amd, Product};
use evidence_testkit::csr::{RequestBuilder, attribute};
use evidence_testkit::der_writer::Der;
use evidence_testkit::intel::{Intel, QuoteKind};
use evidence_testkit::keys::Key;
use evidence_testkit::statement::{self, Binding, oid};
use evidence_testkit::{DAY, NOW};
use steward_core::{Authority, Fault, IssueRefusal, MAX_BUNDLE, NONCE_LIFETIME, RequestRefusal};

/// Type of quotes of stand-ins.
const STAND_IN: &str = "1.3.6.1.4.1.58270.1.17";

/// The code of the refusal of a request.
fn code(authority: &Authority, csr: &[u8]) -> &'static str {
    let refusal =
        authority.issue(csr, NOW, [7; 16]).expect_err("this request is not to be granted");
    let IssueRefusal::Request(reason) = &refusal else { panic!("{refusal} ({})", refusal.code()) };
    let fault = if matches!(reason, RequestRefusal::NoEvidence) {
        (Fault::NoEvidence, 401)
    } else {
        (Fault::Client, 400)
    };
    assert_eq!((refusal.fault(), refusal.status()), fault);
    assert!(!refusal.to_string().is_empty());
    assert!(!refusal.reference().is_empty() && !refusal.remedy().is_empty());
    refusal.code()
}

/// Requests that are refused before their evidence is looked at, each with its code.
fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let key = Key::p384();
    let small = Key::p256();
    let snp = common::snp_statement(&key);
    let good = common::published(&key);
    let new = RequestBuilder::new;
    let evidence = || new().extension(oid::SNP, false, &snp);
    let bundle = |value: Vec<u8>| new().attribute(attribute::ATTESTATION, &[&value]).sign(&key);
    let bound_as = |binding: Binding<'_>| bound(&key, binding);
    let garbage = Der::build(|der| {
        der.sequence(|der| {
            der.number(1);
        });
    });
    // A statement, followed by what `hint` writes.
    let old = |hint: &dyn Fn(&mut Der)| {
        Der::build(|der| {
            der.sequence(|der| {
                der.sequence(|der| {
                    der.sequence(|der| {
                        der.oid(oid::SNP).raw(&snp);
                        hint(der);
                    });
                });
            });
        })
    };
    let bound_with = |version: u64, platform: &str, count: usize| {
        Der::build(|der| {
            der.sequence(|der| {
                der.number(version).oid(platform).octets(&[1; 1184]).sequence(|der| {
                    for _ in 0..count {
                        der.sequence(|der| {
                            der.utf8("crl").octets(b"");
                        });
                    }
                });
                der.sequence(|_| {});
            });
        })
    };
    let bound_version = |version, platform, count| {
        new().attestation(oid::BOUND, &bound_with(version, platform, count)).sign(&key)
    };
    let one_bundle = new().attestation(oid::SNP, &snp).bundle();
    let two_values = [one_bundle.as_slice(); 2];
    vec![
        ("csr.malformed", Vec::new()),
        ("csr.malformed", b"-----BEGIN CERTIFICATE REQUEST-----".to_vec()),
        ("csr.malformed", good[..good.len() - 1].to_vec()),
        ("csr.malformed", [&good[..], &[0]].concat()),
        ("csr.malformed", evidence().version(1).sign(&key)),
        ("csr.malformed", evidence().extension(oid::SNP, false, &snp).sign(&key)),
        ("csr.too-large", vec![0x30; (1 << 20) + 1]),
        ("csr.key", evidence().sign(Amd::get().ark_key())),
        ("csr.algorithm", evidence().algorithm(key.algorithm(false)).sign(&small)),
        ("csr.algorithm", evidence().algorithm(small.algorithm(false)).sign(&key)),
        ("csr.signature", evidence().spoiled().sign(&key)),
        ("csr.signature", evidence().sign_for(&key.spki(), &Key::p384())),
        ("csr.attribute", {
            let password = Der::build(|der| {
                der.utf8("password");
            });
            evidence().attribute(attribute::CHALLENGE_PASSWORD, &[&password]).sign(&key)
        }),
        ("csr.extension", evidence().extension("2.5.29.17", false, b"").sign(&key)),
        ("csr.extension", new().extension(oid::BOUND, false, &snp).sign(&key)),
        ("csr.critical", new().extension(oid::SNP, true, &snp).sign(&key)),
        ("csr.no-evidence", new().sign(&key)),
        ("csr.several-evidences", evidence().extension(oid::SGX, false, b"x").sign(&key)),
        ("csr.several-evidences", evidence().attestation(oid::SNP, &snp).sign(&key)),
        (
            "csr.several-evidences",
            new().attestation(oid::SNP, &snp).attestation(oid::SNP, &snp).sign(&key),
        ),
        ("csr.several-evidences", new().attribute(attribute::ATTESTATION, &two_values).sign(&key)),
        ("csr.empty-evidence", new().extension(oid::DEVELOPMENT, false, b"").sign(&key)),
        ("csr.empty-evidence", {
            let statement = statement::snp(&garbage, &[], b"");
            new().extension(oid::SNP, false, &statement).sign(&key)
        }),
        ("csr.attestation-bundle", bundle(vec![5, 0])),
        ("csr.attestation-bundle", bundle(garbage.clone())),
        ("csr.attestation-bundle", bundle(new().bundle())),
        (
            "csr.attestation-bundle",
            bundle(old(&|der| {
                der.number(1);
            })),
        ),
        (
            "csr.old-evidence-bundle",
            bundle(old(&|der| {
                der.utf8("verifier.example");
            })),
        ),
        (
            "csr.old-evidence-bundle",
            bundle(old(&|der| {
                der.ia5("verifier.example");
            })),
        ),
        (
            "csr.old-evidence-bundle",
            bundle(Der::build(|der| {
                der.sequence(|der| {
                    der.raw(&new().attestation(oid::SNP, &snp).bundle());
                });
            })),
        ),
        ("csr.statement-type", new().attestation("2.23.133.20.1", &garbage).sign(&key)),
        ("csr.statement-type", bound_version(1, oid::BOUND, 0)),
        // Quotes of stand-ins have no published statement.
        ("csr.statement-type", new().attestation(STAND_IN, &garbage).sign(&key)),
        ("csr.extension", new().extension(STAND_IN, false, &garbage).sign(&key)),
        ("csr.statement", new().extension(oid::SNP, false, &garbage).sign(&key)),
        ("csr.statement", new().extension(oid::SGX, false, &garbage).sign(&key)),
        ("csr.statement", new().extension(oid::SGX, false, b"x").sign(&key)),
        ("csr.statement", new().attestation(oid::BOUND, &garbage).sign(&key)),
        ("csr.statement", new().attestation(oid::TDX, &snp).sign(&key)),
        ("csr.statement-version", bound_version(2, oid::SNP, 0)),
        ("csr.statement-version", bound_version(0, oid::SNP, 0)),
        ("csr.endorsements", bound_version(1, oid::SNP, 33)),
        (
            "csr.slug",
            bound_as(Binding { slug: Some("not a slug"), workload: Some(WORKLOAD), nonce: None }),
        ),
        (
            "csr.workload-digest",
            bound_as(Binding { workload: Some("sha256:00"), ..Binding::default() }),
        ),
        ("csr.slug-alone", bound_as(Binding { slug: Some(SLUG), ..Binding::default() })),
        ("csr.key-type", {
            let statement = common::snp_statement(&small);
            new().extension(oid::SNP, false, &statement).sign(&small)
        }),
        ("csr.key-type", {
            let intel = Intel::get().sample(QuoteKind::SgxV3);
            let statement = statement::dcap(&intel.quote, &[], &[], b"{}");
            new().extension(oid::SGX, false, &statement).sign(&key)
        }),
        ("csr.nonce-unknown", bound_as(Binding { nonce: Some(b""), ..Binding::default() })),
        ("csr.nonce-unknown", bound_as(Binding { nonce: Some(&[0; 56]), ..Binding::default() })),
    ]
}

/// Requests with genuine evidence that is not theirs.
fn not_bound() -> Vec<Vec<u8>> {
    let (key, other) = (Key::p384(), Key::p384());
    let new = RequestBuilder::new;
    let mut shifted = statement::snp_report_data(&key.spki());
    shifted[63] = 1;
    let workload = Binding { slug: Some(SLUG), workload: Some(WORKLOAD), nonce: None };
    let unnamed = Binding { slug: None, ..workload };
    // The evidence is of one binding, and the statement says another.
    let swapped = {
        let data = unnamed.report_data(&key.spki());
        let amd = Amd::get();
        let report = amd.report(Product::Genoa, 5).report_data(&data).sign(amd.vek_key());
        let vek = amd.vcek(Product::Genoa).sign(amd.ask_key());
        let crl = amd.crl_der(Product::Genoa);
        statement::bound(oid::SNP, &report, &[("vek", &vek), ("crl", &crl)], workload)
    };
    // The evidence is of form 1, and the statement of form 2, and the other way round.
    let form_1 = common::snp_statement_of(&unnamed.report_data(&key.spki()));
    let of_other = bound_statement(&other, unnamed);
    vec![
        new().extension(oid::SNP, false, &common::snp_statement(&other)).sign(&key),
        new().extension(oid::SNP, false, &common::snp_statement_of(&[0; 64])).sign(&key),
        new().extension(oid::SNP, false, &common::snp_statement_of(&shifted)).sign(&key),
        new().extension(oid::SNP, false, &form_1).sign(&key),
        new().attestation(oid::BOUND, &swapped).sign(&key),
        new().attestation(oid::BOUND, &of_other).sign(&key),
    ]
}

#[test]
fn each_refusal_of_a_request_is_reached() {
    let authority = authority(Library::AwsLc);
    let mut seen = BTreeSet::new();
    for (index, (expected, csr)) in malformed().iter().enumerate() {
        assert_eq!(code(&authority, csr), *expected, "case {index}");
        seen.insert(*expected);
    }
    for (index, csr) in not_bound().iter().enumerate() {
        assert_eq!(code(&authority, csr), "csr.binding", "case {index}");
        seen.insert("csr.binding");
    }
    seen.extend(nonces());
    seen.insert(ends_soon());
    seen.extend(bundles(&authority));
    assert_eq!(seen, RequestRefusal::ALL_CODES.iter().copied().collect());
    assert_eq!(seen.len(), RequestRefusal::ALL_CODES.len(), "a code stands twice");
}

/// What is wrong with nonces at other times and at other Stewards; and that they are good until then.
fn nonces() -> Vec<&'static str> {
    let key = Key::p384();
    let made = authority(Library::AwsLc).nonce(NOW, [9; 16]).unwrap();
    assert_eq!(made.expires(), NOW.plus(NONCE_LIFETIME));
    let with = |nonce: &[u8]| bound(&key, Binding { nonce: Some(nonce), ..Binding::default() });
    let good = with(made.as_bytes());
    // Any Steward with the same key knows it, whatever library it uses.
    let authority = authority(Library::RustCrypto);
    for seconds in [0, 1, NONCE_LIFETIME] {
        let issued = authority.issue(&good, NOW.plus(seconds), [1; 16]).unwrap();
        assert!(issued.claims().fresh);
    }
    let late = authority.issue(&good, NOW.plus(NONCE_LIFETIME + 1), [1; 16]).unwrap_err();
    assert_eq!(late.reference(), "Enarx, docs/binding.md, Nonce");
    assert_eq!(late.remedy(), "ask the Steward for a new nonce, and for a new report over it");
    for position in 0..made.as_bytes().len() {
        let mut changed = *made.as_bytes();
        changed[position] ^= 1;
        assert_eq!(code(&authority, &with(&changed)), "csr.nonce-unknown", "byte {position}");
    }
    assert_eq!(code(&authority, &with(&made.as_bytes()[..55])), "csr.nonce-unknown");
    let longer = [made.as_bytes(), &[0][..]].concat();
    assert_eq!(code(&authority, &with(&longer)), "csr.nonce-unknown");
    let mut silent = setup(Library::AwsLc, &P256, POLICY);
    silent.nonce_key = None;
    let silent = Authority::new(silent).unwrap();
    assert_eq!(silent.nonce(NOW, [9; 16]), None);
    vec![late.code(), code(&silent, &good)]
}

/// Endorsements that end within the minute.
fn ends_soon() -> &'static str {
    let (amd, key) = (Amd::get(), Key::p384());
    let data = statement::snp_report_data(&key.spki());
    let report = amd.report(Product::Milan, 3).report_data(&data).sign(amd.vek_key());
    let vek = amd.vcek(Product::Milan).sign(amd.ask_key());
    let request = |seconds| {
        let crl = amd.crl(Product::Milan, NOW.minus(DAY), NOW.plus(seconds), &[]);
        let statement = statement::snp(&vek, &[("https://example.com", &crl)], &report);
        RequestBuilder::new().extension(oid::SNP, false, &statement).sign(&key)
    };
    let authority = authority(Library::AwsLc);
    let issued = authority.issue(&request(60), NOW, [1; 16]).unwrap();
    assert_eq!(issued.not_after(), NOW.plus(60));
    code(&authority, &request(59))
}

fn bundles(authority: &Authority) -> Vec<&'static str> {
    let mut count = 0_u8;
    let mut random = || {
        count += 1;
        [count; 16]
    };
    let mut refuse = |bundle: &[u8]| {
        let refusal = authority.issue_bundle(bundle, NOW, &mut random).unwrap_err();
        assert_eq!(refusal.fault(), Fault::Client);
        refusal.code()
    };
    let of = |count: usize| {
        let csr = common::published(&Key::p384());
        Der::build(|der| {
            der.sequence(|der| {
                for _ in 0..count {
                    der.raw(&csr);
                }
            });
        })
    };
    let codes = vec![refuse(b"x"), refuse(&of(0))];
    assert_eq!(refuse(&of(MAX_BUNDLE + 1)), "csr.bundle-count");
    assert_eq!(refuse(&[&of(1)[..], &[0]].concat()), "csr.bundle");
    assert_eq!(codes, ["csr.bundle", "csr.bundle-count"]);
    codes
}

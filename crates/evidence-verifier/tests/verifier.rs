// SPDX-License-Identifier: Apache-2.0

//! What comes to a format and what does not, and that each call reaches the format of its type.

use std::sync::Arc;

use evidence_crypto::{AwsLc, RustCrypto};
use evidence_snp::Development;
use evidence_testkit::NOW;
use evidence_testkit::amd::{Amd, Product};
use evidence_verifier::{
    Endorsements, EvidenceRefusal, MAX_EVIDENCE, ObjectIdentifier, Outcome, Reason, Verifier,
    statement,
};

const UNKNOWN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.3");

fn types(verifier: &Verifier) -> Vec<ObjectIdentifier> {
    verifier.formats().map(|format| format.statement_type()).collect()
}

#[test]
fn formats_join_and_take_the_place_of_their_like() {
    assert!(types(&Verifier::empty()).is_empty());
    let development = |roots| Box::new(Development::new(Arc::new(AwsLc), roots));
    let verifier = Verifier::new(Arc::new(AwsLc)).with(development(vec![]));
    let all = [statement::SNP, statement::SGX, statement::TDX, statement::DEVELOPMENT];
    assert_eq!(types(&verifier), all);
    let mut names: Vec<_> = verifier.formats().map(|format| format.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() == 4 && names.iter().all(|name| !name.is_empty()), "{names:?}");

    let amd = Amd::get();
    let verifier = verifier.with(development(vec![amd.ark_der(Product::Milan)]));
    assert_eq!(types(&verifier), all);
    assert!(format!("{verifier:?}").matches("Development").count() == 1, "{verifier:?}");
}

#[test]
fn evidence_reaches_the_format_of_its_type() {
    let report = Amd::get().report(Product::Milan, 3).sign(Amd::get().vek_key());
    for verifier in [Verifier::new(Arc::new(AwsLc)), Verifier::new(Arc::new(RustCrypto))] {
        let none = Endorsements::new();
        let fields = verifier.fields(statement::SNP, &report).unwrap();
        assert_eq!(fields.first().map(|field| field.name), Some("VERSION"));
        assert_eq!(fields.first().map(|field| field.value.as_str()), Some("3"));
        let code = |refusal: &dyn Reason| refusal.code();
        let refusal = verifier.verify(statement::SNP, &report, &none, NOW).unwrap_err();
        let checks = verifier.examine(statement::SNP, &report, &none, NOW).unwrap();
        let failed = checks.iter().find_map(|check| match &check.outcome {
            Outcome::Fail(refusal) => Some(code(refusal.as_ref())),
            _ => None,
        });
        assert_eq!(failed, Some(refusal.code()));
        // The other formats can do nothing with it.
        for other in [statement::SGX, statement::TDX] {
            let refusal = verifier.fields(other, &report).unwrap_err();
            assert!(refusal.code().starts_with("dcap."), "{}", refusal.code());
        }
    }
}

#[test]
fn what_no_format_gets_to_see_is_refused() {
    let verifier = Verifier::new(Arc::new(AwsLc));
    let (none, large) = (Endorsements::new(), vec![0; MAX_EVIDENCE + 1]);
    let mut reached = Vec::new();
    for (kind, evidence, wanted, said) in [
        (
            statement::SNP,
            large.as_slice(),
            EvidenceRefusal::TooLarge(MAX_EVIDENCE + 1),
            "the evidence has 65537 bytes; at most 65536 are read",
        ),
        (
            UNKNOWN,
            &large[..MAX_EVIDENCE],
            EvidenceRefusal::UnknownFormat(UNKNOWN),
            "no format of evidence with the type 1.2.3 is accepted here",
        ),
        // Until a root is given for it, development evidence is of an unknown type.
        (
            statement::DEVELOPMENT,
            &[],
            EvidenceRefusal::UnknownFormat(statement::DEVELOPMENT),
            "no format of evidence with the type 1.3.6.1.4.1.58270.1.1 is accepted here",
        ),
    ] {
        assert_eq!(verifier.examine(kind, evidence, &none, NOW).unwrap_err(), wanted);
        for refusal in [
            verifier.verify(kind, evidence, &none, NOW).unwrap_err(),
            verifier.fields(kind, evidence).unwrap_err(),
        ] {
            assert_eq!(refusal.code(), wanted.code());
            assert_eq!(refusal.to_string(), said);
        }
        assert!(wanted.reference().len() > 10 && wanted.remedy().starts_with("send "));
        reached.push(wanted.code());
    }
    reached.dedup();
    assert_eq!(reached, EvidenceRefusal::ALL_CODES);
    // The last byte that is allowed reaches the format.
    let refusal = verifier.verify(statement::SGX, &large[..MAX_EVIDENCE], &none, NOW).unwrap_err();
    assert!(refusal.code().starts_with("dcap."), "{}", refusal.code());
}

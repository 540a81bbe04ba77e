// SPDX-License-Identifier: Apache-2.0

//! Each refusal, reached by evidence that is good in every other respect, signed by a synthetic Intel.
//!
//! One list of cases: what is changed, and the code that it is refused with. The last test makes sure that
//! no code is missing from the list.

use std::collections::BTreeSet;

use evidence_claims::{Endorsements, Format, Outcome, Reason, Time, kind};
use evidence_dcap::{DcapRefusal, Sgx, SgxDevelopment, Tdx, collateral_json};
use evidence_testkit::certificate::{CertificateBuilder, extension, usage};
use evidence_testkit::der_writer::{Der, pem_chain};
use evidence_testkit::intel::{
    Authority, Collateral, Document, Intel, PckBuilder, QuoteBuilder, QuoteKind, intel_name,
    pck_oid, qe_offset, signed_json, td_offset,
};
use evidence_testkit::keys::Key;
use evidence_testkit::{DAY, NOW};
use serde_json::{Value, json};

mod certificates;
#[path = "../common/mod.rs"]
mod common;
mod documents;
mod lists;
mod quotes;

/// What is verified, and the code that it has to be refused with.
struct Case {
    name: String,
    code: &'static str,
    kind: QuoteKind,
    quote: Vec<u8>,
    collateral: Evidence,
    now: Time,
}

/// Collateral in one file, or piece by piece.
enum Evidence {
    File(Vec<u8>),
    Pieces(Endorsements<'static>),
}

#[derive(Default)]
struct Cases(Vec<Case>);

impl Cases {
    fn push(
        &mut self,
        code: &'static str,
        name: impl Into<String>,
        kind: QuoteKind,
        quote: Vec<u8>,
        collateral: Evidence,
    ) {
        self.0.push(Case { name: name.into(), code, kind, quote, collateral, now: NOW });
    }

    /// A changed quote under good collateral.
    fn quote(
        &mut self,
        code: &'static str,
        name: &str,
        kind: QuoteKind,
        change: impl FnOnce(QuoteBuilder) -> QuoteBuilder,
    ) {
        let intel = Intel::get();
        let quote = intel.sign_quote(&change(intel.quote(kind)));
        self.push(code, name, kind, quote, file(&intel.collateral(kind)));
    }

    /// A good quote under changed collateral.
    fn collateral(
        &mut self,
        code: &'static str,
        name: &str,
        kind: QuoteKind,
        change: impl FnOnce(&mut Collateral),
    ) {
        let intel = Intel::get();
        let mut collateral = intel.collateral(kind);
        change(&mut collateral);
        self.push(code, name, kind, intel.sign_quote(&intel.quote(kind)), file(&collateral));
    }

    /// Changed TCB info, signed.
    fn tcb_info(
        &mut self,
        code: &'static str,
        name: &str,
        kind: QuoteKind,
        change: impl FnOnce(Document) -> Document,
    ) {
        let document =
            if kind.is_tdx() { Document::tdx_tcb_info() } else { Document::sgx_tcb_info() };
        let text = change(document).text();
        self.collateral(code, name, kind, |all| {
            *all = all.clone().with_tcb_info(Intel::get(), &text);
        });
    }

    /// A changed QE identity, signed.
    fn qe_identity(
        &mut self,
        code: &'static str,
        name: &str,
        kind: QuoteKind,
        change: impl FnOnce(Document) -> Document,
    ) {
        let document =
            if kind.is_tdx() { Document::tdx_qe_identity() } else { Document::sgx_qe_identity() };
        let text = change(document).text();
        self.collateral(code, name, kind, |all| {
            *all = all.clone().with_qe_identity(Intel::get(), &text);
        });
    }

    /// A changed PCK certificate.
    fn pck(
        &mut self,
        code: &'static str,
        name: &str,
        change: impl FnOnce(PckBuilder) -> PckBuilder,
    ) {
        let intel = Intel::get();
        let authority = QuoteKind::SgxV4.authority();
        let chain = intel.pck_chain(authority, &change(intel.pck(authority)));
        self.quote(code, name, QuoteKind::SgxV4, |quote| quote.pck_chain(&chain));
    }

    /// A changed PCK authority.
    fn authority(
        &mut self,
        code: &'static str,
        name: &str,
        change: impl FnOnce(CertificateBuilder) -> CertificateBuilder,
    ) {
        let intel = Intel::get();
        let authority = Authority::Platform;
        let changed = change(intel.pck_ca(authority)).sign(intel.root_key());
        let leaf = intel.pck(authority).sign(intel.pck_ca_key(authority));
        let chain = pem_chain(&[&leaf, &changed, &intel.root_der()]);
        self.quote(code, name, QuoteKind::TdxV4, |quote| quote.pck_chain(&chain));
    }

    /// A changed signer of TCB info, of QE identity, or of both.
    fn signer(
        &mut self,
        code: &'static str,
        name: &str,
        change: impl Fn(CertificateBuilder) -> CertificateBuilder,
    ) {
        let intel = Intel::get();
        let changed = change(intel.tcb_signing()).sign(intel.root_key());
        let chain = pem_chain(&[&changed, &intel.root_der()]);
        for (of, tcb, qe) in
            [("TCB info", true, false), ("QE identity", false, true), ("both", true, true)]
        {
            self.collateral(code, &format!("{name}, {of}"), QuoteKind::Tdx15V5, |all| {
                if tcb {
                    all.tcb_info_issuer_chain.clone_from(&chain);
                }
                if qe {
                    all.qe_identity_issuer_chain.clone_from(&chain);
                }
            });
        }
    }

    fn at(&mut self, code: &'static str, name: &str, now: Time) {
        let intel = Intel::get();
        let sample = intel.sample(QuoteKind::TdxV4);
        self.push(code, name, sample.kind, sample.quote, file(&sample.collateral));
        if let Some(case) = self.0.last_mut() {
            case.now = now;
        }
    }
}

fn file(collateral: &Collateral) -> Evidence {
    Evidence::File(collateral.to_json().into_bytes())
}

fn times(cases: &mut Cases) {
    cases.at("dcap.certificate-not-yet-valid", "before the root", NOW.minus(20 * 365 * DAY));
    cases.at("dcap.certificate-expired", "after the root", NOW.plus(40 * 365 * DAY));
    cases.at("dcap.crl-expired", "after the lists", NOW.plus(26 * DAY));
    cases.at("dcap.tcb-info-expired", "after the documents", NOW.plus(21 * DAY));
    cases.at("dcap.crl-not-yet-valid", "before the lists", NOW.minus(6 * DAY));
}

fn all() -> Vec<Case> {
    let mut cases = Cases::default();
    quotes::cases(&mut cases);
    certificates::cases(&mut cases);
    lists::cases(&mut cases);
    documents::cases(&mut cases);
    times(&mut cases);
    cases.0
}

/// The verdict on a case, which the account for people must not contradict.
fn refuse(case: &Case, crypto: &std::sync::Arc<dyn evidence_crypto::Crypto>) -> DcapRefusal {
    let file;
    let endorsements = match &case.collateral {
        Evidence::Pieces(pieces) => pieces,
        Evidence::File(text) => {
            file = match collateral_json(text) {
                Ok(endorsements) => endorsements,
                Err(refusal) => return refusal,
            };
            &file
        }
    };
    let root = Intel::get().root_der();
    let format: Box<dyn Format> = if case.kind.is_tdx() {
        Box::new(Tdx::with_root(crypto.clone(), &root).unwrap())
    } else {
        Box::new(Sgx::with_root(crypto.clone(), &root).unwrap())
    };
    let refusal = match format.verify(&case.quote, endorsements, case.now) {
        Err(refusal) => refusal,
        Ok(claims) => panic!("{:?}: {} is accepted: {claims:?}", case.kind, case.name),
    };
    let checks = format.examine(&case.quote, endorsements, case.now);
    let failed = checks.iter().any(|check| match &check.outcome {
        Outcome::Fail(other) => other.code() == refusal.code(),
        _ => false,
    });
    assert!(failed, "{}: {refusal}, but {checks:#?}", case.name);
    refusal.downcast_ref::<DcapRefusal>().unwrap().clone()
}

#[test]
fn each_case_is_refused_for_its_reason_and_each_reason_has_a_case() {
    let mut reached = BTreeSet::new();
    let mut wrong = Vec::new();
    let cases = all();
    for (library, crypto) in common::libraries() {
        for case in &cases {
            let refusal = refuse(case, &crypto);
            if refusal.code() != case.code {
                wrong.push(format!(
                    "{:?}, {}, {library}: {} instead of {} ({refusal})",
                    case.kind,
                    case.name,
                    refusal.code(),
                    case.code
                ));
            }
            reached.insert(refusal.code());
            for text in [refusal.to_string().as_str(), refusal.reference(), refusal.remedy()] {
                assert!(text.len() > 10, "{text}");
            }
            assert!(refusal.remedy().ends_with('.'));
        }
        reached.insert(stand_in_of_nobody(crypto.clone()).code());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known: BTreeSet<&str> = DcapRefusal::ALL_CODES.iter().copied().collect();
    assert_eq!(known.len(), DcapRefusal::ALL_CODES.len(), "a code is listed twice");
    assert_eq!(reached, known);
}

/// A quote as of a stand-in, whose root issued itself.
fn stand_in_of_nobody(crypto: std::sync::Arc<dyn evidence_crypto::Crypto>) -> DcapRefusal {
    let intel = Intel::get();
    let name = intel_name("Enarx development SGX Root CA");
    let root = intel.root().issuer(&name).subject(&name).sign(intel.root_key());
    let authority = Authority::Processor;
    let pck = intel.pck(authority).sign(intel.pck_ca_key(authority));
    let chain = pem_chain(&[&pck, &intel.pck_ca_der(authority), &root]);
    let quote = intel.sign_quote(&intel.quote(QuoteKind::SgxV3).pck_chain(&chain));
    let development = SgxDevelopment::new(crypto, vec![intel.root_der(), root]);
    development.verify_quote(&quote, &Endorsements::new(), NOW).unwrap_err()
}

#[test]
fn what_the_cases_change_is_good_before() {
    for (library, crypto) in common::libraries() {
        for quote_kind in QuoteKind::ALL {
            let intel = Intel::get();
            let sample = intel.sample(quote_kind);
            let endorsements = collateral_json(sample.collateral.to_json().as_bytes()).unwrap();
            let format: Box<dyn Format> = if quote_kind.is_tdx() {
                Box::new(Tdx::with_root(crypto.clone(), &sample.root).unwrap())
            } else {
                Box::new(Sgx::with_root(crypto.clone(), &sample.root).unwrap())
            };
            for quote in [
                sample.quote.clone(),
                [sample.quote.as_slice(), &[0; 3000]].concat(),
                intel.sign_quote(&intel.quote(quote_kind).auth_data(&[])),
                intel.sign_quote(&intel.quote(quote_kind).auth_data(&[7; 1000])),
            ] {
                let claims = format
                    .verify(&quote, &endorsements, NOW)
                    .unwrap_or_else(|refusal| panic!("{quote_kind:?} with {library}: {refusal}"));
                assert_eq!(claims.tcb_status, Some(evidence_claims::TcbStatus::UpToDate));
                assert_eq!(claims.report_data, QuoteBuilder::REPORT_DATA);
                assert_eq!(claims.valid_until, NOW.plus(20 * DAY));
                assert_eq!(claims.evaluation_number, Some(21));
                let fields = format.fields(&quote).unwrap();
                let mut at = 0;
                for field in &fields {
                    assert!(field.offset >= at, "{field:?}");
                    at = field.offset + field.length;
                }
                assert!(at <= quote.len());
                assert!(quote[at..].iter().all(|byte| *byte == 0));
            }
            // Under Intel's own root none of it is worth anything.
            let intels: Box<dyn Format> = if quote_kind.is_tdx() {
                Box::new(Tdx::new(crypto.clone()))
            } else {
                Box::new(Sgx::new(crypto.clone()))
            };
            let refusal = intels.verify(&sample.quote, &endorsements, NOW).unwrap_err();
            assert_eq!(refusal.code(), "dcap.root");
        }
    }
}

/// A quote may name its platform by a ciphertext; then the chain of the platform comes with the collateral.
#[test]
fn quotes_without_a_chain_are_good_with_one() {
    let intel = Intel::get();
    for quote_kind in QuoteKind::ALL {
        let sample = intel.sample(quote_kind);
        let format: Box<dyn Format> = if quote_kind.is_tdx() {
            Box::new(
                Tdx::with_root(std::sync::Arc::new(evidence_crypto::AwsLc), &sample.root).unwrap(),
            )
        } else {
            Box::new(
                Sgx::with_root(std::sync::Arc::new(evidence_crypto::AwsLc), &sample.root).unwrap(),
            )
        };
        let chain = format.fields(&sample.quote).unwrap();
        let chain = chain.iter().find(|field| field.name == "pck.chain").unwrap();
        let mut endorsements = collateral_json(sample.collateral.to_json().as_bytes()).unwrap();
        endorsements.push("of-another-format", b"x".as_slice()).unwrap();
        endorsements.push(kind::PCK_CHAIN, chain.value.clone().into_bytes()).unwrap();
        let with = |pce_id: [u8; 2]| {
            let data = [&[9; 402][..], &pce_id].concat();
            intel.sign_quote(&intel.quote(quote_kind).certification_data(3, &data))
        };
        let quote = with([0, 0]);
        let claims = format
            .verify(&quote, &endorsements, NOW)
            .unwrap_or_else(|refusal| panic!("{quote_kind:?}: {refusal}"));
        assert_eq!(claims.report_data, QuoteBuilder::REPORT_DATA);
        let refusal = format.verify(&with([0, 1]), &endorsements, NOW).unwrap_err();
        assert_eq!(refusal.code(), DcapRefusal::PceId.code());

        let fields = format.fields(&with([0xab, 0xcd])).unwrap();
        let last = fields.last().unwrap();
        assert_eq!((last.name, last.value.as_str(), last.length), ("pck.pce_id", "abcd", 2));
        assert_eq!(last.offset + last.length, quote.len());
        let data = fields.iter().find(|field| field.name == "pck.type").unwrap();
        assert_eq!((data.value.as_str(), data.offset), ("3", quote.len() - 404 - 6));
    }
}

#[test]
fn a_root_has_to_be_an_authority() {
    let intel = Intel::get();
    let crypto: std::sync::Arc<dyn evidence_crypto::Crypto> =
        std::sync::Arc::new(evidence_crypto::AwsLc);
    let refusal = Sgx::with_root(crypto.clone(), &intel.tcb_signing_der()).unwrap_err();
    assert_eq!(refusal.code(), "dcap.certificate-role");
    let short = intel.root().basic_constraints(true, Some(0)).sign(intel.root_key());
    let refusal = Tdx::with_root(crypto.clone(), &short).unwrap_err();
    assert_eq!(refusal.code(), "dcap.certificate-role");
    let refusal = Tdx::with_root(crypto, &Der::build(|_| {})).unwrap_err();
    assert_eq!(refusal.code(), "dcap.certificate");
}

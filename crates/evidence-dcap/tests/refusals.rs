// SPDX-License-Identifier: Apache-2.0

//! Each refusal, reached by evidence that is good in every other respect, signed by a synthetic Intel.
//!
//! One list of cases: what is changed, and the code that it is refused with. The last test makes sure that
//! no code is missing from the list.

use std::collections::BTreeSet;

use evidence_claims::{Endorsements, Format, Outcome, Reason, Time, kind};
use evidence_dcap::{DcapRefusal, Sgx, Tdx, collateral_json};
use evidence_testkit::certificate::{CertificateBuilder, extension, usage};
use evidence_testkit::der_writer::{Der, pem_chain};
use evidence_testkit::intel::{
    Authority, Collateral, Document, Intel, PckBuilder, QuoteBuilder, QuoteKind, intel_name,
    pck_oid, qe_offset, signed_json, td_offset,
};
use evidence_testkit::keys::Key;
use evidence_testkit::{DAY, NOW};
use serde_json::{Value, json};

mod common;

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

fn quotes(cases: &mut Cases) {
    use QuoteKind::{SgxV3, SgxV4, SgxV5, Tdx10V5, Tdx15V5, TdxV4};
    let intel = Intel::get();
    for kind in QuoteKind::ALL {
        let good = intel.sign_quote(&intel.quote(kind));
        for length in [0, 1, 10, 47, 53, 60, 300, 431, 700, 900, 1100, good.len() - 1] {
            let short = good[..length].to_vec();
            let name = format!("{kind:?} of {length} bytes");
            cases.push("dcap.quote", name, kind, short, file(&intel.collateral(kind)));
        }
        cases.quote("dcap.quote", "too large", kind, |quote| quote.trailing(&[0; 64 << 10]));
        cases.quote("dcap.trailing-bytes", "signature length 10", kind, |quote| {
            quote.signature_length(10)
        });
        cases.quote("dcap.quote", "signature length 2^32-1", kind, |quote| {
            quote.signature_length(u32::MAX)
        });
        cases
            .quote("dcap.quote-version", "version 2", kind, |quote| quote.patch_header(0, &[2, 0]));
        cases
            .quote("dcap.quote-version", "version 6", kind, |quote| quote.patch_header(0, &[6, 0]));
        cases.quote("dcap.trailing-bytes", "one byte after zeros", kind, |quote| {
            quote.trailing(&[0, 0, 0, 1])
        });
        cases.quote("dcap.tee-type", "unknown", kind, |quote| quote.patch_header(4, &[0x82]));
        cases.quote("dcap.key-type", "P-384", kind, |quote| quote.patch_header(2, &[3, 0]));
        cases.quote("dcap.qe-vendor", "another vendor", kind, |quote| quote.patch_header(12, &[0]));
        cases.quote("dcap.certification-data", "plain PPID", kind, |quote| {
            quote.certification_data(2, &[0; 404])
        });
        cases.quote("dcap.quote", "type 3 of another length", kind, |quote| {
            quote.certification_data(3, &[0; 403])
        });
        cases.quote("dcap.pck-chain-missing", "encrypted PPID", kind, |quote| {
            quote.certification_data(3, &[0; 404])
        });
        cases.quote("dcap.reserved", "in the QE report", kind, |quote| {
            quote.patch_qe_report(20, &[1])
        });
        cases.quote("dcap.qe-report-data", "another key", kind, |quote| {
            quote.patch_qe_report(qe_offset::REPORT_DATA, &[0; 4])
        });
        cases.quote("dcap.qe-report-data", "more than a digest", kind, |quote| {
            quote.patch_qe_report(qe_offset::REPORT_DATA + 32, &[1])
        });
        let body = kind.body_offset();
        cases.quote("dcap.quote-signature", "body changed", kind, |quote| {
            quote.patch_after(body + 64, &[0xff; 4])
        });
        let signed = intel.quote(kind).signed_length();
        cases.quote("dcap.quote-signature", "no signature", kind, |quote| {
            quote.patch_after(signed + 4, &[0; 64])
        });
        let qe_report = signed + 4 + 128 + if kind.version() > 3 { 6 } else { 0 };
        cases.quote("dcap.qe-report-signature", "QE report changed", kind, |quote| {
            quote.patch_after(qe_report + qe_offset::MRENCLAVE, &[0xff; 4])
        });
        cases.quote("dcap.qe-debug", "debug", kind, |quote| {
            quote.patch_qe_report(qe_offset::ATTRIBUTES, &[0x17])
        });
        cases.quote("dcap.qe-attributes", "another flag", kind, |quote| {
            quote.patch_qe_report(qe_offset::ATTRIBUTES, &[0x35])
        });
        cases.quote("dcap.qe-misc-select", "EXINFO", kind, |quote| {
            quote.patch_qe_report(qe_offset::MISC_SELECT, &[1])
        });
        cases.quote("dcap.qe-signer", "another signer", kind, |quote| {
            quote.patch_qe_report(qe_offset::MRSIGNER, &[1])
        });
        cases.quote("dcap.qe-product", "another product", kind, |quote| {
            quote.patch_qe_report(qe_offset::PRODUCT_ID, &[9])
        });
        cases.quote("dcap.qe-level", "ISVSVN 0", kind, |quote| {
            quote.patch_qe_report(qe_offset::SVN, &[0])
        });
        cases.quote("dcap.tcb-revoked", "QE", kind, |quote| {
            quote.patch_qe_report(qe_offset::SVN, &[1])
        });
    }
    cases.quote("dcap.tee-type", "TDX in version 3", SgxV3, |quote| quote.patch_header(4, &[0x81]));
    for (kind, other) in [(SgxV4, TdxV4), (TdxV4, SgxV4)] {
        let quote = intel.sign_quote(&intel.quote(other));
        let name = format!("{other:?} as {kind:?}");
        cases.push("dcap.tee-type", name, kind, quote, file(&intel.collateral(kind)));
    }
    cases.quote("dcap.body-type", "SGX body of a TD", Tdx10V5, |quote| {
        quote.body_header(Some((1, 384))).body(&[0; 384])
    });
    cases.quote("dcap.body-type", "TD body of an enclave", SgxV5, |quote| {
        quote.body_header(Some((2, 584))).body(&[0; 584])
    });
    cases.quote("dcap.body-type", "type 5", Tdx15V5, |quote| quote.body_header(Some((5, 648))));
    cases.quote("tdx.extended-body", "type 4", Tdx15V5, |quote| quote.body_header(Some((4, 648))));
    for (kind, number, length) in [(SgxV5, 1, 383), (Tdx10V5, 2, 583), (Tdx15V5, 3, 647)] {
        cases.quote("dcap.quote", "body cut short", kind, |quote| {
            quote.body_header(Some((number, length)))
        });
    }
    for kind in [SgxV4, SgxV5, TdxV4, Tdx10V5, Tdx15V5] {
        cases.quote("dcap.reserved", "in the header", kind, |quote| quote.patch_header(8, &[1]));
        cases.quote("dcap.certification-data", "not in type 6", kind, |quote| quote.outer_type(5));
        cases.quote("dcap.quote", "outer length", kind, |quote| quote.outer_length(600));
    }
    for kind in [SgxV3, SgxV4, SgxV5] {
        for offset in [20, 31, 96, 127, 160, 191, 262, 303] {
            let name = format!("byte {offset} of the body");
            cases.quote("dcap.reserved", &name, kind, |quote| quote.patch_body(offset, &[1]));
        }
    }
    for kind in [TdxV4, Tdx10V5, Tdx15V5] {
        cases.quote("tdx.td-attributes", "bit 8", kind, |quote| {
            quote.patch_body(td_offset::TD_ATTRIBUTES + 1, &[1])
        });
        cases.quote("tdx.module-signer", "another signer", kind, |quote| {
            quote.patch_body(td_offset::MRSIGNER_SEAM, &[1])
        });
        cases.quote("tdx.module-attributes", "an attribute", kind, |quote| {
            quote.patch_body(td_offset::SEAM_ATTRIBUTES, &[1])
        });
        cases.quote("tdx.module-identity", "generation 9", kind, |quote| {
            quote.patch_body(td_offset::TEE_TCB_SVN, &[5, 9])
        });
        cases.quote("tdx.module-level", "SVN 1", kind, |quote| {
            quote.patch_body(td_offset::TEE_TCB_SVN, &[1, 1])
        });
        cases.quote("tdx.module-signer", "of generation 0", kind, |quote| {
            quote
                .patch_body(td_offset::TEE_TCB_SVN, &[5, 0])
                .patch_body(td_offset::MRSIGNER_SEAM, &[1])
        });
    }
    cases.quote("tdx.module-identity", "of the module that runs now", Tdx15V5, |quote| {
        quote
            .patch_body(td_offset::TEE_TCB_SVN, &[2, 1])
            .patch_body(td_offset::TEE_TCB_SVN_2, &[5, 9])
    });
}

fn certificates(cases: &mut Cases) {
    use QuoteKind::{SgxV3, TdxV4};
    let intel = Intel::get();
    let (platform, processor) = (Authority::Platform, Authority::Processor);
    let leaf = intel.pck(platform).sign(intel.pck_ca_key(platform));
    let (authority, root) = (intel.pck_ca_der(platform), intel.root_der());
    let chain = |cases: &mut Cases, code, name: &str, chain: &[&[u8]]| {
        let chain = pem_chain(chain);
        cases.quote(code, name, TdxV4, |quote| quote.pck_chain(&chain));
    };
    cases.quote("dcap.certificate", "no PEM", TdxV4, |quote| quote.pck_chain("certificates"));
    chain(cases, "dcap.certificate", "no certificate", &[&[0x30, 0], &authority, &root]);
    chain(cases, "dcap.certificate", "no root", &[&leaf, &authority, &[0x30, 0]]);
    chain(cases, "dcap.chain-length", "leaf alone", &[&leaf]);
    chain(cases, "dcap.chain-length", "four", &[&leaf, &authority, &authority, &root]);
    chain(cases, "dcap.root", "leaf, leaf, leaf", &[&leaf, &leaf, &leaf]);

    let impostor = Intel::impostor();
    let false_leaf = impostor.pck(platform).sign(impostor.pck_ca_key(platform));
    let (false_authority, false_root) = (impostor.pck_ca_der(platform), impostor.root_der());
    chain(cases, "dcap.root", "impostor", &[&false_leaf, &false_authority, &false_root]);
    // With the impostor's lists the chain would be consistent; the pinned root is not the one above it.
    let quote = impostor.sample(TdxV4);
    cases.push("dcap.root", "impostor with all", TdxV4, quote.quote, file(&quote.collateral));
    let short = impostor.quote(TdxV4).pck_chain(&pem_chain(&[&false_leaf, &false_authority]));
    let mut collateral = impostor.collateral(TdxV4);
    collateral.root_ca_crl = intel.root_crl_der();
    cases.push(
        "dcap.certificate-signature",
        "impostor without root",
        TdxV4,
        impostor.sign_quote(&short),
        file(&collateral),
    );

    cases.pck("dcap.certificate", "unknown critical extension", |pck| {
        pck.change(|one| one.extension("1.2.3.4", true, vec![5, 0]))
    });
    cases.pck("dcap.certificate-role", "authority as PCK", |pck| {
        pck.change(|one| one.basic_constraints(true, None))
    });
    cases.pck("dcap.certificate-role", "PCK may sign certificates", |pck| {
        pck.change(|one| one.key_usage(usage::CERTIFICATES_AND_CRLS))
    });
    cases.pck("dcap.certificate-role", "PCK may not sign", |pck| {
        pck.change(|one| one.key_usage(0x20))
    });
    cases.pck("dcap.certificate-role", "no keyUsage", |pck| {
        pck.change(|one| one.without(extension::KEY_USAGE))
    });
    cases.pck("dcap.certificate-name", "another name", |pck| {
        pck.change(|one| one.subject(&intel_name("Intel SGX TCB Signing")))
    });
    cases.pck("dcap.certificate-issuer", "of the other authority", |pck| {
        pck.issuer(processor.common_name())
    });
    cases.pck("dcap.certificate-signature", "spoiled", |pck| {
        pck.change(CertificateBuilder::spoiled)
    });
    cases.pck("dcap.certificate-expired", "PCK", |pck| pck.validity(NOW.minus(DAY), NOW.minus(1)));
    cases.pck("dcap.certificate-not-yet-valid", "PCK", |pck| {
        pck.validity(NOW.plus(1), NOW.plus(DAY))
    });
    let other = Key::p384();
    cases.pck("dcap.certificate", "PCK of P-384", |pck| pck.key(&other));
    let other = Key::p256();
    cases.pck("dcap.qe-report-signature", "another PCK", |pck| pck.key(&other));

    cases.pck("dcap.pck-extension", "none", PckBuilder::without_extension);
    for part in [pck_oid::TCB, pck_oid::PCE_ID, pck_oid::FMSPC] {
        cases.pck("dcap.pck-extension", "a part is missing", |pck| pck.without_part(part));
    }
    cases.pck("dcap.pck-extension", "15 components", |pck| pck.components(&[1; 15]));
    cases.pck("dcap.pck-extension", "component 256", |pck| pck.components(&[256; 16]));
    cases.pck("dcap.pck-extension", "PCESVN 65536", |pck| pck.pce_svn(65536));
    cases.pck("dcap.pck-extension", "FMSPC of 5 bytes", |pck| pck.fmspc(&[0; 5]));
    cases.pck("dcap.pck-extension", "PCE-ID of 3 bytes", |pck| pck.pce_id(&[0; 3]));
    cases.pck("dcap.pck-extension", "no DER", |pck| pck.extension(vec![0x30, 5]));
    cases.pck("dcap.pck-extension", "foreign name", |pck| {
        pck.part("1.2.840.113741.1.14", vec![5, 0])
    });
    cases.pck("dcap.pck-extension", "twice", |pck| pck.configuration(&[(1, true), (1, false)]));
    cases.pck("dcap.fmspc", "another platform", |pck| pck.fmspc(&[9; 6]));
    cases.pck("dcap.pce-id", "another PCE", |pck| pck.pce_id(&[9; 2]));
    cases.pck("dcap.tcb-level", "PCESVN 4", |pck| pck.pce_svn(4));
    cases.pck("dcap.tcb-revoked", "platform", |pck| pck.components(&[0; 16]));

    cases.authority("dcap.certificate-role", "no authority", |one| {
        one.basic_constraints(false, None)
    });
    cases.authority("dcap.certificate-role", "may not sign lists", |one| {
        one.key_usage(usage::CERTIFICATES)
    });
    cases.authority("dcap.certificate-name", "another name", |one| {
        one.subject(&intel_name("Intel SGX PCK Other CA"))
    });
    cases.authority("dcap.certificate-issuer", "of another root", |one| {
        one.issuer(&intel_name("Intel Other Root CA"))
    });
    cases.authority("dcap.certificate-signature", "spoiled", CertificateBuilder::spoiled);
    cases.authority("dcap.certificate-expired", "authority", |one| {
        one.validity(NOW.minus(DAY), NOW.minus(1))
    });
    cases.authority("dcap.certificate-not-yet-valid", "authority", |one| {
        one.validity(NOW.plus(1), NOW.plus(DAY))
    });

    cases.signer("dcap.certificate-role", "an authority", |one| one.basic_constraints(true, None));
    cases.signer("dcap.certificate-role", "may not sign", |one| one.key_usage(0x20));
    cases.signer("dcap.certificate-name", "another name", |one| {
        one.subject(&intel_name("Intel SGX PCK Certificate"))
    });
    cases.signer("dcap.certificate-issuer", "of another root", |one| {
        one.issuer(&intel_name("Intel Other Root CA"))
    });
    cases.signer("dcap.certificate-signature", "spoiled", CertificateBuilder::spoiled);
    cases.signer("dcap.certificate-expired", "signer", |one| {
        one.validity(NOW.minus(DAY), NOW.minus(1))
    });
    cases.signer("dcap.certificate-not-yet-valid", "signer", |one| {
        one.validity(NOW.plus(1), NOW.plus(DAY))
    });
    cases.collateral("dcap.certificate-role", "authority as signer", SgxV3, |all| {
        all.tcb_info_issuer_chain = intel.pck_ca_chain(processor);
    });
    cases.collateral("dcap.chain-length", "signer alone is too much", SgxV3, |all| {
        all.tcb_info_issuer_chain = pem_chain(&[&leaf, &authority, &root]);
    });
    cases.collateral("dcap.root", "signer of another root", SgxV3, |all| {
        all.tcb_info_issuer_chain = impostor.tcb_signing_chain();
    });
    cases.collateral("dcap.certificate-signature", "impostor as signer", SgxV3, |all| {
        all.qe_identity_issuer_chain = pem_chain(&[&impostor.tcb_signing_der()]);
    });
}

fn lists(cases: &mut Cases) {
    use QuoteKind::{SgxV3, Tdx15V5};
    let intel = Intel::get();
    for kind in [SgxV3, Tdx15V5] {
        let authority = kind.authority();
        let (from, until) = (NOW.minus(DAY), NOW.plus(DAY));
        cases.collateral("dcap.root-crl-missing", "none", kind, |all| all.root_ca_crl.clear());
        cases.collateral("dcap.pck-crl-missing", "none", kind, |all| all.pck_crl.clear());
        let other = match authority {
            Authority::Platform => Authority::Processor,
            Authority::Processor => Authority::Platform,
        };
        cases.collateral("dcap.pck-crl-missing", "of the other authority", kind, |all| {
            all.pck_crl = intel.pck_crl_der(other);
        });
        cases.collateral("dcap.crl", "no DER", kind, |all| all.pck_crl = vec![0x30, 9]);
        cases.collateral("dcap.crl", "never expires", kind, |all| {
            all.root_ca_crl =
                intel.root_crl(from, until).without_next_update().sign(intel.root_key());
        });
        cases.collateral("dcap.crl-issuer", "swapped", kind, |all| {
            std::mem::swap(&mut all.root_ca_crl, &mut all.pck_crl);
        });
        cases.collateral("dcap.crl-signature", "root's, spoiled", kind, |all| {
            all.root_ca_crl = intel.root_crl(from, until).spoiled().sign(intel.root_key());
        });
        cases.collateral("dcap.crl-signature", "authority's, by the root", kind, |all| {
            all.pck_crl = intel.pck_crl(authority, from, until).sign(intel.root_key());
        });
        cases.collateral("dcap.crl-expired", "root's", kind, |all| {
            all.root_ca_crl = intel.root_crl(from, NOW.minus(1)).sign(intel.root_key());
        });
        cases.collateral("dcap.crl-expired", "authority's", kind, |all| {
            let list = intel.pck_crl(authority, from, NOW.minus(1));
            all.pck_crl = list.sign(intel.pck_ca_key(authority));
        });
        cases.collateral("dcap.crl-not-yet-valid", "root's", kind, |all| {
            all.root_ca_crl = intel.root_crl(NOW.plus(1), until).sign(intel.root_key());
        });
        cases.collateral("dcap.crl-not-yet-valid", "authority's", kind, |all| {
            let list = intel.pck_crl(authority, NOW.plus(1), until);
            all.pck_crl = list.sign(intel.pck_ca_key(authority));
        });
        cases.collateral("dcap.certificate-revoked", "PCK", kind, |all| {
            let list = intel.pck_crl(authority, from, until);
            let list = list.revoke(&[1; 20]).revoke(&PckBuilder::SERIAL).revoke(&[2]);
            all.pck_crl = list.sign(intel.pck_ca_key(authority));
        });
        for key in [intel.pck_ca_key(authority), intel.tcb_key()] {
            cases.collateral("dcap.certificate-revoked", "below the root", kind, |all| {
                let list = intel.root_crl(from, until).revoke(&key.identifier());
                all.root_ca_crl = list.sign(intel.root_key());
            });
        }
    }
    // Among several lists of one issuer the latest counts, wherever it stands.
    let sample = intel.sample(SgxV3);
    let authority = SgxV3.authority();
    let later = intel
        .pck_crl(authority, NOW.minus(DAY), NOW.plus(DAY))
        .revoke(&PckBuilder::SERIAL)
        .sign(intel.pck_ca_key(authority));
    for first in [true, false] {
        let mut pieces = Endorsements::new();
        if first {
            pieces.push(kind::CRL, later.clone()).unwrap();
        }
        for one in collateral_json(sample.collateral.to_json().as_bytes()).unwrap().iter() {
            pieces.push(one.kind.to_string(), one.bytes.to_vec()).unwrap();
        }
        if !first {
            pieces.push(kind::CRL, later.clone()).unwrap();
        }
        let quote = sample.quote.clone();
        let pieces = Evidence::Pieces(pieces);
        cases.push("dcap.certificate-revoked", "on the later list", SgxV3, quote, pieces);
    }
}

fn documents(cases: &mut Cases) {
    use QuoteKind::{SgxV3, TdxV4};
    let intel = Intel::get();
    for kind in [SgxV3, TdxV4] {
        cases.collateral("dcap.tcb-info-missing", "none", kind, |all| all.tcb_info.clear());
        cases.collateral("dcap.tcb-info-chain-missing", "none", kind, |all| {
            all.tcb_info_issuer_chain.clear();
        });
        cases.collateral("dcap.tcb-info", "no JSON", kind, |all| all.tcb_info = "{".into());
        cases.collateral("dcap.tcb-info", "no object", kind, |all| {
            *all = all.clone().with_tcb_info(intel, "[]");
        });
        cases.collateral("dcap.tcb-info", "short signature", kind, |all| {
            all.tcb_info_signature.pop();
        });
        cases.collateral("dcap.tcb-info-signature", "one more blank", kind, |all| {
            all.tcb_info = all.tcb_info.replacen(':', ": ", 1);
        });
        cases.collateral("dcap.tcb-info-signature", "by another", kind, |all| {
            all.tcb_info_signature = signed_json(intel.root_key(), &all.tcb_info).1;
        });
        cases.collateral("dcap.qe-identity", "no JSON", kind, |all| all.qe_identity = "{".into());
        cases.collateral("dcap.qe-identity-signature", "one more blank", kind, |all| {
            all.qe_identity = all.qe_identity.replacen(':', ": ", 1);
        });
        cases.tcb_info("dcap.tcb-info-version", "2", kind, |one| one.set("version", 2));
        cases.tcb_info("dcap.tcb-info-version", "2, without id", kind, |one| {
            one.set("version", 2).without("id")
        });
        cases.tcb_info("dcap.tcb-info-version", "4, without levels", kind, |one| {
            one.set("version", 4).without("tcbLevels")
        });
        cases.tcb_info("dcap.tcb-info-id", "of nothing", kind, |one| one.set("id", "SEV"));
        cases.tcb_info("dcap.tcb-info-expired", "expired", kind, |one| {
            one.dates(NOW.minus(DAY), NOW.minus(1))
        });
        cases.tcb_info("dcap.tcb-info-not-yet-valid", "not yet", kind, |one| {
            one.dates(NOW.plus(1), NOW.plus(DAY))
        });
        cases.tcb_info("dcap.tcb-level", "no levels", kind, |one| one.levels(&[]));
        cases.tcb_info("dcap.fmspc", "another", kind, |one| one.set("fmspc", "0123456789AB"));
        cases.tcb_info("dcap.pce-id", "another", kind, |one| one.set("pceId", "0001"));
        malformed_tcb_info(cases, kind);

        cases.qe_identity("dcap.qe-identity-version", "3", kind, |one| one.set("version", 3));
        cases.qe_identity("dcap.qe-identity-version", "1, otherwise", kind, |one| {
            one.set("version", 1).without("tcbEvaluationDataNumber")
        });
        cases.qe_identity("dcap.qe-identity-id", "QVE", kind, |one| one.set("id", "QVE"));
        cases.qe_identity("dcap.qe-identity-expired", "expired", kind, |one| {
            one.dates(NOW.minus(DAY), NOW.minus(1))
        });
        cases.qe_identity("dcap.qe-identity-not-yet-valid", "not yet", kind, |one| {
            one.dates(NOW.plus(1), NOW.plus(DAY))
        });
        cases.qe_identity("dcap.qe-level", "no levels", kind, |one| one.svn_levels(&[]));
        for status in ["SWHardeningNeeded", "Fine", ""] {
            cases.qe_identity("dcap.qe-identity", status, kind, |one| one.status(0, status));
        }
        for key in [
            "id",
            "version",
            "issueDate",
            "nextUpdate",
            "tcbEvaluationDataNumber",
            "miscselect",
            "miscselectMask",
            "attributes",
            "attributesMask",
            "mrsigner",
            "isvprodid",
            "tcbLevels",
        ] {
            cases.qe_identity("dcap.qe-identity", key, kind, |one| one.without(key));
            cases.qe_identity("dcap.qe-identity", key, kind, |one| one.set(key, Value::Null));
        }
    }
    let (sgx, tdx) = (Document::sgx_tcb_info(), Document::tdx_tcb_info());
    cases.tcb_info("dcap.tcb-info-id", "of SGX", TdxV4, |_| sgx);
    cases.tcb_info("dcap.tcb-info-id", "of TDX", SgxV3, |_| tdx);
    let (sgx, tdx) = (Document::sgx_qe_identity(), Document::tdx_qe_identity());
    cases.qe_identity("dcap.qe-identity-id", "of SGX", TdxV4, |_| sgx);
    cases.qe_identity("dcap.qe-identity-id", "of TDX", SgxV3, |_| tdx);
    cases.tcb_info("dcap.tcb-info", "no tdxModule", TdxV4, |one| one.without("tdxModule"));
    cases.tcb_info("dcap.tcb-info", "no tdxtcbcomponents", TdxV4, |one| {
        one.edit(|value| {
            value["tcbLevels"][0]["tcb"].as_object_mut().unwrap().remove("tdxtcbcomponents");
        })
    });
    cases.tcb_info("tdx.module-identity", "no identities", TdxV4, |one| {
        one.without("tdxModuleIdentities")
    });
    cases.tcb_info("tdx.module-attributes", "expects another", TdxV4, |one| {
        one.edit(|value| value["tdxModuleIdentities"][1]["attributes"] = "01".repeat(8).into())
    });
    for status in ["TDRelaunchAdvised", "SWHardeningNeeded"] {
        cases.tcb_info("dcap.tcb-info", "status of a module", TdxV4, |one| {
            one.edit(|value| {
                value["tdxModuleIdentities"][1]["tcbLevels"][0]["tcbStatus"] = status.into();
            })
        });
    }
    cases.tcb_info("dcap.tcb-revoked", "module", TdxV4, |one| {
        one.edit(|value| {
            value["tdxModuleIdentities"][1]["tcbLevels"][0]["tcbStatus"] = "Revoked".into();
        })
    });

    let sample = intel.sample(SgxV3);
    for (name, text) in [
        ("no object", "[]".to_owned()),
        ("no object either", "null".to_owned()),
        ("no JSON", "{".to_owned()),
        ("no text", r#"{"tcb_info":{}}"#.to_owned()),
        ("odd digits", r#"{"root_ca_crl":"123"}"#.to_owned()),
        ("no digits", r#"{"pck_crl":"zz"}"#.to_owned()),
        ("quotes", r#"{"tcb_info":"1","tcb_info_signature":"\"}"}"#.to_owned()),
        ("too large", format!(r#"{{"tcb_info":"{}"}}"#, " ".repeat(2 << 20))),
        ("too large for endorsements", format!(r#"{{"tcb_info":"{}"}}"#, " ".repeat(1 << 20))),
    ] {
        let text = Evidence::File(text.into_bytes());
        cases.push("dcap.collateral-file", name, SgxV3, sample.quote.clone(), text);
    }
}

/// What the type of each key rules out.
fn malformed_tcb_info(cases: &mut Cases, kind: QuoteKind) {
    for key in [
        "version",
        "issueDate",
        "nextUpdate",
        "fmspc",
        "pceId",
        "tcbType",
        "tcbEvaluationDataNumber",
        "tcbLevels",
    ] {
        cases.tcb_info("dcap.tcb-info", key, kind, |one| one.without(key));
        for value in [Value::Null, json!({}), json!(1.5), json!(-1), json!("x"), json!(1u64 << 40)]
        {
            let name = format!("{key}: {value}");
            cases.tcb_info("dcap.tcb-info", &name, kind, |one| {
                // A version that is a number is a version.
                one.set(key, value)
            });
        }
    }
    for date in ["2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00+01:00"] {
        cases.tcb_info("dcap.tcb-info", date, kind, |one| one.set("issueDate", date));
    }
    cases.tcb_info("dcap.tcb-info", "tcbType 1", kind, |one| one.set("tcbType", 1));
    for status in ["", "Fine", "TDRelaunchAdvised", "uptodate"] {
        cases.tcb_info("dcap.tcb-info", status, kind, |one| one.status(2, status));
    }
    let path = |name: &str, change: fn(&mut Value)| (name.to_owned(), change);
    for (name, change) in [
        path("15 components", |level| {
            level["tcb"]["sgxtcbcomponents"].as_array_mut().unwrap().pop();
        }),
        path("17 components", |level| {
            let components = level["tcb"]["sgxtcbcomponents"].as_array_mut().unwrap();
            components.push(json!({ "svn": 0 }));
        }),
        path("component 256", |level| level["tcb"]["sgxtcbcomponents"][3]["svn"] = 256.into()),
        path("component of text", |level| level["tcb"]["sgxtcbcomponents"][3]["svn"] = "1".into()),
        path("no svn", |level| level["tcb"]["sgxtcbcomponents"][3] = json!({})),
        path("pcesvn 65536", |level| level["tcb"]["pcesvn"] = 65536.into()),
        path("no tcb", |level| level["tcb"] = Value::Null),
        path("advisories of numbers", |level| level["advisoryIDs"] = json!([1])),
        path("no date", |level| level["tcbDate"] = Value::Null),
    ] {
        cases.tcb_info("dcap.tcb-info", &name, kind, |one| {
            one.edit(|value| change(&mut value["tcbLevels"][1]))
        });
    }
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
    quotes(&mut cases);
    certificates(&mut cases);
    lists(&mut cases);
    documents(&mut cases);
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
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known: BTreeSet<&str> = DcapRefusal::ALL_CODES.iter().copied().collect();
    assert_eq!(known.len(), DcapRefusal::ALL_CODES.len(), "a code is listed twice");
    assert_eq!(reached, known);
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

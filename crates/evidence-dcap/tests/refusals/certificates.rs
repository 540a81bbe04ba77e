// SPDX-License-Identifier: Apache-2.0

//! Changed certificates and chains.

use super::*;

pub(super) fn cases(cases: &mut Cases) {
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

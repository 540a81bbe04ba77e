// SPDX-License-Identifier: Apache-2.0

//! That what the synthetic Intel makes is what openssl and the project's own reader take it for.

use std::fs;
use std::process::Command;

use evidence_crypto::{AwsLc, Crypto, Scheme};
use evidence_pki::{Certificate, Crl, ObjectIdentifier, PublicKey, certificates};
use evidence_testkit::der_writer::{pem, pem_chain};
use evidence_testkit::intel::{
    Authority, Document, Intel, PckBuilder, QuoteBuilder, QuoteKind, pck_oid, qe_offset,
};
use evidence_testkit::{DAY, NOW};

fn p256<'a>(certificate: &Certificate<'a>) -> &'a [u8] {
    let PublicKey::P256(key) = certificate.key else { panic!("Intel's keys are on P-256") };
    key
}

#[test]
fn samples_are_valid() {
    let intel = Intel::get();
    for kind in QuoteKind::ALL {
        let sample = intel.sample(kind);
        let signed = kind.body_offset() + kind.body_length();
        let (message, rest) = sample.quote.split_at(signed);
        let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let rest = &rest[4..];
        assert_eq!(rest.len(), length, "{kind:?}");
        let point = [&[4], &rest[64..128]].concat();
        AwsLc.verify(Scheme::P256Fixed, &point, message, &rest[..64]).unwrap();
        let inner = if kind.version() == 3 { &rest[128..] } else { &rest[134..] };
        let (report, inner) = inner.split_at(384);
        let hash = AwsLc.sha256(&[&point[1..], &inner[66..98]]);
        assert_eq!(report[qe_offset::REPORT_DATA..][..32], hash);
        let chain = certificates(&inner[98 + 6..]).unwrap();
        let chain: Vec<_> = chain.iter().map(|der| Certificate::parse(der).unwrap()).collect();
        let [pck, ca, root] = chain.as_slice() else { panic!("three certificates") };
        assert!(root.raw == sample.root);
        AwsLc.verify(Scheme::P256Fixed, p256(pck), report, &inner[..64]).unwrap();
        pck.check_issued_by(&AwsLc, ca).unwrap();
        ca.check_issued_by(&AwsLc, root).unwrap();
        root.check_issued_by(&AwsLc, root).unwrap();
        assert!(chain.iter().all(|certificate| certificate.check_time(NOW).is_ok()));
        assert!(pck.extension(ObjectIdentifier::new_unwrap(pck_oid::SGX)).is_some());

        let collateral = &sample.collateral;
        let root_crl = Crl::parse(&collateral.root_ca_crl).unwrap();
        root_crl.check_issued_by(&AwsLc, root).unwrap();
        let pck_crl = Crl::parse(&collateral.pck_crl).unwrap();
        pck_crl.check_issued_by(&AwsLc, ca).unwrap();
        assert!(!pck_crl.revokes(pck.serial) && pck_crl.revokes(&[0x6f; 20]));
        assert!([&root_crl, &pck_crl].iter().all(|crl| crl.check_time(NOW).is_ok()));
        let chain = certificates(collateral.tcb_info_issuer_chain.as_bytes()).unwrap();
        let signer = Certificate::parse(&chain[0]).unwrap();
        signer.check_issued_by(&AwsLc, root).unwrap();
        for (text, signature) in [
            (&collateral.tcb_info, &collateral.tcb_info_signature),
            (&collateral.qe_identity, &collateral.qe_identity_signature),
        ] {
            let key = p256(&signer);
            AwsLc.verify(Scheme::P256Fixed, key, text.as_bytes(), signature).unwrap();
        }
        assert!(collateral.tcb_info.contains("00706E470000"));
        assert!(collateral.to_json().contains("qe_identity_issuer_chain"));
    }
}

#[test]
fn what_a_test_changes_is_changed() {
    let intel = Intel::get();
    let kind = QuoteKind::TdxV4;
    let plain = intel.sign_quote(&intel.quote(kind));
    let quote = intel.quote(kind).report_data(&[1; 64]).patch_after(0, &[9]).trailing(&[0; 70]);
    let quote = intel.sign_quote(&quote);
    // Signatures in DER have no fixed length, so that the PCK certificate has none.
    assert_eq!(quote[quote.len() - 70..], [0; 70]);
    assert_eq!(quote[0], 9);
    assert_eq!(quote[48 + 520..][..64], [1; 64]);
    assert_eq!(plain[48 + 520..][..64], QuoteBuilder::REPORT_DATA);

    let text = Document::sgx_tcb_info().status(0, "Surprise").without("pceId").text();
    assert!(text.contains("Surprise") && !text.contains("pceId"));
    let collateral = intel.collateral(QuoteKind::SgxV3).with_tcb_info(intel, &text);
    assert!(
        collateral.tcb_info_response().contains(&format!(r#"{{"tcbInfo":{text},"signature":""#))
    );

    let key = intel.pck_ca_key(Authority::Platform);
    let bare = intel.pck(Authority::Platform).without_extension().sign(key);
    let oid = ObjectIdentifier::new_unwrap(pck_oid::SGX);
    assert!(Certificate::parse(&bare).unwrap().extension(oid).is_none());
    let root = |intel: &Intel| intel.root_der();
    let (real, other) = (root(intel), root(Intel::impostor()));
    let (real, other) = (Certificate::parse(&real), Certificate::parse(&other));
    assert_eq!(real.as_ref().unwrap().subject, other.as_ref().unwrap().subject);
    assert_ne!(real.unwrap().spki, other.unwrap().spki);
}

#[test]
fn openssl_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let intel = Intel::get();
    for authority in [Authority::Platform, Authority::Processor] {
        let key = intel.pck_ca_key(authority);
        let pck = intel.pck(authority);
        write("root.pem", &pem_chain(&[&intel.root_der()]));
        write("ca.pem", &pem_chain(&[&intel.pck_ca_der(authority)]));
        write("tcb.pem", &pem_chain(&[&intel.tcb_signing_der()]));
        write("pck.pem", &pem_chain(&[&pck.sign(key)]));
        let verify = |crls: &[Vec<u8>], leaf: &str| {
            write("crls.pem", &crls.iter().map(|crl| pem("X509 CRL", crl)).collect::<String>());
            let arguments = format!(
                "verify -x509_strict -crl_check_all -attime {} -CAfile root.pem -untrusted ca.pem \
                 -CRLfile crls.pem {leaf}",
                NOW.unix()
            );
            let output = Command::new("openssl")
                .args(arguments.split_whitespace())
                .current_dir(folder.path())
                .output()
                .ok()?;
            Some((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
        };
        let crls = [intel.root_crl_der(), intel.pck_crl_der(authority)];
        let Some((good, text)) = verify(&crls, "pck.pem") else {
            println!("skipped: no openssl here");
            return;
        };
        assert!(good, "{text}");
        let (good, text) = verify(&crls, "tcb.pem").unwrap();
        assert!(good, "{text}");
        let revoked = intel
            .pck_crl(authority, NOW.minus(DAY), NOW.plus(DAY))
            .revoke(&PckBuilder::SERIAL)
            .sign(key);
        let (good, text) = verify(&[intel.root_crl_der(), revoked], "pck.pem").unwrap();
        assert!(!good && text.contains("revoked"), "{text}");
    }
}

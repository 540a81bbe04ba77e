// SPDX-License-Identifier: Apache-2.0

//! That what the synthetic AMD makes is what openssl and the project's own reader take it for.

use std::fs;
use std::path::Path;
use std::process::Command;

use evidence_crypto::{AwsLc, Crypto, RustCrypto, Scheme};
use evidence_pki::{Certificate, Crl, ObjectIdentifier, PublicKey, Request};
use evidence_testkit::amd::{Amd, Product, ReportBuilder, SnpSample, Tcb, kds, offset};
use evidence_testkit::csr::{RequestBuilder, attribute};
use evidence_testkit::der_writer::{Der, pem, pem_chain};
use evidence_testkit::keys::Key;
use evidence_testkit::statement::{self, Binding};
use evidence_testkit::{DAY, NOW};

fn check(sample: &SnpSample, crypto: &dyn Crypto) {
    let [ark, issuer, vek] =
        [&sample.ark, &sample.issuer, &sample.vek].map(|der| Certificate::parse(der).unwrap());
    ark.check_issued_by(crypto, &ark).unwrap();
    issuer.check_issued_by(crypto, &ark).unwrap();
    vek.check_issued_by(crypto, &issuer).unwrap();
    assert!(vek.serial.is_empty());
    for certificate in [&ark, &issuer, &vek] {
        certificate.check_time(NOW).unwrap();
    }
    let crl = Crl::parse(&sample.crl).unwrap();
    crl.check_issued_by(crypto, &ark).unwrap();
    crl.check_time(NOW).unwrap();
    assert_eq!(crl.serials().count(), 0);

    assert_eq!(sample.report.len(), ReportBuilder::SIZE);
    let (signed, signature) = sample.report.split_at(offset::SIGNATURE);
    let big_endian = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<_>>();
    let fixed = [big_endian(&signature[..48]), big_endian(&signature[72..120])].concat();
    let PublicKey::P384(key) = vek.key else { panic!("a VEK is on P-384") };
    crypto.verify(Scheme::P384Fixed, key, signed, &fixed).unwrap();
    assert!(signature[48..72].iter().chain(&signature[120..]).all(|byte| *byte == 0));
}

#[test]
fn samples_are_valid() {
    let amd = Amd::get();
    for product in Product::ALL {
        for version in 2..=5 {
            check(&amd.sample(product, version), &AwsLc);
            check(&amd.sample_vlek(product, version), &AwsLc);
        }
        check(&amd.sample(product, 5), &RustCrypto);
    }
    let sample = amd.sample(Product::Turin, 5);
    assert!(sample.ark == amd.ark_der(Product::Turin) && sample.crl == amd.crl_der(Product::Turin));
    let vek = Certificate::parse(&sample.vek).unwrap();
    let hardware = vek.extension(ObjectIdentifier::new_unwrap(kds::HARDWARE_ID)).unwrap();
    assert_eq!(hardware.value, &sample.report[offset::CHIP_ID..][..8]);
}

#[test]
fn what_a_test_changes_is_changed() {
    let amd = Amd::get();
    let revoked = amd.crl(Product::Genoa, NOW, NOW.plus(DAY), &[&amd.ask_serial(Product::Genoa)]);
    let ask = amd.ask_der(Product::Genoa);
    assert!(Crl::parse(&revoked).unwrap().revokes(Certificate::parse(&ask).unwrap().serial));

    let vek = amd.vcek(Product::Milan).without(kds::HARDWARE_ID).explicit_trailer(true);
    let vek = vek.change(|certificate| certificate.spoiled()).sign(amd.ask_key());
    let vek = Certificate::parse(&vek).unwrap();
    assert!(vek.extension(ObjectIdentifier::new_unwrap(kds::HARDWARE_ID)).is_none());
    let ask = amd.ask_der(Product::Milan);
    assert!(vek.check_issued_by(&AwsLc, &Certificate::parse(&ask).unwrap()).is_err());

    let report = amd.report(Product::Turin, 5).reported_tcb(Tcb::default());
    let report = report.patch(1, &[9]).patch_after(offset::SIGNATURE + 48, &[1]);
    let report = report.sign(amd.vek_key());
    assert_eq!(report[..4], [5, 9, 0, 0]);
    assert_eq!(report[offset::REPORTED_TCB..][..8], [0; 8]);
    assert_eq!(report[offset::CURRENT_TCB..][..8], [1, 2, 3, 4, 0, 0, 0, 0x51]);
    assert_eq!(report[offset::SIGNATURE + 48], 1);

    let sample = amd.sample(Product::Milan, 3);
    let impostor = Amd::impostor().sample(Product::Milan, 3);
    let (real, other) = (Certificate::parse(&sample.ark), Certificate::parse(&impostor.ark));
    assert_eq!(real.as_ref().unwrap().subject, other.as_ref().unwrap().subject);
    assert_ne!(real.unwrap().spki, other.unwrap().spki);
}

#[test]
fn requests_hold_what_was_put_into_them() {
    let key = Key::p384();
    let binding = Binding { slug: Some("demo"), nonce: Some(&[7; 16]), ..Binding::default() };
    assert_eq!(binding.report_data(&key.spki()), binding.report_data(&key.spki()));
    assert_ne!(binding.report_data(&key.spki()), Binding::default().report_data(&key.spki()));
    let value = statement::bound(statement::oid::SNP, b"evidence", &[("vek", b"x")], binding);
    let builder = RequestBuilder::new()
        .extension(statement::oid::SNP, false, b"statement")
        .attestation(statement::oid::BOUND, &value)
        .attribute(
            attribute::CHALLENGE_PASSWORD,
            &[&Der::build(|der| {
                der.utf8("secret");
            })],
        );
    let der = builder.sign(&key);
    let request = Request::parse(&der).unwrap();
    request.check_signature(&AwsLc).unwrap();
    assert_eq!(request.spki, key.spki());
    assert_eq!(request.attributes.len(), 3);
    assert_eq!(request.extensions().unwrap()[0].value, b"statement");
    let bundle = builder.bundle();
    let attestation = ObjectIdentifier::new_unwrap(attribute::ATTESTATION);
    assert_eq!(request.attribute(attestation).unwrap().values[0].raw, bundle);

    let (spoiled, _) = RequestBuilder::new().spoiled().p256();
    assert!(Request::parse(&spoiled).unwrap().check_signature(&AwsLc).is_err());
    let other = RequestBuilder::new().sign_for(&key.spki(), &Key::p384());
    assert!(Request::parse(&other).unwrap().check_signature(&AwsLc).is_err());
}

/// Runs openssl; `None` if there is none here.
fn openssl(folder: &Path, arguments: &str) -> Option<String> {
    let output =
        Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "openssl {arguments}: {text}");
    Some(text)
}

#[test]
fn openssl_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let amd = Amd::get();
    for sample in [amd.sample(Product::Milan, 3), amd.sample_vlek(Product::Turin, 5)] {
        write("ca.pem", &pem_chain(&[&sample.ark]));
        write("issuer.pem", &pem_chain(&[&sample.issuer]));
        write("vek.pem", &pem_chain(&[&sample.vek]));
        write("crl.pem", &pem("X509 CRL", &sample.crl));
        let at = NOW.unix();
        let verify =
            format!("verify -x509_strict -attime {at} -CAfile ca.pem -CRLfile crl.pem issuer.pem");
        let Some(text) = openssl(folder.path(), &verify) else {
            println!("skipped: no openssl here");
            return;
        };
        assert!(text.contains("issuer.pem: OK"), "{text}");
        let verify = format!("verify -attime {at} -CAfile ca.pem -untrusted issuer.pem vek.pem");
        assert!(openssl(folder.path(), &verify).unwrap().contains("vek.pem: OK"));
        let text = openssl(folder.path(), "crl -in crl.pem -noout -CAfile ca.pem -verify").unwrap();
        assert!(text.contains("verify OK"), "{text}");
        let text = openssl(folder.path(), "x509 -in vek.pem -noout -subject -serial").unwrap();
        assert!(text.contains("Advanced Micro Devices") && text.contains("serial=00"), "{text}");
    }
    for (der, key) in [RequestBuilder::new().p256(), RequestBuilder::new().p384()] {
        write("request.pem", &pem("CERTIFICATE REQUEST", &der));
        write("key.pem", &key.to_pem());
        let text = openssl(folder.path(), "req -in request.pem -noout -verify -subject").unwrap();
        assert!(text.contains("verify OK") && text.contains("keep"), "{text}");
        let public = openssl(folder.path(), "req -in request.pem -noout -pubkey").unwrap();
        assert!(
            public.contains(openssl(folder.path(), "pkey -in key.pem -pubout").unwrap().trim())
        );
    }
}

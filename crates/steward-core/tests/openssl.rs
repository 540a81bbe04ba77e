// SPDX-License-Identifier: Apache-2.0

//! What another implementation says about the certificates and keys, if `openssl` is there.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Library, NONCE_KEY, P256, P384, POLICY, SLUG, WORKLOAD, bound, setup};
use evidence_crypto::AwsLc;
use evidence_pki::{PublicKey, Signature, SignatureAlgorithm};
use evidence_testkit::NOW;
use evidence_testkit::keys::Key;
use evidence_testkit::statement::Binding;
use steward_core::key::{AwsLcKey, RustCryptoKey};
use steward_core::{Authority, KeyError, Signer, SigningAlgorithm, attester, pem};

/// What `openssl` prints, if it is there. It has to succeed.
fn openssl(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = match Command::new("openssl").args(arguments).current_dir(folder).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: openssl does not run: {error}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {text}{errors}");
    Some(text)
}

#[test]
fn openssl_verifies_the_chain_and_reads_the_certificate() {
    for (library, pki) in [(Library::AwsLc, &P256), (Library::RustCrypto, &P384)] {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let binding = Binding { slug: Some(SLUG), workload: Some(WORKLOAD), nonce: None };
        let authority = Authority::new(setup(library, pki, POLICY)).unwrap();
        let issued = authority.issue(
            &bound(&Key::p256(), binding),
            NOW,
            NONCE_KEY[..16].try_into().unwrap(),
        );
        let issued = issued.unwrap();
        std::fs::write(folder.join("root.pem"), pem(&pki.root)).unwrap();
        std::fs::write(folder.join("chain.pem"), issued.pem()).unwrap();
        let now = (NOW.unix() + 60).to_string();
        for purpose in ["sslserver", "sslclient"] {
            let arguments = [
                "verify",
                "-x509_strict",
                "-check_ss_sig",
                "-purpose",
                purpose,
                "-attime",
                &now,
                "-CAfile",
                "root.pem",
                "-untrusted",
                "chain.pem",
                "-verify_hostname",
                "keep.example",
                "chain.pem",
            ];
            let Some(text) = openssl(folder, &arguments) else { return };
            assert!(text.contains("chain.pem: OK"), "{text}");
        }
        let text = openssl(folder, &["x509", "-in", "chain.pem", "-noout", "-text"]).unwrap();
        for expected in [
            "Subject: CN = snp Keep 4d4d4d4d4d4d4d4d",
            "Issuer: O = Example, CN = Example Steward",
            "CA:FALSE",
            "Digital Signature",
            "TLS Web Server Authentication, TLS Web Client Authentication",
            "DNS:keep.example",
            &format!("URI:enarx:slug/{SLUG}"),
            &format!("URI:enarx:digest/{WORKLOAD}"),
            "1.3.6.1.4.1.58270.2.1",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        assert_eq!(text.matches("critical").count(), 2, "{text}");
    }
}

#[test]
fn openssl_verifies_the_requests_that_attesters_make() {
    let folder = tempfile::tempdir().unwrap();
    for algorithm in [SigningAlgorithm::EcdsaP256Sha256, SigningAlgorithm::EcdsaP384Sha384] {
        let key = AwsLcKey::generate(algorithm).unwrap();
        let binding = steward_core::binding::Binding {
            slug: Some(SLUG),
            workload: Some(WORKLOAD),
            nonce: Some(b"nonce"),
        };
        let statement = attester::bound_statement(
            evidence_claims::statement::SNP,
            b"report",
            &[("vek", b"certificate"), ("crl", b"list")],
            &binding,
        );
        let csr = attester::request(&key, &statement, attester::Place::Attribute).unwrap();
        std::fs::write(folder.path().join("csr.der"), &csr).unwrap();
        let arguments = ["req", "-inform", "der", "-in", "csr.der", "-noout", "-verify"];
        if openssl(folder.path(), &arguments).is_none() {
            return;
        }
        // And what is written is what is read.
        let read = steward_core::AttestedRequest::parse(&csr).unwrap();
        read.check_signature(&AwsLc).unwrap();
        assert_eq!(read.form, steward_core::Form::Bound(binding));
        assert_eq!(
            (read.platform, read.evidence),
            (evidence_claims::statement::SNP, &b"report"[..])
        );
        assert_eq!(read.endorsements.first("vek"), Some(&b"certificate"[..]));
        assert_eq!(read.endorsements.first("crl"), Some(&b"list"[..]));
    }
}

/// Both libraries read the key, say the same public key, and sign so that it verifies.
fn check_key(pem: &str, expected: SigningAlgorithm) {
    let one = AwsLcKey::from_pem(pem.as_bytes()).unwrap();
    let other = RustCryptoKey::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(one.public_key(), other.public_key());
    for signer in [&one as &dyn Signer, &other] {
        assert_eq!(signer.algorithm(), expected);
        let value = signer.sign(b"message").unwrap();
        let key = PublicKey::from_spki(signer.public_key()).unwrap();
        let algorithm = match expected {
            SigningAlgorithm::EcdsaP256Sha256 => SignatureAlgorithm::EcdsaSha256,
            SigningAlgorithm::EcdsaP384Sha384 => SignatureAlgorithm::EcdsaSha384,
        };
        assert_eq!(SigningAlgorithm::of(&key), Some(expected));
        let signature = Signature { message: b"message", algorithm, value: &value };
        signature.verify(&AwsLc, &key).unwrap();
        let other = Signature { message: b"another", algorithm, value: &value };
        assert!(other.verify(&AwsLc, &key).is_err());
    }
}

#[test]
fn keys_of_openssl_and_our_own_are_read() {
    for algorithm in [SigningAlgorithm::EcdsaP256Sha256, SigningAlgorithm::EcdsaP384Sha384] {
        check_key(&AwsLcKey::generate(algorithm).unwrap().to_pem().unwrap(), algorithm);
    }
    let folder = tempfile::tempdir().unwrap();
    for (curve, algorithm) in [
        ("ec_paramgen_curve:P-256", SigningAlgorithm::EcdsaP256Sha256),
        ("ec_paramgen_curve:P-384", SigningAlgorithm::EcdsaP384Sha384),
    ] {
        let arguments = ["genpkey", "-algorithm", "EC", "-pkeyopt", curve];
        let Some(pem) = openssl(folder.path(), &arguments) else { return };
        check_key(&pem, algorithm);
        // Parameters before the key, as in files of older tools, do no harm; a second key does.
        check_key(
            &format!(
                "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{pem}"
            ),
            algorithm,
        );
        let twice = format!("{pem}{pem}");
        assert_eq!(AwsLcKey::from_pem(twice.as_bytes()).err(), Some(KeyError::Pem));
    }
    let rsa = openssl(folder.path(), &["genpkey", "-algorithm", "RSA"]).unwrap();
    let p521 = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
    let p521 = openssl(folder.path(), &p521).unwrap();
    for other in [rsa, p521] {
        assert_eq!(AwsLcKey::from_pem(other.as_bytes()).err(), Some(KeyError::Kind));
        assert_eq!(RustCryptoKey::from_pem(other.as_bytes()).err(), Some(KeyError::Kind));
    }
}

#[test]
fn what_is_no_key_is_refused() {
    let pem = P256.steward_pem.as_str();
    let relabelled = pem.replace("PRIVATE KEY", "EC PRIVATE KEY");
    for text in ["", "text", relabelled.as_str()] {
        assert_eq!(AwsLcKey::from_pem(text.as_bytes()).err(), Some(KeyError::Pem));
        assert_eq!(RustCryptoKey::from_pem(text.as_bytes()).err(), Some(KeyError::Pem));
    }
    let mut pkcs8 = evidence_pki::pem_blocks(pem.as_bytes(), "PRIVATE KEY").unwrap().remove(0);
    assert_eq!(AwsLcKey::from_pkcs8(&pkcs8[1..]).err(), Some(KeyError::Malformed));
    assert_eq!(RustCryptoKey::from_pkcs8(&pkcs8[1..]).err(), Some(KeyError::Malformed));
    // The last bytes are the public key, which does not belong to the private one then.
    let last = pkcs8.len() - 1;
    pkcs8[last] ^= 1;
    assert_eq!(AwsLcKey::from_pkcs8(&pkcs8).err(), Some(KeyError::Invalid));
    assert_eq!(RustCryptoKey::from_pkcs8(&pkcs8).err(), Some(KeyError::Invalid));
}

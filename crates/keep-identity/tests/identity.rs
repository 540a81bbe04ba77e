// SPDX-License-Identifier: Apache-2.0

//! Keys, requests, answers and self-signed certificates, each looked at by somebody else than their maker.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use attested_request::{AttestedRequest, Form};
use evidence_crypto::RustCrypto;
use evidence_pki::{Certificate, PublicKey, Signature, SignatureAlgorithm, Signer as _, Time};
use keep_identity::{
    Binding, IdentityError, Key, MAX_ANSWER, Request, SELF_SIGNED_LIFETIME, self_signed,
};
use keep_launch::{Evidence, Platform};
use proptest::prelude::*;

const DIGEST: &str = "sha256:4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15";
const SLUG: &str = "localhost:8443/user/repo:1.2.3";
const NOW: Time = Time::from_unix(1_800_000_000);

fn key() -> Arc<Key> {
    Arc::new(Key::generate().unwrap())
}

/// Runs openssl with that on its standard input; nothing where it is not installed.
fn openssl(args: &[&str], input: &[u8]) -> Option<String> {
    let started = Command::new("openssl")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        println!("skipped: openssl is not installed");
        return None;
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_key_signs_and_its_pkcs8_is_that_key() {
    let key = key();
    let value = key.sign(b"message").unwrap();
    let public = PublicKey::from_spki(key.spki()).unwrap();
    let signature = Signature {
        message: b"message",
        algorithm: SignatureAlgorithm::EcdsaSha256,
        value: &value,
    };
    signature.verify(&RustCrypto, &public).unwrap();
    assert_ne!(key.spki(), Key::generate().unwrap().spki());
    let Some(public) = openssl(&["pkey", "-inform", "DER", "-check", "-pubout"], &key.to_pkcs8())
    else {
        return;
    };
    let blocks = evidence_pki::pem_blocks(public.as_bytes(), "PUBLIC KEY").unwrap();
    assert_eq!(blocks, [key.spki()]);
}

#[test]
fn a_key_shows_nothing_of_itself() {
    let key = key();
    let shown = format!("{key:?}");
    assert_eq!(shown, "Key { .. }");
}

#[test]
fn a_request_is_what_a_steward_reads() {
    let key = key();
    let nonce = [7; 56];
    let binding = Binding { slug: Some(SLUG), workload: Some(DIGEST), nonce: Some(&nonce) };
    let request = Request::new(Arc::clone(&key), &binding).unwrap();
    let evidence = Evidence::Made {
        platform: Platform::Snp,
        evidence: vec![1; 1184],
        endorsements: vec![("vek".into(), vec![2; 10])],
    };
    let csr = request.csr(&evidence).unwrap();
    let read = AttestedRequest::parse(&csr).unwrap();
    read.check_signature(&RustCrypto).unwrap();
    assert_eq!(read.report_data(&RustCrypto).unwrap(), request.report_data());
    assert_eq!(read.request.spki, key.spki());
    assert_eq!(read.form, Form::Bound(binding));
    assert_eq!(read.evidence, [1; 1184]);
    openssl(&["req", "-inform", "DER", "-verify", "-noout"], &csr);
}

#[test]
fn report_data_depend_on_everything_that_is_bound() {
    let key = key();
    let other = format!("sha256:{}", "0".repeat(64));
    let full = Binding { slug: Some(SLUG), workload: Some(DIGEST), nonce: Some(&[7; 56]) };
    let all = [
        full,
        Binding { slug: None, ..full },
        Binding { workload: Some(&other), ..full },
        Binding { nonce: Some(&[8; 56]), ..full },
        Binding { nonce: None, ..full },
        Binding::default(),
    ];
    let data =
        |key: &Arc<Key>, binding| Request::new(Arc::clone(key), binding).unwrap().report_data();
    let mut seen: Vec<_> = all.iter().map(|binding| data(&key, binding)).collect();
    seen.push(data(&Arc::new(Key::generate().unwrap()), &full));
    let count = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), count);
}

#[test]
fn what_cannot_be_bound_is_refused() {
    for (slug, workload) in [
        (None, Some("sha256:00")),
        (Some("no slug"), Some(DIGEST)),
        (Some(SLUG), None),
        (None, Some("md5:00")),
    ] {
        let binding = Binding { slug, workload, nonce: None };
        let refused = Request::new(key(), &binding).unwrap_err();
        assert!(matches!(refused, IdentityError::Binding(_)), "{refused}");
        assert_eq!(refused.code(), "identity.binding");
    }
}

#[test]
fn without_evidence_there_is_no_request() {
    let request = Request::new(key(), &Binding::default()).unwrap();
    let refused = request.csr(&Evidence::Refused { message: "not here".into() }).unwrap_err();
    assert_eq!(refused, IdentityError::NoEvidence("not here".into()));
    assert!(refused.remedy().contains("enarx dev init"));
}

#[test]
fn a_self_signed_certificate_has_its_names_and_proves_itself() {
    let addresses: [IpAddr; 2] = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let names = ["localhost".to_owned(), "keep.example".to_owned()];
    let identity = self_signed(key(), &names, &addresses, NOW).unwrap();
    assert!(identity.is_self_signed() && identity.claims().is_none());
    assert_eq!(identity.not_after(), NOW.plus(SELF_SIGNED_LIFETIME));
    let [leaf] = identity.chain() else { panic!("one certificate") };
    let certificate = Certificate::parse(leaf).unwrap();
    certificate.check_time(NOW).unwrap();
    certificate.signature.verify(&RustCrypto, &certificate.key).unwrap();
    assert_eq!(certificate.issuer, certificate.subject);
    assert!(!certificate.basic_constraints().unwrap().unwrap().authority);
    let Some(text) = openssl(&["x509", "-inform", "DER", "-noout", "-text"], leaf) else { return };
    for part in [
        "DNS:localhost, DNS:keep.example, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "Digital Signature",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

/// Evidence of a stand-in has a type of its own, and what comes back has to say `development`.
#[test]
fn a_request_says_which_kind_of_evidence_it_has() {
    for (platform, kind) in [
        (Platform::Development, "1.3.6.1.4.1.58270.1.1"),
        (Platform::Sgx, "1.3.6.1.4.1.58270.1.2"),
        (Platform::Snp, "1.3.6.1.4.1.58270.1.3"),
        (Platform::Tdx, "1.3.6.1.4.1.58270.1.4"),
        (Platform::DevelopmentSgx, "1.3.6.1.4.1.58270.1.17"),
    ] {
        let request = Request::new(key(), &Binding::default()).unwrap();
        let endorsements = vec![("tcb-info".to_owned(), vec![2; 3000])];
        let csr = request.csr(&Evidence::Made { platform, evidence: vec![1; 5000], endorsements });
        let csr = csr.unwrap();
        let read = AttestedRequest::parse(&csr).unwrap();
        assert_eq!(read.platform.to_string(), kind);
        assert_eq!(
            platform.is_development(),
            matches!(kind, "1.3.6.1.4.1.58270.1.1" | "1.3.6.1.4.1.58270.1.17")
        );
    }
}

#[test]
fn renewal_is_due_at_two_thirds_or_a_little_earlier() {
    let identity = |_| self_signed(key(), &[], &[], NOW).unwrap();
    let due: Vec<u64> = (0..20).map(|number: u8| identity(number).renew_at().unix()).collect();
    let identity = identity(0);
    let (from, to) = (identity.not_before().unix(), identity.not_after().unix());
    for due in &due {
        let part = (due - from) as f64 / (to - from) as f64;
        assert!((0.61..=0.67).contains(&part), "{part}");
    }
    assert!(due.iter().any(|one| one != &due[0]), "all Keeps come back together");
}

#[test]
fn answers_that_are_too_long_are_not_read() {
    let request = Request::new(key(), &Binding::default()).unwrap();
    let answer = vec![0x30; MAX_ANSWER + 1];
    let refused = request.check(&answer, Platform::Snp, &[], NOW).unwrap_err();
    assert_eq!(refused, IdentityError::TooLong);
}

#[test]
fn a_certificate_of_ones_own_is_no_answer() {
    let key = key();
    let request = Request::new(Arc::clone(&key), &Binding::default()).unwrap();
    let own = self_signed(key, &[], &[], NOW).unwrap();
    let leaf = &own.chain()[0];
    // Even if it is named as a root.
    for roots in [&[][..], &[leaf.as_slice()]] {
        let refused = request.check(leaf, Platform::Development, roots, NOW).unwrap_err();
        assert_eq!(refused.code(), "identity.chain", "{refused}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(answer: Vec<u8>) {
        let request = Request::new(key(), &Binding::default()).unwrap();
        prop_assert!(request.check(&answer, Platform::Snp, &[], NOW).is_err());
        let pem = evidence_pki::to_pem("CERTIFICATE", &answer);
        prop_assert!(request.check(pem.as_bytes(), Platform::Snp, &[], NOW).is_err());
    }

    /// A certificate with a byte changed is another one, or none.
    #[test]
    fn no_changed_certificate_is_taken(at in 0_usize..400, to: u8) {
        let key = key();
        let request = Request::new(Arc::clone(&key), &Binding::default()).unwrap();
        let mut leaf = self_signed(key, &[], &[], NOW).unwrap().chain()[0].clone();
        if let Some(byte) = leaf.get_mut(at) {
            *byte = to;
        }
        prop_assert!(request.check(&leaf, Platform::Development, &[&leaf], NOW).is_err());
    }
}

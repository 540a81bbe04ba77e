// SPDX-License-Identifier: Apache-2.0

//! Certificates, lists and requests that vendors and the published Enarx made. Skipped where the
//! recordings are not there.

use std::path::PathBuf;

use evidence_crypto::{AwsLc, Crypto, RustCrypto};
use evidence_pki::{
    Certificate, Crl, PkiError, PublicKey, Request, SignatureAlgorithm, Time, certificates, oid,
};

const BOTH: [&dyn Crypto; 2] = [&AwsLc, &RustCrypto];

/// A recorded file, or `None` and a printed reason.
fn recorded(path: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let bytes = std::fs::read(folder.join(path)).ok();
    if bytes.is_none() {
        println!("skipped: no {path} in {}; set ENARX_VECTORS", folder.display());
    }
    bytes
}

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

#[test]
fn amd_authorities_sign_each_other_and_their_lists() {
    for (product, revoked) in [("milan", 0), ("genoa", 1), ("turin", 0)] {
        let folder = format!("snp/_roots/{product}");
        let Some(ark) = recorded(&format!("{folder}/ark.der")) else { return };
        let ark = Certificate::parse(&ark).unwrap();
        assert_eq!(ark.key.bits(), 4096);
        assert_eq!(ark.signature.algorithm, SignatureAlgorithm::RsaPssSha384);
        for crypto in BOTH {
            ark.check_issued_by(crypto, &ark).unwrap();
            for name in ["ask", "asvk"] {
                let bytes = recorded(&format!("{folder}/{name}.der")).unwrap();
                let authority = Certificate::parse(&bytes).unwrap();
                authority.check_issued_by(crypto, &ark).unwrap();
                authority.check_time(time("2026-09-01T00:00:00Z")).unwrap();
                assert_eq!(
                    ark.check_issued_by(crypto, &authority),
                    Err(PkiError::WrongIssuer),
                    "the root is not issued by {name}"
                );
            }
            let list = recorded(&format!("{folder}/crl-2026-08-19.der")).unwrap();
            let list = Crl::parse(&list).unwrap();
            list.check_issued_by(crypto, &ark).unwrap();
            list.check_time(time("2026-09-01T00:00:00Z")).unwrap();
            assert_eq!(list.serials().count(), revoked);
            assert!(matches!(
                list.check_time(time("2026-11-22T00:00:00Z")),
                Err(PkiError::Expired(_))
            ));
            assert!(matches!(
                list.check_time(time("2026-08-01T00:00:00Z")),
                Err(PkiError::NotYetValid(_))
            ));
        }
    }
}

#[test]
fn the_first_genoa_authority_is_revoked_and_the_present_one_is_not() {
    let Some(list) = recorded("snp/_roots/genoa/crl-2026-08-19.der") else { return };
    let list = Crl::parse(&list).unwrap();
    assert!(list.revokes(&[0x02, 0x00, 0x01]));
    let ask = recorded("snp/_roots/genoa/ask.der").unwrap();
    assert!(!list.revokes(Certificate::parse(&ask).unwrap().serial));
}

#[test]
fn a_chip_certificate_has_the_serial_zero() {
    for name in
        ["milan-v2-virtee", "milan-v3-oak-oc-staging", "genoa-v5-lunal", "turin-v5-microsoft"]
    {
        let Some(vek) = recorded(&format!("snp/{name}/vek.der")) else { return };
        let vek = Certificate::parse(&vek).unwrap();
        assert_eq!(vek.serial, b"");
        assert_eq!(vek.common_name(), Some("SEV-VCEK"));
        assert!(matches!(vek.key, PublicKey::P384(_)));
        let product = name.split('-').next().unwrap();
        let ask = recorded(&format!("snp/_roots/{product}/ask.der")).unwrap();
        let ask = Certificate::parse(&ask).unwrap();
        for crypto in BOTH {
            vek.check_issued_by(crypto, &ask).unwrap();
        }
    }
}

#[test]
fn intel_root_signs_itself() {
    let Some(pem) = recorded("dcap/_roots/Intel_SGX_Provisioning_Certification_RootCA.pem") else {
        return;
    };
    let list = certificates(&pem).unwrap();
    assert_eq!(list.len(), 1);
    let root = Certificate::parse(&list[0]).unwrap();
    assert_eq!(root.common_name(), Some("Intel SGX Root CA"));
    for crypto in BOTH {
        root.check_issued_by(crypto, &root).unwrap();
    }
    // The same certificate, in DER and in a list.
    assert_eq!(certificates(&list[0]).unwrap(), list);
    let mut sequence = vec![0x30, 0x82];
    sequence.extend(u16::try_from(list[0].len()).unwrap().to_be_bytes());
    sequence.extend_from_slice(&list[0]);
    assert_eq!(certificates(&sequence).unwrap(), list);
}

#[test]
fn published_requests_are_signed_by_their_keys() {
    for (name, p384) in [("milan-snp", true), ("icelake-sgx-xeon", false)] {
        let Some(request) = recorded(&format!("enarx/{name}.csr.der")) else { return };
        let request = Request::parse(&request).unwrap();
        assert_eq!(matches!(request.key, PublicKey::P384(_)), p384);
        assert_eq!(request.extensions().unwrap().len(), 1);
        assert!(request.attribute(oid::ATTESTATION).is_none());
        for crypto in BOTH {
            request.check_signature(crypto).unwrap();
        }
    }
}

#[test]
fn the_sample_of_the_draft_is_not_signed_by_its_key() {
    let Some(pem) = recorded("csr/lamps-tcgAttestTpmCertify.csr.pem") else { return };
    let blocks = evidence_pki::pem_blocks(&pem, "CERTIFICATE REQUEST").unwrap();
    let request = Request::parse(&blocks[0]).unwrap();
    assert!(request.attribute(oid::ATTESTATION).is_some());
    for crypto in BOTH {
        request.check_signature(crypto).unwrap_err();
    }
}

#[test]
fn every_changed_bit_of_a_certificate_is_found() {
    let Some(bytes) = recorded("snp/milan-v2-virtee/vek.der") else { return };
    let ask = recorded("snp/_roots/milan/ask.der").unwrap();
    let ask = Certificate::parse(&ask).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let verified =
            Certificate::parse(&changed).and_then(|vek| vek.check_issued_by(&AwsLc, &ask));
        assert!(verified.is_err(), "a change of byte {at} goes unnoticed");
    }
    for length in 0..bytes.len() {
        Certificate::parse(&bytes[..length]).unwrap_err();
    }
}

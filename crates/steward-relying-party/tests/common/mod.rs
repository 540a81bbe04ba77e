// SPDX-License-Identifier: Apache-2.0

//! A Steward for tests: a root, an intermediate, and leaves as `docs/certificate-profile.md` has them.

use evidence_testkit::certificate::{CertificateBuilder, usage};
use evidence_testkit::der_writer::Der;
use evidence_testkit::keys::Key;
use evidence_testkit::{DAY, NOW};
use steward_relying_party::{CertificateClaims, Workload};

/// The kind of the claims extension.
pub(crate) const CLAIMS: &str = "1.3.6.1.4.1.58270.2.1";

/// Root and intermediate.
pub(crate) struct Steward {
    pub(crate) root_key: Key,
    pub(crate) root: Vec<u8>,
    pub(crate) key: Key,
    pub(crate) certificate: Vec<u8>,
}

impl Steward {
    pub(crate) fn new() -> Self {
        let (root_key, key) = (Key::p384(), Key::p384());
        let mut steward = Self { root_key, root: Vec::new(), key, certificate: Vec::new() };
        steward.root = steward.root_builder().sign(&steward.root_key);
        steward.certificate = steward.intermediate().sign(&steward.root_key);
        steward
    }

    pub(crate) fn root_builder(&self) -> CertificateBuilder {
        let subject = name("Steward root");
        CertificateBuilder::new(&subject, &subject, self.root_key.spki())
            .basic_constraints(true, Some(1))
            .key_usage(usage::CERTIFICATES_AND_CRLS)
    }

    pub(crate) fn intermediate(&self) -> CertificateBuilder {
        CertificateBuilder::new(&name("Steward root"), &name("Steward"), self.key.spki())
            .basic_constraints(true, Some(0))
            .key_usage(usage::CERTIFICATES_AND_CRLS)
    }
}

/// A leaf for that key, to be signed by the Steward's.
pub(crate) fn leaf(steward: &Steward, key: &Key, claims: &CertificateClaims) -> CertificateBuilder {
    let names = Der::build(|der| {
        der.sequence(|der| {
            der.implicit(2, b"keep.example.com");
            if let Some(workload) = &claims.workload {
                der.implicit(6, workload.digest_uri().as_bytes());
            }
        });
    });
    CertificateBuilder::new(&name("Steward"), &name("snp Keep"), key.spki())
        .validity(NOW.minus(DAY), NOW.plus(28 * DAY))
        .basic_constraints(false, None)
        .key_usage(0x80)
        .extension("2.5.29.37", false, usages(&["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]))
        .subject_key_id(&key.identifier())
        .authority_key_id(&steward.key.identifier())
        .extension("2.5.29.17", false, names)
        .extension(CLAIMS, false, claims.to_der().unwrap())
}

/// `extKeyUsage`.
pub(crate) fn usages(list: &[&str]) -> Vec<u8> {
    Der::build(|der| {
        der.sequence(|der| {
            for usage in list {
                der.oid(usage);
            }
        });
    })
}

/// A DER `Name` of one common name.
pub(crate) fn name(common_name: &str) -> Vec<u8> {
    Der::build(|der| {
        der.sequence(|der| {
            der.set(|der| {
                der.sequence(|der| {
                    der.oid("2.5.4.3").utf8(common_name);
                });
            });
        });
    })
}

/// What a Steward verified an hour ago.
pub(crate) fn claims() -> CertificateClaims {
    let digest = format!("sha256:{}", "40".repeat(32));
    CertificateClaims {
        platform: "snp".to_owned(),
        product: "Milan".to_owned(),
        measurement: vec![0xaa; 48],
        signer: Some(vec![0x51; 48]),
        tcb_status: None,
        advisories: Vec::new(),
        svns: vec![("reported.snp".to_owned(), 24)],
        debug: false,
        workload: Some(Workload::new(None, &digest).unwrap()),
        policy: [0x55; 32],
        policy_url: None,
        evaluation_number: None,
        verified_at: NOW.minus(3600),
        fresh: true,
    }
}

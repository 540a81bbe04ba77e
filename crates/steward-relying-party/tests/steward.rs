// SPDX-License-Identifier: Apache-2.0

//! What the Steward's own code issues is what this library accepts.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use evidence_crypto::AwsLc;
use evidence_pki::Certificate;
use evidence_testkit::{DAY, NOW};
use steward_core::certificate::{Issuer, Profile, Template, name};
use steward_core::{PemKey, Signer, SigningAlgorithm};
use steward_relying_party::{Demands, check};

#[test]
fn a_stewards_certificates_are_accepted() {
    for algorithm in [SigningAlgorithm::EcdsaP256Sha256, SigningAlgorithm::EcdsaP384Sha384] {
        let [root_key, key, keep_key] = [(); 3].map(|()| PemKey::generate(algorithm).unwrap());
        let subjects = ["Root", "Steward", "snp Keep aa"].map(|text| name(None, text));
        let template = |subject, key, profile| Template {
            random: [0xa5; 16],
            subject,
            public_key: key,
            not_before: NOW,
            not_after: NOW.plus(DAY),
            profile,
        };
        let authority = |path_length| Profile::Authority { path_length };
        let root = template(&subjects[0], root_key.public_key(), authority(1));
        let root = root.self_sign(&AwsLc, &root_key).unwrap();
        let issuer = |der: &[u8]| Issuer::of(&AwsLc, &Certificate::parse(der).unwrap()).unwrap();
        let steward = template(&subjects[1], key.public_key(), authority(0));
        let steward = steward.sign(&AwsLc, &issuer(&root), &root_key).unwrap();
        let claims = common::claims();
        let profile = Profile::Keep {
            dns_names: &["keep.example.com".to_owned()],
            uris: &[claims.workload.as_ref().unwrap().digest_uri()],
            claims: &claims.to_der().unwrap(),
        };
        let keep = template(&subjects[2], keep_key.public_key(), profile);
        let keep = keep.sign(&AwsLc, &issuer(&steward), &key).unwrap();
        let found = check(&keep, &[&steward], &Demands::new(), NOW, &AwsLc, &[&root]);
        assert_eq!(found.unwrap(), claims);
    }
}

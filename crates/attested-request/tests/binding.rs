// SPDX-License-Identifier: Apache-2.0

//! `docs/binding.md` says the truth: its worked example is computed again here.

use attested_request::RequestRefusal;
use attested_request::binding::{Binding, form_1, form_2};
use evidence_claims::statement;
use evidence_crypto::{AwsLc, Crypto, RustCrypto};
use evidence_pki::PublicKey;
use evidence_testkit::keys::Key;

/// The fenced blocks of the worked example, in order.
fn blocks() -> Vec<String> {
    let page = include_str!("../../../docs/binding.md");
    let (_, example) = page.split_once("## Worked example").unwrap();
    let mut parts = example.split("```");
    let mut blocks = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        blocks.push(block.split_once('\n').unwrap().1.to_owned());
    }
    blocks
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

#[test]
fn the_worked_example_is_right() {
    let blocks = blocks();
    let [spki, names, nonce, full, bare, first] = blocks.as_slice() else {
        panic!("the example has {} blocks", blocks.len())
    };
    let (spki, nonce) = (hex(spki), hex(nonce));
    let (slug, workload) = names.trim().split_once('\n').unwrap();
    let key = PublicKey::from_spki(&spki).unwrap();
    assert!(matches!(key, PublicKey::P256(_)));
    let binding =
        Binding { slug: Some(slug), workload: Some(workload), nonce: Some(nonce.as_slice()) };
    let named = binding.workload().unwrap().unwrap();
    assert_eq!((named.slug(), named.digest()), (Some(slug), workload));
    for crypto in [&AwsLc as &dyn Crypto, &RustCrypto] {
        assert_eq!(form_2(crypto, &spki, &binding).as_slice(), hex(full));
        assert_eq!(form_2(crypto, &spki, &Binding::default()).as_slice(), hex(bare));
        for platform in [statement::SGX, statement::TDX] {
            let data = form_1(crypto, platform, &key, &spki).unwrap();
            assert_eq!(data.as_slice(), hex(first));
        }
    }
}

#[test]
fn no_part_of_a_binding_can_pass_for_another() {
    let of = |slug, workload, nonce| form_2(&AwsLc, b"key", &Binding { slug, workload, nonce });
    let all = [
        of(None, None, None),
        of(Some("a"), None, None),
        of(None, Some("a"), None),
        of(None, None, Some(b"a")),
        of(Some("ab"), None, None),
        of(Some("a"), Some("b"), None),
        form_2(&AwsLc, b"keya", &Binding::default()),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[..index].contains(one), "{index}");
    }
    // Absent and empty are the same; a statement cannot say an empty slug or digest anyway.
    assert_eq!(of(None, None, Some(b"")), of(None, None, None));
}

#[test]
fn form_1_goes_with_one_curve_for_each_type_of_evidence() {
    let (p256, p384) = (Key::p256().spki(), Key::p384().spki());
    for (platform, good, bad, curve, hash) in [
        (statement::SNP, &p384, &p256, "P-384", 48),
        (statement::DEVELOPMENT, &p384, &p256, "P-384", 48),
        (statement::SGX, &p256, &p384, "P-256", 32),
        (statement::TDX, &p256, &p384, "P-256", 32),
    ] {
        let of = |spki| form_1(&AwsLc, platform, &PublicKey::from_spki(spki).unwrap(), spki);
        let data = of(good).unwrap();
        assert_ne!(data[..hash], [0; 64][..hash]);
        assert_eq!(data[hash..], [0; 64][hash..]);
        assert_eq!(of(bad), Err(RequestRefusal::KeyType(curve)));
    }
    let key = PublicKey::from_spki(&p384).unwrap();
    let refused = form_1(&AwsLc, statement::BOUND, &key, &p384);
    assert_eq!(refused, Err(RequestRefusal::StatementType(statement::BOUND)));
}

// SPDX-License-Identifier: Apache-2.0

//! `docs/binding.md` says the truth: its worked example is computed again here.

mod common;

use std::sync::Arc;

use common::{Library, P256, POLICY, setup};
use evidence_claims::statement;
use evidence_pki::{PublicKey, Time};
use steward_core::binding::{Binding, form_1, form_2};
use steward_core::{Authority, NONCE_SIZE};
use zeroize::Zeroizing;

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
    for library in Library::ALL {
        let crypto = library.crypto();
        let crypto = Arc::as_ref(&crypto);
        assert_eq!(form_2(crypto, &spki, &binding).as_slice(), hex(full));
        assert_eq!(form_2(crypto, &spki, &Binding::default()).as_slice(), hex(bare));
        for platform in [statement::SGX, statement::TDX] {
            let data = form_1(crypto, platform, &key, &spki).unwrap();
            assert_eq!(data.as_slice(), hex(first));
        }
        let mut setup = setup(library, &P256, POLICY);
        setup.nonce_key = Some(Zeroizing::new(core::array::from_fn(|index| index as u8)));
        let authority = Authority::new(setup).unwrap();
        let made = authority.nonce(Time::from_unix(1_800_000_000), [0x5a; 16]).unwrap();
        assert_eq!(made.as_bytes().len(), NONCE_SIZE);
        assert_eq!(made.as_bytes().as_slice(), nonce);
    }
}

#[test]
fn no_part_of_a_binding_can_pass_for_another() {
    let crypto = Library::AwsLc.crypto();
    let crypto = Arc::as_ref(&crypto);
    let of = |slug, workload, nonce| form_2(crypto, b"key", &Binding { slug, workload, nonce });
    let all = [
        of(None, None, None),
        of(Some("a"), None, None),
        of(None, Some("a"), None),
        of(None, None, Some(b"a")),
        of(Some("ab"), None, None),
        of(Some("a"), Some("b"), None),
        form_2(crypto, b"keya", &Binding::default()),
    ];
    for (index, one) in all.iter().enumerate() {
        assert!(!all[..index].contains(one), "{index}");
    }
    // Absent and empty are the same; a statement cannot say an empty slug or digest anyway.
    assert_eq!(of(None, None, Some(b"")), of(None, None, None));
}

// SPDX-License-Identifier: Apache-2.0

//! Whatever comes in: no panic, and no certificate for a key that the evidence does not speak for.

mod common;

use std::sync::LazyLock;

use common::{Library, SLUG, WORKLOAD, authority, bound, published, spki};
use evidence_testkit::NOW;
use evidence_testkit::csr::RequestBuilder;
use evidence_testkit::keys::Key;
use evidence_testkit::statement::{Binding, oid};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use steward_core::{AttestedRequest, Authority};

static STEWARD: LazyLock<Authority> = LazyLock::new(|| authority(Library::AwsLc));

/// A good request in each form, with its statement and its key.
struct Good {
    csr: Vec<u8>,
    place: fn(&[u8]) -> RequestBuilder,
    statement: Vec<u8>,
    key: Key,
}

static GOOD: LazyLock<[Good; 2]> = LazyLock::new(|| {
    let (one, other) = (Key::p384(), Key::p256());
    let binding = Binding { slug: Some(SLUG), workload: Some(WORKLOAD), nonce: None };
    [
        Good {
            csr: published(&one),
            place: |statement| RequestBuilder::new().extension(oid::SNP, false, statement),
            statement: common::snp_statement(&one),
            key: one,
        },
        Good {
            csr: bound(&other, binding),
            place: |statement| RequestBuilder::new().attestation(oid::BOUND, statement),
            statement: common::bound_statement(&other, binding),
            key: other,
        },
    ]
});

/// Changes, insertions, removals and cuts.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    Copy(Index, Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => (any::<Index>(), any::<Index>(), any::<u8>())
            .prop_map(|(from, to, length)| Change::Copy(from, to, length)),
    ];
    vec(change, 1..4)
}

fn change(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for change in changes {
        let size = out.len();
        if size == 0 {
            break;
        }
        match change {
            Change::Set(at, byte) => out[at.index(size)] = *byte,
            Change::Insert(at, byte) => out.insert(at.index(size), *byte),
            Change::Remove(at) => {
                out.remove(at.index(size));
            }
            Change::Cut(at) => out.truncate(at.index(size)),
            Change::Copy(from, to, length) => {
                let (from, to) = (from.index(size), to.index(size));
                let length = usize::from(*length).min(size - from.max(to));
                out.copy_within(from..from + length, to);
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_refused(bytes in vec(any::<u8>(), 0..2000)) {
        prop_assert!(STEWARD.issue(&bytes, NOW, [1; 16]).is_err());
        prop_assert!(STEWARD.issue_bundle(&bytes, NOW, &mut || [1; 16]).is_err());
    }

    #[test]
    fn a_changed_request_yields_no_certificate_for_another_key(
        which in 0_usize..2,
        changes in changes(),
    ) {
        let good = &GOOD[which];
        let csr = change(&good.csr, &changes);
        if let Ok(issued) = STEWARD.issue(&csr, NOW, [1; 16]) {
            prop_assert_eq!(spki(issued.leaf()), good.key.spki());
        }
    }

    /// Here the request is signed again, so that the change is in what is read after the signature.
    #[test]
    fn a_changed_statement_speaks_for_no_other_key(
        which in 0_usize..2,
        own in any::<bool>(),
        changes in changes(),
    ) {
        static OTHER: LazyLock<[Key; 2]> = LazyLock::new(|| [Key::p384(), Key::p256()]);
        let good = &GOOD[which];
        let key = if own { &good.key } else { &OTHER[which] };
        let csr = (good.place)(&change(&good.statement, &changes)).sign(key);
        let _ = AttestedRequest::parse(&csr);
        if let Ok(issued) = STEWARD.issue(&csr, NOW, [1; 16]) {
            prop_assert!(own);
            prop_assert_eq!(spki(issued.leaf()), good.key.spki());
            let workload = issued.claims().workload.as_ref().map(|workload| workload.digest());
            prop_assert_eq!(workload, (which == 1).then_some(WORKLOAD));
        }
    }

    #[test]
    fn a_changed_bundle_makes_no_panic(changes in changes()) {
        let bundle = evidence_testkit::der_writer::Der::build(|der| {
            der.sequence(|der| {
                der.raw(&GOOD[0].csr).raw(&GOOD[1].csr);
            });
        });
        let _ = STEWARD.issue_bundle(&change(&bundle, &changes), NOW, &mut || [1; 16]);
    }
}

#[test]
fn the_good_requests_are_good() {
    for good in GOOD.iter() {
        let issued = STEWARD.issue(&good.csr, NOW, [1; 16]).unwrap();
        assert_eq!(spki(issued.leaf()), good.key.spki());
        let again = (good.place)(&good.statement).sign(&good.key);
        assert!(STEWARD.issue(&again, NOW, [1; 16]).is_ok());
    }
}

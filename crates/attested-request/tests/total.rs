// SPDX-License-Identifier: Apache-2.0

//! Whatever comes in: no panic. And what a binding says comes out again.

mod common;

use std::sync::LazyLock;

use attested_request::attester::{
    Place, bound_statement, quote_statement, report_statement, request,
};
use attested_request::{AttestedRequest, Binding, Form, split_bundle};
use common::{SLUG, TestKey, WORKLOAD};
use evidence_claims::statement;
use evidence_crypto::AwsLc;
use evidence_testkit::keys::Key;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

static KEY: LazyLock<TestKey> = LazyLock::new(|| TestKey::new(Key::p384()));

/// A good request of each form.
static GOOD: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    let crls = [("https://crl.example", &[0x30, 0][..])];
    let binding = Binding { slug: Some(SLUG), workload: Some(WORKLOAD), nonce: Some(&[7; 56]) };
    let report = report_statement(statement::SNP, &[0x30, 0], &crls, &[1; 64]);
    let quote = quote_statement(statement::TDX, &[1; 64], &crls, &[&[0x30, 0]], b"{}");
    let bound = bound_statement(statement::SGX, &[1; 64], &[("crl", &[0x30, 0])], &binding);
    [(report, Place::Extension), (quote, Place::Attribute), (bound, Place::Attribute)]
        .map(|(statement, place)| request(&*KEY, &statement, place).unwrap())
});

fn read(csr: &[u8]) {
    if let Ok(read) = AttestedRequest::parse(csr) {
        let _ = read.report_data(&AwsLc);
        let _ = read.check_signature(&AwsLc);
    }
    let _ = split_bundle(csr);
}

proptest! {
    #[test]
    fn arbitrary_bytes_make_no_panic(bytes in vec(any::<u8>(), 0..256)) {
        read(&bytes);
    }

    #[test]
    fn changed_requests_make_no_panic(
        which in 0_usize..3,
        changes in vec((any::<Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut csr = GOOD[which].clone();
        for (at, byte) in &changes {
            let at = at.index(csr.len());
            csr[at] = *byte;
        }
        if let Some(cut) = cut {
            csr.truncate(cut.index(csr.len()));
        }
        read(&csr);
    }

    #[test]
    fn each_binding_reads_as_it_was_written(
        digest in proptest::option::of("sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}"),
        slug in proptest::option::of("[a-z]{1,8}/[a-z-]{1,8}(:[0-9.]{1,5})?"),
        nonce in proptest::option::of(vec(any::<u8>(), 0..300)),
        evidence in vec(any::<u8>(), 1..300),
    ) {
        let slug = slug.filter(|_| digest.is_some());
        let binding =
            Binding { slug: slug.as_deref(), workload: digest.as_deref(), nonce: nonce.as_deref() };
        let statement = bound_statement(statement::TDX, &evidence, &[], &binding);
        let csr = request(&*KEY, &statement, Place::Attribute).unwrap();
        let read = AttestedRequest::parse(&csr).unwrap();
        prop_assert_eq!(read.form, Form::Bound(binding));
        prop_assert_eq!(read.evidence, evidence);
    }
}

#[test]
fn the_good_requests_are_good() {
    for csr in GOOD.iter() {
        AttestedRequest::parse(csr).unwrap().check_signature(&AwsLc).unwrap();
    }
}

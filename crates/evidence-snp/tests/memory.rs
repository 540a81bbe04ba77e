// SPDX-License-Identifier: Apache-2.0

//! VEKs already seen: what is remembered saves work and changes no verdict.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evidence_claims::{Claims, Endorsements, Time, kind};
use evidence_crypto::{AwsLc, BadSignature, Crypto, Scheme};
use evidence_snp::{Snp, SnpRefusal};
use evidence_testkit::amd::{Amd, Product};
use evidence_testkit::{DAY, NOW};
use support::{bag, of, roots_of};

/// Counts the signatures that are checked.
#[derive(Debug, Default)]
struct Counting {
    rsa: AtomicUsize,
    ecdsa: AtomicUsize,
}

impl Counting {
    /// RSA and ECDSA signatures checked since the last call.
    fn take(&self) -> (usize, usize) {
        (self.rsa.swap(0, Ordering::Relaxed), self.ecdsa.swap(0, Ordering::Relaxed))
    }
}

impl Crypto for Counting {
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        AwsLc.sha256(parts)
    }

    fn sha384(&self, parts: &[&[u8]]) -> [u8; 48] {
        AwsLc.sha384(parts)
    }

    fn sha512(&self, parts: &[&[u8]]) -> [u8; 64] {
        AwsLc.sha512(parts)
    }

    fn hmac_sha256(&self, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        AwsLc.hmac_sha256(key, parts)
    }

    fn verify(
        &self,
        scheme: Scheme,
        key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let counter = if scheme == Scheme::RsaPssSha384 { &self.rsa } else { &self.ecdsa };
        counter.fetch_add(1, Ordering::Relaxed);
        AwsLc.verify(scheme, key, message, signature)
    }
}

fn verifier() -> (Arc<Counting>, Snp) {
    let counting = Arc::new(Counting::default());
    let snp = Snp::with_roots(Arc::clone(&counting) as Arc<dyn Crypto>, roots_of(Amd::get()));
    (counting, snp)
}

/// The verdict, for comparison; claims have none of their own.
fn verdict(result: Result<Claims, SnpRefusal>) -> String {
    format!("{result:?}")
}

#[test]
fn a_vek_already_seen_costs_one_signature() {
    let sample = Amd::get().sample(Product::Milan, 3);
    let (counting, snp) = verifier();
    let first = snp.verify_report(&sample.report, &of(&sample), NOW);
    assert!(first.is_ok());
    // ASK, VEK and list; report.
    assert_eq!(counting.take(), (3, 1));
    let second = snp.verify_report(&sample.report, &of(&sample), NOW);
    assert_eq!(counting.take(), (0, 1));
    assert_eq!(verdict(first), verdict(second));
    // The built-in ASK, named or not, was checked once and for all; the key is that of other bytes.
    let named =
        bag(&[(kind::VEK, &sample.vek), (kind::ASK, &sample.issuer), (kind::CRL, &sample.crl)]);
    assert!(snp.verify_report(&sample.report, &named, NOW).is_ok());
    assert_eq!(counting.take(), (2, 1));
    // Another list is another key, also if it says the same.
    let other = Amd::get().crl_builder(Product::Milan).number(12).sign(Amd::get().ark_key());
    let other = bag(&[(kind::VEK, &sample.vek), (kind::CRL, &other)]);
    assert!(snp.verify_report(&sample.report, &other, NOW).is_ok());
    assert_eq!(counting.take(), (2, 1));
    // Endorsements of other kinds have no part in a chain.
    let more = bag(&[(kind::TCB_INFO, b"{}"), (kind::VEK, &sample.vek), (kind::CRL, &sample.crl)]);
    assert!(snp.verify_report(&sample.report, &more, NOW).is_ok());
    assert_eq!(counting.take(), (0, 1));
    // A forgetful verifier does it all each time.
    let snp = snp.forgetful();
    for _ in 0..2 {
        assert!(snp.verify_report(&sample.report, &of(&sample), NOW).is_ok());
        assert_eq!(counting.take(), (2, 1));
    }
}

#[test]
fn a_list_of_the_same_length_is_not_taken_for_the_one_seen() {
    let sample = Amd::get().sample(Product::Milan, 3);
    let (_, snp) = verifier();
    assert!(snp.verify_report(&sample.report, &of(&sample), NOW).is_ok());
    for at in [sample.crl.len() - 1, sample.crl.len() / 4] {
        let mut crl = sample.crl.clone();
        crl[at] ^= 1;
        let bag = bag(&[(kind::VEK, &sample.vek), (kind::CRL, &crl)]);
        assert!(snp.verify_report(&sample.report, &bag, NOW).is_err());
    }
    // Bytes that move from one endorsement to its neighbour.
    let (vek, rest) = sample.vek.split_at(sample.vek.len() - 1);
    let moved = [rest, &sample.crl].concat();
    let bag = bag(&[(kind::VEK, vek), (kind::CRL, &moved)]);
    assert!(snp.verify_report(&sample.report, &bag, NOW).is_err());
}

/// Whatever was seen before, the verdict is that of a verifier that has seen nothing.
#[test]
fn the_time_of_a_verdict_is_that_of_the_question() {
    let amd = Amd::get();
    let sample = amd.sample(Product::Milan, 3);
    let list = |number, from: Time, to: Time, revoked: &[&[u8]]| {
        let mut list = evidence_testkit::certificate::CrlBuilder::new(
            &evidence_testkit::amd::amd_name("ARK-Milan"),
            from,
            to,
        )
        .number(number);
        for serial in revoked {
            list = list.revoke(serial);
        }
        list.sign(amd.ark_key())
    };
    let ask = amd.ask_serial(Product::Milan);
    // A newer list, not yet in force, revokes the ASK; an even newer one has ended already.
    let newer = list(11, NOW.plus(DAY), NOW.plus(9 * DAY), &[&ask]);
    let ended = list(12, NOW.minus(9 * DAY), NOW.minus(DAY), &[]);
    let bag = bag(&[
        (kind::VEK, &sample.vek),
        (kind::CRL, &newer),
        (kind::CRL, &sample.crl),
        (kind::CRL, &ended),
    ]);
    let (counting, snp) = verifier();
    let (_, fresh) = verifier();
    let fresh = fresh.forgetful();
    let ask_of = |snp: &Snp, now| snp.verify_report(&sample.report, &bag, now);
    for days in [0, 0, 36, 0] {
        // Days before and after, to the second.
        for seconds in [0, DAY - 1, DAY, DAY + 1] {
            let now = NOW.plus(days * DAY).plus(seconds);
            assert_eq!(verdict(ask_of(&snp, now)), verdict(ask_of(&fresh, now)), "{now}");
            let now = NOW.plus(days * DAY).minus(seconds);
            assert_eq!(verdict(ask_of(&snp, now)), verdict(ask_of(&fresh, now)), "{now}");
        }
    }
    assert!(ask_of(&snp, NOW).is_ok());
    counting.take();
    let code = |now| ask_of(&snp, now).unwrap_err();
    assert!(ask_of(&snp, NOW).is_ok());
    assert_eq!(counting.take(), (0, 1), "of several lists the choice is remembered, too");
    assert_eq!(code(NOW.plus(DAY)), SnpRefusal::AskRevoked);
    assert!(ask_of(&snp, NOW.plus(DAY - 1)).is_ok());
    assert_eq!(
        code(NOW.minus(101 * DAY)).to_string(),
        ask_of(&fresh, NOW.minus(101 * DAY)).unwrap_err().to_string()
    );
}

#[test]
fn what_the_report_says_of_its_key_is_asked_each_time() {
    let amd = Amd::get();
    let sample = amd.sample(Product::Milan, 3);
    let (_, snp) = verifier();
    let (_, fresh) = verifier();
    let fresh = fresh.forgetful();
    let bag: Endorsements<'_> = of(&sample);
    assert!(snp.verify_report(&sample.report, &bag, NOW).is_ok());
    for (report, code) in [
        (amd.report(Product::Milan, 3).vlek(), "snp.vek-name"),
        (amd.report(Product::Milan, 3).cpuid(Product::Genoa.cpuid()), "snp.product-mismatch"),
        (amd.report(Product::Turin, 5), "snp.product-mismatch"),
        (amd.report(Product::Milan, 3).chip_id(&[7; 64]), "snp.chip-id"),
    ] {
        let report = report.sign(amd.vek_key());
        let refusal = snp.verify_report(&report, &bag, NOW).unwrap_err();
        assert_eq!(support::code(&refusal), code);
        assert_eq!(refusal, fresh.verify_report(&report, &bag, NOW).unwrap_err());
    }
    // A report of version 2 takes the product from the VEK, also from memory.
    let old = amd.report(Product::Milan, 2).sign(amd.vek_key());
    assert!(snp.verify_report(&old, &bag, NOW).is_ok());
}

// SPDX-License-Identifier: Apache-2.0

//! Whatever comes in, there is a verdict; and what was changed after it was signed never verifies.

mod support;

use std::sync::LazyLock;

use evidence_claims::{Endorsements, Format, Time, kind};
use evidence_snp::{Development, Snp};
use evidence_testkit::NOW;
use evidence_testkit::amd::{Amd, Product, SnpSample};
use evidence_testkit::keys::Key;
use proptest::prelude::*;
use support::{aws, bag, of, roots_of, synthetic};

static SNP: LazyLock<Snp> = LazyLock::new(|| synthetic(aws()));
static SAMPLES: LazyLock<Vec<SnpSample>> = LazyLock::new(|| {
    let amd = Amd::get();
    let all = Product::ALL.into_iter();
    all.flat_map(|product| [amd.sample(product, 5), amd.sample_vlek(product, 3)]).collect()
});

/// Evidence whose intermediate is not the built-in one, so that it is needed.
static NEW_ASK: LazyLock<SnpSample> = LazyLock::new(|| {
    let (amd, key) = (Amd::get(), Key::rsa());
    let ask = amd.ask(Product::Milan).spki(key.spki()).serial(&[1, 0, 7]).sign(amd.ark_key());
    let vek = amd.vcek(Product::Milan).sign(&key);
    SnpSample { issuer: ask, vek, ..amd.sample(Product::Milan, 3) }
});

/// Asks for everything that can be asked.
fn ask(format: &dyn Format, report: &[u8], bag: &Endorsements<'_>, now: Time) -> bool {
    let verdict = format.verify(report, bag, now);
    let checks = format.examine(report, bag, now);
    let first = support::first_failure(&checks);
    assert_eq!(first, verdict.as_ref().err().map(|refusal| refusal.code()), "{checks:?}");
    let _ = format.fields(report);
    verdict.is_ok()
}

fn flip(bytes: &[u8], at: prop::sample::Index, mask: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = at.index(bytes.len());
    bytes[at] ^= mask;
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_have_a_verdict(
        mut report in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..1300),
            prop::collection::vec(any::<u8>(), 1184..=1184),
        ],
        version in 0_u8..8,
        vek in prop::collection::vec(any::<u8>(), 0..200),
        crl in prop::collection::vec(any::<u8>(), 0..200),
        now in any::<u64>(),
    ) {
        // Beyond the first check, more often than by chance.
        for (at, byte) in [version, 0, 0, 0].into_iter().enumerate() {
            if let Some(place) = report.get_mut(at) {
                *place = byte;
            }
        }
        let bag = bag(&[(kind::VEK, &vek), (kind::CRL, &crl), (kind::ASK, &crl)]);
        prop_assert!(!ask(&*SNP, &report, &bag, Time::from_unix(now)));
        let development = Development::new(aws(), vec![vek.clone()]);
        prop_assert!(!ask(&development, &report, &bag, Time::from_unix(now)));
    }

    #[test]
    fn a_changed_report_never_verifies(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..,
    ) {
        let sample = which.get(&SAMPLES);
        prop_assert!(ask(&*SNP, &sample.report, &of(sample), NOW));
        let report = flip(&sample.report, at, mask);
        prop_assert!(!ask(&*SNP, &report, &of(sample), NOW));
    }

    #[test]
    fn changed_endorsements_never_verify(
        which in 0_usize..3,
        at in any::<prop::sample::Index>(),
        mask in 1_u8..,
    ) {
        let mut sample = NEW_ASK.clone();
        let good = [(kind::VEK, &sample.vek[..]), (kind::ASK, &sample.issuer), (kind::CRL, &sample.crl)];
        prop_assert!(ask(&*SNP, &sample.report, &bag(&good), NOW));
        let part = match which {
            0 => &mut sample.vek,
            1 => &mut sample.issuer,
            _ => &mut sample.crl,
        };
        *part = flip(part, at, mask);
        let bad = [(kind::VEK, &sample.vek[..]), (kind::ASK, &sample.issuer), (kind::CRL, &sample.crl)];
        prop_assert!(!ask(&*SNP, &sample.report, &bag(&bad), NOW));
    }

    #[test]
    fn cut_endorsements_never_verify(which in 0_usize..3, at in any::<prop::sample::Index>()) {
        let sample = &*NEW_ASK;
        let mut parts = [&sample.vek[..], &sample.issuer, &sample.crl];
        parts[which] = &parts[which][..at.index(parts[which].len())];
        let list = [(kind::VEK, parts[0]), (kind::ASK, parts[1]), (kind::CRL, parts[2])];
        prop_assert!(!ask(&*SNP, &sample.report, &bag(&list), NOW));
    }

    #[test]
    fn any_roots_are_taken_and_refuse(
        ark in prop::collection::vec(any::<u8>(), 0..64),
        at in any::<prop::sample::Index>(),
        mask in 1_u8..,
    ) {
        let sample = &SAMPLES[0];
        let mut roots = roots_of(Amd::get());
        roots[0].ark = ark;
        prop_assert!(!ask(&Snp::with_roots(aws(), roots), &sample.report, &of(sample), NOW));
        // A root is trusted as it is given, so a changed one may still do; but there is a verdict.
        let mut roots = roots_of(Amd::get());
        roots[0].ark = flip(&roots[0].ark, at, mask);
        ask(&Snp::with_roots(aws(), roots), &sample.report, &of(sample), NOW);
    }
}

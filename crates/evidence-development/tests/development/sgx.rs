// SPDX-License-Identifier: Apache-2.0

//! What a stand-in of SGX quotes.

use std::sync::{Arc, LazyLock};

use evidence_claims::{
    Claims, Detail, Endorsements, Format, Outcome, PckAuthority, Platform, Reason, TcbStatus, Time,
    kind,
};
use evidence_crypto::{AwsLc, Crypto, RustCrypto};
use evidence_dcap::{DcapRefusal, Quote, Sgx, SgxDevelopment};
use evidence_development::{Root, SgxPlatform};
use evidence_pki::certificates;
use evidence_testkit::intel::{Intel, QuoteKind};
use proptest::prelude::*;

use crate::{DAY, NOW, collateral, enclave, put, root};

fn accepting(crypto: Arc<dyn Crypto>, root: &Root) -> SgxDevelopment {
    SgxDevelopment::new(crypto, vec![root.certificate_der().to_vec()])
}

fn verify(
    root: &Root,
    quote: &[u8],
    endorsements: &Endorsements<'_>,
    now: Time,
) -> Result<Claims, DcapRefusal> {
    let aws = accepting(Arc::new(AwsLc), root);
    let verdict = aws.verify_quote(quote, endorsements, now);
    let other = accepting(Arc::new(RustCrypto), root).verify_quote(quote, endorsements, now);
    assert_eq!(format!("{verdict:?}"), format!("{other:?}"));
    let checks = aws.examine(quote, endorsements, now);
    let failed: Vec<_> =
        checks.iter().filter(|check| matches!(check.outcome, Outcome::Fail(_))).collect();
    assert_eq!(failed.is_empty(), verdict.is_ok(), "{failed:?}");
    let intel = Sgx::new(Arc::new(AwsLc));
    assert!(intel.verify_quote(quote, endorsements, now).is_err());
    verdict
}

/// The root in a quote's chain.
fn root_of(quote: &[u8]) -> Vec<u8> {
    let Ok(Quote { certification: evidence_dcap::Certification::Chain(pem), .. }) =
        Quote::parse(quote)
    else {
        panic!("there is no chain")
    };
    certificates(pem).unwrap().pop().unwrap().into_owned()
}

#[test]
fn a_quote_is_taken_under_its_root_and_says_what_the_enclave_says() {
    let root = root();
    let platform = root.sgx_stand_in(NOW).unwrap();
    let quote = platform.quote(&enclave()).unwrap();
    let claims = verify(&root, &quote, &collateral(&platform), NOW).unwrap();
    assert_eq!((claims.platform, &*claims.product), (Platform::Development, "sgx-sim"));
    assert_eq!(claims.measurement, [0x3e; 32]);
    assert_eq!(claims.signer, Some(vec![0x51; 32]));
    assert_eq!(claims.report_data, [0xda; 64]);
    assert_eq!(claims.tcb_status, Some(TcbStatus::UpToDate));
    assert!(claims.advisories.is_empty() && !claims.debug);
    assert_eq!(claims.valid_until, root.not_after());
    let Detail::Sgx(detail) = &claims.detail else { panic!("the format is SGX's") };
    assert_eq!(detail.config_id, [0xc0; 64]);
    assert_eq!((detail.isv_prod_id, detail.isv_svn, detail.config_svn), (7, 9, 2));
    assert_eq!(detail.platform.pck_svns, SgxPlatform::CPU_SVN);
    assert_eq!(detail.platform.pck_authority, PckAuthority::Platform);
    assert_eq!(detail.platform.qe_status, Some(TcbStatus::UpToDate));

    let mut debug = enclave();
    debug[48] |= 2;
    let quote = platform.quote(&debug).unwrap();
    assert!(verify(&root, &quote, &collateral(&platform), NOW).unwrap().debug);
}

#[test]
fn another_root_takes_nothing_of_it() {
    let (root, other) = (root(), root());
    let platform = root.sgx_stand_in(NOW).unwrap();
    let quote = platform.quote(&enclave()).unwrap();
    let endorsements = collateral(&platform);
    let refused = verify(&other, &quote, &endorsements, NOW).unwrap_err();
    assert_eq!(refused.code(), "dcap.development-root");
    let none = SgxDevelopment::new(Arc::new(AwsLc), Vec::new());
    let refused = none.verify_quote(&quote, &endorsements, NOW).unwrap_err();
    assert_eq!(refused.code(), "dcap.development-root");
    // One of several is enough, and what is no certificate changes nothing.
    let roots = [b"x", other.certificate_der(), root.certificate_der()];
    let several = SgxDevelopment::new(Arc::new(AwsLc), roots.map(<[u8]>::to_vec).to_vec());
    several.verify_quote(&quote, &endorsements, NOW).unwrap();
    // A platform's root is none that platforms can be certified under.
    let below = SgxDevelopment::new(Arc::new(AwsLc), vec![root_of(&quote)]);
    assert!(below.verify_quote(&quote, &endorsements, NOW).is_err());
}

#[test]
fn it_never_passes_for_intels_nor_intels_for_it() {
    let root = root();
    let platform = root.sgx_stand_in(NOW).unwrap();
    let quote = platform.quote(&enclave()).unwrap();
    let endorsements = collateral(&platform);
    let refused = Sgx::new(Arc::new(AwsLc)).verify_quote(&quote, &endorsements, NOW).unwrap_err();
    assert_eq!(refused.code(), "dcap.qe-vendor");
    // Nor if somebody pinned this very root as Intel's.
    let pinned = Sgx::with_root(Arc::new(AwsLc), &root_of(&quote)).unwrap();
    let refused = pinned.verify_quote(&quote, &endorsements, NOW).unwrap_err();
    assert_eq!(refused.code(), "dcap.qe-vendor");
    // With Intel's vendor, which the attestation key could sign as well, the names are still others.
    let mut disguised = quote;
    put(&mut disguised, 12, &evidence_dcap::INTEL_VENDOR);
    let refused = pinned.verify_quote(&disguised, &endorsements, NOW).unwrap_err();
    assert_eq!(refused.code(), "dcap.certificate-name");

    let sample = Intel::get().sample(QuoteKind::SgxV3);
    let file = sample.collateral.to_json();
    let endorsements = evidence_dcap::collateral_json(file.as_bytes()).unwrap();
    Sgx::with_root(Arc::new(AwsLc), &sample.root)
        .unwrap()
        .verify_quote(&sample.quote, &endorsements, NOW)
        .unwrap();
    for roots in [vec![root.certificate_der().to_vec()], vec![sample.root.clone()]] {
        let development = SgxDevelopment::new(Arc::new(AwsLc), roots);
        let refused = development.verify_quote(&sample.quote, &endorsements, NOW).unwrap_err();
        assert_eq!(refused.code(), "dcap.certificate-name");
    }
}

#[test]
fn each_part_of_a_quote_counts() {
    let root = root();
    let platform = root.sgx_stand_in(NOW).unwrap();
    let quote = platform.quote(&enclave()).unwrap();
    let endorsements = collateral(&platform);
    let development = accepting(Arc::new(AwsLc), &root);
    let chain = quote.len() - root_chain_length(&quote);
    // All up to the chain; in PEM, line ends and what is between blocks say nothing.
    for at in (0..chain).step_by(3) {
        let mut bad = quote.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(development.verify_quote(&bad, &endorsements, NOW).is_err(), "{at}");
    }
    for length in (0..quote.len()).step_by(97) {
        assert!(development.verify_quote(&quote[..length], &endorsements, NOW).is_err());
    }
}

fn root_chain_length(quote: &[u8]) -> usize {
    match Quote::parse(quote).unwrap().certification {
        evidence_dcap::Certification::Chain(pem) => pem.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_piece_of_collateral_counts() {
    let root = root();
    let (platform, other) = (root.sgx_stand_in(NOW).unwrap(), root.sgx_stand_in(NOW).unwrap());
    let quote = platform.quote(&enclave()).unwrap();
    let pieces = platform.endorsements().len();
    assert_eq!(pieces, 5);
    for left_out in 0..pieces {
        let (mut without, mut replaced) = (Endorsements::new(), Endorsements::new());
        for (at, (kind, value)) in platform.endorsements().iter().enumerate() {
            if at == left_out {
                replaced.push(*kind, other.endorsements()[at].1.as_slice()).unwrap();
            } else {
                without.push(*kind, value.as_slice()).unwrap();
                replaced.push(*kind, value.as_slice()).unwrap();
            }
        }
        let verdict = verify(&root, &quote, &without, NOW);
        if platform.endorsements()[left_out].0 == kind::QE_IDENTITY {
            // As with Intel's: it is said that nothing is known of the quoting enclave's level.
            let claims = verdict.unwrap();
            let Detail::Sgx(detail) = &claims.detail else { panic!("the format is SGX's") };
            assert_eq!(detail.platform.qe_status, None);
        } else {
            verdict.unwrap_err();
        }
        verify(&root, &quote, &replaced, NOW).unwrap_err();
    }
}

#[test]
fn it_is_good_for_a_time() {
    let root = root();
    let platform = root.sgx_stand_in(NOW).unwrap();
    let quote = platform.quote(&enclave()).unwrap();
    let endorsements = collateral(&platform);
    let end = root.not_after();
    assert_eq!(end, NOW.plus(30 * DAY.as_secs()));
    verify(&root, &quote, &endorsements, end).unwrap();
    verify(&root, &quote, &endorsements, end.plus(1)).unwrap_err();
    verify(&root, &quote, &endorsements, NOW.minus(1)).unwrap_err();
    assert!(root.sgx_stand_in(end.plus(1)).is_err());
    // A platform that is younger than the root is not there before.
    let later = root.sgx_stand_in(NOW.plus(60)).unwrap();
    let quote = later.quote(&enclave()).unwrap();
    verify(&root, &quote, &collateral(&later), NOW).unwrap_err();
}

#[test]
fn the_quoting_enclave_that_is_named_is_the_one_that_quotes() {
    let platform = root().sgx_stand_in(NOW).unwrap();
    let quote = platform.quote(&enclave()).unwrap();
    let quote = Quote::parse(&quote).unwrap();
    let target = SgxPlatform::target_info();
    assert_eq!(target[..32], *quote.qe_report.measurement());
    assert_eq!(target[32..48], *quote.qe_report.attributes());
    assert!(target[48..].iter().all(|byte| *byte == 0));
    assert_eq!(quote.body_report(), enclave());
    let shown = format!("{platform:?}");
    assert!(shown.contains("Key { curve: P256, .. }"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// Whatever is changed, a verdict comes back, and it is a good one only where nothing is signed: in text
    /// between the PEM blocks, or in an endorsement that nobody looks at.
    #[test]
    fn what_was_changed_gets_a_verdict(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 0..3),
        cut in prop::option::of(any::<prop::sample::Index>()),
        piece in 0..5usize,
        piece_change in prop::option::of((any::<prop::sample::Index>(), 1..=255u8)),
    ) {
        static KEYS: LazyLock<(Root, SgxPlatform)> = LazyLock::new(|| {
            let root = root();
            let platform = root.sgx_stand_in(NOW).unwrap();
            (root, platform)
        });
        let (root, platform) = &*KEYS;
        let good = platform.quote(&enclave()).unwrap();
        let mut quote = good.clone();
        for (at, change) in &changes {
            quote[at.index(good.len())] ^= change;
        }
        if let Some(cut) = cut {
            quote.truncate(cut.index(good.len()));
        }
        let mut endorsements = Endorsements::new();
        for (number, (kind, value)) in platform.endorsements().iter().enumerate() {
            let mut value = value.clone();
            if let Some((at, change)) = piece_change.as_ref().filter(|_| number == piece) {
                let at = at.index(value.len());
                value[at] ^= change;
            }
            endorsements.push(*kind, value).unwrap();
        }
        let development = accepting(Arc::new(AwsLc), root);
        let _ = development.fields(&quote).is_ok();
        prop_assert!(!development.examine(&quote, &endorsements, NOW).is_empty());
        if development.verify_quote(&quote, &endorsements, NOW).is_ok() {
            let (new, old) = (Quote::parse(&quote).unwrap(), Quote::parse(&good).unwrap());
            prop_assert_eq!(new.signed, old.signed);
            prop_assert_eq!(new.qe_report.raw, old.qe_report.raw);
            prop_assert_eq!(new.qe_auth_data, old.qe_auth_data);
        }
    }
}

trait Body {
    fn body_report(&self) -> [u8; 384];
}

impl Body for Quote<'_> {
    fn body_report(&self) -> [u8; 384] {
        match &self.body {
            evidence_dcap::Body::Sgx(report) => *report.raw,
            evidence_dcap::Body::Tdx(_) => panic!("an enclave was quoted"),
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! The extension's value: one encoding for given claims, and nothing read that is not claims.

use evidence_pki::{Cursor, encode, tag};
use proptest::prelude::*;
use steward_claims::{CertificateClaims, ClaimsError, Time, Workload};

const DIGEST: &str = "sha256:4046ea255f0455131a024e1265ac1ebd131fdbd1240f1712a00381f6f04e8c15";

fn sample() -> CertificateClaims {
    CertificateClaims {
        platform: "snp".to_owned(),
        product: "Milan".to_owned(),
        measurement: vec![0xaa; 48],
        signer: None,
        tcb_status: None,
        advisories: Vec::new(),
        svns: vec![("reported.snp".to_owned(), 24)],
        debug: false,
        workload: Some(Workload::new(Some("user/repo:1.0.0"), DIGEST).unwrap()),
        policy: [0x55; 32],
        policy_url: None,
        evaluation_number: None,
        verified_at: Time::from_unix(1_772_707_803),
        fresh: true,
    }
}

fn full() -> CertificateClaims {
    CertificateClaims {
        platform: "tdx".to_owned(),
        product: "FMSPC 00606a000000".to_owned(),
        signer: Some(vec![1; 32]),
        tcb_status: Some("UpToDate".to_owned()),
        advisories: vec!["INTEL-SA-00615".to_owned(), "INTEL-SA-00657".to_owned()],
        policy_url: Some("https://steward.example.com/v1/policy/5555".to_owned()),
        evaluation_number: Some(u32::MAX),
        svns: vec![("pce".to_owned(), 0), ("component".to_owned(), u64::MAX)],
        ..sample()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that `docs/certificate-profile.md` shows.
#[test]
fn the_documented_example_is_what_is_written() {
    let docs = include_str!("../../../docs/certificate-profile.md");
    let block = docs.split("```hex\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let documented: String = block
        .lines()
        .flat_map(|line| line.split("--").next().unwrap_or_default().split_whitespace())
        .collect();
    assert_eq!(hex(&sample().to_der().unwrap()), documented);
}

#[test]
fn claims_survive_the_certificate() {
    for claims in [sample(), full()] {
        let der = claims.to_der().unwrap();
        assert_eq!(CertificateClaims::from_der(&der).unwrap(), claims);
    }
}

#[test]
fn there_is_no_certificate_for_debug_mode() {
    let claims = CertificateClaims { debug: true, ..sample() };
    assert_eq!(claims.to_der(), Err(ClaimsError::Debug));
    // `debug` is the only ENUMERATED.
    let mut der = sample().to_der().unwrap();
    let at = der.windows(3).position(|bytes| bytes == [0x0a, 1, 0]).unwrap();
    der[at + 2] = 1;
    assert_eq!(CertificateClaims::from_der(&der), Err(ClaimsError::Debug));
    // Nor can it be left out.
    der.drain(at..at + 3);
    der[2] -= 3;
    assert_eq!(CertificateClaims::from_der(&der), Err(ClaimsError::Malformed));
}

#[test]
fn other_versions_are_not_guessed_at() {
    let mut der = sample().to_der().unwrap();
    assert_eq!(der[..6], [0x30, 0x81, der[2], 2, 1, 1]);
    der[5] = 2;
    assert_eq!(CertificateClaims::from_der(&der), Err(ClaimsError::Version(2)));
}

#[test]
fn each_field_has_bounds() {
    type Spoil = fn(&mut CertificateClaims);
    let cases: [(&str, Spoil); 16] = [
        ("platform", |c| c.platform = String::new()),
        ("platform", |c| c.platform = "SNP".to_owned()),
        ("platform", |c| c.platform = "a".repeat(33)),
        ("product", |c| c.product = String::new()),
        ("product", |c| c.product = "a".repeat(65)),
        ("product", |c| c.product = "a\nb".to_owned()),
        ("measurement", |c| c.measurement = vec![0; 31]),
        ("measurement", |c| c.measurement = Vec::new()),
        ("signer", |c| c.signer = Some(vec![0; 64])),
        ("tcbStatus", |c| c.tcb_status = Some(String::new())),
        ("policyUrl", |c| c.policy_url = Some("a".repeat(513))),
        ("policyUrl", |c| c.policy_url = Some("\u{202e}".to_owned())),
        ("svns", |c| c.svns = vec![("a".to_owned(), 0); 65]),
        ("svns", |c| c.svns = vec![(String::new(), 0)]),
        ("advisories", |c| c.advisories = vec!["a".to_owned(); 129]),
        ("advisories", |c| c.advisories = vec!["\u{1b}[0m".to_owned()]),
    ];
    for (field, spoil) in cases {
        let mut claims = full();
        spoil(&mut claims);
        assert_eq!(claims.to_der(), Err(ClaimsError::Field(field)));
    }
    let most = CertificateClaims {
        svns: vec![("a".repeat(64), u64::MAX); 64],
        advisories: vec!["a".repeat(64); 128],
        ..full()
    };
    let der = most.to_der().unwrap();
    assert!(der.len() <= CertificateClaims::MAX_SIZE);
    assert_eq!(CertificateClaims::from_der(&der).unwrap(), most);
    let huge = vec![0x30; CertificateClaims::MAX_SIZE + 1];
    assert_eq!(CertificateClaims::from_der(&huge), Err(ClaimsError::TooLarge));
}

/// A second way to write the same is no way.
#[test]
fn other_encodings_are_refused() {
    let der = sample().to_der().unwrap();
    let mut trailing = der.clone();
    trailing.push(0);
    let mut long_length = vec![0x30, 0x82, 0];
    long_length.extend_from_slice(&der[2..]);
    let mut utc = full().to_der().unwrap();
    let at = utc.windows(2).position(|bytes| bytes == [0x18, 15]).unwrap();
    // UTCTime says the same and is two digits shorter.
    utc[at] = 0x17;
    utc[at + 1] = 13;
    utc.drain(at + 2..at + 4);
    let total = u16::from_be_bytes([utc[2], utc[3]]) - 2;
    utc[2..4].copy_from_slice(&total.to_be_bytes());
    let mut truth = der.clone();
    let at = truth.windows(3).position(|bytes| bytes == [1, 1, 0xff]).unwrap();
    truth[at + 2] = 1;
    // The number with a zero before it.
    let number = CertificateClaims { evaluation_number: Some(1), ..sample() }.to_der().unwrap();
    let mut padded = number.clone();
    assert_eq!(number[number.len() - 3..], [0x84, 1, 1]);
    padded.splice(number.len() - 2.., [2, 0, 1]);
    padded[2] += 1;
    for bytes in [trailing, long_length, utc, truth, padded] {
        assert_eq!(CertificateClaims::from_der(&bytes), Err(ClaimsError::Malformed));
    }
}

/// The last element of a sample is its evaluation number, context 4.
#[test]
fn evaluation_numbers_have_32_bits() {
    let good = full().to_der().unwrap();
    let with = |number: &[u8]| {
        let parts = Cursor::whole(&good, tag::SEQUENCE, "claims").unwrap().rest();
        let before = parts.strip_suffix(&[0x84, 5, 0, 0xff, 0xff, 0xff, 0xff]).unwrap();
        let number = encode::element(tag::context(4), &[number]);
        CertificateClaims::from_der(&encode::sequence(&[before, &number]))
    };
    assert_eq!(with(&[7]).unwrap().evaluation_number, Some(7));
    for bad in [&[][..], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 0, 7], &[0, 7], &[0xff]] {
        assert_eq!(with(bad), Err(ClaimsError::Malformed), "{bad:02x?}");
    }
    let large = vec![0; CertificateClaims::MAX_SIZE + 1];
    assert_eq!(CertificateClaims::from_der(&large), Err(ClaimsError::TooLarge));
}

#[test]
fn a_workload_in_a_certificate_keeps_its_form() {
    let mut der = sample().to_der().unwrap();
    let at = der.windows(6).position(|bytes| bytes == b"sha256").unwrap();
    der[at] = b'S';
    assert_eq!(CertificateClaims::from_der(&der), Err(ClaimsError::Field("workload")));
}

#[test]
fn fields_are_listed_for_people() {
    let fields = full().fields();
    let value = |label: &str| &fields.iter().find(|(name, _)| *name == label).unwrap().1;
    assert_eq!(value("platform"), "tdx");
    assert_eq!(value("measurement"), &"aa".repeat(48));
    assert_eq!(value("TCB status"), "UpToDate");
    assert_eq!(value("advisories"), "INTEL-SA-00615, INTEL-SA-00657");
    assert_eq!(value("debug"), "no");
    assert_eq!(value("workload"), DIGEST);
    assert_eq!(value("workload slug"), "user/repo:1.0.0");
    assert_eq!(value("verified at"), "2026-03-05T10:50:03Z");
    let bare = CertificateClaims { workload: None, ..sample() }.fields();
    assert!(bare.contains(&("workload", "not bound to the evidence".to_owned())));
}

prop_compose! {
    fn workload()(
        slug in proptest::option::of("([a-z]{1,9}(\\.[a-z]{2,5})?(:[1-9][0-9]{0,3})?/)?[a-zA-Z0-9]{1,9}/[a-z0-9-]{1,9}(:[0-9.a-z+-]{1,9})?"),
        digest in "sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}",
    ) -> Workload {
        Workload::new(slug.as_deref(), &digest).unwrap()
    }
}

prop_compose! {
    fn claims()(
        (platform, product) in ("[a-z0-9-]{1,32}", "[ -~]{1,64}"),
        measurement in proptest::collection::vec(any::<u8>(), 48),
        short in any::<bool>(),
        signer in proptest::option::of(proptest::collection::vec(any::<u8>(), 32)),
        tcb_status in proptest::option::of("[ -~]{1,64}"),
        advisories in proptest::collection::vec("[ -~]{1,64}", 0..9),
        svns in proptest::collection::vec(("[ -~]{1,64}", any::<u64>()), 0..9),
        workload in proptest::option::of(workload()),
        policy in any::<[u8; 32]>(),
        policy_url in proptest::option::of("[ -~]{1,512}"),
        evaluation_number in any::<Option<u32>>(),
        verified_at in 0..=Time::MAX.unix(),
        fresh in any::<bool>(),
    ) -> CertificateClaims {
        let mut measurement = measurement;
        measurement.truncate(if short { 32 } else { 48 });
        CertificateClaims {
            platform, product, measurement, signer, tcb_status, advisories, svns, debug: false, workload,
            policy, policy_url, evaluation_number, verified_at: Time::from_unix(verified_at), fresh,
        }
    }
}

proptest! {
    #[test]
    fn reading_undoes_writing(claims in claims()) {
        let der = claims.to_der().unwrap();
        prop_assert_eq!(CertificateClaims::from_der(&der).unwrap(), claims);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = CertificateClaims::from_der(&bytes);
    }

    /// Whatever is read comes out again, byte for byte.
    #[test]
    fn writing_undoes_reading(
        claims in claims(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut der = claims.to_der().unwrap();
        for (at, value) in changes {
            let at = at.index(der.len());
            der[at] = value;
        }
        if let Ok(read) = CertificateClaims::from_der(&der) {
            prop_assert_eq!(read.to_der().unwrap(), der);
        }
    }
}

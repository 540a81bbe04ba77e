// SPDX-License-Identifier: Apache-2.0

//! Whatever comes, a verdict comes back; and what is signed cannot be changed, not by one bit.

use std::sync::{Arc, LazyLock};

use evidence_claims::{Claims, Endorsements, Format, Time, kind};
use evidence_crypto::{AwsLc, Crypto};
use evidence_dcap::{
    DcapRefusal, Document as DocumentKind, PckExtensions, QeIdentity, Quote, Sgx, Signed, TcbInfo,
    Tdx, collateral_json,
};
use evidence_testkit::NOW;
use evidence_testkit::intel::{DcapSample, Document, Intel, QuoteKind};
use proptest::prelude::*;

static SAMPLES: LazyLock<Vec<DcapSample>> =
    LazyLock::new(|| QuoteKind::ALL.map(|kind| Intel::get().sample(kind)).into());
static FORMATS: LazyLock<(Sgx, Tdx)> = LazyLock::new(|| {
    let crypto: Arc<dyn Crypto> = Arc::new(AwsLc);
    let root = Intel::get().root_der();
    let sgx = Sgx::with_root(crypto.clone(), &root).unwrap();
    (sgx, Tdx::with_root(crypto, &root).unwrap())
});

fn verify(kind: QuoteKind, quote: &[u8], with: &Endorsements<'_>) -> Result<Claims, DcapRefusal> {
    let (sgx, tdx) = &*FORMATS;
    if kind.is_tdx() {
        let _ = (tdx.examine(quote, with, NOW), tdx.fields(quote).is_ok());
        tdx.verify_quote(quote, with, NOW)
    } else {
        let _ = (sgx.examine(quote, with, NOW), sgx.fields(quote).is_ok());
        sgx.verify_quote(quote, with, NOW)
    }
}

fn good(sample: &DcapSample) -> Endorsements<'static> {
    collateral_json(sample.collateral.to_json().as_bytes()).unwrap()
}

/// Changes bytes at some places.
fn mutate(bytes: &mut Vec<u8>, changes: &[(prop::sample::Index, u8)], cut: Option<usize>) {
    for (index, change) in changes {
        if !bytes.is_empty() {
            let at = index.index(bytes.len());
            bytes[at] ^= change;
        }
    }
    if let Some(cut) = cut {
        bytes.truncate(cut % (bytes.len() + 1));
    }
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_a_verdict(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        version in 3..=5u8,
        tee in prop::sample::select(vec![0u8, 0x81]),
    ) {
        let mut bytes = bytes;
        let _ = Quote::parse(&bytes).is_ok();
        for (at, byte) in [version, 0, 2, 0, tee, 0, 0, 0].into_iter().enumerate() {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        for sample in SAMPLES.iter() {
            prop_assert!(verify(sample.kind, &bytes, &good(sample)).is_err());
        }
        let _ = PckExtensions::parse(&bytes).is_ok();
        let _ = TcbInfo::parse(&bytes).is_ok();
        let _ = QeIdentity::parse(&bytes).is_ok();
        let _ = Signed::read(DocumentKind::TcbInfo, &bytes).is_ok();
        let _ = collateral_json(&bytes).is_ok();
    }

    #[test]
    fn a_changed_quote_gets_a_verdict(
        which in 0..6usize,
        changes in changes(),
        cut in prop::option::of(any::<usize>()),
    ) {
        let sample = &SAMPLES[which];
        let mut quote = sample.quote.clone();
        mutate(&mut quote, &changes, cut);
        // Good it can only be where nothing is signed: text between the certificates' PEM blocks, the
        // root among them, and padding.
        if verify(sample.kind, &quote, &good(sample)).is_ok() {
            let (new, old) = (Quote::parse(&quote).unwrap(), Quote::parse(&sample.quote).unwrap());
            prop_assert_eq!(new.signed, old.signed);
            prop_assert_eq!(new.qe_report.raw, old.qe_report.raw);
            prop_assert_eq!(new.qe_auth_data, old.qe_auth_data);
            prop_assert_eq!(new.attestation_key, old.attestation_key);
            prop_assert_eq!(new.signature, old.signature);
            prop_assert_eq!(new.qe_report_signature, old.qe_report_signature);
        }
    }

    #[test]
    fn no_bit_of_what_is_signed_can_be_changed(
        which in 0..6usize,
        index in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let sample = &SAMPLES[which];
        let parsed = Quote::parse(&sample.quote).unwrap();
        let signed = parsed.signed.len();
        // Header and body; both signatures and the key; the quoting enclave's report.
        let inner = signed + 4 + 128 + if parsed.version > 3 { 6 } else { 0 };
        let places: Vec<usize> = (0..signed)
            .chain(signed + 4..signed + 4 + 128)
            .chain(inner..inner + 448)
            .chain(inner + 450..inner + 450 + parsed.qe_auth_data.len())
            .collect();
        let mut quote = sample.quote.clone();
        quote[places[index.index(places.len())]] ^= 1 << bit;
        prop_assert!(verify(sample.kind, &quote, &good(sample)).is_err());
    }

    #[test]
    fn changed_collateral_gets_a_verdict_and_signed_parts_cannot_be_changed(
        which in 0..6usize,
        part in 0..6usize,
        changes in changes(),
    ) {
        let sample = &SAMPLES[which];
        let mut endorsements = Endorsements::new();
        let mut signed = false;
        for (number, one) in good(sample).iter().enumerate() {
            let mut bytes = one.bytes.to_vec();
            if number == part {
                let old = bytes.clone();
                mutate(&mut bytes, &changes, None);
                // A PEM chain has text that does not matter, and so have the blanks around a document.
                signed = bytes != old && one.kind == kind::CRL;
                for document in [DocumentKind::TcbInfo, DocumentKind::QeIdentity] {
                    if let (Ok(old), new) =
                        (Signed::read(document, &old), Signed::read(document, &bytes))
                    {
                        signed |= new.map_or(true, |new| new.text != old.text);
                    }
                }
            }
            endorsements.push(one.kind.to_string(), bytes).unwrap();
        }
        let verdict = verify(sample.kind, &sample.quote, &endorsements);
        prop_assert!(!(signed && verdict.is_ok()));
    }

    #[test]
    fn changed_documents_can_be_read_or_not(
        which in 0..4usize,
        changes in changes(),
        cut in prop::option::of(any::<usize>()),
    ) {
        let text = [
            Document::sgx_tcb_info(),
            Document::tdx_tcb_info(),
            Document::sgx_qe_identity(),
            Document::tdx_qe_identity(),
        ][which].text();
        let mut bytes = text.into_bytes();
        mutate(&mut bytes, &changes, cut);
        // Signed, whatever it is: what is signed need not be good.
        let _ = (TcbInfo::parse(&bytes).is_ok(), QeIdentity::parse(&bytes).is_ok());
        if let Ok(text) = String::from_utf8(bytes) {
            let kind = if which % 2 == 0 { QuoteKind::SgxV4 } else { QuoteKind::Tdx15V5 };
            let (intel, all) = (Intel::get(), Intel::get().collateral(kind));
            let all = if which < 2 {
                all.with_tcb_info(intel, &text)
            } else {
                all.with_qe_identity(intel, &text)
            };
            let endorsements = collateral_json(all.to_json().as_bytes()).unwrap();
            let sample = SAMPLES.iter().find(|sample| sample.kind == kind).unwrap();
            let _ = verify(kind, &sample.quote, &endorsements).is_ok();
        }
    }
}

#[test]
fn any_time_gets_a_verdict() {
    for sample in SAMPLES.iter() {
        let endorsements = good(sample);
        for now in [0, 1, NOW.unix(), Time::MAX.unix(), u64::MAX] {
            let now = Time::from_unix(now);
            let (sgx, tdx) = &*FORMATS;
            let verdict = if sample.kind.is_tdx() {
                tdx.verify_quote(&sample.quote, &endorsements, now)
            } else {
                sgx.verify_quote(&sample.quote, &endorsements, now)
            };
            assert_eq!(verdict.is_ok(), now == NOW);
        }
    }
}

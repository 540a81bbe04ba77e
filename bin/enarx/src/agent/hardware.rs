// SPDX-License-Identifier: Apache-2.0

//! Evidence of Keeps whose platform speaks for itself: what the host adds to it.
//!
//! A report or a quote is worth something only with what the vendor says of the processor. The host has fetched
//! that before (`enarx platform`), and it is taken out of the caches, where it is verified anew. What is missing
//! is refused here, with what to do about it, because a Steward could not say that. The host is not trusted
//! with any of this: what it leaves out or changes, verification finds.

use std::sync::Arc;

use backend_sgx::aesm::Aesm;
use evidence_claims::{Endorsements, Time, kind};
use evidence_crypto::{AwsLc, Crypto};
use keep_backend::{Claim, EvidenceSource};
use keep_launch::{Evidence, Platform};
use steward_service::clock;
use vendor_fetch::Cache;
use vendor_kds::{Identity, device};

use crate::platform;

/// The source of evidence of a hardware backend's Keeps; none if there is no such backend.
pub(super) fn source(backend: &str) -> Option<Box<dyn EvidenceSource>> {
    let crypto: Arc<dyn Crypto> = Arc::new(AwsLc);
    match backend {
        "snp" => {
            let store = |cache: Cache| vendor_kds::Store::new(cache, Arc::clone(&crypto));
            let stores = platform::caches(platform::AMD).into_iter().map(store).collect();
            Some(Box::new(Amd { stores, now: clock::now }))
        }
        "sgx" => {
            let store = |cache: Cache| vendor_pcs::Store::new(cache, Arc::clone(&crypto));
            let stores = platform::caches(platform::INTEL).into_iter().map(store).collect();
            Some(Box::new(Intel { stores, quotes: Aesm::default(), now: clock::now }))
        }
        _ => None,
    }
}

/// Reports of SEV-SNP, with AMD's certificates.
struct Amd {
    /// In the order in which they are asked.
    stores: Vec<vendor_kds::Store>,
    now: fn() -> Time,
}

impl EvidenceSource for Amd {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        let Claim::SnpReport(report) = claim else { return other_claim() };
        answer(self.made(report), Platform::Snp, report.to_vec())
    }
}

impl Amd {
    fn made(&self, report: &[u8; 1184]) -> Result<Endorsements<'static>, String> {
        let identity = Identity::of_report(report, device::product().ok())
            .map_err(|error| format!("the report does not name its key: {error}"))?;
        let mut problem = None;
        for store in &self.stores {
            match store.endorsements(&identity, (self.now)()) {
                Ok(all) if all.first(kind::VEK).is_some() => return Ok(all),
                Ok(_) => {}
                Err(error) => problem = Some(error.to_string()),
            }
        }
        let problem = problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
        Err(format!(
            "the cache has no good certificate of the key that signs this machine's reports{problem}; \
             `enarx platform snp update` fetches it"
        ))
    }
}

/// Quotes of SGX, with Intel's collateral.
struct Intel {
    /// In the order in which they are asked.
    stores: Vec<vendor_pcs::Store>,
    quotes: Aesm,
    now: fn() -> Time,
}

impl EvidenceSource for Intel {
    fn evidence(&mut self, claim: &Claim) -> Evidence {
        let Claim::SgxReport(report) = claim else { return other_claim() };
        match self.made(report) {
            Ok((quote, all)) => answer(Ok(all), Platform::Sgx, quote),
            Err(problem) => answer(Err(problem), Platform::Sgx, Vec::new()),
        }
    }
}

impl Intel {
    fn made(&self, report: &[u8; 432]) -> Result<(Vec<u8>, Endorsements<'static>), String> {
        let collateral = self.collateral()?;
        let quote = self.quotes.target().and_then(|(key, _)| self.quotes.quote(&key, report));
        let quote = quote.map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("there is no quote: {error}: {cause}"),
            None => format!("there is no quote: {error}"),
        })?;
        Ok((quote, collateral))
    }

    fn collateral(&self) -> Result<Endorsements<'static>, String> {
        let needed = [kind::TCB_INFO, kind::QE_IDENTITY];
        let mut problem = None;
        for store in &self.stores {
            match store.endorsements((self.now)()) {
                Ok(all) if needed.iter().all(|kind| all.first(kind).is_some()) => return Ok(all),
                Ok(_) => {}
                Err(error) => problem = Some(error.to_string()),
            }
        }
        let problem = problem.map(|problem| format!(" ({problem})")).unwrap_or_default();
        Err(format!(
            "the cache has no good TCB information of this kind of platform{problem}; `enarx platform sgx \
             cache-pck`, `cache-tcb` and `cache-crl` fetch it"
        ))
    }
}

fn answer(
    made: Result<Endorsements<'static>, String>,
    platform: Platform,
    evidence: Vec<u8>,
) -> Evidence {
    match made {
        Err(message) => Evidence::Refused { message },
        Ok(all) => {
            let one =
                |one: &evidence_claims::Endorsement<'_>| (one.kind.to_string(), one.bytes.to_vec());
            Evidence::Made { platform, evidence, endorsements: all.iter().map(one).collect() }
        }
    }
}

fn other_claim() -> Evidence {
    Evidence::Refused { message: "the Keep's claim is of another kind than its platform's".into() }
}

#[cfg(test)]
mod tests {
    use evidence_claims::SnpProduct;
    use evidence_snp_roots::{roots, sample};
    use vendor_kds::Piece;

    use super::*;

    /// The synthetic AMD, as the store wants to have it.
    mod evidence_snp_roots {
        use evidence_testkit::amd::{Amd, Product, SnpSample};

        pub(super) fn roots() -> Vec<evidence_snp::ProductRoots> {
            let amd = Amd::get();
            let product = Product::Milan;
            let (ark, ask, asvk) =
                (amd.ark_der(product), amd.ask_der(product), amd.asvk_der(product));
            vec![evidence_snp::ProductRoots { product: super::SnpProduct::Milan, ark, ask, asvk }]
        }

        pub(super) fn sample() -> SnpSample {
            Amd::get().sample(Product::Milan, 3)
        }
    }

    #[test]
    fn a_report_comes_with_what_verifies_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = |name: &str| {
            let cache = Cache::new(folder.path().join(name));
            vendor_kds::Store::with_roots(cache, Arc::new(AwsLc), roots())
        };
        let sample = sample();
        let report: Box<[u8; 1184]> = Box::new(sample.report.as_slice().try_into().unwrap());
        let claim = Claim::SnpReport(report);
        let mut source =
            Amd { stores: vec![store("own"), store("all")], now: || evidence_testkit::NOW };
        let Evidence::Refused { message } = source.evidence(&claim) else {
            panic!("made of nothing")
        };
        assert!(message.contains("enarx platform snp update"), "{message}");
        // In the second cache it is found.
        let identity = Identity::of_report(&sample.report, None).unwrap();
        let list = evidence_testkit::amd::Amd::get().crl_der(evidence_testkit::amd::Product::Milan);
        let pieces =
            [Piece::List(SnpProduct::Milan, list), Piece::Vek(identity, sample.vek.clone())];
        store("all").put(&pieces, evidence_testkit::NOW).unwrap();
        let Evidence::Made { platform, evidence, endorsements } = source.evidence(&claim) else {
            panic!("it is not found")
        };
        assert_eq!((platform, evidence), (Platform::Snp, sample.report.clone()));
        let kinds: Vec<_> = endorsements.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(kinds, [kind::VEK, kind::CRL]);
        assert_eq!(endorsements[0].1, sample.vek);
        assert!(matches!(
            source.evidence(&Claim::ReportData(Box::new([0; 64]))),
            Evidence::Refused { .. }
        ));
    }

    #[test]
    fn without_collateral_or_service_there_is_no_quote() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("intel-sgx"));
        let store = vendor_pcs::Store::new(cache, Arc::new(AwsLc));
        let quotes = Aesm::at(folder.path().join("none"));
        let mut source = Intel { stores: vec![store], quotes, now: clock::now };
        let claim = Claim::SgxReport(Box::new([0; 432]));
        let Evidence::Refused { message } = source.evidence(&claim) else {
            panic!("made of nothing")
        };
        assert!(message.contains("cache-tcb"), "{message}");
    }
}

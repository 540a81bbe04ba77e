// SPDX-License-Identifier: Apache-2.0

//! Do peers agree on evidence that nobody recorded? Synthetic vendors sign each version of a report, and
//! quotes with each combination of statuses that Intel's schemas allow.

use std::sync::Arc;

use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use evidence_claims::SnpProduct;
use evidence_crypto::AwsLc;
use evidence_dcap::{Sgx, Tdx};
use evidence_snp::{ProductRoots, Snp};
use evidence_testkit::NOW;
use evidence_testkit::amd::{Amd, Product, SnpSample};
use evidence_testkit::intel::{Collateral, Document, Intel, QuoteKind, td_offset};
use evidence_verifier::{Endorsements, Format, kind};
use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;

fn sev(sample: &SnpSample) -> Result<(), String> {
    let read = |der: &[u8]| Certificate::from_der(der).unwrap();
    let ca = ca::Chain { ark: read(&sample.ark), ask: read(&sample.issuer) };
    let chain = Chain { ca, vek: read(&sample.vek) };
    let report =
        AttestationReport::from_bytes(&sample.report).map_err(|error| error.to_string())?;
    (&chain, &report).verify().map_err(|error| error.to_string())
}

#[test]
fn sev_accepts_each_version_of_each_product() {
    let amd = Amd::get();
    let products = [SnpProduct::Milan, SnpProduct::Genoa, SnpProduct::Turin];
    let roots = products.into_iter().zip(Product::ALL).map(|(product, of)| ProductRoots {
        product,
        ark: amd.ark_der(of),
        ask: amd.ask_der(of),
        asvk: amd.asvk_der(of),
    });
    let snp = Snp::with_roots(Arc::new(AwsLc), roots.collect());
    for product in Product::ALL {
        for version in 2..=5 {
            let (vcek, vlek) = (amd.sample(product, version), amd.sample_vlek(product, version));
            for (sample, is_vlek) in [(vcek, false), (vlek, true)] {
                let mut endorsements = Endorsements::new();
                endorsements.push(kind::VEK, &*sample.vek).unwrap();
                endorsements.push(kind::CRL, &*sample.crl).unwrap();
                let ours = snp.verify(&sample.report, &endorsements, NOW);
                assert!(ours.is_ok(), "{product:?} version {version}: {ours:?}");
                // It guesses the product of version 2 from the chip, which a VLEK does not name; here the
                // product is that of the VLEK's issuer.
                let theirs = sev(&sample);
                if version == 2 && is_vlek {
                    assert!(theirs.unwrap_err().contains("MASK_CHIP_ID"));
                } else {
                    assert_eq!(theirs, Ok(()), "{product:?} version {version}");
                }
            }
        }
    }
}

/// Status and advisories, or a refusal.
type Verdict = Result<(String, Vec<String>), String>;

fn verdicts(kind: QuoteKind, quote: &[u8], collateral: &Collateral) -> (Verdict, Verdict) {
    let root = Intel::get().root_der();
    let crypto = Arc::new(AwsLc);
    let endorsements = evidence_dcap::collateral_json(collateral.to_json().as_bytes()).unwrap();
    let ours = if kind.is_tdx() {
        Tdx::with_root(crypto, &root).unwrap().verify(quote, &endorsements, NOW)
    } else {
        Sgx::with_root(crypto, &root).unwrap().verify(quote, &endorsements, NOW)
    };
    let ours = ours.map_err(|error| error.to_string());
    let ours = ours.map(|claims| (claims.tcb_status.unwrap().to_string(), claims.advisories));

    let collateral = collateral.clone();
    let collateral = QuoteCollateralV3 {
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain,
        root_ca_crl: collateral.root_ca_crl,
        pck_crl: collateral.pck_crl,
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain,
        tcb_info: collateral.tcb_info,
        tcb_info_signature: collateral.tcb_info_signature,
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain,
        qe_identity: collateral.qe_identity,
        qe_identity_signature: collateral.qe_identity_signature,
        pck_certificate_chain: None,
    };
    let theirs = QuoteVerifier::new(root).verify(quote, &collateral, NOW.unix());
    let theirs = theirs.map_err(|error| format!("{error:#}")).map(|report| {
        let mut advisories = report.advisory_ids;
        advisories.sort();
        advisories.dedup();
        (report.status, advisories)
    });
    (ours, theirs)
}

/// Statuses of platforms, as TCB info may have them.
const PLATFORM: [&str; 7] = [
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
];

/// Statuses of quoting enclaves and TDX modules.
const ENCLAVE: [&str; 3] = ["UpToDate", "OutOfDate", "Revoked"];

/// The default quote, and for TDX those whose `TEE_TCB_SVN` is another one.
fn quotes(kind: QuoteKind) -> Vec<Vec<u8>> {
    let intel = Intel::get();
    let mut quotes = vec![intel.sign_quote(&intel.quote(kind))];
    if kind.is_tdx() && kind != QuoteKind::Tdx15V5 {
        // An older module, one too old for each level, an unknown one, one without an identity of its own,
        // and late microcode that is older.
        for svn in [[3, 1, 3], [1, 1, 3], [5, 9, 3], [5, 0, 3], [4, 0, 3], [5, 1, 2], [4, 0, 2]] {
            let quote = intel.quote(kind).patch_body(td_offset::TEE_TCB_SVN, &svn);
            quotes.push(intel.sign_quote(&quote));
        }
    }
    quotes
}

/// A TD 1.5 also names the module that runs now. There the peers follow different rules for when a new
/// start is advised, so that only TDs on the module that runs are compared.
#[test]
fn dcap_qvl_converges_statuses_as_we_do() {
    let intel = Intel::get();
    let (mut accepted, mut refused) = (0, 0);
    for kind in [QuoteKind::SgxV3, QuoteKind::TdxV4, QuoteKind::Tdx10V5, QuoteKind::Tdx15V5] {
        let modules =
            if kind.is_tdx() && kind != QuoteKind::Tdx15V5 { &ENCLAVE } else { &ENCLAVE[..1] };
        for quote in quotes(kind) {
            for (platform, enclave) in PLATFORM.iter().flat_map(|p| ENCLAVE.map(|e| (*p, e))) {
                for module in modules {
                    let collateral = collateral(intel, kind, platform, enclave, module);
                    let (ours, theirs) = verdicts(kind, &quote, &collateral);
                    match (&ours, &theirs) {
                        (Err(_), Err(_)) => refused += 1,
                        _ => {
                            let what = format!("{kind:?} {platform} {enclave} {module}");
                            assert_eq!(ours, theirs, "{what}");
                            accepted += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{accepted} accepted, {refused} refused by both");
    assert!(accepted > 300 && refused > 300);
}

fn collateral(
    intel: &Intel,
    kind: QuoteKind,
    platform: &str,
    enclave: &str,
    module: &str,
) -> Collateral {
    let (info, identity) = if kind.is_tdx() {
        let info = Document::tdx_tcb_info().edit(|value| {
            let level = &mut value["tdxModuleIdentities"][1]["tcbLevels"][0];
            level["tcbStatus"] = module.into();
            level["advisoryIDs"] = vec!["INTEL-SA-20001"].into();
        });
        (info, Document::tdx_qe_identity())
    } else {
        (Document::sgx_tcb_info(), Document::sgx_qe_identity())
    };
    let info = info.status(0, platform).advisories(0, &["INTEL-SA-10001"]);
    let identity = identity.status(0, enclave).advisories(0, &["INTEL-SA-30001"]);
    let collateral = intel.collateral(kind).with_tcb_info(intel, &info.text());
    collateral.with_qe_identity(intel, &identity.text())
}

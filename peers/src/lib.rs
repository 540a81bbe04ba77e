// SPDX-License-Identifier: Apache-2.0

//! Recorded evidence for both sides: this verifier and its peers.

use std::path::{Path, PathBuf};

use dcap_qvl::QuoteCollateralV3;
use evidence_pki::Time;
use evidence_verifier::{Endorsements, kind};
use serde_json::Value;
use sev::certs::snp::{Certificate, Chain, builtin, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;

/// In this month AMD's recorded revocation lists are valid.
pub const SNP_TIME: Time = Time::from_unix(1_788_220_800);

/// Where recorded evidence is; `None` with a printed reason if it is not there.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
        PathBuf::from,
    );
    if folder.join("snp").is_dir() {
        return Some(folder);
    }
    println!("skipped: no recorded evidence in {}; set ENARX_VECTORS", folder.display());
    None
}

/// An SNP report with its chip's certificate and the product's revocation list.
#[derive(Debug)]
pub struct SnpCase {
    /// Its folder.
    pub name: String,
    /// `milan`, `genoa` or `turin`.
    pub product: &'static str,
    /// 1,184 bytes.
    pub report: Vec<u8>,
    /// DER.
    pub vek: Vec<u8>,
    /// DER.
    pub crl: Vec<u8>,
}

impl SnpCase {
    /// All recorded reports under a VCEK.
    #[must_use]
    pub fn all(folder: &Path) -> Vec<Self> {
        let mut cases = Vec::new();
        for (name, vek) in [
            ("snp/milan-v2-virtee", "vek.der"),
            ("snp/milan-v2-debug-gsg", "vek.der"),
            ("snp/milan-v2-trustee", "vek.der"),
            ("snp/milan-v3-oak-oc-staging", "vek.der"),
            ("snp/milan-v3-oak-rk-staging", "vek.der"),
            ("snp/genoa-v3-microsoft", "vek.der"),
            ("snp/genoa-v5-lunal", "vek.der"),
            ("snp/turin-v5-microsoft", "vek.der"),
            ("azure/snp-milan-v1", "vcek.der"),
            ("azure/snp-genoa", "vcek.der"),
        ] {
            let product = ["milan", "genoa", "turin"].into_iter().find(|one| name.contains(one));
            let product = product.expect("each name has its product in it");
            let read = |path: String| std::fs::read(folder.join(path)).expect("a recorded file");
            cases.push(Self {
                name: name.into(),
                product,
                report: read(format!("{name}/report.bin")),
                vek: read(format!("{name}/{vek}")),
                crl: read(format!("snp/_roots/{product}/crl-2026-08-19.der")),
            });
        }
        cases
    }

    /// For this verifier.
    #[must_use]
    pub fn endorsements(&self) -> Endorsements<'_> {
        let mut out = Endorsements::new();
        out.push(kind::VEK, &*self.vek).expect("it is small");
        out.push(kind::CRL, &*self.crl).expect("it is small");
        out
    }

    /// The authorities that come with the `sev` crate.
    ///
    /// # Panics
    ///
    /// If they cannot be read.
    #[must_use]
    pub fn sev_authorities(&self) -> ca::Chain {
        let (ark, ask) = match self.product {
            "milan" => (builtin::milan::ark(), builtin::milan::ask()),
            "genoa" => (builtin::genoa::ark(), builtin::genoa::ask()),
            _ => (builtin::turin::ark(), builtin::turin::ask()),
        };
        ca::Chain { ark: ark.expect("built in"), ask: ask.expect("built in") }
    }

    /// What the `sev` crate does for a report, from bytes, with the authorities already read.
    ///
    /// # Errors
    ///
    /// The crate's own words.
    pub fn verify_by_sev(&self, authorities: &ca::Chain) -> Result<(), String> {
        use sev::certs::snp::Verifiable;
        let vek = Certificate::from_der(&self.vek).map_err(|error| error.to_string())?;
        let chain = Chain { ca: authorities.clone(), vek };
        let report =
            AttestationReport::from_bytes(&self.report).map_err(|error| error.to_string())?;
        (&chain, &report).verify().map_err(|error| error.to_string())
    }
}

/// A quote with collateral of one time.
#[derive(Debug)]
pub struct QuoteCase {
    /// Its folder and the time.
    pub name: String,
    /// Whether it is one of TDX.
    pub is_tdx: bool,
    /// The quote.
    pub quote: Vec<u8>,
    /// For this verifier.
    pub endorsements: Endorsements<'static>,
    /// For `dcap-qvl`.
    pub collateral: QuoteCollateralV3,
    /// The time of the collateral.
    pub at: Time,
}

impl QuoteCase {
    /// All recorded quotes with all their collateral, except TCB info of version 2, which neither reads.
    ///
    /// # Panics
    ///
    /// If a recorded file cannot be read.
    #[must_use]
    pub fn all(folder: &Path) -> Vec<Self> {
        let mut cases = Vec::new();
        for tee in ["sgx", "tdx"] {
            let entries = std::fs::read_dir(folder.join(tee)).expect("a folder of recordings");
            let mut names: Vec<_> =
                entries.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            for name in names {
                let path = folder.join(tee).join(&name);
                let case = std::fs::read(path.join("case.json")).expect("a recorded file");
                let case: Value = serde_json::from_slice(&case).expect("JSON");
                for one in case["evaluations"].as_array().expect("evaluations") {
                    let file = one["collateral"].as_str().expect("a file");
                    let text = std::fs::read(folder.join(file)).expect("a recorded file");
                    if one["tcb_info_version"] == 2 {
                        continue;
                    }
                    cases.push(Self {
                        name: format!(
                            "{tee}/{} {}",
                            name.to_string_lossy(),
                            one["at"].as_str().unwrap_or_default()
                        ),
                        is_tdx: tee == "tdx",
                        quote: std::fs::read(path.join("quote.bin")).expect("a recorded file"),
                        endorsements: evidence_dcap::collateral_json(&text).expect("collateral"),
                        collateral: collateral(&text),
                        at: Time::from_unix(one["now"].as_u64().expect("a time")),
                    });
                }
            }
        }
        cases
    }
}

/// The same text as `dcap-qvl` wants it.
fn collateral(text: &[u8]) -> QuoteCollateralV3 {
    let json: Value = serde_json::from_slice(text).expect("JSON");
    let text = |key: &str| json[key].as_str().expect("a text").to_owned();
    let bytes = |key: &str| {
        let text = text(key);
        let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
        (0..text.len()).step_by(2).map(digits).collect::<Vec<u8>>()
    };
    QuoteCollateralV3 {
        pck_crl_issuer_chain: text("pck_crl_issuer_chain"),
        root_ca_crl: bytes("root_ca_crl"),
        pck_crl: bytes("pck_crl"),
        tcb_info_issuer_chain: text("tcb_info_issuer_chain"),
        tcb_info: text("tcb_info"),
        tcb_info_signature: bytes("tcb_info_signature"),
        qe_identity_issuer_chain: text("qe_identity_issuer_chain"),
        qe_identity: text("qe_identity"),
        qe_identity_signature: bytes("qe_identity_signature"),
        pck_certificate_chain: None,
    }
}

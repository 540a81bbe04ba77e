// SPDX-License-Identifier: Apache-2.0

//! TCB info (version 3), QE identity (version 2) and the whole of the collateral.

use evidence_pki::{Time, hex};
use serde_json::{Value, json};

use super::{Authority, Intel, PckBuilder, QuoteKind};
use crate::keys::Key;
use crate::{DAY, NOW};

/// A JSON document that is to be signed: TCB info or QE identity.
#[derive(Debug, Clone)]
pub struct Document(Value);

/// A level of TCB info.
#[derive(Debug, Clone)]
pub struct Level {
    /// SVNs of the 16 components of SGX.
    pub sgx: [u8; 16],
    /// SVN of the PCE.
    pub pce_svn: u16,
    /// SVNs of the 16 components of TDX; for TDX only.
    pub tdx: Option<[u8; 16]>,
    /// Status, as JSON has it.
    pub status: String,
    /// Identifiers of advisories.
    pub advisories: Vec<String>,
}

impl Level {
    fn to_json(&self) -> Value {
        let components =
            |svns: &[u8; 16]| -> Value { svns.iter().map(|svn| json!({ "svn": svn })).collect() };
        let mut tcb = json!({ "sgxtcbcomponents": components(&self.sgx), "pcesvn": self.pce_svn });
        if let Some(tdx) = &self.tdx {
            tcb["tdxtcbcomponents"] = components(tdx);
        }
        let mut level =
            json!({ "tcb": tcb, "tcbDate": "2026-05-13T00:00:00Z", "tcbStatus": self.status });
        if !self.advisories.is_empty() {
            level["advisoryIDs"] = json!(self.advisories);
        }
        level
    }
}

/// A level of a QE identity or of an identity of the TDX module.
fn svn_level(svn: u16, status: &str, advisories: &[&str]) -> Value {
    let mut level = json!({
        "tcb": { "isvsvn": svn },
        "tcbDate": "2026-05-13T00:00:00Z",
        "tcbStatus": status,
    });
    if !advisories.is_empty() {
        level["advisoryIDs"] = json!(advisories);
    }
    level
}

impl Document {
    /// The evaluation number of all documents by default.
    pub const EVALUATION: u64 = 21;

    /// TCB info of SGX for the default platform: [`PckBuilder::COMPONENTS`] are up to date, lower ones are
    /// out of date with `INTEL-SA-00001`, and none at all is revoked.
    #[must_use]
    pub fn sgx_tcb_info() -> Self {
        Self::tcb_info("SGX").levels(&Self::default_levels(None))
    }

    /// TCB info of TDX, likewise. The TDX module of versions 1.5 (`TDX_01`) and 2.0 (`TDX_03`) have
    /// identities of their own.
    #[must_use]
    pub fn tdx_tcb_info() -> Self {
        let levels = Self::default_levels(Some([5, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        let identity = |id: &str, levels: Value| {
            json!({
                "id": id,
                "mrsigner": "00".repeat(48),
                "attributes": "0000000000000000",
                "attributesMask": "FFFFFFFFFFFFFFFF",
                "tcbLevels": levels,
            })
        };
        let out_of_date = svn_level(2, "OutOfDate", &["INTEL-SA-00002"]);
        Self::tcb_info("TDX").levels(&levels).edit(|value| {
            value["tdxModule"] = json!({
                "mrsigner": "00".repeat(48),
                "attributes": "0000000000000000",
                "attributesMask": "FFFFFFFFFFFFFFFF",
            });
            value["tdxModuleIdentities"] = json!([
                identity("TDX_03", json!([svn_level(3, "UpToDate", &[])])),
                identity("TDX_01", json!([svn_level(5, "UpToDate", &[]), out_of_date])),
            ]);
        })
    }

    fn tcb_info(id: &str) -> Self {
        Self(json!({
            "id": id,
            "version": 3,
            "fmspc": hex_upper(&PckBuilder::FMSPC),
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": Self::EVALUATION,
        }))
        .dates(NOW.minus(10 * DAY), NOW.plus(20 * DAY))
    }

    /// Three levels: what the default platform has, less, and nothing.
    fn default_levels(tdx: Option<[u8; 16]>) -> Vec<Level> {
        let level = |sgx, pce_svn, tdx, status: &str, advisories: &[&str]| Level {
            sgx,
            pce_svn,
            tdx,
            status: status.into(),
            advisories: advisories.iter().map(|id| String::from(*id)).collect(),
        };
        let zero = [0; 16];
        vec![
            level(PckBuilder::COMPONENTS, PckBuilder::PCE_SVN, tdx, "UpToDate", &[]),
            level(
                [2, 2, 2, 2, 2, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
                11,
                tdx.map(|_| [3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                "OutOfDate",
                &["INTEL-SA-00001"],
            ),
            level(zero, 5, tdx.map(|_| zero), "Revoked", &["INTEL-SA-00003"]),
        ]
    }

    /// QE identity of SGX: from ISVSVN 8 on up to date, from 5 on out of date with `INTEL-SA-00004`.
    #[must_use]
    pub fn sgx_qe_identity() -> Self {
        let signer = "8C4F5775D796503E96137F77C68A829A0056AC8DED70140B081B094490C57BFF";
        Self::qe_identity("QE", signer, 1)
    }

    /// QE identity of TDX, likewise.
    #[must_use]
    pub fn tdx_qe_identity() -> Self {
        let signer = "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5";
        Self::qe_identity("TD_QE", signer, 2)
    }

    fn qe_identity(id: &str, signer: &str, product: u16) -> Self {
        Self(json!({
            "id": id,
            "version": 2,
            "tcbEvaluationDataNumber": Self::EVALUATION,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": signer,
            "isvprodid": product,
            "tcbLevels": [
                svn_level(8, "UpToDate", &[]),
                svn_level(5, "OutOfDate", &["INTEL-SA-00004"]),
                svn_level(1, "Revoked", &[]),
            ],
        }))
        .dates(NOW.minus(10 * DAY), NOW.plus(20 * DAY))
    }

    /// `issueDate` and `nextUpdate`.
    #[must_use]
    pub fn dates(self, issued: Time, next_update: Time) -> Self {
        self.set("issueDate", issued.to_string()).set("nextUpdate", next_update.to_string())
    }

    /// The levels of TCB info, highest first.
    #[must_use]
    pub fn levels(self, levels: &[Level]) -> Self {
        let levels: Value = levels.iter().map(Level::to_json).collect();
        self.set("tcbLevels", levels)
    }

    /// The levels of a QE identity, highest first: ISVSVN, status, advisories.
    #[must_use]
    pub fn svn_levels(self, levels: &[(u16, &str, &[&str])]) -> Self {
        let levels: Value = levels
            .iter()
            .map(|(svn, status, advisories)| svn_level(*svn, status, advisories))
            .collect();
        self.set("tcbLevels", levels)
    }

    /// The status of the level with that number, counted from 0.
    #[must_use]
    pub fn status(self, level: usize, status: &str) -> Self {
        self.edit(|value| value["tcbLevels"][level]["tcbStatus"] = status.into())
    }

    /// The advisories of the level with that number, counted from 0.
    #[must_use]
    pub fn advisories(self, level: usize, advisories: &[&str]) -> Self {
        self.edit(|value| value["tcbLevels"][level]["advisoryIDs"] = json!(advisories))
    }

    /// A key at the top.
    #[must_use]
    pub fn set(self, key: &str, to: impl Into<Value>) -> Self {
        self.edit(|value| value[key] = to.into())
    }

    /// No such key at the top.
    #[must_use]
    pub fn without(self, key: &str) -> Self {
        self.edit(|value| {
            value.as_object_mut().expect("an object").remove(key);
        })
    }

    /// Changes anything.
    #[must_use]
    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.0);
        self
    }

    /// The bytes that are signed.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.to_string()
    }
}

/// Signs a text as Intel signs JSON: `r ‖ s` over its exact bytes.
#[must_use]
pub fn signed_json(key: &Key, text: &str) -> (String, Vec<u8>) {
    (text.into(), key.sign_fixed(text.as_bytes()))
}

/// What the Provisioning Certification Service says about a platform. Tests replace parts.
#[derive(Debug, Clone)]
pub struct Collateral {
    /// PEM of the issuer of the PCK certificate, and of the root.
    pub pck_crl_issuer_chain: String,
    /// DER of the root's revocation list.
    pub root_ca_crl: Vec<u8>,
    /// DER of the list of revoked PCK certificates.
    pub pck_crl: Vec<u8>,
    /// PEM of who signed TCB info, and of the root.
    pub tcb_info_issuer_chain: String,
    /// TCB info: the signed bytes.
    pub tcb_info: String,
    /// Their signature, 64 bytes.
    pub tcb_info_signature: Vec<u8>,
    /// PEM of who signed the QE identity, and of the root.
    pub qe_identity_issuer_chain: String,
    /// QE identity: the signed bytes.
    pub qe_identity: String,
    /// Their signature, 64 bytes.
    pub qe_identity_signature: Vec<u8>,
}

impl Collateral {
    pub(super) fn new(intel: &Intel, kind: QuoteKind) -> Self {
        let authority: Authority = kind.authority();
        let (tcb_info, qe_identity) = if kind.is_tdx() {
            (Document::tdx_tcb_info(), Document::tdx_qe_identity())
        } else {
            (Document::sgx_tcb_info(), Document::sgx_qe_identity())
        };
        let empty = Self {
            pck_crl_issuer_chain: intel.pck_ca_chain(authority),
            root_ca_crl: intel.root_crl_der(),
            pck_crl: intel.pck_crl_der(authority),
            tcb_info_issuer_chain: intel.tcb_signing_chain(),
            tcb_info: String::new(),
            tcb_info_signature: Vec::new(),
            qe_identity_issuer_chain: intel.tcb_signing_chain(),
            qe_identity: String::new(),
            qe_identity_signature: Vec::new(),
        };
        empty.with_tcb_info(intel, &tcb_info.text()).with_qe_identity(intel, &qe_identity.text())
    }

    /// Other TCB info, signed.
    #[must_use]
    pub fn with_tcb_info(mut self, intel: &Intel, text: &str) -> Self {
        (self.tcb_info, self.tcb_info_signature) = signed_json(intel.tcb_key(), text);
        self
    }

    /// Another QE identity, signed.
    #[must_use]
    pub fn with_qe_identity(mut self, intel: &Intel, text: &str) -> Self {
        (self.qe_identity, self.qe_identity_signature) = signed_json(intel.tcb_key(), text);
        self
    }

    /// TCB info with its signature, as the service answers.
    #[must_use]
    pub fn tcb_info_response(&self) -> String {
        let signature = hex(&self.tcb_info_signature);
        format!(r#"{{"tcbInfo":{},"signature":"{signature}"}}"#, self.tcb_info)
    }

    /// The QE identity with its signature, as the service answers.
    #[must_use]
    pub fn qe_identity_response(&self) -> String {
        let signature = hex(&self.qe_identity_signature);
        format!(r#"{{"enclaveIdentity":{},"signature":"{signature}"}}"#, self.qe_identity)
    }

    /// All of it in one JSON object, binary parts as hexadecimal digits.
    #[must_use]
    pub fn to_json(&self) -> String {
        json!({
            "pck_crl_issuer_chain": self.pck_crl_issuer_chain,
            "root_ca_crl": hex(&self.root_ca_crl),
            "pck_crl": hex(&self.pck_crl),
            "tcb_info_issuer_chain": self.tcb_info_issuer_chain,
            "tcb_info": self.tcb_info,
            "tcb_info_signature": hex(&self.tcb_info_signature),
            "qe_identity_issuer_chain": self.qe_identity_issuer_chain,
            "qe_identity": self.qe_identity,
            "qe_identity_signature": hex(&self.qe_identity_signature),
        })
        .to_string()
    }
}

fn hex_upper(bytes: &[u8]) -> String {
    hex(bytes).to_uppercase()
}

// SPDX-License-Identifier: Apache-2.0

//! The widespread form of collateral: one JSON file with nine fields, named after those of Intel's
//! `sgx_ql_qve_collateral_t`.

use std::borrow::Cow;

use evidence_claims::{Endorsements, kind};
use evidence_pki::{Certificate, Crl, certificates, unhex};

use crate::DcapRefusal;
use crate::document::{is_object, short};
use crate::refusal::{List, Part};

/// The fields. A field that is absent, null or empty is a part of the collateral that is absent.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct File<'a> {
    #[serde(borrow)]
    pck_certificate_chain: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pck_crl_issuer_chain: Option<Cow<'a, str>>,
    #[serde(borrow)]
    root_ca_crl: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pck_crl: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tcb_info_issuer_chain: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tcb_info: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tcb_info_signature: Option<Cow<'a, str>>,
    #[serde(borrow)]
    qe_identity_issuer_chain: Option<Cow<'a, str>>,
    #[serde(borrow)]
    qe_identity: Option<Cow<'a, str>>,
    #[serde(borrow)]
    qe_identity_signature: Option<Cow<'a, str>>,
}

fn wrong(what: impl Into<String>) -> DcapRefusal {
    DcapRefusal::CollateralFile(what.into())
}

fn some<'t>(field: &'t Option<Cow<'_, str>>) -> Option<&'t str> {
    field.as_deref().filter(|text| !text.is_empty())
}

fn bytes(name: &'static str, digits: &str) -> Result<Vec<u8>, DcapRefusal> {
    unhex(digits).ok_or_else(|| wrong(format!("{name} is not in hexadecimal")))
}

/// Turns collateral in one JSON file into endorsements. The signed texts stay as they are, byte by byte.
///
/// The file says which revocation list is which. A list in the wrong place is refused, although
/// endorsements go by issuers: whoever made the file did not know what they did.
///
/// Absent fields are no error here; verifying will miss them.
///
/// # Errors
///
/// [`DcapRefusal::CollateralFile`], [`DcapRefusal::Crl`], [`DcapRefusal::CrlIssuer`],
/// [`DcapRefusal::Certificate`].
pub fn collateral_json(text: &[u8]) -> Result<Endorsements<'static>, DcapRefusal> {
    if text.len() > 2 * Endorsements::MAX_SIZE {
        return Err(wrong("it is larger than 2 MiB"));
    }
    if !is_object(text) {
        return Err(wrong("it is no JSON object"));
    }
    let file: File<'_> =
        serde_json::from_slice(text).map_err(|error| wrong(short(error.to_string())))?;
    let mut out = Endorsements::new();
    let mut push = |kind: &'static str, bytes: Vec<u8>| {
        out.push(kind, bytes).map_err(|error| wrong(error.to_string()))
    };
    let list = |name, field| some(field).map(|digits| bytes(name, digits)).transpose();
    let root_list = list("root_ca_crl", &file.root_ca_crl)?;
    let pck_list = list("pck_crl", &file.pck_crl)?;
    check_lists(&file, root_list.as_deref(), pck_list.as_deref())?;
    for list in [root_list, pck_list].into_iter().flatten() {
        push(kind::CRL, list)?;
    }
    for (kind, field) in [
        (kind::PCK_CHAIN, &file.pck_certificate_chain),
        (kind::TCB_INFO_CHAIN, &file.tcb_info_issuer_chain),
        (kind::QE_IDENTITY_CHAIN, &file.qe_identity_issuer_chain),
    ] {
        if let Some(pem) = some(field) {
            push(kind, pem.as_bytes().to_vec())?;
        }
    }
    for (kind, name, text, signature) in [
        (kind::TCB_INFO, "tcbInfo", &file.tcb_info, &file.tcb_info_signature),
        (kind::QE_IDENTITY, "enclaveIdentity", &file.qe_identity, &file.qe_identity_signature),
    ] {
        if let Some(text) = some(text) {
            let signature = some(signature).unwrap_or_default();
            if !signature.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong(format!("the signature of {name} is not in hexadecimal")));
            }
            let body = format!("{{\"{name}\":{text},\"signature\":\"{signature}\"}}");
            push(kind, body.into_bytes())?;
        }
    }
    Ok(out)
}

/// Each list is of the issuer that the file's chains name.
fn check_lists(
    file: &File<'_>,
    root: Option<&[u8]>,
    pck: Option<&[u8]>,
) -> Result<(), DcapRefusal> {
    let chain = some(&file.pck_crl_issuer_chain).or(some(&file.tcb_info_issuer_chain));
    let Some(chain) = chain else { return Ok(()) };
    let part = Part::PckAuthority;
    let chain = certificates(chain.as_bytes())
        .map_err(|problem| DcapRefusal::Certificate(part, problem))?;
    let Some(last) = chain.last() else { return Ok(()) };
    let last =
        Certificate::parse(last).map_err(|problem| DcapRefusal::Certificate(part, problem))?;
    for (list, which) in [(root, List::Root), (pck, List::Pck)] {
        let Some(list) = list else { continue };
        let list = Crl::parse(list).map_err(DcapRefusal::Crl)?;
        if (list.issuer == last.subject) != (which == List::Root) {
            return Err(DcapRefusal::CrlIssuer(which));
        }
    }
    Ok(())
}

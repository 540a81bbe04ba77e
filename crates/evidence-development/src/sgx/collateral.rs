// SPDX-License-Identifier: Apache-2.0

//! TCB info (version 3) and QE identity (version 2) in the form of Intel's Provisioning Certification Service
//! (API version 4): JSON, whose exact bytes are signed.

use evidence_pki::{Time, hex};

use super::{SgxPlatform, pck, quote};
use crate::{DevelopmentError, Key};

/// TCB info by which the platform is up to date.
pub(super) fn tcb_info(signer: &Key, validity: (Time, Time)) -> Result<Vec<u8>, DevelopmentError> {
    let components: Vec<String> =
        SgxPlatform::CPU_SVN.iter().map(|svn| format!(r#"{{"svn":{svn}}}"#)).collect();
    let text = format!(
        r#"{{"id":"SGX","version":3,{},"fmspc":"{}","pceId":"{}","tcbType":0,{EVALUATION},"tcbLevels":[{{"tcb":{{"sgxtcbcomponents":[{}],"pcesvn":{}}},{}}}]}}"#,
        dates(validity),
        upper(&pck::FMSPC),
        upper(&pck::PCE_ID),
        components.join(","),
        pck::PCE_SVN,
        level(validity.0),
    );
    signed("tcbInfo", &text, signer)
}

/// The identity of the quoting enclave, by which it is up to date.
pub(super) fn qe_identity(
    signer: &Key,
    validity: (Time, Time),
) -> Result<Vec<u8>, DevelopmentError> {
    let text = format!(
        r#"{{"id":"QE","version":2,{},{EVALUATION},"miscselect":"00000000","miscselectMask":"FFFFFFFF","attributes":"{}","attributesMask":"FBFFFFFFFFFFFFFF0000000000000000","mrsigner":"{}","isvprodid":{},"tcbLevels":[{{"tcb":{{"isvsvn":{}}},{}}}]}}"#,
        dates(validity),
        // INIT and PROVISIONKEY; 64 bits are not looked at, nor which vector states are on.
        "11000000000000000000000000000000",
        upper(&quote::QE_SIGNER),
        quote::QE_PRODUCT,
        quote::QE_SVN,
        level(validity.0),
    );
    signed("enclaveIdentity", &text, signer)
}

const EVALUATION: &str = r#""tcbEvaluationDataNumber":1"#;

fn dates((issued, next_update): (Time, Time)) -> String {
    format!(r#""issueDate":"{issued}","nextUpdate":"{next_update}""#)
}

fn level(date: Time) -> String {
    format!(r#""tcbDate":"{date}","tcbStatus":"UpToDate""#)
}

fn upper(bytes: &[u8]) -> String {
    hex(bytes).to_uppercase()
}

fn signed(name: &str, text: &str, signer: &Key) -> Result<Vec<u8>, DevelopmentError> {
    let (r, s) = signer.sign_numbers::<32>(text.as_bytes())?;
    Ok(format!(r#"{{"{name}":{text},"signature":"{}{}"}}"#, hex(&r), hex(&s)).into_bytes())
}

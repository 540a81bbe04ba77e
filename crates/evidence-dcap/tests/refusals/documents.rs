// SPDX-License-Identifier: Apache-2.0

//! Changed TCB info and QE identities, and what they make of a platform.

use super::*;

pub(super) fn cases(cases: &mut Cases) {
    use QuoteKind::{SgxV3, TdxV4};
    let intel = Intel::get();
    for kind in [SgxV3, TdxV4] {
        cases.collateral("dcap.tcb-info-missing", "none", kind, |all| all.tcb_info.clear());
        cases.collateral("dcap.tcb-info-chain-missing", "none", kind, |all| {
            all.tcb_info_issuer_chain.clear();
        });
        cases.collateral("dcap.tcb-info", "no JSON", kind, |all| all.tcb_info = "{".into());
        cases.collateral("dcap.tcb-info", "no object", kind, |all| {
            *all = all.clone().with_tcb_info(intel, "[]");
        });
        cases.collateral("dcap.tcb-info", "short signature", kind, |all| {
            all.tcb_info_signature.pop();
        });
        cases.collateral("dcap.tcb-info-signature", "one more blank", kind, |all| {
            all.tcb_info = all.tcb_info.replacen(':', ": ", 1);
        });
        cases.collateral("dcap.tcb-info-signature", "by another", kind, |all| {
            all.tcb_info_signature = signed_json(intel.root_key(), &all.tcb_info).1;
        });
        cases.collateral("dcap.qe-identity", "no JSON", kind, |all| all.qe_identity = "{".into());
        cases.collateral("dcap.qe-identity-signature", "one more blank", kind, |all| {
            all.qe_identity = all.qe_identity.replacen(':', ": ", 1);
        });
        cases.tcb_info("dcap.tcb-info-version", "2", kind, |one| one.set("version", 2));
        cases.tcb_info("dcap.tcb-info-version", "2, without id", kind, |one| {
            one.set("version", 2).without("id")
        });
        cases.tcb_info("dcap.tcb-info-version", "4, without levels", kind, |one| {
            one.set("version", 4).without("tcbLevels")
        });
        cases.tcb_info("dcap.tcb-info-id", "of nothing", kind, |one| one.set("id", "SEV"));
        cases.tcb_info("dcap.tcb-info-expired", "expired", kind, |one| {
            one.dates(NOW.minus(DAY), NOW.minus(1))
        });
        cases.tcb_info("dcap.tcb-info-not-yet-valid", "not yet", kind, |one| {
            one.dates(NOW.plus(1), NOW.plus(DAY))
        });
        cases.tcb_info("dcap.tcb-level", "no levels", kind, |one| one.levels(&[]));
        cases.tcb_info("dcap.fmspc", "another", kind, |one| one.set("fmspc", "0123456789AB"));
        cases.tcb_info("dcap.pce-id", "another", kind, |one| one.set("pceId", "0001"));
        malformed_tcb_info(cases, kind);

        cases.qe_identity("dcap.qe-identity-version", "3", kind, |one| one.set("version", 3));
        cases.qe_identity("dcap.qe-identity-version", "1, otherwise", kind, |one| {
            one.set("version", 1).without("tcbEvaluationDataNumber")
        });
        cases.qe_identity("dcap.qe-identity-id", "QVE", kind, |one| one.set("id", "QVE"));
        cases.qe_identity("dcap.qe-identity-expired", "expired", kind, |one| {
            one.dates(NOW.minus(DAY), NOW.minus(1))
        });
        cases.qe_identity("dcap.qe-identity-not-yet-valid", "not yet", kind, |one| {
            one.dates(NOW.plus(1), NOW.plus(DAY))
        });
        cases.qe_identity("dcap.qe-level", "no levels", kind, |one| one.svn_levels(&[]));
        for status in ["SWHardeningNeeded", "Fine", ""] {
            cases.qe_identity("dcap.qe-identity", status, kind, |one| one.status(0, status));
        }
        for key in [
            "id",
            "version",
            "issueDate",
            "nextUpdate",
            "tcbEvaluationDataNumber",
            "miscselect",
            "miscselectMask",
            "attributes",
            "attributesMask",
            "mrsigner",
            "isvprodid",
            "tcbLevels",
        ] {
            cases.qe_identity("dcap.qe-identity", key, kind, |one| one.without(key));
            cases.qe_identity("dcap.qe-identity", key, kind, |one| one.set(key, Value::Null));
        }
    }
    let (sgx, tdx) = (Document::sgx_tcb_info(), Document::tdx_tcb_info());
    cases.tcb_info("dcap.tcb-info-id", "of SGX", TdxV4, |_| sgx);
    cases.tcb_info("dcap.tcb-info-id", "of TDX", SgxV3, |_| tdx);
    let (sgx, tdx) = (Document::sgx_qe_identity(), Document::tdx_qe_identity());
    cases.qe_identity("dcap.qe-identity-id", "of SGX", TdxV4, |_| sgx);
    cases.qe_identity("dcap.qe-identity-id", "of TDX", SgxV3, |_| tdx);
    cases.tcb_info("dcap.tcb-info", "no tdxModule", TdxV4, |one| one.without("tdxModule"));
    cases.tcb_info("dcap.tcb-info", "no tdxtcbcomponents", TdxV4, |one| {
        one.edit(|value| {
            value["tcbLevels"][0]["tcb"].as_object_mut().unwrap().remove("tdxtcbcomponents");
        })
    });
    cases.tcb_info("tdx.module-identity", "no identities", TdxV4, |one| {
        one.without("tdxModuleIdentities")
    });
    cases.tcb_info("tdx.module-attributes", "expects another", TdxV4, |one| {
        one.edit(|value| value["tdxModuleIdentities"][1]["attributes"] = "01".repeat(8).into())
    });
    for status in ["TDRelaunchAdvised", "SWHardeningNeeded"] {
        cases.tcb_info("dcap.tcb-info", "status of a module", TdxV4, |one| {
            one.edit(|value| {
                value["tdxModuleIdentities"][1]["tcbLevels"][0]["tcbStatus"] = status.into();
            })
        });
    }
    cases.tcb_info("dcap.tcb-revoked", "module", TdxV4, |one| {
        one.edit(|value| {
            value["tdxModuleIdentities"][1]["tcbLevels"][0]["tcbStatus"] = "Revoked".into();
        })
    });

    let sample = intel.sample(SgxV3);
    for (name, text) in [
        ("no object", "[]".to_owned()),
        ("no object either", "null".to_owned()),
        ("no JSON", "{".to_owned()),
        ("no text", r#"{"tcb_info":{}}"#.to_owned()),
        ("odd digits", r#"{"root_ca_crl":"123"}"#.to_owned()),
        ("no digits", r#"{"pck_crl":"zz"}"#.to_owned()),
        ("quotes", r#"{"tcb_info":"1","tcb_info_signature":"\"}"}"#.to_owned()),
        ("too large", format!(r#"{{"tcb_info":"{}"}}"#, " ".repeat(2 << 20))),
        ("too large for endorsements", format!(r#"{{"tcb_info":"{}"}}"#, " ".repeat(1 << 20))),
    ] {
        let text = Evidence::File(text.into_bytes());
        cases.push("dcap.collateral-file", name, SgxV3, sample.quote.clone(), text);
    }
}

/// What the type of each key rules out.
fn malformed_tcb_info(cases: &mut Cases, kind: QuoteKind) {
    for key in [
        "version",
        "issueDate",
        "nextUpdate",
        "fmspc",
        "pceId",
        "tcbType",
        "tcbEvaluationDataNumber",
        "tcbLevels",
    ] {
        cases.tcb_info("dcap.tcb-info", key, kind, |one| one.without(key));
        for value in [Value::Null, json!({}), json!(1.5), json!(-1), json!("x"), json!(1u64 << 40)]
        {
            let name = format!("{key}: {value}");
            cases.tcb_info("dcap.tcb-info", &name, kind, |one| {
                // A version that is a number is a version.
                one.set(key, value)
            });
        }
    }
    for date in ["2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00+01:00"] {
        cases.tcb_info("dcap.tcb-info", date, kind, |one| one.set("issueDate", date));
    }
    cases.tcb_info("dcap.tcb-info", "tcbType 1", kind, |one| one.set("tcbType", 1));
    for status in ["", "Fine", "TDRelaunchAdvised", "uptodate"] {
        cases.tcb_info("dcap.tcb-info", status, kind, |one| one.status(2, status));
    }
    let path = |name: &str, change: fn(&mut Value)| (name.to_owned(), change);
    for (name, change) in [
        path("15 components", |level| {
            level["tcb"]["sgxtcbcomponents"].as_array_mut().unwrap().pop();
        }),
        path("17 components", |level| {
            let components = level["tcb"]["sgxtcbcomponents"].as_array_mut().unwrap();
            components.push(json!({ "svn": 0 }));
        }),
        path("component 256", |level| level["tcb"]["sgxtcbcomponents"][3]["svn"] = 256.into()),
        path("component of text", |level| level["tcb"]["sgxtcbcomponents"][3]["svn"] = "1".into()),
        path("no svn", |level| level["tcb"]["sgxtcbcomponents"][3] = json!({})),
        path("pcesvn 65536", |level| level["tcb"]["pcesvn"] = 65536.into()),
        path("no tcb", |level| level["tcb"] = Value::Null),
        path("advisories of numbers", |level| level["advisoryIDs"] = json!([1])),
        path("no date", |level| level["tcbDate"] = Value::Null),
    ] {
        cases.tcb_info("dcap.tcb-info", &name, kind, |one| {
            one.edit(|value| change(&mut value["tcbLevels"][1]))
        });
    }
}

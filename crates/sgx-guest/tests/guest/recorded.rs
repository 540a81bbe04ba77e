// SPDX-License-Identifier: Apache-2.0

//! Real reports: the bodies of recorded quotes and of the quoting enclaves in them, against the parser of the
//! verifier, which was written apart.

use std::fs;
use std::path::{Path, PathBuf};

use evidence_dcap::{Body, EnclaveReport, Quote, Tee};
use sgx_guest::attributes::flag;
use sgx_guest::report::{ReportBody, TargetInfo};

fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if folder.join("sgx").is_dir() {
        return Some(folder);
    }
    println!("skipped: no recorded evidence in {}; set ENARX_VECTORS", folder.display());
    None
}

fn same(report: &EnclaveReport<'_>, name: &str) -> ReportBody {
    let body = ReportBody::from_bytes(report.raw).unwrap();
    assert_eq!(body.to_bytes(), *report.raw, "{name}");
    assert_eq!(body.cpu_svn, *report.cpu_svn(), "{name}");
    assert_eq!(body.misc_select, report.misc_select(), "{name}");
    assert_eq!(body.ext_product, *report.ext_product(), "{name}");
    assert_eq!(body.attributes.to_bytes(), *report.attributes(), "{name}");
    assert_eq!(body.attributes.flags, report.flags(), "{name}");
    assert_eq!(body.attributes.xfrm, report.xfrm(), "{name}");
    assert_eq!(body.attributes.is_debug(), report.is_debug(), "{name}");
    assert_eq!(body.measurement, *report.measurement(), "{name}");
    assert_eq!(body.signer, *report.signer(), "{name}");
    assert_eq!(body.config_id, *report.config_id(), "{name}");
    assert_eq!(body.product, report.product(), "{name}");
    assert_eq!(body.svn, report.svn(), "{name}");
    assert_eq!(body.config_svn, report.config_svn(), "{name}");
    assert_eq!(body.family, *report.family(), "{name}");
    assert_eq!(body.data, *report.report_data(), "{name}");
    assert!(report.reserved_is_zero(), "{name}");
    // Whatever runs was initialised, in 64-bit mode; as a target it is who it is.
    assert_eq!(body.attributes.flags & 0b101, flag::INIT | flag::MODE64BIT, "{name}");
    let target = TargetInfo::of(&body);
    assert_eq!(TargetInfo::from_bytes(&target.to_bytes()), Ok(target), "{name}");
    body
}

#[test]
fn bodies_of_recorded_quotes_are_reports() {
    let Some(folder) = folder() else { return };
    let (mut enclaves, mut debug) = (0, 0);
    for parent in ["sgx", "tdx"] {
        for entry in fs::read_dir(folder.join(parent)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(bytes) = fs::read(path.join("quote.bin")) else { continue };
            let name = path.display().to_string();
            let quote = Quote::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            // The quoting enclave is one whatever it quotes.
            let qe = same(&quote.qe_report, &name);
            assert!(!qe.attributes.is_debug() && qe.attributes.flags & flag::PROVISION_KEY != 0);
            assert!(qe.attributes.check_keep().is_err(), "{name}: Intel's is no Keep");
            if let (Body::Sgx(report), Tee::Sgx) = (&quote.body, quote.tee) {
                debug += usize::from(same(report, &name).attributes.is_debug());
                enclaves += 1;
            }
        }
    }
    assert!(enclaves >= 5 && debug >= 1, "{enclaves} enclaves, {debug} under debug");
}

// SPDX-License-Identifier: Apache-2.0

//! Real reports, as a Keep would get them, against the parser of those who verify them.

use std::path::{Path, PathBuf};

use evidence_snp::{REPORT_SIZE, Report};
use snp_guest::host::report_answer;
use snp_guest::request::{REPORT, ReportRequest};

/// All recorded reports; none with a printed reason if there are none.
fn recorded() -> Vec<PathBuf> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let Ok(cases) = std::fs::read_dir(folder.join("snp")) else {
        println!("skipped: no recorded evidence in {}; set ENARX_VECTORS", folder.display());
        return Vec::new();
    };
    let reports = cases.map(|case| case.unwrap().path().join("report.bin"));
    reports.filter(|path| path.is_file()).collect()
}

#[test]
fn real_reports_have_the_layout_that_a_keep_expects() {
    assert_eq!(REPORT, REPORT_SIZE);
    for path in recorded() {
        let bytes = std::fs::read(&path).unwrap();
        let report = Report::new(&bytes).unwrap();
        let request = ReportRequest { report_data: report.report_data(), vmpl: report.vmpl() };
        let answer = report_answer(bytes.as_slice().try_into().unwrap());
        let read = request.read(&answer).unwrap();
        assert_eq!(read[..], bytes[..], "{}", path.display());
        // It is exactly these two fields that are looked at.
        let mut other = bytes.clone();
        other[0x50] ^= 1;
        let answer = report_answer(other.as_slice().try_into().unwrap());
        assert!(request.read(&answer).is_err(), "{}", path.display());
        assert_ne!(Report::new(&other).unwrap().report_data(), request.report_data);
    }
}

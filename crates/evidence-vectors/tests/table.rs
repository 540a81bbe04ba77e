// SPDX-License-Identifier: Apache-2.0

//! Recorded evidence through both cryptographic libraries, and the document that says so.

use std::path::Path;
use std::sync::Arc;

use evidence_crypto::{AwsLc, Crypto, RustCrypto};
use evidence_vectors::{Row, document, folder, run};

#[test]
fn every_case_comes_out_as_it_states() {
    let Some(folder) = folder() else { return };
    let fast: Arc<dyn Crypto> = Arc::new(AwsLc);
    let plain: Arc<dyn Crypto> = Arc::new(RustCrypto);
    let rows = run(&folder, &fast).unwrap();
    let wrong: Vec<_> = rows.iter().filter(|row| !row.agrees).collect();
    let list = |row: &&Row| format!("{}: {}, {}\n", row.case, row.verifier, row.policy);
    assert!(wrong.is_empty(), "{}", wrong.iter().map(list).collect::<String>());
    assert!(rows.len() > 95, "only {} cases", rows.len());
    assert_eq!(rows, run(&folder, &plain).unwrap(), "the two libraries differ");

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors.md");
    let document = document(&rows);
    if std::env::var_os("ENARX_WRITE").is_some() {
        std::fs::write(&path, &document).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document, "docs/vectors.md is not what came out; see its first lines");
}

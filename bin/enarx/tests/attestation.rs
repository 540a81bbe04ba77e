// SPDX-License-Identifier: Apache-2.0

//! The verifier of evidence as a WebAssembly program in Keeps: it says there what it says natively.

#![cfg(target_os = "linux")]

mod common;
#[path = "common/guests.rs"]
mod guests;

use std::path::{Path, PathBuf};

use common::{enarx, show, text};
use guests::guest;

/// Recorded evidence; `None` with a printed reason if it is not there.
fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if folder.join("snp").is_dir() {
        return folder.canonicalize().ok();
    }
    println!("skipped: no recorded evidence in {}; set ENARX_VECTORS", folder.display());
    None
}

common::on_every_backend! {
    fn the_verifier_passes_its_vectors_as_webassembly(backend) {
        let Some(program) = guest("verifier-vectors.wasm") else { return };
        let Some(folder) = vectors() else { return };
        let mut command = enarx();
        command.args(["run", "--quiet", "--backend", backend, "--dir"]);
        command.arg(format!("{}::/vectors", folder.display())).arg(program);
        let out = command.args(["--", "/vectors"]).output().expect("enarx starts");
        assert!(out.status.success(), "{}", show(&out));
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors.md");
        let native = std::fs::read_to_string(page).expect("the table of the native verifier");
        assert!(text(&out.stdout) == native, "the table differs from docs/vectors.md");
    }
}

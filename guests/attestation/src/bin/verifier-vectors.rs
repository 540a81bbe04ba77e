// SPDX-License-Identifier: Apache-2.0

//! Verifies the recorded evidence in the folder that the first argument names, and prints the table.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use evidence_crypto::{Crypto, RustCrypto};

fn main() -> ExitCode {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: verifier-vectors FOLDER");
        return ExitCode::from(2);
    };
    let crypto: Arc<dyn Crypto> = Arc::new(RustCrypto);
    match evidence_vectors::run(Path::new(&folder), &crypto) {
        Ok(rows) => {
            print!("{}", evidence_vectors::document(&rows));
            ExitCode::from(u8::from(!rows.iter().all(|row| row.agrees)))
        }
        Err(error) => {
            eprintln!("verifier-vectors: {error}");
            ExitCode::from(2)
        }
    }
}

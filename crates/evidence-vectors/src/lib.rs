// SPDX-License-Identifier: Apache-2.0

//! Runs the verifier over recorded evidence and says what came out.
//!
//! The recordings are reports, quotes and requests of real processors, and copies of them that somebody
//! tampered with. They belong to others and are no part of this project: tests find them by the
//! environment variable `ENARX_VECTORS`. What each case is worth stands with it, made by other programs
//! than this verifier; [`Row::agrees`] compares.
//!
//! This is a library because it runs twice: as a native test with both cryptographic libraries, and as a
//! WebAssembly program. What it prints is `docs/vectors.md`.

#![forbid(unsafe_code)]

mod derived;
mod quotes;
mod reports;
mod requests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use evidence_crypto::Crypto;
use evidence_verifier::{Claims, Refusal, Time, Verifier};
use steward_policy::Policy;

/// A policy that takes any code on any hardware and is strict in everything that is not code.
pub const POLICY: &str = include_str!("any-code.toml");

/// One case at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Folder or file of the case, and which of its collateral was used.
    pub case: String,
    /// The time for which it was verified.
    pub at: Time,
    /// What the case states.
    pub states: String,
    /// What the verifier says: `genuine` with the status of the platform, or the code of its refusal.
    pub verifier: String,
    /// What the policy [`POLICY`] says of genuine evidence: `admitted`, or the codes of its refusals.
    pub policy: String,
    /// Whether that is what the case states.
    pub agrees: bool,
}

/// Where the recordings are; `None` with a printed reason if they are not there.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ENARX_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if folder.join("snp").is_dir() {
        return Some(folder);
    }
    println!("skipped: no recorded evidence in {}; set ENARX_VECTORS", folder.display());
    None
}

/// Runs all cases.
///
/// # Errors
///
/// If a file of a case cannot be read: then nothing is said of the verifier.
pub fn run(folder: &Path, crypto: &Arc<dyn Crypto>) -> std::io::Result<Vec<Row>> {
    let bench = Bench {
        folder: folder.to_owned(),
        crypto: Arc::clone(crypto),
        verifier: Verifier::new(Arc::clone(crypto)),
        policy: Policy::parse(POLICY).map_err(std::io::Error::other)?,
    };
    let mut rows = reports::run(&bench)?;
    rows.extend(quotes::run(&bench)?);
    rows.extend(derived::run(&bench)?);
    rows.extend(requests::run(&bench)?);
    Ok(rows)
}

/// `docs/vectors.md`.
#[must_use]
pub fn document(rows: &[Row]) -> String {
    use core::fmt::Write;
    let mut out = include_str!("header.md").to_owned();
    for row in rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            row.case,
            row.at,
            row.states,
            row.verifier,
            row.policy,
            if row.agrees { "yes" } else { "**no**" },
        );
    }
    out
}

/// What all cases need.
#[derive(Debug)]
struct Bench {
    folder: PathBuf,
    crypto: Arc<dyn Crypto>,
    verifier: Verifier,
    policy: Policy,
}

impl Bench {
    /// A file of the recordings.
    fn read(&self, path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
        let path = self.folder.join(path);
        std::fs::read(&path)
            .map_err(|error| std::io::Error::other(format!("{}: {error}", path.display())))
    }

    /// A JSON file of the recordings.
    fn json(&self, path: impl AsRef<Path>) -> std::io::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&self.read(path)?)?)
    }

    /// The names in a folder of the recordings, sorted.
    fn names(&self, path: &str) -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.folder.join(path))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('_') {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// What the policy says.
    fn appraise(&self, claims: &Claims) -> String {
        match steward_policy::appraise(claims, None, false, &self.policy) {
            Ok(_) => "admitted".into(),
            Err(refusals) => {
                let codes: Vec<_> = refusals
                    .iter()
                    .map(|refusal| evidence_verifier::Reason::code(refusal))
                    .collect();
                codes.join(", ")
            }
        }
    }

    /// A row for a verdict.
    fn row(
        &self,
        case: String,
        at: Time,
        states: impl Into<String>,
        verdict: &Result<Claims, Refusal>,
        agrees: impl FnOnce(&str, &str) -> bool,
    ) -> Row {
        let (verifier, policy) = match verdict {
            Ok(claims) => {
                let status =
                    claims.tcb_status.map_or(String::new(), |status| format!(": {status}"));
                let debug = if claims.debug { ", debug" } else { "" };
                let name = format!("genuine {}{status}{debug}", claims.product);
                (name, self.appraise(claims))
            }
            Err(refusal) => (refusal.code().to_owned(), "–".to_owned()),
        };
        let agrees = agrees(&verifier, &policy);
        Row { case, at, states: states.into(), verifier, policy, agrees }
    }
}

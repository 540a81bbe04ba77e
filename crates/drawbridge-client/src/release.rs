// SPDX-License-Identifier: Apache-2.0

//! Release policies as people write them: a file of TOML or JSON.

use std::path::{Path, PathBuf};

use drawbridge_types::Release;
use serde::Deserialize;

/// Longest file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// As [`Release`], and roots may be named by file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    steward: String,
    roots: Option<String>,
    roots_file: Option<PathBuf>,
    #[serde(default)]
    platforms: Vec<String>,
    #[serde(default)]
    measurements: Vec<String>,
    #[serde(default)]
    signers: Vec<String>,
    #[serde(default)]
    tcb_statuses: Vec<String>,
    #[serde(default)]
    allow_development: bool,
    max_age: Option<u64>,
}

/// Reads a release policy: JSON if the file's name ends so, else TOML. Its keys are those of [`Release`];
/// in place of `roots` there may be `roots_file`, beside the policy if it is no absolute path.
///
/// # Errors
///
/// [`ReleaseError`].
pub fn read_release(path: &Path) -> Result<Release, ReleaseError> {
    let text = read(path)?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let malformed = |why: String| ReleaseError::Malformed { path: path.to_owned(), why };
    let written: Written = if is_json {
        serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?
    } else {
        toml::from_str(&text).map_err(|error| malformed(error.to_string()))?
    };
    let roots = match (written.roots, written.roots_file) {
        (Some(roots), None) => roots,
        (None, Some(file)) => read(&path.parent().unwrap_or(Path::new("")).join(file))?,
        _ => return Err(malformed("it needs either `roots` or `roots_file`".into())),
    };
    Ok(Release {
        steward: written.steward,
        roots,
        platforms: written.platforms,
        measurements: written.measurements,
        signers: written.signers,
        tcb_statuses: written.tcb_statuses,
        allow_development: written.allow_development,
        max_age: written.max_age,
    })
}

fn read(path: &Path) -> Result<String, ReleaseError> {
    let failed = |source| ReleaseError::Io { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        let why = format!("it has more than {MAX_FILE} bytes");
        return Err(ReleaseError::Malformed { path: path.to_owned(), why });
    }
    std::fs::read_to_string(path).map_err(failed)
}

/// Why a file is no release policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// It cannot be read.
    #[error("cannot read {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It has not the form.
    #[error("{} is no release policy: {why}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_and_json_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        write("roots.pem", "PEM");
        let toml = write(
            "release.toml",
            "steward = \"https://s.example\"\nroots_file = \"roots.pem\"\nplatforms = [\"snp\"]\n",
        );
        let json = write(
            "release.json",
            r#"{"steward":"https://s.example","roots":"PEM","platforms":["snp"]}"#,
        );
        let release = read_release(&toml).unwrap();
        assert_eq!(release, read_release(&json).unwrap());
        assert_eq!((release.roots.as_str(), release.allow_development), ("PEM", false));
        for bad in [
            "",
            "steward = \"x\"",
            "steward = \"x\"\nroots = \"a\"\nroots_file = \"b\"",
            "steward = \"x\"\nroots = \"a\"\nmeasurement = []",
        ] {
            let found = read_release(&write("bad.toml", bad));
            assert!(matches!(found, Err(ReleaseError::Malformed { .. })), "{bad}: {found:?}");
        }
        let missing = write("missing.toml", "steward = \"x\"\nroots_file = \"gone.pem\"");
        assert!(matches!(read_release(&missing), Err(ReleaseError::Io { .. })));
    }
}

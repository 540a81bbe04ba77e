// SPDX-License-Identifier: Apache-2.0

//! Endorsements in files.
//!
//! Vendors' services give out a dozen kinds of files, and nobody wants to name the kind of each. So the
//! kind is recognised: JSON by what is in it, the rest by its name.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use command_line::{OrExit, files, unhex};
use evidence_claims::{Endorsements, kind};
use serde_json::{Value, json};

use crate::exit::{Code, Failure};

/// The kinds that can be named.
const KINDS: [&str; 8] = [
    kind::VEK,
    kind::ASK,
    kind::CRL,
    kind::PCK_CHAIN,
    kind::TCB_INFO,
    kind::TCB_INFO_CHAIN,
    kind::QE_IDENTITY,
    kind::QE_IDENTITY_CHAIN,
];

/// A file or folder of endorsements, as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KindAndFile {
    /// The kind, if it was named.
    kind: Option<&'static str>,
    path: PathBuf,
}

impl FromStr for KindAndFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((name, path)) = text.split_once('=') {
            if let Some(kind) = KINDS.into_iter().find(|kind| *kind == name) {
                return Ok(Self { kind: Some(kind), path: path.into() });
            }
            if !Path::new(text).exists() {
                return Err(format!("`{name}` is not a kind; there are {}", KINDS.join(", ")));
            }
        }
        Ok(Self { kind: None, path: text.into() })
    }
}

/// Reads what was named.
pub(crate) fn load(named: &[KindAndFile]) -> Result<Endorsements<'static>, Failure> {
    let mut all = Endorsements::new();
    for one in named {
        match one.kind {
            Some(kind) => add(&mut all, kind, &one.path)?,
            None if one.path.is_dir() => load_folder(&mut all, &one.path)?,
            None => {
                if !add_recognised(&mut all, &one.path)? {
                    return Err(Failure::msg(
                        Code::Input,
                        format!(
                            "cannot tell what kind of endorsement {path} is; name it: KIND={path}, \
                             where KIND is one of {}",
                            KINDS.join(", "),
                            path = one.path.display()
                        ),
                    ));
                }
            }
        }
    }
    Ok(all)
}

/// Reads a folder, without those in it.
pub(crate) fn folder(path: &Path) -> Result<Endorsements<'static>, Failure> {
    let mut all = Endorsements::new();
    load_folder(&mut all, path)?;
    Ok(all)
}

fn load_folder(all: &mut Endorsements<'static>, folder: &Path) -> Result<(), Failure> {
    let context = || format!("cannot read the folder {}", folder.display());
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .or_exit_with(Code::Input, context)
        .map(|paths: Vec<PathBuf>| paths)?;
    // The order in a folder is by chance, and the first of a kind counts.
    paths.sort();
    for path in paths.iter().filter(|path| path.is_file()) {
        if !add_recognised(all, path)? {
            command_line::warn(format_args!("{} is no endorsement, and not used", path.display()));
        }
    }
    Ok(())
}

/// Adds a file if it is recognised.
fn add_recognised(all: &mut Endorsements<'static>, path: &Path) -> Result<bool, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if name.ends_with(".json") {
        return add_json(all, path);
    }
    let is_certificate = [".der", ".pem", ".crt", ".cer"].iter().any(|end| name.ends_with(end));
    let starts = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
    let kind = match name.contains("chain") {
        _ if name.ends_with(".crl") || is_certificate && name.contains("crl") => kind::CRL,
        true if is_certificate && starts(&["tcb"]) => kind::TCB_INFO_CHAIN,
        true if is_certificate && starts(&["qe"]) => kind::QE_IDENTITY_CHAIN,
        true if is_certificate && starts(&["pck"]) => kind::PCK_CHAIN,
        false if is_certificate && starts(&["vek", "vcek", "vlek"]) => kind::VEK,
        false if is_certificate && starts(&["ask", "asvk"]) => kind::ASK,
        _ => return Ok(false),
    };
    add(all, kind, path)?;
    Ok(true)
}

fn add(all: &mut Endorsements<'static>, kind: &'static str, path: &Path) -> Result<(), Failure> {
    let bytes = files::read(path)?;
    let is_pem = bytes.starts_with(b"-----BEGIN");
    let parts = match kind {
        kind::CRL if is_pem => evidence_pki::pem_blocks(&bytes, "X509 CRL"),
        kind::VEK | kind::ASK if is_pem => evidence_pki::pem_blocks(&bytes, "CERTIFICATE"),
        _ => Ok(vec![bytes.to_vec()]),
    };
    for part in parts.or_exit_with(Code::Input, || format!("cannot read {}", path.display()))? {
        push(all, kind, part, path)?;
    }
    Ok(())
}

fn push(
    all: &mut Endorsements<'static>,
    kind: &'static str,
    bytes: Vec<u8>,
    path: &Path,
) -> Result<(), Failure> {
    all.push(kind, bytes).or_exit_with(Code::Input, || format!("cannot use {}", path.display()))
}

/// Adds what Intel's service gives out, or all of it in one file.
fn add_json(all: &mut Endorsements<'static>, path: &Path) -> Result<bool, Failure> {
    let bytes = files::read(path)?;
    let value: Value = serde_json::from_slice(&bytes)
        .or_exit_with(Code::Input, || format!("{} is not JSON", path.display()))?;
    if value.get("tcbInfo").is_some() {
        push(all, kind::TCB_INFO, bytes.to_vec(), path)?;
    } else if value.get("enclaveIdentity").is_some() {
        push(all, kind::QE_IDENTITY, bytes.to_vec(), path)?;
    } else if value.get("tcb_info").is_some() || value.get("qe_identity").is_some() {
        for (kind, bytes) in one_file(&value).or_exit_with(Code::Input, || {
            format!("{} is not the collateral of a quote", path.display())
        })? {
            push(all, kind, bytes, path)?;
        }
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// The members of a `sgx_ql_qve_collateral_t`, written as JSON: DER in hexadecimal digits, the rest as it
/// is. The bodies are signed as text, so they are put between brackets as they stand.
fn one_file(value: &Value) -> Result<Vec<(&'static str, Vec<u8>)>, anyhow::Error> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let mut out = Vec::new();
    for name in ["root_ca_crl", "pck_crl"] {
        if let Some(digits) = text(name) {
            let der = unhex(digits)
                .ok_or_else(|| anyhow::anyhow!("`{name}` is not hexadecimal digits"))?;
            out.push((kind::CRL, der));
        }
    }
    for (kind, name, member) in [
        (kind::TCB_INFO, "tcb_info", "tcbInfo"),
        (kind::QE_IDENTITY, "qe_identity", "enclaveIdentity"),
    ] {
        if let Some(body) = text(name) {
            let signature = text(&format!("{name}_signature"))
                .ok_or_else(|| anyhow::anyhow!("`{name}_signature` is missing"))?;
            let signature = json!(signature);
            out.push((
                kind,
                format!(r#"{{"{member}":{body},"signature":{signature}}}"#).into_bytes(),
            ));
        }
    }
    for (kind, name) in [
        (kind::TCB_INFO_CHAIN, "tcb_info_issuer_chain"),
        (kind::QE_IDENTITY_CHAIN, "qe_identity_issuer_chain"),
        (kind::PCK_CHAIN, "pck_certificate_chain"),
    ] {
        out.extend(text(name).map(|chain| (kind, chain.as_bytes().to_vec())));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_recognised_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "ask.der",
            "crl-ark.der",
            "root.crl",
            "pck-chain.pem",
            "qe-identity-chain.pem",
            "tcb-info-chain.pem",
            "vcek.der",
        ] {
            fs::write(folder.path().join(name), [0x30, 0]).unwrap();
        }
        fs::write(folder.path().join("tcb.json"), r#"{"tcbInfo":{},"signature":""}"#).unwrap();
        fs::write(folder.path().join("qe.json"), r#"{"enclaveIdentity":{}}"#).unwrap();
        fs::write(folder.path().join("report.bin"), "").unwrap();
        let all = super::folder(folder.path()).unwrap();
        for kind in KINDS {
            let wanted = if kind == kind::CRL { 2 } else { 1 };
            assert_eq!(all.all(kind).count(), wanted, "{kind}");
        }
        let one = folder.path().join("report.bin").display().to_string();
        assert!(load(&[one.parse().unwrap()]).is_err());
        let named = load(&[format!("vek={one}").parse().unwrap()]).unwrap();
        assert_eq!(named.first(kind::VEK), Some(&[][..]));
        assert!("nothing=file".parse::<KindAndFile>().is_err());
    }

    #[test]
    fn what_a_host_fetched_is_taken_as_it_is() {
        // The names in the caches of `enarx platform`, in their folders `collateral`.
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "milan.crl",
            "ask-milan.der",
            "ask-vlek-milan.der",
            "root-ca.crl",
            "pck-processor.crl",
            "pck-platform.crl",
            "tcb-info-chain.pem",
            "qe-identity-chain.pem",
        ] {
            fs::write(folder.path().join(name), [0x30, 0]).unwrap();
        }
        let (info, identity) = (r#"{"tcbInfo":{}}"#, r#"{"enclaveIdentity":{}}"#);
        fs::write(folder.path().join("tcb-info.json"), info).unwrap();
        fs::write(folder.path().join("qe-identity.json"), identity).unwrap();
        let all = super::folder(folder.path()).unwrap();
        let counts = KINDS.map(|kind| all.all(kind).count());
        assert_eq!(KINDS.into_iter().zip(counts).filter(|(_, count)| *count == 0).count(), 2);
        assert_eq!((all.all(kind::CRL).count(), all.all(kind::ASK).count()), (4, 2));
        assert!(all.first(kind::VEK).is_none() && all.first(kind::PCK_CHAIN).is_none());
    }

    #[test]
    fn one_file_is_taken_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("collateral.json");
        let text = json!({
            "root_ca_crl": "3000", "pck_crl": "3001",
            "tcb_info": "{\"id\": \"SGX\"}", "tcb_info_signature": "ab",
            "tcb_info_issuer_chain": "chain",
        });
        fs::write(&path, text.to_string()).unwrap();
        let all = load(&[KindAndFile { kind: None, path: path.clone() }]).unwrap();
        assert_eq!(all.all(kind::CRL).collect::<Vec<_>>(), [[0x30, 0], [0x30, 1]]);
        let info = all.first(kind::TCB_INFO).unwrap();
        assert_eq!(info, br#"{"tcbInfo":{"id": "SGX"},"signature":"ab"}"#);
        fs::write(&path, r#"{"tcb_info":"{}"}"#).unwrap();
        assert!(load(&[KindAndFile { kind: None, path }]).is_err());
    }
}

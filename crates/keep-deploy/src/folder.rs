// SPDX-License-Identifier: Apache-2.0

//! Steps 11 and 12 without a Drawbridge: the host hands over a folder, in which nothing is believed either.
//!
//! Its digest is reckoned as who publishes such a folder reckons it, from the files that may be in a package.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use drawbridge_types::{Directory, Entry, Hasher, Meta, file, media};
use enarx_config::Config;

use crate::package::{self, Checked, MAX_ARTIFACT, MAX_CONFIG, MAX_OTHER, MAX_WASM, Package, Pin};
use crate::steward::step;
use crate::{DeployError, Host, Loader};

/// Most files of a folder.
const MAX_FILES: usize = 64;

/// Reads a workload.
pub(crate) fn read<L: Loader>(
    host: &dyn Host,
    folder: &Path,
    pin: &Pin,
    loader: &L,
) -> Result<Package<L::Memory>, DeployError> {
    let names = list(folder)?;
    let config = match names.iter().any(|name| name == file::CONFIG) {
        true => read_all(folder, file::CONFIG, MAX_CONFIG)?,
        false => (Vec::new(), Meta::of(&[], media::TOML)),
    };
    let module = read_all(folder, file::WASM, MAX_WASM)?;
    let digest = |of: &[u8]| -> Result<[u8; 32], DeployError> {
        let wanted = drawbridge_types::ContentDigest::of(of);
        let mut checked = Checked::of(file::WASM, &wanted, MAX_WASM)?;
        checked.update(of)?;
        checked.finish()
    };
    let module_digest = digest(&module.0)?;

    // A module alone is its own root.
    if names.len() == 1 && pin.digest.check(&module.1.digest).is_ok() {
        told(host, pin, 1, module.1.length);
        let (config, module) = (Config::default(), module.0);
        return Ok(Package { config, module, module_digest, artifact: None, files: vec![] });
    }

    let mut directory = Directory::default();
    let mut files = Vec::new();
    let mut artifact = None;
    let mut bytes = 0_u64;
    for name in &names {
        let meta = match name.as_str() {
            file::WASM => module.1.clone(),
            file::CONFIG => config.1.clone(),
            file::ARTIFACT => {
                let (memory, meta) = read_artifact(folder, loader)?;
                artifact = Some(memory);
                meta
            }
            name => {
                let (content, meta) = read_all(folder, name, MAX_OTHER)?;
                files.push((name.to_owned(), content));
                meta
            }
        };
        bytes = bytes.saturating_add(meta.length);
        let name = name.parse().map_err(|error| unreadable(name, &error))?;
        directory.insert(name, Entry::new(meta));
    }
    let mut root = Checked::of("(root)", &pin.digest, u64::MAX)?;
    root.update(&directory.to_bytes())?;
    root.finish()?;
    told(host, pin, names.len(), bytes);

    let config = package::config(&config.0)?;
    let named = package::named_files(&config);
    files.retain(|(name, _)| named.contains(&name.as_str()));
    if let Some(name) = named.iter().find(|name| !files.iter().any(|(file, _)| file == *name)) {
        return Err(DeployError::Missing { file: (*name).to_owned() });
    }
    let artifact = artifact.filter(|_| config.compiler.tenant);
    Ok(Package { config, module: module.0, module_digest, artifact, files })
}

fn told(host: &dyn Host, pin: &Pin, files: usize, bytes: u64) {
    step(host, 11, format!("{files} files, {bytes} bytes, from the host"));
    step(host, 12, format!("every byte is what {} says", pin.text));
}

/// The names of the files, each of which may be in a package.
fn list(folder: &Path) -> Result<Vec<String>, DeployError> {
    let shown = folder.display().to_string();
    let failed = |error: io::Error| unreadable(&shown, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if kind(&name).is_none() || names.len() >= MAX_FILES {
            let why = "it does not belong into a workload".to_owned();
            return Err(DeployError::File { file: name, why });
        }
        names.push(name);
    }
    if !names.iter().any(|name| name == file::WASM) {
        return Err(DeployError::Missing { file: file::WASM.to_owned() });
    }
    Ok(names)
}

/// The media type with which a file of that name is published.
fn kind(name: &str) -> Option<&'static str> {
    match name {
        file::WASM => Some(media::WASM),
        file::CONFIG => Some(media::TOML),
        file::ARTIFACT => Some(media::ARTIFACT),
        name if name.ends_with(".pem") && !name.starts_with('.') => Some(media::PEM),
        _ => None,
    }
}

fn read_all(folder: &Path, name: &str, max: u64) -> Result<(Vec<u8>, Meta), DeployError> {
    let failed = |error: io::Error| unreadable(name, &error);
    let mut content = Vec::new();
    let file = File::open(folder.join(name)).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    content.reserve_exact(usize::try_from(len.min(max)).unwrap_or(0).saturating_add(1));
    file.take(max.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > max {
        return Err(DeployError::TooLong { file: name.to_owned(), len, max });
    }
    let meta = Meta::of(&content, kind(name).unwrap_or(media::OCTETS));
    Ok((content, meta))
}

fn read_artifact<L: Loader>(folder: &Path, loader: &L) -> Result<(L::Memory, Meta), DeployError> {
    let name = file::ARTIFACT;
    let failed = |error: io::Error| unreadable(name, &error);
    let mut file = File::open(folder.join(name)).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if len > MAX_ARTIFACT {
        return Err(DeployError::TooLong { file: name.to_owned(), len, max: MAX_ARTIFACT });
    }
    let mut memory = loader.memory(len).map_err(failed)?;
    let mut hasher = Hasher::all();
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0_u64;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        let part = buffer.get(..count).unwrap_or_default();
        length = length.saturating_add(count as u64);
        hasher.update(part);
        package::write(&mut memory, name, part)?;
    }
    Ok((memory, Meta { digest: hasher.finish(), length, kind: media::ARTIFACT.to_owned() }))
}

fn unreadable(file: &str, error: &dyn std::fmt::Display) -> DeployError {
    DeployError::File { file: file.to_owned(), why: error.to_string() }
}

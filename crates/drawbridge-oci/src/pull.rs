// SPDX-License-Identifier: Apache-2.0

//! Pulling. Everything arrives under a name of its own and is moved to the one that was asked for when all of
//! it is there and the digest is right.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use drawbridge_client::Package;
use drawbridge_types::{ContentDigest, EntryName, file, media};
use oci_client::Reference;
use oci_client::manifest::{OciDescriptor, OciImageManifest, OciManifest};
use tokio::io::AsyncWrite;

use crate::registry::{Registry, reference};
use crate::{ARTIFACT, CONFIG, FILE, OciError, WORKLOAD};

/// Largest WebAssembly file and largest native code in bytes, as in packages.
const MAX_WASM: u64 = 100_000_000;
const MAX_ARTIFACT: u64 = 1 << 30;

/// What was pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Digest of the manifest.
    pub manifest: String,
    /// Digest of the workload.
    pub workload: String,
    /// Names of the files; empty if it is a file alone.
    pub files: Vec<String>,
}

impl Registry {
    /// Pulls `registry/repository[:tag][@digest]` to `path`: a folder, or a file if the artifact has nothing but
    /// WebAssembly. Nothing is overwritten; an empty folder may be there. The workload must have the digest
    /// `wanted`, if there is one.
    ///
    /// # Errors
    ///
    /// [`OciError`].
    pub async fn pull(
        &self,
        place: &str,
        path: &Path,
        wanted: Option<&str>,
    ) -> Result<Pulled, OciError> {
        let place = reference(place)?;
        let what = format!("pulling {place}");
        let (manifest, digest) = self.image(&what, &place).await?;
        if manifest.config.media_type != CONFIG {
            let kind = &manifest.config.media_type;
            return Err(OciError::Form(format!("its config is of the type `{kind}`")));
        }
        let layer = only_layer(&manifest, media::WASM, MAX_WASM)?;
        let annotations = manifest.annotations.unwrap_or_default();
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let new = tempfile::Builder::new()
            .prefix(".enarx-")
            .tempdir_in(parent)
            .map_err(OciError::file("write to", parent))?;
        let wasm = new.path().join(file::WASM);
        self.download(&what, &place, &layer, &wasm).await?;
        let texts = texts(&annotations)?;
        for (name, text) in &texts {
            let place = new.path().join(name.as_str());
            tokio::fs::write(&place, text).await.map_err(OciError::file("write", &place))?;
        }
        if let Some(artifact) = annotations.get(ARTIFACT) {
            check_digest(artifact)?;
            let from = place.clone_with_digest(artifact.clone());
            let (manifest, _) = self.image(&what, &from).await?;
            let layer = only_layer(&manifest, media::ARTIFACT, MAX_ARTIFACT)?;
            self.download(&what, &from, &layer, &new.path().join(file::ARTIFACT)).await?;
        }
        // One that other tools pushed has no other files.
        let is_file = texts.is_empty() && !annotations.contains_key(ARTIFACT);
        let package = Package::from_path(if is_file { &wasm } else { new.path() })?;
        let workload = package.digest();
        for wanted in annotations.get(WORKLOAD).map(String::as_str).into_iter().chain(wanted) {
            if wanted != workload {
                let wanted = wanted.chars().filter(|one| !one.is_control()).take(100).collect();
                return Err(OciError::Digest { wanted, found: workload });
            }
        }
        let mut files = Vec::new();
        if is_file {
            // Fails if there is a file of that name, where renaming would replace it.
            std::fs::hard_link(&wasm, path).map_err(OciError::file("create", path))?;
        } else {
            let names = package.files().iter().filter_map(|one| one.name.as_ref());
            files = names.map(|name| name.as_str().to_owned()).collect();
            make_readable(new.path())?;
            std::fs::rename(new.path(), path).map_err(OciError::file("create", path))?;
            // It has another name now; there is nothing to remove.
            let _ = new.keep();
        }
        Ok(Pulled { manifest: digest, workload, files })
    }

    /// A manifest and its digest, which the library checks if the reference names one.
    async fn image(
        &self,
        what: &str,
        place: &Reference,
    ) -> Result<(OciImageManifest, String), OciError> {
        let found = self.client.pull_manifest(place, &self.auth).await;
        match found.map_err(OciError::registry(what))? {
            (OciManifest::Image(manifest), digest) => Ok((manifest, digest)),
            (OciManifest::ImageIndex(_), _) => {
                Err(OciError::Form("it is an index of several artifacts".into()))
            }
        }
    }

    /// Fetches a blob; the library checks its digest.
    async fn download(
        &self,
        what: &str,
        place: &Reference,
        layer: &OciDescriptor,
        path: &Path,
    ) -> Result<(), OciError> {
        let file = tokio::fs::File::create(path).await.map_err(OciError::file("create", path))?;
        let left = u64::try_from(layer.size).unwrap_or_default();
        let out = Bounded { file, left };
        self.client.pull_blob(place, layer, out).await.map_err(OciError::registry(what))
    }
}

/// The only layer, which must be of that type and not too large.
fn only_layer(
    manifest: &OciImageManifest,
    kind: &str,
    limit: u64,
) -> Result<OciDescriptor, OciError> {
    let [layer] = manifest.layers.as_slice() else {
        return Err(OciError::Form(format!("it has {} layers, not one", manifest.layers.len())));
    };
    if layer.media_type != kind {
        return Err(OciError::Form(format!("its layer is of the type `{}`", layer.media_type)));
    }
    check_digest(&layer.digest)?;
    if u64::try_from(layer.size).is_ok_and(|size| size <= limit) {
        Ok(layer.clone())
    } else {
        Err(OciError::Form(format!("its layer has more than {limit} bytes")))
    }
}

/// A digest becomes part of a URL.
fn check_digest(digest: &str) -> Result<(), OciError> {
    match ContentDigest::from_workload(digest) {
        Ok(_) => Ok(()),
        Err(error) => Err(OciError::Form(format!("a digest in it is none: {error}"))),
    }
}

fn texts(annotations: &BTreeMap<String, String>) -> Result<BTreeMap<EntryName, &str>, OciError> {
    let mut out = BTreeMap::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(FILE) else { continue };
        let name: EntryName = name.parse().map_err(|error| OciError::Form(format!("{error}")))?;
        if [file::WASM, file::ARTIFACT].contains(&name.as_str()) {
            return Err(OciError::Form(format!("it has {name} as an annotation")));
        }
        out.insert(name, text.as_str());
    }
    Ok(out)
}

fn make_readable(path: &Path) -> Result<(), OciError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
            .map_err(OciError::file("write", path))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// A file that takes no more than what was promised.
struct Bounded {
    file: tokio::fs::File,
    left: u64,
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.len() as u64 > self.left {
            return Poll::Ready(Err(io::Error::other("the blob is longer than its manifest says")));
        }
        let done = Pin::new(&mut self.file).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = done {
            self.left = self.left.saturating_sub(count as u64);
        }
        done
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(context)
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Pushing: blobs first, manifests last, so that there is never a manifest without its blobs.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use drawbridge_client::{Package, PackageFile};
use drawbridge_types::{Algorithm, Hasher, file, media};
use futures_util::stream;
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use oci_client::{Reference, RegistryOperation};
use tokio::io::AsyncReadExt as _;

use crate::registry::{Registry, reference};
use crate::{ARTIFACT, CONFIG, FILE, MAX_ANNOTATIONS, OciError, WORKLOAD, config};

/// Bytes of a file that are in memory at one time.
const PART: usize = 4 << 20;
/// The empty config of an artifact that has none (OCI image specification, "Guidance for an empty descriptor").
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Digest of the manifest.
    pub manifest: String,
    /// Digest of the workload.
    pub workload: String,
}

impl Registry {
    /// Pushes a package under `registry/repository:tag`.
    ///
    /// # Errors
    ///
    /// [`OciError`].
    pub async fn push(&self, place: &str, package: &Package) -> Result<Pushed, OciError> {
        let place = reference(place)?;
        let Some(tag) = place.tag() else {
            let why = "it has to name a tag".into();
            return Err(OciError::Reference { text: place.to_string(), why });
        };
        let mut annotations = texts(package)?;
        annotations.insert(WORKLOAD.to_owned(), package.digest());
        let wasm = package
            .file(file::WASM)
            .ok_or_else(|| OciError::Form("there is no main.wasm in it".into()))?;
        let bytes =
            tokio::fs::read(&wasm.path).await.map_err(OciError::file("read", &wasm.path))?;
        let layer = descriptor(wasm)?;
        if sha256(&bytes) != layer.digest {
            return Err(OciError::Form("main.wasm was changed meanwhile".into()));
        }
        let config = config::of(&bytes, &layer.digest).map_err(OciError::Form)?;
        let what = format!("pushing {place}");
        self.client
            .auth(&place, &self.auth, RegistryOperation::Push)
            .await
            .map_err(OciError::registry(what.clone()))?;
        self.blob(&what, &place, &layer.digest, bytes.into()).await?;
        let config = self.config(&what, &place, CONFIG, config).await?;
        if let Some(artifact) = package.file(file::ARTIFACT) {
            let beside = Reference::with_tag(
                place.registry().to_owned(),
                place.repository().to_owned(),
                format!("{tag}-artifact"),
            );
            let digest = self.artifact(&what, &beside, artifact).await?;
            annotations.insert(ARTIFACT.to_owned(), digest);
        }
        let manifest = OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            config,
            layers: vec![layer],
            annotations: Some(annotations),
            ..OciImageManifest::default()
        };
        let manifest = self.manifest(&what, &place, &manifest).await?;
        Ok(Pushed { manifest, workload: package.digest() })
    }

    /// Pushes native code as an artifact of its own; the digest of its manifest.
    async fn artifact(
        &self,
        what: &str,
        place: &Reference,
        artifact: &PackageFile,
    ) -> Result<String, OciError> {
        let layer = descriptor(artifact)?;
        if !self.has(place, &layer.digest).await {
            let content = stream_file(&artifact.path).await?;
            self.client
                .push_blob_stream(place, content, &layer.digest, Some(artifact.meta.length))
                .await
                .map_err(OciError::registry(what))?;
        }
        let config = self.config(what, place, EMPTY.0, EMPTY.1.to_vec()).await?;
        let manifest = OciImageManifest {
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.to_owned()),
            artifact_type: Some(media::ARTIFACT.to_owned()),
            config,
            layers: vec![layer],
            ..OciImageManifest::default()
        };
        self.manifest(what, place, &manifest).await
    }

    async fn config(
        &self,
        what: &str,
        place: &Reference,
        kind: &str,
        bytes: Vec<u8>,
    ) -> Result<OciDescriptor, OciError> {
        let descriptor = OciDescriptor {
            media_type: kind.to_owned(),
            digest: sha256(&bytes),
            size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            ..OciDescriptor::default()
        };
        self.blob(what, place, &descriptor.digest, bytes.into()).await?;
        Ok(descriptor)
    }

    async fn blob(
        &self,
        what: &str,
        place: &Reference,
        digest: &str,
        bytes: Bytes,
    ) -> Result<(), OciError> {
        if self.has(place, digest).await {
            return Ok(());
        }
        let done = self.client.push_blob(place, bytes, digest).await;
        done.map(drop).map_err(OciError::registry(what))
    }

    /// A registry that does not say is one that has not.
    async fn has(&self, place: &Reference, digest: &str) -> bool {
        self.client.blob_exists(place, digest).await.unwrap_or(false)
    }

    async fn manifest(
        &self,
        what: &str,
        place: &Reference,
        manifest: &OciImageManifest,
    ) -> Result<String, OciError> {
        let bytes = serde_json::to_vec(manifest)
            .map_err(|error| OciError::registry(what)(OciDistributionError::JsonError(error)))?;
        let digest = sha256(&bytes);
        let kind = OCI_IMAGE_MEDIA_TYPE.parse().map_err(|_| OciError::Form("no type".into()))?;
        self.client
            .push_manifest_raw(place, bytes, kind)
            .await
            .map_err(OciError::registry(what))?;
        Ok(digest)
    }
}

/// The text files of a package as annotations.
fn texts(package: &Package) -> Result<BTreeMap<String, String>, OciError> {
    let mut out = BTreeMap::new();
    let mut length = 0;
    for one in package.files() {
        let Some(name) = one.name.as_ref().map(|name| name.as_str()) else { continue };
        if [file::WASM, file::ARTIFACT].contains(&name) {
            continue;
        }
        let fault = |why| OciError::Text { path: one.path.clone(), why };
        let bytes = std::fs::read(&one.path).map_err(OciError::file("read", &one.path))?;
        length += bytes.len();
        if length > MAX_ANNOTATIONS {
            return Err(fault("with it, the texts of the package have more than 1 MiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| fault("it is not a text in UTF-8"))?;
        out.insert(format!("{FILE}{name}"), text);
    }
    Ok(out)
}

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new([Algorithm::Sha256]);
    hasher.update(bytes);
    hasher.finish().workload().unwrap_or_default()
}

fn descriptor(file: &PackageFile) -> Result<OciDescriptor, OciError> {
    Ok(OciDescriptor {
        media_type: file.meta.kind.clone(),
        digest: file.meta.digest.workload().unwrap_or_default(),
        size: i64::try_from(file.meta.length)
            .map_err(|_| OciError::Form("a file is too large".into()))?,
        ..OciDescriptor::default()
    })
}

async fn stream_file(
    path: &Path,
) -> Result<impl stream::Stream<Item = Result<Bytes, OciDistributionError>> + use<>, OciError> {
    let file = tokio::fs::File::open(path).await.map_err(OciError::file("read", path))?;
    Ok(stream::try_unfold(file, |mut file| async move {
        let mut part = Vec::with_capacity(PART);
        (&mut file).take(PART as u64).read_to_end(&mut part).await?;
        Ok((!part.is_empty()).then(|| (Bytes::from(part), file)))
    }))
}

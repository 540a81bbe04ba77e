// SPDX-License-Identifier: Apache-2.0

//! Where the store is: a folder, or a bucket.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::StoreError;
use crate::stage::Staging;

/// The store's objects, and for a folder that folder: what is large goes in and out of it as files.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) folder: Option<PathBuf>,
    /// Where content is written while it comes in; on the store's own file system if it is a folder.
    pub(crate) staging: Staging,
}

impl Place {
    pub(crate) fn open(url: &str) -> Result<Self, StoreError> {
        if let Some(folder) = url.strip_prefix("file:") {
            let parsed = Url::parse(url).ok().and_then(|url| url.to_file_path().ok());
            return Self::folder(parsed.unwrap_or_else(|| PathBuf::from(folder)));
        }
        if url.starts_with("s3:") {
            return Self::bucket(url);
        }
        if url.contains("://") {
            return Err(StoreError::Url(
                "a store is a folder, `file:///FOLDER` or `s3://BUCKET/PREFIX`".into(),
            ));
        }
        Self::folder(PathBuf::from(url))
    }

    fn folder(folder: PathBuf) -> Result<Self, StoreError> {
        if folder.as_os_str().is_empty() {
            return Err(StoreError::Url("the name of the store's folder is empty".into()));
        }
        make_private(&folder)?;
        let folder = folder.canonicalize().map_err(StoreError::io("find the store's folder"))?;
        let staging = folder.join("staging");
        make_private(&staging)?;
        let files = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
        Ok(Self { objects: Arc::new(files), folder: Some(folder), staging: Staging::Own(staging) })
    }

    fn bucket(url: &str) -> Result<Self, StoreError> {
        let parsed = Url::parse(url).map_err(|error| StoreError::Url(error.to_string()))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(StoreError::Url(
                "credentials do not belong into the URL; set AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY"
                    .into(),
            ));
        }
        let bucket = parsed.host_str().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.ok_or_else(|| StoreError::Url("the URL names no bucket".into()))?;
        let s3 = AmazonS3Builder::from_env().with_bucket_name(bucket).build()?;
        let prefix = Path::from(parsed.path());
        let objects: Arc<dyn ObjectStore> = if prefix.as_ref().is_empty() {
            Arc::new(s3)
        } else {
            Arc::new(PrefixStore::new(s3, prefix))
        };
        Ok(Self { objects, folder: None, staging: Staging::Shared(std::env::temp_dir()) })
    }

    /// The file behind a name, if the store is a folder.
    pub(crate) fn file(&self, key: &Path) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(key.parts().fold(folder.clone(), |path, part| path.join(part.as_ref())))
    }
}

/// A folder that nobody else may look into.
fn make_private(folder: &std::path::Path) -> Result<(), StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(StoreError::io("make the store's folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_three_spellings() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a b");
        let text = path.to_str().unwrap();
        let url = Url::from_file_path(&path).unwrap().to_string();
        for spelling in [text, &format!("file:{text}"), &url] {
            let place = Place::open(spelling).unwrap();
            assert_eq!(place.folder.unwrap(), path.canonicalize().unwrap(), "{spelling}");
        }
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for url in ["", "gs://bucket", "s3://", "s3://key:secret@bucket/x", "http://example.com"] {
            assert!(Place::open(url).is_err(), "{url}");
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Fetching a package. Everything arrives under a name of its own first, and gets the one that was asked for
//! when all of it is there and every digest is right; so there is never half a package.

use std::path::Path;

use drawbridge_signatures::{PublicKey, entry_of, verify_jws};
use drawbridge_types::{Directory, MAX_DIRECTORY, Meta, Slug, TagEntry, media};
use reqwest::header::{CONTENT_RANGE, RANGE};
use reqwest::{Method, StatusCode};
use semver::Version;
use tokio::fs::File;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use url::Url;

use crate::client::pinned;
use crate::{Client, Error, Progress, package};

/// How a package is fetched.
#[derive(Debug, Default)]
pub struct Fetch {
    /// Keys of which one must have signed the tag; without any, no signature is needed.
    pub signers: Vec<PublicKey>,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The tag that the slug stood for.
    pub tag: Version,
    /// The digest of the workload.
    pub digest: String,
    /// Whether the owner has withdrawn it.
    pub yanked: bool,
    /// Names of the files; empty if it is a file alone.
    pub files: Vec<String>,
}

impl Client {
    /// Fetches what a slug stands for to `path`: a folder, or a file if the package is one. Nothing is
    /// overwritten; an empty folder may be there.
    ///
    /// # Errors
    ///
    /// All.
    pub async fn fetch(
        &self,
        slug: &Slug,
        path: &Path,
        how: &Fetch,
        progress: &dyn Progress,
    ) -> Result<Fetched, Error> {
        let terms = self.terms(slug).await?;
        let root = match self.tag(&slug.user, &slug.repo, &terms.tag).await? {
            TagEntry::Signed(jws) if how.signers.is_empty() => entry_of(&jws)?,
            TagEntry::Signed(jws) => verify_jws(&jws, &how.signers)?,
            TagEntry::Unsigned(entry) if how.signers.is_empty() => entry,
            TagEntry::Unsigned(_) => {
                return Err(
                    drawbridge_signatures::SignatureError::NoTrustedKey(how.signers.len()).into()
                );
            }
        }
        .meta;
        pinned(slug, &root.digest)?;
        if root != terms.meta {
            return Err(self.0.answer(&format!("asked for {slug}"), "terms and tag differ"));
        }
        let digest = root.digest.workload().ok_or_else(|| Error::Content {
            name: slug.to_string(),
            why: "it has no SHA-256 digest".into(),
        })?;
        let version = terms.tag.to_string();
        let tree = [slug.user.as_str(), slug.repo.as_str(), "_tag", &version, "tree"];
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let files = if root.kind == media::DIRECTORY {
            self.folder(&tree, &root, parent, path, progress).await?
        } else {
            let new = tempfile::Builder::new()
                .prefix(".enarx-")
                .tempfile_in(parent)
                .map_err(Error::file("write to", parent))?;
            let url = self.0.url(&tree);
            self.download(drawbridge_types::file::WASM, url, &root, new.path(), progress).await?;
            make_readable(new.path())?;
            new.persist_noclobber(path)
                .map_err(|error| Error::file("create", path)(error.error))?;
            Vec::new()
        };
        Ok(Fetched { tag: terms.tag, digest, yanked: terms.yanked, files })
    }

    async fn folder(
        &self,
        tree: &[&str],
        root: &Meta,
        parent: &Path,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<Vec<String>, Error> {
        let url = self.0.url(tree);
        let what = "asked for the directory";
        let make = || self.0.request(Method::GET, url.clone());
        let (_, bytes) = self.0.read(what, MAX_DIRECTORY, make).await?;
        check("the directory", root, &Meta::of(&bytes, media::DIRECTORY))?;
        let directory = Directory::from_bytes(&bytes)?;
        let new = tempfile::Builder::new()
            .prefix(".enarx-")
            .tempdir_in(parent)
            .map_err(Error::file("write to", parent))?;
        let mut files = Vec::new();
        for (name, entry) in directory.entries() {
            let name = name.as_str();
            if entry.meta.kind == media::DIRECTORY {
                let why = "it is a folder within the package, which has none".into();
                return Err(Error::Content { name: name.to_owned(), why });
            }
            let parts: Vec<&str> = tree.iter().copied().chain([name]).collect();
            let place = new.path().join(name);
            self.download(name, self.0.url(&parts), &entry.meta, &place, progress).await?;
            files.push(name.to_owned());
        }
        make_readable(new.path())?;
        // Replaces an empty folder, and nothing else.
        std::fs::rename(new.path(), path).map_err(Error::file("create", path))?;
        // It has another name now; there is nothing to remove.
        let _ = new.keep();
        Ok(files)
    }

    /// Fetches one file, going on where it broke off.
    async fn download(
        &self,
        name: &str,
        url: Url,
        meta: &Meta,
        path: &Path,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let limit = package::limit(&meta.kind).max(package::limit(media::ARTIFACT));
        if meta.length > limit {
            let why = format!("it has more than {limit} bytes");
            return Err(Error::Content { name: name.to_owned(), why });
        }
        let what = format!("fetching {name}");
        let mut file = File::create(path).await.map_err(Error::file("create", path))?;
        let (mut hasher, mut offset, mut failed) = (meta.digest.hasher(), 0_u64, 0);
        progress.begin(name, meta.length);
        loop {
            let make = || {
                let request = self.0.request(Method::GET, url.clone());
                match offset {
                    0 => request,
                    _ => request.header(RANGE, format!("bytes={offset}-")),
                }
            };
            let mut response = self.0.send(&what, make).await?;
            let begins = format!("bytes {offset}-");
            let goes_on = response.status() == StatusCode::PARTIAL_CONTENT
                && response
                    .headers()
                    .get(CONTENT_RANGE)
                    .and_then(|range| range.to_str().ok())
                    .is_some_and(|range| range.starts_with(&begins));
            if offset != 0 && !goes_on {
                (hasher, offset) = (meta.digest.hasher(), 0);
                file.rewind().await.map_err(Error::file("write", path))?;
                file.set_len(0).await.map_err(Error::file("write", path))?;
            }
            let before = offset;
            let error = loop {
                match response.chunk().await {
                    Ok(Some(part)) => {
                        offset += part.len() as u64;
                        if offset > meta.length {
                            let why = format!("it has more than {} bytes", meta.length);
                            return Err(Error::Content { name: name.to_owned(), why });
                        }
                        hasher.update(&part);
                        file.write_all(&part).await.map_err(Error::file("write", path))?;
                        progress.at(name, offset);
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            match error {
                None => break,
                Some(error) => {
                    failed = if offset > before { 1 } else { failed + 1 };
                    if failed >= self.0.attempts {
                        return Err(self.0.broken(&what, error));
                    }
                    self.0.wait(failed, None).await;
                }
            }
        }
        file.flush().await.map_err(Error::file("write", path))?;
        file.sync_all().await.map_err(Error::file("write", path))?;
        let found = Meta { digest: hasher.finish(), length: offset, kind: meta.kind.clone() };
        check(name, meta, &found)?;
        progress.end(name);
        Ok(())
    }
}

fn check(name: &str, wanted: &Meta, found: &Meta) -> Result<(), Error> {
    let why = if wanted.length != found.length {
        format!("it has {} bytes, not {}", found.length, wanted.length)
    } else if let Err(mismatch) = wanted.digest.check(&found.digest) {
        mismatch.to_string()
    } else {
        return Ok(());
    };
    Err(Error::Content { name: name.to_owned(), why })
}

/// Temporary files are for their owner alone; what was fetched is as public as the user's mask has it.
fn make_readable(path: &Path) -> Result<(), Error> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(Error::file("write", path))?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

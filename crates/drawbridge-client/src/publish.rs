// SPDX-License-Identifier: Apache-2.0

//! Publishing a package: the tag, the directory, then the files.
//!
//! The order is the published one. A Drawbridge shows a tag to nobody before its tree is complete, and the same
//! package can be published again to finish what broke off.

use std::io::SeekFrom;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use drawbridge_signatures::{SigningKey, entry_of, sign_jws};
use drawbridge_types::{Entry, Meta, Slug, TagEntry, TagRequest, media};
use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION};
use semver::Version;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use url::Url;

use crate::client::{pinned, status};
use crate::{Client, Error, Package, Progress};

/// Files up to this length in bytes are sent at once, larger ones in parts of it.
const PART: u64 = 8 << 20;
/// A server has so long to hear that an upload is given up. It removes it some day in any case.
const GIVE_UP: Duration = Duration::from_secs(5);
/// The name under which progress is told of a file that is the whole package.
const ALONE: &str = "main.wasm";

/// How a package is published.
#[derive(Debug, Default)]
pub struct Publish {
    /// Signs the tag.
    pub key: Option<SigningKey>,
    /// A sigstore bundle over the package's root, which is put beside the tag.
    pub bundle: Option<Vec<u8>>,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The tag.
    pub tag: Version,
    /// The digest of the workload.
    pub digest: String,
    /// Whether the tag had been there before, perhaps incomplete.
    pub existed: bool,
}

impl Client {
    /// Publishes a package as the version that the slug names.
    ///
    /// # Errors
    ///
    /// [`Error::NoVersion`]; [`Error::Pinned`] if the slug names another digest; [`Error::Taken`] if there
    /// is other content with that name; and all others.
    pub async fn publish(
        &self,
        slug: &Slug,
        package: &Package,
        how: &Publish,
        progress: &dyn Progress,
    ) -> Result<Published, Error> {
        let tag = version(slug)?;
        pinned(slug, &package.root().digest)?;
        let entry = Entry::new(package.root().clone());
        let record = match &how.key {
            Some(key) => TagEntry::Signed(sign_jws(&entry, key)?),
            None => TagEntry::Unsigned(entry),
        };
        let existed = match self.create_tag(&slug.user, &slug.repo, &tag, &record).await {
            Ok(()) => false,
            // It may be ours, from a try that broke off.
            Err(error) if status(&error) == Some(409) => {
                let found = match self.tag(&slug.user, &slug.repo, &tag).await {
                    Ok(TagEntry::Unsigned(entry)) => entry,
                    Ok(TagEntry::Signed(jws)) => entry_of(&jws)?,
                    // Then what it refused counts.
                    Err(_) => return Err(error),
                };
                if found.meta.digest.check(&package.root().digest).is_err() {
                    return Err(Error::Taken {
                        slug: format!("{}/{}:{tag}", slug.user, slug.repo),
                        found: found.meta.digest.workload().unwrap_or_default(),
                    });
                }
                true
            }
            Err(error) => return Err(error),
        };
        if let Some(bundle) = &how.bundle {
            let done = self.create_bundle(&slug.user, &slug.repo, &tag, bundle.clone()).await;
            ignore_conflict(done, existed)?;
        }
        let version = tag.to_string();
        let tree = [slug.user.as_str(), slug.repo.as_str(), "_tag", &version, "tree"];
        if let Some(directory) = package.directory() {
            let body = Bytes::copy_from_slice(directory);
            let done = self
                .put_bytes("sending the directory", self.0.url(&tree), body, media::DIRECTORY)
                .await;
            ignore_conflict(done, existed)?;
        }
        for file in package.files() {
            let name = file.name.as_ref().map_or(ALONE, |name| name.as_str());
            let path = file.name.as_ref().map(|name| name.as_str());
            progress.begin(name, file.meta.length);
            let parts: Vec<&str> = tree.iter().copied().chain(path).collect();
            let uploads = self.uploads(&tree, path);
            let done = if file.meta.length <= PART {
                self.put_file(name, self.0.url(&parts), &file.path, &file.meta).await
            } else {
                self.upload(name, uploads, &file.path, &file.meta, progress).await
            };
            ignore_conflict(done, existed)?;
            progress.end(name);
        }
        Ok(Published { tag, digest: package.digest(), existed })
    }

    fn uploads(&self, tree: &[&str], path: Option<&str>) -> Url {
        let parts: Vec<&str> =
            tree.iter().copied().filter(|part| *part != "tree").chain(["_uploads"]).collect();
        let mut url = self.0.url(&parts);
        url.query_pairs_mut().append_pair("path", path.unwrap_or_default());
        url
    }

    async fn put_file(&self, name: &str, url: Url, path: &Path, meta: &Meta) -> Result<(), Error> {
        let mut file = File::open(path).await.map_err(Error::file("read", path))?;
        let body = read_part(&mut file, path, 0, meta.length).await?;
        let digest = meta.digest.to_string();
        let make = || {
            self.0
                .request(Method::PUT, url.clone())
                .header("content-digest", &digest)
                // Left out by the library if the body is empty.
                .header(CONTENT_LENGTH, body.len())
                .header(CONTENT_TYPE, &meta.kind)
                .body(body.clone())
        };
        self.0.send(&format!("sending {name}"), make).await.map(drop)
    }

    /// Sends a file in parts. After a part without an answer, the server is asked how far it has come.
    async fn upload(
        &self,
        name: &str,
        uploads: Url,
        path: &Path,
        meta: &Meta,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let what = format!("sending {name}");
        let digest = meta.digest.to_string();
        let begin = || {
            self.0
                .request(Method::POST, uploads.clone())
                .header("content-digest", &digest)
                .header(CONTENT_TYPE, &meta.kind)
                .header("upload-length", meta.length)
                .timeout(self.0.timeout)
        };
        let response = self.0.send(&what, begin).await?;
        let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let place = place.and_then(|place| self.0.base.join(place).ok());
        // Somebody else must not get the token.
        let Some(place) = place.filter(|place| place.origin() == self.0.base.origin()) else {
            return Err(self.0.answer(&what, "it does not say where the upload goes"));
        };
        let sent = self.parts(&what, name, &place, path, meta, progress).await;
        if sent.is_err() {
            // Who tries again begins anew, so what has arrived would only take room.
            let give_up = self.0.request(Method::DELETE, place);
            let _ = give_up.timeout(self.0.timeout.min(GIVE_UP)).send().await;
        }
        sent
    }

    /// The parts of an upload that has begun, and its end.
    async fn parts(
        &self,
        what: &str,
        name: &str,
        place: &Url,
        path: &Path,
        meta: &Meta,
        progress: &dyn Progress,
    ) -> Result<(), Error> {
        let mut file = File::open(path).await.map_err(Error::file("read", path))?;
        let (mut offset, mut failed) = (0, 0);
        while offset < meta.length {
            let length = PART.min(meta.length - offset);
            let body = read_part(&mut file, path, offset, length).await?;
            let range = format!("bytes {offset}-{}/{}", offset + length - 1, meta.length);
            let part = self
                .0
                .request(Method::PATCH, place.clone())
                .header(CONTENT_RANGE, &range)
                .header(CONTENT_TYPE, media::OCTETS)
                .body(body)
                .send()
                .await;
            match part {
                Ok(response) if response.status().is_success() => {
                    (offset, failed) = (offset + length, 0);
                }
                other => {
                    failed += 1;
                    let status = other.as_ref().map(|response| response.status().as_u16()).ok();
                    tracing::debug!(name, offset, status, "a part was not taken");
                    self.0.wait(failed, None).await;
                    let ask =
                        || self.0.request(Method::HEAD, place.clone()).timeout(self.0.timeout);
                    let answer = self.0.send(what, ask).await?;
                    let at = answer.headers().get("upload-offset");
                    let at = at.and_then(|at| at.to_str().ok()?.parse::<u64>().ok());
                    let Some(at) = at.filter(|at| *at <= meta.length) else {
                        return Err(self.0.answer(what, "it does not say how far the upload is"));
                    };
                    if at > offset {
                        failed = 0;
                    } else if failed >= self.0.attempts {
                        return Err(match other {
                            Err(error) => self.0.broken(what, error),
                            Ok(response) if response.status().is_success() => {
                                self.0.answer(what, "it takes no more of the upload")
                            }
                            Ok(response) => self.0.refusal(what, response).await,
                        });
                    }
                    offset = at;
                }
            }
            progress.at(name, offset);
        }
        let finish = || self.0.request(Method::PUT, place.clone());
        self.0.send(what, finish).await.map(drop)
    }
}

async fn read_part(file: &mut File, path: &Path, offset: u64, length: u64) -> Result<Bytes, Error> {
    // At most `PART`.
    let mut part = vec![0; usize::try_from(length).unwrap_or_default()];
    file.seek(SeekFrom::Start(offset)).await.map_err(Error::file("read", path))?;
    // Whoever shortened it since has another package now.
    file.read_exact(&mut part).await.map_err(Error::file("read", path))?;
    Ok(part.into())
}

/// What a former try has sent already is not sent again.
fn ignore_conflict(done: Result<(), Error>, existed: bool) -> Result<(), Error> {
    match done {
        Err(error) if existed && status(&error) == Some(409) => Ok(()),
        other => other,
    }
}

/// The version that a slug names.
pub(crate) fn version(slug: &Slug) -> Result<Version, Error> {
    match &slug.tag {
        Some(TagRequest::Exact(version)) => Ok(version.clone()),
        _ => Err(Error::NoVersion(slug.to_string())),
    }
}

// SPDX-License-Identifier: Apache-2.0

//! The client, and everything that is one question and one answer.

use std::time::Duration;

use drawbridge_signatures::MAX_BUNDLE;
use drawbridge_types::{
    ContentDigest, Page, RepoName, Repository, RepositorySummary, Slug, TagEntry, TagRequest,
    TagSummary, Terms, UserName, UserRecord, media,
};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH};
use reqwest::{Certificate, Method};
use semver::Version;
use serde::Serialize;
use url::Url;

use crate::Error;
use crate::transport::{MAX_RECORD, Transport};

/// How a client is set up.
#[derive(Clone)]
pub struct Builder {
    host: String,
    token: Option<String>,
    roots: Vec<u8>,
    timeout: Duration,
    attempts: u32,
    pause: Duration,
}

// Not derived: there is a token in it.
impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Builder {
    /// The token of the user who asks.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The only certificate authorities to trust, PEM; without, those of the system.
    #[must_use]
    pub fn ca_bundle(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = pem.into();
        self
    }

    /// Longest time for a connection, for the answer to a question, and between two parts of a transfer;
    /// 30 seconds by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often something is tried, four times by default, and the pause after the first try, which
    /// doubles from there; a quarter of a second by default.
    #[must_use]
    pub fn retries(mut self, attempts: u32, pause: Duration) -> Self {
        (self.attempts, self.pause) = (attempts.max(1), pause);
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`].
    pub fn build(self) -> Result<Client, Error> {
        let failed = |why: String| Error::Setup { host: self.host.clone(), why };
        let base = Url::parse(&format!("https://{}/", self.host))
            .map_err(|error| failed(error.to_string()))?;
        if base.path() != "/" || base.host().is_none() || !base.username().is_empty() {
            return Err(failed("it is no host".into()));
        }
        let mut http = reqwest::Client::builder()
            .https_only(true)
            .connect_timeout(self.timeout)
            .read_timeout(self.timeout)
            // A Drawbridge answers itself; somebody else must not get the token.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("enarx/", env!("CARGO_PKG_VERSION")))
            .tls_backend_rustls();
        if !self.roots.is_empty() {
            let roots = Certificate::from_pem_bundle(&self.roots)
                .map_err(|error| failed(format!("the CA bundle cannot be read: {error}")))?;
            if roots.is_empty() {
                return Err(failed("the CA bundle has no certificates in it".into()));
            }
            http = http.tls_certs_only(roots);
        }
        let http = http.build().map_err(|error| failed(chain(&error)))?;
        let token = match &self.token {
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| failed("the token has characters that no token has".into()))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Client(Transport {
            http,
            base,
            host: self.host,
            token,
            attempts: self.attempts,
            pause: self.pause,
            timeout: self.timeout,
        }))
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// A client of one Drawbridge, over HTTPS.
#[derive(Debug)]
pub struct Client(pub(crate) Transport);

impl Client {
    /// For the Drawbridge at that host, `name` or `name:port`, as in [`Slug::host`].
    #[must_use]
    pub fn builder(host: impl Into<String>) -> Builder {
        Builder {
            host: host.into(),
            token: None,
            roots: Vec::new(),
            timeout: Duration::from_secs(30),
            attempts: 4,
            pause: Duration::from_millis(250),
        }
    }

    /// The Drawbridge.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.0.host
    }

    /// Terms of release of what a slug stands for; without a tag, of the latest.
    ///
    /// # Errors
    ///
    /// [`Error::Pinned`] if it has another digest than the slug says, and all others.
    pub async fn terms(&self, slug: &Slug) -> Result<Terms, Error> {
        let what = format!("asked for {slug}");
        let asked = slug.tag.as_ref().unwrap_or(&TagRequest::Latest);
        let tag = asked.to_string();
        let url = self.0.url(&[slug.user.as_str(), slug.repo.as_str(), "_resolve", &tag]);
        let (_, terms): (_, Terms) =
            self.0.json(&what, || self.0.request(Method::GET, url.clone())).await?;
        if terms.user != slug.user || terms.repo != slug.repo || !asked.matches(&terms.tag) {
            return Err(self.0.answer(&what, "it is about another workload"));
        }
        pinned(slug, &terms.meta.digest)?;
        Ok(terms)
    }

    /// What is stored of a user.
    ///
    /// # Errors
    ///
    /// All but those of files and content.
    pub async fn user(&self, user: &UserName) -> Result<UserRecord, Error> {
        let url = self.0.url(&[user.as_str()]);
        let what = format!("asked for user {user}");
        Ok(self.0.json(&what, || self.0.request(Method::GET, url.clone())).await?.1)
    }

    /// Creates a user.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn create_user(&self, user: &UserName, record: &UserRecord) -> Result<(), Error> {
        let what = format!("creating user {user}");
        self.put(&what, &[user.as_str()], record, None).await
    }

    /// Deletes a user with all repositories.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn delete_user(&self, user: &UserName) -> Result<(), Error> {
        self.call(Method::DELETE, &format!("deleting user {user}"), &[user.as_str()]).await
    }

    /// A page of a user's repositories.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn repositories(
        &self,
        user: &UserName,
        after: Option<&str>,
    ) -> Result<Page<RepositorySummary>, Error> {
        let what = format!("asked for the repositories of {user}");
        self.page(&what, &[user.as_str(), "_repositories"], &[], after).await
    }

    /// A page of the repositories that a search finds.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn search(
        &self,
        query: &str,
        after: Option<&str>,
    ) -> Result<Page<RepositorySummary>, Error> {
        self.page("searching", &["_search"], &[("q", query)], after).await
    }

    /// A repository, and its `ETag`, which [`Client::change_repository`] needs.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn repository(
        &self,
        user: &UserName,
        repo: &RepoName,
    ) -> Result<(Repository, Option<String>), Error> {
        let what = format!("asked for {user}/{repo}");
        let url = self.0.url(&[user.as_str(), repo.as_str()]);
        let (response, repository) =
            self.0.json(&what, || self.0.request(Method::GET, url.clone())).await?;
        let etag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        Ok((repository, etag.map(str::to_owned)))
    }

    /// Creates a repository.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn create_repository(
        &self,
        user: &UserName,
        repo: &RepoName,
        repository: &Repository,
    ) -> Result<(), Error> {
        let what = format!("creating {user}/{repo}");
        self.put(&what, &[user.as_str(), repo.as_str()], repository, None).await
    }

    /// Changes a repository, if it is still the one with that `ETag`.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn change_repository(
        &self,
        user: &UserName,
        repo: &RepoName,
        repository: &Repository,
        etag: &str,
    ) -> Result<(), Error> {
        let what = format!("changing {user}/{repo}");
        self.put(&what, &[user.as_str(), repo.as_str()], repository, Some(etag)).await
    }

    /// Deletes a repository with all tags.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn delete_repository(&self, user: &UserName, repo: &RepoName) -> Result<(), Error> {
        let what = format!("deleting {user}/{repo}");
        self.call(Method::DELETE, &what, &[user.as_str(), repo.as_str()]).await
    }

    /// A page of a repository's tags.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn tags(
        &self,
        user: &UserName,
        repo: &RepoName,
        after: Option<&str>,
    ) -> Result<Page<TagSummary>, Error> {
        let what = format!("asked for the tags of {user}/{repo}");
        self.page(&what, &[user.as_str(), repo.as_str(), "_tag"], &[("limit", "100")], after).await
    }

    /// A tag, as its owner put it. A signature is not checked.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn tag(
        &self,
        user: &UserName,
        repo: &RepoName,
        tag: &Version,
    ) -> Result<TagEntry, Error> {
        let what = format!("asked for {user}/{repo}:{tag}");
        let url = self.0.url(&[user.as_str(), repo.as_str(), "_tag", &tag.to_string()]);
        let (response, body) =
            self.0.read(&what, MAX_RECORD, || self.0.request(Method::GET, url.clone())).await?;
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        match kind {
            Some(media::JWS) => Ok(TagEntry::Signed(body)),
            Some(media::ENTRY) => match serde_json::from_slice(&body) {
                Ok(entry) => Ok(TagEntry::Unsigned(entry)),
                Err(error) => Err(self.0.answer(&what, error)),
            },
            _ => Err(self.0.answer(&what, "it is no tag")),
        }
    }

    /// Creates a tag. Its tree has to follow.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn create_tag(
        &self,
        user: &UserName,
        repo: &RepoName,
        tag: &Version,
        entry: &TagEntry,
    ) -> Result<(), Error> {
        let what = format!("creating {user}/{repo}:{tag}");
        let (body, kind) = match entry {
            TagEntry::Signed(jws) => (jws.clone(), media::JWS),
            TagEntry::Unsigned(entry) => {
                let body = serde_json::to_vec(entry).map_err(|e| self.0.answer(&what, e))?;
                (body, media::ENTRY)
            }
        };
        let url = self.0.url(&[user.as_str(), repo.as_str(), "_tag", &tag.to_string()]);
        self.put_bytes(&what, url, body.into(), kind).await
    }

    /// Withdraws a tag, or undoes that. It is still released by its exact name.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn yank(
        &self,
        user: &UserName,
        repo: &RepoName,
        tag: &Version,
        yanked: bool,
    ) -> Result<(), Error> {
        let what = format!("withdrawing {user}/{repo}:{tag}");
        let method = if yanked { Method::PUT } else { Method::DELETE };
        let tag = tag.to_string();
        self.call(method, &what, &[user.as_str(), repo.as_str(), "_tag", &tag, "_yank"]).await
    }

    /// Deletes a tag. Its version is never given out again.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn delete_tag(
        &self,
        user: &UserName,
        repo: &RepoName,
        tag: &Version,
    ) -> Result<(), Error> {
        let what = format!("deleting {user}/{repo}:{tag}");
        let tag = tag.to_string();
        self.call(Method::DELETE, &what, &[user.as_str(), repo.as_str(), "_tag", &tag]).await
    }

    /// The sigstore bundle beside a tag; none if there is none. It is not checked.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn bundle(
        &self,
        user: &UserName,
        repo: &RepoName,
        tag: &Version,
    ) -> Result<Option<Vec<u8>>, Error> {
        let what = format!("asked for the signature of {user}/{repo}:{tag}");
        let tag = tag.to_string();
        let url = self.0.url(&[user.as_str(), repo.as_str(), "_tag", &tag, "_signature"]);
        let make = || self.0.request(Method::GET, url.clone());
        match self.0.read(&what, MAX_BUNDLE, make).await {
            Ok((_, body)) => Ok(Some(body)),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts a sigstore bundle beside an unsigned tag.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn create_bundle(
        &self,
        user: &UserName,
        repo: &RepoName,
        tag: &Version,
        bundle: Vec<u8>,
    ) -> Result<(), Error> {
        let what = format!("signing {user}/{repo}:{tag}");
        let tag = tag.to_string();
        let url = self.0.url(&[user.as_str(), repo.as_str(), "_tag", &tag, "_signature"]);
        self.put_bytes(&what, url, bundle.into(), media::SIGSTORE).await
    }

    async fn page<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        parts: &[&str],
        query: &[(&str, &str)],
        after: Option<&str>,
    ) -> Result<Page<T>, Error> {
        let mut url = self.0.url(parts);
        if !query.is_empty() || after.is_some() {
            url.query_pairs_mut().extend_pairs(query).extend_pairs(after.map(|a| ("after", a)));
        }
        Ok(self.0.json(what, || self.0.request(Method::GET, url.clone())).await?.1)
    }

    async fn call(&self, method: Method, what: &str, parts: &[&str]) -> Result<(), Error> {
        let url = self.0.url(parts);
        let make = || self.0.request(method.clone(), url.clone()).timeout(self.0.timeout);
        self.0.send(what, make).await.map(drop)
    }

    async fn put(
        &self,
        what: &str,
        parts: &[&str],
        record: &impl Serialize,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        let url = self.0.url(parts);
        let make = || {
            let request = self.0.request(Method::PUT, url.clone()).json(record);
            match etag {
                Some(etag) => request.header(IF_MATCH, etag),
                None => request,
            }
            .timeout(self.0.timeout)
        };
        self.0.send(what, make).await.map(drop)
    }

    /// Puts content that is at hand.
    pub(crate) async fn put_bytes(
        &self,
        what: &str,
        url: Url,
        body: bytes::Bytes,
        kind: &str,
    ) -> Result<(), Error> {
        let digest = ContentDigest::of(&body).to_string();
        let make = || {
            self.0
                .request(Method::PUT, url.clone())
                .header("content-digest", &digest)
                // Left out by the library if the body is empty.
                .header(CONTENT_LENGTH, body.len())
                .header(CONTENT_TYPE, kind)
                .body(body.clone())
        };
        self.0.send(what, make).await.map(drop)
    }
}

/// The status of a refusal.
pub(crate) fn status(error: &Error) -> Option<u16> {
    error.problem().map(|problem| problem.status)
}

/// Whether the digest in the slug, if there is one, is that of what was found.
pub(crate) fn pinned(slug: &Slug, found: &ContentDigest) -> Result<(), Error> {
    match &slug.digest {
        Some(wanted) if wanted.check(found).is_err() => Err(Error::Pinned {
            wanted: wanted.workload().unwrap_or_else(|| wanted.to_string()),
            found: found.workload().unwrap_or_else(|| found.to_string()),
        }),
        _ => Ok(()),
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Steps 9 to 12 with a Drawbridge: mutual TLS, release, and a tree of which each node is held against its
//! parent, the root against the pin.
//!
//! A Drawbridge is not trusted with anything but to release what it has. `Content-Digest` and
//! `Content-Length` are its word and decide nothing. Nor does the signature of a signed tag: whatever it
//! covers is the digest, which is pinned already, so its payload is read and its signature is not.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use drawbridge_types::{Directory, Entry, MAX_DIRECTORY, Meta, file, media};
use enarx_config::{Config, Peer};
use hyper::Request;
use hyper::header::{ACCEPT, CONTENT_TYPE};
use keep_net::{Body, Http, Net, Response, Url};
use serde::Deserialize;

use crate::error::Problem;
use crate::package::{self, Checked, MAX_ARTIFACT, MAX_CONFIG, MAX_OTHER, MAX_WASM, Package, Pin};
use crate::steward::step;
use crate::{DeployError, Host, Loader, Memory};

/// Longest tag in bytes, signed or not.
const MAX_TAG: usize = 64 << 10;
/// How long a Drawbridge has for anything, however short.
const PATIENCE: Duration = Duration::from_secs(30);
/// What it has to send in a second, beyond that.
const SLOWEST: u64 = 64 << 10;

/// One connection to a Drawbridge, and the tag that is fetched over it.
struct Drawbridge {
    http: Http,
    /// `https://host:port`.
    origin: String,
    /// The path of the tag.
    tag: String,
}

/// Fetches a workload.
pub(crate) async fn fetch<L: Loader>(
    net: &Net,
    host: &dyn Host,
    tag: &str,
    pin: &Pin,
    loader: &L,
) -> Result<Package<L::Memory>, DeployError> {
    let silent = |source| DeployError::DrawbridgeSilent { url: tag.to_owned(), source };
    let url = Url::parse(tag).map_err(silent)?;
    let peer = Peer::new(&url.host, url.port);
    let http = net.http(&peer).await.map_err(silent)?;
    let origin = tag.strip_suffix(&url.path).unwrap_or(tag).to_owned();
    step(
        host,
        9,
        format!("TLS to {}:{}, with the certificate of this Keep at hand", url.host, url.port),
    );
    let path = url.path.trim_end_matches('/').to_owned();
    let mut drawbridge = Drawbridge { http, origin, tag: path };

    let root = drawbridge.tag(pin).await?;
    step(host, 10, format!("the Drawbridge releases {} to this Keep", pin.text));

    let mut count = Count { files: 0, bytes: 0 };
    let package = drawbridge.package(&root.meta, pin, loader, &mut count).await?;
    step(host, 11, format!("{} files, {} bytes", count.files, count.bytes));
    step(host, 12, format!("every byte is what {} says", pin.text));
    Ok(package)
}

struct Count {
    files: u32,
    bytes: u64,
}

impl Drawbridge {
    /// The root of the tag, as far as it is the one that is pinned.
    async fn tag(&mut self, pin: &Pin) -> Result<Entry, DeployError> {
        let path = self.tag.clone();
        let url = self.url(&path);
        let accept = format!("{}, {}", media::ENTRY, media::JWS);
        let work = async {
            let answer = self.get(&path, &accept).await?;
            let kind = media_type(&answer);
            let body = answer
                .bytes(MAX_TAG)
                .await
                .map_err(|source| DeployError::DrawbridgeSilent { url: url.clone(), source })?;
            Ok((kind, body))
        };
        let (kind, body) = in_time(&url, 0, work).await?;
        let form = |why: &str| DeployError::DrawbridgeForm { url: url.clone(), why: why.into() };
        let entry: Entry = if kind.as_deref() == Some(media::JWS) {
            let payload = payload(&body).ok_or_else(|| form("it is no JSON Web Signature"))?;
            serde_json::from_slice(&payload).map_err(|_| form("no entry is signed"))?
        } else {
            serde_json::from_slice(&body).map_err(|_| form("it is no entry"))?
        };
        if pin.digest.check(&entry.meta.digest).is_err() {
            let found = entry.meta.digest.workload();
            return Err(DeployError::OtherWorkload {
                found: found.unwrap_or_else(|| "without a SHA-256".to_owned()),
                pinned: pin.text.clone(),
            });
        }
        Ok(entry)
    }

    async fn package<L: Loader>(
        &mut self,
        root: &Meta,
        pin: &Pin,
        loader: &L,
        count: &mut Count,
    ) -> Result<Package<L::Memory>, DeployError> {
        if root.kind == media::WASM {
            let mut module = Vec::new();
            let checked = Checked::of(file::WASM, &pin.digest, MAX_WASM)?;
            let module_digest = self.file("", checked, &mut module, count).await?;
            let config = Config::default();
            return Ok(Package { config, module, module_digest, artifact: None, files: vec![] });
        }
        let mut directory = Vec::new();
        let checked = Checked::of("(root)", &pin.digest, MAX_DIRECTORY as u64)?;
        self.file("", checked, &mut directory, count).await?;
        let directory = Directory::from_bytes(&directory)
            .map_err(|error| DeployError::File { file: "(root)".into(), why: error.to_string() })?;

        let mut config = Config::default();
        if let Some(entry) = directory.get(file::CONFIG) {
            let mut text = Vec::new();
            self.node(file::CONFIG, entry, MAX_CONFIG, &mut text, count).await?;
            config = package::config(&text)?;
        }
        let mut files = Vec::new();
        let mut left = MAX_OTHER;
        for name in package::named_files(&config) {
            let entry = directory.get(name).ok_or_else(|| missing(name))?;
            let mut content = Vec::new();
            self.node(name, entry, left, &mut content, count).await?;
            left = left.saturating_sub(content.len() as u64);
            files.push((name.to_owned(), content));
        }
        let mut artifact = None;
        if let Some(entry) = directory.get(file::ARTIFACT).filter(|_| config.compiler.tenant) {
            let checked = Checked::new(file::ARTIFACT, &entry.meta, MAX_ARTIFACT)?;
            let mut memory = loader.memory(entry.meta.length).map_err(|error| {
                let why = format!("this Keep has no room for it ({error})");
                DeployError::File { file: file::ARTIFACT.to_owned(), why }
            })?;
            self.file(file::ARTIFACT, checked, &mut memory, count).await?;
            artifact = Some(memory);
        }
        let entry = directory.get(file::WASM).ok_or_else(|| missing(file::WASM))?;
        let mut module = Vec::new();
        let module_digest = self.node(file::WASM, entry, MAX_WASM, &mut module, count).await?;
        Ok(Package { config, module, module_digest, artifact, files })
    }

    /// An entry of the directory.
    async fn node(
        &mut self,
        name: &str,
        entry: &Entry,
        max: u64,
        to: &mut Vec<u8>,
        count: &mut Count,
    ) -> Result<[u8; 32], DeployError> {
        let checked = Checked::new(name, &entry.meta, max)?;
        // The directory is what is pinned, so its word on lengths can be taken.
        to.reserve_exact(usize::try_from(entry.meta.length).unwrap_or(0));
        self.file(name, checked, to, count).await
    }

    /// One content, checked while it streams.
    async fn file<M: Memory>(
        &mut self,
        name: &str,
        mut checked: Checked<'_>,
        to: &mut M,
        count: &mut Count,
    ) -> Result<[u8; 32], DeployError> {
        let path = match name {
            "" => format!("{}/tree", self.tag),
            name => format!("{}/tree/{name}", self.tag),
        };
        let url = self.url(&path);
        let length = checked.length().unwrap_or(0);
        let work = async {
            let mut answer = self.get(&path, "*/*").await?;
            while let Some(part) = answer
                .chunk()
                .await
                .map_err(|source| DeployError::DrawbridgeSilent { url: url.clone(), source })?
            {
                checked.update(&part)?;
                package::write(to, name, &part)?;
                count.bytes = count.bytes.saturating_add(part.len() as u64);
            }
            checked.finish()
        };
        let digest = in_time(&url, length, work).await?;
        count.files = count.files.saturating_add(1);
        Ok(digest)
    }

    /// Sends a request; an answer is one that releases something.
    async fn get(&mut self, path: &str, accept: &str) -> Result<Response, DeployError> {
        let url = self.url(path);
        let request = Request::builder().uri(path).header(ACCEPT, accept).body(Body::default());
        let request = request.map_err(|error| DeployError::DrawbridgeForm {
            url: url.clone(),
            why: error.to_string(),
        })?;
        let silent = |source| DeployError::DrawbridgeSilent { url: url.clone(), source };
        let answer = self.http.send(request).await.map_err(silent)?;
        let status = answer.status().as_u16();
        if status == 200 {
            return Ok(answer);
        }
        // A refusal that cannot be read is still one.
        let body = answer.bytes(Problem::MAX).await.unwrap_or_default();
        Err(DeployError::DrawbridgeRefused { url, problem: Box::new(Problem::read(status, &body)) })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }
}

fn missing(name: &str) -> DeployError {
    DeployError::Missing { file: name.to_owned() }
}

/// Ends what takes longer than so many bytes may take.
async fn in_time<T>(
    url: &str,
    bytes: u64,
    work: impl Future<Output = Result<T, DeployError>>,
) -> Result<T, DeployError> {
    let patience = PATIENCE + Duration::from_secs(bytes / SLOWEST);
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done,
        Err(_) => {
            Err(DeployError::DrawbridgeSlow { url: url.to_owned(), seconds: patience.as_secs() })
        }
    }
}

fn media_type(answer: &Response) -> Option<String> {
    let text = answer.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The payload of a JWS in one of its JSON forms (RFC 7515, 7.2).
fn payload(jws: &[u8]) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Jws {
        payload: String,
    }
    let jws: Jws = serde_json::from_slice(jws).ok()?;
    Base64UrlUnpadded::decode_vec(&jws.payload).ok()
}

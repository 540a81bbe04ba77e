// SPDX-License-Identifier: Apache-2.0

//! Nodes of trees: content in and out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use drawbridge_store::{BlobId, Store, StoreError, TagId, TagRecord};
use drawbridge_types::{Access, Algorithm, ContentDigest, Meta, TreePath};
use tracing::info;

use crate::Service;
use crate::access::{self, Area, Level, owned_repository};
use crate::answer::{created, empty};
use crate::body::{self, Reader};
use crate::call::Call;
use crate::problem::{Answer, Code, Refusal};
use crate::range::{Asked, asked};
use crate::tags::{CONTENT_DIGEST, content_digest};

/// The digests of all of a content, whatever part of it is sent (RFC 9530, 3).
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// `GET /{user}/{repo}/_tag/{tag}/tree[/{path}]`.
pub(crate) async fn get(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let (tag, path) = (call.tag()?, call.path()?);
    let (repository, record, _) = access::tag_reader(&service, &call, &tag).await?;
    let meta = match service.store.expected(&tag, &record.entry, &path).await {
        Ok(meta) => meta,
        Err(StoreError::NoParent | StoreError::NotInParent) => return Err(Code::NotFound.into()),
        Err(error) => return Err(error.into()),
    };
    if !service.store.has_node(&tag, &path, &meta).await? {
        return Err(Code::NotFound.into());
    }
    let blob = BlobId::of(&meta)?;
    let etag = format!("\"sha256:{}\"", blob.hex());
    let is_public = repository.access() == Access::Public;
    if call.header(&header::IF_NONE_MATCH).is_some_and(|list| matches(list, &etag)) {
        let mut response = empty(StatusCode::NOT_MODIFIED)?;
        describe(&mut response, &meta, &etag, is_public)?;
        response.headers_mut().remove(header::CONTENT_TYPE);
        return Ok(response);
    }
    // A range is of use only to who has the rest of this very content.
    let is_same = call.header(&header::IF_RANGE).is_none_or(|one| one == etag);
    let range = call.header(&header::RANGE).filter(|_| is_same);
    let (status, part) = match asked(range, meta.length) {
        Asked::All => (StatusCode::OK, 0..meta.length),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
        Asked::None => {
            let refusal = Refusal::from(Code::RangeUnsatisfiable);
            let value = value(&format!("bytes */{}", meta.length))?;
            return Err(refusal.with(header::CONTENT_RANGE, value));
        }
    };
    let length = part.end.saturating_sub(part.start);
    let content_range =
        format!("bytes {}-{}/{}", part.start, part.end.saturating_sub(1), meta.length);
    let body = if call.is_head {
        Body::empty()
    } else {
        let permit = body::admit(&service)?;
        let content = service.store.content(&blob, part).await?;
        body::sent(content, Arc::clone(&service), Some(permit))
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    describe(&mut response, &meta, &etag, is_public)?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(header::CONTENT_RANGE, value(&content_range)?);
    } else {
        headers.insert(CONTENT_DIGEST, value(&meta.digest.to_string())?);
    }
    Ok(response)
}

fn describe(
    response: &mut Response<Body>,
    meta: &Meta,
    etag: &str,
    is_public: bool,
) -> Result<(), Refusal> {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, value(&meta.kind)?);
    headers.insert(header::ETAG, value(etag)?);
    headers.insert(REPR_DIGEST, value(&meta.digest.to_string())?);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let cache = if is_public { "no-cache" } else { "no-store" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    // Whatever somebody published, no browser is to run it in this server's name.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let policy = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(())
}

fn value(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(text).map_err(|_| Code::Internal.into())
}

/// Whether a list of entity tags has that one, compared weakly (RFC 9110, 13.1.2).
fn matches(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// A node that the owner is about to put.
pub(crate) struct Put {
    pub(crate) tag: TagId,
    pub(crate) record: TagRecord,
    pub(crate) path: TreePath,
    pub(crate) meta: Meta,
    /// Digests that the client states besides.
    pub(crate) also: ContentDigest,
}

/// What the owner is about to put, if the headers say the same as the directory above.
pub(crate) async fn announced(
    service: &Service,
    call: &Call,
    path: TreePath,
    length: u64,
) -> Result<Put, Refusal> {
    let tag = call.tag()?;
    let also = content_digest(call)?;
    let kind = call
        .media_type()
        .ok_or_else(|| Refusal::new(Code::Header, "the header content-type is missing"))?;
    let (record, _) =
        service.store.tag(&tag).await?.ok_or_else(|| Refusal::from(Code::NotFound))?;
    let meta = service.store.expected(&tag, &record.entry, &path).await?;
    if also.get(Algorithm::Sha256).is_none() {
        return Err(Refusal::new(Code::DigestMissing, "Content-Digest has no sha-256"));
    }
    for (algorithm, digest) in meta.digest.iter() {
        if also.get(algorithm).is_some_and(|other| other != digest) {
            let detail = "the directory above states another digest";
            return Err(Refusal::new(Code::DigestMismatch, detail));
        }
    }
    if length != meta.length {
        let detail = format!("the directory above states {} bytes", meta.length);
        return Err(Refusal::new(Code::LengthMismatch, detail));
    }
    if !kind.eq_ignore_ascii_case(meta.kind.split(';').next().unwrap_or_default().trim()) {
        let detail = format!("the directory above states {}", meta.kind);
        return Err(Refusal::new(Code::TypeMismatch, detail));
    }
    if meta.length > service.limits.file {
        let detail = format!("a file has at most {} bytes here", service.limits.file);
        return Err(Refusal::new(Code::BodyTooLarge, detail));
    }
    Ok(Put { tag, record, path, meta, also })
}

/// `PUT /{user}/{repo}/_tag/{tag}/tree[/{path}]`.
pub(crate) async fn put(State(service): State<Arc<Service>>, call: Call, body: Body) -> Answer {
    let mut reader = Reader::new(body, &service.limits);
    let result = put_node(&service, &call, &mut reader).await;
    if result.is_err() {
        reader.drain().await;
    }
    result
}

async fn put_node(service: &Service, call: &Call, reader: &mut Reader) -> Answer {
    let repo = call.repo()?;
    owned_repository(service, call, &repo, Level::Write, Area::Tags).await?;
    let put = announced(service, call, call.path()?, call.length()?).await?;
    let _permit = body::admit(service)?;
    let Put { tag, record, path, meta, also } = put;
    let admission = service.store.admit_node(&tag, &path, &meta, false).await?;
    let mut incoming = service.store.incoming(&meta, Some(also))?;
    while let Some(bytes) = reader.next().await? {
        service.metrics.received(bytes.len() as u64);
        incoming.write(bytes).await?;
    }
    let complete = Store::put_node(&tag, &record.entry, &path, incoming, &meta, admission).await?;
    told(&tag, &path, complete);
    created()
}

/// One line for the log.
pub(crate) fn told(tag: &TagId, path: &TreePath, complete: bool) {
    let (user, repo, tag) = (&tag.repo.user, &tag.repo.repo, &tag.tag);
    info!(%user, %repo, %tag, %path, complete, "node put");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_compared_weakly() {
        let tag = "\"sha256:00\"";
        for list in ["\"sha256:00\"", "W/\"sha256:00\"", "\"a\", \"sha256:00\"", "*"] {
            assert!(matches(list, tag), "{list}");
        }
        for list in ["", "sha256:00", "\"sha256:01\""] {
            assert!(!matches(list, tag), "{list}");
        }
    }
}

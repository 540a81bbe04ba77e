// SPDX-License-Identifier: Apache-2.0

//! Tags: their entries, terms, signatures, and withdrawing them.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Response, header};
use drawbridge_signatures::{MAX_BUNDLE, entry_of};
use drawbridge_store::{Store, TagRecord};
use drawbridge_types::{Access, ContentDigest, Entry, Page, TagRequest, Terms, media};
use tracing::info;

use crate::access::{self, Area, Level, owned_repository};
use crate::answer::{created, json, no_content, typed};
use crate::body::Reader;
use crate::call::Call;
use crate::problem::{Answer, Code, Refusal};
use crate::{Service, release};

/// Longest entry, signed or not, in bytes.
const MAX_ENTRY: usize = 256 << 10;

/// The digests of a content (RFC 9530, 2).
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// `Content-Digest`, which has to be there.
pub(crate) fn content_digest(call: &Call) -> Result<ContentDigest, Refusal> {
    let text = call.header(&CONTENT_DIGEST).ok_or_else(|| Refusal::from(Code::DigestMissing))?;
    text.parse().map_err(|error: drawbridge_types::DigestError| {
        Refusal::new(Code::DigestMissing, error.to_string())
    })
}

/// `GET /{user}/{repo}/_tag`: versions as published, or a page of what there is to say about tags.
pub(crate) async fn list(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let repo = call.repo()?;
    access::reader(&service, &call, &repo, |access| access == Access::Public).await?;
    if call.query("limit").is_none() && call.query("after").is_none() {
        return json(&service.store.versions(&repo).await?);
    }
    let after = call.query("after").filter(|after| !after.is_empty()).map(str::parse).transpose();
    let after = after.map_err(|_| Refusal::new(Code::Query, "`after` is a version"))?;
    let (items, more) = service.store.tags(&repo, after.as_ref(), call.limit()?).await?;
    let next = items.last().filter(|_| more).map(|last| last.tag.to_string());
    json(&Page { items, next })
}

/// `GET /{user}/{repo}/_tag/{tag}`: what was put, byte for byte.
pub(crate) async fn get(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let (_, record, _) = access::tag_reader(&service, &call, &call.tag()?).await?;
    let kind = if record.kind == media::JWS { media::JWS } else { media::ENTRY };
    with_digest(typed(kind, record.body.clone()), record.body.as_bytes())
}

fn with_digest(mut response: Response<Body>, body: &[u8]) -> Answer {
    let digest = HeaderValue::from_str(&ContentDigest::of(body).to_string());
    let digest = digest.map_err(|_| Refusal::from(Code::Internal))?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_DIGEST, digest);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    Ok(response)
}

/// `PUT /{user}/{repo}/_tag/{tag}`.
pub(crate) async fn put(State(service): State<Arc<Service>>, call: Call, body: Body) -> Answer {
    let tag = call.tag()?;
    let (_, repository) =
        owned_repository(&service, &call, &tag.repo, Level::Write, Area::Tags).await?;
    let digest = content_digest(&call)?;
    let length = call.length()?;
    let invalid = |detail: String| Refusal::new(Code::EntryInvalid, detail);
    let kind = match call.media_type() {
        Some(media::ENTRY) => media::ENTRY,
        Some(media::JWS) => media::JWS,
        _ => return Err(invalid("the Content-Type is neither of an entry nor of a JWS".into())),
    };
    let bytes = Reader::new(body, &service.limits).small(MAX_ENTRY).await?;
    if bytes.len() as u64 != length {
        return Err(Code::LengthMismatch.into());
    }
    if let Err(error) = digest.check(&ContentDigest::of(&bytes)) {
        return Err(Refusal::new(Code::DigestMismatch, error.to_string()));
    }
    let entry: Entry = match kind {
        media::JWS => entry_of(&bytes).map_err(|error| invalid(error.to_string()))?,
        _ => serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?,
    };
    Store::check_entry(&entry)?;
    let has_signers = !repository.signers.is_empty();
    // With identities, a bundle may still come beside the tag.
    if has_signers && (kind == media::JWS || repository.identities.is_empty()) {
        if kind != media::JWS {
            return Err(Code::SignatureRequired.into());
        }
        release::check_jws(&repository, &bytes)?;
    }
    let body = String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8".into()))?;
    let created_at =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let record = TagRecord { kind: kind.to_owned(), body, entry, created: created_at };
    service.store.create_tag(&tag, &record).await?;
    let workload = record.entry.meta.digest.workload();
    info!(user = %tag.repo.user, repo = %tag.repo.repo, tag = %tag.tag, workload, "tag created");
    created()
}

/// `DELETE /{user}/{repo}/_tag/{tag}`.
pub(crate) async fn delete(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let tag = call.tag()?;
    owned_repository(&service, &call, &tag.repo, Level::Manage, Area::Tags).await?;
    service.store.delete_tag(&tag).await?;
    info!(user = %tag.repo.user, repo = %tag.repo.repo, tag = %tag.tag, "tag deleted");
    no_content()
}

/// `PUT /{user}/{repo}/_tag/{tag}/_yank`.
pub(crate) async fn yank(State(service): State<Arc<Service>>, call: Call) -> Answer {
    set_yanked(&service, &call, true).await
}

/// `DELETE /{user}/{repo}/_tag/{tag}/_yank`.
pub(crate) async fn unyank(State(service): State<Arc<Service>>, call: Call) -> Answer {
    set_yanked(&service, &call, false).await
}

async fn set_yanked(service: &Service, call: &Call, yanked: bool) -> Answer {
    let tag = call.tag()?;
    owned_repository(service, call, &tag.repo, Level::Manage, Area::Tags).await?;
    service.store.yank(&tag, yanked).await?;
    info!(user = %tag.repo.user, repo = %tag.repo.repo, tag = %tag.tag, yanked, "tag withdrawn");
    no_content()
}

/// `GET /{user}/{repo}/_resolve/{tag}`: the terms of release of what a slug asks for.
pub(crate) async fn resolve(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let repo = call.repo()?;
    let request: TagRequest =
        call.text("request").parse().map_err(|error: drawbridge_types::SlugError| {
            Refusal::new(Code::Name, error.to_string())
        })?;
    let is_open = |access| access != Access::Owner;
    let (repository, _) = access::reader(&service, &call, &repo, is_open).await?;
    let Some((tag, record, state)) = service.store.resolve(&repo, &request).await? else {
        if let TagRequest::Exact(version) = request
            && service.store.tag(&repo.tag(version)).await?.is_some()
        {
            return Err(Code::Incomplete.into());
        }
        return Err(Code::NotFound.into());
    };
    release::check_signature(&service, &repository, &tag, &record).await?;
    let access = repository.access();
    let terms = Terms {
        user: repo.user,
        repo: repo.repo,
        tag: tag.tag,
        meta: record.entry.meta,
        access,
        steward: repository.release.map(|release| release.steward),
        yanked: state.yanked,
    };
    let body = serde_json::to_vec(&terms).map_err(|_| Refusal::from(Code::Internal))?;
    let mut response = typed(media::TERMS, body);
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    Ok(response)
}

/// `GET /{user}/{repo}/_tag/{tag}/_signature`.
pub(crate) async fn signature(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let tag = call.tag()?;
    access::tag_reader(&service, &call, &tag).await?;
    match service.store.signature(&tag).await? {
        Some(bundle) => with_digest(typed(media::SIGSTORE, bundle.clone()), &bundle),
        None => Err(Code::NotFound.into()),
    }
}

/// `PUT /{user}/{repo}/_tag/{tag}/_signature`.
pub(crate) async fn put_signature(
    State(service): State<Arc<Service>>,
    call: Call,
    body: Body,
) -> Answer {
    let tag = call.tag()?;
    let (_, repository) =
        owned_repository(&service, &call, &tag.repo, Level::Write, Area::Tags).await?;
    let (record, _) =
        service.store.tag(&tag).await?.ok_or_else(|| Refusal::from(Code::NotFound))?;
    if call.media_type() != Some(media::SIGSTORE) {
        let detail = format!("the Content-Type is not {}", media::SIGSTORE);
        return Err(Refusal::new(Code::TypeMismatch, detail));
    }
    let bytes = Reader::new(body, &service.limits).small(MAX_BUNDLE).await?;
    if repository.identities.is_empty() {
        serde_json::from_slice::<serde_json::Value>(&bytes)
            .map_err(|error| Refusal::new(Code::SignatureInvalid, error.to_string()))?;
    } else {
        release::check_bundle(&service, &repository, &record, &bytes)?;
    }
    service.store.create_signature(&tag, bytes).await?;
    created()
}

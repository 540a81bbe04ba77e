// SPDX-License-Identifier: Apache-2.0

//! Uploads that can be taken up again.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use drawbridge_store::{About, Appender, Store, StoreError, TagId, UploadId};
use drawbridge_types::{API_VERSION, TreePath};

use crate::Service;
use crate::access::{Area, Level, owned_repository};
use crate::answer::{created, empty, no_content};
use crate::body::{self, Reader};
use crate::call::Call;
use crate::problem::{Answer, Code, Refusal, UPLOAD_OFFSET};
use crate::range::content_range;
use crate::tree::{Put, announced, told};

/// How many bytes the whole content has.
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// `POST /{user}/{repo}/_tag/{tag}/_uploads?path=`.
pub(crate) async fn begin(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let tag = call.tag()?;
    owned_repository(&service, &call, &tag.repo, Level::Write, Area::Tags).await?;
    let path: TreePath = call.query("path").unwrap_or_default().parse().map_err(
        |error: drawbridge_types::NameError| Refusal::new(Code::Name, error.to_string()),
    )?;
    let length = call.demand(&UPLOAD_LENGTH)?.parse();
    let length = length.map_err(|_| Refusal::new(Code::Header, "Upload-Length is not a number"))?;
    let Put { tag, path, meta, also, .. } = announced(&service, &call, path, length).await?;
    // Told now, not after gigabytes.
    drop(service.store.admit_node(&tag, &path, &meta, false).await?);
    let mut random = [0; 16];
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.secure_random.fill(&mut random).map_err(|_| Refusal::from(Code::Internal))?;
    let id = UploadId::new(&tag.repo.user, random);
    service.store.begin_upload(&id, &About::new(&tag, &path, meta, Some(also))).await?;
    let TagId { repo, tag } = &tag;
    let location = format!(
        "/api/v{API_VERSION}/{}/{}/_tag/{tag}/_uploads/{}",
        repo.user,
        repo.repo,
        id.as_str()
    );
    let location = HeaderValue::from_str(&location).map_err(|_| Refusal::from(Code::Internal))?;
    let mut response = at(created()?, 0);
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

fn at(mut response: Response<Body>, offset: u64) -> Response<Body> {
    response.headers_mut().insert(UPLOAD_OFFSET, HeaderValue::from(offset));
    response
}

/// The upload that the owner speaks of, and how much of it has come.
async fn found(service: &Service, call: &Call) -> Result<(UploadId, TagId, About, u64), Refusal> {
    let tag = call.tag()?;
    owned_repository(service, call, &tag.repo, Level::Write, Area::Tags).await?;
    let unknown = || Refusal::from(Code::UploadUnknown);
    let id = UploadId::read(&tag.repo.user, call.text("upload")).ok_or_else(unknown)?;
    let (about, offset) = service.store.upload(&id).await?.ok_or_else(unknown)?;
    if about.is_for(&tag) { Ok((id, tag, about, offset)) } else { Err(unknown()) }
}

/// `GET /{user}/{repo}/_tag/{tag}/_uploads/{upload}`.
pub(crate) async fn status(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let (_, _, _, offset) = found(&service, &call).await?;
    Ok(at(empty(StatusCode::NO_CONTENT)?, offset))
}

/// `PATCH /{user}/{repo}/_tag/{tag}/_uploads/{upload}`.
pub(crate) async fn append(State(service): State<Arc<Service>>, call: Call, body: Body) -> Answer {
    let mut reader = Reader::new(body, &service.limits);
    let result = append_from(&service, &call, &mut reader).await;
    if result.is_err() {
        reader.drain().await;
    }
    result
}

async fn append_from(service: &Service, call: &Call, reader: &mut Reader) -> Answer {
    let (id, _, about, offset) = found(service, call).await?;
    let range = content_range(call.demand(&header::CONTENT_RANGE)?);
    let (range, total) = range.ok_or_else(|| {
        Refusal::new(Code::Header, "Content-Range has the form `bytes 0-99/1000`")
    })?;
    if range.start != offset {
        return Err(StoreError::Offset(offset).into());
    }
    if range.end > about.meta.length || total.is_some_and(|total| total != about.meta.length) {
        let detail = format!("the content has {} bytes", about.meta.length);
        return Err(Refusal::new(Code::LengthMismatch, detail));
    }
    let _permit = body::admit(service)?;
    let length = range.end.saturating_sub(range.start);
    let mut appender = service.store.append(&id, offset, length).await?;
    match receive(service, reader, &mut appender).await {
        Ok(count) if count == length => {}
        result => {
            // What has come is kept, whatever went wrong after it.
            let _ = appender.commit().await;
            result?;
            let detail = "the body has fewer bytes than Content-Range says";
            return Err(Refusal::new(Code::LengthMismatch, detail));
        }
    }
    let offset = appender.commit().await?;
    Ok(at(no_content()?, offset))
}

async fn receive(
    service: &Service,
    reader: &mut Reader,
    appender: &mut Appender,
) -> Result<u64, Refusal> {
    let mut count = 0u64;
    while let Some(bytes) = reader.next().await? {
        let length = bytes.len() as u64;
        service.metrics.received(length);
        appender.write(bytes).await?;
        count = count.saturating_add(length);
    }
    Ok(count)
}

/// `PUT /{user}/{repo}/_tag/{tag}/_uploads/{upload}`.
pub(crate) async fn finish(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let (id, tag, about, offset) = found(&service, &call).await?;
    if offset != about.meta.length {
        return Err(StoreError::Offset(offset).into());
    }
    let path: TreePath = about.path.parse().map_err(|_| Refusal::from(Code::Internal))?;
    let (record, _) =
        service.store.tag(&tag).await?.ok_or_else(|| Refusal::from(Code::NotFound))?;
    let _permit = body::admit(&service)?;
    let result = async {
        let admission = service.store.admit_node(&tag, &path, &about.meta, true).await?;
        let incoming = service.store.finish_upload(&id, &about).await?;
        Store::put_node(&tag, &record.entry, &path, incoming, &about.meta, admission).await
    };
    match result.await {
        Ok(complete) => {
            service.store.remove_upload(&id).await?;
            told(&tag, &path, complete);
            created()
        }
        Err(error) => {
            // Of no use to anybody any more: what came is not what was announced, or is there already.
            let is_over = matches!(
                error,
                StoreError::Digest(_)
                    | StoreError::Length { .. }
                    | StoreError::Content(_)
                    | StoreError::Exists(_)
            );
            if is_over {
                service.store.remove_upload(&id).await?;
            }
            Err(error.into())
        }
    }
}

/// `DELETE /{user}/{repo}/_tag/{tag}/_uploads/{upload}`.
pub(crate) async fn give_up(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let (id, ..) = found(&service, &call).await?;
    service.store.remove_upload(&id).await?;
    no_content()
}

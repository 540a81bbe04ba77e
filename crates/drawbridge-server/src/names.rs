// SPDX-License-Identifier: Apache-2.0

//! Users, repositories, and finding them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};
use drawbridge_types::{Page, Repository, UserName, UserRecord};
use tracing::info;

use crate::access::{Area, Level, caller, owned_repository, owner, token};
use crate::answer::{created, json, no_content};
use crate::body::Reader;
use crate::call::Call;
use crate::problem::{Answer, Code, Refusal};
use crate::{Service, release};

/// Longest body with a user or a repository in bytes.
const MAX_BODY: usize = 512 << 10;
/// Longest text to search for in bytes.
const MAX_QUERY: usize = 256;

/// `GET /{user}`.
pub(crate) async fn user(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let record = owner(&service, &call, &call.user()?, Level::Read, Area::Users).await?;
    json(&record)
}

/// `PUT /{user}`.
pub(crate) async fn put_user(
    State(service): State<Arc<Service>>,
    call: Call,
    body: Body,
) -> Answer {
    let user = call.user()?;
    let claims = token(&service, &call, Level::Write, Area::Users).await?;
    let bytes = Reader::new(body, &service.limits).small(MAX_BODY).await?;
    let record: UserRecord = serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::new(Code::UserInvalid, error.to_string()))?;
    if record.subject != claims.subject {
        return Err(Code::Subject.into());
    }
    service.store.create_user(&user, &record).await?;
    info!(%user, "user created");
    created()
}

/// `DELETE /{user}`.
pub(crate) async fn delete_user(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let user = call.user()?;
    owner(&service, &call, &user, Level::Manage, Area::Users).await?;
    service.store.delete_user(&user).await?;
    info!(%user, "user deleted");
    no_content()
}

/// `GET /{user}/{repo}`.
pub(crate) async fn repository(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let repo = call.repo()?;
    let (number, record) =
        owned_repository(&service, &call, &repo, Level::Read, Area::Repositories).await?;
    with_tag(json(&record)?, number)
}

/// `PUT /{user}/{repo}`: creates it, or with `If-Match` changes it.
pub(crate) async fn put_repository(
    State(service): State<Arc<Service>>,
    call: Call,
    body: Body,
) -> Answer {
    let repo = call.repo()?;
    let expected = call.header(&header::IF_MATCH).map(revision).transpose()?;
    let level = if expected.is_some() { Level::Manage } else { Level::Write };
    owner(&service, &call, &repo.user, level, Area::Repositories).await?;
    let bytes = Reader::new(body, &service.limits).small(MAX_BODY).await?;
    let invalid = |detail: String| Refusal::new(Code::RepositoryInvalid, detail);
    // A list would be read as the members in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(invalid("the body is no JSON object".into()));
    }
    let record: Repository =
        serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    release::check_policy(&record).map_err(invalid)?;
    let access = record.access();
    let Some(expected) = expected else {
        service.store.create_repository(&repo, &record).await?;
        info!(user = %repo.user, repo = %repo.repo, ?access, "repository created");
        return with_tag(created()?, 0);
    };
    match service.store.repository(&repo).await? {
        None => return Err(Code::NotFound.into()),
        Some((number, _)) if number != expected => return Err(Code::Changed.into()),
        Some(_) => {}
    }
    let number = service.store.change_repository(&repo, expected, &record).await?;
    info!(user = %repo.user, repo = %repo.repo, ?access, number, "repository changed");
    with_tag(no_content()?, number)
}

/// `DELETE /{user}/{repo}`.
pub(crate) async fn delete_repository(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let repo = call.repo()?;
    owned_repository(&service, &call, &repo, Level::Manage, Area::Repositories).await?;
    service.store.delete_repository(&repo).await?;
    info!(user = %repo.user, repo = %repo.repo, "repository deleted");
    no_content()
}

/// `GET /{user}/_repositories`.
pub(crate) async fn repositories(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let user = call.user()?;
    // As names of repositories, which is what follows the user in the store.
    let after = call.query("after").map(|after| format!("{user}/{after}"));
    let (items, next) = found(&service, &call, "", Some(&user), after.as_deref()).await?;
    let next = next.map(|next| next.rsplit('/').next().unwrap_or_default().to_owned());
    json(&Page { items, next })
}

/// `GET /_search?q=`.
pub(crate) async fn search(State(service): State<Arc<Service>>, call: Call) -> Answer {
    let text = call.query("q").unwrap_or_default();
    if text.len() > MAX_QUERY {
        return Err(Refusal::new(Code::Query, format!("`q` has at most {MAX_QUERY} bytes")));
    }
    let (items, next) = found(&service, &call, text, None, call.query("after")).await?;
    json(&Page { items, next })
}

async fn found(
    service: &Service,
    call: &Call,
    text: &str,
    user: Option<&UserName>,
    after: Option<&str>,
) -> Result<(Vec<drawbridge_types::RepositorySummary>, Option<String>), Refusal> {
    let mine = match caller(service, call).await? {
        Some(claims) => service.store.users_of(&claims.subject).await?,
        None => Vec::new(),
    };
    Ok(service.store.search(text, user, &mine, after, call.limit()?).await?)
}

/// The revision that an entity tag of a repository names.
fn revision(text: &str) -> Result<u64, Refusal> {
    text.strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Refusal::new(Code::Header, "If-Match is not an ETag of this repository"))
}

fn with_tag(mut response: Response<Body>, number: u64) -> Answer {
    let tag = HeaderValue::from_str(&format!("\"{number}\""));
    let tag = tag.map_err(|_| Refusal::from(Code::Internal))?;
    response.headers_mut().insert(header::ETAG, tag);
    if response.status() == StatusCode::OK {
        let no_store = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, no_store);
    }
    Ok(response)
}

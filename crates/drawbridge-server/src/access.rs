// SPDX-License-Identifier: Apache-2.0

//! Who may do what.
//!
//! | Repository | Anybody | Its owner | Keeps |
//! |---|---|---|---|
//! | public | reads | everything | read |
//! | owner | nothing | everything | nothing |
//! | attested | terms of release | everything | read the one workload that their certificate names |
//!
//! Who may not know whether something is there gets the same answer either way: 401 without a token, 404
//! with one.

use axum::http::header;
use drawbridge_store::{RepoId, TagId, TagRecord};
use drawbridge_tokens::Claims;
use drawbridge_types::{Access, Repository, UserName, UserRecord};

use crate::call::Call;
use crate::problem::{Code, Refusal};
use crate::{Service, release};

/// What a token may be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Area {
    Users,
    Repositories,
    Tags,
}

/// How far a token goes; who may do more may do less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Read,
    Write,
    Manage,
}

impl Area {
    fn name(self) -> &'static str {
        match self {
            Self::Users => "drawbridge_users",
            Self::Repositories => "drawbridge_repositories",
            Self::Tags => "drawbridge_tags",
        }
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Manage => "manage",
        }
    }
}

/// Who asks, as far as a token says.
pub(crate) async fn caller(service: &Service, call: &Call) -> Result<Option<Claims>, Refusal> {
    if !call.headers.contains_key(header::AUTHORIZATION) {
        return Ok(None);
    }
    let value = call.header(&header::AUTHORIZATION).unwrap_or_default();
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::new(Code::TokenInvalid, "only Bearer tokens are taken"));
    }
    let Some(verifier) = &service.tokens else { return Err(Code::TokenUnsupported.into()) };
    match verifier.verify(token.trim()).await {
        Ok(claims) => Ok(Some(claims)),
        Err(error) if error.is_unavailable() => Err(Code::TokenUnavailable.into()),
        Err(error) => Err(Refusal::new(Code::TokenInvalid, error.to_string())),
    }
}

fn check_scope(claims: &Claims, level: Level, area: Area) -> Result<(), Refusal> {
    let suffices = [Level::Read, Level::Write, Level::Manage]
        .into_iter()
        .filter(|one| *one >= level)
        .any(|one| claims.has_scope(&format!("{}:{}", one.name(), area.name())));
    if suffices {
        return Ok(());
    }
    let detail = format!("the token lacks the scope {}:{}", level.name(), area.name());
    Err(Refusal::new(Code::TokenScope, detail))
}

/// A token for that, whoever's it is.
pub(crate) async fn token(
    service: &Service,
    call: &Call,
    level: Level,
    area: Area,
) -> Result<Claims, Refusal> {
    let claims = caller(service, call).await?.ok_or_else(|| Refusal::from(Code::TokenMissing))?;
    check_scope(&claims, level, area)?;
    Ok(claims)
}

/// A token for that, of the user.
pub(crate) async fn owner(
    service: &Service,
    call: &Call,
    user: &UserName,
    level: Level,
    area: Area,
) -> Result<UserRecord, Refusal> {
    let claims = token(service, call, level, area).await?;
    match service.store.user(user).await? {
        Some(record) if record.subject == claims.subject => Ok(record),
        _ => Err(Code::NotFound.into()),
    }
}

/// A token for that, of the repository's owner.
pub(crate) async fn owned_repository(
    service: &Service,
    call: &Call,
    repo: &RepoId,
    level: Level,
    area: Area,
) -> Result<(u64, Repository), Refusal> {
    owner(service, call, &repo.user, level, area).await?;
    service.store.repository(repo).await?.ok_or_else(|| Code::NotFound.into())
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Anybody,
    Owner,
    Keep,
}

/// Who may read a repository without regard to a tag: anybody if `is_open` says so, and the owner.
pub(crate) async fn reader(
    service: &Service,
    call: &Call,
    repo: &RepoId,
    is_open: impl FnOnce(Access) -> bool,
) -> Result<(Repository, Reader), Refusal> {
    let found = service.store.repository(repo).await?;
    let user = service.store.user(&repo.user).await?;
    if let (Some((_, record)), Some(_)) = (&found, &user)
        && is_open(record.access())
    {
        return Ok((record.clone(), Reader::Anybody));
    }
    let claims = caller(service, call).await?.ok_or_else(|| Refusal::from(Code::TokenMissing))?;
    match (found, user) {
        (Some((_, record)), Some(user)) if user.subject == claims.subject => {
            check_scope(&claims, Level::Read, Area::Tags)?;
            Ok((record, Reader::Owner))
        }
        _ => Err(Code::NotFound.into()),
    }
}

/// Who may read a tag: anybody, the owner, or a Keep whose certificate names its workload.
pub(crate) async fn tag_reader(
    service: &Service,
    call: &Call,
    tag: &TagId,
) -> Result<(Repository, TagRecord, Reader), Refusal> {
    let has_token = call.headers.contains_key(header::AUTHORIZATION);
    if !has_token
        && let Some((_, repository)) = service.store.repository(&tag.repo).await?
        && repository.access() == Access::Attested
        && service.store.user(&tag.repo.user).await?.is_some()
    {
        // That there is such a tag is no secret: everybody gets its terms.
        let (record, _) =
            service.store.tag(tag).await?.ok_or_else(|| Refusal::from(Code::NotFound))?;
        return match release::decide(service, call, &repository, tag, &record).await {
            Ok(()) => Ok((repository, record, Reader::Keep)),
            Err(refusal) => Err(refusal),
        };
    }
    let (repository, reader) =
        reader(service, call, &tag.repo, |access| access == Access::Public).await?;
    let (record, _) = service.store.tag(tag).await?.ok_or_else(|| Refusal::from(Code::NotFound))?;
    Ok((repository, record, reader))
}

// SPDX-License-Identifier: Apache-2.0

//! The paths. `docs/drawbridge-openapi.json` describes all of it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::{any, get, post, put};
use http_service::CONTENT_TYPE;
use serde_json::json;

use crate::answer::typed;
use crate::problem::{Answer, Code, Refusal};
use crate::{Service, names, tags, tree, uploads};

/// The description of this interface.
const OPENAPI: &str = include_str!("../../../docs/drawbridge-openapi.json");

/// Every path, as the description and metrics name it; `{path}` may have several parts.
pub(crate) const PATHS: [&str; 17] = [
    "/api/{version}/_search",
    "/api/{version}/{user}",
    "/api/{version}/{user}/_repositories",
    "/api/{version}/{user}/{repo}",
    "/api/{version}/{user}/{repo}/_resolve/{request}",
    "/api/{version}/{user}/{repo}/_tag",
    "/api/{version}/{user}/{repo}/_tag/{tag}",
    "/api/{version}/{user}/{repo}/_tag/{tag}/_yank",
    "/api/{version}/{user}/{repo}/_tag/{tag}/_signature",
    "/api/{version}/{user}/{repo}/_tag/{tag}/_uploads",
    "/api/{version}/{user}/{repo}/_tag/{tag}/_uploads/{upload}",
    "/api/{version}/{user}/{repo}/_tag/{tag}/tree",
    "/api/{version}/{user}/{repo}/_tag/{tag}/tree/{path}",
    "/healthz",
    "/health",
    "/metrics",
    "/openapi.json",
];

pub(crate) fn routes(service: Arc<Service>) -> Router {
    let [
        search,
        user,
        repositories,
        repo,
        resolve,
        tag_list,
        tag,
        yank,
        signature,
        upload_list,
        upload,
        root,
        _,
        healthz,
        health,
        counters,
        openapi,
    ] = PATHS;
    let node = get(tree::get).put(tree::put);
    Router::new()
        .route(search, get(names::search))
        .route(user, get(names::user).put(names::put_user).delete(names::delete_user))
        .route(repositories, get(names::repositories))
        .route(
            repo,
            get(names::repository).put(names::put_repository).delete(names::delete_repository),
        )
        .route(resolve, get(tags::resolve))
        .route(tag_list, get(tags::list))
        .route(tag, get(tags::get).put(tags::put).delete(tags::delete))
        .route(yank, put(tags::yank).delete(tags::unyank))
        .route(signature, get(tags::signature).put(tags::put_signature))
        .route(upload_list, post(uploads::begin))
        .route(
            upload,
            get(uploads::status)
                .patch(uploads::append)
                .put(uploads::finish)
                .delete(uploads::give_up),
        )
        .route(root, node.clone())
        .route("/api/{version}/{user}/{repo}/_tag/{tag}/tree/", node.clone())
        .route("/api/{version}/{user}/{repo}/_tag/{tag}/tree/{*path}", node)
        .route(healthz, get(healthy))
        .route(health, any(async || StatusCode::OK))
        .route(counters, get(counted))
        .route(openapi, get(async || typed("application/json", OPENAPI)))
        .method_not_allowed_fallback(async || Code::Method)
        .fallback(unknown)
        .layer(from_fn_with_state(Arc::clone(&service), observe))
        .with_state(service)
}

/// A path that is none. A version that this server does not know may have paths that it does not know either.
async fn unknown(request: Request) -> Refusal {
    let mut parts = request.uri().path().split('/').skip(1);
    if parts.next() == Some("api") {
        let version = parts.next().and_then(|part| part.strip_prefix('v'));
        let version = version.and_then(|text| text.parse::<semver::Version>().ok());
        match version {
            None => return Code::VersionMalformed.into(),
            Some(version) if version > semver::Version::new(0, 1, u64::MAX) => {
                return Code::VersionUnsupported.into();
            }
            Some(_) => {}
        }
    }
    Code::UnknownRoute.into()
}

/// The path's name, for metrics.
fn label(path: &str) -> &'static str {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let index = match parts.as_slice() {
        ["api", _, "_search"] => 0,
        ["api", _, _] => 1,
        ["api", _, _, "_repositories"] => 2,
        ["api", _, _, _] => 3,
        ["api", _, _, _, "_resolve", _] => 4,
        ["api", _, _, _, "_tag"] => 5,
        ["api", _, _, _, "_tag", _] => 6,
        ["api", _, _, _, "_tag", _, "_yank"] => 7,
        ["api", _, _, _, "_tag", _, "_signature"] => 8,
        ["api", _, _, _, "_tag", _, "_uploads"] => 9,
        ["api", _, _, _, "_tag", _, "_uploads", _] => 10,
        ["api", _, _, _, "_tag", _, "tree"] => 11,
        ["api", _, _, _, "_tag", _, "tree", ..] => 12,
        ["healthz"] => 13,
        ["health"] => 14,
        ["metrics"] => 15,
        ["openapi.json"] => 16,
        _ => return "other",
    };
    PATHS.get(index).copied().unwrap_or("other")
}

/// Counts a request and its answer.
async fn observe(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let path = label(request.uri().path());
    let method = http_service::method(request.method());
    let mut response = service.metrics.http.observe(path, request, next).await;
    tracing::debug!(path, method, status = response.status().as_u16(), "answered");
    response.headers_mut().insert(
        HeaderName::from_static("drawbridge-version"),
        HeaderValue::from_static(drawbridge_types::API_VERSION),
    );
    response
}

/// `GET /healthz`.
async fn healthy(State(service): State<Arc<Service>>) -> Answer {
    service.store.ping().await?;
    let body = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "users": service.tokens.as_ref().map(|tokens| tokens.is_ready()),
    });
    let mut response = typed("application/json", body.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /metrics`.
async fn counted(State(service): State<Arc<Service>>) -> Answer {
    let body = service.metrics.render().map_err(|_| Refusal::from(Code::Internal))?;
    Ok(typed(CONTENT_TYPE, body))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use steward_relying_party::PartyRefusal;

    use super::*;

    #[test]
    fn the_description_has_every_path_and_no_other() {
        let description: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut described: Vec<_> = description["paths"].as_object().unwrap().keys().collect();
        let mut wanted: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
        described.sort();
        wanted.sort();
        assert_eq!(described, wanted.iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_description_has_every_code() {
        for code in Code::ALL {
            assert!(OPENAPI.contains(&format!("\"{}\"", code.code())), "{code:?}");
        }
        for code in PartyRefusal::ALL_CODES {
            assert!(OPENAPI.contains(&format!("\"{code}\"")), "{code}");
        }
    }

    #[test]
    fn every_path_has_its_label() {
        for path in PATHS {
            assert_eq!(label(path), path);
        }
        assert_eq!(label("/api/v0.1.0/a/b/_tag/1.0.0/tree/a/b"), PATHS[12]);
        assert_eq!(label("/x"), "other");
    }
}

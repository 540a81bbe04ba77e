// SPDX-License-Identifier: Apache-2.0

//! The paths, and what is answered there. `docs/steward-openapi.json` describes all of it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use evidence_pki::{encode, hex};
use http_service::{CONTENT_TYPE, typed};
use serde_json::json;
use steward_core::Issued;
use tokio::time::timeout;

use crate::answer::{Form, content_type};
use crate::limits::MAX_BODY;
use crate::problem::Http;
use crate::{DEVELOPMENT_WARNING, Service, claims, clock, decision};

/// The description of this interface.
const OPENAPI: &str = include_str!("../../../docs/steward-openapi.json");

/// A request for one certificate.
const PKCS10: &str = "application/pkcs10";
/// Requests for several certificates, a DER `SEQUENCE` of them; the published name.
const BUNDLE: &str = "application/vnd.steward.pkcs10-bundle.v1";

/// Every path, as metrics name it.
pub(crate) const PATHS: [&str; 8] = [
    "/",
    "/v1/certificates",
    "/v1/ca",
    "/v1/nonce",
    "/v1/openapi.json",
    "/v1/policy/{digest}",
    "/healthz",
    "/metrics",
];

type Answer = Result<Response<Body>, Http>;

pub(crate) fn routes(service: Arc<Service>) -> Router {
    let [root, certificates, ca, nonce, openapi, policy, health, counters] = PATHS;
    Router::new()
        .route(root, get(async || StatusCode::OK).post(issue_published))
        .route(certificates, post(issue))
        .route(ca, get(authority))
        .route(nonce, get(new_nonce))
        .route(openapi, get(async || text("application/json", OPENAPI)))
        .route(policy, get(policy_text))
        .route(health, get(healthy))
        .route(counters, get(counted))
        .method_not_allowed_fallback(async || Http::Method)
        .fallback(async || Http::UnknownRoute)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&service), observe))
        .with_state(service)
}

/// Counts a request and its answer.
async fn observe(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let path = request.uri().path();
    let path = match path.strip_prefix("/v1/policy/") {
        Some(_) => "/v1/policy/{digest}",
        None => PATHS.into_iter().find(|known| *known == path).unwrap_or("other"),
    };
    service.metrics.http.observe(path, request, next).await
}

/// `POST /`, as published: the answer is a PkiPath, or for a bundle the published output.
async fn issue_published(State(service): State<Arc<Service>>, request: Request) -> Answer {
    certify(&service, request, Some(Form::Path)).await
}

/// `POST /v1/certificates`: the same, in the form that the client wants.
async fn issue(State(service): State<Arc<Service>>, request: Request) -> Answer {
    let form = Form::choose(request.headers(), &[Form::Json, Form::Pem, Form::Path]);
    certify(&service, request, form).await
}

async fn certify(service: &Arc<Service>, request: Request, form: Option<Form>) -> Answer {
    let is_bundle = match content_type(request.headers()).as_deref() {
        Some(PKCS10) => false,
        Some(BUNDLE) => true,
        _ => return Err(Http::ContentType),
    };
    let form = form.filter(|_| !is_bundle).or(is_bundle.then_some(Form::Path));
    let form = form.ok_or(Http::NotAcceptable)?;
    let length = content_length(request.headers());
    if length.is_some_and(|length| length > MAX_BODY) {
        return Err(Http::BodyTooLarge);
    }
    let admission = service.gate.admit(length).ok_or(Http::Busy)?;
    let body = timeout(service.limits.timeout, Bytes::from_request(request, &()))
        .await
        .map_err(|_| Http::BodySlow)?
        .map_err(|rejection| unreadable(&rejection))?;

    let worker = Arc::clone(service);
    let work = tokio::task::spawn_blocking(move || {
        let _admission = admission;
        if is_bundle {
            let der = decision::decide_bundle(&worker, &body)?;
            return Ok(typed("application/octet-stream", der));
        }
        decision::decide(&worker, &body).map(|issued| certificate(&issued, form))
    });
    match timeout(service.limits.timeout, work).await {
        Ok(Ok(Ok(response))) => Ok(response),
        Ok(Ok(Err(problem))) => Ok(problem.into_response()),
        Ok(Err(panic)) => {
            tracing::error!(%panic, "a decision failed");
            Err(Http::Internal)
        }
        Err(_) => Err(Http::Timeout),
    }
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn unreadable(rejection: &BytesRejection) -> Http {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Http::BodyTooLarge,
        _ => Http::BodyUnreadable,
    }
}

fn certificate(issued: &Issued, form: Form) -> Response<Body> {
    let body = match form {
        Form::Json => {
            let chain = issued.chain().iter().map(|der| evidence_pki::to_pem("CERTIFICATE", der));
            json!({
                "certificate": evidence_pki::to_pem("CERTIFICATE", issued.leaf()),
                "chain": chain.collect::<String>(),
                "serial": hex(issued.serial()),
                "not_before": issued.not_before().to_string(),
                "not_after": issued.not_after().to_string(),
                "claims": claims::to_json(issued.claims()),
            })
            .to_string()
            .into_bytes()
        }
        Form::Pem => issued.pem().into_bytes(),
        Form::Path | Form::Certificate => issued.pki_path(),
    };
    typed(form.media_type(), body)
}

/// `GET /v1/ca`: the chain that certificates are issued under.
async fn authority(State(service): State<Arc<Service>>, headers: HeaderMap) -> Answer {
    let form = Form::choose(&headers, &[Form::Pem, Form::Path, Form::Certificate])
        .ok_or(Http::NotAcceptable)?;
    let chain = service.authority.chain();
    let body = match form {
        Form::Path => {
            let chain: Vec<&[u8]> = chain.iter().rev().map(Vec::as_slice).collect();
            encode::sequence(&chain)
        }
        // The root, which is what somebody who trusts it has to have.
        Form::Certificate => chain.last().cloned().unwrap_or_default(),
        Form::Pem | Form::Json => chain
            .iter()
            .map(|der| evidence_pki::to_pem("CERTIFICATE", der))
            .collect::<String>()
            .into_bytes(),
    };
    Ok(typed(form.media_type(), body))
}

/// `GET /v1/policy/{digest}`: what certificates with that digest were issued under.
async fn policy_text(State(service): State<Arc<Service>>, Path(digest): Path<String>) -> Answer {
    if digest != hex(service.authority.policy_digest().as_slice()) {
        return Err(Http::UnknownPolicy);
    }
    let mut response =
        text("text/plain; charset=utf-8", service.authority.policy().text().to_owned());
    // A text that is named by its digest can only be that text.
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    Ok(response)
}

/// `GET /v1/nonce`: for evidence that has to show that it is new.
async fn new_nonce(State(service): State<Arc<Service>>) -> Answer {
    let random = decision::random().ok_or(Http::Internal)?;
    let nonce = service.authority.nonce(clock::now(), random).ok_or(Http::Internal)?;
    let body = json!({
        "nonce": hex(nonce.as_bytes()),
        "expires": nonce.expires().to_string(),
    });
    let mut response = text("application/json", body.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `GET /healthz`.
async fn healthy(State(service): State<Arc<Service>>) -> Response<Body> {
    let platforms = service.authority.policy().platforms();
    let platforms: Vec<_> = platforms.into_iter().map(|platform| platform.as_str()).collect();
    let mut body = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "policy": hex(service.authority.policy_digest().as_slice()),
        "platforms": platforms,
        "development": service.development,
    });
    if service.development {
        body["warning"] = DEVELOPMENT_WARNING.into();
    }
    text("application/json", body.to_string())
}

/// `GET /metrics`.
async fn counted(State(service): State<Arc<Service>>) -> Answer {
    let body = service.metrics.render().map_err(|_| Http::Internal)?;
    Ok(text(CONTENT_TYPE, body))
}

fn text(content_type: &'static str, body: impl Into<String>) -> Response<Body> {
    typed(content_type, body.into())
}

#[cfg(test)]
mod tests {
    use evidence_verifier::EvidenceRefusal;
    use serde_json::Value;
    use steward_core::{AuthorityRefusal, RequestRefusal};
    use steward_policy::PolicyRefusal;

    use super::*;

    #[test]
    fn the_description_has_every_path_and_no_other() {
        let description: Value = serde_json::from_str(OPENAPI).unwrap();
        let described: Vec<_> = description["paths"].as_object().unwrap().keys().collect();
        assert_eq!(described.len(), PATHS.len(), "{described:?}");
        for path in PATHS {
            assert!(description["paths"][path].is_object(), "{path}");
        }
    }

    #[test]
    fn the_description_has_every_code() {
        for http in Http::ALL {
            assert!(OPENAPI.contains(http.code()), "{http:?}");
        }
        let description: Value = serde_json::from_str(OPENAPI).unwrap();
        let pattern =
            description["components"]["schemas"]["Problem"]["properties"]["code"]["pattern"]
                .as_str()
                .unwrap();
        let areas = pattern.split(['(', ')']).nth(1).unwrap();
        let areas: Vec<_> = areas.split('|').collect();
        for codes in [
            EvidenceRefusal::ALL_CODES,
            RequestRefusal::ALL_CODES,
            AuthorityRefusal::ALL_CODES,
            PolicyRefusal::ALL_CODES,
            evidence_snp::SnpRefusal::ALL_CODES,
            evidence_dcap::DcapRefusal::ALL_CODES,
        ] {
            for code in codes {
                let area = code.split('.').next().unwrap();
                assert!(areas.contains(&area), "{code} is of none of {areas:?}");
            }
        }
    }

    #[test]
    fn the_manual_has_every_code_of_the_service() {
        let manual = include_str!("../../../docs/steward.md");
        for http in Http::ALL {
            assert!(manual.contains(&format!("`{}`", http.code())), "{http:?}");
        }
    }
}

// SPDX-License-Identifier: Apache-2.0

//! The endpoints. Their paths are those that the published command line falls back on when an issuer's
//! discovery names no others.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, RawQuery, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::device::Poll;
use crate::form::Form;
use crate::page;
use crate::state::{Grant, State};

/// The grant of RFC 8628.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// The most bytes of a request's body.
const MAX_BODY: usize = 64 * 1024;

pub(crate) fn routes(state: Arc<State>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/oauth/device/code", post(device_code))
        .route("/oauth/token", post(token))
        .route("/activate", get(activate).post(decide))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&state), right_host))
        .with_state(state)
}

/// A page from elsewhere must not reach this issuer under a name of its own (DNS rebinding).
async fn right_host(state: Shared<Arc<State>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map(|host| host.as_bytes());
    match host.is_some_and(|host| host == state.authority.as_bytes()) {
        true => next.run(request).await,
        false => StatusCode::MISDIRECTED_REQUEST.into_response(),
    }
}

async fn discovery(state: Shared<Arc<State>>) -> Response {
    let url = &state.url;
    let algorithms: Vec<_> = state.config.algorithms.iter().map(|a| a.name()).collect();
    let mut document = json!({
        "issuer": url,
        "jwks_uri": format!("{url}/.well-known/jwks.json"),
        "token_endpoint": format!("{url}/oauth/token"),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "grant_types_supported": [DEVICE_GRANT, "client_credentials", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
    });
    if state.config.advertise_device {
        document["device_authorization_endpoint"] = json!(format!("{url}/oauth/device/code"));
    }
    if state.config.refresh_tokens {
        document["scopes_supported"] = json!(["openid", "profile", "offline_access"]);
    }
    answer(StatusCode::OK, &document)
}

async fn jwks(state: Shared<Arc<State>>) -> Response {
    state.count_jwks_request();
    answer(StatusCode::OK, &state.keys().jwks())
}

async fn device_code(state: Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    let form = Form::read(&body);
    let Some(client) = client(&state, &form, &headers) else { return error("invalid_client") };
    let Some(audience) = state.audience(form.get("audience")) else {
        return error("invalid_target");
    };
    let scope = form.get("scope").unwrap_or_default().to_owned();
    let approve = state.config.auto_approve.as_deref();
    let begun = state.devices().begin(&client, audience, scope, approve);
    let Some((device_code, user_code)) = begun else { return error("temporarily_unavailable") };
    let page = format!("{}/activate", state.url);
    let complete = format!("{page}?user_code={user_code}");
    answer(
        StatusCode::OK,
        &json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": complete,
            "expires_in": state.config.device_lifetime.as_secs(),
            "interval": state.config.interval.as_secs(),
        }),
    )
}

async fn token(state: Shared<Arc<State>>, headers: HeaderMap, body: Bytes) -> Response {
    let form = Form::read(&body);
    let Some(client) = client(&state, &form, &headers) else { return error("invalid_client") };
    let grant = match form.get("grant_type") {
        Some(DEVICE_GRANT) => {
            let Some(code) = form.get("device_code") else { return error("invalid_request") };
            match state.devices().poll(code, &client) {
                Poll::Granted(grant) => grant,
                Poll::Refused(reason) => return error(reason),
            }
        }
        Some("client_credentials") => {
            let known = state.config.clients.iter().find(|known| known.id == client);
            if known.is_none_or(|known| known.secret.is_none()) {
                return error("unauthorized_client");
            }
            let Some(audience) = state.audience(form.get("audience")) else {
                return error("invalid_target");
            };
            let scope = form.get("scope").unwrap_or_default();
            // Nobody is there whom an ID token or a refresh token could be about.
            let scope: Vec<_> = scope
                .split(' ')
                .filter(|scope| !matches!(*scope, "openid" | "profile" | "offline_access"))
                .collect();
            Grant { subject: client.clone(), audience, scope: scope.join(" "), client }
        }
        Some("refresh_token") => {
            let Some(token) = form.get("refresh_token") else { return error("invalid_request") };
            match state.take_refresh(token, &client) {
                Some(grant) => grant,
                None => return error("invalid_grant"),
            }
        }
        Some(_) => return error("unsupported_grant_type"),
        None => return error("invalid_request"),
    };
    answer(StatusCode::OK, &state.tokens(grant))
}

async fn activate(state: Shared<Arc<State>>, RawQuery(query): RawQuery) -> Response {
    let form = Form::read(query.unwrap_or_default().as_bytes());
    let code = form.get("user_code").unwrap_or_default();
    let devices = state.devices();
    page::form(code, devices.waiting(code), None)
}

async fn decide(state: Shared<Arc<State>>, body: Bytes) -> Response {
    let form = Form::read(&body);
    let get = |name| form.get(name).unwrap_or_default();
    let (code, user) = (get("user_code"), get("user"));
    let mut devices = state.devices();
    if devices.waiting(code).is_none() {
        return page::form(code, None, Some("No device waits under this code."));
    }
    if !state.is_password(user, get("password")) {
        devices.failed(code);
        return page::form(code, devices.waiting(code), Some("Name or password is wrong."));
    }
    let approved = get("decision") == "approve";
    devices.decide(code, approved.then_some(user));
    page::done(approved)
}

/// The name of the client, if it is known and proves itself.
fn client(state: &State, form: &Form, headers: &HeaderMap) -> Option<String> {
    let (id, secret) = form.client(headers)?;
    state.client(&id, secret.as_deref()).map(|client| client.id.clone())
}

fn error(code: &'static str) -> Response {
    let status = match code {
        "invalid_client" => StatusCode::UNAUTHORIZED,
        "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    answer(status, &json!({ "error": code }))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, headers, body.to_string()).into_response()
}

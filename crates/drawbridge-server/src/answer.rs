// SPDX-License-Identifier: Apache-2.0

//! The usual answers.

use axum::body::Body;
use axum::http::{Response, StatusCode};
pub(crate) use http_service::typed;
use serde::Serialize;

use crate::problem::{Answer, Code, Refusal};

pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Ok(response)
}

pub(crate) fn created() -> Answer {
    empty(StatusCode::CREATED)
}

pub(crate) fn no_content() -> Answer {
    empty(StatusCode::NO_CONTENT)
}

pub(crate) fn json(value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).map_err(|_| Refusal::from(Code::Internal))?;
    Ok(typed("application/json", body))
}

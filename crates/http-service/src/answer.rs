// SPDX-License-Identifier: Apache-2.0

//! The usual answers.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};

/// The media type of problem documents (RFC 9457, 6.1).
pub const PROBLEM: &str = "application/problem+json";

/// An answer of that type, which no browser takes for another.
pub fn typed(content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A problem document, which nobody between keeps. A status that is none becomes 500.
pub fn problem(status: u16, document: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(document));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

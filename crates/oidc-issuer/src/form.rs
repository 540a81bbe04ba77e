// SPDX-License-Identifier: Apache-2.0

//! Forms, and the client that sends one.

use std::collections::HashMap;

use axum::http::{HeaderMap, header};
use base64ct::{Base64, Encoding};
use url::form_urlencoded;

/// The fields of a form or a query; the first of two counts.
pub(crate) struct Form(HashMap<String, String>);

impl Form {
    pub(crate) fn read(text: &[u8]) -> Self {
        let mut fields = HashMap::new();
        for (name, value) in form_urlencoded::parse(text) {
            fields.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
        Self(fields)
    }

    /// A field that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Name and secret of the client, from the header or from the form (RFC 6749, §2.3.1).
    pub(crate) fn client(&self, headers: &HeaderMap) -> Option<(String, Option<String>)> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let encoded = value.to_str().ok()?.strip_prefix("Basic ")?;
            let decoded = String::from_utf8(Base64::decode_vec(encoded).ok()?).ok()?;
            let (id, secret) = decoded.split_once(':')?;
            return Some((unescape(id), Some(unescape(secret))));
        }
        Some((self.get("client_id")?.to_owned(), self.get("client_secret").map(str::to_owned)))
    }
}

/// The two parts of the header are encoded like the fields of a form.
fn unescape(text: &str) -> String {
    match form_urlencoded::parse(text.as_bytes()).next() {
        Some((name, _)) => name.into_owned(),
        None => String::new(),
    }
}

// SPDX-License-Identifier: Apache-2.0

//! Refusals, as RFC 9457 problem documents with codes that stay.
//!
//! A client learns what is wrong with its request and what to do about it. Of a fault of the server or its
//! store it learns that there is one; the rest is in the log.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use drawbridge_store::StoreError;
use drawbridge_types::Problem;
use evidence_claims::Reason as _;
use steward_relying_party::PartyRefusal;

/// What precedes the code in a problem's type. It names the problem; nothing has to be there.
const TYPE: &str = "https://enarx.dev/problems/";

macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal, $status:ident, $title:literal, $remedy:literal;)*) => {
        /// Everything that a request can be refused for, besides what a certificate is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Code { $($(#[$meta])* $name,)* }

        impl Code {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            pub(crate) fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    UnknownRoute = "http.not-found", NOT_FOUND, "There is nothing at this path",
        "see /openapi.json for the paths that there are";
    Method = "http.method", METHOD_NOT_ALLOWED, "This path does not know this method",
        "use a method that the Allow header names";
    BodySlow = "http.body-slow", REQUEST_TIMEOUT, "The body of the request came too slowly",
        "send it again, or in parts by POST …/_uploads";
    BodyBroken = "http.body-broken", BAD_REQUEST, "The body of the request ended early",
        "send it again, or in parts by POST …/_uploads";
    BodyTooLarge = "http.body-too-large", PAYLOAD_TOO_LARGE, "The body of the request is too large",
        "send less, or ask who runs this Drawbridge for a higher limit";
    Header = "http.header", BAD_REQUEST, "A header of the request is missing or malformed",
        "send the header that the detail names";
    Query = "http.query", BAD_REQUEST, "The query of the request is malformed",
        "correct the parameter that the detail names";
    Busy = "http.busy", SERVICE_UNAVAILABLE, "There are too many transfers at this moment",
        "try again after the seconds that Retry-After says";
    Internal = "http.internal", INTERNAL_SERVER_ERROR, "The Drawbridge failed",
        "tell who runs this Drawbridge; its log says more";
    VersionMalformed = "version.malformed", BAD_REQUEST, "The path has no version of the interface",
        "begin the path with /api/v0.1.0";
    VersionUnsupported = "version.unsupported", NOT_IMPLEMENTED, "This version of the interface is newer than the Drawbridge",
        "use /api/v0.1.0, or a newer Drawbridge";
    Name = "name.invalid", BAD_REQUEST, "A name in the path is invalid",
        "correct the name";
    TokenMissing = "token.missing", UNAUTHORIZED, "This needs a login",
        "log in (`enarx user login`); if what you ask for is public, check its name";
    TokenInvalid = "token.invalid", UNAUTHORIZED, "The token does not count",
        "log in again (`enarx user login`)";
    TokenScope = "token.scope", FORBIDDEN, "The token is not for this",
        "log in again with the scope that the detail names";
    TokenUnavailable = "token.unavailable", SERVICE_UNAVAILABLE, "Tokens cannot be judged at this moment",
        "try again after the seconds that Retry-After says";
    TokenUnsupported = "token.unsupported", UNAUTHORIZED, "This Drawbridge has no users",
        "start the Drawbridge with --oidc-issuer and --oidc-audience";
    NotFound = "access.not-found", NOT_FOUND, "There is no such thing, or it is not yours to see",
        "check the name, and that you are logged in as its owner";
    Subject = "user.subject", FORBIDDEN, "Users are created by whom they belong to",
        "send the subject of your own token, which `enarx user info` shows";
    Exists = "name.exists", CONFLICT, "It is there already",
        "choose another name or version; what is published is never changed";
    Deleted = "name.deleted", CONFLICT, "It was deleted, and names are not given out twice",
        "choose another name or version";
    RepositoryInvalid = "repository.invalid", BAD_REQUEST, "The repository's policy is not sound",
        "correct what the detail names";
    Changed = "repository.changed", PRECONDITION_FAILED, "The repository has been changed in the meantime",
        "read it again, and send the change with its new ETag in If-Match";
    UserInvalid = "user.invalid", BAD_REQUEST, "The body is no user",
        "send {\"subject\": \"…\"} as application/json";
    EntryInvalid = "tag.invalid", BAD_REQUEST, "The body is no entry of a tag",
        "send an entry as application/vnd.drawbridge.entry.v1+json, or a JWS around one as application/jose+json";
    Incomplete = "tag.incomplete", NOT_FOUND, "Not all files of this tag have been published yet",
        "publish them, or wait until that is done";
    SignatureInvalid = "signature.invalid", BAD_REQUEST, "The signature does not count",
        "sign with a key, or as an identity, that the repository names";
    SignatureRequired = "signature.required", FORBIDDEN, "The repository demands a signature",
        "sign the tag (`enarx package publish --sign`) with a key, or as an identity, that the repository names";
    DigestMissing = "digest.missing", BAD_REQUEST, "The Content-Digest header is missing or malformed",
        "send Content-Digest: sha-256=:…: as RFC 9530 defines it";
    DigestMismatch = "digest.mismatch", BAD_REQUEST, "The content is not the one of this digest",
        "send the content that the directory names, or publish a new tag";
    LengthMismatch = "length.mismatch", BAD_REQUEST, "The content has another length",
        "send the content that the directory names, or publish a new tag";
    TypeMismatch = "type.mismatch", BAD_REQUEST, "The content has another type",
        "send the Content-Type that the directory names";
    ContentInvalid = "content.invalid", BAD_REQUEST, "The content is not what its type says",
        "correct what the detail names";
    NotInParent = "tree.not-in-parent", BAD_REQUEST, "The directory above does not name this file",
        "correct the path, or publish a new tag with a directory that names it";
    NoParent = "tree.no-parent", CONFLICT, "The directory above has not been published yet",
        "publish directories before what is in them";
    RangeUnsatisfiable = "range.unsatisfiable", RANGE_NOT_SATISFIABLE, "There are no such bytes",
        "ask for bytes within the length that Content-Range says";
    UploadOffset = "upload.offset", CONFLICT, "The upload goes on at another byte",
        "go on at the byte that Upload-Offset says";
    UploadUnknown = "upload.unknown", NOT_FOUND, "There is no such upload any more",
        "begin a new one by POST …/_uploads";
    Quota = "quota.exceeded", FORBIDDEN, "There is no room left for this user",
        "delete what is not needed, or ask who runs this Drawbridge for more room";
    StoreFull = "store.full", INSUFFICIENT_STORAGE, "The store of this Drawbridge is full",
        "tell who runs this Drawbridge; nothing of the request was kept";
    StoreBusy = "store.busy", SERVICE_UNAVAILABLE, "The content is not there at this moment",
        "try again after the seconds that Retry-After says";
    CertificateMissing = "release.certificate-missing", UNAUTHORIZED, "This workload is released to attested Keeps",
        "deploy it (`enarx deploy`), or log in as its owner";
}

/// A refusal, on its way to the client.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Box<Problem>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

pub(crate) type Answer = Result<Response<Body>, Refusal>;

impl Refusal {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        let status = code.status();
        let mut refusal = Self {
            problem: Box::new(Problem {
                kind: format!("{TYPE}{}", code.code()),
                title: code.title().into(),
                status: status.as_u16(),
                detail: detail.into(),
                code: code.code().into(),
                remedy: code.remedy().into(),
            }),
            headers: Vec::new(),
        };
        if status == StatusCode::UNAUTHORIZED {
            let value = match code {
                Code::TokenInvalid => "Bearer realm=\"drawbridge\", error=\"invalid_token\"",
                _ => "Bearer realm=\"drawbridge\"",
            };
            refusal = refusal.with(header::WWW_AUTHENTICATE, HeaderValue::from_static(value));
        }
        match code {
            Code::Busy | Code::StoreBusy | Code::TokenUnavailable => {
                refusal.with(header::RETRY_AFTER, HeaderValue::from_static("1"))
            }
            // The rest of such a body is not read.
            Code::BodySlow | Code::BodyTooLarge | Code::BodyBroken => {
                refusal.with(header::CONNECTION, HeaderValue::from_static("close"))
            }
            _ => refusal,
        }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn code(&self) -> &str {
        &self.problem.code
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Self {
        Self::new(code, code.title())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Exists(_) => Code::Exists,
            StoreError::Deleted(_) => Code::Deleted,
            StoreError::Missing(_) => Code::NotFound,
            StoreError::NotInParent => Code::NotInParent,
            StoreError::NoParent => Code::NoParent,
            StoreError::Length { .. } => Code::LengthMismatch,
            StoreError::Digest(_) => Code::DigestMismatch,
            StoreError::Content(_) => Code::ContentInvalid,
            StoreError::Offset(offset) => {
                return Self::new(Code::UploadOffset, error.to_string())
                    .with(UPLOAD_OFFSET, HeaderValue::from(*offset));
            }
            StoreError::Quota { .. } => Code::Quota,
            StoreError::Changed => Code::Changed,
            StoreError::Full => Code::StoreFull,
            StoreError::Busy => Code::StoreBusy,
            _ => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the store failed");
                return Code::Internal.into();
            }
        };
        if matches!(code, Code::StoreFull) {
            tracing::error!("the store is full");
        }
        Self::new(code, error.to_string())
    }
}

impl From<&PartyRefusal> for Refusal {
    /// Why a workload is not released to who has this certificate. What the certificate says is known to
    /// who sent it; what is demanded is not told.
    fn from(refusal: &PartyRefusal) -> Self {
        Self {
            problem: Box::new(Problem {
                kind: format!("{TYPE}{}", refusal.code()),
                title: "The workload is not released to this Keep".into(),
                status: StatusCode::FORBIDDEN.as_u16(),
                detail: refusal.to_string(),
                code: refusal.code().into(),
                remedy: refusal.remedy().into(),
            }),
            headers: Vec::new(),
        }
    }
}

/// How many bytes of an upload have come.
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response<Body> {
        let document = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = http_service::problem(self.problem.status, document);
        response
            .headers_mut()
            .extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

impl IntoResponse for Code {
    fn into_response(self) -> Response<Body> {
        Refusal::from(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use drawbridge_types::media;

    use super::*;

    #[test]
    fn every_code_has_a_document() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let refusal = Refusal::from(*code);
            assert!(seen.insert(code.code()), "{code:?} is there twice");
            assert!(refusal.problem.status >= 400 && !refusal.problem.remedy.is_empty());
            let response = refusal.into_response();
            assert_eq!(response.headers()[header::CONTENT_TYPE], media::PROBLEM);
        }
    }
}

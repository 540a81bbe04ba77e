// SPDX-License-Identifier: Apache-2.0

//! Refusals, as RFC 9457 problem documents.
//!
//! A client gets the code that programs act on, what failed in one sentence, what to do in another, and
//! the specification behind it. Of a fault of the Steward itself it learns that there is one, and no more:
//! the rest is in the log.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use steward_core::{Fault, IssueRefusal};

/// What precedes the code in a problem's type. It names the problem; nothing has to be there.
const TYPE: &str = "https://enarx.dev/problems/";

/// A problem document.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Problem {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    remedy: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
    #[serde(skip)]
    header: Option<(HeaderName, &'static str)>,
}

/// One of several reasons of a policy.
#[derive(Debug, Clone, Serialize)]
struct Violation {
    code: &'static str,
    detail: String,
    remedy: &'static str,
    reference: &'static str,
}

/// What can be wrong with a request before anything in it is looked at, or with the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    BodyUnreadable,
    UnknownRoute,
    UnknownPolicy,
    Method,
    NotAcceptable,
    BodySlow,
    BodyTooLarge,
    ContentType,
    Internal,
    Busy,
    Timeout,
}

impl Http {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 11] = [
        Self::BodyUnreadable,
        Self::UnknownRoute,
        Self::UnknownPolicy,
        Self::Method,
        Self::NotAcceptable,
        Self::BodySlow,
        Self::BodyTooLarge,
        Self::ContentType,
        Self::Internal,
        Self::Busy,
        Self::Timeout,
    ];

    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::BodyUnreadable => "http.body-unreadable",
            Self::UnknownRoute => "http.not-found",
            Self::UnknownPolicy => "http.unknown-policy",
            Self::Method => "http.method",
            Self::NotAcceptable => "http.not-acceptable",
            Self::BodySlow => "http.body-slow",
            Self::BodyTooLarge => "http.body-too-large",
            Self::ContentType => "http.content-type",
            Self::Internal => "http.internal",
            Self::Busy => "http.busy",
            Self::Timeout => "http.timeout",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BodyUnreadable => StatusCode::BAD_REQUEST,
            Self::UnknownRoute | Self::UnknownPolicy => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::BodySlow => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy | Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::BodyUnreadable => "the body of the request could not be read to its end",
            Self::UnknownRoute => "there is nothing at this path",
            Self::UnknownPolicy => "this Steward has no policy with that digest",
            Self::Method => "this path does not know this method",
            Self::NotAcceptable => "there is no answer of a type that the Accept header takes",
            Self::BodySlow => "the body of the request did not arrive in time",
            Self::BodyTooLarge => "the body of the request has more than 1 MiB",
            Self::ContentType => "the body of the request is of a type that is not taken here",
            Self::Internal => "the Steward failed",
            Self::Busy => "the Steward has as many requests as it can take",
            Self::Timeout => "the Steward did not come to a decision in time",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::BodyUnreadable => "send the request again",
            Self::UnknownRoute => "see /v1/openapi.json for the paths that there are",
            Self::UnknownPolicy => {
                "ask the Steward that issued the certificate, or whoever runs it, for old policies"
            }
            Self::Method => "use a method that the Allow header names",
            Self::NotAcceptable => {
                "accept application/json, application/pem-certificate-chain or application/pkix-pkipath"
            }
            Self::BodySlow => "send the request again, faster",
            Self::BodyTooLarge => "leave out endorsements that the evidence does not need",
            Self::ContentType => {
                "send Content-Type: application/pkcs10, or application/vnd.steward.pkcs10-bundle.v1"
            }
            Self::Internal => "tell who runs this Steward; its log says more",
            Self::Busy | Self::Timeout => "try again after the seconds that Retry-After says",
        }
    }
}

impl From<Http> for Problem {
    fn from(http: Http) -> Self {
        let status = http.status();
        Self {
            r#type: format!("{TYPE}{}", http.code()),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: http.detail().into(),
            code: http.code(),
            remedy: http.remedy(),
            reference: None,
            violations: Vec::new(),
            header: match http {
                Http::Busy | Http::Timeout => Some((header::RETRY_AFTER, "1")),
                // The rest of such a body is not read.
                Http::BodyTooLarge | Http::BodySlow => Some((header::CONNECTION, "close")),
                _ => None,
            },
        }
    }
}

impl From<&IssueRefusal> for Problem {
    fn from(refusal: &IssueRefusal) -> Self {
        let (title, detail) = match (refusal, refusal.fault()) {
            (_, Fault::Server) => (
                "The Steward cannot issue certificates",
                "the authority behind this Steward cannot sign at the moment".to_owned(),
            ),
            (IssueRefusal::Policy(_), _) => {
                ("The policy does not let this in", refusal.to_string())
            }
            (IssueRefusal::Evidence(_), _) => ("The evidence does not hold", refusal.to_string()),
            _ => ("The certificate request cannot be accepted", refusal.to_string()),
        };
        let violations = match refusal {
            IssueRefusal::Policy(_) => refusal
                .reasons()
                .map(|reason| Violation {
                    code: reason.code(),
                    detail: reason.to_string(),
                    remedy: reason.remedy(),
                    reference: reason.reference(),
                })
                .collect(),
            _ => Vec::new(),
        };
        Self {
            r#type: format!("{TYPE}{}", refusal.code()),
            title,
            status: refusal.status(),
            detail,
            code: refusal.code(),
            remedy: refusal.remedy(),
            reference: Some(refusal.reference()),
            violations,
            header: None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let document = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = http_service::problem(self.status, document);
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

impl IntoResponse for Http {
    fn into_response(self) -> Response<Body> {
        Problem::from(self).into_response()
    }
}

#[cfg(test)]
mod tests {
    use steward_core::{AuthorityRefusal, SignError};

    use super::*;

    #[test]
    fn a_document_has_every_member() {
        let problem = serde_json::to_value(Problem::from(Http::Busy)).unwrap();
        assert_eq!(problem["type"], "https://enarx.dev/problems/http.busy");
        assert_eq!(problem["status"], 503);
        assert_eq!(problem["title"], "Service Unavailable");
        for member in ["detail", "code", "remedy"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}");
        }
        let response = Http::Busy.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(response.headers()[header::CONTENT_TYPE], http_service::PROBLEM);
    }

    #[test]
    fn nobody_outside_learns_why_the_key_does_not_sign() {
        let secret = "CKR_PIN_LOCKED at /opt/hsm";
        let refusal = IssueRefusal::from(AuthorityRefusal::Sign(SignError(secret.into())));
        let text = serde_json::to_string(&Problem::from(&refusal)).unwrap();
        assert!(text.contains("authority.sign") && text.contains(r#""status":500"#), "{text}");
        assert!(!text.contains("PIN") && !text.contains("hsm"), "{text}");
    }
}

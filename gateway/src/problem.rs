//! Problem details (RFC 9457): the answer to every request that failed.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// Why a request failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({"type": "urn:mesh:problem:invalid", "title": "A field is invalid", "status": 422,
    "detail": "priority: 9 is not 1 to 5", "instance": "/api/v1/jobs",
    "request_id": "169c4214f0c22f3064a7a27ff5f60ca4",
    "errors": [{"field": "priority", "reason": "9 is not 1 to 5"}]}))]
pub struct Problem {
    /// Which kind of problem: `urn:mesh:problem:<kind>`, one of a closed set.
    #[serde(rename = "type")]
    #[schema(example = "urn:mesh:problem:invalid")]
    pub kind: String,
    /// The kind in a few words, the same each time.
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What is wrong this time, and what to do.
    pub detail: String,
    /// The path of the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The request's id, which is in the logs too.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// The invalid fields, for 422.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// What gRPC answered, for calls: `code`, `reason`, `metadata`, `mesh_instance`.
    #[serde(flatten)]
    #[schema(ignore)]
    pub extensions: Map<String, Value>,
    /// When to try again, in seconds.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) retry_after: Option<u64>,
    /// Whether the answer names the supported content encodings.
    #[serde(skip)]
    #[schema(ignore)]
    pub(crate) accept_encoding: bool,
}

/// An invalid field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldProblem {
    /// Which one, as a path such as `payload.url`.
    pub field: String,
    /// What is wrong with it, and what to send instead.
    pub reason: String,
}

/// The kinds, with their status and title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    Malformed,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    Conflict,
    ContentTooLarge,
    UnsupportedMediaType,
    Misdirected,
    Invalid,
    TooManyRequests,
    Cancelled,
    BadGateway,
    Unavailable,
    Timeout,
}

impl ProblemKind {
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::Malformed => (400, "malformed", "The request cannot be read"),
            Self::Unauthenticated => (401, "unauthenticated", "Authentication is required"),
            Self::Forbidden => (403, "forbidden", "Not allowed"),
            Self::NotFound => (404, "not-found", "Not found"),
            Self::MethodNotAllowed => (405, "method-not-allowed", "Method not allowed"),
            Self::RequestTimeout => (408, "request-timeout", "The request did not arrive in time"),
            Self::Conflict => (409, "conflict", "Conflict with the current state"),
            Self::ContentTooLarge => (413, "too-large", "The body is too large"),
            Self::UnsupportedMediaType => (415, "unsupported-media-type", "Unsupported media type"),
            Self::Misdirected => (421, "misdirected", "Not the server of this host name"),
            Self::Invalid => (422, "invalid", "A field is invalid"),
            Self::TooManyRequests => (429, "limited", "Too many requests"),
            Self::Cancelled => (499, "cancelled", "The call was cancelled"),
            Self::BadGateway => (502, "bad-gateway", "The service failed"),
            Self::Unavailable => (503, "unavailable", "Temporarily unavailable"),
            Self::Timeout => (504, "timeout", "No answer in time"),
        }
    }
}

impl Problem {
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let (status, name, title) = kind.row();
        Self {
            kind: format!("urn:mesh:problem:{name}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            instance: String::new(),
            request_id: String::new(),
            errors: Vec::new(),
            extensions: Map::new(),
            retry_after: (kind == ProblemKind::Unavailable).then_some(1),
            accept_encoding: false,
        }
    }

    /// The problem of an invalid field.
    pub(crate) fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        let (field, reason) = (field.into(), reason.into());
        let mut problem = Self::new(ProblemKind::Invalid, format!("{field}: {reason}"));
        problem.errors.push(FieldProblem { field, reason });
        problem
    }

    /// Adds `error` and `message`, where clients of workflows look for the reason.
    pub(crate) fn name_error(&mut self) {
        for name in ["error", "message"] {
            let named = self.extensions.entry(name);
            named.or_insert_with(|| self.detail.clone().into());
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The answer, complete.
    pub(crate) fn respond(&self) -> Response {
        let text = serde_json::to_string(self).unwrap_or_default();
        // A line, as every answer in JSON.
        let text = format!("{}\n", telemetry::redact_json(&text));
        let mut answer = (self.status(), text).into_response();
        let headers = answer.headers_mut();
        let form = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, form);
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.accept_encoding {
            let gzip = HeaderValue::from_static("gzip, identity");
            headers.insert(header::ACCEPT_ENCODING, gzip);
        }
        answer
    }
}

/// The middleware completes it with the path and the request's id, so it travels as an extension.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut answer = self.status().into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_at_fault_is_named_in_the_body() {
        let json = serde_json::to_value(Problem::field("payload.url", "is no URL")).unwrap();
        assert_eq!(json["status"], 422);
        assert_eq!(json["type"], "urn:mesh:problem:invalid");
        assert_eq!(json["errors"][0]["field"], "payload.url");
        assert_eq!(json.get("request_id"), None);
    }
}

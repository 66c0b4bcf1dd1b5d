//! What browsers learn about pages of other origins: CORS for those that the operator lists, nothing
//! for all others (Fetch standard, section 3.3).

use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};

use crate::problem::{Problem, ProblemKind};

/// What a page may send.
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PATCH, DELETE");
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept, content-type, content-encoding, idempotency-key, last-event-id, traceparent, \
     tracestate, x-mesh-session, x-request-id, x-user-id",
);
/// The headers of an answer that it may read, beside those that every page may read.
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("retry-after, x-mesh-instance, x-request-id");
/// How long a browser may remember the answer, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// A page of the Internet asks for a server within a private network.
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// Whether a browser asks if it may send a request.
pub(crate) fn is_preflight(parts: &Parts) -> bool {
    let has = |name| parts.headers.contains_key(name);
    parts.method == Method::OPTIONS
        && has(header::ORIGIN)
        && has(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to it.
pub(crate) fn preflight(origin: Option<&HeaderValue>) -> Response {
    if origin.is_none() {
        let text = "pages of this origin may not do this: list it in allowed_origins to allow it";
        return Problem::new(ProblemKind::Forbidden, text).into_response();
    }
    let mut answer = StatusCode::NO_CONTENT.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    headers.append(header::VARY, REQUEST_PRIVATE_NETWORK.into());
    answer
}

/// Says in an answer which page may read it.
pub(crate) fn add_headers(answer: &mut Response, origin: Option<HeaderValue>, varies: bool) {
    let headers = answer.headers_mut();
    // JSON is not run as a script or shown as an image.
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    if varies {
        headers.append(header::VARY, header::ORIGIN.into());
    }
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
}

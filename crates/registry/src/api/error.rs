//! Why requests are refused.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// Why a request is refused.
#[derive(Debug)]
pub(super) struct ApiError(pub(super) StatusCode, pub(super) String);

impl ApiError {
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }

    pub(super) fn missing(text: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, text.into())
    }
}

/// What is wrong with a body.
impl From<String> for ApiError {
    fn from(problem: String) -> Self {
        Self::bad(problem)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

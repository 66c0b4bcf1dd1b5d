//! JSON that is answered.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::problem::Problem;

/// What a handler answers: JSON, or a problem.
pub(crate) type JsonResult<T> = Result<JsonResponse<T>, Problem>;

/// A value as the body of an answer. It ends its line, so that the next prompt of a shell stands on
/// one of its own.
#[derive(Debug)]
pub(crate) struct JsonResponse<T> {
    status: StatusCode,
    body: T,
}

impl<T> JsonResponse<T> {
    pub(crate) fn ok(body: T) -> Self {
        let status = StatusCode::OK;
        Self { status, body }
    }

    pub(crate) fn created(body: T) -> Self {
        let status = StatusCode::CREATED;
        Self { status, body }
    }

    pub(crate) fn accepted(body: T) -> Self {
        let status = StatusCode::ACCEPTED;
        Self { status, body }
    }
}

impl<T: Serialize> IntoResponse for JsonResponse<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.body) {
            Ok(mut text) => {
                text.push(b'\n');
                let form = HeaderValue::from_static("application/json");
                (self.status, [(header::CONTENT_TYPE, form)], text).into_response()
            }
            // All our own types have a form in JSON.
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

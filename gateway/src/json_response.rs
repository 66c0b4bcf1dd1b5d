//! JSON that is answered.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// A value as the body of an answer. It ends its line, so that the next prompt of a shell stands on
/// one of its own.
#[derive(Debug)]
pub(crate) struct JsonResponse<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for JsonResponse<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut text) => {
                text.push(b'\n');
                let form = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, form)], text).into_response()
            }
            // Of our own types none is without a form in JSON.
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        }
    }
}

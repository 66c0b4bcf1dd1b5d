//! `GET /api/v1/openapi.json`: the description of the API.

use http::{HeaderValue, header};

use super::prelude::*;

pub(super) async fn openapi(State(app): State<App>) -> Response {
    let form = HeaderValue::from_static("application/json");
    let text = format!("{}\n", app.document);
    ([(header::CONTENT_TYPE, form)], text).into_response()
}

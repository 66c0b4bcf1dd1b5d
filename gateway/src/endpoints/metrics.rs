//! `GET /metrics`: the same metrics as on the admin listener.

use http::{HeaderValue, header};

use super::prelude::*;

pub(super) async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    if !app.context.keys.admin.enable_metrics {
        let text = "metrics are switched off: enable_metrics = false";
        return Err(Problem::new(ProblemKind::NotFound, text));
    }
    let mut answer = app.context.registry.encode().into_response();
    let form = HeaderValue::from_static(telemetry::CONTENT_TYPE);
    answer.headers_mut().insert(header::CONTENT_TYPE, form);
    Ok(answer)
}

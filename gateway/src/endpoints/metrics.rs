//! `GET /metrics`: the same metrics as on the admin listener.

use http::HeaderMap;

use super::prelude::*;

pub(super) async fn metrics(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !app.context.keys.admin.enable_metrics {
        let text = "metrics are switched off: enable_metrics = false";
        return Err(Problem::new(ProblemKind::NotFound, text));
    }
    Ok(app.context.scrape(&headers).await.into_response())
}

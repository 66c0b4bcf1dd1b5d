//! `GET /health` on the ports of the predecessor's services, in their words.

use super::prelude::*;

async fn works(app: &App) -> Result<(), Problem> {
    app.workflows.ask(app.workflows.store().check()).await
}

/// The orchestrator's.
pub(in crate::endpoints) async fn workflows(State(app): State<App>) -> JsonResult<Value> {
    works(&app).await?;
    Ok(JsonResponse::ok(
        json!({"service": "orchestrator", "status": "ok"}),
    ))
}

/// The fanout service's.
pub(in crate::endpoints) async fn fanout(State(app): State<App>) -> Result<Response, Problem> {
    works(&app).await?;
    Ok("OK".into_response())
}

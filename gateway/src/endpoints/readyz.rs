//! `GET /readyz`: what Consul and proxies ask.

use super::prelude::*;

/// Whether the gateway takes requests. It does while the queue is unavailable, since every gateway has
/// the same queue; the answer says so.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let (status, report) = app.context.readiness();
    (status, report + "\n").into_response()
}

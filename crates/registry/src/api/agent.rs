//! `/v1/agent`: registrations and checks.

use axum::{
    Json,
    extract::{Path, State as Extract},
};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{
    answer::{AppState, body_json, changed},
    error::ApiError,
    query::Query,
    render,
};
use crate::{
    definition::{CheckDefinition, ServiceDefinition, Status},
    state::DATACENTER,
};

pub(super) async fn own(Extract(app): AppState) -> Json<Value> {
    let version = concat!(env!("CARGO_PKG_VERSION"), "-mesh-registry");
    Json(json!({
        "Config": {
            "Datacenter": DATACENTER,
            "NodeName": app.shared.node,
            "NodeID": app.shared.node_id,
            "Server": true,
            "Version": version,
        },
        "Member": { "Name": app.shared.node, "Addr": "127.0.0.1", "Status": 1 },
        "Meta": {},
    }))
}

pub(super) async fn services(Extract(app): AppState) -> Json<Value> {
    Json(app.shared.read(render::services))
}

pub(super) async fn service(
    Extract(app): AppState,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let shared = &app.shared;
    let found = shared.read(|state| state.services.get(&id).map(render::service));
    let found = found.ok_or_else(|| ApiError::missing(format!("unknown service ID: {id}")))?;
    Ok(Json(found))
}

pub(super) async fn checks(Extract(app): AppState) -> Json<Value> {
    let checks = app.shared.read(|state| {
        let checks = state.checks.iter();
        let checks = checks.map(|(id, it)| (id.clone(), render::check(&app.shared, state, it)));
        checks.collect::<Map<_, _>>()
    });
    Json(checks.into())
}

pub(super) async fn register(
    Extract(app): AppState,
    query: Query,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let definition = ServiceDefinition::read(body_json(&body)?)?;
    let replace = query.has("replace-existing-checks");
    app.shared
        .change(|state| state.register(definition, replace))?;
    Ok(StatusCode::OK)
}

pub(super) async fn deregister(
    Extract(app): AppState,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let done = app.shared.change(|state| state.deregister(&id));
    changed(done, format!("Unknown service {id:?}"))
}

pub(super) async fn maintenance(
    Extract(app): AppState,
    Path(id): Path<String>,
    query: Query,
) -> Result<StatusCode, ApiError> {
    let on = match query.get("enable") {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        _ => return Err(ApiError::bad("Missing value for enable: true or false")),
    };
    let reason = query.get("reason").unwrap_or_default();
    let done = app.shared.change(|state| state.maintain(&id, on, reason));
    changed(done, format!("Unknown service {id:?}"))
}

pub(super) async fn register_check(
    Extract(app): AppState,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let definition = CheckDefinition::read(body_json(&body)?)?;
    app.shared
        .change(|state| state.register_check(definition))?;
    Ok(StatusCode::OK)
}

pub(super) async fn deregister_check(
    Extract(app): AppState,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let done = app.shared.change(|state| state.deregister_check(&id));
    changed(done, format!("Unknown check {id:?}"))
}

/// `pass`, `warn` and `fail` with a note in the query; `update` with a status in its body.
pub(super) async fn report(
    Extract(app): AppState,
    Path((what, id)): Path<(String, String)>,
    query: Query,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let note = query.get("note").unwrap_or_default().to_owned();
    let (status, output) = match what.as_str() {
        "pass" => (Status::Passing, note),
        "warn" => (Status::Warning, note),
        "fail" => (Status::Critical, note),
        "update" => {
            let body = body_json(&body)?;
            let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            let status = field("Status");
            let status = Status::from_name(&status)
                .ok_or_else(|| ApiError::bad(format!("Invalid check status: {status:?}")))?;
            (status, field("Output"))
        }
        other => return Err(ApiError::missing(format!("no such report: {other}"))),
    };
    let done = app
        .shared
        .change(|state| state.report(&id, status, &output));
    changed(done, format!("CheckID {id:?} does not have associated TTL"))
}

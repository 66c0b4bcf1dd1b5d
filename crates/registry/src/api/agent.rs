//! `/v1/agent`: registrations and checks.

use axum::{
    extract::{Path, State as Extract},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{StatusCode, Uri};
use serde_json::{Map, Value, json};

use super::{ApiError, AppState, Query, body_json, json, render};
use crate::{
    definition::{CheckDefinition, ServiceDefinition, Status},
    state::DATACENTER,
};

pub(super) async fn own(Extract(app): AppState) -> Response {
    let version = concat!(env!("CARGO_PKG_VERSION"), "-mesh-registry");
    json(&json!({
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

pub(super) async fn services(Extract(app): AppState) -> Response {
    let all = app.shared.read(|state| {
        let services = state.services.iter();
        let all: Map<String, Value> = services
            .map(|(id, it)| (id.clone(), render::service(it)))
            .collect();
        all
    });
    json(&Value::Object(all))
}

pub(super) async fn service(
    Extract(app): AppState,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let found = app
        .shared
        .read(|state| state.services.get(&id).map(render::service));
    let found = found.ok_or_else(|| ApiError::missing(format!("unknown service ID: {id}")))?;
    Ok(json(&found))
}

pub(super) async fn checks(Extract(app): AppState) -> Response {
    let all = app.shared.read(|state| {
        let checks = state.checks.iter();
        let all: Map<String, Value> = checks
            .map(|(id, it)| (id.clone(), render::check(&app.shared, state, it)))
            .collect();
        all
    });
    json(&Value::Object(all))
}

pub(super) async fn register(
    Extract(app): AppState,
    uri: Uri,
    body: Bytes,
) -> Result<Response, ApiError> {
    let definition = ServiceDefinition::read(body_json(&body)?).map_err(ApiError::bad)?;
    let replace = Query::of(&uri).has("replace-existing-checks");
    let registered = app
        .shared
        .change(|state| state.register(definition, replace));
    registered.map_err(ApiError::bad)?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn deregister(
    Extract(app): AppState,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    if app.shared.change(|state| state.deregister(&id)) {
        return Ok(StatusCode::OK.into_response());
    }
    Err(ApiError::missing(format!("Unknown service {id:?}")))
}

pub(super) async fn maintenance(
    Extract(app): AppState,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let query = Query::of(&uri);
    let on = match query.get("enable") {
        Some("true" | "1") => true,
        Some("false" | "0") => false,
        _ => return Err(ApiError::bad("Missing value for enable: true or false")),
    };
    let reason = query.get("reason").unwrap_or_default();
    if app.shared.change(|state| state.maintain(&id, on, reason)) {
        return Ok(StatusCode::OK.into_response());
    }
    Err(ApiError::missing(format!("Unknown service {id:?}")))
}

pub(super) async fn register_check(
    Extract(app): AppState,
    body: Bytes,
) -> Result<Response, ApiError> {
    let definition = CheckDefinition::read(body_json(&body)?).map_err(ApiError::bad)?;
    let registered = app.shared.change(|state| state.register_check(definition));
    registered.map_err(ApiError::bad)?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn deregister_check(
    Extract(app): AppState,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    if app.shared.change(|state| state.deregister_check(&id)) {
        return Ok(StatusCode::OK.into_response());
    }
    Err(ApiError::missing(format!("Unknown check {id:?}")))
}

/// `pass`, `warn` and `fail` with a note in the query; `update` with a status in its body.
pub(super) async fn report(
    Extract(app): AppState,
    Path((what, id)): Path<(String, String)>,
    uri: Uri,
    body: Bytes,
) -> Result<Response, ApiError> {
    let query = Query::of(&uri);
    let note = query.get("note").unwrap_or_default().to_owned();
    let (status, output) = match what.as_str() {
        "pass" => (Status::Passing, note),
        "warn" => (Status::Warning, note),
        "fail" => (Status::Critical, note),
        "update" => {
            let told = body_json(&body)?;
            let field = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
            let status = field("Status");
            let status = Status::from_name(&status)
                .ok_or_else(|| ApiError::bad(format!("Invalid check status: {status:?}")))?;
            (status, field("Output"))
        }
        other => return Err(ApiError::missing(format!("no such report: {other}"))),
    };
    if app
        .shared
        .change(|state| state.report(&id, status, &output))
    {
        return Ok(StatusCode::OK.into_response());
    }
    Err(ApiError::missing(format!(
        "CheckID {id:?} does not have associated TTL"
    )))
}

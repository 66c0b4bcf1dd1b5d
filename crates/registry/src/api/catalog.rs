//! `/v1/catalog` and `/v1/health`: who is there, and how they are. All of it can block.

use axum::{
    extract::{Path, State as Extract},
    response::Response,
};
use bytes::Bytes;
use http::Uri;
use serde_json::{Map, Value, json};

use super::{ApiError, AppState, Query, answer, body_json, json, render};
use crate::{
    definition::Status,
    state::{DATACENTER, Service, State},
};

pub(super) async fn datacenters() -> Response {
    json(&json!([DATACENTER]))
}

pub(super) async fn nodes(Extract(app): AppState, uri: Uri) -> Result<Response, ApiError> {
    let node = json!([render::node(&app.shared)]);
    answer(&app, &Query::of(&uri), |_| 1, |_| Some(node)).await
}

pub(super) async fn node(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let known = name == app.shared.node || name == app.shared.node_id;
    let read = |state: &State| {
        if !known {
            return Some(Value::Null);
        }
        let services = state.services.iter();
        let services: Map<String, Value> = services
            .map(|(id, it)| (id.clone(), render::service(it)))
            .collect();
        Some(json!({ "Node": render::node(&app.shared), "Services": services }))
    };
    answer(&app, &Query::of(&uri), |state| state.services_index, read).await
}

pub(super) async fn services(Extract(app): AppState, uri: Uri) -> Result<Response, ApiError> {
    let read = |state: &State| Some(render::names(state));
    answer(&app, &Query::of(&uri), |state| state.services_index, read).await
}

pub(super) async fn service(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let query = Query::of(&uri);
    let read = |state: &State| {
        let found = state.instances(&name).filter(|it| has_tags(it, &query));
        let found = found.map(|it| render::catalog_service(&app.shared, it));
        Some(found.collect())
    };
    answer(&app, &query, |state| state.changed(&name), read).await
}

pub(super) async fn health(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let query = Query::of(&uri);
    let passing = query.has("passing");
    let read = |state: &State| {
        let found = state.instances(&name).filter(|it| has_tags(it, &query));
        let found =
            found.filter(|it| !passing || state.status_of(&it.definition.id) == Status::Passing);
        Some(
            found
                .map(|it| render::health(&app.shared, state, it))
                .collect(),
        )
    };
    answer(&app, &query, |state| state.changed(&name), read).await
}

/// Whether it has every tag that is asked for.
fn has_tags(it: &Service, query: &Query) -> bool {
    let mut wanted = query.all("tag").filter(|tag| !tag.is_empty());
    let has = |wanted: &str| {
        let mut tags = it.definition.tags.iter();
        tags.any(|tag| tag.eq_ignore_ascii_case(wanted))
    };
    wanted.all(has)
}

pub(super) async fn checks(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let read = |state: &State| {
        let found = state.checks.values().filter(|it| it.service_name == name);
        let found = found.map(|it| render::check(&app.shared, state, it));
        Some(found.collect())
    };
    answer(&app, &Query::of(&uri), |state| state.changed(&name), read).await
}

pub(super) async fn node_checks(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let known = name == app.shared.node;
    let read = |state: &State| {
        let found = state.checks.values();
        let found = found.map(|it| render::check(&app.shared, state, it));
        let found = std::iter::once(render::node_check(&app.shared)).chain(found);
        Some(found.filter(|_| known).collect())
    };
    answer(&app, &Query::of(&uri), |state| state.checks_index, read).await
}

/// The checks in a state; `any` for all. No check is in one that does not exist.
pub(super) async fn state(
    Extract(app): AppState,
    Path(wanted): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let is_wanted = |status: Status| wanted == "any" || wanted == status.name();
    let read = |state: &State| {
        let node = is_wanted(Status::Passing).then(|| render::node_check(&app.shared));
        let found = state.checks.values().filter(|it| is_wanted(it.status));
        let found = found.map(|it| render::check(&app.shared, state, it));
        Some(node.into_iter().chain(found).collect())
    };
    answer(&app, &Query::of(&uri), |state| state.checks_index, read).await
}

/// Takes a service or a check of the node out, as `scripts/consul.sh cleanup` does.
pub(super) async fn deregister(Extract(app): AppState, body: Bytes) -> Result<Response, ApiError> {
    let body = body_json(&body)?;
    if body["Node"].as_str() != Some(app.shared.node.as_str()) {
        return Err(ApiError::bad(format!(
            "Node has to be {:?}: there is no other",
            app.shared.node
        )));
    }
    let field = |name: &str| body[name].as_str().filter(|text| !text.is_empty());
    app.shared
        .change(|state| match (field("ServiceID"), field("CheckID")) {
            (Some(id), _) => state.deregister(id),
            (None, Some(id)) => state.deregister_check(id),
            (None, None) => false,
        });
    Ok(json(&Value::Bool(true)))
}

//! `/v1/catalog` and `/v1/health`: the services and their health. Every query can block.

use axum::{
    Json,
    extract::{Path, State as Extract},
    response::Response,
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    answer::{AppState, answer, body_json},
    error::ApiError,
    query::Query,
    render,
};
use crate::{
    definition::Status,
    state::{DATACENTER, Service, State},
};

pub(super) async fn datacenters() -> Json<Value> {
    Json(json!([DATACENTER]))
}

pub(super) async fn nodes(Extract(app): AppState, query: Query) -> Result<Response, ApiError> {
    let node = json!([render::node(&app.shared)]);
    answer(&app, &query, |_| 1, |_| Some(node)).await
}

pub(super) async fn node(
    Extract(app): AppState,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let known = name == app.shared.node || name == app.shared.node_id;
    let read = |state: &State| {
        let node = render::node(&app.shared);
        Some(match known {
            true => json!({ "Node": node, "Services": render::services(state) }),
            false => Value::Null,
        })
    };
    answer(&app, &query, |state| state.services_index, read).await
}

pub(super) async fn services(Extract(app): AppState, query: Query) -> Result<Response, ApiError> {
    let read = |state: &State| Some(render::names(state));
    answer(&app, &query, |state| state.services_index, read).await
}

pub(super) async fn service(
    Extract(app): AppState,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
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
    query: Query,
) -> Result<Response, ApiError> {
    let passing = query.has("passing");
    let read = |state: &State| {
        let found = state.instances(&name).filter(|it| has_tags(it, &query));
        let passes = |it: &&Service| state.status_of(&it.definition.id) == Status::Passing;
        let found = found.filter(|it| !passing || passes(it));
        let found = found.map(|it| render::health(&app.shared, state, it));
        Some(found.collect())
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
    query: Query,
) -> Result<Response, ApiError> {
    let read = |state: &State| {
        let found = state.checks.values().filter(|it| it.service_name == name);
        let found = found.map(|it| render::check(&app.shared, state, it));
        Some(found.collect())
    };
    answer(&app, &query, |state| state.changed(&name), read).await
}

pub(super) async fn node_checks(
    Extract(app): AppState,
    Path(name): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let known = name == app.shared.node;
    let read = |state: &State| {
        let found = state.checks.values();
        let found = found.map(|it| render::check(&app.shared, state, it));
        let found = std::iter::once(render::node_check(&app.shared)).chain(found);
        Some(found.filter(|_| known).collect())
    };
    answer(&app, &query, |state| state.checks_index, read).await
}

/// The checks in a state; `any` for all, and none for an unknown state.
pub(super) async fn state(
    Extract(app): AppState,
    Path(wanted): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    let is_wanted = |status: Status| wanted == "any" || wanted == status.name();
    let read = |state: &State| {
        let node = is_wanted(Status::Passing).then(|| render::node_check(&app.shared));
        let found = state.checks.values().filter(|it| is_wanted(it.status));
        let found = found.map(|it| render::check(&app.shared, state, it));
        Some(node.into_iter().chain(found).collect())
    };
    answer(&app, &query, |state| state.checks_index, read).await
}

/// Removes a service or a check of the node; `scripts/consul.sh cleanup` uses it.
pub(super) async fn deregister(
    Extract(app): AppState,
    body: Bytes,
) -> Result<Json<bool>, ApiError> {
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
    Ok(Json(true))
}

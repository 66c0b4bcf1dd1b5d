//! `/v1/catalog` and `/v1/health`: who is there, and how they are. All of it can block.

use axum::{
    extract::{Path, State as Extract},
    response::Response,
};
use bytes::Bytes;
use http::Uri;
use serde_json::{Map, Value, json};

use super::{AppState, Query, Refusal, answer, body_json, json, show};
use crate::{
    definition::Status,
    state::{DATACENTER, Service},
};

pub(super) async fn datacenters() -> Response {
    json(&json!([DATACENTER]))
}

pub(super) async fn nodes(Extract(app): AppState, uri: Uri) -> Result<Response, Refusal> {
    let node = json!([show::node(&app.shared)]);
    answer(&app, &Query::of(&uri), |_| (1, Some(node.clone()))).await
}

pub(super) async fn node(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let known = name == app.shared.node || name == app.shared.node_id;
    answer(&app, &Query::of(&uri), |state| {
        let services = state.services.iter();
        let services: Map<String, Value> = services
            .map(|(id, it)| (id.clone(), show::service(it)))
            .collect();
        let value = match known {
            true => json!({ "Node": show::node(&app.shared), "Services": services }),
            false => Value::Null,
        };
        (state.services_index, Some(value))
    })
    .await
}

pub(super) async fn services(Extract(app): AppState, uri: Uri) -> Result<Response, Refusal> {
    answer(&app, &Query::of(&uri), |state| {
        (state.services_index, Some(show::names(state)))
    })
    .await
}

pub(super) async fn service(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let query = Query::of(&uri);
    answer(&app, &query, |state| {
        let found = state.instances(&name).filter(|it| has_tag(it, &query));
        let found: Value = found
            .map(|it| show::catalog_service(&app.shared, it))
            .collect();
        (state.changed(&name), Some(found))
    })
    .await
}

pub(super) async fn health(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let query = Query::of(&uri);
    let passing = query.has("passing");
    answer(&app, &query, |state| {
        let found = state.instances(&name).filter(|it| has_tag(it, &query));
        let found =
            found.filter(|it| !passing || state.status_of(&it.definition.id) == Status::Passing);
        let found: Value = found
            .map(|it| show::health(&app.shared, state, it))
            .collect();
        (state.changed(&name), Some(found))
    })
    .await
}

fn has_tag(it: &Service, query: &Query) -> bool {
    let wanted = query.get("tag").filter(|tag| !tag.is_empty());
    wanted.is_none_or(|wanted| {
        let mut tags = it.definition.tags.iter();
        tags.any(|tag| tag.eq_ignore_ascii_case(wanted))
    })
}

pub(super) async fn checks(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    answer(&app, &Query::of(&uri), |state| {
        let found = state.checks.values().filter(|it| it.service_name == name);
        let found: Value = found
            .map(|it| show::check(&app.shared, state, it))
            .collect();
        (state.changed(&name), Some(found))
    })
    .await
}

pub(super) async fn node_checks(
    Extract(app): AppState,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let known = name == app.shared.node;
    answer(&app, &Query::of(&uri), |state| {
        let found = state
            .checks
            .values()
            .map(|it| show::check(&app.shared, state, it));
        let found = std::iter::once(show::node_check(&app.shared)).chain(found);
        let found: Value = found.filter(|_| known).collect();
        (state.checks_index, Some(found))
    })
    .await
}

pub(super) async fn state(
    Extract(app): AppState,
    Path(wanted): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let only = match wanted.as_str() {
        "any" => None,
        name => Some(
            Status::from_name(name)
                .ok_or_else(|| Refusal::bad(format!("no such state: {name}")))?,
        ),
    };
    answer(&app, &Query::of(&uri), |state| {
        let node = only.is_none_or(|only| only == Status::Passing);
        let node = node.then(|| show::node_check(&app.shared));
        let found = state.checks.values();
        let found = found.filter(|it| only.is_none_or(|only| it.status == only));
        let found = found.map(|it| show::check(&app.shared, state, it));
        (
            state.checks_index,
            Some(node.into_iter().chain(found).collect()),
        )
    })
    .await
}

/// Takes a service or a check of the node out, as `scripts/consul.sh cleanup` does.
pub(super) async fn deregister(Extract(app): AppState, body: Bytes) -> Result<Response, Refusal> {
    let body = body_json(&body)?;
    if body["Node"].as_str() != Some(app.shared.node.as_str()) {
        return Err(Refusal::bad(format!(
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

//! `/v1/kv`: values by key.

use std::collections::BTreeSet;

use axum::{
    Json,
    extract::{Path, State as Extract},
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::header;
use serde_json::{Value, json};

use super::{
    answer::{App, AppState, answer, answer_with},
    error::ApiError,
    query::Query,
};
use crate::state::{KvPair, State};

pub(super) async fn get(
    Extract(app): AppState,
    Path(key): Path<String>,
    query: Query,
) -> Result<Response, ApiError> {
    read(&app, &key, &query).await
}

/// The whole store.
pub(super) async fn get_all(Extract(app): AppState, query: Query) -> Result<Response, ApiError> {
    read(&app, "", &query).await
}

async fn read(app: &App, key: &str, query: &Query) -> Result<Response, ApiError> {
    // As with Consul, their values mean nothing.
    let [all, only_keys, raw] = ["recurse", "keys", "raw"].map(|it| query.get(it).is_some());
    let beneath = |state: &State| state.entries.changed_beneath(key);
    if only_keys {
        let separator = query.get("separator").unwrap_or_default();
        return answer(app, query, beneath, |state| keys(state, key, separator)).await;
    }
    if all {
        let read = |state: &State| {
            let found = state.entries.beneath(key).map(|(key, it)| show(key, it));
            let found: Vec<Value> = found.collect();
            (!found.is_empty()).then_some(Value::Array(found))
        };
        return answer(app, query, beneath, read).await;
    }
    if key.is_empty() {
        return Err(ApiError::bad("Missing key name"));
    }
    let index = |state: &State| state.entries.changed(key);
    if raw {
        let text = |it: &KvPair| ([(header::CONTENT_TYPE, "text/plain")], it.value.clone());
        let read = |state: &State| state.entries.get(key).map(text);
        return answer_with(app, query, index, read).await;
    }
    let read = |state: &State| state.entries.get(key).map(|it| json!([show(key, it)]));
    answer(app, query, index, read).await
}

/// The keys beneath a prefix, each up to the separator that follows it.
fn keys(state: &State, prefix: &str, separator: &str) -> Option<Value> {
    let cut = |key: &str| {
        let rest = &key[prefix.len()..];
        let found = rest.find(separator).filter(|_| !separator.is_empty());
        let end = found.map_or(rest.len(), |at| at + separator.len());
        format!("{prefix}{}", &rest[..end])
    };
    let keys = state.entries.beneath(prefix);
    let keys: BTreeSet<String> = keys.map(|(key, _)| cut(key)).collect();
    // An empty store is no missing key.
    (!keys.is_empty() || prefix.is_empty()).then(|| json!(keys))
}

fn show(key: &str, it: &KvPair) -> Value {
    let value = (!it.value.is_empty()).then(|| BASE64_STANDARD.encode(&it.value));
    json!({
        "LockIndex": 0,
        "Key": key,
        "Flags": it.flags,
        "Value": value,
        "CreateIndex": it.create_index,
        "ModifyIndex": it.modify_index,
    })
}

pub(super) async fn put(
    Extract(app): AppState,
    Path(key): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Json<bool>, ApiError> {
    if query.get("acquire").or(query.get("release")).is_some() {
        return Err(ApiError::bad("this registry has no sessions"));
    }
    let flags = query.number("flags")?.unwrap_or(0);
    let cas = query.number("cas")?;
    let written = app
        .shared
        .change(|state| state.put(&key, body, flags, cas))?;
    Ok(Json(written))
}

pub(super) async fn put_nowhere() -> ApiError {
    ApiError::bad("Missing key name")
}

pub(super) async fn delete(
    Extract(app): AppState,
    Path(key): Path<String>,
    query: Query,
) -> Result<Json<bool>, ApiError> {
    let cas = query.number("cas")?;
    let deleted = app.shared.change(|state| {
        if query.get("recurse").is_some() {
            state.delete_beneath(&key);
            return true;
        }
        state.delete(&key, cas)
    });
    Ok(Json(deleted))
}

/// The whole store.
pub(super) async fn delete_all(
    Extract(app): AppState,
    query: Query,
) -> Result<Json<bool>, ApiError> {
    if query.get("recurse").is_none() {
        return Err(ApiError::bad("Missing key name"));
    }
    app.shared.change(|state| state.delete_beneath(""));
    Ok(Json(true))
}

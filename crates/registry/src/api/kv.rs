//! `/v1/kv`: values by key.

use std::collections::BTreeSet;

use axum::{
    extract::{Path, State as Extract},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{StatusCode, Uri, header};
use serde_json::{Value, json};

use super::{ApiError, App, AppState, Query, answer, index_headers, json, wait_for};
use crate::state::{KvPair, State};

pub(super) async fn get(
    Extract(app): AppState,
    Path(key): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    read(&app, &key, &Query::of(&uri)).await
}

/// The whole store.
pub(super) async fn get_all(Extract(app): AppState, uri: Uri) -> Result<Response, ApiError> {
    read(&app, "", &Query::of(&uri)).await
}

async fn read(app: &App, key: &str, query: &Query) -> Result<Response, ApiError> {
    // Consul asks only whether they are there.
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
    if !raw {
        let read = |state: &State| state.entries.get(key).map(|it| json!([show(key, it)]));
        return answer(app, query, index, read).await;
    }
    wait_for(app, query, index).await?;
    let (index, value) = app.shared.read(|state| {
        let entry = state.entries.get(key);
        (index(state), entry.map(|entry| entry.value.clone()))
    });
    let mut response = match value {
        Some(value) => ([(header::CONTENT_TYPE, "text/plain")], value).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    };
    index_headers(response.headers_mut(), index);
    Ok(response)
}

/// The keys beneath a prefix, each up to the separator that follows it.
fn keys(state: &State, prefix: &str, separator: &str) -> Option<Value> {
    let cut = |key: &str| {
        let rest = &key[prefix.len()..];
        let end = match separator {
            "" => rest.len(),
            separator => rest
                .find(separator)
                .map_or(rest.len(), |at| at + separator.len()),
        };
        format!("{prefix}{}", &rest[..end])
    };
    let keys: BTreeSet<String> = state
        .entries
        .beneath(prefix)
        .map(|(key, _)| cut(key))
        .collect();
    // That the whole store holds none is no missing key.
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
    uri: Uri,
    body: Bytes,
) -> Result<Response, ApiError> {
    let query = Query::of(&uri);
    if query.get("acquire").or(query.get("release")).is_some() {
        return Err(ApiError::bad("this registry has no sessions"));
    }
    let flags = query.number("flags")?.unwrap_or(0);
    let cas = query.number("cas")?;
    let written = app.shared.change(|state| state.put(&key, body, flags, cas));
    Ok(json(&Value::Bool(written.map_err(ApiError::bad)?)))
}

pub(super) async fn put_nowhere() -> ApiError {
    ApiError::bad("Missing key name")
}

pub(super) async fn delete(
    Extract(app): AppState,
    Path(key): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let query = Query::of(&uri);
    let cas = query.number("cas")?;
    let deleted = app.shared.change(|state| {
        if query.get("recurse").is_some() {
            state.delete_beneath(&key);
            return true;
        }
        state.delete(&key, cas)
    });
    Ok(json(&Value::Bool(deleted)))
}

/// The whole store.
pub(super) async fn delete_all(Extract(app): AppState, uri: Uri) -> Result<Response, ApiError> {
    if Query::of(&uri).get("recurse").is_none() {
        return Err(ApiError::bad("Missing key name"));
    }
    app.shared.change(|state| state.delete_beneath(""));
    Ok(json(&Value::Bool(true)))
}

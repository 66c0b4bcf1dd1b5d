//! `/v1/kv`: values by key.

use std::collections::BTreeSet;

use axum::{
    extract::{Path, State as Extract},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use super::{App, AppState, Query, Refusal, answer, index_headers, json};
use crate::state::{Entry, State};

pub(super) async fn get(
    Extract(app): AppState,
    Path(key): Path<String>,
    uri: Uri,
) -> Result<Response, Refusal> {
    read(&app, &key, &Query::of(&uri)).await
}

/// The whole store.
pub(super) async fn get_all(Extract(app): AppState, uri: Uri) -> Result<Response, Refusal> {
    read(&app, "", &Query::of(&uri)).await
}

async fn read(app: &App, key: &str, query: &Query) -> Result<Response, Refusal> {
    let all = query.has("recurse");
    if query.has("keys") {
        let separator = query.get("separator").unwrap_or_default();
        return answer(app, query, |state| {
            (state.entries_index, keys(state, key, separator))
        })
        .await;
    }
    if key.is_empty() && !all {
        return Err(Refusal::bad("Missing key name"));
    }
    if query.has("raw") && !all {
        let (index, value) = app.shared.read(|state| {
            let entry = state.entries.get(key);
            (state.entries_index, entry.map(|entry| entry.value.clone()))
        });
        let mut response = match value {
            Some(value) => value.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
        index_headers(response.headers_mut(), index);
        return Ok(response);
    }
    answer(app, query, |state| {
        let found = beneath(state, key).filter(|(known, _)| all || *known == key);
        let found: Vec<Value> = found.map(|(key, it)| show(key, it)).collect();
        let value = (!found.is_empty()).then_some(Value::Array(found));
        (state.entries_index, value)
    })
    .await
}

fn beneath<'a>(state: &'a State, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
    let from = state.entries.range(prefix.to_owned()..);
    from.take_while(move |(key, _)| key.starts_with(prefix))
        .map(|(key, entry)| (key.as_str(), entry))
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
    let keys: BTreeSet<String> = beneath(state, prefix).map(|(key, _)| cut(key)).collect();
    (!keys.is_empty()).then(|| json!(keys))
}

fn show(key: &str, it: &Entry) -> Value {
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
) -> Result<Response, Refusal> {
    let query = Query::of(&uri);
    if query.get("acquire").or(query.get("release")).is_some() {
        return Err(Refusal::bad("this registry has no sessions"));
    }
    let number = |name: &str| {
        let text = query.get(name);
        text.map(|text| {
            text.parse()
                .map_err(|_| Refusal::bad(format!("Invalid {name}: {text}")))
        })
        .transpose()
    };
    let (flags, cas) = (number("flags")?.unwrap_or(0), number("cas")?);
    let written = app.shared.change(|state| state.put(&key, body, flags, cas));
    Ok(json(&Value::Bool(written.map_err(Refusal::bad)?)))
}

pub(super) async fn delete(Extract(app): AppState, Path(key): Path<String>, uri: Uri) -> Response {
    let recurse = Query::of(&uri).has("recurse");
    app.shared.change(|state| state.delete(&key, recurse));
    json(&Value::Bool(true))
}

/// The whole store.
pub(super) async fn delete_all(Extract(app): AppState, uri: Uri) -> Result<Response, Refusal> {
    if !Query::of(&uri).has("recurse") {
        return Err(Refusal::bad("Missing key name"));
    }
    app.shared.change(|state| state.delete("", true));
    Ok(json(&Value::Bool(true)))
}

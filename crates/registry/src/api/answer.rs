//! The answers of handlers, and how long blocking queries wait for one.

use std::sync::Arc;

use axum::{
    Json,
    extract::State as Extract,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::{error::ApiError, query::Query};
use crate::{shared::Shared, state::State};

/// The state of all handlers.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(super) shared: Arc<Shared>,
    pub(super) stop: CancellationToken,
}

/// How handlers receive it.
pub(super) type AppState = Extract<App>;

/// The answer to a change: 200 if there was something to change, else 404.
pub(super) fn changed(changed: bool, otherwise: String) -> Result<StatusCode, ApiError> {
    match changed {
        true => Ok(StatusCode::OK),
        false => Err(ApiError::missing(otherwise)),
    }
}

/// Answers with JSON that is read from the state, 404 for `None`. A blocking query waits until its index
/// is above the one that it knows.
pub(super) async fn answer(
    app: &App,
    query: &Query,
    index: impl Fn(&State) -> u64,
    value: impl FnOnce(&State) -> Option<Value>,
) -> Result<Response, ApiError> {
    answer_with(app, query, index, |state| value(state).map(Json)).await
}

/// [`answer`], with a response of any form.
pub(super) async fn answer_with<R: IntoResponse>(
    app: &App,
    query: &Query,
    index: impl Fn(&State) -> u64,
    value: impl FnOnce(&State) -> Option<R>,
) -> Result<Response, ApiError> {
    wait_for(app, query, &index).await?;
    let (index, value) = app.shared.read(|state| (index(state), value(state)));
    let mut response = match value {
        Some(value) => value.into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    };
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert("x-consul-index", HeaderValue::from(index));
    headers.insert("x-consul-knownleader", HeaderValue::from_static("true"));
    headers.insert("x-consul-lastcontact", HeaderValue::from_static("0"));
    Ok(response)
}

/// Waits as long as a blocking query has to.
async fn wait_for(app: &App, query: &Query, index: impl Fn(&State) -> u64) -> Result<(), ApiError> {
    query.check()?;
    let Some((known, until)) = query.since()? else {
        return Ok(());
    };
    let mut changes = app.shared.changes();
    loop {
        changes.borrow_and_update();
        let (index, newest) = app.shared.read(|state| (index(state), state.index()));
        // An index from before a restart is above all: there is nothing to wait for.
        if index > known || known > newest {
            return Ok(());
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            () = sleep_until(until) => return Ok(()),
            () = app.stop.cancelled() => return Ok(()),
        }
    }
}

pub(super) fn body_json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad(format!("Request decode failed: {error}")))
}

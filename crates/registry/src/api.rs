//! Consul's HTTP API, version 1, as far as it goes.

mod agent;
mod catalog;
mod kv;
mod render;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State as Extract},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    definition::duration,
    state::{DATACENTER, Shared, State},
};

/// Longest wait of a blocking query, and that of one that does not say: Consul's.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
const WAIT: Duration = Duration::from_secs(300);
/// Largest body: that of Consul's key-value store.
const LARGEST_BODY: usize = 512 * 1024;

/// Where Consul's own servers would talk to each other; nobody does.
const SERVER: &str = "127.0.0.1:8300";

/// What handlers share.
#[derive(Clone, Debug)]
pub(crate) struct App {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

/// Every path.
pub(crate) fn router(shared: Arc<Shared>, stop: CancellationToken) -> Router {
    let paths = Router::new()
        .route("/agent/self", get(agent::own))
        .route("/agent/services", get(agent::services))
        .route("/agent/service/{id}", get(agent::service))
        .route("/agent/checks", get(agent::checks))
        .route("/agent/service/register", put(agent::register))
        .route("/agent/service/deregister/{id}", put(agent::deregister))
        .route("/agent/service/maintenance/{id}", put(agent::maintenance))
        .route("/agent/check/register", put(agent::register_check))
        .route("/agent/check/deregister/{id}", put(agent::deregister_check))
        .route("/agent/check/{pass}/{id}", put(agent::report))
        .route("/catalog/datacenters", get(catalog::datacenters))
        .route("/catalog/nodes", get(catalog::nodes))
        .route("/catalog/node/{node}", get(catalog::node))
        .route("/catalog/services", get(catalog::services))
        .route("/catalog/service/{name}", get(catalog::service))
        .route("/catalog/deregister", put(catalog::deregister))
        .route("/health/service/{name}", get(catalog::health))
        .route("/health/checks/{name}", get(catalog::checks))
        .route("/health/node/{node}", get(catalog::node_checks))
        .route("/health/state/{state}", get(catalog::state))
        .route("/kv/{*key}", get(kv::get).put(kv::put).delete(kv::delete))
        .route(
            "/kv/",
            get(kv::get_all).put(kv::put_nowhere).delete(kv::delete_all),
        )
        .route("/status/leader", get(|| async { json(&SERVER.into()) }))
        .route(
            "/status/peers",
            get(|| async { json(&vec![SERVER].into()) }),
        )
        .method_not_allowed_fallback(not_allowed);
    Router::new()
        .nest("/v1", paths)
        .fallback(unknown)
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn(no_web_pages))
        .with_state(App { shared, stop })
}

async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    let text = format!(
        "{path} is not part of the registry of `meshctl up`, which answers what the mesh needs of \
         Consul's API. Start a Consul for more: consul agent -dev\n"
    );
    (StatusCode::NOT_FOUND, text).into_response()
}

async fn not_allowed(request: Request) -> Response {
    let text = format!("method {} not allowed\n", request.method());
    (StatusCode::METHOD_NOT_ALLOWED, text).into_response()
}

/// A web page that somebody on this machine looks at can send requests here. Browsers say so.
async fn no_web_pages(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if headers.contains_key(header::ORIGIN) || !host.is_none_or(is_here) {
        let text = "this registry answers programs on this machine, and no web pages\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whether a host is an address or `localhost`: a name may lead here by a trick.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

/// What stands behind the question mark. `?passing` is there with an empty value.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    fn of(uri: &http::Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        Self(
            url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    /// Every value of a name.
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    fn get(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str) -> bool {
        self.get(name)
            .is_some_and(|value| !matches!(value, "false" | "0"))
    }

    /// A number, where one is given.
    fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let number = self
            .get(name)
            .filter(|text| !text.is_empty())
            .map(str::parse);
        number
            .transpose()
            .map_err(|_| ApiError::bad(format!("Invalid {name}: it has to be a whole number")))
    }

    /// The number to move on from, and until when to wait for that; `None` for a query that does not
    /// block.
    fn since(&self) -> Result<Option<(u64, Instant)>, ApiError> {
        let wait = match self.get("wait").filter(|wait| !wait.is_empty()) {
            None => WAIT,
            Some(wait) => {
                duration(wait).ok_or_else(|| ApiError::bad(format!("Invalid wait time: {wait}")))?
            }
        };
        let wait = if wait.is_zero() { WAIT } else { wait };
        let until = || Instant::now() + wait.min(LONGEST_WAIT);
        let index = self.number("index")?.filter(|index| *index > 0);
        Ok(index.map(|index| (index, until())))
    }

    /// # Errors
    /// When it asks for what this registry cannot do, and would get another answer.
    fn check(&self) -> Result<(), ApiError> {
        let filter = self.get("filter").filter(|filter| !filter.is_empty());
        if filter.is_some() {
            return Err(ApiError::bad("this registry knows no filter expressions"));
        }
        match self.get("dc") {
            None | Some("" | DATACENTER) => Ok(()),
            // Consul's words and code.
            Some(_) => Err(ApiError(
                StatusCode::INTERNAL_SERVER_ERROR,
                "No path to datacenter".to_owned(),
            )),
        }
    }
}

/// A request that will not do.
#[derive(Debug)]
pub(crate) struct ApiError(StatusCode, String);

impl ApiError {
    fn bad(text: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, text.into())
    }

    fn missing(text: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, text.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, self.1 + "\n").into_response()
    }
}

/// Answers with what is read of the state. A blocking query waits until its number is above the one
/// that it gives.
async fn answer(
    app: &App,
    query: &Query,
    index: impl Fn(&State) -> u64,
    value: impl FnOnce(&State) -> Option<Value>,
) -> Result<Response, ApiError> {
    wait_for(app, query, &index).await?;
    let (index, value) = app.shared.read(|state| (index(state), value(state)));
    Ok(indexed(index, value))
}

/// Waits as long as a blocking query has to.
async fn wait_for(app: &App, query: &Query, index: impl Fn(&State) -> u64) -> Result<(), ApiError> {
    query.check()?;
    let Some((known, until)) = query.since()? else {
        return Ok(());
    };
    let mut moves = app.shared.moves();
    loop {
        moves.borrow_and_update();
        let (index, newest) = app.shared.read(|state| (index(state), state.index()));
        // A number from before a restart is above all: there is nothing to wait for.
        if index > known || known > newest {
            return Ok(());
        }
        tokio::select! {
            moved = moves.changed() => if moved.is_err() { return Ok(()) },
            () = sleep_until(until) => return Ok(()),
            () = app.stop.cancelled() => return Ok(()),
        }
    }
}

/// JSON with Consul's headers; 404 for nothing.
fn indexed(index: u64, value: Option<Value>) -> Response {
    let mut response = match value {
        Some(value) => json(&value),
        None => StatusCode::NOT_FOUND.into_response(),
    };
    index_headers(response.headers_mut(), index);
    response
}

fn index_headers(headers: &mut HeaderMap, index: u64) {
    headers.insert("x-consul-index", HeaderValue::from(index));
    headers.insert("x-consul-knownleader", HeaderValue::from_static("true"));
    headers.insert("x-consul-lastcontact", HeaderValue::from_static("0"));
}

fn json(value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn body_json(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad(format!("Request decode failed: {error}")))
}

/// What every handler is given of the application.
type AppState = Extract<App>;

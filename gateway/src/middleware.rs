//! What runs around every request: request ID, span, rate limit and query check before its endpoint;
//! problem details, metrics and CORS after it.

use std::time::Instant;

use axum::{
    body::{Body, HttpBody as _},
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, Method, Uri, request::Parts};
use telemetry::{ScopedSpan, SpanKind, TraceContext};

use crate::{
    body::check_content_type,
    cors,
    endpoint::Port,
    problem::{Problem, ProblemKind},
    query, request_context,
    state::App,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest request ID that is taken from a caller, in bytes.
const MAX_REQUEST_ID: usize = 128;

pub(crate) async fn on_request(
    State((app, port)): State<(App, Port)>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let (mut parts, body) = request.into_parts();
    parts.headers.insert(REQUEST_ID, id.clone());
    let method = parts.method.clone();
    let path = parts.uri.path().to_owned();
    let route = parts.extensions.get::<MatchedPath>();
    let route = route.map_or("_OTHER", |route| route.as_str()).to_owned();
    let mut span = span(&app, &parts, &route);
    let cors = app.web.cors(&parts);
    let mut answer = match admit(&app, &parts, &body, &route, started) {
        Err(problem) => problem.into_response(),
        Ok(()) if cors::is_preflight(&parts) => cors::preflight(cors.as_ref()),
        Ok(()) => span.run(next.run(Request::from_parts(parts, body))).await,
    };
    if let Some(mut problem) = answer.extensions_mut().remove::<Problem>() {
        problem.instance = path;
        problem.request_id = id.to_str().unwrap_or_default().to_owned();
        let names_errors = app.rules.get(&route).is_some_and(|rule| rule.names_errors);
        if names_errors || matches!(port, Port::Workflows | Port::Fanout) {
            problem.name_error();
        }
        if problem.status >= 500 {
            tracing::warn!(
                status = problem.status,
                detail = problem.detail,
                request_id = problem.request_id,
                instance = problem.instance,
                "request failed"
            );
        }
        let allowed = answer.headers_mut().remove(http::header::ALLOW);
        answer = problem.respond();
        if let Some(allowed) = allowed {
            answer.headers_mut().insert(http::header::ALLOW, allowed);
        }
    }
    let status = answer.status().as_u16();
    let took = started.elapsed();
    app.metrics
        .observe(&method, &route, status, took, span.context());
    span.record(|fields| fields.number("http.response.status_code", status.into()));
    if status >= 500 {
        span.fail(answer.status().as_str());
    }
    answer.headers_mut().insert(REQUEST_ID, id);
    cors::add_headers(&mut answer, cors, app.web.has_origins());
    answer
}

/// Whether a request may reach its endpoint.
fn admit(app: &App, parts: &Parts, body: &Body, route: &str, now: Instant) -> Result<(), Problem> {
    let rule = app.rules.get(route);
    app.web
        .check(parts, rule.is_some_and(|rule| rule.streams_events))?;
    if rule.is_some_and(|rule| !rule.is_rate_limited) {
        return Ok(());
    }
    let client = request_context::client(parts, &app.proxies);
    if let Some(Err(wait)) = client.map(|client| app.rate_limiter.check(client, now)) {
        let text = "this client sends more requests than request_rate allows: wait a moment";
        let mut problem = Problem::new(ProblemKind::TooManyRequests, text);
        problem.retry_after = Some(wait.as_secs() + 1);
        return Err(problem);
    }
    if rule.is_some_and(|rule| rule.names_errors) {
        app.workflows.limits.request(now)?;
    }
    if let Some(known) = rule.and_then(|rule| rule.query_params(&parts.method)) {
        query::check(&parts.uri, known)?;
        let safe = [Method::GET, Method::HEAD].contains(&parts.method);
        if !safe && !body.is_end_stream() {
            check_content_type(&parts.headers)?;
        }
    }
    Ok(())
}

/// The answer to a path without an endpoint.
pub(crate) async fn not_found(uri: Uri) -> Problem {
    let text = format!(
        "there is no endpoint at {}: /docs shows all endpoints",
        uri.path()
    );
    Problem::new(ProblemKind::NotFound, text)
}

/// The answer to a method that a path does not have. Its `Allow` names the methods that it has.
pub(crate) async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        format!("this path does not take {method}: the Allow header names what it takes"),
    )
}

/// The caller's request ID where it is printable and not too long, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let fits = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        !bytes.is_empty() && bytes.len() <= MAX_REQUEST_ID && bytes.iter().all(u8::is_ascii_graphic)
    };
    let made = || {
        let id = format!("{:032x}", rand::random::<u128>());
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    };
    given.filter(fits).cloned().unwrap_or_else(made)
}

/// The span of a request, below its caller's context.
fn span(app: &App, parts: &Parts, route: &str) -> ScopedSpan {
    let caller = TraceContext::of(&parts.headers);
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let method = known.contains(&parts.method).then(|| parts.method.as_str());
    let method = method.unwrap_or("_OTHER");
    let mut span = ScopedSpan::below(caller, format!("{method} {route}"), SpanKind::Server);
    span.record(|fields| {
        fields.text("http.request.method", method);
        fields.text("http.route", route);
        if let Some(client) = request_context::client(parts, &app.proxies) {
            fields.text("client.address", &client.to_string());
        }
    });
    span
}

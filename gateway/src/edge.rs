//! What happens to every request: its id, its span, its client's rate; and to every answer: its
//! problem completed, its duration counted.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderName, HeaderValue, Uri};
use telemetry::propagation;
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    origin,
    problem::{Kind, Problem},
    state::App,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id of a request that is taken from a caller.
const MAX_ID: usize = 128;

/// Paths that are asked by machines that must not be limited.
const UNLIMITED: [&str; 3] = ["/health", "/readyz", "/metrics"];

pub(crate) async fn edge(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let (mut parts, body) = request.into_parts();
    parts.headers.insert(REQUEST_ID, id.clone());
    let method = parts.method.clone();
    let path = parts.uri.path().to_owned();
    let route = parts.extensions.get::<MatchedPath>();
    let route = route.map_or("_OTHER", |route| route.as_str()).to_owned();
    let span = span(&parts, &route);
    let limited = origin::client(&parts, &app.proxies)
        .filter(|_| !UNLIMITED.contains(&route.as_str()))
        .map_or(Ok(()), |client| app.limiter.take(client, started));
    let mut answer = match limited {
        Ok(()) => {
            next.run(Request::from_parts(parts, body))
                .instrument(span.clone())
                .await
        }
        Err(wait) => {
            let text = "more requests than request_rate allows, wait a moment";
            let mut problem = Problem::new(Kind::Limited, text);
            problem.retry_after = Some(wait.as_secs() + 1);
            axum::response::IntoResponse::into_response(problem)
        }
    };
    if let Some(mut problem) = answer.extensions_mut().remove::<Problem>() {
        problem.instance = path;
        problem.request_id = id.to_str().unwrap_or_default().to_owned();
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
    app.metrics
        .observe(&method, &route, status, started.elapsed());
    if !span.is_disabled() {
        span.record("http.response.status_code", status);
        if status >= 500 {
            span.record("otel.status_code", "ERROR");
        }
    }
    answer.headers_mut().insert(REQUEST_ID, id);
    answer
}

/// For paths that lead nowhere.
pub(crate) async fn nowhere(uri: Uri) -> Problem {
    let text = format!("nothing is at {}; /docs shows what there is", uri.path());
    Problem::new(Kind::NotFound, text)
}

/// For methods that a path does not have; the answer's `Allow` names those it has.
pub(crate) async fn not_so(method: http::Method) -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        format!("{method} is not for this path"),
    )
}

/// The caller's, where it is printable and not too long, so that it can be found again.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let fits = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        !bytes.is_empty() && bytes.len() <= MAX_ID && bytes.iter().all(u8::is_ascii_graphic)
    };
    let made = || {
        let id = format!("{:032x}", rand::random::<u128>());
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    };
    given.filter(fits).cloned().unwrap_or_else(made)
}

fn span(parts: &http::request::Parts, route: &str) -> Span {
    if !telemetry::tracing_enabled() {
        return Span::none();
    }
    let name = format!("{} {route}", parts.method);
    let span = tracing::info_span!(
        "http.server",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = %parts.method,
        http.route = route,
        http.response.status_code = Empty,
    );
    propagation::set_parent(&span, &parts.headers);
    span
}

//! The admin listener: what operators and Prometheus ask a process, over HTTP/1.1.
//!
//! Everybody may ask for life, readiness and metrics. The configuration and the log's level are for
//! who is on this machine or has the token, and never for a page in somebody's browser.

mod access;

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use telemetry::LogLevel;
use tokio::net::{TcpListener, TcpStream};

use crate::{
    Context, RequestBody, Severity,
    clients::{Clients, ClientConnection},
    connection::{Lifetime, ConnectionLimits, drive, reject},
    socket,
    probes::Probe,
    response_body::ResponseBody,
};

/// More than any level's name.
const MAX_BODY: usize = 256;

type AdminResponse = Response<Full<Bytes>>;

/// Serves until the context's `shutdown`; its tasks are the context's.
pub(crate) fn start(listener: TcpListener, context: &Arc<Context>, clients: &Clients) {
    let (context, clients) = (context.clone(), clients.for_other_port());
    let limits = ConnectionLimits::new(&context.keys);
    let tracker = context.tracker.clone();
    tracker.clone().spawn(async move {
        let shutdown = context.shutdown.clone();
        while let Some((stream, peer)) = shutdown
            .run_until_cancelled(socket::accept(&listener))
            .await
        {
            match clients.connect(peer) {
                Ok(client) => {
                    tracker.spawn(serve(context.clone(), limits, stream, peer, client));
                }
                Err(exceeded) => {
                    tracker.spawn(reject(stream, exceeded));
                }
            }
        }
    });
}

async fn serve(
    context: Arc<Context>,
    limits: ConnectionLimits,
    stream: TcpStream,
    peer: SocketAddr,
    client: ClientConnection,
) {
    let (stream, watch) = limits.guard(stream);
    let (requests, client) = (watch.requests(), Arc::new(client));
    let shutdown = context.shutdown.clone();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (context, open) = (context.clone(), requests.begin());
        let client = Arc::clone(&client);
        let request = request.map(|body| RequestBody::new(body, limits.body));
        async move {
            let answer = answer(&context, peer, request).await;
            Ok::<_, Infallible>(answer.map(|body| ResponseBody::new(body, open, client)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The stream's own watch tells a slow head from a connection at rest.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let lifetime = Lifetime {
        drain: shutdown.clone(),
        abort: shutdown,
        age: Duration::ZERO,
        grace: Duration::ZERO,
    };
    drive(connection, |it| it.graceful_shutdown(), Some(watch), lifetime).await;
}

async fn answer(context: &Context, peer: SocketAddr, request: Request<RequestBody>) -> AdminResponse {
    let asks = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path().trim_end_matches('/').to_owned();
    let options = request.method() == Method::OPTIONS;
    match Probe::at(&path).filter(|_| asks || options) {
        Some(Probe::Live) => return text(StatusCode::OK, "ok"),
        Some(Probe::Ready) if context.draining.is_cancelled() => {
            return text(StatusCode::NOT_FOUND, "draining");
        }
        Some(Probe::Ready) if path == "/health" => return health(context),
        Some(Probe::Ready) if !path.is_empty() => {
            let (status, told) = context.conditions.readiness();
            return text(status, &told);
        }
        _ => {}
    }
    if matches!(&*path, "/config" | "/log-level")
        && let Some(refused) = access::refusal(&context.keys.admin, peer, request.headers())
    {
        return refused;
    }
    match (&*path, asks) {
        ("/metrics", true) if !context.keys.admin.enable_metrics => text(
            StatusCode::NOT_FOUND,
            "switched off: enable_metrics = false",
        ),
        ("/metrics", true) => body(
            StatusCode::OK,
            telemetry::CONTENT_TYPE,
            context.registry.encode(),
        ),
        ("/config", true) => body(
            StatusCode::OK,
            "application/json",
            format!("{}\n", telemetry::redact(&config(context).to_string())),
        ),
        ("/log-level", true) => match telemetry::log_level() {
            Some(level) => text(StatusCode::OK, level.name()),
            None => text(StatusCode::NOT_FOUND, "this process has no log"),
        },
        ("/log-level", false) if request.method() == Method::PUT => set_level(request).await,
        ("/healthz" | "/livez" | "/readyz" | "/health" | "/metrics" | "/config", false) => {
            not_allowed("GET, HEAD")
        }
        ("/log-level", false) => not_allowed("GET, HEAD, PUT"),
        _ => text(
            StatusCode::NOT_FOUND,
            "expected /health, /healthz, /readyz, /metrics, /config or /log-level",
        ),
    }
}

fn not_allowed(allow: &'static str) -> AdminResponse {
    let mut answer = text(
        StatusCode::METHOD_NOT_ALLOWED,
        "expected GET; PUT for /log-level",
    );
    let allow = HeaderValue::from_static(allow);
    answer.headers_mut().insert(header::ALLOW, allow);
    answer
}

/// What works and what does not, for people and monitors: 503 when something does not.
fn health(context: &Context) -> AdminResponse {
    let errors = context.conditions.messages(Severity::Degraded);
    let mut told = json!({
        "ok": errors.is_empty(),
        "status": if errors.is_empty() { "ok" } else { "unavailable" },
        "service": context.spec.service,
        "version": context.spec.version,
    });
    let status = if errors.is_empty() {
        let warnings = context.conditions.messages(Severity::Warning);
        if !warnings.is_empty() {
            told["warnings"] = warnings.into();
        }
        StatusCode::OK
    } else {
        told["error"] = errors.join("; ").into();
        StatusCode::SERVICE_UNAVAILABLE
    };
    body(status, "application/json", format!("{told}\n"))
}

/// Key → value and source; the live settings of services; and how the registry is.
fn config(context: &Context) -> Value {
    let rows = context.config.rows();
    let row = |(name, value, source): (&str, &str, &crate::config::Source)| {
        (
            name.to_owned(),
            json!({ "value": value, "source": source.to_string() }),
        )
    };
    let live = context.settings.report();
    let live = live
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let registry = ("registry".to_owned(), registry(context));
    let all = rows.map(row).chain(live).chain([registry]);
    Value::Object(all.collect::<Map<_, _>>())
}

/// What is wrong with the registry, and which of its entries nobody can call.
fn registry(context: &Context) -> Value {
    let status = context.discovery.status();
    let left_out = status
        .left_out
        .iter()
        .map(|it| json!({ "service": it.service, "instance": it.id, "reason": it.reason }));
    json!({
        "trouble": status.error,
        "cached_seconds": status.cached_seconds,
        "left_out": left_out.collect::<Vec<_>>(),
    })
}

async fn set_level(request: Request<RequestBody>) -> AdminResponse {
    let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
        return text(
            StatusCode::BAD_REQUEST,
            "the body cannot be read, or is too long",
        );
    };
    let bytes = body.to_bytes();
    let name = String::from_utf8_lossy(&bytes);
    let level: LogLevel = match name.trim().trim_matches('"').parse() {
        Ok(level) => level,
        Err(expected) => return text(StatusCode::BAD_REQUEST, &expected),
    };
    match telemetry::set_log_level(level) {
        Ok(()) => {
            tracing::warn!(%level, "log level changed");
            text(StatusCode::OK, level.name())
        }
        Err(error) => text(StatusCode::NOT_FOUND, &error.to_string()),
    }
}

fn text(status: StatusCode, line: &str) -> AdminResponse {
    body(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

fn body(status: StatusCode, content_type: &'static str, content: String) -> AdminResponse {
    let mut answer = Response::new(Full::new(Bytes::from(content)));
    *answer.status_mut() = status;
    let value = HeaderValue::from_static(content_type);
    answer.headers_mut().insert(header::CONTENT_TYPE, value);
    answer
}

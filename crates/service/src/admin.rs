//! The admin listener: what operators and Prometheus ask a process, over HTTP/1.1.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use telemetry::Level;
use tokio::net::TcpListener;

use crate::{Context, Weight, listener};

/// How long a client may take to send its request's head.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any level's name.
const MOST_BODY: usize = 256;

type Answer = Response<Full<Bytes>>;

/// Serves until the context's `shutdown`; its tasks are the context's.
pub(crate) fn start(listener: TcpListener, context: &Arc<Context>) {
    let context = context.clone();
    let tracker = context.tracker.clone();
    tracker.clone().spawn(async move {
        let shutdown = context.shutdown.clone();
        while let Some((stream, _)) = shutdown
            .run_until_cancelled(listener::accept(&listener))
            .await
        {
            let (context, shutdown) = (context.clone(), shutdown.clone());
            tracker.spawn(async move {
                let service = service_fn(move |request| {
                    let context = context.clone();
                    async move { Ok::<_, Infallible>(answer(&context, request).await) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PATIENCE)
                    .serve_connection(TokioIo::new(stream), service);
                if let Some(Err(error)) = shutdown.run_until_cancelled(connection).await {
                    tracing::debug!(%error, "admin connection ended");
                }
            });
        }
    });
}

async fn answer(context: &Context, request: Request<Incoming>) -> Answer {
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match (request.uri().path(), get) {
        ("/healthz", true) => text(StatusCode::OK, "ok"),
        ("/readyz", true) if context.draining.is_cancelled() => {
            text(StatusCode::NOT_FOUND, "draining")
        }
        ("/readyz", true) => {
            let (status, told) = context.notes.readiness();
            text(status, &told)
        }
        ("/health", true) => health(context),
        ("/metrics", true) if !context.config.bool("enable_metrics") => text(
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
            config(context).to_string(),
        ),
        ("/log-level", true) => match telemetry::log_level() {
            Some(level) => text(StatusCode::OK, level.name()),
            None => text(StatusCode::NOT_FOUND, "this process has no log"),
        },
        ("/log-level", false) if request.method() == Method::PUT => set_level(request).await,
        ("/health" | "/healthz" | "/readyz" | "/metrics" | "/config" | "/log-level", false) => {
            text(
                StatusCode::METHOD_NOT_ALLOWED,
                "expected GET; PUT for /log-level",
            )
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "expected /health, /healthz, /readyz, /metrics, /config or /log-level",
        ),
    }
}

/// What works and what does not, for people and monitors: 503 when something does not.
fn health(context: &Context) -> Answer {
    let errors = context.notes.told(Weight::Trouble);
    let mut told = json!({
        "ok": errors.is_empty(),
        "status": if errors.is_empty() { "ok" } else { "unavailable" },
        "service": context.spec.service,
        "version": context.spec.version,
    });
    let status = if errors.is_empty() {
        let warnings = context.notes.told(Weight::Warning);
        if !warnings.is_empty() {
            told["warnings"] = warnings.into();
        }
        StatusCode::OK
    } else {
        told["error"] = errors.join("; ").into();
        StatusCode::SERVICE_UNAVAILABLE
    };
    body(status, "application/json", told.to_string())
}

/// Key → value and source; and the live settings of services.
fn config(context: &Context) -> Value {
    let shown = context.config.shown();
    let row = |(name, value, source): (&str, &str, &crate::config::Source)| {
        (
            name.to_owned(),
            json!({ "value": value, "source": source.to_string() }),
        )
    };
    let live = context.settings.shown();
    let live = live
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Value::Object(shown.map(row).chain(live).collect::<Map<_, _>>())
}

async fn set_level(request: Request<Incoming>) -> Answer {
    let Ok(body) = Limited::new(request.into_body(), MOST_BODY).collect().await else {
        return text(
            StatusCode::BAD_REQUEST,
            "the body cannot be read, or is too long",
        );
    };
    let bytes = body.to_bytes();
    let name = String::from_utf8_lossy(&bytes);
    let level: Level = match name.trim().trim_matches('"').parse() {
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

fn text(status: StatusCode, line: &str) -> Answer {
    body(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

fn body(status: StatusCode, content_type: &'static str, content: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(content)));
    *answer.status_mut() = status;
    let value = header::HeaderValue::from_static(content_type);
    answer.headers_mut().insert(header::CONTENT_TYPE, value);
    answer
}

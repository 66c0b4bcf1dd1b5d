//! The admin listener: probes, metrics, configuration and log level over HTTP.
//!
//! Anybody may read liveness, readiness and metrics. `/config` and `/log-level` need a request from
//! this machine or the admin token, and refuse every web page.

pub(crate) mod access;
mod tap;

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Map, Value, json};
use telemetry::LogLevel;
use tokio::net::TcpListener;

use crate::{
    ActiveTasks, Context, RequestBody, Severity,
    answers::{self, Answer, text},
    call_log::tap::Taps,
    port::Port,
    services::AdminPage,
};

/// Bytes of a request's body: more than any level's name.
const MAX_BODY: usize = 256;

/// Serves until the context's `shutdown`. The context owns its tasks.
/// `taps` are those of a gRPC port, and `pages` the program's own.
pub(crate) fn start(
    listener: TcpListener,
    context: &Arc<Context>,
    port: &Port,
    taps: Option<Arc<Taps>>,
    pages: BTreeMap<&'static str, AdminPage>,
) {
    let (tasks, shutdown) = (context.tracker.clone(), context.shutdown.clone());
    let port = port.with_owner(tasks, shutdown.clone(), shutdown);
    let (context, pages) = (Arc::clone(context), Arc::new(pages));
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let (context, pages, taps) = (Arc::clone(&context), Arc::clone(&pages), taps.clone());
        async move {
            Ok::<_, Infallible>(match request.uri().path().trim_end_matches('/') {
                "/tap" => tap::answer(&context, taps.as_ref(), &request),
                _ => answer(&context, &pages, request).await.map(Into::into),
            })
        }
    });
    crate::http::serve(&port, listener, &ActiveTasks::default(), service);
}

async fn answer(
    context: &Context,
    pages: &BTreeMap<&'static str, AdminPage>,
    request: Request<RequestBody>,
) -> Answer {
    let method = request.method();
    let path = request.uri().path().trim_end_matches('/').to_owned();
    if let Some(answer) = answers::probe(context, method, &path) {
        return answer;
    }
    if matches!(&*path, "/config" | "/log-level")
        && let Some(refused) = access::refusal(&context.keys.admin, &request)
    {
        return refused;
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if let Some(page) = pages.get(&*path) {
        return if reads {
            page().await
        } else {
            not_allowed("GET, HEAD")
        };
    }
    match (&*path, reads) {
        ("/health", _) if context.draining.is_cancelled() => {
            text(StatusCode::NOT_FOUND, "draining")
        }
        ("/health", _) if reads || method == Method::OPTIONS => health(context),
        ("/metrics", true) if !context.keys.admin.enable_metrics => text(
            StatusCode::NOT_FOUND,
            "metrics are off: enable_metrics = true turns them on",
        ),
        ("/metrics", true) => context.scrape(request.headers()).await,
        ("/config", true) => {
            let shown = telemetry::redact_json(&config(context).to_string()).into_owned();
            answers::body(StatusCode::OK, "application/json", format!("{shown}\n"))
        }
        ("/log-level", true) => match telemetry::log_level() {
            Some(level) => text(StatusCode::OK, level.name()),
            None => text(StatusCode::NOT_FOUND, "this process has no log"),
        },
        ("/log-level", false) if method == Method::PUT => set_level(request).await,
        ("/log-level", false) => not_allowed("GET, HEAD, PUT"),
        ("/healthz" | "/livez" | "/readyz" | "/health" | "/metrics" | "/config", false) => {
            not_allowed("GET, HEAD")
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "expected /health, /healthz, /readyz, /metrics, /config, /log-level or /tap",
        ),
    }
}

fn not_allowed(methods: &'static str) -> Answer {
    let line = "expected GET; PUT for /log-level";
    answers::allowing(text(StatusCode::METHOD_NOT_ALLOWED, line), methods)
}

/// The conditions as JSON: 503 when one is at least degraded.
fn health(context: &Context) -> Answer {
    let errors = context.conditions.messages(Severity::Degraded);
    let mut report = json!({
        "ok": errors.is_empty(),
        "status": if errors.is_empty() { "ok" } else { "unavailable" },
        "service": context.spec.service,
        "version": context.spec.version,
    });
    let status = if errors.is_empty() {
        let warnings = context.conditions.messages(Severity::Warning);
        if !warnings.is_empty() {
            report["warnings"] = warnings.into();
        }
        StatusCode::OK
    } else {
        report["error"] = errors.join("; ").into();
        StatusCode::SERVICE_UNAVAILABLE
    };
    answers::json(status, &report)
}

/// Every key with its value and source, the live settings of services, and the registry's state.
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

/// The registry's last error, and the entries that cannot be called.
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

async fn set_level(request: Request<RequestBody>) -> Answer {
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

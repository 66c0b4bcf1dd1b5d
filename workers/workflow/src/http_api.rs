//! How the runner is, over HTTP: `/health` and `/metrics`.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use http::{Method, Request, StatusCode, request::Parts};
use serde_json::json;
use service::{
    Context, RequestBody, Severity,
    answers::{self, Answer, problem},
};
use tower::Service;

/// What the core tells of itself.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) shards: AtomicUsize,
    pub(crate) runs: AtomicUsize,
    /// Runs with something that is not stored yet.
    pub(crate) unstored: AtomicUsize,
}

/// The HTTP API of the runner's port.
pub(crate) struct HttpApi {
    context: Context,
    report: Arc<Report>,
}

impl HttpApi {
    pub(crate) fn new(context: Context, report: Arc<Report>) -> Self {
        Self { context, report }
    }

    pub(crate) fn service(
        self,
    ) -> impl Service<
        Request<RequestBody>,
        Response = Answer,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + Sync
    + 'static {
        let (context, api) = (self.context.clone(), Arc::new(self));
        answers::pages(context, move |request| {
            let api = Arc::clone(&api);
            async move { api.answer(&request).await }
        })
    }

    async fn answer(&self, request: &Parts) -> Answer {
        let (method, path) = (&request.method, request.uri.path());
        match (path, matches!(*method, Method::GET | Method::HEAD)) {
            ("/health", true) => self.health(),
            ("/metrics", true) => self.context.scrape(&request.headers).await,
            ("/health" | "/metrics" | "/healthz" | "/readyz", false) => {
                let problem = problem(StatusCode::METHOD_NOT_ALLOWED, "use GET");
                answers::allowing(problem, "GET, HEAD")
            }
            _ => problem(
                StatusCode::NOT_FOUND,
                "expected /health, /metrics, /healthz or /readyz",
            ),
        }
    }

    fn health(&self) -> Answer {
        let conditions = &self.context.conditions;
        let errors = conditions.messages(Severity::NotReady);
        let (status, word) = match errors.is_empty() {
            true => (StatusCode::OK, "ok"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        };
        let mut report = json!({
            "status": word,
            "service": "workflow-runner",
            "shards": self.report.shards.load(Relaxed),
            "runs": self.report.runs.load(Relaxed),
            "running": !self.context.draining.is_cancelled(),
        });
        if !errors.is_empty() {
            report["error"] = telemetry::redact(&errors.join("; ")).into();
        }
        answers::json(status, &report)
    }
}

//! The runner's health over HTTP: `/health` and `/metrics`, as its predecessors answered them, and
//! `/test/chat`, which gives a task to an agent without a job.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use dynamic::DynamicCall;
use http::{HeaderMap, Method, Request, StatusCode, header, request::Parts};
use serde_json::json;
use service::{
    Context, RequestBody,
    answers::{self, Answer, problem},
};
use tokio::time::timeout;
use tower::Service;
use url::form_urlencoded;
use work::StoreMonitor;

use crate::handler::AttemptHandler;

/// How long the queue may take to answer before the runner counts as unhealthy.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// The method that a task of `/test/chat` calls, and how long it may take.
const EXECUTE: &str = "agentplatform.AgentService/ExecuteTask";
const CHAT_TIMEOUT: Duration = Duration::from_secs(60);

/// The HTTP API of the runner's port.
pub(crate) struct HttpApi {
    context: Context,
    store_monitor: Arc<StoreMonitor>,
    workers: usize,
    /// Who asks agents.
    handler: Arc<AttemptHandler>,
}

impl HttpApi {
    pub(crate) fn new(
        context: Context,
        store_monitor: Arc<StoreMonitor>,
        workers: usize,
        handler: Arc<AttemptHandler>,
    ) -> Self {
        Self {
            context,
            store_monitor,
            workers,
            handler,
        }
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
        if path == "/test/chat" {
            return match *method {
                Method::POST => self.chat(request.uri.query().unwrap_or_default()).await,
                _ => {
                    let problem = problem(StatusCode::METHOD_NOT_ALLOWED, "use POST");
                    answers::allowing(problem, "POST")
                }
            };
        }
        match (path, matches!(*method, Method::GET | Method::HEAD)) {
            ("/health", true) => self.health().await,
            ("/metrics", true) => self.metrics(&request.headers).await,
            ("/health" | "/metrics" | "/healthz" | "/readyz", false) => {
                let problem = problem(StatusCode::METHOD_NOT_ALLOWED, "use GET");
                answers::allowing(problem, "GET, HEAD")
            }
            _ => problem(
                StatusCode::NOT_FOUND,
                "expected /health, /metrics, /healthz, /readyz or /test/chat",
            ),
        }
    }

    fn draining(&self) -> bool {
        self.context.draining.is_cancelled()
    }

    async fn health(&self) -> Answer {
        let asked = timeout(CHECK_TIMEOUT, self.store_monitor.check()).await;
        let (warnings, error) = match asked {
            Ok(Ok(vitals)) => (vitals.warnings, None),
            Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
            Err(_) => {
                let silent = format!("the job store has not answered within {CHECK_TIMEOUT:?}");
                (Vec::new(), Some(silent))
            }
        };
        let mut report = json!({
            "status": if error.is_none() { "ok" } else { "unavailable" },
            "service": "agent-runner",
            "workers": self.workers,
            "running": !self.draining(),
        });
        if !warnings.is_empty() {
            report["warnings"] = warnings.into();
        }
        let Some(error) = error else {
            return answers::json(StatusCode::OK, &report);
        };
        report["error"] = telemetry::redact(&error).into();
        answers::json(StatusCode::SERVICE_UNAVAILABLE, &report)
    }

    /// Gives the query's `task` to the agent that suits it best, and answers as it did.
    async fn chat(&self, query: &str) -> Answer {
        let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "task");
        let Some((_, task)) = given.filter(|(_, task)| !task.trim().is_empty()) else {
            return problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "the query has no task: ?task=…",
            );
        };
        if self.draining() {
            return problem(StatusCode::SERVICE_UNAVAILABLE, "Service not running");
        }
        let runtime = &self.handler.runtime;
        let agents = runtime.agents.best([&*task].into_iter()).await;
        let agent = agents.into_iter().next().unwrap_or_default();
        let message = json!({"agent_id": agent, "input": task, "session_id": "test"});
        let call = DynamicCall {
            service: agent,
            method: EXECUTE.to_owned(),
            timeout: Some(CHAT_TIMEOUT),
            metadata: BTreeMap::new(),
        };
        match runtime.calls.call(&call, message).await {
            Ok(answer) => {
                let report = json!({"status": "success", "result": answer.message});
                answers::json(StatusCode::OK, &report)
            }
            Err(status) => {
                let text = telemetry::redact(status.message()).into_owned();
                problem(StatusCode::BAD_GATEWAY, &text)
            }
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        if wants_text(headers) {
            return self.context.scrape(headers).await;
        }
        let status = if self.draining() {
            "draining"
        } else {
            "running"
        };
        answers::json(
            StatusCode::OK,
            &json!({ "workers": self.workers, "status": status }),
        )
    }
}

/// Whether the request prefers Prometheus' text to JSON, by name. A client that accepts anything,
/// such as curl, gets JSON.
fn wants_text(headers: &HeaderMap) -> bool {
    let (mut text, mut json) = (0.0_f64, 0.0_f64);
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
            let quality = quality.unwrap_or(1.0);
            match name.as_str() {
                "application/openmetrics-text" | "text/plain" | "text/*" => {
                    text = text.max(quality);
                }
                "application/json" | "application/*" => json = json.max(quality),
                _ => {}
            }
        }
    }
    text > json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_for_text_gets_text() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let table = [
            (None, false),
            (Some("*/*"), false),
            (Some("application/json"), false),
            (Some(prometheus), true),
            (Some("text/plain"), true),
            (Some("text/plain;q=0.5, application/json"), false),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), false),
        ];
        for (accept, expected) in table {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(wants_text(&headers), expected, "{accept:?}");
        }
    }
}

//! A gateway of a test's own, and a client of it.

use std::{sync::Arc, time::Duration};

use ::jobs::{JobOutcome, Jobs, Payload};
use discovery::backends::Memory;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use service::{Context, ServerHandle, Services, Spec};
use tempfile::TempDir;
use testkit::{Redis, local};

pub(crate) struct Gateway {
    pub(crate) running: ServerHandle,
    pub(crate) registry: Arc<Memory>,
    pub(crate) jobs: Jobs,
    pub(crate) redis: Option<Redis>,
    client: Client,
    _folder: Option<TempDir>,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Fails unless it is problem details of this status.
    pub(crate) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for field in ["type", "title", "detail", "instance", "request_id"] {
            assert!(
                problem[field].as_str().is_some_and(|text| !text.is_empty()),
                "{field}: {problem}"
            );
        }
        problem
    }
}

/// On the embedded store.
pub(crate) async fn embedded(set: &[(&str, &str)]) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    let mut gateway = start(&[&[("jobs_path", path.as_str())], set].concat()).await;
    gateway._folder = Some(folder);
    gateway
}

/// On a Redis of its own.
pub(crate) async fn on_redis(set: &[(&str, &str)]) -> Gateway {
    let redis = Redis::start(&[]).await;
    let url = redis.url();
    let mut gateway = start(&[&[("redis_url", url.as_str())], set].concat()).await;
    gateway.redis = Some(redis);
    gateway
}

/// Another program of the same mesh.
pub(crate) async fn beside(
    gateway: &Gateway,
    spec: &'static Spec,
    build: fn(&Context) -> anyhow::Result<Services>,
    set: &[(&str, &str)],
) -> ServerHandle {
    local::start(spec, build, &gateway.registry, set).await
}

async fn start(set: &[(&str, &str)]) -> Gateway {
    let jobs = work::open(&local::config(&gateway::SPEC, set)).unwrap();
    let registry = Arc::new(Memory::new());
    let running = local::start(&gateway::SPEC, gateway::build, &registry, set).await;
    let client = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none());
    Gateway {
        running,
        registry,
        jobs,
        redis: None,
        client: client.timeout(Duration::from_secs(20)).build().unwrap(),
        _folder: None,
    }
}

impl Gateway {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.grpc_addr)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        read(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        read(self.json("POST", path, &body)).await
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: &Value) -> RequestBuilder {
        let request = self
            .request(method, path)
            .header("content-type", "application/json");
        request.body(body.to_string())
    }

    /// Claims one job of the queue and ends it so.
    pub(crate) async fn work(&self, queue: &str, outcome: JobOutcome) {
        let claimed = self
            .jobs
            .claim(queue, "w", 1, Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(claimed.len(), 1, "a job is there to be claimed");
        let ends: Vec<_> = claimed
            .into_iter()
            .map(|it| (it, outcome.clone()))
            .collect();
        for settled in self.jobs.settle(&ends).await {
            settled.unwrap();
        }
    }
}

pub(crate) async fn read(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let mut headers = http::HeaderMap::new();
    for (name, value) in answer.headers() {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes()).unwrap();
        headers.append(
            name,
            http::HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    let text = answer.text().await.unwrap();
    Answer {
        status,
        headers,
        text,
    }
}

pub(crate) fn done(result: &Value) -> JobOutcome {
    JobOutcome::Succeeded {
        result: Some(Payload::json(result)),
        metrics: Some(serde_json::json!({ "execution_time_ms": 1 })),
    }
}

pub(crate) fn call_job() -> Value {
    serde_json::json!({
        "kind": "call",
        "service": "agent-echo",
        "method": "agentplatform.AgentService/ExecuteTask",
        "payload": {"input": "hello"},
    })
}

//! A gateway of a test's own, and clients of it.

use std::{sync::Arc, time::Duration};

use discovery::backends::Memory;
use mesh_testkit::local;
use programs::Program;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use service::ServerHandle;
use tempfile::TempDir;

/// Who asks, unless a test says otherwise.
pub(crate) const USER: &str = "test-user";
/// How long something may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway with its store, and what else was started beside it.
pub(crate) struct Doors {
    pub(crate) gateway: ServerHandle,
    pub(crate) registry: Arc<Memory>,
    pub(crate) others: Vec<ServerHandle>,
    pub(crate) user: String,
    client: Client,
    folder: TempDir,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Its body, if it has this status.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// Problem details of this status that also carry `error` and `message`.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        for field in [
            "type",
            "title",
            "detail",
            "instance",
            "request_id",
            "error",
            "message",
        ] {
            let text = problem[field].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{field}: {problem}");
        }
        assert_eq!(problem["status"], status);
        problem
    }
}

/// A program of the mesh.
pub(crate) fn program(name: &str) -> &'static Program {
    let found = programs::PROGRAMS
        .iter()
        .find(|(spec, _)| spec.program == name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

impl Doors {
    /// A gateway alone.
    pub(crate) async fn start(set: &[(&str, &str)]) -> Self {
        let folder = TempDir::with_prefix("doors-").unwrap();
        let registry = Arc::new(Memory::new());
        let client = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .unwrap();
        let gateway = start("mesh-gateway", &folder, &registry, set).await;
        Self {
            gateway,
            registry,
            others: Vec::new(),
            user: USER.to_owned(),
            client,
            folder,
        }
    }

    /// Starts another program beside it, on the same stores.
    pub(crate) async fn beside(&mut self, name: &str, set: &[(&str, &str)]) {
        let started = start(name, &self.folder, &self.registry, set).await;
        self.others.push(started);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.grpc_addr)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, self.url(path))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path).header("x-user-id", &self.user)).await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send_as(&self.user, method, path, body).await
    }

    pub(crate) async fn send_as(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answer {
        let request = self.request(method, path).header("x-user-id", user);
        let request = request.header("content-type", "application/json");
        send(request.body(body.to_string())).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body).await
    }

    /// Stores a workflow.
    pub(crate) async fn put(&self, tag: &str, workflow: &Value) -> Value {
        let body = json!({"tag_name": tag, "workflow": workflow});
        self.post("/api/v1/workflows", &body).await.expect(201)
    }

    /// Runs one, and answers with the run's id.
    pub(crate) async fn execute(&self, tag: &str, inputs: &Value) -> String {
        let path = format!("/api/v1/workflows/{}/execute", tag.replace('/', "%2F"));
        let started = self
            .post(&path, &json!({"inputs": inputs}))
            .await
            .expect(201);
        started["run_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn drain(self) {
        self.gateway.drain().await;
        for other in self.others {
            other.drain().await;
        }
    }
}

async fn start(
    name: &str,
    folder: &TempDir,
    registry: &Arc<Memory>,
    set: &[(&str, &str)],
) -> ServerHandle {
    let (spec, build) = program(name);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (jobs, workflows) = (path("jobs"), path("workflows"));
    let stores = [
        ("jobs_path", jobs.as_str()),
        ("workflows_path", workflows.as_str()),
    ];
    let known = |key: &str| spec.all_keys().iter().any(|known| known.name == key);
    let stores: Vec<_> = stores.into_iter().filter(|(key, _)| known(key)).collect();
    local::start(spec, *build, registry, &[&stores, set].concat()).await
}

/// Sends a request and reads its answer.
pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.unwrap();
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: answer.text().await.unwrap(),
    }
}

/// Three steps in a row that need nobody.
pub(crate) fn row() -> Value {
    json!({
        "nodes": [{"id": "a", "type": "noop"}, {"id": "b", "type": "noop"}, {"id": "c", "type": "noop"}],
        "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}],
    })
}

/// Fails unless an object has these fields.
#[track_caller]
pub(crate) fn has(object: &Value, fields: &str) {
    for field in fields.split_whitespace() {
        assert!(object.get(field).is_some(), "{field}: {object}");
    }
}

/// A person is asked between two steps.
pub(crate) fn asking(config: &Value) -> Value {
    let mut ask = json!({"message": "ok?"});
    for (name, value) in config.as_object().unwrap() {
        ask[name] = value.clone();
    }
    json!({
        "nodes": [{"id": "a", "type": "noop"}, {"id": "ask", "type": "hitl", "config": ask},
            {"id": "b", "type": "noop"}],
        "edges": [{"from": "a", "to": "ask"}, {"from": "ask", "to": "b"}],
    })
}

impl Doors {
    /// A gateway, and who carries runs out: a workflow runner, a job runner and the echo agent.
    pub(crate) async fn carrying(set: &[(&str, &str)]) -> Self {
        let mut doors = Self::start(set).await;
        for name in ["echo-agent", "job-runner", "workflow-runner"] {
            doors.beside(name, &[]).await;
        }
        doors
    }

    pub(crate) async fn run(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/runs/{id}")).await.expect(200)
    }

    pub(crate) async fn details(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/runs/{id}/details"))
            .await
            .expect(200)
    }

    /// Waits until a run has this status.
    pub(crate) async fn until_status(&self, id: &str, status: &str) -> Value {
        let mut last = Value::Null;
        let ended = tokio::time::timeout(PATIENCE, async {
            loop {
                last = self.run(id).await;
                if last["status"] == status {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(ended.await.is_ok(), "{status} was expected, it is {last}");
        last
    }

    /// Waits until a node of a run has this status.
    pub(crate) async fn until_node(&self, id: &str, node: &str, status: &str) -> Value {
        let mut last = Value::Null;
        let ended = tokio::time::timeout(PATIENCE, async {
            loop {
                last = self.details(id).await;
                if last["node_executions"][node]["status"] == status {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(
            ended.await.is_ok(),
            "{node} {status} was expected, it is {last}"
        );
        last
    }

    /// Another gateway on the same store, in the place of this one, which is gone at once.
    pub(crate) async fn replace_gateway(&mut self, set: &[(&str, &str)]) {
        let next = start("mesh-gateway", &self.folder, &self.registry, set).await;
        drop(std::mem::replace(&mut self.gateway, next));
    }
}

impl Doors {
    /// The store that the gateway has open.
    pub(crate) fn store(&self) -> Arc<dyn runs::RunStore> {
        let path = self.folder.path().join("workflows").display().to_string();
        let (spec, _) = program("mesh-gateway");
        let config = local::config(spec, &[("workflows_path", &path)]);
        work::RunKeys::from_config(&config).open().unwrap()
    }
}

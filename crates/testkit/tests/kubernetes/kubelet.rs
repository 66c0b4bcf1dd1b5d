//! What a kubelet does for the pods of the echo agent: it starts a program for each, says that it is
//! ready, and tells it to leave. The Deployment, ReplicaSet and EndpointSlice controllers are real.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use mesh_testkit::{Program, Signal};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::{Api, NAMESPACE, SECOND, address, echo};

const NODE: &str = "node-1";
const DEPLOYMENT: &str = "echo-agent";
/// The first of the addresses that pods get.
const FIRST: usize = 5000;

/// The pods that run, by their names.
pub(crate) struct Kubelet<'a> {
    api: &'a Api,
    running: BTreeMap<String, Running>,
    next: usize,
}

struct Running {
    program: Program,
    leaving: bool,
}

impl<'a> Kubelet<'a> {
    /// One for a node of its own.
    pub(crate) async fn start(api: &'a Api) -> Self {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NODE } });
        api.apply(&format!("api/v1/nodes/{NODE}"), &node).await;
        Self {
            api,
            running: BTreeMap::new(),
            next: FIRST,
        }
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.running.keys().cloned().collect()
    }

    /// Has the Deployment so many replicas, and waits until it has.
    pub(crate) async fn scale(&mut self, replicas: usize) {
        self.change(&json!({ "spec": { "replicas": replicas } }), replicas)
            .await;
    }

    /// Changes the Deployment, and runs pods until it says that all of so many are new and available.
    pub(crate) async fn change(&mut self, change: &Value, replicas: usize) {
        let path = format!("apis/apps/v1/namespaces/{NAMESPACE}/deployments/{DEPLOYMENT}");
        let body = Some(("application/merge-patch+json", change));
        self.api.send(Method::PATCH, &path, body).await;
        let began = Instant::now();
        loop {
            self.sync().await;
            let deployment = self.api.send(Method::GET, &path, None).await;
            let status = &deployment["status"];
            let count = |key: &str| status[key].as_u64().unwrap_or(0) as usize == replicas;
            let seen = status["observedGeneration"] == deployment["metadata"]["generation"];
            let all = ["replicas", "updatedReplicas", "availableReplicas"]
                .into_iter()
                .all(count);
            if seen && all && self.running.len() == replicas {
                return;
            }
            assert!(
                began.elapsed() < SECOND * 120,
                "not so far in time: {status}"
            );
            sleep(SECOND / 10).await;
        }
    }

    async fn sync(&mut self) {
        let path = format!("api/v1/namespaces/{NAMESPACE}/pods");
        let selector = format!("labelSelector=app.kubernetes.io%2Fname%3D{DEPLOYMENT}");
        let pods = self
            .api
            .send(Method::GET, &format!("{path}?{selector}"), None)
            .await;
        for pod in pods["items"].as_array().expect("a list") {
            let name = pod["metadata"]["name"].as_str().expect("a name").to_owned();
            let leaving = !pod["metadata"]["deletionTimestamp"].is_null();
            let path = format!("{path}/{name}");
            let Some(known) = self.running.get_mut(&name) else {
                if leaving {
                    self.remove(&path).await;
                } else {
                    self.run(&path, name).await;
                }
                continue;
            };
            if leaving && !known.leaving {
                known.leaving = true;
                known.program.signal(Signal::Terminate);
            } else if known.program.process.exit_status().is_some() {
                self.running.remove(&name);
                self.remove(&path).await;
            }
        }
    }

    async fn run(&mut self, path: &str, name: String) {
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": { "name": name },
            "target": { "apiVersion": "v1", "kind": "Node", "name": NODE },
        });
        let body = Some(("application/json", &binding));
        self.api
            .send(Method::POST, &format!("{path}/binding"), body)
            .await;
        let ip = address(self.next);
        self.next += 1;
        let program = echo(ip.clone(), "50ms").await;
        let now = now();
        let is = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now });
        let status = json!({ "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{ "ip": ip }],
            "startTime": now,
            "conditions": [is("PodScheduled"), is("Initialized"), is("ContainersReady"), is("Ready")],
        } });
        let body = Some(("application/merge-patch+json", &status));
        self.api
            .send(Method::PATCH, &format!("{path}/status"), body)
            .await;
        let leaving = false;
        self.running.insert(name, Running { program, leaving });
    }

    async fn remove(&self, path: &str) {
        let path = format!("{path}?gracePeriodSeconds=0");
        self.api.send(Method::DELETE, &path, None).await;
    }
}

/// The time as Kubernetes writes it.
fn now() -> String {
    let date = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])
        .output();
    let text = date.expect("there is a date").stdout;
    String::from_utf8(text).expect("a text").trim().to_owned()
}

//! The mesh with a real API server of Kubernetes in place of Consul. `make test-kubernetes` starts it,
//! applies the manifests of `deploy/kubernetes`, and runs these tests one after the other.
//!
//! There is no kubelet and no controller: the tests write the EndpointSlices themselves, as those
//! would, and start the programs that they point at. The API server refuses loopback addresses, so
//! the programs are on 10.99.0.0/16, which is all this machine's in the test's network.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::Duration,
};

use mesh_testkit::{Load, Program, Signal, http_client, load, until};
use proto::agentplatform::{TaskRequest, agent_service_client::AgentServiceClient};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tonic::{Request, transport::Channel};

const SECOND: Duration = Duration::from_secs(1);
/// The namespace of the overlays.
const NAMESPACE: &str = "mesh";
const SERVICE: &str = "agent-echo";
const PORT: u16 = 50052;

/// The API server that `scripts/kubernetes.sh up` has started.
struct Api {
    folder: PathBuf,
    url: String,
    client: Client,
}

/// Pods by name, with their addresses.
type Pods = BTreeMap<String, (String, Pod)>;

/// What the endpoints controller says of a pod.
#[derive(Clone, Copy, PartialEq)]
enum Pod {
    Ready,
    Terminating,
}

impl Api {
    /// Connects as an administrator, and removes what the test before has left.
    async fn connect() -> Self {
        let folder = std::env::var_os("MESH_KUBERNETES").expect("run make test-kubernetes");
        let folder = PathBuf::from(folder);
        let ca = Certificate::from_pem(&fs::read(folder.join("ca.crt")).unwrap()).unwrap();
        let builder = Client::builder().no_proxy().add_root_certificate(ca);
        let api = Self {
            url: fs::read_to_string(folder.join("url"))
                .unwrap()
                .trim()
                .to_owned(),
            client: builder.build().unwrap(),
            folder,
        };
        api.send(Method::DELETE, &slices_path(""), None).await;
        let settings = json!({ "data": null });
        api.merge("configmaps/mesh-settings", &settings).await;
        api
    }

    async fn send(&self, method: Method, path: &str, body: Option<(&str, &Value)>) -> Value {
        let url = format!("{}/{path}", self.url);
        let mut request = self.client.request(method, &url).bearer_auth("admin-token");
        if let Some((kind, body)) = body {
            request = request.header("content-type", kind).body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{url}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Makes an object, or changes it to this.
    async fn apply(&self, path: &str, object: &Value) {
        let path = format!("{path}?fieldManager=test&force=true");
        let body = Some(("application/apply-patch+yaml", object));
        self.send(Method::PATCH, &path, body).await;
    }

    /// Changes an object of the namespace.
    async fn merge(&self, path: &str, change: &Value) {
        let path = format!("api/v1/namespaces/{NAMESPACE}/{path}");
        let body = Some(("application/merge-patch+json", change));
        self.send(Method::PATCH, &path, body).await;
    }

    /// Writes a slice of the echo agent, with these pods by name.
    async fn slice(&self, name: &str, pods: &Pods) {
        let endpoints = pods.iter().map(|(pod, (address, state))| {
            let ready = *state == Pod::Ready;
            json!({
                "addresses": [address],
                "conditions": { "ready": ready, "serving": true, "terminating": !ready },
                "targetRef": { "kind": "Pod", "name": pod, "namespace": NAMESPACE },
                "nodeName": "node-1",
            })
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": { "name": name, "labels": { "kubernetes.io/service-name": SERVICE } },
            "addressType": "IPv4",
            "ports": [{ "name": "grpc", "port": PORT, "protocol": "TCP" }],
            "endpoints": endpoints.collect::<Vec<_>>(),
        });
        self.apply(&slices_path(name), &slice).await;
    }

    /// A token as a pod of this ServiceAccount has one.
    async fn token(&self, account: &str) -> String {
        let path = format!("api/v1/namespaces/{NAMESPACE}/serviceaccounts/{account}");
        let object = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": account },
        });
        self.apply(&path, &object).await;
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "expirationSeconds": 3600 },
        });
        let body = Some(("application/json", &request));
        let answer = self
            .send(Method::POST, &format!("{path}/token"), body)
            .await;
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// What a router is started with in a pod whose token is in this file.
    fn env(&self, token: &str) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        vec![
            ("DISCOVERY", "kubernetes".to_owned()),
            ("KUBERNETES_API", self.url.clone()),
            ("KUBERNETES_NAMESPACE", NAMESPACE.to_owned()),
            ("KUBERNETES_CA_FILE", file("ca.crt")),
            ("KUBERNETES_TOKEN_FILE", file(token)),
        ]
    }

    /// A router with the rights that the manifests give.
    async fn router(&self) -> Program {
        fs::write(self.folder.join("token"), self.token("mesh").await).unwrap();
        let router = Program::start("mcp-router", &self.env("token")).await;
        until("the router is ready", SECOND * 10, async || {
            (readyz(&router).await.0 == 200).then_some(())
        })
        .await;
        router
    }
}

fn slices_path(name: &str) -> String {
    format!("apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/{name}")
        .trim_end_matches('/')
        .to_owned()
}

fn name(number: usize) -> String {
    format!("echo-agent-{number}")
}

/// Pods with these numbers, ready, on addresses of their own.
fn pods(numbers: impl IntoIterator<Item = usize>) -> Pods {
    let pod = |n: usize| (name(n), (address(n), Pod::Ready));
    numbers.into_iter().map(pod).collect()
}

fn address(number: usize) -> String {
    format!("10.99.{}.{}", number / 250, number % 250 + 1)
}

/// An echo agent as a pod of this number. It asks the API server for nothing, so it has no token.
async fn echo(listen: String, work: &str) -> Program {
    let env = [
        ("DISCOVERY", "kubernetes".to_owned()),
        ("LISTEN_ADDRESS", listen),
        ("AGENT_PORT", PORT.to_string()),
        ("DRAIN_DELAY", "10s".to_owned()),
        ("DRAIN_TIMEOUT", "60s".to_owned()),
        ("ECHO_DELAY", work.to_owned()),
    ];
    Program::start("echo-agent", &env).await
}

async fn readyz(program: &Program) -> (u16, String) {
    let answer = http_client::get(&format!("http://{}/readyz", program.admin)).await;
    answer.expect("the admin listener answers")
}

/// Whether a call that asks for this pod reaches it.
async fn reaches(client: &mut AgentServiceClient<Channel>, pod: &str) -> bool {
    let mut request = Request::new(TaskRequest {
        task_id: "1".to_owned(),
        agent_id: "echo-agent".to_owned(),
        input: "hello".to_owned(),
        ..TaskRequest::default()
    });
    let id = pod.parse().unwrap();
    request.metadata_mut().insert("x-mesh-instance", id);
    client.execute_task(request).await.is_ok()
}

/// How long it takes from the answer to `change` until a call reaches this pod.
async fn used_after(router: SocketAddr, pod: &str, change: impl Future<Output = ()>) -> Duration {
    let mut client = load::client(router);
    assert!(!reaches(&mut client, pod).await, "not there yet");
    change.await;
    let began = Instant::now();
    while !reaches(&mut client, pod).await {
        assert!(
            began.elapsed() < SECOND,
            "{pod} is not used within a second"
        );
        sleep(SECOND / 200).await;
    }
    began.elapsed()
}

/// The pods that answered calls, each with how many.
fn by_pod(calls: &[load::Call]) -> BTreeMap<&str, usize> {
    let mut count = BTreeMap::new();
    for call in calls {
        let by = call
            .outcome
            .as_ref()
            .unwrap_or_else(|error| panic!("a call failed: {error}"));
        *count.entry(by.as_str()).or_default() += 1;
    }
    count
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn a_token_without_rights_is_told_and_the_one_that_replaces_it_is_used() {
    let api = Api::connect().await;
    let token = api.folder.join("rotated");
    fs::write(&token, api.token("nobody").await).unwrap();
    let router = Program::start("mcp-router", &api.env("rotated")).await;
    let told = until("the missing right is told", SECOND * 10, async || {
        let (code, text) = readyz(&router).await;
        (code == 503 && text.contains("forbidden")).then_some(text)
    })
    .await;
    println!("{told}");
    assert!(
        told.contains("give the ServiceAccount a Role in namespace mesh with list and watch of")
    );
    fs::write(&token, api.token("mesh").await).unwrap();
    until("the new token is used", SECOND * 10, async || {
        (readyz(&router).await.0 == 200).then_some(())
    })
    .await;
    // A token that is no token of this cluster.
    fs::write(&token, "none").unwrap();
    let other = Program::start("mcp-router", &api.env("rotated")).await;
    until("the token is told", SECOND * 10, async || {
        readyz(&other)
            .await
            .1
            .contains("is not valid here")
            .then_some(())
    })
    .await;
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn a_new_endpoint_is_used_within_a_second_also_as_one_of_250_in_three_slices() {
    let api = Api::connect().await;
    let _echo = echo("0.0.0.0".to_owned(), "0s").await;
    api.slice("agent-echo-1", &pods([1])).await;
    let router = api.router().await;
    load::wait_answered(router.grpc).await;
    let second = async { api.slice("agent-echo-1", &pods([1, 2])).await };
    println!(
        "a second endpoint: used after {:?}",
        used_after(router.grpc, &name(2), second).await
    );
    api.slice("agent-echo-1", &pods(1..=100)).await;
    api.slice("agent-echo-2", &pods(101..=200)).await;
    let rest = async { api.slice("agent-echo-3", &pods(201..=250)).await };
    println!(
        "the 250th endpoint: used after {:?}",
        used_after(router.grpc, &name(250), rest).await
    );
    let calls = Load::start(router.grpc, 500, 5000).finish().await;
    assert_eq!(
        by_pod(&calls).len(),
        250,
        "every endpoint of the three slices takes calls"
    );
    let more = async { api.slice("agent-echo-3", &pods(201..=251)).await };
    println!(
        "the 251st endpoint: used after {:?}",
        used_after(router.grpc, &name(251), more).await
    );
    // A slice that is gone takes its endpoints with it.
    api.send(Method::DELETE, &slices_path("agent-echo-1"), None)
        .await;
    sleep(SECOND).await;
    let calls = Load::start(router.grpc, 500, 2000).finish().await;
    let others: BTreeSet<String> = (101..=251).map(name).collect();
    assert!(by_pod(&calls).keys().all(|pod| others.contains(*pod)));
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn no_call_of_ten_thousand_is_lost_while_endpoints_terminate() {
    const PODS: usize = 4;
    let api = Api::connect().await;
    let mut running = BTreeMap::new();
    for n in 1..=PODS {
        running.insert(n, echo(address(n), "50ms").await);
    }
    let mut known = pods(1..=PODS);
    api.slice("agent-echo-1", &known).await;
    let router = api.router().await;
    load::wait_answered(router.grpc).await;
    let load = Load::start(router.grpc, 200, 10_000);
    let mut marked = BTreeMap::new();
    // A rolling update, two pods at a time.
    for first in [1, 3] {
        let (old, new) = ([first, first + 1], [first + PODS, first + PODS + 1]);
        for n in new {
            running.insert(n, echo(address(n), "50ms").await);
        }
        known.extend(pods(new));
        api.slice("agent-echo-1", &known).await;
        sleep(SECOND).await;
        for n in old {
            running.get_mut(&n).unwrap().signal(Signal::Terminate);
        }
        // The kubelet tells the pod before the controller has told the API server.
        sleep(SECOND / 2).await;
        for n in old {
            known.get_mut(&name(n)).unwrap().1 = Pod::Terminating;
        }
        api.slice("agent-echo-1", &known).await;
        for n in old {
            marked.insert(name(n), Instant::now());
        }
        for n in old {
            let mut pod = running.remove(&n).unwrap();
            until("the pod ends", SECOND * 30, async || {
                pod.process.exit_status()
            })
            .await;
            known.remove(&name(n));
        }
        api.slice("agent-echo-1", &known).await;
    }
    let calls = load.finish().await;
    let count = by_pod(&calls);
    println!("{count:?}");
    assert_eq!(calls.len(), 10_000);
    assert_eq!(count.len(), 2 * PODS, "every pod took calls");
    for call in &calls {
        let pod = call.outcome.as_ref().unwrap();
        let late = marked.get(pod).is_some_and(|at| call.sent > *at + SECOND);
        assert!(!late, "{pod} got a call a second after it was terminating");
    }
}

#[tokio::test]
#[ignore = "needs kube-apiserver: make test-kubernetes"]
async fn settings_of_the_config_map_take_effect() {
    let api = Api::connect().await;
    let _echo = echo("0.0.0.0".to_owned(), "0s").await;
    api.slice("agent-echo-1", &pods(1..=3)).await;
    let router = api.router().await;
    load::wait_answered(router.grpc).await;
    let before = Load::start(router.grpc, 300, 300).finish().await;
    assert_eq!(by_pod(&before).len(), 3);
    let data = json!({
        "instances.echo-agent-2.drain": "true",
        "services.agent-echo.lb_policy": "round_robin",
        "services.agent-echo.lb_polcy": "x",
    });
    api.merge("configmaps/mesh-settings", &json!({ "data": data }))
        .await;
    let config = format!("http://{}/config", router.admin);
    let shown = until("the setting is shown", SECOND * 2, async || {
        let config = http_client::json(&config).await?;
        config.to_string().contains("round_robin").then_some(config)
    })
    .await;
    assert!(
        shown.to_string().contains("lb_polcy"),
        "a mistake is told: {shown}"
    );
    let after = Load::start(router.grpc, 300, 600).finish().await;
    let count = by_pod(&after);
    assert_eq!(
        count.keys().copied().collect::<Vec<_>>(),
        ["echo-agent-1", "echo-agent-3"]
    );
    assert!(
        count.values().all(|calls| *calls == 300),
        "in turn: {count:?}"
    );
    api.merge("configmaps/mesh-settings", &json!({ "data": null }))
        .await;
    until("the pod is used again", SECOND * 5, async || {
        let calls = Load::start(router.grpc, 300, 60).finish().await;
        (by_pod(&calls).len() == 3).then_some(())
    })
    .await;
}

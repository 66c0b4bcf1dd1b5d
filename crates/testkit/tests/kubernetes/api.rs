//! The API server that `scripts/kubernetes.sh up` has started, and the mesh on it.

use std::{
    collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, process::Command, time::Duration,
};

use mesh_testkit::{Program, http_client, load, until};
use proto::agentplatform::{TaskRequest, agent_service_client::AgentServiceClient};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tonic::{Request, transport::Channel};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// The namespace of the overlays.
pub(crate) const NAMESPACE: &str = "mesh";
const SERVICE: &str = "agent-echo";
const PORT: u16 = 50052;

/// The API server that `scripts/kubernetes.sh up` has started.
pub(crate) struct Api {
    pub(crate) folder: PathBuf,
    url: String,
    client: Client,
}

/// Pods by name, with their addresses.
pub(crate) type Pods = BTreeMap<String, (String, Pod)>;

/// What the endpoints controller says of a pod.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Pod {
    Ready,
    Terminating,
}

impl Api {
    /// Connects as an administrator, and removes what the test before has left.
    pub(crate) async fn connect() -> Self {
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

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, &Value)>,
    ) -> Value {
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
    pub(crate) async fn apply(&self, path: &str, object: &Value) {
        let path = format!("{path}?fieldManager=test&force=true");
        let body = Some(("application/apply-patch+yaml", object));
        self.send(Method::PATCH, &path, body).await;
    }

    /// Changes an object of the namespace.
    pub(crate) async fn merge(&self, path: &str, change: &Value) {
        let path = format!("api/v1/namespaces/{NAMESPACE}/{path}");
        let body = Some(("application/merge-patch+json", change));
        self.send(Method::PATCH, &path, body).await;
    }

    /// Writes a slice of the echo agent, with these pods by name.
    pub(crate) async fn slice(&self, name: &str, pods: &Pods) {
        self.slice_of(SERVICE, name, ("grpc", PORT), pods).await;
    }

    /// Writes a slice of a service that has one port.
    pub(crate) async fn slice_of(
        &self,
        service: &str,
        name: &str,
        (port_name, port): (&str, u16),
        pods: &Pods,
    ) {
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
            "metadata": { "name": name, "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4",
            "ports": [{ "name": port_name, "port": port, "protocol": "TCP" }],
            "endpoints": endpoints.collect::<Vec<_>>(),
        });
        self.apply(&slices_path(name), &slice).await;
    }

    /// A token as a pod of this ServiceAccount has one.
    pub(crate) async fn token(&self, account: &str) -> String {
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

    /// Sends the API server a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.folder.join("kube-apiserver.pid")).unwrap();
        let sent = Command::new("kill").args([signal, pid.trim()]).status();
        assert!(sent.unwrap().success(), "kill {signal}");
    }

    /// What a router is started with in a pod whose token is in this file.
    pub(crate) fn env(&self, token: &str) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        vec![
            ("DISCOVERY", "kubernetes".to_owned()),
            ("KUBERNETES_API", self.url.clone()),
            ("KUBERNETES_NAMESPACE", NAMESPACE.to_owned()),
            ("KUBERNETES_CA_FILE", file("ca.crt")),
            ("KUBERNETES_TOKEN_FILE", file(token)),
        ]
    }

    /// What a program is started with that has the rights which the manifests give.
    pub(crate) async fn rights(&self) -> Vec<(&'static str, String)> {
        fs::write(self.folder.join("token"), self.token("mesh").await).unwrap();
        self.env("token")
    }

    /// A router with the rights that the manifests give.
    pub(crate) async fn router(&self) -> Program {
        let router = Program::start("mcp-router", &self.rights().await).await;
        until("the router is ready", SECOND * 10, async || {
            (readyz(&router).await.0 == 200).then_some(())
        })
        .await;
        router
    }
}

pub(crate) fn slices_path(name: &str) -> String {
    format!("apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices/{name}")
        .trim_end_matches('/')
        .to_owned()
}

pub(crate) fn name(number: usize) -> String {
    format!("echo-agent-{number}")
}

/// Pods with these numbers, ready, on addresses of their own.
pub(crate) fn pods(numbers: impl IntoIterator<Item = usize>) -> Pods {
    let pod = |n: usize| (name(n), (address(n), Pod::Ready));
    numbers.into_iter().map(pod).collect()
}

pub(crate) fn address(number: usize) -> String {
    format!("10.99.{}.{}", number / 250, number % 250 + 1)
}

/// An echo agent as a pod of this number. It asks the API server for nothing, so it has no token.
pub(crate) async fn echo(listen: String, work: &str) -> Program {
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

pub(crate) async fn readyz(program: &Program) -> (u16, String) {
    let answer = http_client::get(&format!("http://{}/readyz", program.admin)).await;
    answer.expect("the admin listener answers")
}

/// Whether a call that asks for this pod reaches it.
pub(crate) async fn reaches(client: &mut AgentServiceClient<Channel>, pod: &str) -> bool {
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
pub(crate) async fn used_after(
    router: SocketAddr,
    pod: &str,
    change: impl Future<Output = ()>,
) -> Duration {
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
pub(crate) fn by_pod(calls: &[load::Call]) -> BTreeMap<&str, usize> {
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

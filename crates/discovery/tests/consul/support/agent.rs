//! A real Consul of a test's own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    process::{Child, Command},
    time::{Instant, sleep},
};

/// A development agent on ports of its own. Dropping it kills it.
pub(crate) struct Agent {
    ports: [u16; 4],
    arguments: Vec<String>,
    child: Option<Child>,
    http: reqwest::Client,
}

impl Agent {
    /// Starts one and waits until it serves.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more configuration, in HCL.
    pub(crate) async fn start_with(hcl: &[&str]) -> Self {
        let arguments = hcl
            .iter()
            .flat_map(|hcl| ["-hcl".to_owned(), (*hcl).to_owned()])
            .collect();
        let mut agent = Self {
            ports: free_ports(),
            arguments,
            child: None,
            http: http(),
        };
        // Another process may take a port between its choice and its use.
        while !agent.spawn().await {
            agent.ports = free_ports();
        }
        agent
    }

    /// Its HTTP address as `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Kills it without a word: it forgets everything.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.expect("it was running");
        }
    }

    /// Starts it again where it was.
    pub(crate) async fn restart(&mut self) {
        assert!(self.spawn().await, "its ports are taken");
    }

    /// PUTs to its API and expects success.
    pub(crate) async fn put(&self, path: &str, body: &str) {
        let url = format!("http://{}/v1/{path}", self.address());
        let answer = self
            .http
            .put(url)
            .body(body.to_owned())
            .send()
            .await
            .expect("it runs");
        assert!(
            answer.status().is_success(),
            "{path}: {}",
            answer.text().await.expect("a body")
        );
    }

    /// PUTs to its API with the test's own master token, and gives the answer.
    pub(crate) async fn ask(&self, path: &str, body: &str) -> serde_json::Value {
        let url = format!("http://{}/v1/{path}", self.address());
        let sent = self.http.put(url).header("X-Consul-Token", "root");
        let answer = sent.body(body.to_owned()).send().await.expect("it runs");
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"))
    }

    /// Whether it came up.
    async fn spawn(&mut self) -> bool {
        let [http, server, lan, wan] = self.ports;
        let mut child = Command::new(binary())
            .args([
                "agent",
                "-dev",
                "-bind=127.0.0.1",
                "-client=127.0.0.1",
                "-log-level=err",
            ])
            .args(["-dns-port=-1", "-grpc-port=-1", "-node=test"])
            .arg(format!("-http-port={http}"))
            .arg(format!("-server-port={server}"))
            .arg(format!("-serf-lan-port={lan}"))
            .arg(format!("-serf-wan-port={wan}"))
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("consul is missing: run `make tools`");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            if child.try_wait().expect("a child of ours").is_some() {
                return false;
            }
            if self.serves().await {
                self.child = Some(child);
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("consul does not serve after 30 s");
    }

    /// Whether its own node is in the catalog: only then do registrations show at once.
    async fn serves(&self) -> bool {
        let url = format!("http://{}/v1/catalog/node/test", self.address());
        // The token matters to the test that switches access control on.
        let asked = self
            .http
            .get(url)
            .header("X-Consul-Token", "root")
            .send()
            .await;
        let Ok(answer) = asked else { return false };
        answer.status().is_success() && answer.text().await.is_ok_and(|text| text.contains("ID"))
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("plain HTTP")
}

fn free_ports() -> [u16; 4] {
    let listeners = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}

/// The workspace's own tools before those of the system.
fn binary() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/consul");
    if own.exists() { own } else { "consul".into() }
}

//! A real Consul of a test's own.

use std::{net::SocketAddr, process::Command, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Process, Signal, http_client, ports, tools, wait};

/// How long it may take to serve, on a busy machine.
const START: Duration = Duration::from_secs(30);
/// How long an instance may take from its start into the catalog.
const REGISTER: Duration = Duration::from_secs(10);

/// The master token of those whose configuration controls access.
pub const MASTER: &str = "root";

/// A development agent, which forgets everything when it is restarted.
#[derive(Debug)]
pub struct Consul {
    /// HTTP, DNS, server RPC, LAN and WAN gossip.
    ports: [u16; 5],
    /// More configuration, in HCL.
    hcl: Vec<String>,
    folder: TempDir,
    process: Process,
}

impl Consul {
    /// Starts one and waits until it takes registrations.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with more configuration, in HCL.
    pub async fn start_with(hcl: &[&str]) -> Self {
        let hcl: Vec<String> = hcl.iter().map(ToString::to_string).collect();
        let mut folder = TempDir::with_prefix("consul-").expect("a temporary folder");
        for _ in 0..3 {
            let ports = ports::free();
            let mut consul = Self {
                ports,
                process: spawn(ports, &hcl, &folder),
                hcl: hcl.clone(),
                folder,
            };
            if consul.comes_up().await {
                return consul;
            }
            // Somebody took one of the ports.
            Self { folder, .. } = consul;
        }
        panic!("consul does not come up");
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it and starts it again where it was. It comes back knowing nothing.
    pub async fn restart(&mut self) {
        self.kill();
        self.process = spawn(self.ports, &self.hcl, &self.folder);
        assert!(self.comes_up().await, "consul does not come up again");
    }

    /// Sends it a signal: SIGSTOP leaves its ports open, and nobody answers.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    async fn comes_up(&mut self) -> bool {
        // Only when its own node is in the catalog do registrations show at once.
        let node = self.url("catalog/node/test");
        wait::until("consul serves", START, async || {
            if self.process.exit_status().is_some() {
                return Some(false);
            }
            // Where access is controlled, by the token of its configuration.
            let asked = http_client::client().get(&node);
            let answer = asked.header("X-Consul-Token", MASTER).send().await.ok()?;
            let known: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
            (!known["Node"].is_null()).then_some(true)
        })
        .await
    }

    /// Where its HTTP API is.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[0]).into()
    }

    /// Where its DNS is, over UDP and TCP.
    #[must_use]
    pub fn dns(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[1]).into()
    }

    /// What a program of ours needs to join the mesh of this Consul.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("CONSUL_HTTP_ADDR", self.http().to_string()),
            ("SERVICE_HOST", "127.0.0.1".to_owned()),
        ]
    }

    /// Asks its API: a path below `/v1/`.
    pub async fn get(&self, path: &str) -> Value {
        let url = self.url(path);
        http_client::json(&url)
            .await
            .unwrap_or_else(|| panic!("{url} answers no JSON"))
    }

    /// PUTs to its API: a path below `/v1/`, and a body.
    pub async fn put(&self, path: &str, body: &Value) {
        http_client::put(&self.url(path), body.to_string()).await;
    }

    /// DELETEs a path below `/v1/` of its API.
    pub async fn delete(&self, path: &str) {
        http_client::delete(&self.url(path)).await;
    }

    /// The service IDs of the instances of a service that pass their checks, sorted. Nobody when
    /// it cannot be asked.
    pub async fn passing(&self, service: &str) -> Vec<String> {
        let path = format!("health/service/{service}?passing");
        let answer = http_client::json(&self.url(&path))
            .await
            .unwrap_or_default();
        let entries = answer.as_array().into_iter().flatten();
        let ids = entries.filter_map(|entry| entry["Service"]["ID"].as_str());
        let mut ids: Vec<String> = ids.map(str::to_owned).collect();
        ids.sort();
        ids
    }

    /// Waits until exactly so many instances of a service pass, and gives their IDs.
    pub async fn wait_passing(&self, service: &str, count: usize) -> Vec<String> {
        let what = format!("{count} instances of {service} pass");
        wait::until(&what, REGISTER, async || {
            Some(self.passing(service).await).filter(|ids| ids.len() == count)
        })
        .await
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v1/{path}", self.http())
    }
}

fn spawn(ports: [u16; 5], hcl: &[String], folder: &TempDir) -> Process {
    let [http, dns, server, lan, wan] = ports;
    let mut command = Command::new(tools::tool("consul"));
    command
        .current_dir(folder.path())
        .args(["agent", "-dev", "-node=test", "-log-level=warn"])
        .args(["-bind=127.0.0.1", "-client=127.0.0.1", "-grpc-port=-1"])
        .arg(format!("-http-port={http}"))
        .arg(format!("-dns-port={dns}"))
        .arg(format!("-server-port={server}"))
        .arg(format!("-serf-lan-port={lan}"))
        .arg(format!("-serf-wan-port={wan}"))
        .args(hcl.iter().flat_map(|hcl| ["-hcl", hcl]));
    Process::start("consul", command)
}

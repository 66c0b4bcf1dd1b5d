//! A real Consul of a test's own.

use std::{net::SocketAddr, process::Command, time::Duration};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Process, Signal, http_client, tools, wait};

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
        let folder = TempDir::with_prefix("consul-").expect("a temporary folder");
        let command = |ports| command(ports, &hcl, &folder);
        let (ports, process) = Process::on_free_ports("consul", START, command, answers).await;
        Self {
            ports,
            hcl,
            folder,
            process,
        }
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Kills it and starts it again where it was. It comes back knowing nothing.
    pub async fn restart(&mut self) {
        self.kill();
        let command = command(self.ports, &self.hcl, &self.folder);
        self.process = Process::start("consul", command);
        let up = self
            .process
            .comes_up(START, async || answers(self.ports).await);
        assert!(up.await, "consul does not come up again");
    }

    /// Sends it a signal: SIGSTOP leaves its ports open, and nobody answers.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
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

/// Only when its own node is in the catalog do registrations show at once.
async fn answers(ports: [u16; 5]) -> bool {
    let url = format!("http://127.0.0.1:{}/v1/catalog/node/test", ports[0]);
    // Where access is controlled, by the token of its configuration.
    let asked = http_client::client().get(&url);
    let Ok(answer) = asked.header("X-Consul-Token", MASTER).send().await else {
        return false;
    };
    let text = answer.text().await.unwrap_or_default();
    serde_json::from_str::<Value>(&text).is_ok_and(|known| !known["Node"].is_null())
}

fn command(ports: [u16; 5], hcl: &[String], folder: &TempDir) -> Command {
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
    command
}

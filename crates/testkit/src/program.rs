//! One of our programs, running as its users run it: from the environment alone.

use std::{net::SocketAddr, process::Command, time::Duration};

use serde_json::Value;

use crate::{Process, Signal, http_client, tools, until};

/// How long one may take to serve, on a busy machine.
const START: Duration = Duration::from_secs(20);
/// Every program has its own variable for its port; 0 lets the system choose.
const PORTS: [&str; 10] = [
    "MCP_ROUTER_PORT",
    "AGENT_PORT",
    "TOOL_PORT",
    "WORKER_PORT",
    "GATEWAY_PORT",
    "MCP_PORT",
    "RUNNER_PORT",
    "WORKFLOW_RUNNER_PORT",
    "WORKFLOWS_PORT",
    "FANOUT_PORT",
];

/// A program that serves.
#[derive(Debug)]
pub struct Program {
    /// Its process.
    pub process: Process,
    /// Where it serves: gRPC, or HTTP if it is the gateway or a runner.
    pub grpc: SocketAddr,
    /// Where its admin listener is.
    pub admin: SocketAddr,
    /// Its Consul service ID.
    pub id: String,
}

impl Program {
    /// Starts one and waits until it serves; when Consul knows it is Consul's to say.
    pub async fn start(name: &str, env: &[(&'static str, String)]) -> Self {
        let mut several = Self::several(name, 1, env).await;
        several.pop().expect("one was started")
    }

    /// Starts several at once.
    pub async fn several(name: &str, count: usize, env: &[(&'static str, String)]) -> Vec<Self> {
        let mut processes: Vec<Process> = (0..count).map(|_| spawn(name, env)).collect();
        let mut programs = Vec::new();
        for mut process in processes.drain(..) {
            let line = process.wait_for_line(START, serving).await;
            let field = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let address = |key: &str| field(key).parse().expect("an address");
            programs.push(Self {
                grpc: address("grpc"),
                admin: address("admin"),
                id: field("instance"),
                process,
            });
        }
        programs
    }

    /// Sends its process a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// The value of one series of its `/metrics`, written as it is printed there.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = http_client::get(&format!("http://{}/metrics", self.admin)).await?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// Waits until the relay of a router has no call and keeps nothing.
    pub async fn wait_relay_idle(&self, limit: Duration) {
        until("the relay has nothing to do", limit, async || {
            let calls = self.metric("mesh_relay_calls").await?;
            let memory = self.metric("mesh_relay_memory_bytes").await?;
            // Who asks for its health has a call for a moment.
            (calls <= 1.0 && memory < 1024.0).then_some(())
        })
        .await;
    }

    /// Fails the test when its log speaks of a panic or it does not run any more.
    pub fn assert_healthy(&mut self) {
        let ended = self.process.exit_status();
        assert!(ended.is_none(), "{} ended with {ended:?}", self.id);
        let log = self.process.log();
        assert!(!log.contains("panicked"), "{} panicked", self.id);
    }
}

fn spawn(name: &str, env: &[(&'static str, String)]) -> Process {
    let mut command = Command::new(tools::program(name));
    command
        .envs(PORTS.map(|port| (port, "0")))
        .env("LISTEN_ADDRESS", "127.0.0.1")
        .env("ADMIN_ADDRESS", "127.0.0.1")
        .env("LOG_FORMAT", "json")
        .envs(env.iter().map(|(key, value)| (key, value)));
    Process::start(name, command)
}

/// The line in which a program says where it is; its further ports have lines of their own.
fn serving(line: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["message"] == "serving" && !line["grpc"].is_null()).then_some(line)
}

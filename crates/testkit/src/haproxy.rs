//! A real HAProxy with the repository's configuration, on ports of a test's own.

use std::{net::SocketAddr, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{Process, Signal, http_client, tools, wait};

/// How long it may take to serve, or to see a router, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// HAProxy in front of the routers that Consul's DNS names.
#[derive(Debug)]
pub struct HaProxy {
    grpc: u16,
    stats: u16,
    mcp: u16,
    process: Process,
    /// Where it keeps which routers it knows.
    _state: TempDir,
}

impl HaProxy {
    /// Starts one that asks this DNS, and waits until it answers.
    pub async fn start(dns: SocketAddr) -> Self {
        let state = TempDir::with_prefix("haproxy-").expect("a temporary folder");
        let command = |[grpc, stats, mcp]: [u16; 3]| {
            let mut command = Command::new(tools::tool("haproxy"));
            command
                .arg("-db")
                .arg("-f")
                .arg(tools::root().join("haproxy/haproxy.cfg"))
                .env("CONSUL_DNS", dns.to_string())
                .env("MESH_PORT", grpc.to_string())
                .env("STATS_PORT", stats.to_string())
                .env("MCP_EDGE_PORT", mcp.to_string())
                .env("STATE_DIR", state.path());
            command
        };
        let serves =
            async |[_, stats, _]: [u16; 3]| http_client::get(&stats_url(stats)).await.is_some();
        let ([grpc, stats, mcp], process) =
            Process::on_free_ports("haproxy", PATIENCE, command, serves).await;
        Self {
            grpc,
            stats,
            mcp,
            process,
            _state: state,
        }
    }

    /// Where clients call.
    #[must_use]
    pub fn grpc(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.grpc).into()
    }

    /// Where its statistics are.
    #[must_use]
    pub fn stats(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.stats).into()
    }

    /// Where clients of MCP call.
    #[must_use]
    pub fn mcp(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.mcp).into()
    }

    /// Has it read its file again, as after a change of it: a new process takes over.
    pub fn reload(&mut self) {
        self.process.signal(Signal::User2);
    }

    /// How many routers its statistics show as up.
    pub async fn up(&self) -> usize {
        self.up_of("routers").await
    }

    /// How many servers of a backend its statistics show as up.
    pub async fn up_of(&self, backend: &str) -> usize {
        let Some((200, csv)) = http_client::get(&stats_url(self.stats)).await else {
            return 0;
        };
        let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = rows.next().unwrap_or_default();
        let of = |row: &Vec<&str>| row.first() == Some(&backend);
        let status = names.iter().position(|name| *name == "status").unwrap_or(0);
        let server = names.iter().position(|name| *name == "svname").unwrap_or(0);
        let up = |row: &Vec<&str>| {
            !matches!(row.get(server), Some(&("FRONTEND" | "BACKEND")))
                && row
                    .get(status)
                    .is_some_and(|status| status.starts_with("UP"))
        };
        rows.filter(of).filter(up).count()
    }

    /// Waits until it has exactly so many routers.
    pub async fn wait_up(&self, count: usize) {
        let what = format!("haproxy has {count} routers");
        wait::until(&what, PATIENCE, async || {
            (self.up().await == count).then_some(())
        })
        .await;
    }
}

fn stats_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/;csv")
}

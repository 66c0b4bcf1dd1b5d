//! A mesh on a Consul of three servers and an agent, which loses its leader.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, net::SocketAddr, process::Command, time::Duration};

use mesh_testkit::{Load, Process, Program, http_client, load, ports, tools, until};
use tempfile::TempDir;

const START: Duration = Duration::from_secs(60);
/// How long an election and the first registration after it may take, on a busy machine.
const ELECTION: Duration = Duration::from_secs(30);

/// One member of the cluster.
struct Member {
    process: Process,
    /// HTTP, server RPC, LAN and WAN gossip.
    ports: [u16; 4],
    _folder: TempDir,
}

impl Member {
    fn start(name: &str, ports: [u16; 4], server: bool, join: &[u16]) -> Self {
        let folder = TempDir::with_prefix("consul-").unwrap();
        let [http, rpc, lan, wan] = ports.map(|port| port.to_string());
        let mut command = Command::new(tools::tool("consul"));
        command.args([
            "agent",
            "-bind",
            "127.0.0.1",
            "-client",
            "127.0.0.1",
            "-log-level",
            "warn",
        ]);
        command
            .args(["-node", name, "-data-dir"])
            .arg(folder.path());
        command.args([
            "-http-port",
            &http,
            "-server-port",
            &rpc,
            "-serf-lan-port",
            &lan,
        ]);
        command.args([
            "-dns-port",
            "-1",
            "-grpc-port",
            "-1",
            "-hcl",
            "performance { raft_multiplier = 1 }",
        ]);
        if server {
            command.args(["-server", "-bootstrap-expect", "3", "-serf-wan-port", &wan]);
        }
        for port in join {
            command.args([
                "-retry-join",
                &format!("127.0.0.1:{port}"),
                "-retry-interval",
                "1s",
            ]);
        }
        Self {
            process: Process::start("consul", command),
            ports,
            _folder: folder,
        }
    }

    fn http(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[0]).into()
    }

    /// The leader's RPC port as this member knows it.
    async fn leader(&self) -> Option<u16> {
        let told = http_client::json(&format!("http://{}/v1/status/leader", self.http())).await?;
        told.as_str()?.rsplit_once(':')?.1.parse().ok()
    }

    async fn passing(&self, service: &str) -> usize {
        let url = format!(
            "http://{}/v1/health/service/{service}?passing&stale",
            self.http()
        );
        let told = http_client::json(&url).await.unwrap_or_default();
        told.as_array().map_or(0, Vec::len)
    }
}

#[tokio::test]
async fn a_consul_that_loses_its_leader_costs_no_call_and_takes_newcomers_again() {
    let free: [u16; 16] = ports::free();
    let of = |n: usize| {
        [
            free[n * 4],
            free[n * 4 + 1],
            free[n * 4 + 2],
            free[n * 4 + 3],
        ]
    };
    let gossip: Vec<u16> = (0..3).map(|n| of(n)[2]).collect();
    let mut servers: Vec<Member> = (0..3)
        .map(|n| Member::start(&format!("server-{n}"), of(n), true, &gossip))
        .collect();
    let agent = Member::start("agent", of(3), false, &gossip);
    until("there is a leader", START, async || {
        agent.leader().await.filter(|port| *port > 0)
    })
    .await;
    let env = [
        ("CONSUL_HTTP_ADDR", agent.http().to_string()),
        ("SERVICE_HOST", "127.0.0.1".to_owned()),
    ];
    let mut echoes = Program::several("echo-agent", 2, &env).await;
    let router = Program::start("mcp-router", &env).await;
    until("both are known", START, async || {
        (agent.passing("agent-echo").await == 2).then_some(())
    })
    .await;
    load::wait_answered(router.grpc).await;

    let mut load = Load::start(router.grpc, 200, 3000);
    load.wait_ended(200).await;
    let leader = agent.leader().await.unwrap();
    let lost = servers
        .iter()
        .position(|server| server.ports[1] == leader)
        .unwrap();
    let mut lost = servers.swap_remove(lost);
    lost.process.kill();
    // One that comes meanwhile is registered when there is a leader again.
    echoes.extend(Program::several("echo-agent", 1, &env).await);
    let newcomer = echoes[2].id.clone();
    let new = until("another leads", ELECTION, async || {
        agent.leader().await.filter(|port| *port != leader)
    })
    .await;
    assert!(servers.iter().any(|server| server.ports[1] == new));
    until("the newcomer is known", ELECTION, async || {
        (agent.passing("agent-echo").await == 3).then_some(())
    })
    .await;
    let calls = load.finish().await;
    let failed: Vec<_> = calls
        .iter()
        .filter_map(|call| call.outcome.as_ref().err())
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {} calls failed: {:?}",
        failed.len(),
        calls.len(),
        failed[0]
    );
    let after = Load::start(router.grpc, 200, 300).finish().await;
    let by: BTreeSet<_> = after
        .iter()
        .map(|call| call.outcome.clone().unwrap())
        .collect();
    assert!(by.contains(&newcomer), "{by:?}");
}

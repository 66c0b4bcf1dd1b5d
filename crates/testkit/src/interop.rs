//! gRPC's own interoperability programs, and h2spec: suites that others wrote.

use std::{net::SocketAddr, process::Command, time::Duration};

use serde_json::json;
use tempfile::NamedTempFile;
use tokio::net::TcpStream;

use crate::{Consul, Process, tools, wait};

/// The service of the interop server.
pub const TEST_SERVICE: &str = "grpc.testing.TestService";

/// How long the server may take to serve, on a busy machine.
const START: Duration = Duration::from_secs(20);
/// How long one case of the interop client may take: the longest waits for a second.
const CASE: Duration = Duration::from_secs(30);
/// How long h2spec may take: it gives a case that hears nothing one second.
const SUITE: Duration = Duration::from_secs(180);

/// The cases that need no cloud.
pub const CASES: [&str; 15] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    ORCA,
];

/// Reads load reports from trailers, for which the client needs a balancer of its own.
const ORCA: &str = "orca_per_rpc";
const ORCA_CONFIG: &str = r#"{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}"#;

/// The interop server.
#[derive(Debug)]
pub struct InteropServer {
    /// Its process.
    pub process: Process,
    /// Its port on this host.
    pub port: u16,
}

impl InteropServer {
    /// Starts one and waits until it takes connections.
    pub async fn start() -> Self {
        let command = |[port]: [u16; 1]| {
            let mut command = Command::new(tools::tool("interop-server"));
            command.arg(format!("--port={port}"));
            command
        };
        let serves = async |[port]: [u16; 1]| TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        let ([port], process) =
            Process::on_free_ports("interop-server", START, command, serves).await;
        Self { process, port }
    }
}

/// Registers who serves [`TEST_SERVICE`] on a port of this host, and waits until it passes.
pub async fn register(consul: &Consul, name: &str, port: u16) {
    let registration = json!({
        "ID": format!("{name}-1"), "Name": name, "Tags": ["grpc"],
        "Address": "127.0.0.1", "Port": port,
        "Meta": { "grpc_services": TEST_SERVICE },
        "Check": { "TCP": format!("127.0.0.1:{port}"), "Interval": "1s", "Timeout": "1s" },
    });
    consul.put("agent/service/register", &registration).await;
    consul.wait_passing(name, 1).await;
}

/// Runs one case of the interop client; the metadata, `key:value`, goes with each of its calls.
///
/// # Errors
/// What the client printed, when it failed or did not end in time.
pub async fn case(at: SocketAddr, case: &str, metadata: Option<&str>) -> Result<(), String> {
    let mut command = Command::new(tools::tool("interop-client"));
    command
        .arg(format!("--server_host={}", at.ip()))
        .arg(format!("--server_port={}", at.port()))
        .arg(format!("--test_case={case}"));
    if let Some(metadata) = metadata {
        command.arg(format!("--additional_metadata={metadata}"));
    }
    if case == ORCA {
        command.arg(format!("--service_config_json={ORCA_CONFIG}"));
    }
    let mut client = Process::start(case, command);
    match wait::within(CASE, async || client.exit_status()).await {
        Some((status, _)) if status.success() => Ok(()),
        Some((status, _)) => Err(format!("{status}: {}", client.log())),
        None => Err(format!("not within {CASE:?}: {}", client.log())),
    }
}

/// What h2spec found.
#[derive(Debug)]
pub struct H2Spec {
    /// How many cases it has.
    pub cases: usize,
    /// Those that did not pass, by section and name: they failed, or were skipped since the answer
    /// gave nothing to judge.
    pub missed: Vec<String>,
    /// Its report, for people.
    pub log: String,
}

/// Runs h2spec against a port, with this path for its requests: these sections, or all of it.
pub async fn h2spec(at: SocketAddr, path: &str, sections: &[&str]) -> H2Spec {
    let report = NamedTempFile::with_prefix("h2spec-").expect("a temporary file");
    let mut command = Command::new(tools::tool("h2spec"));
    command
        .arg(format!("--host={}", at.ip()))
        .arg(format!("--port={}", at.port()))
        .args(["-o", "1", "-P", path, "-j"])
        .arg(report.path())
        .args(sections);
    let mut process = Process::start("h2spec", command);
    // It fails when a case fails; which, the report says.
    process.wait_exit(SUITE).await;
    let (cases, missed) = read(&std::fs::read_to_string(&report).expect("it reports"));
    H2Spec {
        cases,
        missed,
        log: process.log(),
    }
}

/// Reads a JUnit report: how many cases, and which did not pass.
fn read(report: &str) -> (usize, Vec<String>) {
    let cases: Vec<&str> = report.split("<testcase ").skip(1).collect();
    let missed = cases.iter().filter(|case| {
        let content = case
            .split_once("</testcase>")
            .map_or("", |(content, _)| content);
        content.contains("<failure") || content.contains("<skipped") || content.contains("<error")
    });
    let attribute = |case: &str, name: &str| {
        let (_, value) = case.split_once(&format!("{name}=\""))?;
        value.split_once('"').map(|(value, _)| value.to_owned())
    };
    let name = |case: &&str| {
        let section = attribute(case, "package").unwrap_or_default();
        let name = attribute(case, "classname").unwrap_or_default();
        format!("{section}: {name}")
    };
    (cases.len(), missed.map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_and_skipped_cases_are_missed() {
        let report = r#"<testsuite name="2." package="generic/2" tests="3">
            <testcase package="generic/2" classname="Good" time="0.1"></testcase>
            <testcase package="generic/2" classname="Bad" time="0.1">
              <failure>The endpoint MUST</failure>
            </testcase>
            <testcase package="http2/6.9" classname="Mute" time="0.1">
              <skipped></skipped>
            </testcase></testsuite>"#;
        let missed = ["generic/2: Bad".to_owned(), "http2/6.9: Mute".to_owned()];
        assert_eq!(read(report), (3, missed.to_vec()));
    }
}

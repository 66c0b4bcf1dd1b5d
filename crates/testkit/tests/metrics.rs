//! The metrics of every program, read by Prometheus's own tools.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use std::{
    collections::BTreeSet,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use discovery::backends::Memory;
use mesh_testkit::{Consul, Process, Program, http_client, load, local, tools, until};
use programs::PROGRAMS;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take on a busy machine.
const START: Duration = Duration::from_secs(30);

/// What `promtool check metrics` says of a text; nothing when all is well.
fn promtool(text: &str) -> String {
    let mut process = Command::new(tools::tool("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let ended = process.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(ended.status.success() || !said.is_empty(), "promtool fails");
    said
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics_of_any_program() {
    for (spec, build) in &PROGRAMS {
        let folder = TempDir::with_prefix("metrics-").unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let set = [
            ("access_log", path("access.log")),
            ("jobs_path", path("jobs")),
            ("workflows_path", path("workflows")),
            ("out_dir", path("out")),
            ("docs_dir", path("")),
            ("model_url", "http://127.0.0.1:9/v1".to_owned()),
            ("model_name", "none".to_owned()),
            ("mount_command", mesh_testkit::tools::MCP_SERVER.to_owned()),
        ];
        let keys = spec.all_keys();
        let set = set.iter().map(|(name, value)| (*name, value.as_str()));
        let set: Vec<_> = set
            .filter(|(name, _)| keys.iter().any(|key| key.name == *name))
            .collect();
        let running = local::start(spec, build, &Arc::new(Memory::new()), &set).await;
        // A mount waits for its server.
        until("it is ready", Duration::from_secs(20), async || {
            running.context().readiness().0.is_success().then_some(())
        })
        .await;
        let url = format!("http://{}/metrics", running.admin_addr);
        let (status, text) = http_client::get(&url).await.unwrap();
        assert_eq!(status, 200, "{}: {text}", spec.program);
        assert_eq!(promtool(&text), "", "{}:\n{text}", spec.program);
        for name in [
            "mesh_build_info{",
            "mesh_ready 1",
            "process_start_time_seconds ",
        ] {
            assert!(text.contains(name), "{}: {name}:\n{text}", spec.program);
        }
        for path in keys
            .iter()
            .filter(|key| ["access_log", "out_dir"].contains(&key.name))
        {
            let seen = text.contains("mesh_disk_free_bytes{path=");
            assert!(seen, "{}: {}:\n{text}", spec.program, path.name);
        }
        running.drain().await;
    }
}

#[test]
fn promtool_finds_what_is_wrong() {
    let said = promtool("# TYPE mesh_calls counter\nmesh_calls 1\n");
    assert!(said.contains("_total"), "{said}");
}

/// A real Prometheus, which finds its targets by a router.
struct Prometheus {
    port: u16,
    _folder: TempDir,
    _process: Process,
}

impl Prometheus {
    async fn start(router: SocketAddr) -> Self {
        let folder = TempDir::with_prefix("prometheus-").unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n\
             - job_name: mesh\n  honor_labels: true\n  http_sd_configs:\n  \
             - {{url: \"http://{router}/sd/prometheus\", refresh_interval: 1s}}\n"
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let command = |[port]: [u16; 1]| {
            let mut command = Command::new(tools::tool("prometheus"));
            command
                .arg(format!("--config.file={}", file.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .arg("--enable-feature=exemplar-storage");
            command
        };
        let ready = async |[port]: [u16; 1]| {
            let url = format!("http://127.0.0.1:{port}/-/ready");
            http_client::get(&url)
                .await
                .is_some_and(|(code, _)| code == 200)
        };
        let ([port], process) = Process::on_free_ports("prometheus", START, command, ready).await;
        Self {
            port,
            _folder: folder,
            _process: process,
        }
    }

    /// What a path below `/api/v1/` answers as `data`.
    async fn data(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let mut answer = http_client::json(&url).await.unwrap_or_default();
        answer["data"].take()
    }

    /// The labels and the values of what a query finds.
    async fn query(&self, query: &str) -> Vec<(Value, String)> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self.data(&format!("query?query={query}")).await;
        let found = data["result"].as_array().cloned().unwrap_or_default();
        let each = found.into_iter();
        each.map(|it| {
            let value = it["value"][1].as_str().unwrap_or_default().to_owned();
            (it["metric"].clone(), value)
        })
        .collect()
    }
}

#[tokio::test]
async fn prometheus_finds_every_instance_by_a_router_and_understands_all_it_says() {
    let consul = Consul::start().await;
    // Traces of all calls, which nobody takes.
    let traces = (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "http://127.0.0.1:9".to_owned(),
    );
    let env = [consul.env(), vec![traces]].concat();
    let router = Program::start("mcp-router", &env).await;
    let echo = Program::start("echo-agent", &consul.env()).await;
    let gateway = {
        let folder = TempDir::with_prefix("jobs-").unwrap();
        let path = ("JOBS_PATH", folder.path().display().to_string());
        let env = [consul.env(), vec![path]].concat();
        (Program::start("mesh-gateway", &env).await, folder)
    };
    let prometheus = Prometheus::start(router.admin).await;
    let expected = [router.id.clone(), echo.id.clone(), gateway.0.id.clone()];
    let expected: BTreeSet<String> = expected.into();
    until("all three are up", START, async || {
        let up = prometheus.query("up == 1").await;
        let ids = up
            .iter()
            .filter_map(|(labels, _)| labels["mesh_instance"].as_str());
        let ids: BTreeSet<String> = ids.map(ToOwned::to_owned).collect();
        (ids == expected).then_some(())
    })
    .await;
    let targets = prometheus.data("targets").await;
    for it in targets["activeTargets"].as_array().unwrap() {
        assert_eq!(it["lastError"], "", "{it}");
        let labels = &it["labels"];
        for name in ["mesh_service", "mesh_kind", "mesh_version"] {
            assert!(labels[name].is_string(), "{name}: {it}");
        }
    }
    load::call(&mut load::client(router.grpc), 1).await.unwrap();
    // The label `instance` of the metric stays, as honor_labels says.
    let picked = format!(
        "mesh_instance_picks_total{{service=\"agent-echo\",instance=\"{}\",mesh_instance=\"{}\"}}",
        echo.id, router.id
    );
    until("the call is counted by instance", START, async || {
        let found = prometheus.query(&picked).await;
        (found.first()?.1 == "1").then_some(())
    })
    .await;
    // The trace of the call is found by its latency.
    let bucket = "rpc_server_call_duration_seconds_bucket";
    let path = format!("query_exemplars?query={bucket}&start=0&end=9999999999");
    let exemplar = until("the call has an exemplar", START, async || {
        let found = prometheus.data(&path).await;
        let of_echo = found.as_array()?.iter();
        let mut of_echo = of_echo.filter(|it| it["seriesLabels"]["service"] == "agent-echo");
        of_echo.next().map(|it| it["exemplars"][0].clone())
    })
    .await;
    let trace_id = exemplar["labels"]["trace_id"].as_str().unwrap();
    assert_eq!(trace_id.len(), 32, "{exemplar}");
    let metadata = prometheus.data("metadata").await;
    let kind = |name: &str| metadata[name][0]["type"].clone();
    assert_eq!(kind("rpc_server_call_duration_seconds"), "histogram");
    assert_eq!(kind("mesh_instance_weight"), "gauge");
    // OpenMetrics names a counter without its suffix.
    assert_eq!(kind("mesh_instance_picks"), "counter");
}

//! `meshctl up`: a mesh in one process, until a signal.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, value_parser};
use serde_json::{Value, json};
use service::{Hangup, Signals};

use crate::{
    job_store,
    local::{InstanceCounts, LocalMesh, Ports, reachable},
    output::{Output, Style},
    registry::{Registry, RegistryChoice},
};

/// What shells call a program that an interrupt ended.
const INTERRUPTED: u8 = 130;

/// Start a mesh in this process, and drain it on SIGINT or SIGTERM.
///
/// Joins a Consul where one answers. Without one, this process answers in its place, and programs
/// that are started beside it join. The services read the environment, such as LOG_LEVEL,
/// LISTEN_ADDRESS or ECHO_DELAY, except for ports. Jobs are kept where REDIS_URL, REDIS_HOST or
/// JOBS_PATH say, else in a folder of OUT_DIR (`out`), beside the files of pipeline runs.
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// How many echo agents
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(..=100))]
    echo: u16,

    /// How many weather tools
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(..=100))]
    weather: u16,

    /// How many itinerary workers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(..=100))]
    itinerary: u16,

    /// How many routers; those after the first listen where the system chooses
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=100))]
    routers: u16,

    /// The first router's port; 0 lets the system choose
    #[arg(long, default_value_t = 50051)]
    port: u16,

    /// The gateway's port; 0 lets the system choose
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    http_port: u16,

    /// Take no jobs: no gateway, no runner, no agents and tools of the pipeline
    #[arg(long)]
    no_jobs: bool,

    /// The registry: `auto` (Consul at CONSUL_HTTP_ADDR or 127.0.0.1:8500, else a registry in this
    /// process at that address), an address of Consul, or `none` for memory that no other process
    /// sees
    #[arg(long, value_name = "auto|ADDR|none", default_value = "auto")]
    consul: RegistryChoice,
}

impl Up {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new().context("watch for signals")?;
        let mut registry = Registry::choose(&self.consul, service::config::environment()).await?;
        log(&registry)?;
        job_store::keep(&mut registry.environment);
        let counts = InstanceCounts {
            jobs: !self.no_jobs,
            workflows: false,
            gateway: false,
            echo: self.echo,
            weather: self.weather,
            itinerary: self.itinerary,
            routers: self.routers,
        };
        // A signal that comes while it starts is handled below, so that whatever registered is drained.
        let ports = Ports {
            router: self.port,
            gateway: self.http_port,
        };
        let local = LocalMesh::start(counts, ports, &registry).await?;
        if let Err(error) = print(out, &local, &registry, counts) {
            local.drain(|_, _| {}).await;
            return Err(error);
        }
        let signal = signals.shutdown_requested(Hangup::Shutdown).await;
        let count = local.instances().count();
        out.remark(&format!(
            "{signal}: draining {count} instances; a second signal ends at once"
        ));
        let drain = local.drain(|id, drained| match drained.cut {
            0 => out.remark(&format!("drained {id}")),
            cut => out.remark(&format!("drained {id}, {cut} calls were cut")),
        });
        tokio::select! {
            () = drain => Ok(ExitCode::SUCCESS),
            signal = signals.shutdown_requested(Hangup::Shutdown) => {
                out.remark(&format!("{signal}: ended at once, calls in flight are cut"));
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    }
}

/// Warnings go beside the answer; `LOG_LEVEL` asks for more.
fn log(registry: &Registry) -> anyhow::Result<()> {
    let level = registry.environment.get("LOG_LEVEL").map(String::as_str);
    let level = level.filter(|level| !level.is_empty()).unwrap_or("warn");
    let options = telemetry::TelemetryOptions {
        service_name: "meshctl".to_owned(),
        level: level
            .parse()
            .map_err(|error| anyhow::anyhow!("LOG_LEVEL={level}: {error}"))?,
        format: telemetry::LogFormat::Text,
        output: telemetry::LogOutput::Stderr,
        ..telemetry::TelemetryOptions::default()
    };
    // Without a collector there is nothing to send at the end.
    drop(telemetry::init(&options)?);
    Ok(())
}

fn print(
    out: &Output,
    local: &LocalMesh,
    registry: &Registry,
    counts: InstanceCounts,
) -> anyhow::Result<()> {
    let instances = local.instances();
    if out.json {
        let instances: Vec<Value> = instances
            .map(|running| {
                json!({
                    "service": running.context().spec.service,
                    "id": running.instance_id,
                    "grpc": reachable(running.grpc_addr),
                    "admin": reachable(running.admin_addr),
                })
            })
            .collect();
        return Ok(out.value(&json!({
            "router": local.router(),
            "gateway": local.gateway(),
            "registry": match (&registry.consul, &registry.embedded) {
                (Some(_), _) => "consul",
                (None, Some(_)) => "embedded",
                (None, None) => "memory",
            },
            "consul": registry.consul,
            "embedded": registry.embedded.as_ref().map(|it| it.address().to_string()),
            "instances": instances,
        }))?);
    }
    out.line(&format!(
        "{} registry {}\n",
        out.paint(Style::Good, "mesh up,"),
        registry.about
    ))?;
    let rows: Vec<_> = instances
        .map(|running| {
            [
                running.context().spec.service.to_owned(),
                reachable(running.grpc_addr).to_string(),
                reachable(running.admin_addr).to_string(),
                running.instance_id.clone(),
            ]
        })
        .collect();
    out.table(["SERVICE", "ADDRESS", "ADMIN", "INSTANCE"], &rows)?;
    if let Some(router) = local.router() {
        let router = router.to_string();
        out.line(&format!("\n{}", out.paint(Style::Strong, "try")))?;
        for line in examples(&router, "meshctl", counts) {
            out.line(&format!("  {line}"))?;
        }
    }
    if let Some(gateway) = local.gateway() {
        let about = format!(
            "jobs: files appear in {}",
            job_store::files(&registry.environment)
        );
        out.line(&format!("\n{}", out.paint(Style::Strong, &about)))?;
        for line in job_examples(&gateway.to_string()) {
            out.line(&format!("  {line}"))?;
        }
    }
    Ok(out.line("\nCtrl-C drains and ends it.")?)
}

/// Commands that work on a mesh with this gateway.
pub(crate) fn job_examples(gateway: &str) -> [String; 3] {
    let post = |path: &str, body: &str| {
        format!("curl -X POST {gateway}{path} -H 'content-type: application/json' -d '{body}'")
    };
    [
        post("/enqueue", r#"{"goal":"How does a router drain?"}"#),
        post(
            "/tasks",
            r#"{"description":"Research retries, then review them"}"#,
        ),
        format!("curl {gateway}/jobs/JOB_ID      # {gateway}/docs shows every call"),
    ]
}

/// Commands that work on a mesh with this router.
pub(crate) fn examples(router: &str, meshctl: &str, counts: InstanceCounts) -> Vec<String> {
    let option = match router {
        "127.0.0.1:50051" => String::new(),
        other => format!(" --router {other}"),
    };
    let mut lines = vec![
        format!("{meshctl} list{option}"),
        format!("{meshctl} status{option}"),
        format!("grpcurl -plaintext {router} list"),
        format!("grpcurl -plaintext {router} agentplatform.AgentService/ListAgents"),
    ];
    let calls = [
        (
            counts.echo,
            "echo-agent",
            "AgentService/ExecuteTask",
            "agent_id",
            r#""input":"hello""#,
        ),
        (
            counts.weather,
            "weather-tool",
            "ToolService/ExecuteTool",
            "tool_id",
            r#""operation":"get_weather","parameters":{"location":"Paris"}"#,
        ),
        (
            counts.itinerary,
            "itinerary-worker",
            "TaskWorker/ProcessTask",
            "agent_id",
            r#""parameters":{"destination":"Paris","days":"2"}"#,
        ),
    ];
    for (count, id, method, field, body) in calls {
        if count > 0 {
            let short = method.rsplit('/').next().unwrap_or(method);
            lines.push(format!("{meshctl} call {id} {short} '{{{body}}}'{option}"));
            lines.push(format!(
                r#"grpcurl -plaintext -d '{{"{field}":"{id}",{body}}}' {router} agentplatform.{method}"#
            ));
        }
    }
    lines
}

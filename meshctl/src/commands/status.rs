//! `meshctl status`: the status of the router, the services and a task.

use std::process::ExitCode;

use clap::Args;
use futures_util::future::try_join_all;
use proto::agentplatform::{
    StatusRequest, StatusResponse, TaskStatusRequest, agent_service_client::AgentServiceClient,
    task_worker_client::TaskWorkerClient,
};
use serde_json::{Value, json};
use tonic::{Code, Status as GrpcStatus};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    contract::{self, ListKind, ListedService},
    duration, instances,
    output::{Output, Style},
    router::{self, Channel, RouterArgs},
};

const HEALTHY: &str = "healthy";

/// Show the status of the router and all services, or of one service, instance or task.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// A service or the ID of an instance, such as echo-agent
    #[arg(conflicts_with = "task")]
    target: Option<String>,

    /// The ID of a task that a worker was given
    #[arg(long, value_name = "ID")]
    task: Option<String>,

    #[command(flatten)]
    router: RouterArgs,
}

/// The status of one service.
#[derive(Debug)]
struct Row {
    id: String,
    kind: &'static str,
    version: String,
    status: String,
    /// Only agents count their tasks and their uptime.
    agent: Option<StatusResponse>,
}

impl Status {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let channel = self.router.connect().await?;
        if let Some(task) = &self.task {
            return of_task(out, channel, task).await;
        }
        if let Some(target) = &self.target {
            let row = of_target(&channel, target).await?;
            let mut known = instances::list(&channel, "").await?;
            known.retain(|it| [&it.id, &it.service, &it.public_id].contains(&&row.id));
            if out.json {
                let mut value = row.value();
                value["instances"] = instances::value(&known);
                out.value(&value)?;
            } else {
                table(out, &[row])?;
                instances::table(out, &known)?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        self.of_mesh(out, channel).await
    }

    async fn of_mesh(&self, out: &Output, channel: Channel) -> anyhow::Result<ExitCode> {
        let health = HealthClient::new(channel.clone())
            .check(HealthCheckRequest::default())
            .await?;
        let health = health.into_inner().status();
        let address = self.router.address()?;
        let entries = match contract::list(&channel, &ListKind::ALL, "").await {
            Ok(entries) => entries,
            // A router that is not ready answers every question with the reason.
            Err(error) if health != ServingStatus::Serving => {
                return unready(out, &address.to_string(), health, &error);
            }
            Err(error) => return Err(error),
        };
        let rows = try_join_all(entries.iter().map(|entry| of_entry(&channel, entry))).await?;
        let known = instances::list(&channel, "").await?;
        if out.json {
            let services: Vec<Value> = rows.iter().map(Row::value).collect();
            out.value(&json!({
                "router": { "address": address, "status": health.as_str_name() },
                "services": services,
                "instances": instances::value(&known),
            }))?;
        } else {
            let style = match health {
                ServingStatus::Serving => Style::Good,
                _ => Style::Bad,
            };
            let health = out.paint(style, health.as_str_name());
            out.line(&format!("router {address}: {health}"))?;
            if rows.is_empty() {
                out.remark("no service has a healthy instance");
            } else {
                out.line("")?;
            }
            table(out, &rows)?;
            instances::table(out, &known)?;
        }
        Ok(match health {
            ServingStatus::Serving => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    }
}

/// The status of a router that does not know which services there are.
fn unready(
    out: &Output,
    address: &str,
    health: ServingStatus,
    error: &anyhow::Error,
) -> anyhow::Result<ExitCode> {
    let status = error.downcast_ref::<GrpcStatus>();
    let reason = status.map_or_else(|| format!("{error:#}"), |it| it.message().to_owned());
    if out.json {
        let router =
            json!({ "address": address, "status": health.as_str_name(), "reason": reason });
        out.value(&json!({ "router": router, "services": [] }))?;
    } else {
        let shown = out.paint(Style::Bad, health.as_str_name());
        out.line(&format!("router {address}: {shown}"))?;
        out.remark(&reason);
    }
    Ok(ExitCode::FAILURE)
}

async fn of_task(out: &Output, channel: Channel, task: &str) -> anyhow::Result<ExitCode> {
    let request = TaskStatusRequest {
        task_id: task.to_owned(),
    };
    let answer = TaskWorkerClient::new(channel)
        .get_task_status(request)
        .await?;
    let instance = router::instance(answer.metadata()).map(str::to_owned);
    let task = answer.into_inner();
    if out.json {
        out.value(&json!({
            "task_id": task.task_id,
            "status": task.status,
            "progress": task.progress,
            "result": task.result,
            "instance": instance,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let facts = [
        ("task", task.task_id),
        ("status", task.status),
        ("progress", task.progress),
        ("instance", instance.unwrap_or_default()),
        ("result", task.result),
    ];
    out.facts(&facts)?;
    Ok(ExitCode::SUCCESS)
}

/// Agents and instances answer themselves; tools and workers are in the lists.
async fn of_target(channel: &Channel, target: &str) -> anyhow::Result<Row> {
    let listed = contract::list(channel, &ListKind::ALL, target).await?;
    let entry = listed
        .iter()
        .find(|entry| entry.id().eq_ignore_ascii_case(target));
    // A Consul name, or a tag of a single service, finds an entry with another id.
    let entry = entry.or(match listed.as_slice() {
        [one] => Some(one),
        _ => None,
    });
    if let Some(entry) = entry {
        return of_entry(channel, entry).await;
    }
    let status = ask(channel, target).await?;
    Ok(Row {
        id: target.to_owned(),
        kind: "instance",
        version: String::new(),
        status: status.status.clone(),
        agent: Some(status),
    })
}

async fn of_entry(channel: &Channel, entry: &ListedService) -> anyhow::Result<Row> {
    let row = |status: String, agent| Row {
        id: entry.id(),
        kind: entry.kind_name(),
        version: entry.text("version"),
        status,
        agent,
    };
    if entry.kind != ListKind::Agents {
        // A service is listed while it has a healthy instance.
        return Ok(row(HEALTHY.to_owned(), None));
    }
    match ask(channel, &entry.id()).await {
        Ok(status) => Ok(row(status.status.clone(), Some(status))),
        // An agent of others need not answer this.
        Err(status) if status.code() == Code::Unimplemented => Ok(row(HEALTHY.to_owned(), None)),
        Err(status) => Ok(row(status.message().to_owned(), None)),
    }
}

async fn ask(channel: &Channel, id: &str) -> Result<StatusResponse, GrpcStatus> {
    let request = StatusRequest {
        agent_id: id.to_owned(),
    };
    let answer = AgentServiceClient::new(channel.clone())
        .get_status(request)
        .await?;
    Ok(answer.into_inner())
}

impl Row {
    fn value(&self) -> Value {
        json!({
            "id": self.id,
            "kind": self.kind,
            "version": self.version,
            "status": self.status,
            "active_tasks": self.agent.as_ref().map(|agent| agent.active_tasks),
            "uptime_seconds": self.agent.as_ref().map(|agent| agent.uptime_seconds),
        })
    }
}

fn table(out: &Output, rows: &[Row]) -> anyhow::Result<()> {
    let rows = rows.iter().map(|row| {
        let (kind, id, version) = (row.kind.to_owned(), row.id.clone(), row.version.clone());
        let agent = row.agent.as_ref();
        let tasks = agent.map(|agent| agent.active_tasks.to_string());
        let uptime = agent.map(|agent| duration::shown(agent.uptime_seconds));
        let (tasks, uptime) = (tasks.unwrap_or_default(), uptime.unwrap_or_default());
        [kind, id, version, tasks, uptime, row.status.clone()]
    });
    let heading = ["KIND", "ID", "VERSION", "TASKS", "UPTIME", "STATUS"];
    Ok(out.table(heading, &rows.collect::<Vec<_>>())?)
}

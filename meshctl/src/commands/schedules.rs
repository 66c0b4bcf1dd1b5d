//! `meshctl schedules`: jobs that are submitted at set times, by a gateway's HTTP API.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::{
    duration, failure,
    gateway::{GatewayArgs, GatewayClient},
    output::{Output, text},
    subcommands::subcommands,
};

/// List the entries of schedules, remove them, or run them now.
#[derive(Args, Debug)]
pub(crate) struct Schedules {
    #[command(flatten)]
    gateway: GatewayArgs,

    #[command(subcommand)]
    command: Command,
}

subcommands! {
    enum Command(gateway: &GatewayClient, out: &Output) {
        List(List),
        Remove(Remove),
        Run(Run),
    }
}

/// List the entries, with the next time and the latest job of each.
#[derive(Args, Debug)]
struct List;

/// Remove entries: they do not fire until their text in the schedule changes.
#[derive(Args, Debug)]
struct Remove {
    /// Entries' names, as `meshctl schedules list` shows them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Submit the jobs of entries now. Their next times stay as they are.
#[derive(Args, Debug)]
struct Run {
    /// Entries' names, as `meshctl schedules list` shows them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Schedules {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let gateway = self.gateway.client()?;
        self.command.run(&gateway, out).await
    }
}

impl List {
    async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let entries = gateway.get(&gateway.url(&["schedules"])).await?;
        if out.json {
            return Ok(out.value(&entries)?);
        }
        let rows: Vec<_> = entries.as_array().into_iter().flatten().map(row).collect();
        if rows.is_empty() {
            out.remark(
                "no scheduler has an entry; SCHEDULE_FILE of mesh-scheduler names a file of them",
            );
        }
        let heading = [
            "NAME", "WHEN", "KIND", "QUEUE", "STATE", "NEXT", "LAST", "RESULT",
        ];
        Ok(out.table(heading, &rows)?)
    }
}

fn row(entry: &Value) -> [String; 8] {
    let last = &entry["last"];
    let came_to = match (text(last, "status"), text(last, "error")) {
        (status, error) if error.is_empty() => status,
        (status, error) if status.is_empty() => format!("no job: {error}"),
        (status, error) => format!("{status}: {error}"),
    };
    [
        text(entry, "name"),
        when(entry),
        text(entry, "kind"),
        text(entry, "queue"),
        text(entry, "state"),
        text(entry, "next_at"),
        text(last, "at"),
        came_to.replace('\n', " "),
    ]
}

/// `0 3 * * * Europe/Berlin`, or `every 10m`.
fn when(entry: &Value) -> String {
    let Some(ms) = entry["every_ms"].as_u64() else {
        return format!("{} {}", text(entry, "cron"), text(entry, "timezone"));
    };
    match i64::try_from(ms / 1_000) {
        Ok(seconds) if ms % 1_000 == 0 => format!("every {}", duration::shown(seconds)),
        _ => format!("every {ms}ms"),
    }
}

impl Remove {
    async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<ExitCode> {
        let remove = async |name: &str| gateway.delete(&gateway.url(&["schedules", name])).await;
        let shown = |entry: &Value| format!("{}  removed", text(entry, "name"));
        failure::each(out, &self.names, remove, shown).await
    }
}

impl Run {
    async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<ExitCode> {
        let run = async |name: &str| {
            let url = gateway.url(&["schedules", name, "run"]);
            gateway.post(&url, None).await
        };
        let shown = |job: &Value| format!("{}  {}", text(job, "job_id"), text(job, "status"));
        failure::each(out, &self.names, run, shown).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_entry_is_a_row_that_people_read() {
        let entry = json!({
            "name": "file/nightly", "cron": "0 3 * * *", "timezone": "Europe/Berlin",
            "every_ms": null, "kind": "call", "queue": "default", "state": "active",
            "next_at": "2026-01-01T02:00:00.000Z",
            "last": {"at": "2025-12-31T02:00:00.000Z", "job_id": "x", "status": "dead", "error": "no\x1b[2J"},
        });
        let row = row(&entry);
        assert_eq!(row[1], "0 3 * * * Europe/Berlin");
        assert_eq!(row[7], "dead: no [2J");
        assert_eq!(when(&json!({"every_ms": 90_000})), "every 1m 30s");
        assert_eq!(when(&json!({"every_ms": 1_500})), "every 1500ms");
    }
}

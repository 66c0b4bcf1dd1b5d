//! `meshctl schedules`: what is submitted by the clock, by a gateway's HTTP API.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::{
    duration, failure,
    gateway::{GatewayArgs, GatewayClient},
    output::Output,
};

/// Show what is submitted by the clock, end it, or run it now.
#[derive(Args, Debug)]
pub(crate) struct Schedules {
    #[command(flatten)]
    gateway: GatewayArgs,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    List(List),
    Remove(Remove),
    Run(Run),
}

/// List the entries: when each fires next, and what came of its latest job.
#[derive(Args, Debug)]
struct List;

/// End entries: they fire no more until their text in the schedule changes.
#[derive(Args, Debug)]
struct Remove {
    /// Entries' names, as `meshctl schedules list` shows them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Make the jobs of entries now, beside those that the clock makes.
#[derive(Args, Debug)]
struct Run {
    /// Entries' names, as `meshctl schedules list` shows them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

impl Schedules {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let gateway = self.gateway.client()?;
        match self.command {
            Command::List(_) => list(gateway, out).await,
            Command::Remove(remove) => remove.run(gateway, out).await,
            Command::Run(run) => run.run(gateway, out).await,
        }
    }
}

async fn list(mut gateway: GatewayClient, out: &Output) -> anyhow::Result<ExitCode> {
    let entries = gateway.get(&gateway.url(&["schedules"])).await?;
    if out.json {
        out.value(&entries)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = entries.as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        out.remark(
            "no scheduler has an entry; SCHEDULE_FILE of mesh-scheduler names a file of them",
        );
    }
    let heading = [
        "NAME", "WHEN", "KIND", "QUEUE", "STATE", "NEXT", "LAST", "CAME TO",
    ];
    out.table(heading, &rows)?;
    Ok(ExitCode::SUCCESS)
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
        came_to.lines().next().unwrap_or_default().to_owned(),
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

/// A field's text, for people: what others wrote does not steer the terminal.
fn text(value: &Value, field: &str) -> String {
    let text = value[field].as_str().unwrap_or_default();
    text.replace(char::is_control, " ")
}

impl Remove {
    async fn run(self, mut gateway: GatewayClient, out: &Output) -> anyhow::Result<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        for name in &self.names {
            match gateway.delete(&gateway.url(&["schedules", name])).await {
                Ok(entry) if out.json => out.value(&entry)?,
                Ok(entry) => out.line(&format!("{}  removed", text(&entry, "name")))?,
                Err(error) => code = failure::exit(out, &error),
            }
        }
        Ok(code)
    }
}

impl Run {
    async fn run(self, mut gateway: GatewayClient, out: &Output) -> anyhow::Result<ExitCode> {
        let mut code = ExitCode::SUCCESS;
        for name in &self.names {
            let url = gateway.url(&["schedules", name, "run"]);
            match gateway.post(&url, None).await {
                Ok(job) if out.json => out.value(&job)?,
                Ok(job) => {
                    out.line(&format!(
                        "{}  {}",
                        text(&job, "job_id"),
                        text(&job, "status")
                    ))?;
                }
                Err(error) => code = failure::exit(out, &error),
            }
        }
        Ok(code)
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

//! `meshctl jobs get`, and how a job is shown.

use clap::Args;
use serde_json::Value;

use crate::{
    gateway::GatewayClient,
    output::{Output, Style, plain, text},
};

/// Show a job and its result.
#[derive(Args, Debug)]
pub(super) struct Get {
    /// A job's id
    id: String,
}

impl Get {
    pub(super) async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let job = gateway.get(&gateway.url(&["jobs", &self.id])).await?;
        show(out, &job)
    }
}

/// The facts of a job that there are, a line each.
pub(super) fn show(out: &Output, job: &Value) -> anyhow::Result<()> {
    if out.json {
        return Ok(out.value(job)?);
    }
    let attempts = format!("{} of {}", job["attempt"], job["max_attempts"]);
    let status = out.paint(style(&text(job, "status")), &status(job));
    let facts = [
        ("job", text(job, "job_id")),
        ("status", status),
        ("warning", text(job, "warning")),
        ("kind", text(job, "kind")),
        ("queue", text(job, "queue")),
        ("priority", job["priority"].to_string()),
        ("attempt", attempts),
        ("progress", text(job, "progress")),
        ("enqueued", text(job, "enqueued_at")),
        ("runs at", text(job, "run_at")),
        ("started", text(job, "started_at")),
        ("ended", text(job, "ended_at")),
        ("error", text(job, "error")),
        ("result", pretty(&job["result"])),
        ("metrics", lines(&job["metrics"])),
    ];
    Ok(out.facts(&facts)?)
}

/// Whether a status is an end.
pub(super) fn is_end(status: &str) -> bool {
    matches!(status, "succeeded" | "dead" | "cancelled")
}

/// Its status, and what more there is to say about that.
pub(super) fn status(job: &Value) -> String {
    let status = text(job, "status");
    match status.as_str() {
        "running" if job["cancelling"] == true => "running, being cancelled".to_owned(),
        "failed" => "failed, will be tried again".to_owned(),
        _ => status,
    }
}

fn style(status: &str) -> Style {
    match status {
        "succeeded" => Style::Good,
        "failed" | "dead" | "cancelled" => Style::Bad,
        _ => Style::Strong,
    }
}

fn pretty(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // JSON writes control characters as escapes.
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    }
}

/// The fields of an object, a line each, with its inner ones as `host.cores`.
fn lines(value: &Value) -> String {
    let mut lines = Vec::new();
    flatten("", value, &mut lines);
    let width = lines.iter().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or_default();
    let line = |(name, value): &(String, String)| format!("{name:<width$}  {value}");
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn flatten(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (field, value) in fields {
                let inner = match name {
                    "" => plain(field),
                    outer => format!("{outer}.{}", plain(field)),
                };
                flatten(&inner, value, lines);
            }
        }
        Value::String(text) => lines.push((name.to_owned(), plain(text))),
        other => lines.push((name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_a_line_each() {
        let metrics = serde_json::json!({
            "queue_time_ms": 3, "host": { "cores": 2, "os": "linux" }, "llm_model": null,
        });
        let shown = lines(&metrics);
        let mut shown: Vec<_> = shown.lines().collect();
        shown.sort_unstable();
        assert_eq!(
            shown,
            [
                "host.cores     2",
                "host.os        linux",
                "queue_time_ms  3"
            ]
        );
    }
}

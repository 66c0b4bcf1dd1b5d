//! `meshctl workflows show`, and how a run is shown.

use clap::Args;
use serde_json::Value;

use crate::{
    gateway::{GatewayClient, Problem},
    output::{Output, Style, text},
};

/// Characters of a node's output in a table.
const MAX_TEXT: usize = 60;

/// Show a run with its nodes, or a stored workflow.
#[derive(Args, Debug)]
pub(super) struct Show {
    /// A run's id, or a workflow's name
    what: String,
}

impl Show {
    pub(super) async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        if is_run(&self.what) {
            let details = gateway
                .get(&gateway.url(&["runs", &self.what, "details"]))
                .await;
            match details {
                Ok(details) => return show(out, &details),
                // It may be the name of a workflow all the same.
                Err(error) if Problem::of(&error).is_some_and(|it| it.status.as_u16() == 404) => {
                    return workflow(gateway, out, &self.what).await.map_err(|_| error);
                }
                Err(error) => return Err(error),
            }
        }
        workflow(gateway, out, &self.what).await
    }
}

async fn workflow(gateway: &GatewayClient, out: &Output, name: &str) -> anyhow::Result<()> {
    let mut url = gateway.url(&["workflows", name]);
    url.query_pairs_mut().append_pair("materialize", "true");
    let workflow = gateway.get(&url).await?;
    if out.json {
        return Ok(out.value(&workflow)?);
    }
    out.facts(&[
        ("workflow", text(&workflow, "tag")),
        ("owner", text(&workflow, "owner")),
        ("version", workflow["version"].to_string()),
        ("patches", workflow["patch_count"].to_string()),
        ("created", text(&workflow, "created_at")),
        ("by", text(&workflow, "created_by")),
        ("is", pretty(&workflow["workflow"])),
    ])?;
    Ok(())
}

fn is_run(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// The facts of a run, a line each, and its nodes.
pub(super) fn show(out: &Output, details: &Value) -> anyhow::Result<()> {
    if out.json {
        return Ok(out.value(details)?);
    }
    let run = &details["run"];
    let status = text(run, "status");
    out.facts(&[
        ("run", text(run, "run_id")),
        ("status", out.paint(style(&status), &status)),
        ("workflow", text(run, "tag")),
        ("owner", text(run, "owner")),
        ("submitted", text(run, "submitted_at")),
        ("started", text(run, "started_at")),
        ("ended", text(run, "ended_at")),
        ("error", text(run, "error")),
        ("output", pretty(&details["output"])),
    ])?;
    let nodes = details["node_executions"].as_object();
    let mut nodes: Vec<_> = nodes.into_iter().flat_map(|nodes| nodes.values()).collect();
    // RFC 3339 in UTC sorts as text; what has not begun comes last.
    nodes.sort_by_key(|node| {
        let started = text(node, "started_at");
        (started.is_empty(), started)
    });
    let rows: Vec<_> = nodes.into_iter().map(row).collect();
    Ok(out.table(
        ["NODE", "STATUS", "TRIED", "STARTED", "OUTPUT OR ERROR"],
        &rows,
    )?)
}

fn row(node: &Value) -> [String; 5] {
    let error = text(node, "error");
    let words = match (&node["output"], error.is_empty()) {
        (_, false) => error,
        (Value::Null, true) => String::new(),
        (output, true) => output.to_string(),
    };
    let first = words.lines().next().unwrap_or_default();
    let mut short: String = first.chars().take(MAX_TEXT).collect();
    if short.len() < words.len() {
        short.push('…');
    }
    [
        text(node, "node_id"),
        text(node, "status"),
        node["attempt"].to_string(),
        text(node, "started_at"),
        crate::output::plain(&short),
    ]
}

pub(super) fn style(status: &str) -> Style {
    match status {
        "COMPLETED" => Style::Good,
        "FAILED" | "CANCELLED" => Style::Bad,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runs_id_is_told_from_a_name() {
        assert!(is_run("0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61"));
        assert!(!is_run("refunds") && !is_run("release/v1.0-with-a-very-long-name-ok"));
    }
}

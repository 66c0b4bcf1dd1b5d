//! `meshctl workflows list`.

use clap::Args;
use serde_json::Value;

use crate::{
    gateway::GatewayClient,
    output::{Output, text},
};

/// List stored workflows, runs, or what waits for people.
#[derive(Args, Debug)]
pub(super) struct List {
    /// Runs instead of workflows
    #[arg(long, conflicts_with = "approvals")]
    runs: bool,

    /// What waits for people instead of workflows
    #[arg(long)]
    approvals: bool,

    /// Only runs of this workflow
    #[arg(long, value_name = "NAME", requires = "runs")]
    workflow: Option<String>,

    /// Only runs with this status: queued, running, waiting_for_approval, completed, failed, cancelled
    #[arg(long, value_name = "STATUS", requires = "runs")]
    status: Option<String>,

    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

impl List {
    pub(super) async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        if self.runs {
            return self.runs(gateway, out).await;
        }
        if self.approvals {
            return self.approvals(gateway, out).await;
        }
        let mut url = gateway.url(&["workflows"]);
        url.query_pairs_mut().append_pair("scope", "all");
        let listed = gateway.get(&url).await?;
        let row = |tag: &Value| {
            let version = tag["seq"].to_string();
            [
                text(tag, "tag"),
                text(tag, "owner"),
                version,
                text(tag, "moved_at"),
                text(tag, "moved_by"),
            ]
        };
        let heading = ["NAME", "OWNER", "VERSION", "MOVED", "BY"];
        show(
            out,
            &listed["workflows"],
            heading,
            row,
            "there are no workflows",
        )
    }

    async fn runs(&self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let mut url = gateway.url(&["runs"]);
        let limit = self.limit.to_string();
        let given = [
            ("status", self.status.as_deref()),
            ("tag", self.workflow.as_deref()),
            ("limit", Some(limit.as_str())),
        ];
        let given = given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        url.query_pairs_mut().extend_pairs(given);
        let listed = gateway.get(&url).await?;
        let row = |run: &Value| {
            let active = run["active_nodes"].as_array().into_iter().flatten();
            let active: Vec<_> = active.filter_map(Value::as_str).collect();
            let error = text(run, "error");
            let words = if error.is_empty() {
                active.join(" ")
            } else {
                error
            };
            let first = words.lines().next().unwrap_or_default();
            [
                text(run, "run_id"),
                text(run, "tag"),
                text(run, "status"),
                text(run, "submitted_at"),
                crate::output::plain(first),
            ]
        };
        let heading = ["RUN", "WORKFLOW", "STATUS", "SUBMITTED", "ERROR OR NODES"];
        show(out, &listed["runs"], heading, row, "there are no runs")
    }

    async fn approvals(&self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let mut url = gateway.url(&["approvals"]);
        url.query_pairs_mut()
            .append_pair("limit", &self.limit.to_string());
        let listed = gateway.get(&url).await?;
        let row = |approval: &Value| {
            let message = text(approval, "message");
            [
                text(approval, "run_id"),
                text(approval, "node_id"),
                text(approval, "workflow_tag"),
                text(approval, "created_at"),
                message.lines().next().unwrap_or_default().to_owned(),
            ]
        };
        let heading = ["RUN", "NODE", "WORKFLOW", "ASKED", "WHAT"];
        show(
            out,
            &listed["approvals"],
            heading,
            row,
            "nothing waits for people",
        )
    }
}

/// A line of JSON each for programs, a table for people.
fn show<const N: usize>(
    out: &Output,
    listed: &Value,
    heading: [&str; N],
    row: impl Fn(&Value) -> [String; N],
    none: &str,
) -> anyhow::Result<()> {
    let listed = listed.as_array().map(Vec::as_slice).unwrap_or_default();
    if out.json {
        return Ok(listed.iter().try_for_each(|it| out.value(it))?);
    }
    if listed.is_empty() {
        out.remark(none);
    }
    let rows: Vec<_> = listed.iter().map(row).collect();
    Ok(out.table(heading, &rows)?)
}

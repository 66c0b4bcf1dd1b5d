//! `meshctl workflows approve`.

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use super::json as read_json;
use crate::{
    gateway::GatewayClient,
    output::{Output, text},
};

/// Decide what a run asks. `meshctl workflows list --approvals` shows what waits.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl workflows approve RUN\n  \
    meshctl workflows approve RUN ask --reject --comment 'too much'\n  \
    meshctl workflows approve RUN ask --data '{\"amount\": 40}'")]
pub(super) struct Approve {
    /// The run's id
    run: String,

    /// The node that asks; the one that waits when absent
    node: Option<String>,

    /// Say no
    #[arg(long)]
    reject: bool,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,

    /// What the form asks for: JSON, @file, or - for standard input
    #[arg(long, value_name = "JSON|-|@file")]
    data: Option<String>,
}

impl Approve {
    pub(super) async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let mut url = gateway.url(&["approvals"]);
        let status = if self.node.is_some() {
            "all"
        } else {
            "pending"
        };
        url.query_pairs_mut()
            .append_pair("run_id", &self.run)
            .append_pair("status", status)
            .append_pair("limit", "1000");
        let listed = gateway.get(&url).await?;
        let id = self.wanted(&listed["approvals"])?;
        let data = match &self.data {
            Some(data) => read_json(data, "data").await?,
            None => Value::Null,
        };
        let said = json!({"approved": !self.reject, "comment": self.comment, "data": data});
        let url = gateway.url(&["approvals", &id, "decide"]);
        let decided = gateway.post(&url, Some(&said)).await?;
        if out.json {
            return Ok(out.value(&decided)?);
        }
        let (node, status) = (text(&decided, "node_id"), text(&decided, "status"));
        Ok(out.line(&format!("{node}  {status}"))?)
    }

    /// The approval that is meant.
    fn wanted(&self, listed: &Value) -> anyhow::Result<String> {
        let all = listed.as_array().map(Vec::as_slice).unwrap_or_default();
        let of_node = |approval: &&Value| match &self.node {
            Some(node) => approval["node_id"] == node.as_str(),
            None => true,
        };
        let mut found: Vec<&Value> = all.iter().filter(of_node).collect();
        if found.iter().any(|it| it["status"] == "pending") {
            found.retain(|it| it["status"] == "pending");
        }
        match (found.last(), found.len(), &self.node) {
            (None, ..) => bail!("nothing of the run {} waits for people", self.run),
            (_, 2.., None) => {
                let nodes: Vec<String> = found.iter().map(|it| text(it, "node_id")).collect();
                bail!("several nodes wait, name one: {}", nodes.join(", "))
            }
            (Some(last), ..) => {
                let id = last["id"].as_str().context("an approval without an id")?;
                Ok(id.to_owned())
            }
        }
    }
}

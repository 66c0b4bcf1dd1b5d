//! `meshctl workflows put`.

use clap::Args;
use serde_json::json;

use super::json as read_json;
use crate::{
    gateway::GatewayClient,
    output::{Output, text},
};

/// Store a workflow under a name; a stored one gets another version.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl workflows put refunds @refund.json\n  \
    meshctl workflows put refunds @refund.json --check")]
pub(super) struct Put {
    /// Its name
    name: String,

    /// The workflow: JSON, @file, or - for standard input
    #[arg(value_name = "JSON|-|@file")]
    workflow: String,

    /// What is said of this version
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// Only say what is wrong with it
    #[arg(long)]
    check: bool,
}

impl Put {
    pub(super) async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let workflow = read_json(&self.workflow, "workflow").await?;
        if self.check {
            return check(gateway, out, &workflow).await;
        }
        let body = json!({
            "tag_name": self.name, "workflow": workflow, "description": self.description,
        });
        let stored = gateway
            .post(&gateway.url(&["workflows"]), Some(&body))
            .await?;
        warn(out, &stored);
        if out.json {
            return Ok(out.value(&stored)?);
        }
        let version = &stored["version"];
        let (nodes, edges) = (&stored["nodes_count"], &stored["edges_count"]);
        let name = text(&stored, "tag");
        Ok(out.line(&format!(
            "{name}  version {version}, {nodes} nodes, {edges} edges"
        ))?)
    }
}

async fn check(
    gateway: &GatewayClient,
    out: &Output,
    workflow: &serde_json::Value,
) -> anyhow::Result<()> {
    let url = gateway.url(&["workflows", "validate"]);
    let said = gateway.post(&url, Some(workflow)).await?;
    warn(out, &said);
    if out.json {
        out.value(&said)?;
    } else {
        for mistake in said["errors"].as_array().into_iter().flatten() {
            out.line(&format!(
                "{}: {}",
                text(mistake, "path"),
                text(mistake, "message")
            ))?;
        }
    }
    let count = said["errors"].as_array().map_or(0, Vec::len);
    anyhow::ensure!(
        said["valid"] == true,
        "the workflow cannot run: {count} mistakes"
    );
    Ok(())
}

/// Says what may not be as it was meant.
pub(super) fn warn(out: &Output, answer: &serde_json::Value) {
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        out.remark(&crate::output::plain(warning.as_str().unwrap_or_default()));
    }
}

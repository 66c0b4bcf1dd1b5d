//! `meshctl workflows patch`.

use clap::Args;
use serde_json::json;

use super::json as read_json;
use crate::{
    gateway::GatewayClient,
    output::{Output, text},
};

/// Change a run while it runs, or a stored workflow, by RFC 6902.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl workflows patch RUN '[{\"op\":\"add\",\"path\":\"/nodes/-\",\"value\":{\"id\":\"x\",\"type\":\"noop\"}}]'\n  \
    meshctl workflows patch refunds --stored @patch.json")]
pub(super) struct Patch {
    /// A run's id; with --stored a workflow's name
    what: String,

    /// The operations: a JSON array, @file, or - for standard input
    #[arg(value_name = "JSON|-|@file")]
    operations: String,

    /// A stored workflow instead of a run
    #[arg(long)]
    stored: bool,

    /// What is said of it
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// The version that it must have
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
}

impl Patch {
    pub(super) async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let operations = read_json(&self.operations, "patch").await?;
        let mut body = json!({"operations": operations, "description": self.description});
        if let Some(version) = self.if_version {
            body["if_version"] = version.into();
        }
        if self.stored {
            let url = gateway.url(&["workflows", &self.what, "patch"]);
            let patched = gateway.patch(&url, &body).await?;
            if out.json {
                return Ok(out.value(&patched)?);
            }
            let (name, version) = (text(&patched, "tag"), &patched["version"]);
            return Ok(out.line(&format!("{name}  version {version}"))?);
        }
        let url = gateway.url(&["runs", &self.what, "patches"]);
        let patched = gateway.post(&url, Some(&body)).await?;
        if out.json {
            return Ok(out.value(&patched)?);
        }
        let (seq, state) = (&patched["seq"], text(&patched, "state"));
        Ok(out.line(&format!("patch {seq}  {state}"))?)
    }
}

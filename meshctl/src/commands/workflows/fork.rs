//! `meshctl workflows fork`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{json as read_json, watch};
use crate::{
    gateway::GatewayClient,
    output::{Output, text},
};

/// Start a new run that takes over what another has done, and goes on from a node.
#[derive(Args, Debug)]
pub(super) struct Fork {
    /// The run's id
    run: String,

    /// The node that the new run begins with
    from: String,

    /// Other inputs: a JSON object, @file, or - for standard input
    #[arg(long, value_name = "JSON|-|@file")]
    inputs: Option<String>,

    /// A change of the graph: RFC 6902, JSON, @file, or - for standard input
    #[arg(long, value_name = "JSON|-|@file")]
    patch: Option<String>,

    /// Follow it to its end, as `meshctl workflows watch` does
    #[arg(long)]
    watch: bool,
}

impl Fork {
    pub(super) async fn run(
        self,
        gateway: &GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        let mut body = json!({"from": self.from});
        if let Some(inputs) = &self.inputs {
            body["inputs"] = read_json(inputs, "inputs").await?;
        }
        if let Some(patch) = &self.patch {
            body["operations"] = read_json(patch, "patch").await?;
        }
        let forked = gateway
            .post(&gateway.url(&["runs", &self.run, "fork"]), Some(&body))
            .await?;
        let id = text(&forked, "run_id");
        if self.watch {
            out.remark(&id);
            return watch::follow(gateway, out, &id).await;
        }
        if out.json {
            out.value(&forked)?;
        } else {
            out.line(&id)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

//! `meshctl workflows cancel` and `retry`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    failure,
    gateway::GatewayClient,
    output::{Output, text},
};

/// Cancel runs: running jobs are called off, and what completed is compensated.
#[derive(Args, Debug)]
pub(super) struct Cancel {
    /// Runs' ids
    #[arg(required = true)]
    ids: Vec<String>,

    /// At once, without compensation
    #[arg(long)]
    now: bool,

    /// Why
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

/// Go on with failed or cancelled runs from what failed.
#[derive(Args, Debug)]
pub(super) struct Retry {
    /// Runs' ids
    #[arg(required = true)]
    ids: Vec<String>,
}

impl Cancel {
    pub(super) async fn run(
        self,
        gateway: &GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        let what = if self.now { "terminate" } else { "cancel" };
        let body = json!({"reason": self.reason});
        each(gateway, out, &self.ids, what, Some(&body)).await
    }
}

impl Retry {
    pub(super) async fn run(
        self,
        gateway: &GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        each(gateway, out, &self.ids, "retry", None).await
    }
}

async fn each(
    gateway: &GatewayClient,
    out: &Output,
    ids: &[String],
    what: &str,
    body: Option<&Value>,
) -> anyhow::Result<ExitCode> {
    let change = async |id: &str| gateway.post(&gateway.url(&["runs", id, what]), body).await;
    let shown = |run: &Value| format!("{}  {}", text(run, "run_id"), text(run, "status"));
    failure::each(out, ids, change, shown).await
}

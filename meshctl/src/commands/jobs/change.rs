//! `meshctl jobs cancel` and `retry`.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::view::status;
use crate::{
    failure,
    gateway::GatewayClient,
    output::{Output, text},
};

/// Cancel jobs: waiting ones at once, running ones as soon as their workers learn of it.
#[derive(Args, Debug)]
pub(super) struct Cancel {
    /// Jobs' ids
    #[arg(required = true)]
    ids: Vec<String>,
}

/// Try dead jobs again, from the start.
#[derive(Args, Debug)]
pub(super) struct Retry {
    /// Dead jobs' ids
    #[arg(required = true)]
    ids: Vec<String>,
}

impl Cancel {
    pub(super) async fn run(
        self,
        gateway: &GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        each(gateway, out, &self.ids, "cancel").await
    }
}

impl Retry {
    pub(super) async fn run(
        self,
        gateway: &GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        each(gateway, out, &self.ids, "retry").await
    }
}

/// Does it with each job.
pub(super) async fn each(
    gateway: &GatewayClient,
    out: &Output,
    ids: &[String],
    what: &str,
) -> anyhow::Result<ExitCode> {
    let change = async |id: &str| gateway.post(&gateway.url(&["jobs", id, what]), None).await;
    let shown = |job: &Value| format!("{}  {}", text(job, "job_id"), status(job));
    failure::each(out, ids, change, shown).await
}

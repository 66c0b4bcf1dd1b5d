//! `meshctl jobs cancel` and `retry`.

use std::process::ExitCode;

use clap::Args;

use super::view::{status, text};
use crate::{failure, gateway::GatewayClient, output::Output};

/// Call jobs off: waiting ones at once, running ones as soon as their workers hear of it.
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
        gateway: GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        each(gateway, out, &self.ids, "cancel").await
    }
}

impl Retry {
    pub(super) async fn run(
        self,
        gateway: GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        each(gateway, out, &self.ids, "retry").await
    }
}

/// Does it with each, and goes on after a refusal; the exit code remembers it.
pub(super) async fn each(
    mut gateway: GatewayClient,
    out: &Output,
    ids: &[String],
    what: &str,
) -> anyhow::Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for id in ids {
        match gateway.post(&gateway.url(&["jobs", id, what]), None).await {
            Ok(job) if out.json => out.value(&job)?,
            Ok(job) => out.line(&format!("{}  {}", text(&job, "job_id"), status(&job)))?,
            Err(error) => code = failure::exit(out, &error),
        }
    }
    Ok(code)
}

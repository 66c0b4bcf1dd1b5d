//! `meshctl jobs dead`: the jobs that were given up.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use reqwest::StatusCode;
use serde_json::json;

use super::{
    change,
    list::{self, JobFilter, pages},
};
use crate::{
    gateway::{GatewayClient, Problem},
    output::{Output, text},
    subcommands::subcommands,
};

subcommands! {
    /// List the jobs that were given up, and try them again.
    pub(super) enum Dead(gateway: &GatewayClient, out: &Output) {
        /// List them, the oldest first
        List(List),
        /// Try them again, from the start
        Requeue(Requeue),
    }
}

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    which: JobFilter,

    /// How many at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(Args, Debug)]
#[command(override_usage = "meshctl jobs dead requeue <IDS>...\n       \
    meshctl jobs dead requeue --all [--queue <NAME>] [--kind <KIND>]")]
pub(super) struct Requeue {
    /// Their ids
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<String>,

    /// All that there are now, or those of a queue or a kind, in place of ids
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    which: JobFilter,
}

impl List {
    async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let dead = pages(gateway, Some("dead"), &self.which, self.limit);
        list::show(out, dead, "no job was given up").await
    }
}

impl Requeue {
    async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<ExitCode> {
        match self.all {
            true => all(gateway, out, &self.which).await,
            false => change::each(gateway, out, &self.ids, "retry").await,
        }
    }
}

async fn all(gateway: &GatewayClient, out: &Output, which: &JobFilter) -> anyhow::Result<ExitCode> {
    // All ids first: the places of pages move when jobs are taken out of them.
    let mut ids = Vec::new();
    let mut dead = pages(gateway, Some("dead"), which, 0);
    while let Some(jobs) = dead.next().await? {
        ids.extend(jobs.iter().map(|job| text(job, "job_id")));
    }
    let mut requeued = 0;
    for (done, id) in ids.iter().enumerate() {
        out.progress(&format!("{done} of {} dead letters", ids.len()));
        let url = gateway.url(&["jobs", id, "retry"]);
        match gateway.post(&url, None).await {
            Ok(_) => requeued += 1,
            // Somebody else was quicker, or it is no longer kept.
            Err(error) if is_gone(&error) => {}
            Err(error) => {
                out.progress("");
                return Err(error).with_context(|| {
                    format!("stopped after {requeued} of {} dead letters", ids.len())
                });
            }
        }
    }
    out.progress("");
    if out.json {
        out.value(&json!({ "dead": ids.len(), "requeued": requeued }))?;
    } else {
        out.line(&format!(
            "{requeued} of {} dead letters are queued again",
            ids.len()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn is_gone(error: &anyhow::Error) -> bool {
    let status = Problem::of(error).map(|problem| problem.status);
    matches!(status, Some(StatusCode::CONFLICT | StatusCode::NOT_FOUND))
}

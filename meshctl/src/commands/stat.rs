//! `meshctl stat`: the traffic of the mesh, once.

use std::time::Duration;

use clap::Args;
use tokio::time::sleep;

use crate::{
    admin::AdminClient,
    duration,
    output::Output,
    router::RouterArgs,
    traffic::{Look, Report},
};

/// Show calls, success, latency and calls in flight of each service and instance, once.
///
/// Reads the admin listeners of routers and instances twice, and shows what came in between. Services
/// are as the routers see them, instances as they say themselves. Needs no Prometheus.
#[derive(Args, Debug)]
pub(crate) struct Stat {
    #[command(flatten)]
    pub(super) traffic: TrafficArgs,
}

/// What to show, and how often to look.
#[derive(Args, Clone, Debug)]
pub(crate) struct TrafficArgs {
    /// Services by their Consul names; all without any
    #[arg(value_name = "SERVICE")]
    pub(super) services: Vec<String>,

    /// The time between two looks
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::parse)]
    pub(super) interval: Duration,

    #[command(flatten)]
    pub(super) router: RouterArgs,
}

impl Stat {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<()> {
        let client = AdminClient::new(&service::config::environment())?;
        let channel = self.traffic.router.connect().await?;
        let first = Look::take(&channel, &client).await?;
        sleep(self.traffic.interval).await;
        let second = Look::take(&channel, &client).await?;
        print(out, &second.since(&first, &self.traffic.services))
    }
}

/// Shows what came.
pub(super) fn print(out: &Output, report: &Report) -> anyhow::Result<()> {
    if out.json {
        return Ok(out.value(&report.value())?);
    }
    out.table(Report::HEADING, &report.table())?;
    for silent in &report.silent {
        out.remark(&format!("no counters of {}", crate::output::plain(silent)));
    }
    if report.rows.is_empty() {
        out.remark("the router knows no such service");
    }
    Ok(())
}

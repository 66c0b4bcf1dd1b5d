//! `meshctl top`: the traffic of the mesh, again and again.

use std::num::NonZeroU64;

use clap::Args;
use tokio::time::sleep;

use super::stat::{self, TrafficArgs};
use crate::{admin::AdminClient, output::Output, traffic::Look};

/// The cursor to the top left, and nothing below it.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Show what `meshctl stat` shows, again and again until an interrupt.
///
/// A terminal is cleared each time. Elsewhere the tables follow each other, with --json a line each.
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// End after so many
    #[arg(long, value_name = "N")]
    count: Option<NonZeroU64>,

    #[command(flatten)]
    traffic: TrafficArgs,
}

impl Top {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<()> {
        let client = AdminClient::new(&service::config::environment())?;
        let channel = self.traffic.router.connect().await?;
        let mut before = Look::take(&channel, &client).await?;
        let mut shown = 0;
        loop {
            sleep(self.traffic.interval).await;
            let now = Look::take(&channel, &client).await?;
            let report = now.since(&before, &self.traffic.services);
            if !out.json && out.is_terminal() {
                let about = format!(
                    "{} in the last {:.1?}",
                    self.traffic.router.address()?,
                    report.time
                );
                out.line(&format!("{CLEAR}{about}"))?;
            }
            stat::print(out, &report)?;
            before = now;
            shown += 1;
            if self.count.is_some_and(|count| shown >= count.get()) {
                return Ok(());
            }
        }
    }
}

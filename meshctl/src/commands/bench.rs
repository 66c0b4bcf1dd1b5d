//! `meshctl bench`: measures parts of the mesh on the spot.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use jobs::bench::{BenchStore, Plan, growth, latency, throughput};
use serde_json::json;

use crate::output::Output;

/// Measure a part of the mesh.
#[derive(Subcommand, Debug)]
pub(crate) enum Bench {
    Jobs(Jobs),
}

/// Measure the job queue on a store: how fast empty jobs are done, how long one waits, and what
/// they cost while others wait. What it leaves in a Redis is taken out again.
#[derive(Args, Debug)]
pub(crate) struct Jobs {
    /// The store: redis://host:port, redis+cluster://host:port,… or file:///an/empty/folder
    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    store: String,

    /// Jobs from enqueue to done
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    jobs: usize,

    /// Workers
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: usize,

    /// Jobs that each worker runs at once
    #[arg(long, value_name = "N", default_value_t = 512)]
    concurrency: usize,

    /// Jobs a second at which to measure how long one waits
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    rate: u32,

    /// Seconds for which to do that; 0 leaves it out
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,

    /// Measure again while so many jobs wait
    #[arg(long, value_name = "N")]
    waiting: Vec<usize>,

    /// Give the jobs no idempotency keys
    #[arg(long)]
    no_keys: bool,
}

impl Bench {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::Jobs(jobs) => jobs.run(out).await,
        }
    }
}

impl Jobs {
    async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let store = BenchStore::new(&self.store)?;
        let measured = self.measure(&store, out).await;
        // What a failure has left is taken out too.
        let cleared = store.clear().await;
        measured?;
        cleared?;
        Ok(ExitCode::SUCCESS)
    }

    async fn measure(&self, store: &BenchStore, out: &Output) -> anyhow::Result<()> {
        let plan = Plan {
            jobs: self.jobs,
            keys: !self.no_keys,
            workers: self.workers,
            concurrency: self.concurrency,
            ..Plan::default()
        };
        let rate = throughput(store, &plan, &progress(out, "enqueue to done")).await?;
        let waits = if self.seconds > 0 {
            let time = Duration::from_secs(self.seconds);
            Some(latency(store, &plan, self.rate, time, &progress(out, "latency")).await?)
        } else {
            None
        };
        let grown = growth(
            store,
            &plan,
            &self.waiting,
            &progress(out, "while others wait"),
        )
        .await?;
        if out.json {
            let value = json!({
                "store": self.store, "keys": plan.keys, "throughput": rate, "latency": waits, "growth": grown,
            });
            return Ok(out.value(&value)?);
        }
        out.line(&format!(
            "{:.0} jobs/s, enqueue to done",
            rate.jobs_per_second
        ))?;
        if let Some(waits) = waits {
            out.line(&format!(
                "at {:.0} jobs/s a job waits {:.2} ms (p50), {:.2} ms (p99), {:.1} ms at most",
                waits.jobs_per_second, waits.p50_ms, waits.p99_ms, waits.max_ms
            ))?;
        }
        let rows = grown.iter().map(|at| {
            let memory = at
                .memory
                .map_or_else(|| "-".to_owned(), |bytes| (bytes >> 20).to_string());
            let done = format!("{:.0}", at.rate.jobs_per_second);
            [
                at.waiting.to_string(),
                format!("{:.0}", at.enqueued_per_second),
                done,
                memory,
            ]
        });
        let rows: Vec<_> = rows.collect();
        Ok(out.table(["WAITING", "ENQUEUE/S", "DONE/S", "MIB"], &rows)?)
    }
}

fn progress<'a>(out: &'a Output, what: &'static str) -> impl Fn(u64, u64) + 'a {
    move |done, all| match done == all {
        true => out.progress(""),
        false => out.progress(&format!("{what}: {} %", done * 100 / all.max(1))),
    }
}

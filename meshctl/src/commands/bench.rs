//! `meshctl bench`: measures parts of the mesh.

use std::time::Duration;

use clap::Args;
use jobs::bench::{BenchStore, Plan, growth, latency, throughput};
use serde_json::json;

use crate::{output::Output, subcommands::subcommands};

subcommands! {
    /// Measure a part of the mesh.
    pub(crate) enum Bench(out: &Output) {
        Jobs(Jobs),
    }
}

/// Measure the job queue on a store: how many empty jobs it does a second, how long a job waits, and
/// how both change while other jobs wait. What it writes into a Redis is removed again.
#[derive(Args, Debug)]
pub(crate) struct Jobs {
    /// The store: redis://host:port, redis+cluster://host:port,… or file:///an/empty/folder
    #[arg(long, value_name = "URL", default_value = "redis://127.0.0.1:6379")]
    store: String,

    /// How many jobs to enqueue and do
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    jobs: usize,

    /// How many workers do them
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: usize,

    /// Jobs that each worker runs at once
    #[arg(long, value_name = "N", default_value_t = 512)]
    concurrency: usize,

    /// Jobs per second while waiting is measured
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    rate: u32,

    /// How many seconds waiting is measured; 0 skips it
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,

    /// Measure again while this many other jobs wait
    #[arg(long, value_name = "N")]
    waiting: Vec<usize>,

    /// Give the jobs no idempotency keys
    #[arg(long)]
    no_keys: bool,
}

impl Jobs {
    async fn run(self, out: &Output) -> anyhow::Result<()> {
        let store = BenchStore::new(&self.store)?;
        let measured = self.measure(&store, out).await;
        // What a failure has left is removed too.
        let cleared = store.clear().await;
        measured?;
        Ok(cleared?)
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

//! Measures workflows: a runner, a worker whose jobs do nothing, and the load, all in this process.
//!
//! `cargo run --release -p workflow-runner --example bench -- RUNS JOBS WHAT NUMBER…`
//!
//! RUNS is `postgres://…` or the path of a file for SQLite, JOBS `redis://…` or the path of a folder.
//! It prints `begin` before the load and `end` after it, then a line of JSON.
//!
//! | what | measures |
//! |---|---|
//! | `rate SHAPE CONCURRENCY RUNS` | runs a second, from the call that creates one until its end is read |
//! | `hops RATE SECONDS` | the time from a node's end to its successor's start |
//! | `waiting COUNT CONCURRENCY RUNS` | a rate beside runs that wait for people, the memory, a restart |
//! | `fair QUEUED RUNS MS PLACES` | the time to the first node of a light owner's run, alone and beside so many queued runs of another, with a worker of so many places |
//! | `each ITEMS CONCURRENCY` | a `for_each` |
//! | `idle SECONDS` | nothing, for whoever counts what that costs |
//!
//! SHAPE is `seq`, three nodes in a row, or `diamond`, A → (B, C) → D. A node is a job that leaves the
//! process, and comes back to it here.

#![expect(clippy::print_stdout, reason = "a command line")]

mod bench;
mod follower;
mod graphs;
mod worker;

use std::{env, time::Duration};

use anyhow::{Context as _, bail};
use bench::Bench;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [runs, jobs, what, rest @ ..] = words.as_slice() else {
        bail!("say where runs are, where jobs are, and what to measure");
    };
    let (shape, numbers) = match what.as_str() {
        "rate" => (rest.first().map_or("seq", String::as_str), rest.get(1..)),
        _ => ("seq", Some(rest)),
    };
    let numbers = numbers.unwrap_or_default().iter().map(|word| word.parse());
    let numbers = numbers.collect::<Result<Vec<u64>, _>>()?;
    let number = |at: usize| numbers.get(at).copied().context("a number is missing");
    let places = match what.as_str() {
        "fair" => usize::try_from(number(3)?)?,
        _ => 256,
    };
    let mut bench = Bench::start(runs, jobs, places).await?;
    let line = match what.as_str() {
        "rate" => bench.rate(shape, number(0)?, number(1)?).await?,
        "hops" => {
            let time = Duration::from_secs(number(1)?);
            bench.hops(number(0)?, time).await?
        }
        "waiting" => bench.waiting(number(0)?, number(1)?, number(2)?).await?,
        "fair" => bench.fair(number(0)?, number(1)?, number(2)?).await?,
        "each" => bench.each(number(0)?, number(1)?).await?,
        "idle" => bench.idle(Duration::from_secs(number(0)?)).await?,
        other => bail!("{other} is none of rate, hops, waiting, fair, each and idle"),
    };
    println!("{line}");
    bench.stop().await;
    Ok(())
}

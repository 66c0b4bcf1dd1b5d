//! Measures the queue on a store, and prints what came of it as a line of JSON; `meshctl bench
//! jobs` does the same for people.
//!
//! `cargo run --release -p mesh-jobs --example bench -- STORE rate JOBS [keys|completions]`, or
//! `STORE latency RATE SECONDS [keys]`, or `STORE growth JOBS SIZE… [keys]`

#![expect(clippy::print_stdout, reason = "a command line")]

use std::{env, time::Duration};

use mesh_jobs::{
    Error,
    bench::{BenchStore, Plan, growth, latency, throughput},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words: Vec<String> = env::args().skip(1).collect();
    let keys = words.pop_if(|last| last == "keys").is_some();
    let completions = words.pop_if(|last| last == "completions").is_some();
    let [store, what, numbers @ ..] = words.as_slice() else {
        return Err("say which store, and what to measure: rate, latency or growth".into());
    };
    let numbers = numbers.iter().map(|number| number.parse());
    let numbers = numbers.collect::<Result<Vec<usize>, _>>()?;
    let first = numbers.first().copied().ok_or("say how many jobs")?;
    let mut plan = Plan {
        keys,
        completions,
        ..Plan::default()
    };
    let store = BenchStore::new(store)?;
    let silent = |_, _| {};
    let line = match what.as_str() {
        "rate" => {
            plan.jobs = first;
            serde_json::to_string(&throughput(&store, &plan, &silent).await?)?
        }
        "latency" => {
            let time = Duration::from_secs(numbers.get(1).copied().unwrap_or(10) as u64);
            let rate = u32::try_from(first)?;
            serde_json::to_string(&latency(&store, &plan, rate, time, &silent).await?)?
        }
        "growth" => {
            plan.jobs = first;
            serde_json::to_string(&growth(&store, &plan, &numbers[1..], &silent).await?)?
        }
        other => return Err(format!("{other} is none of rate, latency and growth").into()),
    };
    println!("{line}");
    store.clear().await.map_err(|error: Error| error.into())
}

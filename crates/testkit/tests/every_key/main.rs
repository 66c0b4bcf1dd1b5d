//! Every program is started with the bounds and the words of every key, one at a time: it says that
//! the value is in effect, serves a call, is not about to leave, and ends in order.
//!
//! The keys are those of the programs' own tables: a new key is tried without a line here, unless
//! only a person can tell what its values look like ([`samples`]).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod documents;
mod effects;
mod metrics;
mod samples;
mod trial;

use std::{sync::Arc, time::Duration};

use programs::PROGRAMS;
use service::{Key, config::Type};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use trial::Trial;

/// Programs that run at the same time: they wait more than they work.
const PARALLEL_TRIALS: usize = 10;

/// Who is tried with every value of the keys that all programs share. The others are tried with one
/// value of each of those in turn, so that all values are.
const THOROUGHLY: [&str; 3] = ["mcp-router", "echo-agent", "mesh-gateway"];

/// What a key is tried with: each word that is documented, both switches, both bounds.
fn values(key: &Key) -> Vec<String> {
    if let Some(samples) = samples::of(key.name) {
        return samples.iter().map(|value| (*value).to_owned()).collect();
    }
    match key.kind {
        Type::Choice(words) => words.iter().map(|word| (*word).to_owned()).collect(),
        Type::OneOf(words) => words().iter().map(|word| (*word).to_owned()).collect(),
        Type::Bool => vec!["true".to_owned(), "no".to_owned()],
        // A port that others may have is no bound to try.
        Type::Integer(0, max) if max == u64::from(u16::MAX) => vec!["0".to_owned()],
        Type::Integer(min, max) => vec![min.to_string(), max.to_string()],
        Type::Number(min, max) => vec![min.to_string(), max.to_string()],
        Type::Duration(max) => vec!["0s".to_owned(), format!("{}s", max.as_secs())],
        Type::Size(0) => vec!["0".to_owned(), "1KiB".to_owned(), u64::MAX.to_string()],
        Type::Size(least) => vec![least.to_string(), u64::MAX.to_string()],
        Type::Text | Type::List | Type::Custom(..) => Vec::new(),
    }
}

fn trials() -> Vec<Trial> {
    let shared: Vec<&str> = [service::BASE, service::GRPC, service::CALLS]
        .into_iter()
        .flatten()
        .flat_map(|group| group.keys)
        .map(|key| key.name)
        .collect();
    let mut trials = Vec::new();
    for (at, (spec, _)) in PROGRAMS.iter().enumerate() {
        for key in spec.all_keys() {
            let values = values(&key);
            assert!(
                !values.is_empty(),
                "{}: what are its values like? Add a line to samples.rs",
                key.name
            );
            let one = shared.contains(&key.name) && !THOROUGHLY.contains(&spec.program);
            let count = if one { 1 } else { values.len() };
            let from = if one { at % values.len() } else { 0 };
            for value in values.into_iter().skip(from).take(count) {
                trials.push(Trial { spec, key, value });
            }
        }
    }
    trials
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_program_serves_and_ends_in_order_with_every_value_of_every_key() {
    let begun = Instant::now();
    let permits = Arc::new(Semaphore::new(PARALLEL_TRIALS));
    let mut running = JoinSet::new();
    let trials = trials();
    let count = trials.len();
    let keys: usize = PROGRAMS.iter().map(|(spec, _)| spec.all_keys().len()).sum();
    for trial in trials {
        let permits = permits.clone();
        running.spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            let what = format!(
                "{} with {}={}",
                trial.spec.program,
                trial.key.env_name(),
                trial.value
            );
            trial.run().await.map_err(|why| format!("{what}: {why}"))
        });
    }
    let outcomes = running.join_all().await;
    let mut wrong: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    wrong.sort();
    let took = begun.elapsed();
    eprintln!("{count} starts with {keys} keys in {took:?}");
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        took < Duration::from_secs(600),
        "{count} starts took {took:?}"
    );
}

#[test]
fn samples_are_for_keys_that_there_are() {
    let keys: Vec<Key> = PROGRAMS
        .iter()
        .flat_map(|(spec, _)| spec.all_keys())
        .collect();
    for name in samples::names() {
        assert!(keys.iter().any(|key| key.name == name), "{name}");
    }
}

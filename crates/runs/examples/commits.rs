//! How many node ends a store takes a second, by how many runs share a commit. Prints a table.
//!
//! `cargo run --release -p mesh-runs --example commits -- 20`

#![expect(clippy::unwrap_used, reason = "it measures, and fails by panicking")]
#![expect(clippy::print_stdout, reason = "it prints a table")]

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use mesh_runs::{
    Commit, CommitOutcome, NewRun, OwnerLimits, RunChange, RunStore, STORES, ShardLease,
    StoreOptions, content_id, new_id, open, shard_of,
};
use testkit::Postgres;

/// Node ends of each run.
const STEPS: u64 = 3;

#[tokio::main]
async fn main() {
    let rounds: usize = std::env::args()
        .nth(1)
        .map_or(20, |text| text.parse().unwrap());
    println!(
        "| store | runs at a time | runs/s | node ends/s | CPU of the server a run, ms |\n|---|---|---|---|---|"
    );
    for row in STORES {
        for at_once in [1, 16, 64, 256] {
            let rounds = rounds * 256_usize.div_ceil(at_once).min(16);
            match row.scheme {
                "postgres" => {
                    let server = Postgres::start().await;
                    let store = open(&server.database().await, &StoreOptions::default()).unwrap();
                    measure(row.scheme, &*store, at_once, rounds, || cpu(server.pid())).await;
                }
                _ => {
                    let folder = tempfile::tempdir().unwrap();
                    let address = format!("file://{}", folder.path().display());
                    let store = open(&address, &StoreOptions::default()).unwrap();
                    measure(row.scheme, &*store, at_once, rounds, || 0.0).await;
                }
            }
        }
    }
}

/// What the server's processes have used, seconds.
fn cpu(pid: u32) -> f64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let of = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<u64> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split(' ')
            .map(|f| f.parse().unwrap_or(0))
            .collect();
        fields.get(12).unwrap_or(&0) + fields.get(13).unwrap_or(&0)
    };
    children.split_whitespace().map(of).sum::<u64>() as f64 / 100.0
}

async fn measure(
    scheme: &str,
    store: &dyn RunStore,
    at_once: usize,
    rounds: usize,
    cpu: impl Fn() -> f64,
) {
    let leases = store
        .lease_shards("bench", Duration::from_secs(600))
        .await
        .unwrap();
    let mut seqs: BTreeMap<u16, u64> = BTreeMap::new();
    round(store, &leases, &mut seqs, at_once).await;
    let (begun, before) = (Instant::now(), cpu());
    for _ in 0..rounds {
        round(store, &leases, &mut seqs, at_once).await;
    }
    let (took, used) = (begun.elapsed().as_secs_f64(), cpu() - before);
    let runs = (rounds * at_once) as f64;
    println!(
        "| {scheme} | {at_once} | {:.0} | {:.0} | {:.3} |",
        runs / took,
        runs * STEPS as f64 / took,
        used * 1000.0 / runs
    );
}

/// As many runs from their creation to their end.
async fn round(
    store: &dyn RunStore,
    leases: &[ShardLease],
    seqs: &mut BTreeMap<u16, u64>,
    at_once: usize,
) {
    let runs: Vec<NewRun> = (0..at_once).map(|_| new_run()).collect();
    for created in join_all(runs.iter().map(|run| store.create_run(run, 0))).await {
        created.unwrap();
    }
    let taken = store
        .take_queued(leases, &OwnerLimits::default(), at_once)
        .await
        .unwrap();
    assert_eq!(taken.len(), at_once);
    for step in 0..=STEPS {
        let mut commits: BTreeMap<u16, Commit> = BTreeMap::new();
        for run in &taken {
            let shard = shard_of(&run.summary.run_id);
            let lease = leases.iter().find(|lease| lease.shard == shard).unwrap();
            let seq = seqs.entry(shard).or_default();
            let event = br#"{"at":1764500000000,"kind":"node_completed","node_id":"a","data":{"status":"completed","counter":1}}"#;
            let events = (0..2).map(|_| {
                *seq += 1;
                (*seq, event.to_vec())
            });
            let ended = step == STEPS;
            let change = RunChange {
                run_id: run.summary.run_id.clone(),
                status: if ended { "COMPLETED" } else { "RUNNING" }.to_owned(),
                started_at: run.summary.started_at,
                ended_at: ended.then_some(1_764_500_000_000),
                active_nodes: vec!["b".to_owned()],
                header: vec![b'h'; 300],
                nodes: vec![(format!("n{step}.0"), vec![b'n'; 400])],
                events: events.collect(),
                ..RunChange::default()
            };
            let commit = commits.entry(shard).or_insert_with(|| Commit {
                shard,
                epoch: lease.epoch,
                ..Commit::default()
            });
            commit.runs.push(change);
        }
        let commits: Vec<Commit> = commits.into_values().collect();
        let stored = store.commit(&commits).await.unwrap();
        assert!(
            stored
                .iter()
                .all(|outcome| *outcome == CommitOutcome::Stored)
        );
    }
}

fn new_run() -> NewRun {
    NewRun {
        run_id: new_id(),
        owner: "bench".to_owned(),
        submitted_by: "bench".to_owned(),
        tag: Some("main".to_owned()),
        base: ("tag".to_owned(), "main".to_owned()),
        workflow: content_id(b"{}"),
        start: vec![b's'; 200],
        priority: 3,
        keep_ms: 3_600_000,
        ..NewRun::default()
    }
}

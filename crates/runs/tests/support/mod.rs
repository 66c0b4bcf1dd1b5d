//! Stores for tests: a PostgreSQL of the test's process, or a folder.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    any::Any,
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use mesh_runs::{
    Commit, CommitOutcome, CreateOutcome, NewRun, RunChange, RunStore, STORES, ShardLease,
    StoreOptions, StoredRun, content_id, new_id, open, shard_of,
};
use testkit::Postgres;

/// Long enough for a lease to outlive a test.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A store that lasts as long as this value.
pub(crate) struct Fixture {
    pub(crate) scheme: &'static str,
    pub(crate) address: String,
    pub(crate) store: Arc<dyn RunStore>,
    /// What is to be gone with this value.
    _kept: Box<dyn Any>,
}

impl Fixture {
    /// The store, as another program has it: a folder is shared within one process.
    pub(crate) fn another(&self) -> Arc<dyn RunStore> {
        match self.store.is_shared() {
            true => open(&self.address, &StoreOptions::default()).unwrap(),
            false => self.store.clone(),
        }
    }
}

/// One store of every row of the table.
pub(crate) async fn stores() -> Vec<Fixture> {
    let mut stores = Vec::new();
    for row in STORES {
        stores.push(store(row.scheme).await);
    }
    stores
}

pub(crate) async fn store(scheme: &'static str) -> Fixture {
    let (address, kept): (String, Box<dyn Any>) = match scheme {
        "postgres" => {
            let server = shared_postgres().await;
            (server.database().await, Box::new(server))
        }
        "file" => {
            let folder = tempfile::tempdir().unwrap();
            let address = format!("file://{}", folder.path().display());
            (address, Box::new(folder))
        }
        other => panic!("the store {other:?} has no fixture: add one, it passes the same suite"),
    };
    Fixture {
        scheme,
        store: open(&address, &StoreOptions::default()).unwrap(),
        address,
        _kept: kept,
    }
}

/// One for all tests of a process that run at the time, each with a database of its own.
async fn shared_postgres() -> Arc<Postgres> {
    static SHARED: tokio::sync::Mutex<Weak<Postgres>> = tokio::sync::Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(Postgres::start().await);
    *shared = Arc::downgrade(&server);
    server
}

/// A run of one owner.
pub(crate) fn new_run(owner: &str) -> NewRun {
    NewRun {
        run_id: new_id(),
        owner: owner.to_owned(),
        submitted_by: owner.to_owned(),
        tag: Some("main".to_owned()),
        base: ("tag".to_owned(), "main".to_owned()),
        tags_snapshot: serde_json::json!({"main": "1"}),
        workflow: content_id(b"{}"),
        start: br#"{"inputs":1}"#.to_vec(),
        priority: 3,
        labels: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        keep_ms: 3_600_000,
        ..NewRun::default()
    }
}

/// A run whose shard is this one.
pub(crate) fn run_in(shard: u16, owner: &str) -> NewRun {
    let ids = std::iter::repeat_with(new_id);
    let run_id = ids.into_iter().find(|id| shard_of(id) == shard).unwrap();
    NewRun {
        run_id,
        ..new_run(owner)
    }
}

pub(crate) async fn create(store: &dyn RunStore, run: &NewRun) -> String {
    let outcome = store.create_run(run, 0).await.unwrap();
    assert_eq!(outcome, CreateOutcome::Created);
    run.run_id.clone()
}

/// All shards, for one runner.
pub(crate) async fn lease(store: &dyn RunStore, runner: &str) -> Vec<ShardLease> {
    store.lease_shards(runner, LONG).await.unwrap()
}

/// The lease of a run's shard.
pub(crate) fn lease_of(leases: &[ShardLease], run_id: &str) -> ShardLease {
    let shard = shard_of(run_id);
    *leases.iter().find(|lease| lease.shard == shard).unwrap()
}

/// All that is queued is taken.
pub(crate) async fn take_all(store: &dyn RunStore, leases: &[ShardLease]) -> Vec<StoredRun> {
    let limits = mesh_runs::OwnerLimits::default();
    store.take_queued(leases, &limits, 1000).await.unwrap()
}

/// What a run changes, running and without events.
pub(crate) fn change(run_id: &str) -> RunChange {
    RunChange {
        run_id: run_id.to_owned(),
        status: "RUNNING".to_owned(),
        started_at: Some(7),
        header: b"header".to_vec(),
        ..RunChange::default()
    }
}

/// A run that ended well.
pub(crate) fn ended(run_id: &str, at: u64) -> RunChange {
    RunChange {
        status: "COMPLETED".to_owned(),
        ended_at: Some(at),
        ..change(run_id)
    }
}

/// A commit of one run.
pub(crate) fn commit_of(lease: &ShardLease, run: RunChange) -> Commit {
    Commit {
        shard: lease.shard,
        epoch: lease.epoch,
        runs: vec![run],
        outbox_done: Vec::new(),
    }
}

pub(crate) async fn commit(store: &dyn RunStore, lease: &ShardLease, run: RunChange) {
    let outcome = store.commit(&[commit_of(lease, run)]).await.unwrap();
    assert_eq!(outcome, [CommitOutcome::Stored]);
}

/// Events with these numbers; each says its own.
pub(crate) fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, Vec<u8>)> {
    let event = |number| (number, format!(r#"{{"n":{number}}}"#).into_bytes());
    numbers.into_iter().map(event).collect()
}

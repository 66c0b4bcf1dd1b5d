//! Stores for tests: a Redis of the test's own, or a folder.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod cluster;
pub(crate) mod jumping;
pub(crate) mod server;

use std::{
    any::Any,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backoff::Backoff;
use cluster::Cluster;
use mesh_jobs::{
    ClaimedJob, Failure, Job, JobContext, JobHandler, JobOutcome, Jobs, NewJob, Payload,
    QueueOptions, STORES, StoreOptions, open,
};
use testkit::{Redis, Sentinel};

/// A store that lasts as long as this value.
pub(crate) struct Fixture {
    pub(crate) scheme: &'static str,
    pub(crate) address: String,
    prefix: String,
    /// What is to be gone with this value.
    _kept: Box<dyn Any>,
}

impl Fixture {
    pub(crate) fn store(&self) -> Arc<dyn mesh_jobs::Store> {
        let settings = StoreOptions {
            prefix: self.prefix.clone(),
            ..StoreOptions::default()
        };
        open(&self.address, &settings).unwrap()
    }

    pub(crate) fn jobs(&self) -> Jobs {
        self.jobs_with(options())
    }

    pub(crate) fn jobs_with(&self, options: QueueOptions) -> Jobs {
        self.jobs_set(options, &StoreOptions::default())
    }

    pub(crate) fn jobs_set(&self, options: QueueOptions, settings: &StoreOptions) -> Jobs {
        let settings = StoreOptions {
            prefix: self.prefix.clone(),
            ..settings.clone()
        };
        Jobs::new(open(&self.address, &settings).unwrap(), options)
    }
}

/// Short times, so that tests need not wait long.
pub(crate) fn options() -> QueueOptions {
    QueueOptions {
        lease: Duration::from_secs(1),
        backoff: Backoff::new(Duration::from_millis(30), Duration::from_millis(200), 0.2),
        ..QueueOptions::default()
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
        "redis" => {
            let redis = Redis::start(&[]).await;
            (redis.url(), Box::new(redis))
        }
        "redis+unix" => {
            let guarded = Guarded::shared().await;
            (guarded.socket(), Box::new(guarded))
        }
        "redis+sentinel" => {
            let guarded = Guarded::shared().await;
            (guarded.sentinel.url(), Box::new(guarded))
        }
        "redis+cluster" => {
            let cluster = Cluster::shared().await;
            (cluster.url(), Box::new(cluster))
        }
        "file" => {
            let folder = tempfile::tempdir().unwrap();
            (
                format!("file://{}", folder.path().display()),
                Box::new(folder),
            )
        }
        other => panic!("the store {other:?} has no fixture: add one, it passes the same suite"),
    };
    // Tests share a cluster, and nothing in it.
    let prefix = format!("test:{:x}", rand::random::<u64>());
    Fixture {
        scheme,
        address,
        prefix,
        _kept: kept,
    }
}

/// A Redis that a sentinel watches and that listens on a socket too, one for all tests of a process
/// that run at the time.
struct Guarded {
    sentinel: Sentinel,
    folder: tempfile::TempDir,
    _redis: Redis,
}

static GUARDED: tokio::sync::Mutex<Weak<Guarded>> = tokio::sync::Mutex::const_new(Weak::new());

impl Guarded {
    async fn shared() -> Arc<Self> {
        let mut running = GUARDED.lock().await;
        if let Some(guarded) = running.upgrade() {
            return guarded;
        }
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("redis.sock");
        let redis = Redis::start(&["--unixsocket", socket.to_str().unwrap()]).await;
        let sentinel = Sentinel::start(&redis, "jobs").await;
        let guarded = Arc::new(Self {
            sentinel,
            folder,
            _redis: redis,
        });
        *running = Arc::downgrade(&guarded);
        guarded
    }

    fn socket(&self) -> String {
        let socket = self.folder.path().join("redis.sock");
        format!("redis+unix://{}", socket.display())
    }
}

pub(crate) fn call(text: &str) -> NewJob {
    NewJob::new("call", Payload::Json(format!("{text:?}").into()))
}

/// Claims exactly one job, which is there.
pub(crate) fn done() -> JobOutcome {
    JobOutcome::Succeeded {
        result: None,
        metrics: None,
    }
}

pub(crate) async fn claim_one(jobs: &Jobs, queue: &str) -> ClaimedJob {
    let mut claimed = jobs
        .claim(queue, "w1", 1, Duration::from_secs(5))
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1, "a job is there to be claimed");
    claimed.remove(0)
}

/// Counts what it is given, and does as it is told by the function.
pub(crate) struct Counting<F> {
    pub(crate) count: AtomicUsize,
    pub(crate) work: F,
}

impl<F: Fn(&Job) -> Result<Duration, Failure>> Counting<F> {
    pub(crate) fn new(work: F) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            work,
        })
    }
}

#[async_trait::async_trait]
impl<F> JobHandler for Counting<F>
where
    F: Fn(&Job) -> Result<Duration, Failure> + Send + Sync + 'static,
{
    async fn run(&self, job: &Job, _: &JobContext) -> Result<Option<Payload>, Failure> {
        self.count.fetch_add(1, Ordering::SeqCst);
        let pause = (self.work)(job)?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(Some(job.payload.clone()))
    }
}

/// Waits until something holds, for 20 s.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let holds = async || holds().await.then_some(());
    testkit::until(what, Duration::from_secs(20), holds).await;
}

/// Waits until leases have ended, and returns how many of their jobs were taken over.
pub(crate) async fn recovered(jobs: &Jobs) -> usize {
    let mut count = 0;
    until("a lease has ended", async || {
        count = jobs.recover("default").await.unwrap();
        count > 0
    })
    .await;
    count
}

//! The worker: its jobs do nothing, and it notes when each begins and ends.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jobs::{Failure, Job, JobContext, JobHandler, Jobs, Payload, Worker};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// What the jobs tell of themselves.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// When the latest node of each run ended.
    ended: Mutex<HashMap<String, Instant>>,
    /// From the end of a node to the start of the next one of its run.
    pub(crate) hops: Mutex<Vec<Duration>>,
    /// How many have begun.
    pub(crate) begun: watch::Sender<u64>,
    /// Who waits for the first node of a run.
    first: Mutex<HashMap<String, oneshot::Sender<Instant>>>,
    /// How long each takes about, in microseconds; 0 does nothing.
    pub(crate) busy: AtomicU64,
}

impl Steps {
    /// Is answered when the first node of a run begins. To be called before the run is created.
    pub(crate) fn first(&self, run_id: &str) -> oneshot::Receiver<Instant> {
        let (tell, told) = oneshot::channel();
        let mut first = self.first.lock().expect("no holder panics");
        first.insert(run_id.to_owned(), tell);
        told
    }

    fn begins(&self, run: String) {
        self.begun.send_modify(|count| *count += 1);
        let now = Instant::now();
        let first = self.first.lock().expect("no holder panics").remove(&run);
        if let Some(first) = first {
            // Whoever waited may have given up.
            first.send(now).ok();
        }
        let mut ended = self.ended.lock().expect("no holder panics");
        if let Some(before) = ended.insert(run, now) {
            let mut hops = self.hops.lock().expect("no holder panics");
            hops.push(now.saturating_duration_since(before));
        }
    }
}

#[async_trait::async_trait]
impl JobHandler for Handler {
    async fn run(&self, job: &Job, _: &JobContext) -> Result<Option<Payload>, Failure> {
        let run = job
            .header
            .seed
            .as_deref()
            .and_then(|key| key.split('.').next());
        self.0.begins(run.unwrap_or_default().to_owned());
        let busy = self.0.busy.load(Ordering::Relaxed);
        if busy > 0 {
            // As different ones do, they do not end in step.
            let busy = rand::random_range(busy / 2..=busy * 3 / 2);
            tokio::time::sleep(Duration::from_micros(busy)).await;
        }
        Ok(Some(Payload::Json("{}".into())))
    }
}

struct Handler(Arc<Steps>);

/// A worker at work.
#[derive(Debug)]
pub(crate) struct Working {
    pub(crate) steps: Arc<Steps>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Working {
    /// One that does so many jobs at once.
    pub(crate) fn start(jobs: &Jobs, queue: &str, places: usize) -> Self {
        let (steps, stop) = (Arc::<Steps>::default(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let handler = Arc::new(Handler(Arc::clone(&steps)));
        let worker = Worker::new(jobs.clone(), queue, "bench", places, handler);
        let until = stop.clone();
        tasks.spawn(async move { worker.run(until, Duration::from_secs(5)).await });
        Self { steps, stop, tasks }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

//! The worker: its jobs do nothing, and it notes when each begins and ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jobs::{Failure, Job, JobContext, JobHandler, Jobs, Payload, Worker};
use tokio::{sync::watch, task::JoinSet};
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
}

#[async_trait::async_trait]
impl JobHandler for Handler {
    async fn run(&self, job: &Job, _: &JobContext) -> Result<Option<Payload>, Failure> {
        let steps = &self.0;
        steps.begun.send_modify(|count| *count += 1);
        let run = job
            .header
            .seed
            .as_deref()
            .and_then(|key| key.split('.').next());
        let run = run.unwrap_or_default().to_owned();
        let now = Instant::now();
        let mut ended = steps.ended.lock().expect("no holder panics");
        if let Some(before) = ended.insert(run, now) {
            let mut hops = steps.hops.lock().expect("no holder panics");
            hops.push(now.saturating_duration_since(before));
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
    pub(crate) fn start(jobs: &Jobs, queue: &str) -> Self {
        let (steps, stop) = (Arc::<Steps>::default(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let handler = Arc::new(Handler(Arc::clone(&steps)));
        let worker = Worker::new(jobs.clone(), queue, "bench", 256, handler);
        let until = stop.clone();
        tasks.spawn(async move { worker.run(until, Duration::from_secs(5)).await });
        Self { steps, stop, tasks }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

//! Follows the events of all runs, as a door does, and tells who waits for one of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use runs::{EventFilter, Interest, RunStore};
use tokio::{sync::oneshot, task::JoinSet};

/// How many events are read at once.
const PAGE: usize = 1_000;

type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<String>>>>;

/// Who waits for runs.
#[derive(Debug)]
pub(crate) struct Follower {
    waiting: Waiting,
    _task: JoinSet<()>,
}

impl Follower {
    pub(crate) async fn start(store: Arc<dyn RunStore>) -> anyhow::Result<Self> {
        let waiting = Waiting::default();
        let cursor = store.last_event().await?;
        let mut task = JoinSet::new();
        let told = Arc::clone(&waiting);
        task.spawn(async move {
            if let Err(error) = follow(&*store, cursor, &told).await {
                eprintln!("events cannot be read: {error}");
                // Whoever waits is told that nothing comes any more.
                told.lock().expect("no holder panics").clear();
            }
        });
        Ok(Self {
            waiting,
            _task: task,
        })
    }

    /// Is answered with what ends the run, or makes it wait for a person. To be called before the run
    /// is created.
    pub(crate) fn wait(&self, run_id: &str) -> oneshot::Receiver<String> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock().expect("no holder panics");
        waiting.insert(run_id.to_owned(), tell);
        told
    }
}

async fn follow(
    store: &dyn RunStore,
    mut cursor: runs::EventCursor,
    waiting: &Waiting,
) -> Result<(), runs::Error> {
    let filter = EventFilter::default();
    loop {
        let interests = [Interest::Events];
        store
            .changes("bench", &interests, Duration::from_secs(5))
            .await?;
        loop {
            let page = store.events(&filter, &cursor, PAGE).await?;
            cursor = page.next;
            let is_last = page.events.len() < PAGE;
            for event in page.events {
                let kind = event.event["kind"].as_str().unwrap_or_default();
                let tells = matches!(
                    kind,
                    "workflow_completed"
                        | "workflow_failed"
                        | "workflow_cancelled"
                        | "approval_required"
                );
                if !tells {
                    continue;
                }
                let tell = waiting
                    .lock()
                    .expect("no holder panics")
                    .remove(&event.run_id);
                if let Some(tell) = tell {
                    drop(tell.send(kind.to_owned()));
                }
            }
            if is_last {
                break;
            }
        }
    }
}

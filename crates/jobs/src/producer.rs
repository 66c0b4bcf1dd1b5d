//! Single submissions in batches: what arrives while a batch is under way is the next batch, so
//! that a thousand callers cost a few calls of the store.

use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::{Error, Jobs, MAX_BATCH, NewJob, Submitted};

/// How many submissions may wait before further callers wait for room.
const QUEUE_CAPACITY: usize = 4_096;
/// How many batches may be under way at once.
const CONCURRENT_BATCHES: usize = 2;

type Ask = (NewJob, oneshot::Sender<Result<Submitted, Error>>);

/// Submits single jobs in batches. Cheap to clone; ends with its last clone.
#[derive(Debug, Clone)]
pub struct Producer {
    line: mpsc::Sender<Ask>,
    jobs: Jobs,
}

impl Producer {
    /// A producer of a queue; needs a tokio runtime.
    #[must_use]
    pub fn new(jobs: Jobs) -> Self {
        let (line, waiting) = mpsc::channel(QUEUE_CAPACITY);
        let tasks = TaskTracker::new();
        let waiting = std::sync::Arc::new(tokio::sync::Mutex::new(waiting));
        for _ in 0..CONCURRENT_BATCHES {
            let (jobs, waiting) = (jobs.clone(), waiting.clone());
            // Ends when the last sender is gone.
            tasks.spawn(async move {
                let mut batch = Vec::with_capacity(MAX_BATCH);
                while waiting.lock().await.recv_many(&mut batch, MAX_BATCH).await > 0 {
                    send(&jobs, &mut batch).await;
                }
            });
        }
        tasks.close();
        Self { line, jobs }
    }

    /// Takes one job in. When the future is dropped, the job may be taken in all the same.
    ///
    /// # Errors
    /// As [`Jobs::submit`].
    pub async fn submit(&self, job: NewJob) -> Result<Submitted, Error> {
        let (answer_to, answer) = oneshot::channel();
        let gone = || Error::Unavailable {
            store: self.jobs.store.name(),
            reason: "the producer has ended".to_owned(),
        };
        self.line.send((job, answer_to)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn send(jobs: &Jobs, batch: &mut Vec<Ask>) {
    let (new, callers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
    let answers = jobs.submit_all(new).await;
    match answers {
        Ok(answers) => {
            for (caller, answer) in callers.into_iter().zip(answers) {
                // The caller may be gone.
                drop(caller.send(answer));
            }
        }
        Err(error) => callers
            .into_iter()
            .for_each(|caller| drop(caller.send(Err(error.clone())))),
    }
}

//! Compares the nodes in flight with the queue: jobs that it does not know are submitted again.

use std::sync::Arc;

use jobs::{JobId, JobRecord};
use tokio::time::{Instant, sleep};

use super::{
    Core, Done, Env,
    active::JobState,
    change::{Ack, Incoming},
};
use crate::outcome::Ended;

/// How many jobs are looked up at once.
const BATCH: usize = 256;

/// A node, and what the queue knows of its job.
#[derive(Debug)]
pub(super) struct Compared {
    run_id: String,
    key: String,
    asked: Instant,
    /// Whether its run was just read, so that it may never have been submitted.
    doubtful: bool,
    found: Option<Box<JobRecord>>,
    ack: Option<Ack>,
}

impl Core {
    /// Compares, when it is time.
    pub(super) fn compare(&mut self, now: Instant) {
        if !self.comparing.begin(now) {
            return;
        }
        let mut asked = Vec::new();
        for (run_id, active) in &self.runs {
            for (key, job) in &active.jobs {
                let queued = matches!(job.state, JobState::Queued(since) if
                    now.duration_since(since) >= self.env.keys.workflow_compare / 2);
                if queued {
                    asked.push((run_id.clone(), key.clone(), job.request.queue.clone()));
                }
            }
        }
        let every = self.env.keys.workflow_compare;
        self.comparing
            .again(now + every.max(std::time::Duration::from_millis(100)));
        self.look_up(&asked, false);
    }

    /// Looks up the jobs of runs that were read.
    pub(super) fn look_up_doubtful(&mut self) {
        if self.effects.doubtful.is_empty() {
            return;
        }
        let doubtful = std::mem::take(&mut self.effects.doubtful);
        let asked = doubtful.into_iter().filter_map(|(run_id, key)| {
            let job = self.runs.get(&run_id)?.jobs.get(&key)?;
            let queue = job.request.queue.clone();
            Some((run_id, key, queue))
        });
        let asked: Vec<_> = asked.collect();
        self.look_up(&asked, true);
    }

    fn look_up(&mut self, asked: &[(String, String, Option<String>)], doubtful: bool) {
        for some in asked.chunks(BATCH) {
            let (env, some) = (Arc::clone(&self.env), some.to_vec());
            self.tasks.spawn(async move {
                let began = Instant::now();
                let ids = some.iter().filter_map(|(_, key, queue)| {
                    let queue = env.queue.queue(queue.as_deref());
                    env.jobs.chosen_id(&queue, key).ok()
                });
                let ids: Vec<JobId> = ids.collect();
                let found = loop {
                    match env.jobs.find_many(&ids).await {
                        Ok(found) => break found,
                        // The next comparison asks again.
                        Err(error) if !doubtful => return Done::Compared(Err(error)),
                        Err(error) => {
                            tracing::debug!(%error, "jobs are not looked up yet");
                            sleep(std::time::Duration::from_millis(200)).await;
                        }
                    }
                };
                let pairs = some.into_iter().zip(found);
                let compared = pairs.map(|((run_id, key, _), found)| Compared {
                    run_id,
                    key,
                    asked: began,
                    doubtful,
                    found: found.map(Box::new),
                    ack: None,
                });
                Done::Compared(Ok(compared.collect()))
            });
        }
    }

    /// Fetches the result of a job that is too long for its completion.
    pub(super) fn fetch(&mut self, run_id: String, key: String, id: JobId, ack: Ack) {
        let env = Arc::clone(&self.env);
        self.tasks.spawn(async move {
            let asked = Instant::now();
            let found = find(&env, &id).await.map(Box::new);
            Done::Compared(Ok(vec![Compared {
                run_id,
                key,
                asked,
                doubtful: false,
                found,
                ack: Some(ack),
            }]))
        });
    }

    pub(super) fn compared(&mut self, compared: Result<Vec<Compared>, jobs::Error>) {
        let compared = match compared {
            Ok(compared) => compared,
            Err(error) => {
                tracing::debug!(%error, "nodes are not compared with the queue");
                return;
            }
        };
        for Compared {
            run_id,
            key,
            asked,
            doubtful,
            found,
            ack,
        } in compared
        {
            if let Some(record) = found {
                if record.status.is_terminal() {
                    let ended = ended(*record);
                    self.deliver(&run_id, Incoming::Job { key, ended, ack });
                } else if doubtful {
                    self.is_queued(&run_id, &key);
                }
                continue;
            }
            let job = self.runs.get(&run_id);
            let job = job.and_then(|active| active.jobs.get(&key));
            match job.map(|job| job.state) {
                // It was read with its run and may never have been submitted: it is now, under its id.
                Some(JobState::Unstored) if doubtful => self.admit(&run_id, vec![key]),
                Some(JobState::Queued(since)) if since < asked => {
                    tracing::info!(run = run_id, key, "the queue has lost a job");
                    self.deliver(&run_id, Incoming::Lost { key });
                }
                _ => {}
            }
            if let Some(ack) = ack {
                self.effects.acknowledge(ack);
            }
        }
    }

    fn is_queued(&mut self, run_id: &str, key: &str) {
        let Some(active) = self.runs.get_mut(run_id) else {
            return;
        };
        let job = active.jobs.get_mut(key);
        if let Some(job) = job.filter(|job| job.state == JobState::Unstored) {
            job.state = JobState::Queued(Instant::now());
            let owner = self.owners.entry(active.meta.owner.clone()).or_default();
            owner.in_flight += 1;
            self.env.metrics.in_flight(1);
        }
    }
}

async fn find(env: &Env, id: &JobId) -> Option<JobRecord> {
    loop {
        match env.jobs.get(id).await {
            Ok(record) => return Some(record),
            Err(error) if error.is_of_the_store() => {
                sleep(std::time::Duration::from_millis(200)).await;
            }
            Err(_) => return None,
        }
    }
}

fn ended(record: JobRecord) -> Ended {
    Ended {
        status: record.status,
        result: record.result.map(|payload| payload.bytes().to_vec()),
        error: record.header.error,
        retryable: record.header.retryable,
        metrics: record.header.metrics,
    }
}

//! What follows once a step is stored: jobs are submitted and called off, completions acknowledged.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use backoff::{Backoff, Pauses};
use jobs::{JobStatus, Jobs};
use tokio::time::{Instant, sleep};

use super::{
    Core, Done, Env,
    active::JobState,
    change::{Ack, Incoming, Outgoing},
};
use crate::{
    dispatch::{Dispatch, RunFacts},
    ids,
    outcome::Ended,
    spans,
};

/// Jobs that are submitted at once.
const BATCH: usize = 256;
/// How long a completion that is done with waits for others, which are acknowledged with it.
const ACK_WAIT: Duration = Duration::from_millis(20);
/// So many do not wait.
const ACKS: usize = 128;
/// Submissions that may be under way.
const SENDING: usize = 2;

const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

/// What is to be sent.
#[derive(Debug)]
pub(super) struct Effects {
    /// Runs and keys of jobs to submit.
    submit: VecDeque<(String, String)>,
    sending: usize,
    hold_until: Option<Instant>,
    pauses: Pauses,
    /// By queue and tag.
    acks: BTreeMap<String, BTreeMap<String, Vec<String>>>,
    acking: HashSet<String>,
    /// How many wait to be acknowledged, and since when.
    ack_count: usize,
    ack_since: Option<Instant>,
    /// The queue did not answer: until then none is acknowledged.
    ack_after: Option<Instant>,
    /// Jobs of runs that were read: whether the queue knows them is to be found out.
    pub(super) doubtful: Vec<(String, String)>,
}

/// What became of a submission.
#[derive(Debug)]
pub(super) struct Sent {
    run_id: String,
    key: String,
    queue: Option<String>,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    Queued,
    Unserved(String),
    Wrong(String),
    /// The queue does not answer.
    Away(String),
}

impl Default for Effects {
    fn default() -> Self {
        Self {
            submit: VecDeque::new(),
            sending: 0,
            hold_until: None,
            pauses: pauses(),
            acks: BTreeMap::new(),
            acking: HashSet::new(),
            ack_count: 0,
            ack_since: None,
            ack_after: None,
            doubtful: Vec::new(),
        }
    }
}

fn pauses() -> Pauses {
    Pauses::new(Backoff::equal_jitter(PAUSES.0, PAUSES.1))
}

impl Effects {
    pub(super) fn is_empty(&self) -> bool {
        self.submit.is_empty()
            && self.sending == 0
            && self.acks.is_empty()
            && self.acking.is_empty()
    }

    pub(super) fn submit(&mut self, run_id: &str, key: String) {
        self.submit.push_back((run_id.to_owned(), key));
    }

    pub(super) fn acknowledge(&mut self, ack: Ack) {
        self.ack_count += 1;
        self.ack_since.get_or_insert_with(Instant::now);
        let of_queue = self.acks.entry(ack.queue).or_default();
        of_queue.entry(ack.tag).or_default().push(ack.cursor);
    }

    /// A shard is another's: its completions are, too.
    pub(super) fn drop_shard(&mut self, shard: u16) {
        let tag = ids::tag_of(shard);
        for tags in self.acks.values_mut() {
            tags.remove(&tag);
        }
        self.acks.retain(|_, tags| !tags.is_empty());
        let foreign = |run_id: &str| runs::shard_of(run_id) == shard;
        self.submit.retain(|(run_id, _)| !foreign(run_id));
        self.doubtful.retain(|(run_id, _)| !foreign(run_id));
    }

    /// When completions are acknowledged next, unless they are acknowledged now.
    fn ack_at(&self) -> Option<Instant> {
        let since = self.ack_since?;
        let at = match self.ack_count >= ACKS {
            true => since,
            false => since + ACK_WAIT,
        };
        Some(self.ack_after.map_or(at, |after| at.max(after)))
    }

    pub(super) fn wake(&self) -> Option<Instant> {
        let submit = (!self.submit.is_empty() && self.sending < SENDING).then(Instant::now);
        let submit = submit.map(|now| self.hold_until.unwrap_or(now));
        let idle = self.acks.keys().any(|queue| !self.acking.contains(queue));
        let ack = idle.then(|| self.ack_at()).flatten();
        submit.into_iter().chain(ack).min()
    }
}

impl Core {
    /// Sends what can be sent now.
    pub(super) fn send_effects(&mut self, now: Instant) {
        self.look_up_doubtful();
        let held = self.effects.hold_until.is_some_and(|until| until > now);
        while !held && self.effects.sending < SENDING && !self.effects.submit.is_empty() {
            let mut batch = Vec::new();
            while batch.len() < BATCH
                && let Some((run_id, key)) = self.effects.submit.pop_front()
            {
                let Some(active) = self.runs.get(&run_id) else {
                    continue;
                };
                // What was called off meanwhile is not sent.
                let Some(job) = active.jobs.get(&key) else {
                    continue;
                };
                let facts = RunFacts {
                    owner: active.meta.owner.clone(),
                    completion: ids::tag_of(active.meta.shard),
                    trace: spans::of_jobs(&active.meta),
                };
                batch.push((run_id, Arc::clone(&job.request), facts));
            }
            if batch.is_empty() {
                continue;
            }
            self.effects.sending += 1;
            let env = Arc::clone(&self.env);
            self.tasks
                .spawn(async move { Done::Sent(send(&env, batch).await) });
        }
        // What is acknowledged waits for nobody.
        self.send_acks(now);
    }

    fn send_acks(&mut self, now: Instant) {
        let effects = &mut self.effects;
        if effects.ack_at().is_none_or(|at| at > now) {
            return;
        }
        (effects.ack_count, effects.ack_since) = (0, None);
        let queues: Vec<String> = effects
            .acks
            .keys()
            .filter(|queue| !effects.acking.contains(*queue))
            .cloned()
            .collect();
        for queue in queues {
            let Some(cursors) = effects.acks.remove(&queue) else {
                continue;
            };
            effects.acking.insert(queue.clone());
            let cursors: Vec<(String, Vec<String>)> = cursors.into_iter().collect();
            let jobs = self.env.jobs.clone();
            self.tasks.spawn(async move {
                let outcome = jobs.acknowledge(&queue, &cursors).await;
                Done::Acknowledged(queue, cursors, outcome)
            });
        }
        if !self.effects.acks.is_empty() {
            // Those of a queue that is being told of others.
            self.effects.ack_since = Some(now);
        }
    }

    pub(super) fn acknowledged(
        &mut self,
        queue: &str,
        cursors: Vec<(String, Vec<String>)>,
        outcome: Result<(), jobs::Error>,
    ) {
        self.effects.acking.remove(queue);
        self.effects.ack_after = None;
        if let Err(error) = outcome {
            tracing::debug!(%error, queue, "completions are not acknowledged yet");
            let pause = self.effects.pauses.after_failure(&mut rand::rng());
            self.effects.ack_after = Some(Instant::now() + pause);
            for (tag, cursors) in cursors {
                for cursor in cursors {
                    self.effects.acknowledge(Ack {
                        queue: queue.to_owned(),
                        tag: tag.clone(),
                        cursor,
                    });
                }
            }
        }
    }

    pub(super) fn sent(&mut self, sent: Vec<Sent>) {
        self.effects.sending = self.effects.sending.saturating_sub(1);
        let mut away = None;
        for Sent {
            run_id,
            key,
            queue,
            outcome,
        } in sent
        {
            let job = self.runs.get_mut(&run_id);
            let job = job.and_then(|active| active.jobs.get_mut(&key));
            match (outcome, job) {
                (Outcome::Queued, Some(job)) => job.state = JobState::Queued(Instant::now()),
                // It was called off while it was submitted.
                (Outcome::Queued, None) if self.shards.contains_key(&runs::shard_of(&run_id)) => {
                    let keys = vec![(key, queue)];
                    let env = Arc::clone(&self.env);
                    self.tasks.spawn(async move {
                        cancel(&env, &keys).await;
                        Done::Reader
                    });
                }
                (_, None) => {}
                (Outcome::Unserved(name), Some(_)) => {
                    self.deliver(&run_id, Incoming::Unserved { key, name });
                }
                (Outcome::Wrong(reason), Some(_)) => {
                    let ended = Ended {
                        status: JobStatus::Dead,
                        result: None,
                        error: Some(reason),
                        retryable: false,
                        metrics: None,
                    };
                    let ack = None;
                    self.deliver(&run_id, Incoming::Job { key, ended, ack });
                }
                (Outcome::Away(error), Some(_)) => {
                    self.effects.submit.push_back((run_id, key));
                    away = Some(error);
                }
            }
        }
        self.effects.hold_until = match away {
            Some(error) => {
                let pause = self.effects.pauses.after_failure(&mut rand::rng());
                tracing::warn!(error, "nodes are not submitted yet");
                Some(Instant::now() + pause)
            }
            None => {
                self.effects.pauses.reset();
                None
            }
        };
    }

    /// Carries out an effect that is kept until then.
    pub(super) fn carry_out(&mut self, run_id: &str, shard: u16, number: u64, outgoing: Outgoing) {
        let Some(epoch) = self.shards.get(&shard).map(|shard| shard.epoch) else {
            return;
        };
        let env = Arc::clone(&self.env);
        match outgoing {
            Outgoing::CancelJobs(keys) => {
                self.tasks.spawn(async move {
                    cancel(&env, &keys).await;
                    Done::Carried(shard, epoch, number, Ok(()))
                });
            }
            Outgoing::Notify { url, key, body } => {
                self.tasks.spawn(async move {
                    let outcome = super::approvals::notify(&env, &url, &key, &body).await;
                    Done::Carried(shard, epoch, number, outcome)
                });
            }
            Outgoing::StartChild(request) => {
                self.resolve_child(run_id, (shard, epoch, number), request);
            }
        }
    }
}

/// Submits jobs.
async fn send(env: &Env, batch: Vec<(String, Arc<workflow::JobRequest>, RunFacts)>) -> Vec<Sent> {
    let requests: Vec<_> = batch
        .iter()
        .map(|(_, request, facts)| (Arc::clone(request), facts.clone()))
        .collect();
    let dispatched = env.dispatcher.dispatch(&requests).await;
    let (mut outcomes, mut jobs, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (place, dispatch) in dispatched.into_iter().enumerate() {
        outcomes.push(match dispatch {
            Dispatch::Job(job) => {
                jobs.push(*job);
                places.push(place);
                Outcome::Queued
            }
            Dispatch::Unserved(name) => Outcome::Unserved(name),
            Dispatch::Wrong(reason) => Outcome::Wrong(reason),
        });
    }
    let refused = |error: &jobs::Error| match error.is_of_the_store() {
        true => Outcome::Away(error.to_string()),
        false => Outcome::Wrong(error.to_string()),
    };
    match submit(&env.jobs, jobs).await {
        Ok(answers) => {
            for (place, answer) in places.into_iter().zip(answers) {
                if let Err(error) = answer {
                    outcomes[place] = refused(&error);
                }
            }
        }
        Err(error) => {
            for place in places {
                outcomes[place] = refused(&error);
            }
        }
    }
    let sent = batch.into_iter().zip(outcomes);
    sent.map(|((run_id, request, _), outcome)| Sent {
        run_id,
        key: request.key.clone(),
        queue: request.queue.clone(),
        outcome,
    })
    .collect()
}

async fn submit(
    jobs: &Jobs,
    new: Vec<jobs::NewJob>,
) -> Result<Vec<Result<jobs::Submitted, jobs::Error>>, jobs::Error> {
    match new.is_empty() {
        true => Ok(Vec::new()),
        false => jobs.submit_all(new).await,
    }
}

/// Calls jobs off, however long the queue is away.
async fn cancel(env: &Env, keys: &[(String, Option<String>)]) {
    let mut pauses = pauses();
    let ids = keys.iter().filter_map(|(key, queue)| {
        let queue = env.queue.queue(queue.as_deref());
        env.jobs.chosen_id(&queue, key).ok()
    });
    let ids: Vec<jobs::JobId> = ids.collect();
    while let Err(error) = env.jobs.cancel_many(&ids).await {
        if !error.is_of_the_store() {
            tracing::warn!(%error, "jobs are not called off");
            return;
        }
        let pause = pauses.after_failure(&mut rand::rng());
        sleep(pause).await;
    }
}

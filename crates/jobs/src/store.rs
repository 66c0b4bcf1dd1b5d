//! What a store has to do. It keeps jobs and moves them between states, each move fenced by a
//! token that names the state it starts from; [`Jobs`](crate::Jobs) decides which moves to make,
//! so that the rules of the queue are written once for all stores.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{Error, JobId, JobStatus, Lane};

/// The most jobs that one call of a store takes: a thousand would block a Redis for 5 ms.
pub const MAX_BATCH: usize = 256;

/// A job to be taken in.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Its id.
    pub id: JobId,
    /// 1 to 5.
    pub priority: u8,
    /// The packed job.
    pub packed: Bytes,
    /// How long until it may run.
    pub delay: Duration,
    /// Its idempotency key, with the fingerprint of what was submitted under it.
    pub key: Option<(String, String)>,
}

/// The answer to a [`Submission`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// Taken in.
    New,
    /// Its key stands for this job, submitted with the same fingerprint; or this is its own id,
    /// which was made from a seed and is known.
    Duplicate(JobId),
    /// Its key stands for this job, submitted with another fingerprint.
    Conflict(JobId),
}

/// The right to finish a job. It names one claim of it, by a random nonce: a lease taken before
/// the job was claimed again is worth nothing, even if the store has forgotten it ever gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub id: JobId,
    /// The state that the claim put it in.
    pub token: Bytes,
}

/// Who claims, and how.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The worker's name, for people.
    pub worker: String,
    /// How many jobs at most, up to [`MAX_BATCH`].
    pub max: usize,
    /// Lowest priority first, against starvation.
    pub reverse: bool,
}

/// An answer to a claim.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The jobs, packed, with their leases.
    pub jobs: Vec<(Lease, Bytes)>,
    /// The store's time of the claim, Unix milliseconds.
    pub now: u64,
    /// What to wait from when there were none. When there were some, the positions that they had: those that
    /// are empty stay as they were, and without any nothing is known.
    pub mark: WaitPosition,
}

/// A point in a lane's life; see [`Store::wait_for_job`].
#[derive(Debug, Clone, Default)]
pub struct WaitPosition {
    /// The store's own positions.
    pub positions: Vec<String>,
    /// How long until the next delayed job is due.
    pub due_in: Option<Duration>,
}

/// Moves one job to another state, if it is still in the expected one.
#[derive(Debug, Clone)]
pub struct Move {
    /// The job.
    pub id: JobId,
    /// The token of the state that it is to be in.
    pub from: Bytes,
    /// Where to.
    pub to: Destination,
}

/// Where a [`Move`] leads.
#[derive(Debug, Clone)]
pub enum Destination {
    /// To the queue, at its end.
    Queue {
        /// Its priority.
        priority: u8,
        /// The packed job.
        packed: Bytes,
    },
    /// Into the queue after a delay.
    Later {
        /// Failed, when that is why it waits; else scheduled.
        status: JobStatus,
        /// Its priority.
        priority: u8,
        /// The packed job.
        packed: Bytes,
        /// How long.
        delay: Duration,
    },
    /// To its end.
    End {
        /// Succeeded or cancelled.
        status: JobStatus,
        /// The packed record.
        record: Bytes,
        /// What it leaves in the completions.
        completion: Option<CompletionNote>,
    },
    /// To the dead letters.
    DeadLetter {
        /// The packed job, for a retry.
        packed: Bytes,
        /// What it leaves in the completions.
        completion: Option<CompletionNote>,
    },
}

impl Destination {
    /// What the move leaves in the completions.
    #[must_use]
    pub const fn completion(&self) -> Option<&CompletionNote> {
        match self {
            Self::End { completion, .. } | Self::DeadLetter { completion, .. } => {
                completion.as_ref()
            }
            Self::Queue { .. } | Self::Later { .. } => None,
        }
    }
}

/// An entry for the completions of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionNote {
    /// The tag whose completions it is among.
    pub tag: String,
    /// The packed record to be read there; without one the record that the job ends with.
    pub packed: Option<Bytes>,
}

/// Where to read completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionSource {
    /// The lane.
    pub lane: Lane,
    /// The tag.
    pub tag: String,
    /// The cursor to read after; empty for the oldest.
    pub after: String,
}

/// A completion as a store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCompletion {
    /// The index of its source.
    pub source: usize,
    /// Where it stands among those of its lane and tag.
    pub cursor: String,
    /// Succeeded, dead or cancelled.
    pub status: JobStatus,
    /// The packed record.
    pub packed: Bytes,
}

/// The answer to a [`Move`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveOutcome {
    /// Done.
    Done,
    /// The job is in another state: nothing was done.
    Stale,
    /// The job was cancelled while it ran, and may only end: nothing was done.
    Cancelling,
}

/// The answer to the renewal of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// It runs for its whole time again.
    Held,
    /// It runs on, and the job was cancelled: stop it and settle it as cancelled.
    Cancelling,
    /// It has ended: drop the work.
    Stale,
}

/// A state, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// In the queue.
    Queued {
        /// Since when, Unix milliseconds.
        since: u64,
    },
    /// Leased.
    Running {
        /// Since when, Unix milliseconds.
        started_at: u64,
        /// To whom.
        worker: String,
    },
    /// Scheduled, or failed and to be tried again.
    Waiting {
        /// Which of the two.
        status: JobStatus,
        /// Until when, Unix milliseconds.
        due: u64,
    },
    /// Succeeded, dead or cancelled.
    Ended(JobStatus),
}

/// A job as a store found it.
#[derive(Debug, Clone)]
pub struct StoredJob {
    /// Its id.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// The state's token.
    pub token: Bytes,
    /// The packed job, or its packed record once it has succeeded or was cancelled.
    pub packed: Bytes,
    /// The latest progress of its worker.
    pub progress: Option<String>,
    /// It was cancelled while it ran.
    pub cancelling: bool,
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// Where it stands in its lane's events; opaque.
    pub cursor: String,
    /// When, Unix milliseconds.
    pub at: u64,
    /// The job.
    pub id: JobId,
    /// `progress`, or the word of the status that the job came to.
    pub name: String,
    /// The progress.
    pub data: Option<String>,
}

/// A progress message of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressNote {
    /// Its number among the notes of its job, from 1.
    pub number: u64,
    /// When the attempt started, Unix milliseconds.
    pub since: u64,
    /// When it was reported, Unix milliseconds.
    pub at: u64,
    /// Its text.
    pub text: String,
}

/// How many notes of a job are kept.
pub(crate) const MAX_NOTES: usize = 64;
/// How many bytes of them, if there are several.
pub(crate) const MAX_NOTE_BYTES: usize = 16 << 10;

/// Events that were read.
#[derive(Debug, Clone, Default)]
pub struct EventBatch {
    /// The events, in order.
    pub events: Vec<JobEvent>,
    /// A cursor before the oldest kept event, if some events after the given cursor may be gone.
    pub missed: Option<String>,
}

/// A lane, counted. Exact, because it is read off the same structures that the jobs are in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Jobs in the queue now.
    pub queued: u64,
    /// Jobs waiting for their first time now.
    pub scheduled: u64,
    /// Leased jobs now.
    pub running: u64,
    /// Jobs waiting for another attempt now.
    pub failed: u64,
    /// Dead letters now.
    pub dead: u64,
    /// Jobs that succeeded, ever.
    pub succeeded: u64,
    /// Jobs that were cancelled, ever.
    pub cancelled: u64,
    /// Since when the next in line waits, Unix milliseconds.
    pub oldest_queued_at: Option<u64>,
    /// The store's time, Unix milliseconds.
    pub now: u64,
}

/// The health of a store that works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// It changes when data may be gone: the store is new, empty, or was restored from an older
    /// time. Users that keep something for good, such as timers, store it again then.
    pub epoch: String,
    /// What works now and may not work for long, in words for people.
    pub warnings: Vec<String>,
    /// How full it is.
    pub usage: StoreUsage,
}

/// How full a store is: of several servers, the fullest. `None` for what it does not tell, or has no
/// limit of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes of memory, or of the disk for a store that is kept there.
    pub memory: Option<u64>,
    /// How many there may be.
    pub memory_limit: Option<u64>,
    /// Clients that are connected to it.
    pub clients: Option<u64>,
    /// How many there may be.
    pub clients_limit: Option<u64>,
}

impl StoreUsage {
    /// The fuller of two servers in each respect, by the share of the limit where both have one.
    #[must_use]
    pub fn fuller(self, other: Self) -> Self {
        let fuller = |ours: (Option<u64>, Option<u64>), theirs: (Option<u64>, Option<u64>)| {
            let share = |(used, limit): (Option<u64>, Option<u64>)| match (used, limit) {
                (Some(used), Some(limit)) if limit > 0 => Some(used as f64 / limit as f64),
                _ => None,
            };
            let by_size = ours.0 >= theirs.0;
            let ours_is = match (share(ours), share(theirs)) {
                (Some(our), Some(their)) => our >= their,
                (None, None) => by_size,
                (our, _) => our.is_some(),
            };
            if ours_is { ours } else { theirs }
        };
        let (memory, memory_limit) = fuller(
            (self.memory, self.memory_limit),
            (other.memory, other.memory_limit),
        );
        let (clients, clients_limit) = fuller(
            (self.clients, self.clients_limit),
            (other.clients, other.clients_limit),
        );
        Self {
            memory,
            memory_limit,
            clients,
            clients_limit,
        }
    }
}

/// A job on a page.
#[derive(Debug, Clone)]
pub struct ListedJob {
    /// The job.
    pub found: StoredJob,
    /// Where a page begins that goes on after it.
    pub position: String,
}

/// A page of jobs.
#[derive(Debug, Clone, Default)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<ListedJob>,
    /// Where the next page begins, if there is one.
    pub next: Option<String>,
}

/// A place where jobs are kept. Every method is one step: it happens as a whole or not at all.
/// Slices are at most [`MAX_BATCH`] long, and answers stand in their order.
///
/// # Errors
/// Every method: [`Error::Unavailable`] at once when the store does not answer, and
/// [`Error::Broken`] when it holds something of another form.
#[async_trait::async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// What to call it in messages, without credentials.
    fn name(&self) -> String;

    /// Whether it is in this process, so that asking costs nothing.
    fn is_local(&self) -> bool {
        false
    }

    /// The time by the clock that the lane is kept by, Unix milliseconds.
    async fn now(&self, lane: &Lane) -> Result<u64, Error>;

    /// Checks that reading and writing work, by doing both.
    async fn check(&self) -> Result<StoreHealth, Error>;

    /// Takes jobs in; their ids differ. One whose id is known was taken in before: nothing happens
    /// again.
    async fn submit(
        &self,
        lane: &Lane,
        entries: &[Submission],
    ) -> Result<Vec<SubmitOutcome>, Error>;

    /// Leases jobs, the highest priority first, after putting those that are due into the queue.
    /// Does not wait.
    async fn claim(&self, lane: &Lane, claim_request: &ClaimRequest) -> Result<Claim, Error>;

    /// Returns when a claim may find more than the one that gave the mark, or after `wait`.
    /// Can be dropped at any time.
    async fn wait_for_job(
        &self,
        lane: &Lane,
        mark: &WaitPosition,
        wait: Duration,
    ) -> Result<(), Error>;

    /// Moves jobs between states, and adds what their ends leave to the completions.
    async fn transition(&self, lane: &Lane, moves: &[Move]) -> Result<Vec<MoveOutcome>, Error>;

    /// Starts the time of leases again.
    async fn renew(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<Renewal>, Error>;

    /// Notes the progress of a job; `false` when the lease has ended.
    async fn progress(&self, lease: &Lease, progress: &str) -> Result<bool, Error>;

    /// Requests that running jobs stop, those that are still in the states of the tokens.
    async fn request_cancels(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<bool>, Error>;

    /// The running jobs that were cancelled and have not ended yet. Workers query this often, and
    /// there are hardly ever any.
    async fn cancel_requests(&self, lane: &Lane) -> Result<Vec<JobId>, Error>;

    /// A job by its id.
    async fn find(&self, id: &JobId) -> Result<Option<StoredJob>, Error>;

    /// Jobs by their ids; `None` for those that are unknown.
    async fn find_many(&self, lane: &Lane, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error>;

    /// A job with the latest notes of its attempts, by its id.
    async fn find_with_notes(
        &self,
        id: &JobId,
    ) -> Result<Option<(StoredJob, Vec<ProgressNote>)>, Error>;

    /// Running jobs whose lease was not renewed for `lease`; at most [`MAX_BATCH`] of them.
    async fn expired_leases(&self, lane: &Lane, lease: Duration) -> Result<Vec<StoredJob>, Error>;

    /// Deletes jobs that ended, and dead letters, that long ago. Returns how many; more may be left
    /// if it is [`MAX_BATCH`] or more.
    async fn sweep(&self, lane: &Lane, ended: Duration, dead: Duration) -> Result<usize, Error>;

    /// Jobs of one status, ended ones latest first, from where `after` says; about `max`. Without
    /// a status all of them, latest submitted first, in an order that no move changes.
    async fn list(
        &self,
        lane: &Lane,
        of: Option<JobStatus>,
        after: &str,
        max: usize,
    ) -> Result<JobPage, Error>;

    /// Counts a lane.
    async fn counts(&self, lane: &Lane) -> Result<JobCounts, Error>;

    /// What happened in a lane after a cursor (from the oldest known for an empty one), in order.
    /// [`Error::Invalid`] for a cursor that no store of this kind gives.
    async fn events(&self, lane: &Lane, after: &str, max: usize) -> Result<EventBatch, Error>;

    /// A cursor after everything that has happened in a lane.
    async fn last_event(&self, lane: &Lane) -> Result<String, Error>;

    /// Returns when something may have happened after the cursor, or after `wait`. Can be dropped
    /// at any time.
    async fn wait_for_event(&self, lane: &Lane, after: &str, wait: Duration) -> Result<(), Error>;

    /// Completions after the cursors of the sources, in the order of each source, about `max`;
    /// waits for some for up to `wait`. A cursor that is ahead of all that a source ever had, as
    /// that of a store that came back older, counts as empty. Can be dropped at any time.
    /// [`Error::Invalid`] for a cursor that no store of this kind gives.
    async fn completions(
        &self,
        sources: &[CompletionSource],
        max: usize,
        wait: Duration,
    ) -> Result<Vec<StoredCompletion>, Error>;

    /// Deletes completions of a lane, by tag and cursor.
    async fn acknowledge(
        &self,
        lane: &Lane,
        entries: &[(String, Vec<String>)],
    ) -> Result<(), Error>;

    /// Every lane that has ever had a job.
    async fn lanes(&self) -> Result<Vec<Lane>, Error>;

    /// Notes that a worker serves a queue now.
    async fn heartbeat(&self, queue: &str) -> Result<(), Error>;

    /// How long ago a worker noted that, by queue. Queues that never had a worker are left out.
    async fn heartbeats(&self) -> Result<Vec<(String, Duration)>, Error>;

    /// The timers: named texts, for schedulers.
    async fn timers(&self) -> Result<Vec<(String, Bytes)>, Error>;

    /// Replaces a timer if it still is `old`; `None` stands for no timer. `false` when it is not.
    async fn swap_timer(
        &self,
        name: &str,
        old: Option<&Bytes>,
        new: Option<&Bytes>,
    ) -> Result<bool, Error>;
}

//! A durable queue of jobs: at-least-once execution with exactly one terminal result.
//!
//! [`Jobs`] is the queue; it keeps jobs in a [`Store`], one of the rows of [`STORES`]. A [`Worker`]
//! runs them through a [`JobHandler`], a [`Producer`] submits single ones in batches, and a
//! [`Scheduler`] submits them by the clock.
//!
//! A job is leased to a worker for 30 s at a time. A lease carries a random nonce, so that only
//! the latest claim of a job can settle it. A job whose lease ends is queued again, a failed one
//! after a growing delay, and after its last attempt it is a dead letter.

pub mod bench;
mod clock;
mod codec;
mod error;
mod events;
mod handler;
mod history;
mod id;
mod job;
mod jobs;
mod listing;
mod log_throttle;
mod outcome;
mod producer;
mod record;
mod retry;
mod schedule;
mod scheduler;
mod store;
mod stores;
mod timer;
mod worker;

pub use clock::Clock;
pub use error::Error;
pub use events::EventPage;
pub use handler::{JobContext, Failure, JobHandler};
pub use history::History;
pub use id::{JobId, Lane};
pub use job::{Header, Job, NewJob, PRIORITIES, Payload};
pub use jobs::{Jobs, MAX_SUBMIT, QueueOptions, QueueStats, Submitted};
pub use listing::{JobFilter, JobListing};
pub use outcome::{ClaimedJob, JobOutcome};
pub use producer::Producer;
pub use record::{JobRecord, JobStatus};
pub use retry::Backoff;
pub use schedule::{ScheduleEntries, ENTRY_TTL_MS, JobFactory, ReconcileResult, is_live};
pub use scheduler::Scheduler;
pub use store::{
    SubmitOutcome, Claim, ClaimRequest, JobCounts, Submission, JobEvent, EventBatch, StoredJob, Lease, ListedJob, MAX_BATCH,
    WaitPosition, Move, MoveOutcome, ProgressNote, JobPage, Renewal, JobState, Store, Destination, StoreHealth,
};
pub use stores::{Embedded, OpenStore, Redis, StoreBackend, STORES, StoreOptions, SyncPolicy, open};
pub use timer::{Firing, Ownership, MissedPolicy, Timer, Schedule};
pub use worker::Worker;

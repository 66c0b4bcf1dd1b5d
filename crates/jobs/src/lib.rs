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
mod completion;
mod enqueue_span;
mod error;
mod events;
mod handler;
mod history;
mod id;
mod job;
mod job_events;
mod jobs;
mod listing;
mod log_throttle;
mod outcome;
mod producer;
mod record;
mod schedule;
mod scheduler;
mod status;
mod steps;
mod store;
mod store_clock;
mod store_options;
mod stores;
mod timer;
mod worker;

pub use clock::Clock;
pub use completion::{Completion, MAX_COMPLETION_RESULT};
pub use error::Error;
pub use events::EventPage;
pub use handler::{Failure, JobContext, JobHandler};
pub use history::History;
pub use id::{JobId, Lane};
pub use job::{Header, Job, NewJob, PRIORITIES, PackedBackoff, Payload};
pub use jobs::{Jobs, MAX_SUBMIT, QueueOptions, Submitted, manage::QueueStats};
pub use listing::{JobFilter, JobListing};
pub use outcome::{ClaimedJob, JobOutcome};
pub use producer::Producer;
pub use record::JobRecord;
pub use schedule::{ENTRY_TTL_MS, JobFactory, ReconcileResult, ScheduleEntries, is_live};
pub use scheduler::Scheduler;
pub use status::JobStatus;
pub use store::{
    Claim, ClaimRequest, CompletionNote, CompletionSource, Destination, EventBatch, JobCounts,
    JobEvent, JobPage, JobState, Lease, ListedJob, MAX_BATCH, Move, MoveOutcome, ProgressNote,
    Renewal, Store, StoreHealth, StoreUsage, StoredCompletion, StoredJob, Submission,
    SubmitOutcome, WaitPosition,
};
pub use store_options::{StoreOptions, SyncPolicy};
pub use stores::{
    Embedded, OpenStore, Redis, RedisProbe, RedisValues, STORES, StoreBackend, open, probe_redis,
};
pub use timer::{Firing, MissedPolicy, Ownership, Schedule, Timer};
pub use worker::Worker;

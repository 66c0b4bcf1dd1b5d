//! A durable queue of jobs: at-least-once execution with exactly one terminal result.
//!
//! [`Jobs`] is the queue; it keeps jobs in a [`Store`], one of the rows of [`STORES`]. A [`Worker`]
//! runs them through a [`Handler`], a [`Producer`] submits single ones in batches, and a
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
mod outcome;
mod producer;
mod quiet;
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
pub use handler::{Context, Failure, Handler};
pub use history::History;
pub use id::{JobId, Lane};
pub use job::{Header, Job, NewJob, PRIORITIES, Payload};
pub use jobs::{Jobs, MAX_SUBMIT, Options, QueueStats, Submitted};
pub use listing::{Filter, Listing};
pub use outcome::{Claimed, Outcome};
pub use producer::Producer;
pub use record::{Record, Status};
pub use retry::Backoff;
pub use schedule::{Entries, FORGET, Make, Round, is_live};
pub use scheduler::Scheduler;
pub use store::{
    Accepted, Claim, Claimer, Counts, Entry, Event, EventRead, Found, Lease, Listed, MAX_BATCH,
    Mark, Move, Moved, Note, Page, Renewal, State, Store, To, Vitals,
};
pub use stores::{Embedded, Open, Redis, Row, STORES, Settings, Sync, open};
pub use timer::{Fired, Kept, Missed, Timer, When};
pub use worker::Worker;

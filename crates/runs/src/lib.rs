//! Where workflows and their runs are kept.
//!
//! [`RunStore`] is what a store does. It keeps what the rules of `crates/workflow` produce, and looks into
//! none of it. Doors (the gateway) put workflows, create runs and send [`Command`]s. A runner owns shards
//! of runs by leases with an epoch, and commits what happened to many runs in one transaction.

mod approval;
mod error;
mod event;
pub mod link;
mod run;
mod shard;
mod store;
mod workflow;

pub use approval::{
    Approval, ApprovalFilter, ApprovalState, Decision, DecisionOutcome, NewApproval,
};
pub use error::Error;
pub use event::{EventCursor, EventFilter, EventPage, StoredEvent};
pub use run::{
    Command, CommandAnswer, CreateOutcome, NewRun, RunFilter, RunPage, RunRecord, RunSummary,
    StoredRun,
};
pub use shard::{
    Changes, Commit, CommitOutcome, InboxItem, Interest, OutboxEntry, OwnerLimits, RunChange,
    SHARDS, ShardLease, TimerRow, shard_of,
};
pub use store::{RunStore, TagTarget};
pub use workflow::{Artifact, NewVersion, Scope, Tag, TagMove, Version};

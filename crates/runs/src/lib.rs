//! Where workflows and their runs are kept.
//!
//! [`RunStore`] is what a store does. It keeps what the rules of `crates/workflow` produce, and looks into
//! none of it. Doors (the gateway) put workflows, create runs and send [`Command`]s. A runner owns shards
//! of runs by leases with an epoch, and commits what happened to many runs in one transaction.

mod approval;
mod clock;
mod content;
mod decision;
mod error;
mod event;
mod hub;
mod ids;
pub mod link;
mod run;
mod shard;
mod share;
mod store;
mod stores;
mod tag_history;
mod turns;
mod workflow;

pub use approval::{
    Approval, ApprovalFilter, ApprovalState, Decision, DecisionOutcome, NewApproval,
};
pub use content::content_id;
pub use error::Error;
pub use event::{EventCursor, EventFilter, EventPage, StoredEvent};

pub use ids::{id_of, new_id};
pub use run::{
    Command, CommandAnswer, CreateOutcome, NewRun, Records, RunFilter, RunPage, RunRecord,
    RunSummary, StoredRun,
};
pub use shard::{
    Changes, Commit, CommitOutcome, InboxItem, Interest, OutboxEntry, OwnerLimits, RunChange,
    SHARDS, ShardLease, TimerRow, shard_of,
};
pub use store::{MAX_COUNT, RunStore, TagTarget};
pub use stores::{Nowhere, OpenStore, STORES, StoreBackend, StoreOptions, open};
pub use workflow::{Artifact, NewVersion, Scope, Tag, TagMove, Version};

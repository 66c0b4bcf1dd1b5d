//! What jobs are about: their kinds, the keys that say where the queue is and where workflows are, and
//! the lengths of the queues as metrics.
//!
//! Whoever submits reads a payload with [`KindRow::read`] or [`KindRow::complete`], which make its
//! job. The runner takes the job from the queue and runs it with [`KindRow::run`].

mod agent_selector;
mod approval_links;
mod attempt;
mod check;
mod error;
mod ids;
mod kind;
mod kinds;
mod measured_store;
mod open;
mod open_runs;
mod queue_metrics;
mod split;
mod store_monitor;

pub use agent_selector::AgentSelector;
pub use approval_links::{ApprovalLinkKeys, SignedLink};
pub use attempt::{Attempt, AttemptFacts, Runtime};
pub use error::FieldError;
pub use kind::{Description, JobKind};
pub use kinds::{
    Call, Http, KINDS, KindRow, MAX_TIMEOUT, Pipeline, Subtask, Task, kind, kind_names, timer_job,
};
pub use open::{KEYS, QueueKeys, SyncKey, open};
pub use open_runs::{RunKeys, open_runs};
pub use queue_metrics::{QueueMetrics, QueueMetricsKeys};
pub use split::{MAX_SUBTASKS, split};
pub use store_monitor::StoreMonitor;

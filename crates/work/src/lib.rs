//! What jobs are about: the kinds that there are, their payloads, typed and checked, and the keys
//! that say where the queue is; and how long the queues are, as metrics.
//!
//! A front end reads what came in with [`JobPayload::read`] (or only [`validate`]s it) and submits
//! [`JobPayload::job`]; the runner reads the same payload from the queue and does it.

mod call;
mod complete;
mod error;
mod http;
mod ids;
mod kind;
mod open;
mod pipeline;
mod queue_metrics;
mod split;
mod store_monitor;
mod task;

pub use call::Call;
pub use complete::timer_job;
pub use error::FieldError;
pub use http::{Http, MAX_TIMEOUT};
pub use kind::{JobKind, JobPayload, validate};
pub use open::{KEYS, QueueKeys, SyncKey, open};
pub use pipeline::Pipeline;
pub use queue_metrics::{QueueMetrics, QueueMetricsKeys};
pub use split::{MAX_SUBTASKS, split};
pub use store_monitor::StoreMonitor;
pub use task::{Subtask, Task};

//! What jobs are about: the kinds that there are, their payloads, typed and checked, and the keys
//! that say where the queue is; and how long the queues are, as metrics.
//!
//! A door reads what came in with [`Work::read`] (or only [`validate`]s it) and submits
//! [`Work::job`]; the runner reads the same payload from the queue and does it.

mod call;
mod complete;
mod error;
mod http;
mod ids;
mod kind;
mod lengths;
mod open;
mod pipeline;
mod split;
mod task;
mod vigil;

pub use call::Call;
pub use complete::firing;
pub use error::FieldError;
pub use http::{Http, MAX_TIMEOUT};
pub use kind::{Kind, Work, validate};
pub use lengths::{Lengths, QUEUE_SAMPLE};
pub use open::{KEYS, open, queue};
pub use pipeline::Pipeline;
pub use split::{MAX_SUBTASKS, split};
pub use task::{Subtask, Task};
pub use vigil::Vigil;

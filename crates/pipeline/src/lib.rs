//! The pipeline: a goal becomes notes, a design and a review, by three agents of the mesh in turn.
//!
//! [`run`] writes to the run's directory, through the fs tool: an artifact per step, and a blackboard
//! (the log `blackboard.jsonl`, and its snapshot `blackboard.json`). A run that was killed is run again
//! with the same id: a step with its artifact and its entry is not repeated.

mod blackboard;
mod error;
mod files;
mod report;
mod run;
mod step;

pub use error::Error;
pub use report::{Report, RunMetrics, StepReport};
pub use run::{Progress, Run, run};
pub use step::{STEPS, Step};

/// The log of a run: an entry a line, append-only.
pub const LOG: &str = "blackboard.jsonl";
/// The snapshot of the log.
pub const SNAPSHOT: &str = "blackboard.json";

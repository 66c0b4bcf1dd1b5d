//! A goal becomes notes, a design and a review: three agents called in turn through the mesh.
//!
//! [`run`] writes to the run's directory, through the fs tool: an artifact per step, and a blackboard
//! (the log `blackboard.jsonl`, and its snapshot `blackboard.json`). A run that was killed is called
//! again with the same id: a step that has its artifact and its entry is not repeated.

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
